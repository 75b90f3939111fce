use std::net::{IpAddr, Ipv4Addr};

use netbearer_types::{AddressScope, Family, Moment};
use rtnetlink::{
    packet_core::Parseable,
    packet_route::{
        AddressFamily,
        address::{
            AddressAttribute, AddressFlags, AddressHeader, AddressHeaderFlags, AddressMessage, AddressProtocol,
            AddressScope as PacketScope, CacheInfo,
        },
    },
};

use crate::{OUR_PROTOCOL, attributes::attributes, lifetime};

const HEADER_LENGTH: usize = 8;

/// What tells an address from all others in a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressKey {
    /// Interface index.
    pub index: u32,
    /// The address itself.
    pub address: IpAddr,
    /// Length of the on-link prefix, in bits.
    pub prefix_length: u8,
    /// The far end of a point-to-point address.
    pub peer: Option<IpAddr>,
}

/// An address of an interface, as the kernel describes it (`rtnetlink(7)`, `RTM_NEWADDR`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Interface index.
    pub index: u32,
    /// The address itself.
    pub address: IpAddr,
    /// Length of the on-link prefix, in bits.
    pub prefix_length: u8,
    /// The far end of a point-to-point address.
    pub peer: Option<IpAddr>,
    /// How far it reaches. Site-local counts as global.
    pub scope: AddressScope,
    /// Duplicate address detection has not ended (RFC 4862 §5.4). The kernel shows such an address in dumps, but tells of it
    /// only when detection has ended, unless it is optimistic: it may be missing here until then.
    pub tentative: bool,
    /// Duplicate address detection has failed.
    pub duplicate: bool,
    /// May be used although tentative (RFC 4429).
    pub optimistic: bool,
    /// No new traffic shall start from it: its preferred lifetime is over.
    pub deprecated: bool,
    /// A random one that the kernel made for privacy (RFC 8981). IPv6 only.
    pub temporary: bool,
    /// The kernel makes temporary ones to it (`mngtmpaddr` of `ip-address(8)`).
    pub manages_temporary: bool,
    /// It has no end that the kernel keeps (`IFA_F_PERMANENT`): given by somebody, not learnt from the network.
    pub permanent: bool,
    /// Until then new traffic starts from it; none for ever. See [`Address::valid_until`].
    pub preferred_until: Option<Moment>,
    /// Until then it exists; none for ever. Right to some two seconds, and only until the machine is suspended: the kernel
    /// does not count that time.
    pub valid_until: Option<Moment>,
    /// Who made it (`IFA_PROTO`, Linux 5.18 or later).
    pub protocol: Option<u8>,
}

impl Address {
    /// What tells this address from all others.
    #[must_use]
    pub fn key(&self) -> AddressKey {
        AddressKey { index: self.index, address: self.address, prefix_length: self.prefix_length, peer: self.peer }
    }

    /// True if it carries our tag.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.protocol == Some(OUR_PROTOCOL)
    }

    /// True if it is the same as another one in all but lifetimes that are told a little differently.
    pub(crate) fn is_still(&self, former: &Self) -> bool {
        let Self { preferred_until, valid_until, .. } = *former;
        *former == Self { preferred_until, valid_until, ..self.clone() }
            && !lifetime::has_moved(preferred_until, self.preferred_until)
            && !lifetime::has_moved(valid_until, self.valid_until)
    }

    pub(crate) fn decode(payload: &[u8], now: Moment) -> Option<Self> {
        let header = AddressHeader::parse(payload).ok()?;
        let (mut local, mut address, mut protocol) = (None, None, None);
        let (mut preferred_until, mut valid_until) = (None, None);
        let mut flags = AddressFlags::from_bits_retain(u32::from(header.flags.bits()));
        for attribute in attributes(payload.get(HEADER_LENGTH..)?, AddressAttribute::parse) {
            match attribute {
                AddressAttribute::Local(value) => local = Some(value),
                AddressAttribute::Address(value) => address = Some(value),
                AddressAttribute::Flags(value) => flags = value,
                AddressAttribute::Protocol(value) => protocol = Some(u8::from(value)),
                AddressAttribute::CacheInfo(times) => {
                    preferred_until = lifetime::end(now, times.ifa_preferred);
                    valid_until = lifetime::end(now, times.ifa_valid);
                }
                _ => {}
            }
        }
        // IFA_LOCAL is absent for ordinary IPv6 addresses, and differs from IFA_ADDRESS for point-to-point ones.
        let own = local.or(address)?;
        Some(Self {
            index: header.index,
            address: own,
            prefix_length: header.prefix_len,
            peer: address.filter(|address| *address != own),
            scope: match header.scope {
                PacketScope::Host | PacketScope::Nowhere => AddressScope::Host,
                PacketScope::Link => AddressScope::Link,
                _ => AddressScope::Global,
            },
            tentative: flags.contains(AddressFlags::Tentative),
            duplicate: flags.contains(AddressFlags::Dadfailed),
            optimistic: flags.contains(AddressFlags::Optimistic),
            deprecated: flags.contains(AddressFlags::Deprecated),
            // The same bit says of an IPv4 address that it is a secondary one.
            temporary: own.is_ipv6() && flags.contains(AddressFlags::Secondary),
            manages_temporary: flags.contains(AddressFlags::Managetempaddr),
            permanent: flags.contains(AddressFlags::Permanent),
            preferred_until,
            valid_until,
            protocol,
        })
    }
}

/// How long an address lives, in seconds from now; `u32::MAX` is for ever. The kernel removes it then by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressLifetime {
    /// Until then it exists.
    pub valid: u32,
    /// Until then new traffic starts from it; at most `valid`.
    pub preferred: u32,
}

/// An address to be made. It is tagged as ours where the kernel can do that (Linux 5.18; older ones ignore the tag).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressSpec {
    /// Interface index.
    pub index: u32,
    /// The address itself.
    pub address: IpAddr,
    /// Length of the on-link prefix, in bits.
    pub prefix_length: u8,
    /// How far it reaches.
    pub scope: AddressScope,
    /// The broadcast address of its network; IPv4 only.
    pub broadcast: Option<Ipv4Addr>,
    /// How long it lives; none for ever.
    pub lifetime: Option<AddressLifetime>,
    /// Whether the kernel shall make the on-link route in the main table (`IFA_F_NOPREFIXROUTE` if not).
    pub prefix_route: bool,
    /// Whether it may be used before duplicate address detection has ended (RFC 4429), where the sysctl
    /// [`OptimisticDad`](crate::Sysctl::OptimisticDad) allows that. IPv6 only.
    pub optimistic: bool,
}

impl AddressSpec {
    /// A global address that lives for ever, with its on-link route and without a broadcast address.
    #[must_use]
    pub const fn new(index: u32, address: IpAddr, prefix_length: u8) -> Self {
        Self {
            index,
            address,
            prefix_length,
            scope: AddressScope::Global,
            broadcast: None,
            lifetime: None,
            prefix_route: true,
            optimistic: false,
        }
    }

    pub(crate) fn message(&self) -> AddressMessage {
        let mut message = identity(self.index, self.address, self.prefix_length);
        message.header.scope = match self.scope {
            AddressScope::Global => PacketScope::Universe,
            AddressScope::Link => PacketScope::Link,
            AddressScope::Host => PacketScope::Host,
        };
        let attributes = &mut message.attributes;
        attributes.extend(self.broadcast.map(AddressAttribute::Broadcast));
        attributes.extend(self.lifetime.map(|lifetime| {
            let mut times = CacheInfo::default();
            times.ifa_valid = lifetime.valid;
            times.ifa_preferred = lifetime.preferred.min(lifetime.valid);
            AddressAttribute::CacheInfo(times)
        }));
        let mut flags = AddressFlags::empty();
        flags.set(AddressFlags::Noprefixroute, !self.prefix_route);
        flags.set(AddressFlags::Optimistic, self.optimistic);
        if !flags.is_empty() {
            attributes.push(AddressAttribute::Flags(flags));
        }
        attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(OUR_PROTOCOL)));
        message
    }
}

/// The message that names an address and says nothing more about it.
pub(crate) fn identity(index: u32, address: IpAddr, prefix_length: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header = AddressHeader {
        family: packet_family(Family::of(address)),
        prefix_len: prefix_length,
        flags: AddressHeaderFlags::empty(),
        scope: PacketScope::Universe,
        index,
    };
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    message
}

pub(crate) const fn packet_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}
