use std::io;

use netbearer_types::Traffic;
use rtnetlink::{packet_core::NlasIterator, sys::protocols::NETLINK_ROUTE};

use crate::asking_socket::{AskingSocket, ERROR, Messages, refusal};

/// `RTM_NEWSTATS` and `RTM_GETSTATS` of `linux/rtnetlink.h`.
const STATISTICS: u16 = 92;
const ASK_FOR_STATISTICS: u16 = 94;
/// `IFLA_STATS_LINK_64` of `linux/if_link.h`, and its bit in a filter.
const COUNTERS: u16 = 1;
const COUNTERS_ONLY: u32 = 1 << (COUNTERS - 1);
/// `struct if_stats_msg` of `linux/if_link.h`: family, interface, filter.
const INTERFACE: usize = 4;
const MESSAGE_LENGTH: usize = 12;
/// Where `struct rtnl_link_stats64` has the octets received and transmitted, of eight octets each; behind the packets.
const RECEIVED: usize = 16;
const TRANSMITTED: usize = 24;

/// Reads what interfaces have carried (`RTM_GETSTATS`, Linux 4.7): 64 bits, which do not wrap. Needs no privilege.
#[derive(Debug)]
pub struct TrafficMeter(AskingSocket);

impl TrafficMeter {
    /// For the interfaces in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn open() -> io::Result<Self> {
        AskingSocket::open(NETLINK_ROUTE).map(Self)
    }

    /// What this interface has carried since it was made, or for as long as its driver counts. A few microseconds, or as long
    /// as somebody else holds the kernel's lock of network configuration; the calling thread waits.
    ///
    /// # Errors
    /// `ENODEV` if there is no such interface, and when the kernel cannot be asked.
    pub fn read(&mut self, interface: u32) -> io::Result<Traffic> {
        let mut content = vec![0; INTERFACE];
        content.extend(interface.to_ne_bytes());
        content.extend(COUNTERS_ONLY.to_ne_bytes());
        self.0.send(ASK_FOR_STATISTICS, 0, &content)?;
        let answer = self.0.receive()?;
        for (kind, content) in Messages(answer) {
            if kind == ERROR {
                refusal(content)?;
            }
        }
        let counters = traffic_in(answer).into_iter().find(|(index, _)| *index == interface);
        counters.map(|(_, traffic)| traffic).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// What a datagram of rtnetlink says that interfaces have carried, by index.
#[must_use]
pub fn traffic_in(datagram: &[u8]) -> Vec<(u32, Traffic)> {
    Messages(datagram).filter(|(kind, _)| *kind == STATISTICS).filter_map(|(_, content)| parse(content)).collect()
}

fn parse(content: &[u8]) -> Option<(u32, Traffic)> {
    let interface = u32::from_ne_bytes(*content.get(INTERFACE..)?.first_chunk()?);
    let counters = NlasIterator::new(content.get(MESSAGE_LENGTH..)?)
        .map_while(Result::ok)
        .find(|attribute| attribute.kind() == COUNTERS)?;
    let octets = |at: usize| counters.value().get(at..)?.first_chunk().map(|octets| u64::from_ne_bytes(*octets));
    Some((interface, Traffic { received: octets(RECEIVED)?, written: octets(TRANSMITTED)? }))
}
