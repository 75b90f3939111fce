use std::{fmt, net::IpAddr};

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// The family of `address`.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

bitflags! {
    /// A set of address families.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub struct Families: u8 {
        /// IPv4.
        const V4 = 0x1;
        /// IPv6.
        const V6 = 0x2;
    }
}

impl From<Family> for Families {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::V4,
            Family::V6 => Self::V6,
        }
    }
}

/// How far an address reaches (`rtnetlink(7)`, `rt_scope_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AddressScope {
    /// Reaches beyond the link; private addresses included.
    Global,
    /// Link-local (RFC 3927, RFC 4291 §2.5.6).
    Link,
    /// Only on this host.
    Host,
}

/// One address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InterfaceAddress {
    /// The address itself.
    pub address: IpAddr,
    /// Length of the on-link prefix, in bits.
    pub prefix_length: u8,
    /// How far it reaches.
    pub scope: AddressScope,
    /// Duplicate address detection has not ended or has failed: the address cannot be used (RFC 4862 §5.4). An
    /// optimistic address (RFC 4429) is not tentative in this sense.
    pub tentative: bool,
}

impl InterfaceAddress {
    /// True for a global or private address that can be used now (semantics §1, "Active").
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.scope == AddressScope::Global && !self.tentative
    }
}

/// The network interface that a session uses, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Interface name, for instance `eth0`.
    pub name: String,
    /// Interface index, 1 or more.
    pub index: u32,
    /// Link-layer address in colon notation; empty if the link has none.
    pub hardware_address: String,
    /// Maximum transmission unit, in bytes.
    pub mtu: u32,
    /// All addresses, in a stable order.
    pub addresses: Vec<InterfaceAddress>,
    /// Next hops of this interface's default routes, the most preferred first.
    pub gateways: Vec<IpAddr>,
    /// Name servers learnt on this link, in the order they were announced.
    pub name_servers: Vec<IpAddr>,
    /// Search domains learnt on this link.
    pub search_domains: Vec<String>,
}

impl Interface {
    /// True if sessions need not be told that it is another: only addresses that cannot be used differ.
    #[must_use]
    pub fn is_same_for_sessions(&self, other: &Self) -> bool {
        self.name == other.name
            && self.index == other.index
            && self.hardware_address == other.hardware_address
            && self.mtu == other.mtu
            && self.gateways == other.gateways
            && self.name_servers == other.name_servers
            && self.search_domains == other.search_domains
            && self.usable_addresses().eq(other.usable_addresses())
    }

    /// Global and private addresses that can be used now.
    pub fn usable_addresses(&self) -> impl Iterator<Item = &InterfaceAddress> {
        self.addresses.iter().filter(|address| address.is_usable())
    }
}
