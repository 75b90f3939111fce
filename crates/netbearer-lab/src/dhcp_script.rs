use std::{net::Ipv4Addr, time::Duration};

use crate::Subnet;

/// How the scripted DHCP server behaves when nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Script {
    pub(crate) lease_time: Duration,
    pub(crate) renewal_time: Option<Duration>,
    pub(crate) rebinding_time: Option<Duration>,
    pub(crate) name_servers: Option<Vec<Ipv4Addr>>,
    pub(crate) rapid_commit: bool,
    pub(crate) announced_subnet: Option<Subnet>,
}

impl Default for Script {
    /// Leases of one hour; the client computes its own renewal times; the gateway is the name server.
    fn default() -> Self {
        Self {
            lease_time: Duration::from_secs(3600),
            renewal_time: None,
            rebinding_time: None,
            name_servers: None,
            rapid_commit: false,
            announced_subnet: None,
        }
    }
}

impl Script {
    /// How long leases last, in whole seconds (RFC 2132 §9.2).
    pub fn lease_time(mut self, time: Duration) -> Self {
        self.lease_time = time;
        self
    }

    /// When clients shall renew (T1), in whole seconds (RFC 2132 §9.11). By default not said: half the lease.
    pub fn renewal_time(mut self, time: Duration) -> Self {
        self.renewal_time = Some(time);
        self
    }

    /// When clients shall rebind (T2), in whole seconds (RFC 2132 §9.12). By default not said: 7/8 of the lease.
    pub fn rebinding_time(mut self, time: Duration) -> Self {
        self.rebinding_time = Some(time);
        self
    }

    /// The name servers it hands out (RFC 2132 §3.8). By default the gateway; none if empty.
    pub fn name_servers(mut self, servers: impl Into<Vec<Ipv4Addr>>) -> Self {
        self.name_servers = Some(servers.into());
        self
    }

    /// Whether a client that asks for it gets its lease in two messages instead of four (RFC 4039).
    pub fn rapid_commit(mut self, rapid: bool) -> Self {
        self.rapid_commit = rapid;
        self
    }

    /// The subnet whose mask and router it tells clients, whatever it leases from. By default the one it serves. With
    /// [`DhcpServer::follow`](crate::DhcpServer::follow) it changes under a lease.
    pub fn announced_subnet(mut self, subnet: Subnet) -> Self {
        self.announced_subnet = Some(subnet);
        self
    }
}

/// What may be wrong with an answer of the scripted DHCP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer.
    Silent,
    /// The right answer, late.
    Delay(Duration),
    /// A DHCPNAK instead of the answer to a DHCPREQUEST. Other messages are answered well, and do not use it up.
    Nak,
    /// The same, if the DHCPREQUEST comes from a client in this state.
    NakWhile(ClientState),
    /// The right acknowledgement of a renewal, but for another address than the client has. Other messages are answered
    /// well, and do not use it up.
    OtherAddress(Ipv4Addr),
    /// The right answer with the wrong transaction number, which a client must ignore (RFC 2131 §4.4.1).
    WrongTransaction,
    /// Bytes that are no DHCP message.
    Garbage,
}

/// The state of a client, as its DHCPREQUEST shows it (RFC 2131 §4.3.2, table 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// It asks for an address that was offered.
    Selecting,
    /// It asks for an address that it had before.
    Rebooting,
    /// It asks its own server to prolong its lease.
    Renewing,
    /// It asks any server to prolong its lease.
    Rebinding,
}
