//! Whose packets go where: one routing table and one mark for each access point of ours (ARCHITECTURE.md, "Steering").
//! Pure but for the register of numbers in use.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use netbearer_dhcp::{Lease, Route};
use netbearer_kernel::{AddressLifetime, AddressSpec, Cache, RouteKind, RouteSpec, RuleAction, RuleSpec};
use netbearer_types::{AnnouncedRoutes, BearerFamily, BypassVpn, Family, Moment, Profile, TableBase};

use crate::{learnt::Learnt, surroundings::Surroundings, tunnel::Tunnel};

/// A value that another program's marks are known to have where ours have the number by default.
const FOREIGN_MARK: u8 = 0x6d;
const LAST_NUMBER: u8 = 0x7f;
/// The metric of the most preferred IPv6 route to a destination in a table of ours: the kernel's own default.
const FIRST_METRIC: u32 = 1_024;
/// By how much the kernel keeps an address longer than its lease, less the part of a second that it does not count.
const PATIENCE: Duration = Duration::from_secs(3);

/// Sockets bound to the interface.
const BOUND_PRIORITY: u32 = 5_100;
/// Marked sockets.
const MARKED_PRIORITY: u32 = 5_110;
/// Marked sockets without a way out are refused at once instead of leaking.
const FAIL_CLOSED_PRIORITY: u32 = 5_111;
/// Traffic from the access point's own address, replies included.
const SOURCE_PRIORITY: u32 = 5_120;
/// From the first priority of ours to the last one.
const PRIORITIES: u32 = SOURCE_PRIORITY - BOUND_PRIORITY;

/// The numbers that access points may have.
pub(crate) fn numbers() -> impl Iterator<Item = u8> {
    (1..=LAST_NUMBER).filter(|number| *number != FOREIGN_MARK)
}

/// The numbers in use in this process.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    tables: TableBase,
    used: Arc<Mutex<BTreeSet<u8>>>,
}

/// The table and the mark of one access point, reserved while it lives.
#[derive(Debug)]
pub(crate) struct Steering {
    number: u8,
    numbers: Numbers,
}

impl Numbers {
    pub(crate) fn new(tables: TableBase) -> Self {
        Self { tables, used: Arc::default() }
    }

    /// Reserves the number of this table, which a process had that is gone; none if it is used, or is no number's any more.
    pub(crate) fn reserve_table(&self, table: u32) -> Option<Steering> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let number = numbers().find(|number| self.tables.table(*number) == table && !used.contains(number))?;
        used.insert(number);
        Some(Steering { number, numbers: self.clone() })
    }

    /// Reserves the lowest number that is neither used by us nor has a table that is met in the kernel.
    pub(crate) fn reserve(&self, tables_in_use: &BTreeSet<u32>) -> Option<Steering> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let number =
            numbers().find(|number| !used.contains(number) && !tables_in_use.contains(&self.tables.table(*number)))?;
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
        self.numbers.tables.table(self.number)
    }

    /// The rules of an access point, as things stand around it.
    pub(crate) const fn rules<'a>(&'a self, surroundings: &'a Surroundings, bypass: BypassVpn) -> Rules<'a> {
        Rules { steering: self, surroundings, bypass }
    }

    /// Where sockets bound to the link end that may not leave outside a VPN: TCP is refused at once, and so are datagrams.
    pub(crate) fn dead_end(&self, interface: u32, bypass: BypassVpn) -> Option<RouteSpec> {
        let everything = RouteSpec::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0, interface);
        (bypass == BypassVpn::Never).then(|| RouteSpec {
            table: self.numbers.tables.dead_end(),
            kind: RouteKind::Broadcast,
            // One for each link.
            metric: Some(self.number.into()),
            ..everything
        })
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
        let mut routes: Vec<RouteSpec> = self.dead_end(interface, profile.bypass_vpn).into_iter().collect();
        routes.push(own(on_link.clone()));
        routes.extend((!is_implausible(lease.address, lease.prefix_length)).then(|| main(on_link)));
        routes.extend(default.into_iter().chain(others.clone()).cloned().map(own));
        routes.extend(default.filter(|_| profile.default_route).cloned().map(main));
        let is_wanted_everywhere = profile.announced_routes == AnnouncedRoutes::Main;
        routes.extend(others.filter(|_| is_wanted_everywhere).cloned().map(main));
        routes
    }
}

/// True for a route of ours that repeats what the kernel has learnt, as far as its table and its metric tell.
pub(crate) fn is_learnt(route: &RouteSpec) -> bool {
    let has_such_metric = route.metric.is_some_and(|metric| metric >= FIRST_METRIC);
    route.table != RouteSpec::MAIN_TABLE && Family::of(route.destination) == Family::V6 && has_such_metric
}

/// Which rules an access point is to have, as things stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    steering: &'a Steering,
    surroundings: &'a Surroundings,
    bypass: BypassVpn,
}

impl Rules<'_> {
    /// The rules of a family that do not depend on an address. Those of a family come with the first address of it.
    pub(crate) fn standing(&self, family: Family, interface_name: &str) -> Vec<RuleSpec> {
        let bound = |priority, action| RuleSpec {
            output_interface: Some(interface_name.to_owned()),
            ..RuleSpec::new(family, priority, action)
        };
        if self.bypass == BypassVpn::Never && self.is_beside_tunnel(family) {
            // What has a way of its own in the main table the tunnel leaves outside, too. Without the second rule the default
            // route of the main table would do for bound sockets, as no route of the tunnel does.
            let outside = bound(BOUND_PRIORITY, RuleAction::Table(RouteSpec::MAIN_TABLE));
            let dead_end = match family {
                // Where there is no route, the kernel looks for what a bound socket wants on the link itself
                // (`ip_route_output_key_hash_rcu` of `net/ipv4/route.c`), and somebody there may answer for it.
                Family::V4 => RuleAction::Table(self.steering.numbers.tables.dead_end()),
                Family::V6 => RuleAction::Unreachable,
            };
            return vec![
                RuleSpec { suppressed_prefix_length: Some(1), ..outside },
                bound(BOUND_PRIORITY + 1, dead_end),
            ];
        }
        let first = self.first_priority(family);
        let at = |priority| first + priority - BOUND_PRIORITY;
        let to_table = RuleAction::Table(self.steering.table());
        let mut rules = vec![bound(first, to_table)];
        if let Some(field) = self.surroundings.mark_field {
            let mark = Some((field.mark(self.steering.number), field.mask()));
            rules.push(RuleSpec { mark, ..RuleSpec::new(family, at(MARKED_PRIORITY), to_table) });
            rules.push(RuleSpec { mark, ..RuleSpec::new(family, at(FAIL_CLOSED_PRIORITY), RuleAction::Unreachable) });
        }
        rules
    }

    /// The rule for traffic from an address of the access point, if there is to be one.
    pub(crate) fn source(&self, address: IpAddr) -> Option<RuleSpec> {
        let family = Family::of(address);
        let length = if family == Family::V4 { 32 } else { 128 };
        let is_steered = self.bypass == BypassVpn::All || !self.is_beside_tunnel(family);
        let priority = self.first_priority(family) + PRIORITIES;
        is_steered.then(|| RuleSpec {
            source: Some((address, length)),
            ..RuleSpec::new(family, priority, RuleAction::Table(self.steering.table()))
        })
    }

    fn is_beside_tunnel(&self, family: Family) -> bool {
        self.surroundings.tunnel.as_ref().is_some_and(|tunnel| tunnel.full.families.contains(family.into()))
    }

    /// Whoever came first: what may leave outside a tunnel comes before its rules, which `ip rule` puts before all there are.
    fn first_priority(&self, family: Family) -> u32 {
        let tunnel = self.surroundings.tunnel.as_ref().filter(|_| self.is_beside_tunnel(family));
        let before = tunnel.and_then(|tunnel| tunnel.first_rule).and_then(before);
        before.map_or(BOUND_PRIORITY, |priority| priority.min(BOUND_PRIORITY))
    }
}

/// The first of as many priorities as ours before this one; none if there is no room.
fn before(priority: u32) -> Option<u32> {
    // 0 is the local table's.
    priority.checked_sub(PRIORITIES + 1).filter(|first| *first > 0)
}

/// Why ours do not come before the rules of this tunnel, for people.
pub(crate) fn obstacle_before(tunnel: &Tunnel) -> Option<String> {
    let first = tunnel.first_rule.filter(|first| before(*first).is_none())?;
    let name = &tunnel.full.interface_name;
    let least = PRIORITIES + 2;
    Some(format!(
        "only bound sockets leave outside of the VPN {name}: its rules begin at the priority {first}, which leaves no room before them; have them begin at {least} or later"
    ))
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
        lifetime: lease.term.expires_at().map(|end| lifetime(end - now)),
        prefix_route: false,
        ..AddressSpec::new(interface, IpAddr::V4(lease.address), lease.prefix_length)
    }
}

/// How long the kernel keeps an address whose lease has so much time left. As long as we live, the end is ours to tell, and a
/// busy machine lets us do so late; the kernel itself removes an address up to a fiftieth of a second early
/// (`check_lifetime` of `net/ipv4/devinet.c`).
fn lifetime(left: Duration) -> AddressLifetime {
    let kept = u32::try_from(left.saturating_add(PATIENCE).as_secs()).unwrap_or(u32::MAX);
    AddressLifetime { valid: kept, preferred: kept }
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
    use netbearer_types::{FullTunnel, SteeringPlan};

    use super::*;

    fn numbers_of_ours() -> Numbers {
        Numbers::new(SteeringPlan::default().first_table)
    }

    /// The priorities of the rules for bound sockets, marks and an address, and whether bound sockets have our table.
    fn priorities(first_rule: Option<u32>, bypass: BypassVpn) -> (Vec<u32>, Option<u32>, bool) {
        let full = FullTunnel { interface_name: "wg0".to_owned(), families: Family::V4.into() };
        let surroundings = Surroundings {
            tunnel: Some(Tunnel { index: 9, full, first_rule }),
            mark_field: Some(SteeringPlan::default().mark_fields[0]),
            ..Surroundings::default()
        };
        let steering = numbers_of_ours().reserve(&BTreeSet::new()).unwrap();
        let rules = steering.rules(&surroundings, bypass);
        let standing = rules.standing(Family::V4, "ap0");
        let source = rules.source([10, 0, 0, 5].into()).map(|rule| rule.priority);
        let is_ours = standing[0].action == RuleAction::Table(steering.table());
        // What a tunnel does not take goes on as if there were none.
        let other_family = rules.standing(Family::V6, "ap0").iter().map(|rule| rule.priority).collect::<Vec<_>>();
        assert_eq!(other_family, [BOUND_PRIORITY, MARKED_PRIORITY, FAIL_CLOSED_PRIORITY]);
        (standing.iter().map(|rule| rule.priority).collect(), source, is_ours)
    }

    /// The kernel would take the routes with it, and that looks as if others had removed them.
    #[test]
    fn the_kernel_keeps_an_address_for_a_second_longer_than_its_lease() {
        for left in [0, 1, 999, 1_000, 1_999, 2_000, 3_600_000].map(Duration::from_millis) {
            let kept = Duration::from_secs(lifetime(left).valid.into());
            assert!(kept > left + Duration::from_secs(1), "{left:?}: {kept:?}");
        }
        assert_eq!(lifetime(Duration::MAX).valid, u32::MAX);
    }

    #[test]
    fn what_may_leave_outside_a_tunnel_comes_before_its_rules_and_nothing_else_is_there() {
        assert_eq!(priorities(Some(32_764), BypassVpn::All), (vec![5_100, 5_110, 5_111], Some(5_120), true));
        assert_eq!(priorities(Some(5_098), BypassVpn::All), (vec![5_077, 5_087, 5_088], Some(5_097), true));
        assert_eq!(priorities(Some(5_098), BypassVpn::Group), (vec![5_077, 5_087, 5_088], None, true));
        assert_eq!(priorities(None, BypassVpn::Group), (vec![5_100, 5_110, 5_111], None, true));
        assert_eq!(priorities(Some(5_098), BypassVpn::Never), (vec![5_100, 5_101], None, false));
        // There is no room before it.
        assert_eq!(priorities(Some(21), BypassVpn::All), (vec![5_100, 5_110, 5_111], Some(5_120), true));
    }

    #[test]
    fn numbers_are_reused_and_avoid_what_is_foreign() {
        let numbers = numbers_of_ours();
        let first = numbers.reserve(&BTreeSet::new()).unwrap();
        assert_eq!(first.table(), 21_001);
        assert_eq!(numbers.reserve(&BTreeSet::from([21_002])).unwrap().table(), 21_003);
        drop(first);
        assert_eq!(numbers.reserve(&BTreeSet::new()).unwrap().table(), 21_001);
    }

    #[test]
    fn the_known_foreign_mark_is_never_used_and_numbers_end() {
        let numbers = numbers_of_ours();
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
        let numbers = numbers_of_ours();
        let low = numbers.reserve(&BTreeSet::new()).unwrap();
        let high = numbers.reserve(&BTreeSet::new()).unwrap();
        let wired = metric(BearerFamily::Wired, 0, &high);
        assert!(wired < metric(BearerFamily::Wireless, 0, &low));
        assert!(metric(BearerFamily::Mobile, 1, &high) < wired);
        assert!(metric(BearerFamily::Wired, 0, &low) < wired);
        assert!(metric(BearerFamily::Unknown, i32::MIN, &high) > metric(BearerFamily::Unknown, i32::MAX, &high));
    }
}
