//! Whose packets go where: one routing table and one mark for each access point of ours (ARCHITECTURE.md, "Steering").
//! Pure but for the register of numbers in use.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
};

use netbearer_dhcp::{Lease, Route};
use netbearer_kernel::{AddressLifetime, AddressSpec, Cache, RouteSpec, RuleAction, RuleSpec};
use netbearer_types::{BearerFamily, Family, Moment};

/// Tables are this plus the access point's number.
const FIRST_TABLE: u32 = 21_000;
/// Where in a firewall mark the number stands.
const MARK_MASK: u32 = 0x7f00_0000;
const MARK_SHIFT: u32 = 24;
/// A value in the same place that another program's marks are known to have.
const FOREIGN_MARK: u8 = 0x6d;
const LAST_NUMBER: u8 = 0x7f;

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
    /// Reserves the lowest number that is neither used by us nor met in somebody else's tables.
    pub(crate) fn reserve(&self, foreign: &BTreeSet<u32>) -> Option<Steering> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let number = (1..=LAST_NUMBER).find(|number| {
            *number != FOREIGN_MARK && !used.contains(number) && !foreign.contains(&(FIRST_TABLE + u32::from(*number)))
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

/// Tables that hold routes or are looked up by rules of somebody else.
pub(crate) fn foreign_tables(cache: &Cache) -> BTreeSet<u32> {
    let routes = cache.routes().filter(|route| !route.is_ours()).map(|route| route.table);
    let rules = cache.rules().filter(|rule| !rule.is_ours()).filter_map(|rule| match rule.action {
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

    /// The rule for traffic from a leased address.
    pub(crate) fn source_rule(&self, address: Ipv4Addr) -> RuleSpec {
        RuleSpec {
            source: Some((IpAddr::V4(address), 32)),
            ..RuleSpec::new(Family::V4, SOURCE_PRIORITY, RuleAction::Table(self.table()))
        }
    }

    /// The routes of a lease: in our own table, and in the main one with a metric. Of the classless routes (option 121)
    /// only the default one goes to the main table: what a network announces must not pull other programs' traffic to it.
    pub(crate) fn routes(&self, interface: u32, lease: &Lease, metric: u32, default_route: bool) -> Vec<RouteSpec> {
        let source = Some(IpAddr::V4(lease.address));
        let own = |route: RouteSpec| RouteSpec { table: self.table(), preferred_source: source, ..route };
        let main = |route: RouteSpec| RouteSpec { metric: Some(metric), preferred_source: source, ..route };
        let network = IpAddr::V4(network(lease.address, lease.prefix_length));
        let on_link = RouteSpec::new(network, lease.prefix_length, interface);
        let announced: Vec<RouteSpec> = lease.routes().iter().map(|route| via(route, interface, lease)).collect();
        // Several default routes differ in nothing that a table tells apart, so the most preferred one is taken.
        let default = announced.iter().find(|route| route.prefix_length == 0);
        let others = announced.iter().filter(|route| route.prefix_length > 0 && route.destination != network);
        let mut routes = vec![own(on_link.clone()), main(on_link)];
        routes.extend(default.into_iter().chain(others).cloned().map(own));
        routes.extend(default.filter(|_| default_route).cloned().map(main));
        routes
    }
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
