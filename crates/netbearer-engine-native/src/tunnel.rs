//! A full-tunnel VPN of somebody else's, found by what it does to routes and rules. Pure.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netbearer_kernel::{Cache, Link, Route, RouteKind, RouteSpec, Rule, RuleAction};
use netbearer_types::{Families, Family, FullTunnel};

/// Kinds of interfaces that packets go into to come out elsewhere (`ip-link(8)`). Dial-up links (`ppp`) are none: they are how
/// a machine reaches the Internet.
const KINDS: [&str; 5] = ["tun", "wireguard", "xfrm", "vti", "vti6"];

/// Together these are everything. OpenVPN leaves the default route alone and adds them (`redirect-gateway def1`); in IPv6 it
/// names what is in use of the Internet.
const HALVES: [&[(IpAddr, u8)]; 3] = [
    &[(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 1), (IpAddr::V4(Ipv4Addr::new(128, 0, 0, 0)), 1)],
    &[(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 1), (IpAddr::V6(Ipv6Addr::new(0x8000, 0, 0, 0, 0, 0, 0, 0)), 1)],
    &[(IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0)), 3)],
];

/// The tunnel, or several as if they were one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tunnel {
    /// The interface of the first one.
    pub(crate) index: u32,
    pub(crate) full: FullTunnel,
    /// The lowest priority of the rules that make it one; none if it is made of routes in the main table only.
    pub(crate) first_rule: Option<u32>,
}

impl Tunnel {
    pub(crate) fn find(cache: &Cache) -> Option<Self> {
        // Most machines have none, and need no look at their routes.
        let tunnels = cache.links().values().filter(|link| is_tunnel(link));
        tunnels.filter_map(|link| Self::of(cache, link)).reduce(|first, other| Self {
            full: FullTunnel { families: first.full.families | other.full.families, ..first.full },
            first_rule: first.first_rule.into_iter().chain(other.first_rule).min(),
            ..first
        })
    }

    fn of(cache: &Cache, link: &Link) -> Option<Self> {
        let mut families = Families::empty();
        let mut first_rule = None;
        for family in [Family::V4, Family::V6] {
            let tables = full_tables(cache, link.index, family);
            let leading: Vec<&Rule> = foreign_rules(cache, family).filter(|rule| leads(rule, &tables)).collect();
            let is_main = tables.contains(&RouteSpec::MAIN_TABLE) && is_preferred(cache, link.index, family);
            if is_main || !leading.is_empty() {
                families |= family.into();
                // The rule that has the main table tried without its default routes belongs to it.
                let beside = foreign_rules(cache, family).filter(|rule| rule.suppressed_prefix_length.is_some());
                let rules = leading.into_iter().chain(beside).map(|rule| rule.priority);
                first_rule = first_rule.into_iter().chain(rules).min();
            }
        }
        let full = FullTunnel { interface_name: link.name.clone(), families };
        (!families.is_empty()).then_some(Self { index: link.index, full, first_rule })
    }
}

fn is_tunnel(link: &Link) -> bool {
    link.administratively_up && is_of_such_a_kind(link)
}

/// It may be one while it is up.
pub(crate) fn is_of_such_a_kind(link: &Link) -> bool {
    link.kind.as_deref().is_some_and(|kind| KINDS.contains(&kind))
}

/// The tables by which everything goes into the tunnel.
fn full_tables(cache: &Cache, tunnel: u32, family: Family) -> BTreeSet<u32> {
    let routes: Vec<&Route> = cache
        .routes_over(tunnel)
        .filter(|route| route.family == family && route.kind == RouteKind::Unicast && !route.is_ours())
        .collect();
    let has = |table: u32, (destination, length): (IpAddr, u8)| {
        routes
            .iter()
            .any(|route| route.table == table && route.destination == destination && route.prefix_length == length)
    };
    let is_full = |table: &u32| {
        routes.iter().any(|route| route.table == *table && route.is_default())
            || HALVES.iter().any(|halves| halves.iter().all(|half| has(*table, *half)))
    };
    routes.iter().map(|route| route.table).collect::<BTreeSet<u32>>().into_iter().filter(is_full).collect()
}

fn foreign_rules(cache: &Cache, family: Family) -> impl Iterator<Item = &Rule> {
    cache.rules().filter(move |rule| rule.family == family && !rule.is_ours())
}

/// The rule sends all traffic there, but perhaps for what carries a mark of the VPN's own.
fn leads(rule: &Rule, tables: &BTreeSet<u32>) -> bool {
    let is_for_all = rule.source.is_none()
        && rule.destination.is_none()
        && rule.output_interface.is_none()
        && rule.input_interface.is_none()
        && !rule.selects_further
        && (rule.mark.is_none_or(|mark| mark == 0) || rule.inverted)
        && rule.suppressed_prefix_length.is_none_or(|length| length < 1);
    let own_table = |table| table != RouteSpec::MAIN_TABLE && tables.contains(&table);
    is_for_all && matches!(rule.action, RuleAction::Table(table) if own_table(table))
}

/// In the main table the halves win against any default route, and of default routes the one with the lowest metric.
fn is_preferred(cache: &Cache, tunnel: u32, family: Family) -> bool {
    let main = || cache.routes().filter(move |route| route.family == family && route.table == RouteSpec::MAIN_TABLE);
    let defaults = || main().filter(|route| route.is_default());
    let over_tunnel = defaults().filter(|route| route.uses(tunnel)).map(|route| route.metric).min();
    let others = defaults().filter(|route| !route.uses(tunnel)).map(|route| route.metric).min();
    match (over_tunnel, others) {
        (Some(own), Some(other)) => own < other,
        // Without one it is made of halves.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use netbearer_kernel::{Change, HardwareAddress, NextHop, RouterPreference};
    use netbearer_types::Moment;

    use super::*;

    const TUNNEL: u32 = 9;
    const TABLE: u32 = 51_820;
    const HALF: &str = "0.0.0.0/1 128.0.0.0/1";

    fn link(index: u32, kind: &str) -> Link {
        Link {
            index,
            name: format!("{kind}{index}"),
            kind: Some(kind.to_owned()),
            link_layer: 0xfffe,
            hardware_address: HardwareAddress::default(),
            permanent_hardware_address: HardwareAddress::default(),
            administratively_up: true,
            carrier: true,
            running: true,
            loopback: false,
            point_to_point: true,
            carrier_losses: 0,
            mtu: 1420,
            controller: None,
            peer: None,
        }
    }

    fn route(destination: &str, table: u32, interface: u32, metric: u32) -> Route {
        let (address, length) = destination.split_once('/').unwrap();
        let destination: IpAddr = address.parse().unwrap();
        Route {
            family: Family::of(destination),
            table,
            destination,
            prefix_length: length.parse().unwrap(),
            metric,
            type_of_service: 0,
            kind: RouteKind::Unicast,
            scope: 0,
            protocol: 3,
            preferred_source: None,
            next_hops: vec![NextHop { gateway: None, interface: Some(interface) }],
            preference: RouterPreference::Medium,
            expires: None,
        }
    }

    fn rule(priority: u32, action: RuleAction) -> Rule {
        Rule { protocol: 3, ..Rule::new(Family::V4, priority, action) }
    }

    fn found(kind: &str, routes: &[Route], rules: &[Rule]) -> Option<Tunnel> {
        let mut cache = Cache::default();
        let routes = routes.iter().map(|route| Change::Route { route: route.clone(), replaces: false });
        let rules = rules.iter().cloned().map(Change::Rule);
        for change in [Change::Link(link(TUNNEL, kind))].into_iter().chain(routes).chain(rules) {
            cache.apply(change, Moment::ZERO);
        }
        Tunnel::find(&cache)
    }

    fn main(destinations: &str, interface: u32, metric: u32) -> Vec<Route> {
        destinations.split(' ').map(|one| route(one, RouteSpec::MAIN_TABLE, interface, metric)).collect()
    }

    #[test]
    fn wg_quicks_pair_of_rules_makes_one_and_each_half_of_it_alone_does_not() {
        let default = [route("0.0.0.0/0", TABLE, TUNNEL, 0)];
        let all_but_marked = Rule { mark: Some(TABLE), inverted: true, ..rule(5_099, RuleAction::Table(TABLE)) };
        let suppressed = Rule { suppressed_prefix_length: Some(0), ..rule(5_098, RuleAction::Table(254)) };
        let pair = [all_but_marked.clone(), suppressed];
        let tunnel = found("wireguard", &default, &pair).unwrap();
        assert_eq!((tunnel.full.families, tunnel.first_rule), (Families::V4, Some(5_098)));
        assert_eq!(found("wireguard", &default, &pair[1..]), None);
        assert_eq!(found("wireguard", &[], &pair), None);
        assert_eq!(found("veth", &default, &pair), None, "no tunnel");
        let some = Rule { inverted: false, ..all_but_marked };
        assert_eq!(found("wireguard", &default, &[some]), None, "only what is marked");
    }

    #[test]
    fn routes_in_the_main_table_make_one_if_they_win() {
        assert!(found("tun", &main(HALF, TUNNEL, 0), &[]).is_some_and(|tunnel| tunnel.first_rule.is_none()));
        assert_eq!(found("tun", &main("0.0.0.0/1", TUNNEL, 0), &[]), None, "half of it");
        assert_eq!(found("tun", &main("10.0.0.0/8", TUNNEL, 0), &[]), None);
        let beside = |metric| [main("0.0.0.0/0", TUNNEL, 50), main("0.0.0.0/0", 2, metric)].concat();
        assert!(found("tun", &beside(100), &[]).is_some());
        assert_eq!(found("tun", &beside(20), &[]), None);
        assert!(
            found("tun", &main("2000::/3", TUNNEL, 0), &[]).is_some_and(|found| found.full.families == Families::V6)
        );
    }
}
