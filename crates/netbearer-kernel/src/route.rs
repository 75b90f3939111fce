use std::{
    cmp::Ordering,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use netbearer_types::{Family, Moment};
use rtnetlink::{
    packet_core::ParseableParametrized,
    packet_route::{
        AddressFamily,
        route::{
            RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteLwEnCapType, RouteMessage, RoutePreference,
            RouteProtocol, RouteScope, RouteType, RouteVia,
        },
    },
};

use crate::{OUR_PROTOCOL, address::packet_family, attributes::attributes};

const HEADER_LENGTH: usize = 12;
/// `RT_TABLE_LOCAL`: the addresses of the machine itself, which the address cache says already.
const LOCAL_TABLE: u32 = 255;
/// `RTPROT_RA` of `linux/rtnetlink.h`.
const ROUTER_ADVERTISEMENT: u8 = 9;
/// `RTPROT_KERNEL` of `linux/rtnetlink.h`.
const KERNEL: u8 = 2;
/// The kernel tells how long a route lasts in hundredths of a second (`USER_HZ`), however fast it ticks.
const TICK: Duration = Duration::from_millis(10);

/// What a route does with the packets it matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// Sends them on.
    #[default]
    Unicast,
    /// Drops them silently.
    Blackhole,
    /// Drops them and says "host unreachable".
    Unreachable,
    /// Drops them and says "prohibited".
    Prohibit,
    /// Goes on with the next rule.
    Throw,
    /// Takes the destination for the broadcast address of the link. TCP does not connect to one, and datagrams are sent to it
    /// only by sockets that ask for that (`SO_BROADCAST`). IPv4 only.
    Broadcast,
    /// Another `RTN_*` of `rtnetlink(7)`.
    Other(u8),
}

impl From<RouteType> for RouteKind {
    fn from(kind: RouteType) -> Self {
        match kind {
            RouteType::Unicast => Self::Unicast,
            RouteType::BlackHole => Self::Blackhole,
            RouteType::Unreachable => Self::Unreachable,
            RouteType::Prohibit => Self::Prohibit,
            RouteType::Throw => Self::Throw,
            RouteType::Broadcast => Self::Broadcast,
            other => Self::Other(u8::from(other)),
        }
    }
}

impl From<RouteKind> for RouteType {
    fn from(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Unicast => Self::Unicast,
            RouteKind::Blackhole => Self::BlackHole,
            RouteKind::Unreachable => Self::Unreachable,
            RouteKind::Prohibit => Self::Prohibit,
            RouteKind::Throw => Self::Throw,
            RouteKind::Broadcast => Self::Broadcast,
            RouteKind::Other(number) => Self::from(number),
        }
    }
}

/// How much a router wants to be used, compared with others (RFC 4191 §2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouterPreference {
    /// Less than the others.
    Low,
    /// As the others; so are all routes of IPv4.
    #[default]
    Medium,
    /// More than the others.
    High,
}

impl From<RoutePreference> for RouterPreference {
    fn from(preference: RoutePreference) -> Self {
        match preference {
            RoutePreference::Low => Self::Low,
            RoutePreference::High => Self::High,
            // The reserved value counts as medium.
            _ => Self::Medium,
        }
    }
}

impl From<RouterPreference> for RoutePreference {
    fn from(preference: RouterPreference) -> Self {
        match preference {
            RouterPreference::Low => Self::Low,
            RouterPreference::Medium => Self::Medium,
            RouterPreference::High => Self::High,
        }
    }
}

/// One of the ways a route can take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// The router; none for an on-link destination.
    pub gateway: Option<IpAddr>,
    /// Index of the output interface.
    pub interface: Option<u32>,
}

/// A route, as the kernel describes it (`rtnetlink(7)`, `RTM_NEWROUTE`).
///
/// When it expires does not tell it from others: two that differ in nothing else are equal.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its address family.
    pub family: Family,
    /// The table it stands in; 254 is main.
    pub table: u32,
    /// The network it leads to; unspecified for a default route.
    pub destination: IpAddr,
    /// Length of the destination's prefix, in bits; 0 for a default route.
    pub prefix_length: u8,
    /// Lower is preferred; 0 if none was given (IPv4).
    pub metric: u32,
    /// The type of service it is for; 0 for any.
    pub type_of_service: u8,
    /// What it does.
    pub kind: RouteKind,
    /// `RT_SCOPE_*`: 0 universe, 253 link, 254 host.
    pub scope: u8,
    /// Who made it (`RTPROT_*`).
    pub protocol: u8,
    /// The source address for traffic that has none yet.
    pub preferred_source: Option<IpAddr>,
    /// The ways it can take: one, or several of a multipath route; none if it drops packets.
    pub next_hops: Vec<NextHop>,
    /// How much its router wants to be used. The kernel looks at it only between routes to the same destination with the
    /// same metric.
    pub preference: RouterPreference,
    /// When the kernel removes it, give or take its half minute between collections; none if it does not. Right until the
    /// machine is suspended: the kernel does not count that time.
    pub expires: Option<Moment>,
}

/// What a routing table tells routes apart by, as long as nobody appends alternatives.
pub(crate) type RouteKey = (Family, u32, IpAddr, u8, u32, u8);

impl Route {
    pub(crate) fn key(&self) -> RouteKey {
        (self.family, self.table, self.destination, self.prefix_length, self.metric, self.type_of_service)
    }

    /// True if it carries our tag.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.protocol == OUR_PROTOCOL
    }

    /// True if the kernel learnt it from a router advertisement: a default route (RFC 4861 §6.3.4) or one to a network
    /// (route information, RFC 4191 §3.1). On-link prefixes count as the kernel's own.
    #[must_use]
    pub fn is_advertised(&self) -> bool {
        self.protocol == ROUTER_ADVERTISEMENT
    }

    /// True if the kernel made it by itself, with an address or for an on-link prefix in a router advertisement.
    #[must_use]
    pub fn is_of_the_kernel(&self) -> bool {
        self.protocol == KERNEL
    }

    /// True for a default route that sends packets on.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.prefix_length == 0 && self.kind == RouteKind::Unicast
    }

    /// The router of a route with a single way.
    #[must_use]
    pub fn gateway(&self) -> Option<IpAddr> {
        match self.next_hops.as_slice() {
            [only] => only.gateway,
            _ => None,
        }
    }

    /// True if one of its ways leaves by this interface.
    #[must_use]
    pub fn uses(&self, interface: u32) -> bool {
        self.interfaces().any(|index| index == interface)
    }

    /// The interfaces its ways leave by.
    pub fn interfaces(&self) -> impl Iterator<Item = u32> + '_ {
        self.next_hops.iter().filter_map(|next_hop| next_hop.interface)
    }

    /// Reads the payload of a route message. None for what is not kept: routes of the local table (they repeat the
    /// addresses), clones (the kernel's per-destination exceptions), and families other than IPv4 and IPv6.
    pub(crate) fn decode(payload: &[u8], now: Moment) -> Option<Self> {
        let header = RouteHeader::parse(payload).ok()?;
        let (family, unspecified) = match header.address_family {
            AddressFamily::Inet => (Family::V4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            AddressFamily::Inet6 => (Family::V6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            _ => return None,
        };
        let mut route = Self {
            family,
            table: u32::from(header.table),
            destination: unspecified,
            prefix_length: header.destination_prefix_length,
            metric: 0,
            type_of_service: header.tos,
            kind: header.kind.into(),
            scope: u8::from(header.scope),
            protocol: u8::from(header.protocol),
            preferred_source: None,
            next_hops: Vec::new(),
            preference: RouterPreference::default(),
            expires: None,
        };
        let context = (header.address_family, header.kind, RouteLwEnCapType::None);
        let mut single = NextHop::default();
        for attribute in
            attributes(payload.get(HEADER_LENGTH..)?, |attribute| RouteAttribute::parse_with_param(attribute, context))
        {
            match attribute {
                RouteAttribute::Table(table) => route.table = table,
                RouteAttribute::Destination(address) => route.destination = ip_address(&address)?,
                RouteAttribute::Priority(metric) => route.metric = metric,
                RouteAttribute::PrefSource(address) => route.preferred_source = ip_address(&address),
                RouteAttribute::Preference(preference) => route.preference = preference.into(),
                RouteAttribute::CacheInfo(times) => route.expires = expiry(times.expires, now),
                RouteAttribute::MultiPath(hops) => {
                    route.next_hops.extend(hops.iter().map(|hop| {
                        let mut way = NextHop { gateway: None, interface: Some(hop.interface_index) };
                        hop.attributes.iter().for_each(|attribute| way.take(attribute));
                        way
                    }));
                }
                other => single.take(&other),
            }
        }
        if single != NextHop::default() {
            route.next_hops.push(single);
        }
        (route.table != LOCAL_TABLE && !header.flags.contains(RouteFlags::Cloned)).then_some(route)
    }
}

impl Ord for Route {
    fn cmp(&self, other: &Self) -> Ordering {
        let rest = |route: &Self| (route.kind, route.scope, route.protocol, route.preferred_source, route.preference);
        self.key()
            .cmp(&other.key())
            .then_with(|| rest(self).cmp(&rest(other)))
            .then_with(|| self.next_hops.cmp(&other.next_hops))
    }
}

impl PartialOrd for Route {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Route {}

/// The kernel says 0 of routes that stay, and less of ones it has not removed yet.
fn expiry(ticks: u32, now: Moment) -> Option<Moment> {
    let ticks = ticks.cast_signed();
    (ticks != 0).then(|| now + TICK * u32::try_from(ticks).unwrap_or(0))
}

impl NextHop {
    fn take(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Oif(index) => self.interface = Some(*index),
            RouteAttribute::Gateway(address) => self.gateway = ip_address(address),
            // An IPv4 route by way of an IPv6 router (RFC 8950).
            RouteAttribute::Via(RouteVia::Inet(address)) => self.gateway = Some(IpAddr::V4(*address)),
            RouteAttribute::Via(RouteVia::Inet6(address)) => self.gateway = Some(IpAddr::V6(*address)),
            _ => {}
        }
    }
}

fn ip_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

/// A route to be made or removed. It is tagged as ours, and only routes so tagged are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// The table it stands in; 254 is main.
    pub table: u32,
    /// The network it leads to; says the family too.
    pub destination: IpAddr,
    /// Length of the destination's prefix, in bits; 0 for a default route.
    pub prefix_length: u8,
    /// The router, of the same family; none for an on-link destination.
    pub gateway: Option<IpAddr>,
    /// Index of the output interface; none for routes that drop packets.
    pub interface: Option<u32>,
    /// Lower is preferred; none leaves it to the kernel (0 for IPv4, 1024 for IPv6).
    pub metric: Option<u32>,
    /// The source address for traffic that has none yet.
    pub preferred_source: Option<IpAddr>,
    /// What it does.
    pub kind: RouteKind,
    /// The router is reached on the link, whatever the prefixes say.
    pub on_link: bool,
    /// How much the router wants to be used. IPv6 only.
    pub preference: RouterPreference,
    /// After so many seconds the kernel removes it by itself; none for never. IPv6 only.
    pub lifetime: Option<u32>,
}

impl RouteSpec {
    /// The main table, `RT_TABLE_MAIN`.
    pub const MAIN_TABLE: u32 = 254;

    /// An on-link route over `interface` in the main table.
    #[must_use]
    pub const fn new(destination: IpAddr, prefix_length: u8, interface: u32) -> Self {
        Self {
            table: Self::MAIN_TABLE,
            destination,
            prefix_length,
            gateway: None,
            interface: Some(interface),
            metric: None,
            preferred_source: None,
            kind: RouteKind::Unicast,
            on_link: false,
            preference: RouterPreference::Medium,
            lifetime: None,
        }
    }

    /// A default route by way of `gateway` over `interface` in the main table.
    #[must_use]
    pub const fn default_route(gateway: IpAddr, interface: u32) -> Self {
        let destination = match gateway {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self { gateway: Some(gateway), ..Self::new(destination, 0, interface) }
    }

    pub(crate) fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let family = Family::of(self.destination);
        message.header = RouteHeader {
            address_family: packet_family(family),
            destination_prefix_length: self.prefix_length,
            // Larger tables have their number in the attribute only.
            table: u8::try_from(self.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC),
            protocol: RouteProtocol::from(OUR_PROTOCOL),
            scope: match (family, self.kind, self.gateway) {
                (Family::V4, RouteKind::Unicast | RouteKind::Broadcast, None) => RouteScope::Link,
                _ => RouteScope::Universe,
            },
            kind: self.kind.into(),
            flags: if self.on_link { RouteFlags::Onlink } else { RouteFlags::empty() },
            ..RouteHeader::default()
        };
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Table(self.table));
        if self.prefix_length > 0 {
            attributes.push(RouteAttribute::Destination(self.destination.into()));
        }
        attributes.extend(self.gateway.map(|address| RouteAttribute::Gateway(address.into())));
        attributes.extend(self.interface.map(RouteAttribute::Oif));
        attributes.extend(self.metric.map(RouteAttribute::Priority));
        attributes.extend(self.preferred_source.map(|address| RouteAttribute::PrefSource(address.into())));
        if family == Family::V6 {
            attributes.push(RouteAttribute::Preference(self.preference.into()));
            attributes.extend(self.lifetime.map(RouteAttribute::Expires));
        }
        message
    }
}

/// The specification that removes a route found in the cache. Of a multipath route, which we never make, it names the
/// first way only.
impl From<&Route> for RouteSpec {
    fn from(route: &Route) -> Self {
        let way = route.next_hops.first().copied().unwrap_or_default();
        Self {
            table: route.table,
            destination: route.destination,
            prefix_length: route.prefix_length,
            gateway: way.gateway,
            interface: way.interface,
            metric: Some(route.metric),
            preferred_source: route.preferred_source,
            kind: route.kind,
            on_link: false,
            preference: route.preference,
            lifetime: None,
        }
    }
}
