//! Whose packets go where: one routing table and one mark for each access point of ours (ARCHITECTURE.md, "Steering").
//! Pure but for the register of numbers in use.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
};

use netbearer_dhcp::{Lease, Route};
use netbearer_kernel::{AddressLifetime, AddressSpec, Cache, RouteSpec, RuleAction, RuleSpec};
use netbearer_types::{AnnouncedRoutes, BearerFamily, Family, Moment, Profile};

use crate::learnt::Learnt;

/// Tables are this plus the access point's number.
const FIRST_TABLE: u32 = 21_000;
/// Where in a firewall mark the number stands.
const MARK_MASK: u32 = 0x7f00_0000;
const MARK_SHIFT: u32 = 24;
/// A value in the same place that another program's marks are known to have.
const FOREIGN_MARK: u8 = 0x6d;
const LAST_NUMBER: u8 = 0x7f;
/// The metric of the most preferred IPv6 route to a destination in a table of ours: the kernel's own default.
const FIRST_METRIC: u32 = 1_024;

/// Sockets bound to the interface.
const BOUND_PRIORITY: u32 = 5_100;
/// Marked sockets.
const MARKED_PRIORITY: u32 = 5_110;
/// Marked sockets without a way out are refused at once instead of leaking.
const FAIL_CLOSED_PRIORITY: u32 = 5_111;
/// Traffic from the access point's own address, replies included.
const SOURCE_PRIORITY: u32 = 5_120;

/// The numbers in use in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    used: Arc<Mutex<BTreeSet<u8>>>,
}

/// The table and the mark of one access point, reserved while it lives.
#[derive(Debug)]
pub(crate) struct Steering {
    number: u8,
    numbers: Numbers,
}

impl Numbers {
    /// Reserves the lowest number that is neither used by us nor has a table that is met in the kernel.
    pub(crate) fn reserve(&self, tables_in_use: &BTreeSet<u32>) -> Option<Steering> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let number = (1..=LAST_NUMBER).find(|number| {
            *number != FOREIGN_MARK
                && !used.contains(number)
                && !tables_in_use.contains(&(FIRST_TABLE + u32::from(*number)))
        })?;
        used.insert(number);
        Some(Steering { number, numbers: self.clone() })
    }
}

impl Drop for Steering {
    fn drop(&mut self) {
        self.numbers.used.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// Tables that hold routes or are looked up by rules, whoever made them: what carries our tag may be another process's.
pub(crate) fn tables_in_use(cache: &Cache) -> BTreeSet<u32> {
    let routes = cache.routes().map(|route| route.table);
    let rules = cache.rules().filter_map(|rule| match rule.action {
        RuleAction::Table(table) => Some(table),
        _ => None,
    });
    routes.chain(rules).collect()
}

impl Steering {
    pub(crate) fn table(&self) -> u32 {
        FIRST_TABLE + u32::from(self.number)
    }

    /// The rules of a family that do not depend on an address. Those of a family come with the first address of it.
    pub(crate) fn standing_rules(&self, family: Family, interface_name: &str) -> Vec<RuleSpec> {
        let mark = Some((u32::from(self.number) << MARK_SHIFT, MARK_MASK));
        let to_table = RuleAction::Table(self.table());
        vec![
            RuleSpec {
                output_interface: Some(interface_name.to_owned()),
                ..RuleSpec::new(family, BOUND_PRIORITY, to_table)
            },
            RuleSpec { mark, ..RuleSpec::new(family, MARKED_PRIORITY, to_table) },
            RuleSpec { mark, ..RuleSpec::new(family, FAIL_CLOSED_PRIORITY, RuleAction::Unreachable) },
        ]
    }

    /// The rule for traffic from an address of the access point.
    pub(crate) fn source_rule(&self, address: IpAddr) -> RuleSpec {
        let family = Family::of(address);
        let length = if family == Family::V4 { 32 } else { 128 };
        RuleSpec {
            source: Some((address, length)),
            ..RuleSpec::new(family, SOURCE_PRIORITY, RuleAction::Table(self.table()))
        }
    }

    /// What the kernel has learnt of a link, for our own table; the main one has it already. Of several routes to one
    /// destination each gets a metric of its own, in the order of the kernel's preference: with the same one, ours would
    /// become one route with several ways.
    pub(crate) fn learnt_routes(&self, interface: u32, learnt: &Learnt) -> Vec<RouteSpec> {
        let mut metrics: BTreeMap<(IpAddr, u8), u32> = BTreeMap::new();
        let mirrored = learnt.routes.iter().map(|route| {
            let metric = metrics.entry((route.destination, route.prefix_length)).or_insert(FIRST_METRIC);
            *metric += 1;
            RouteSpec {
                table: self.table(),
                gateway: route.gateway,
                metric: Some(*metric - 1),
                ..RouteSpec::new(route.destination, route.prefix_length, interface)
            }
        });
        mirrored.collect()
    }

    /// The routes of a lease: in our own table, and in the main one with a metric. Of the classless routes (option 121)
    /// only the default one goes to the main table, unless the profile says otherwise: what a network announces must not pull other programs' traffic to it.
    /// For the same reason an implausibly large public network stays out of it.
    pub(crate) fn routes(&self, interface: u32, lease: &Lease, metric: u32, profile: &Profile) -> Vec<RouteSpec> {
        let source = Some(IpAddr::V4(lease.address));
        let own = |route: RouteSpec| RouteSpec { table: self.table(), preferred_source: source, ..route };
        let main = |route: RouteSpec| RouteSpec { metric: Some(metric), preferred_source: source, ..route };
        let network = IpAddr::V4(network(lease.address, lease.prefix_length));
        let on_link = RouteSpec::new(network, lease.prefix_length, interface);
        let announced: Vec<RouteSpec> = lease
            .routes()
            .iter()
            .filter(|route| !has_hidden_router(route, lease))
            .map(|route| via(route, interface, lease))
            .collect();
        // Several default routes differ in nothing that a table tells apart, so the most preferred one is taken.
        let default = announced.iter().find(|route| route.prefix_length == 0);
        let others = announced.iter().filter(|route| route.prefix_length > 0 && route.destination != network);
        let mut routes = vec![own(on_link.clone())];
        routes.extend((!is_implausible(lease.address, lease.prefix_length)).then(|| main(on_link)));
        routes.extend(default.into_iter().chain(others.clone()).cloned().map(own));
        routes.extend(default.filter(|_| profile.default_route).cloned().map(main));
        let is_wanted_everywhere = profile.announced_routes == AnnouncedRoutes::Main;
        routes.extend(others.filter(|_| is_wanted_everywhere).cloned().map(main));
        routes
    }
}

/// No network of one link is this large, unless it lies in a private block (RFC 1918, RFC 6598) as a whole. A route to it
/// would beat default routes elsewhere.
fn is_implausible(address: Ipv4Addr, prefix_length: u8) -> bool {
    const SHORTEST_PUBLIC: u8 = 16;
    const PRIVATE: [(Ipv4Addr, u8); 4] = [
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(100, 64, 0, 0), 10),
    ];
    let is_within = |(block, length): (Ipv4Addr, u8)| prefix_length >= length && network(address, length) == block;
    prefix_length < SHORTEST_PUBLIC && !PRIVATE.into_iter().any(is_within)
}

/// The router lies behind another router, where no kernel looks for it.
fn has_hidden_router(route: &Route, lease: &Lease) -> bool {
    let Some(router) = route.gateway else { return false };
    let contains = |destination: Ipv4Addr, length| network(router, length) == network(destination, length);
    let routes = lease.routes();
    let narrowest = routes.iter().filter(|other| contains(other.destination, other.prefix_length));
    let narrowest = narrowest.max_by_key(|other| other.prefix_length);
    !contains(lease.address, lease.prefix_length)
        && narrowest
            .is_some_and(|other| other.prefix_length > 0 && other.gateway.is_some_and(|gateway| gateway != router))
}

fn via(route: &Route, interface: u32, lease: &Lease) -> RouteSpec {
    let gateway = route.gateway.map(IpAddr::V4);
    let reached = |gateway| network(gateway, lease.prefix_length) == network(lease.address, lease.prefix_length);
    RouteSpec {
        gateway,
        // Some clouds lease a /32, and their router lies outside of it.
        on_link: route.gateway.is_some_and(|gateway| !reached(gateway)),
        ..RouteSpec::new(IpAddr::V4(route.destination), route.prefix_length, interface)
    }
}

/// The address of a lease, with the lease's own lifetime: should we die, the kernel removes it in time. The on-link route
/// is ours to make, so that it has our tag and our metric.
pub(crate) fn address(interface: u32, lease: &Lease, now: Moment) -> AddressSpec {
    AddressSpec {
        broadcast: lease.broadcast,
        lifetime: lease.term.expires_at().map(|end| {
            // Rounded up: as long as we live, the end is ours to tell.
            let left = u32::try_from((end - now).as_secs() + 1).unwrap_or(u32::MAX);
            AddressLifetime { valid: left, preferred: left }
        }),
        prefix_route: false,
        ..AddressSpec::new(interface, IpAddr::V4(lease.address), lease.prefix_length)
    }
}

/// The metric of routes in the main table: wired before wireless before mobile, as other network software counts, higher
/// preference before lower, and never the same twice.
pub(crate) fn metric(family: BearerFamily, preference: i32, steering: &Steering) -> u32 {
    let base: i64 = match family {
        BearerFamily::Wired => 1_000,
        BearerFamily::Wireless => 2_000,
        BearerFamily::Mobile => 3_000,
        _ => 4_000,
    };
    // A preference outweighs the bearer family, and a number never outweighs a preference.
    let preferred = i64::from(preference.clamp(-1_000, 1_000)) * 10_000;
    let metric = 20_000_000 - preferred + base + i64::from(steering.number);
    u32::try_from(metric).unwrap_or(u32::MAX)
}

fn network(address: Ipv4Addr, prefix_length: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix_length.min(32))).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_reused_and_avoid_what_is_foreign() {
        let numbers = Numbers::default();
        let first = numbers.reserve(&BTreeSet::new()).unwrap();
        assert_eq!(first.table(), 21_001);
        assert_eq!(numbers.reserve(&BTreeSet::from([21_002])).unwrap().table(), 21_003);
        drop(first);
        assert_eq!(numbers.reserve(&BTreeSet::new()).unwrap().table(), 21_001);
    }

    #[test]
    fn the_known_foreign_mark_is_never_used_and_numbers_end() {
        let numbers = Numbers::default();
        let all: Vec<Steering> = std::iter::from_fn(|| numbers.reserve(&BTreeSet::new())).collect();
        assert_eq!(all.len(), usize::from(LAST_NUMBER) - 1);
        assert!(all.iter().all(|steering| steering.number != FOREIGN_MARK && steering.number > 0));
    }

    #[test]
    fn only_private_networks_may_be_larger_than_any_link() {
        let judged = |networks: &[([u8; 4], u8)]| -> Vec<bool> {
            networks.iter().map(|(address, length)| is_implausible((*address).into(), *length)).collect()
        };
        let implausible = [([10, 0, 0, 5], 1), ([100, 64, 0, 5], 1), ([192, 168, 1, 5], 8), ([8, 8, 8, 8], 15)];
        assert_eq!(judged(&implausible), [true; 4]);
        let plausible = [([10, 0, 0, 5], 8), ([172, 20, 0, 5], 12), ([100, 64, 0, 5], 10), ([8, 8, 8, 8], 24)];
        assert_eq!(judged(&plausible), [false; 4]);
    }

    #[test]
    fn networks_are_cut_at_the_prefix() {
        let address = Ipv4Addr::new(10, 11, 12, 13);
        assert_eq!(network(address, 24), Ipv4Addr::new(10, 11, 12, 0));
        assert_eq!(network(address, 32), address);
        assert_eq!(network(address, 0), Ipv4Addr::UNSPECIFIED);
    }

    #[test]
    fn preference_outweighs_the_bearer_and_the_bearer_the_number() {
        let numbers = Numbers::default();
        let low = numbers.reserve(&BTreeSet::new()).unwrap();
        let high = numbers.reserve(&BTreeSet::new()).unwrap();
        let wired = metric(BearerFamily::Wired, 0, &high);
        assert!(wired < metric(BearerFamily::Wireless, 0, &low));
        assert!(metric(BearerFamily::Mobile, 1, &high) < wired);
        assert!(metric(BearerFamily::Wired, 0, &low) < wired);
        assert!(metric(BearerFamily::Unknown, i32::MIN, &high) > metric(BearerFamily::Unknown, i32::MAX, &high));
    }
}
