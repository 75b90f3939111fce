use std::{
    io,
    net::Ipv4Addr,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use libc::{
    AF_INET, IFA_ADDRESS, IFA_LOCAL, IFF_LOWER_UP, IFF_UP, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST,
    NLMSG_ERROR, RT_SCOPE_LINK, RT_SCOPE_UNIVERSE, RT_TABLE_MAIN, RTA_DST, RTA_GATEWAY, RTA_OIF, RTA_TABLE,
    RTM_DELADDR, RTM_DELROUTE, RTM_DELRULE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWROUTE, RTM_NEWRULE, RTMGRP_LINK,
    RTN_UNICAST, RTPROT_STATIC,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv, send,
        socket_with,
    },
};

use super::dhcp_socket::Lease;

/// The table and the mark of the one access point there is.
const TABLE: u32 = 21_001;
const MARK: u32 = 0x0100_0000;

/// Of `linux/fib_rules.h`.
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FR_ACT_TO_TBL: u8 = 1;
const FR_ACT_UNREACHABLE: u8 = 7;

/// Which way a change goes.
#[derive(Clone, Copy)]
pub(super) enum Change {
    Add,
    Remove,
}

/// `NLMSG_HDRLEN` of `linux/netlink.h`.
const HEADER_LENGTH: usize = 16;
/// More than the kernel says of one link.
const DATAGRAM_CAPACITY: usize = 16_384;

/// A blocking socket of `rtnetlink(7)`, one request at a time.
pub(super) struct NetlinkSocket {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl NetlinkSocket {
    /// For requests, in the network namespace of the calling thread.
    pub(super) fn for_requests() -> io::Result<Self> {
        Self::open(0)
    }

    /// For changes of links, in the network namespace of the calling thread.
    pub(super) fn for_links() -> io::Result<Self> {
        Self::open(RTMGRP_LINK.unsigned_abs())
    }

    fn open(groups: u32) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self { socket, buffer: vec![0; DATAGRAM_CAPACITY] })
    }

    pub(super) fn set_link_up(&mut self, index: u32, up: bool) -> io::Result<()> {
        let changed = IFF_UP.unsigned_abs();
        // struct ifinfomsg: family, type, index, flags, change mask.
        let message = Message::new(RTM_NEWLINK, 0).words(&[0, index, if up { changed } else { 0 }, changed]);
        self.request(message)
    }

    pub(super) fn add_address(&mut self, index: u32, address: Ipv4Addr, prefix_length: u8) -> io::Result<()> {
        self.request(address_message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, address, prefix_length))
    }

    pub(super) fn delete_address(&mut self, index: u32, address: Ipv4Addr, prefix_length: u8) -> io::Result<()> {
        self.request(address_message(RTM_DELADDR, 0, index, address, prefix_length))
    }

    pub(super) fn add_default_route(&mut self, index: u32, gateway: Ipv4Addr) -> io::Result<()> {
        self.request(default_route_message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, index, gateway))
    }

    pub(super) fn delete_default_route(&mut self, index: u32, gateway: Ipv4Addr) -> io::Result<()> {
        self.request(default_route_message(RTM_DELROUTE, 0, index, gateway))
    }

    /// Adds or removes what leads a session's traffic: the lease's routes in a table of their own, and four rules.
    pub(super) fn steer(&mut self, change: Change, index: u32, interface: [u8; 4], lease: Lease) -> io::Result<()> {
        let (route, rule, flags) = match change {
            Change::Add => (RTM_NEWROUTE, RTM_NEWRULE, NLM_F_CREATE),
            Change::Remove => (RTM_DELROUTE, RTM_DELRULE, 0),
        };
        let mask = u32::MAX.checked_shl(32 - u32::from(lease.prefix_length)).unwrap_or_default();
        let network = Ipv4Addr::from_bits(lease.address.to_bits() & mask);
        let in_table = |prefix_length, scope| {
            Message::new(route, flags)
                .bytes(&[INET, prefix_length, 0, 0, 0, RTPROT_STATIC, scope, RTN_UNICAST])
                .words(&[0])
                .attribute(RTA_TABLE, &TABLE.to_ne_bytes())
                .attribute(RTA_OIF, &index.to_ne_bytes())
        };
        self.request(in_table(lease.prefix_length, RT_SCOPE_LINK).attribute(RTA_DST, &network.octets()))?;
        self.request(in_table(0, RT_SCOPE_UNIVERSE).attribute(RTA_GATEWAY, &lease.gateway.octets()))?;
        let select = |priority: u32, source_length, action| {
            Message::new(rule, flags)
                .bytes(&[INET, 0, source_length, 0, 0, 0, 0, action])
                .words(&[0])
                .attribute(FRA_PRIORITY, &priority.to_ne_bytes())
                .attribute(FRA_TABLE, &TABLE.to_ne_bytes())
        };
        let mark = |message: Message| {
            message.attribute(FRA_FWMARK, &MARK.to_ne_bytes()).attribute(FRA_FWMASK, &u32::MAX.to_ne_bytes())
        };
        self.request(select(5_100, 0, FR_ACT_TO_TBL).attribute(FRA_OIFNAME, &interface))?;
        self.request(mark(select(5_110, 0, FR_ACT_TO_TBL)))?;
        self.request(mark(select(5_111, 0, FR_ACT_UNREACHABLE)))?;
        self.request(select(5_120, 32, FR_ACT_TO_TBL).attribute(FRA_SRC, &lease.address.octets()))
    }

    /// Sends a request and waits for its acknowledgement.
    fn request(&mut self, message: Message) -> io::Result<()> {
        send(&self.socket, &message.finish(), SendFlags::empty())?;
        let (_, length) = recv(&self.socket, &mut self.buffer[..], RecvFlags::empty())?;
        let answer = self.buffer.get(..length).unwrap_or_default();
        let kind = half_word(answer, 4).map(i32::from);
        match (kind, word(answer, HEADER_LENGTH)) {
            (Some(NLMSG_ERROR), Some(0)) => Ok(()),
            (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(code.cast_signed().saturating_neg())),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Forgets what was told so far.
    pub(super) fn drain(&mut self) {
        while recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT).is_ok() {}
    }

    /// Waits until a link is told to have carrier, or none.
    pub(super) fn wait_for_carrier(&mut self, index: u32, wanted: bool, within: Duration) -> io::Result<()> {
        self.wait_for_flag(index, IFF_LOWER_UP.unsigned_abs(), wanted, within)
    }

    /// Waits until a link is told to be administratively up, or down.
    pub(super) fn wait_for_up(&mut self, index: u32, wanted: bool, within: Duration) -> io::Result<()> {
        self.wait_for_flag(index, IFF_UP.unsigned_abs(), wanted, within)
    }

    fn wait_for_flag(&mut self, index: u32, flag: u32, wanted: bool, within: Duration) -> io::Result<()> {
        let deadline = Instant::now() + within;
        loop {
            if !wait_readable(&self.socket, deadline)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let (_, length) = recv(&self.socket, &mut self.buffer[..], RecvFlags::empty())?;
            let mut rest = self.buffer.get(..length).unwrap_or_default();
            while let Some(message_length) = word(rest, 0) {
                let is_link = half_word(rest, 4) == Some(RTM_NEWLINK);
                let of_index = word(rest, HEADER_LENGTH + 4) == Some(index);
                let flags = word(rest, HEADER_LENGTH + 8).unwrap_or_default();
                if is_link && of_index && (flags & flag != 0) == wanted {
                    return Ok(());
                }
                let length = usize::try_from(message_length).unwrap_or(usize::MAX).max(HEADER_LENGTH);
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// Waits until there is something to read; false once the deadline has passed.
pub(super) fn wait_readable(socket: &OwnedFd, deadline: Instant) -> io::Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).map_err(io::Error::other)?;
    Ok(poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&left))? > 0)
}

/// `struct ifaddrmsg` and its attributes.
fn address_message(kind: u16, flags: i32, index: u32, address: Ipv4Addr, prefix_length: u8) -> Message {
    Message::new(kind, flags)
        .bytes(&[INET, prefix_length, 0, RT_SCOPE_UNIVERSE])
        .words(&[index])
        .attribute(IFA_LOCAL, &address.octets())
        .attribute(IFA_ADDRESS, &address.octets())
}

/// `struct rtmsg` and its attributes.
fn default_route_message(kind: u16, flags: i32, index: u32, gateway: Ipv4Addr) -> Message {
    Message::new(kind, flags)
        .bytes(&[INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST])
        .words(&[0])
        .attribute(RTA_GATEWAY, &gateway.octets())
        .attribute(RTA_OIF, &index.to_ne_bytes())
}

const INET: u8 = AF_INET as u8;

struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: i32) -> Self {
        let flags = u16::try_from(NLM_F_REQUEST | NLM_F_ACK | flags).unwrap_or(u16::MAX);
        Self(vec![0; 4]).bytes(&kind.to_ne_bytes()).bytes(&flags.to_ne_bytes()).words(&[0, 0])
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn words(self, words: &[u32]) -> Self {
        words.iter().fold(self, |message, word| message.bytes(&word.to_ne_bytes()))
    }

    /// An attribute of a whole number of words.
    fn attribute(self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.bytes(&length.to_ne_bytes()).bytes(&kind.to_ne_bytes()).bytes(value)
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

fn word(bytes: &[u8], place: usize) -> Option<u32> {
    bytes.get(place..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn half_word(bytes: &[u8], place: usize) -> Option<u16> {
    bytes.get(place..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}
