//! Addresses and routes that a profile says itself (static addressing). Pure.

use std::net::IpAddr;

use netbearer_kernel::{AddressSpec, RouteSpec};
use netbearer_types::{Family, NetworkAddress, Profile};

use crate::steering::Steering;

/// The metric of such routes to IPv6 destinations in a table of ours: before all that are learnt from routers.
const METRIC: u32 = 512;

/// The addresses. The on-link routes are ours to make, so that they have our tag and our metric.
pub(crate) fn addresses(interface: u32, profile: &Profile) -> Vec<AddressSpec> {
    let address = |address: &NetworkAddress| AddressSpec {
        prefix_route: false,
        // Nobody waits for duplicate address detection.
        optimistic: address.address().is_ipv6(),
        ..AddressSpec::new(interface, address.address(), address.prefix_length())
    };
    profile.addresses.iter().map(address).collect()
}

/// The routes: to the networks of the addresses and by the gateways, in the access point's own table, and in the main one with
/// a `metric`.
pub(crate) fn routes(steering: &Steering, interface: u32, metric: u32, profile: &Profile) -> Vec<RouteSpec> {
    let own = |route: &RouteSpec| {
        let metric = (Family::of(route.destination) == Family::V6).then_some(METRIC);
        RouteSpec { table: steering.table(), metric, ..route.clone() }
    };
    let main = |route: &RouteSpec| RouteSpec { metric: Some(metric), ..route.clone() };
    let mut routes: Vec<RouteSpec> = steering.dead_end(interface, profile.bypass_vpn).into_iter().collect();
    for address in &profile.addresses {
        let on_link = RouteSpec {
            preferred_source: source(address),
            ..RouteSpec::new(address.network(), address.prefix_length(), interface)
        };
        // Two addresses of one network need one route.
        if !routes.contains(&main(&on_link)) && !routes.iter().any(|route| is_same_way(route, &on_link)) {
            routes.extend([own(&on_link), main(&on_link)]);
        }
    }
    for gateway in &profile.gateways {
        let reaching = profile.addresses.iter().find(|address| address.contains(*gateway));
        let everywhere = match gateway {
            IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        };
        let default = RouteSpec {
            gateway: Some(*gateway),
            preferred_source: reaching.and_then(source),
            ..RouteSpec::new(everywhere, 0, interface)
        };
        routes.push(own(&default));
        routes.extend(profile.default_route.then(|| main(&default)));
    }
    routes
}

fn is_same_way(route: &RouteSpec, other: &RouteSpec) -> bool {
    (route.destination, route.prefix_length) == (other.destination, other.prefix_length) && route.gateway.is_none()
}

/// In IPv6 the kernel chooses among the addresses there are (RFC 6724), temporary ones too.
fn source(address: &NetworkAddress) -> Option<IpAddr> {
    Some(address.address()).filter(IpAddr::is_ipv4)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use netbearer_types::{Addressing, BypassVpn, SteeringPlan};

    use super::*;
    use crate::steering::Numbers;

    const INTERFACE: u32 = 7;

    fn profile() -> Profile {
        Profile {
            addressing: Addressing::Static,
            addresses: ["192.0.2.10/24", "192.0.2.11/24", "2001:db8::10/64"].map(|text| text.parse().unwrap()).into(),
            gateways: ["192.0.2.1", "fe80::1"].map(|text| text.parse().unwrap()).into(),
            ..Profile::default()
        }
    }

    /// Table, destination, gateway, metric.
    fn told(profile: &Profile) -> Vec<String> {
        let steering = Numbers::new(SteeringPlan::default().first_table).reserve(&BTreeSet::new()).unwrap();
        let told = |route: RouteSpec| {
            let table = if route.table == RouteSpec::MAIN_TABLE { "main" } else { "own" };
            let gateway = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
            let metric = route.metric.map(|metric| format!(" metric {metric}")).unwrap_or_default();
            format!("{table} {}/{}{gateway}{metric}", route.destination, route.prefix_length)
        };
        routes(&steering, INTERFACE, 9, profile).into_iter().map(told).collect()
    }

    #[test]
    fn each_network_and_each_gateway_has_a_route_in_both_tables() {
        let expected = [
            "own 192.0.2.0/24",
            "main 192.0.2.0/24 metric 9",
            "own 2001:db8::/64 metric 512",
            "main 2001:db8::/64 metric 9",
            "own 0.0.0.0/0 via 192.0.2.1",
            "main 0.0.0.0/0 via 192.0.2.1 metric 9",
            "own ::/0 via fe80::1 metric 512",
            "main ::/0 via fe80::1 metric 9",
        ];
        assert_eq!(told(&profile()), expected);
    }

    #[test]
    fn without_a_default_route_the_main_table_has_none() {
        let told = told(&Profile { default_route: false, ..profile() });
        assert!(told.iter().all(|route| !route.starts_with("main") || !route.contains("/0")), "{told:?}");
        assert_eq!(told.iter().filter(|route| route.starts_with("own")).count(), 4);
    }

    #[test]
    fn beside_a_vpn_that_nothing_may_bypass_there_is_the_dead_end() {
        assert_eq!(told(&Profile { bypass_vpn: BypassVpn::Never, ..profile() }).len(), told(&profile()).len() + 1);
    }

    #[test]
    fn addresses_last_and_are_used_at_once() {
        let addresses = addresses(INTERFACE, &profile());
        assert!(addresses.iter().all(|address| address.lifetime.is_none() && !address.prefix_route));
        assert_eq!(addresses.iter().map(|address| address.optimistic).collect::<Vec<_>>(), [false, false, true]);
    }
}
