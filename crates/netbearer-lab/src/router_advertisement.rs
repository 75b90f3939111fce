use std::{
    io,
    net::{Ipv6Addr, SocketAddrV6},
};

use socket2::{Domain, Protocol, Socket, Type};

/// The link-local address an access point advertises from.
pub(crate) const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// What neighbour discovery demands (RFC 4861 §6.1.2).
const HOP_LIMIT: u32 = 255;
/// Options come in units of this many octets.
const UNIT: usize = 8;

/// The preference of a router or a route (RFC 4191 §2.1), at its place in an octet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Preference {
    /// Less than others.
    Low = 0b0001_1000,
    /// As others.
    #[default]
    Medium = 0,
    /// More than others.
    High = 0b0000_1000,
}

/// A router advertisement (RFC 4861 §4.2), written out octet by octet: the code under test has no part in it.
#[derive(Clone, Debug)]
#[must_use]
pub struct RouterAdvertisement {
    octets: Vec<u8>,
}

impl RouterAdvertisement {
    /// By a router that is a default router for so many seconds (0: it is none).
    pub fn new(lifetime: u16, preference: Preference) -> Self {
        // Type, code, checksum (the kernel's), hop limit, flags, lifetime, reachable time, retransmission timer.
        let mut octets = vec![134, 0, 0, 0, 64, preference as u8];
        octets.extend(lifetime.to_be_bytes());
        octets.extend([0; 8]);
        Self { octets }
    }

    /// With an on-link prefix of 64 bits to make addresses of (§4.6.2); lifetimes in seconds.
    pub fn prefix(self, prefix: Ipv6Addr, valid: u32, preferred: u32) -> Self {
        let content =
            [&[64, 0xc0][..], &valid.to_be_bytes(), &preferred.to_be_bytes(), &[0; 4], &prefix.octets()].concat();
        self.option(3, &content)
    }

    /// With a route to a network behind the router (RFC 4191 §2.3); lifetime in seconds.
    pub fn route(self, network: Ipv6Addr, prefix_length: u8, lifetime: u32, preference: Preference) -> Self {
        let content = [&[prefix_length, preference as u8][..], &lifetime.to_be_bytes(), &network.octets()].concat();
        self.option(24, &content)
    }

    /// With DNS servers (RFC 8106 §5.1); lifetime in seconds.
    pub fn servers(self, lifetime: u32, servers: &[Ipv6Addr]) -> Self {
        let servers: Vec<u8> = servers.iter().flat_map(Ipv6Addr::octets).collect();
        self.option(25, &[&[0, 0][..], &lifetime.to_be_bytes(), &servers].concat())
    }

    /// With the router's own link-layer address (RFC 4861 §4.6.1), as most routers send it. Addresses are optimistic only then.
    pub fn source_hardware_address(self, address: [u8; 6]) -> Self {
        self.option(1, &address)
    }

    /// With any other option: its content behind type and length, which is filled up with zeros.
    pub fn option(mut self, kind: u8, content: &[u8]) -> Self {
        let length = (content.len() + 2).next_multiple_of(UNIT);
        let end = self.octets.len() + length;
        self.octets.extend([kind, u8::try_from(length / UNIT).unwrap_or(u8::MAX)]);
        self.octets.extend(content);
        self.octets.resize(end, 0);
        self
    }

    /// Sends it to everybody on a link of the calling thread's namespace.
    pub(crate) fn send(&self, interface: u32) -> io::Result<()> {
        let socket = Socket::new(Domain::IPV6, Type::RAW.cloexec(), Some(Protocol::ICMPV6))?;
        socket.set_multicast_if_v6(interface)?;
        socket.set_multicast_hops_v6(HOP_LIMIT)?;
        socket.bind(&SocketAddrV6::new(ROUTER, 0, 0, interface).into())?;
        socket.send_to(&self.octets, &SocketAddrV6::new(ALL_NODES, 0, 0, interface).into()).map(|_| ())
    }
}
