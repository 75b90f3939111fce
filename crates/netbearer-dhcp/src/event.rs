use std::{fmt, net::Ipv4Addr, time::Duration};

use crate::{Lease, PacketError};

/// What happened to the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// There was no lease, and now there is one.
    Acquired(Lease),
    /// The lease was prolonged.
    Renewed {
        /// The lease as it is now.
        lease: Lease,
        /// Whether anything besides its times differs from before: routers, name servers, the prefix length …
        changed: bool,
    },
    /// Nobody answered when the lease was to be confirmed ([`Client::confirm`]): it goes on, with the end it had.
    ///
    /// [`Client::confirm`]: crate::Client::confirm
    Kept(Lease),
    /// The address must not be used any more. The client already asks for another.
    Lost(LossReason),
    /// The remembered address is not to be had, and must not be used any more if it is already (see [`KnownNetwork`]): it
    /// belongs to another network, or to another host. The client already asks for another.
    ///
    /// [`KnownNetwork`]: crate::KnownNetwork
    NotConfirmed(LossReason),
    /// The network wants hosts that can to live on IPv6 alone (RFC 8925), and the client asks for no lease for a while. Only
    /// with [`ClientConfiguration::ipv6_only`]. A remembered address that is in use must not be any more.
    ///
    /// [`ClientConfiguration::ipv6_only`]: crate::ClientConfiguration::ipv6_only
    Ipv6Only {
        /// How long: `V6ONLY_WAIT`, at least five minutes.
        wait: Duration,
    },
    /// A server answered, but not acceptably; the client waits for a better answer. Told once for each kind of reason and
    /// exchange, whoever the servers are, so that nobody can make a flood of it.
    Refused {
        /// The server, as it calls itself (option 54).
        server: Ipv4Addr,
        /// What is wrong with its answer.
        reason: PacketError,
    },
}

/// Why a lease ended before it was released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// Nobody prolonged it in time.
    Expired,
    /// A server refused to prolong it, with its reason (option 56, cleaned of control characters; may be empty).
    RefusedByServer(String),
    /// Another host uses the address, and it was declined.
    AddressInUse,
}

impl fmt::Display for LossReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => formatter.write_str("the lease expired"),
            Self::AddressInUse => formatter.write_str("another host uses the address"),
            Self::RefusedByServer(text) if text.is_empty() => formatter.write_str("the server refused to prolong it"),
            Self::RefusedByServer(text) => write!(formatter, "the server refused to prolong it: {text}"),
        }
    }
}
