//! What the kernel has learnt from the IPv6 routers on a link, and who may use it. Pure.

use std::{
    cmp::Reverse,
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};

use netbearer_kernel::{Address, Cache, Route, RouteKind, RouteSpec, RouterPreference};
use netbearer_types::{AddressScope, Family};

/// The usable IPv6 addresses of a link, and the routes that the kernel itself made over it. A level: the engine tells the
/// worker whenever it differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Learnt {
    /// Global and unique local ones, temporary ones too.
    pub(crate) addresses: BTreeSet<Ipv6Addr>,
    /// Those of the main table, the most preferred first.
    pub(crate) routes: Vec<LearntRoute>,
}

/// A route that the kernel made: to an on-link prefix, by a router advertisement, or to a network that a router announced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LearntRoute {
    pub(crate) destination: IpAddr,
    pub(crate) prefix_length: u8,
    /// The kernel's metric first, then the router's preference, as the kernel itself ranks them.
    rank: (u32, Reverse<RouterPreference>),
    pub(crate) gateway: Option<IpAddr>,
}

impl Learnt {
    pub(crate) fn of(cache: &Cache, interface: u32) -> Self {
        let mut routes: Vec<LearntRoute> =
            cache.routes_over(interface).filter(|route| is_learnt(route)).map(LearntRoute::from).collect();
        routes.sort_unstable();
        routes.dedup();
        Self { addresses: cache.addresses_of(interface).filter_map(usable).collect(), routes }
    }

    /// True if the Internet can be reached by it.
    pub(crate) fn is_sufficient(&self) -> bool {
        !self.addresses.is_empty() && self.routes.iter().any(|route| route.prefix_length == 0)
    }
}

impl From<&Route> for LearntRoute {
    fn from(route: &Route) -> Self {
        Self {
            destination: route.destination,
            prefix_length: route.prefix_length,
            rank: (route.metric, Reverse(route.preference)),
            gateway: route.gateway(),
        }
    }
}

fn usable(address: &Address) -> Option<Ipv6Addr> {
    let is_usable =
        address.scope == AddressScope::Global && !address.duplicate && (!address.tentative || address.optimistic);
    match address.address {
        IpAddr::V6(address) if is_usable => Some(address),
        _ => None,
    }
}

/// Routes that somebody else put into the main table are his, and stay there only.
fn is_learnt(route: &Route) -> bool {
    route.family == Family::V6
        && route.table == RouteSpec::MAIN_TABLE
        && route.kind == RouteKind::Unicast
        && !route.destination.is_multicast()
        && (route.is_advertised() || route.is_of_the_kernel())
}

#[cfg(test)]
mod tests {
    use netbearer_kernel::{Dump, NextHop};

    use super::*;
    use crate::steering::Numbers;

    const INTERFACE: u32 = 7;
    const KERNEL: u8 = 2;
    const STATIC: u8 = 4;
    const ADVERTISED: u8 = 9;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn route(destination: &str, prefix_length: u8, gateway: Option<&str>, protocol: u8) -> Route {
        Route {
            family: Family::V6,
            table: RouteSpec::MAIN_TABLE,
            destination: address(destination),
            prefix_length,
            metric: 1_024,
            type_of_service: 0,
            kind: RouteKind::Unicast,
            scope: 0,
            protocol,
            preferred_source: None,
            next_hops: vec![NextHop { gateway: gateway.map(address), interface: Some(INTERFACE) }],
            preference: RouterPreference::Medium,
            expires: None,
        }
    }

    fn learnt(routes: impl IntoIterator<Item = Route>) -> Learnt {
        let mut cache = Cache::default();
        cache.update(Dump::Routes(Family::V6, routes.into_iter().collect()));
        Learnt::of(&cache, INTERFACE)
    }

    #[test]
    fn what_the_kernel_made_over_the_link_is_learnt_and_what_others_made_is_not() {
        let elsewhere = Route {
            next_hops: vec![NextHop { gateway: None, interface: Some(8) }],
            ..route("2001:db8:8::", 64, None, KERNEL)
        };
        let learnt = learnt([
            route("2001:db8:1::", 64, None, KERNEL),
            route("::", 0, Some("fe80::1"), ADVERTISED),
            route("2001:db8:5::", 48, Some("fe80::5"), STATIC),
            Route { table: 100, ..route("2001:db8:6::", 48, Some("fe80::1"), ADVERTISED) },
            route("ff00::", 8, None, KERNEL),
            elsewhere,
        ]);
        let destinations: Vec<IpAddr> = learnt.routes.iter().map(|route| route.destination).collect();
        assert_eq!(destinations, [address("::"), address("2001:db8:1::")]);
        assert!(!learnt.is_sufficient(), "no address yet");
    }

    #[test]
    fn of_several_routers_the_preferred_one_gets_the_lowest_metric_and_none_the_same() {
        let preferred = |gateway, preference| Route { preference, ..route("::", 0, Some(gateway), ADVERTISED) };
        let learnt = learnt([
            preferred("fe80::1", RouterPreference::Low),
            preferred("fe80::2", RouterPreference::High),
            preferred("fe80::3", RouterPreference::Medium),
        ]);
        let steering =
            Numbers::new(netbearer_types::SteeringPlan::default().first_table).reserve(&BTreeSet::new()).unwrap();
        let routes = steering.learnt_routes(INTERFACE, &learnt);
        let ranked: Vec<_> = routes.iter().map(|route| (route.gateway.unwrap(), route.metric.unwrap())).collect();
        let expected = [("fe80::2", 1_024), ("fe80::3", 1_025), ("fe80::1", 1_026)];
        assert_eq!(ranked, expected.map(|(gateway, metric)| (address(gateway), metric)));
    }
}
