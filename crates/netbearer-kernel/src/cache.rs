use std::collections::{BTreeMap, BTreeSet};

use netbearer_types::Family;

use crate::{Address, AddressKey, Change, Changes, Dump, Link, Part, Route, Rule, route::RouteKey};

/// What is known of the kernel's configuration. Pure: fed with changes and dumps, it asks nobody.
///
/// Left out: the local route table, which repeats the addresses, and cloned routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    links: BTreeMap<u32, Link>,
    addresses: BTreeMap<AddressKey, Address>,
    routes: BTreeMap<RouteKey, BTreeSet<Route>>,
    rules: BTreeSet<Rule>,
    doubts: BTreeSet<Part>,
}

impl Cache {
    /// All links, by index.
    #[must_use]
    pub fn links(&self) -> &BTreeMap<u32, Link> {
        &self.links
    }

    /// The link with this index.
    #[must_use]
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    /// The link with this name.
    #[must_use]
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// All addresses, in the order of their interfaces.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.addresses.values()
    }

    /// The addresses of an interface.
    pub fn addresses_of(&self, interface: u32) -> impl Iterator<Item = &Address> {
        self.addresses().filter(move |address| address.index == interface)
    }

    /// All routes but those of the local table.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.values().flatten()
    }

    /// The routes with a way over an interface.
    pub fn routes_over(&self, interface: u32) -> impl Iterator<Item = &Route> {
        self.routes().filter(move |route| route.uses(interface))
    }

    /// All rules, in no meaningful order.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// The addresses that carry our tag. Empty before Linux 5.18, which cannot tag addresses.
    pub fn our_addresses(&self) -> impl Iterator<Item = &Address> {
        self.addresses().filter(|address| address.is_ours())
    }

    /// The routes that carry our tag.
    pub fn our_routes(&self) -> impl Iterator<Item = &Route> {
        self.routes().filter(|route| route.is_ours())
    }

    /// The rules that carry our tag.
    pub fn our_rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules().filter(|rule| rule.is_ours())
    }

    /// The parts of which the changes so far do not tell the truth for sure: the kernel removes some routes without a
    /// word, and its messages do not tell appended alternatives apart. A dump given to [`Cache::update`] ends the doubt.
    #[must_use]
    pub fn doubts(&self) -> &BTreeSet<Part> {
        &self.doubts
    }

    /// Declares a part doubtful, for instance after messages were lost.
    pub fn doubt(&mut self, part: Part) {
        self.doubts.insert(part);
    }

    /// Applies one message. Repetition is harmless.
    pub fn apply(&mut self, change: Change) -> Changes {
        match change {
            Change::Link(link) => self.apply_link(link),
            Change::LinkGone(index) => self.remove_link(index),
            Change::Address(address) => {
                let index = address.index;
                let before = self.addresses.insert(address.key(), address.clone());
                address_changes(index, before.as_ref() != Some(&address))
            }
            Change::AddressGone(key) => {
                let known = self.addresses.remove(&key).is_some();
                if known {
                    self.doubt_routes(|route| route.uses(key.index) || route.preferred_source == Some(key.address));
                }
                address_changes(key.index, known)
            }
            Change::Route { route, replaces } => self.apply_route(route, replaces),
            Change::RouteGone(route) => self.remove_route(&route),
            Change::Rule(rule) => Changes { rules: self.rules.insert(rule), ..Changes::default() },
            Change::RuleGone(rule) => {
                // Two rules that differ only in what is not kept look like one.
                if rule.selects_further {
                    self.doubt(Part::Rules(rule.family));
                }
                Changes { rules: self.rules.remove(&rule), ..Changes::default() }
            }
        }
    }

    /// Replaces a part by a fresh dump of it, and tells the difference.
    pub fn update(&mut self, dump: Dump) -> Changes {
        self.doubts.remove(&dump.part());
        let mut changes = Changes::default();
        match dump {
            Dump::Links(fresh) => {
                changes.links = different_keys(&self.links, &fresh).collect();
                self.links = fresh;
            }
            Dump::Addresses(family, fresh) => {
                let (known, others) = std::mem::take(&mut self.addresses)
                    .into_iter()
                    .partition(|(key, _)| Family::of(key.address) == family);
                changes.addresses = different_keys(&known, &fresh).map(|key| key.index).collect();
                self.addresses = others;
                self.addresses.extend(fresh);
            }
            Dump::Routes(family, fresh) => {
                let known: BTreeSet<Route> = self.routes().filter(|route| route.family == family).cloned().collect();
                known.symmetric_difference(&fresh).for_each(|route| changes.note_route(route));
                self.routes.retain(|key, _| key.0 != family);
                for route in fresh {
                    self.routes.entry(route.key()).or_default().insert(route);
                }
            }
            Dump::Rules(family, fresh) => {
                let known: BTreeSet<Rule> = self.rules.iter().filter(|rule| rule.family == family).cloned().collect();
                changes.rules = known != fresh;
                self.rules.retain(|rule| rule.family != family);
                self.rules.extend(fresh);
            }
        }
        changes
    }

    fn apply_link(&mut self, link: Link) -> Changes {
        let index = link.index;
        let went_down = !link.administratively_up;
        let before = self.links.insert(index, link);
        let changed = before.as_ref() != self.links.get(&index);
        if went_down && before.is_some_and(|before| before.administratively_up) {
            self.doubt_routes(|route| route.uses(index));
        }
        Changes { links: BTreeSet::from_iter(changed.then_some(index)), ..Changes::default() }
    }

    fn remove_link(&mut self, index: u32) -> Changes {
        let known = self.links.remove(&index).is_some();
        self.doubt_routes(|route| route.uses(index));
        let before = self.addresses.len();
        self.addresses.retain(|key, _| key.index != index);
        let mut changes = address_changes(index, before != self.addresses.len());
        changes.links.extend(known.then_some(index));
        changes
    }

    fn apply_route(&mut self, route: Route, replaces: bool) -> Changes {
        let mut changes = Changes::default();
        let alternatives = self.routes.entry(route.key()).or_default();
        if alternatives.contains(&route) {
            return changes;
        }
        // On-link routes of several interfaces stand side by side in IPv6 (fe80::/64 of every link). In all other cases
        // the message leaves open whether the alternatives stay.
        let beside = route.family == Family::V6
            && route.gateway().is_none()
            && alternatives.iter().all(|other| other.gateway().is_none() && other.next_hops != route.next_hops);
        if alternatives.is_empty() || (beside && !replaces) {
            changes.note_route(&route);
            alternatives.insert(route);
        } else if replaces && alternatives.len() == 1 {
            std::mem::take(alternatives).iter().for_each(|former| changes.note_route(former));
            changes.note_route(&route);
            alternatives.insert(route);
        } else {
            self.doubts.insert(Part::Routes(route.family));
        }
        changes
    }

    fn remove_route(&mut self, route: &Route) -> Changes {
        let mut changes = Changes::default();
        let Some(alternatives) = self.routes.get_mut(&route.key()) else {
            return changes;
        };
        if alternatives.remove(route) {
            changes.note_route(route);
        } else {
            self.doubts.insert(Part::Routes(route.family));
        }
        if alternatives.is_empty() {
            self.routes.remove(&route.key());
        }
        changes
    }

    /// The kernel removes IPv4 routes without a message when their link goes down or goes away, or their preferred
    /// source does; IPv6 routes too, if `net.ipv6.route.skip_notify_on_dev_down` says so.
    fn doubt_routes(&mut self, affected: impl Fn(&Route) -> bool) {
        for family in [Family::V4, Family::V6] {
            if self.routes().any(|route| route.family == family && affected(route)) {
                self.doubts.insert(Part::Routes(family));
            }
        }
    }
}

fn address_changes(index: u32, changed: bool) -> Changes {
    Changes { addresses: BTreeSet::from_iter(changed.then_some(index)), ..Changes::default() }
}

/// The keys under which the maps do not hold the same.
fn different_keys<K: Copy + Ord, V: PartialEq>(
    one: &BTreeMap<K, V>,
    other: &BTreeMap<K, V>,
) -> impl Iterator<Item = K> {
    let keys: BTreeSet<K> = one.keys().chain(other.keys()).copied().collect();
    keys.into_iter().filter(|key| one.get(key) != other.get(key))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use netbearer_types::AddressScope;
    use proptest::prelude::*;

    use super::*;
    use crate::{NextHop, OUR_PROTOCOL, RouteKind, RuleAction};

    fn ipv4(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
    }

    fn link(index: u32, up: bool, carrier_losses: u32) -> Link {
        Link { index, name: format!("ap{index}"), administratively_up: up, carrier_losses, ..Link::default() }
    }

    fn address(index: u32, last: u8, tentative: bool) -> Address {
        Address {
            index,
            address: if last > 2 { IpAddr::V6(Ipv6Addr::from(u128::from(last))) } else { ipv4(last) },
            prefix_length: 24,
            peer: None,
            scope: AddressScope::Global,
            tentative,
            duplicate: false,
            optimistic: false,
            deprecated: false,
            protocol: Some(if tentative { 0 } else { OUR_PROTOCOL }),
        }
    }

    fn route(interface: u32, metric: u32, gateway: u8) -> Route {
        Route {
            family: Family::V4,
            table: 254,
            destination: ipv4(0),
            prefix_length: 0,
            metric,
            type_of_service: 0,
            kind: RouteKind::Unicast,
            scope: 0,
            protocol: OUR_PROTOCOL,
            preferred_source: None,
            next_hops: vec![NextHop { gateway: Some(ipv4(gateway)), interface: Some(interface) }],
        }
    }

    fn rule(priority: u32, table: u32) -> Rule {
        Rule {
            family: Family::V6,
            priority,
            source: None,
            destination: None,
            mark: None,
            mark_mask: None,
            output_interface: None,
            input_interface: None,
            selects_further: false,
            action: RuleAction::Table(table),
            protocol: OUR_PROTOCOL,
        }
    }

    /// A kernel that keeps the same objects, tells each of its changes, and silently forgets routes as the real one does.
    #[derive(Clone, Debug, Default)]
    struct Kernel {
        links: BTreeMap<u32, Link>,
        addresses: BTreeMap<AddressKey, Address>,
        routes: BTreeMap<RouteKey, Route>,
        rules: BTreeSet<Rule>,
    }

    impl Kernel {
        /// Does it if it is possible; what it tells.
        fn change(&mut self, change: &Change) -> Vec<Change> {
            let mut told = vec![change.clone()];
            match change.clone() {
                Change::Link(link) => {
                    let (index, down) = (link.index, !link.administratively_up);
                    self.links.insert(index, link);
                    if down {
                        self.routes.retain(|_, route| !route.uses(index));
                    }
                }
                Change::LinkGone(index) if self.links.remove(&index).is_some() => {
                    self.routes.retain(|_, route| !route.uses(index));
                    let (gone, kept) =
                        std::mem::take(&mut self.addresses).into_iter().partition(|(key, _)| key.index == index);
                    self.addresses = kept;
                    told.splice(0..0, BTreeMap::into_keys(gone).map(Change::AddressGone));
                }
                Change::Address(address) if self.links.contains_key(&address.index) => {
                    self.addresses.insert(address.key(), address);
                }
                Change::AddressGone(key) if self.addresses.remove(&key).is_some() => {}
                Change::Route { route, .. }
                    if route
                        .interfaces()
                        .all(|index| self.links.get(&index).is_some_and(|link| link.administratively_up)) =>
                {
                    let replaces = self.routes.insert(route.key(), route.clone()).is_some();
                    told = vec![Change::Route { route, replaces }];
                }
                Change::RouteGone(route) if self.routes.get(&route.key()) == Some(&route) => {
                    self.routes.remove(&route.key());
                }
                Change::Rule(rule) if self.rules.insert(rule.clone()) => {}
                Change::RuleGone(rule) if self.rules.remove(&rule) => {}
                _ => told.clear(),
            }
            told
        }

        fn dump(&self, part: Part) -> Dump {
            let mut dump = Dump::empty(part);
            let links = self.links.values().cloned().map(Change::Link);
            let addresses = self.addresses.values().cloned().map(Change::Address);
            let routes = self.routes.values().cloned().map(|route| Change::Route { route, replaces: false });
            let rules = self.rules.iter().cloned().map(Change::Rule);
            links.chain(addresses).chain(routes).chain(rules).for_each(|change| dump.add(change));
            dump
        }
    }

    fn any_change() -> impl Strategy<Value = Change> {
        let routes =
            || (1_u32..4, 0_u32..2, 1_u8..3).prop_map(|(interface, metric, gateway)| route(interface, metric, gateway));
        prop_oneof![
            (1_u32..4, any::<bool>(), 0_u32..3).prop_map(|(index, up, losses)| Change::Link(link(index, up, losses))),
            (1_u32..4).prop_map(Change::LinkGone),
            (1_u32..4, 1_u8..5, any::<bool>())
                .prop_map(|(index, last, tentative)| Change::Address(address(index, last, tentative))),
            (1_u32..4, 1_u8..5).prop_map(|(index, last)| Change::AddressGone(address(index, last, true).key())),
            routes().prop_map(|route| Change::Route { route, replaces: false }),
            routes().prop_map(Change::RouteGone),
            (1_u32..3, 1_u32..3).prop_map(|(priority, table)| Change::Rule(rule(priority, table))),
            (1_u32..3, 1_u32..3).prop_map(|(priority, table)| Change::RuleGone(rule(priority, table))),
        ]
    }

    proptest! {
        #[test]
        fn changes_lead_to_the_same_cache_as_a_dump(wishes in prop::collection::vec(any_change(), 0..60)) {
            let mut kernel = Kernel::default();
            let mut cache = Cache::default();
            for wish in &wishes {
                for change in kernel.change(wish) {
                    let before = cache.clone();
                    let changes = cache.apply(change.clone());
                    let unchanged = Cache { doubts: cache.doubts.clone(), ..before } == cache;
                    prop_assert_eq!(changes.is_empty(), unchanged, "what is told is what happened: {:?}", change);
                }
                for part in cache.doubts().clone() {
                    cache.update(kernel.dump(part));
                }
            }
            for part in Part::ALL {
                let difference = cache.clone().update(kernel.dump(part));
                prop_assert!(difference.is_empty(), "{:?} of {:?}", difference, part);
            }
        }

        #[test]
        fn a_dump_repairs_whatever_was_missed(
            seen in prop::collection::vec(any_change(), 0..40),
            missed in prop::collection::vec(any_change(), 0..40),
        ) {
            let (mut kernel, mut cache) = (Kernel::default(), Cache::default());
            for wish in &seen {
                kernel.change(wish).into_iter().for_each(|change| drop(cache.apply(change)));
            }
            missed.iter().for_each(|wish| drop(kernel.change(wish)));
            let mut fresh = Cache::default();
            for part in Part::ALL {
                cache.update(kernel.dump(part));
                fresh.update(kernel.dump(part));
            }
            prop_assert!(cache.doubts().is_empty());
            prop_assert_eq!(cache, fresh);
        }
    }

    #[test]
    fn repeated_messages_change_nothing() {
        let mut cache = Cache::default();
        for change in [
            Change::Link(link(1, true, 0)),
            Change::Address(address(1, 1, false)),
            Change::Route { route: route(1, 0, 1), replaces: false },
            Change::Rule(rule(1, 1)),
        ] {
            assert!(!cache.apply(change.clone()).is_empty());
            assert!(cache.apply(change).is_empty());
        }
        assert!(cache.doubts().is_empty());
    }

    #[test]
    fn an_appended_alternative_is_looked_up_rather_than_guessed() {
        let mut cache = Cache::default();
        cache.apply(Change::Route { route: route(1, 0, 1), replaces: false });
        assert!(cache.apply(Change::Route { route: route(1, 0, 2), replaces: false }).is_empty());
        assert_eq!(*cache.doubts(), BTreeSet::from([Part::Routes(Family::V4)]));
        let changes = cache.update(Dump::Routes(Family::V4, BTreeSet::from([route(1, 0, 1), route(1, 0, 2)])));
        assert_eq!(changes.routes, BTreeSet::from([1]));
        assert_eq!((cache.routes().count(), cache.doubts().len()), (2, 0));
    }

    #[test]
    fn a_flap_that_was_over_before_it_was_seen_is_a_change() {
        let mut cache = Cache::default();
        cache.apply(Change::Link(link(1, true, 3)));
        let changes = cache.apply(Change::Link(link(1, true, 4)));
        assert_eq!(changes.links, BTreeSet::from([1]));
    }

    #[test]
    fn ours_is_what_carries_our_tag() {
        let mut cache = Cache::default();
        cache.apply(Change::Address(address(1, 1, true)));
        cache.apply(Change::Address(address(1, 2, false)));
        cache.apply(Change::Route { route: Route { protocol: 4, ..route(1, 0, 1) }, replaces: false });
        cache.apply(Change::Route { route: route(1, 1, 1), replaces: false });
        cache.apply(Change::Rule(Rule { protocol: 0, ..rule(1, 1) }));
        cache.apply(Change::Rule(rule(2, 1)));
        assert_eq!(cache.our_addresses().map(|address| address.address).collect::<Vec<_>>(), [ipv4(2)]);
        assert_eq!(cache.our_routes().map(|route| route.metric).collect::<Vec<_>>(), [1]);
        assert_eq!(cache.our_rules().map(|rule| rule.priority).collect::<Vec<_>>(), [2]);
    }
}
