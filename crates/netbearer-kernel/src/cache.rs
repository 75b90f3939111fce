use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use netbearer_types::{Family, Moment};

use crate::{
    Address, AddressKey, AnnouncedOption, Announcement, Change, Changes, Dump, Link, Part, Route, RouterAnnouncement,
    RouterOption, Rule, lifetime, route::RouteKey,
};

/// Announcements kept of one interface. Networks announce a handful; whoever sends more wants to fill our memory.
const ANNOUNCEMENTS: usize = 64;

/// What is known of the kernel's configuration. Pure: fed with changes and dumps, it asks nobody.
///
/// Left out: the local route table, which repeats the addresses, and cloned routes.
///
/// What routers announce cannot be read from the kernel, which only passes it on when it comes. It is kept while its
/// lifetime lasts and its link has the carrier it was heard on, and [`Cache::unheard`] names the links where something may
/// have been missed: soliciting the routers there brings it ([`solicit_routers`](crate::solicit_routers)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    links: BTreeMap<u32, Arc<Link>>,
    addresses: BTreeMap<AddressKey, Address>,
    routes: BTreeMap<RouteKey, BTreeSet<Route>>,
    rules: BTreeSet<Rule>,
    announcements: BTreeMap<u32, Vec<Announcement>>,
    unheard: BTreeSet<u32>,
    doubts: BTreeSet<Part>,
}

impl Cache {
    /// All links, by index.
    #[must_use]
    pub fn links(&self) -> &BTreeMap<u32, Arc<Link>> {
        &self.links
    }

    /// The link with this index.
    #[must_use]
    pub fn link(&self, index: u32) -> Option<&Arc<Link>> {
        self.links.get(&index)
    }

    /// The link with this name.
    #[must_use]
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name).map(Arc::as_ref)
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

    /// What routers announce on an interface at this moment, in the order in which it was first heard.
    pub fn announcements_of(&self, interface: u32, now: Moment) -> impl Iterator<Item = &Announcement> {
        self.announcements.get(&interface).into_iter().flatten().filter(move |announcement| announcement.holds(now))
    }

    /// When the next announcement ends, if it is not renewed. [`Cache::expire`] is due then.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Moment> {
        self.announcements.values().flatten().filter_map(|announcement| announcement.expires).min()
    }

    /// Links whose routers may announce something that was not heard: they were up before anybody listened, or messages
    /// were lost, or the carrier was lost and found in the meantime. [`Cache::solicited`] ends it.
    #[must_use]
    pub fn unheard(&self) -> &BTreeSet<u32> {
        &self.unheard
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

    /// Declares all links unheard, for instance after messages were lost.
    pub fn doubt_announcements(&mut self) -> Changes {
        let hearing = self.links.values().filter(|link| hears(link)).map(|link| link.index);
        let announcements: BTreeSet<u32> = hearing.filter(|index| !self.unheard.contains(index)).collect();
        self.unheard.extend(&announcements);
        Changes { announcements, ..Changes::default() }
    }

    /// Routers were solicited on this link: what they announce comes by itself now.
    pub fn solicited(&mut self, interface: u32) {
        self.unheard.remove(&interface);
    }

    /// Forgets the announcements that have ended.
    pub fn expire(&mut self, now: Moment) -> Changes {
        let mut changes = Changes::default();
        self.announcements.retain(|interface, announcements| {
            let before = announcements.len();
            announcements.retain(|announcement| announcement.holds(now));
            changes.announcements.extend((announcements.len() != before).then_some(*interface));
            !announcements.is_empty()
        });
        changes
    }

    /// Applies one message, received now. Repetition is harmless.
    pub fn apply(&mut self, change: Change, now: Moment) -> Changes {
        match change {
            Change::Link(link) => self.apply_link(link),
            Change::LinkGone(index) => self.remove_link(index),
            Change::Address(address) => {
                let index = address.index;
                let before = self.addresses.insert(address.key(), address.clone());
                address_changes(index, !before.is_some_and(|before| address.is_still(&before)))
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
            Change::Announcement(announcement) => {
                self.doubt(Part::Routes(Family::V6));
                self.apply_announcement(announcement, now)
            }
        }
    }

    /// Replaces a part by a fresh dump of it, and tells the difference.
    pub fn update(&mut self, dump: Dump) -> Changes {
        self.doubts.remove(&dump.part());
        let mut changes = Changes::default();
        match dump {
            Dump::Links(fresh) => {
                changes.links = different_keys(&self.links, &fresh, Arc::eq).collect();
                let known = std::mem::replace(&mut self.links, fresh);
                for index in changes.links.clone() {
                    match self.links.get(&index).cloned() {
                        Some(link) => changes += self.hear_anew(known.get(&index).map(Arc::as_ref), &link, true),
                        None => changes += self.forget_announcements(index),
                    }
                }
            }
            Dump::Addresses(family, fresh) => {
                let (known, others) = std::mem::take(&mut self.addresses)
                    .into_iter()
                    .partition(|(key, _)| Family::of(key.address) == family);
                changes.addresses = different_keys(&known, &fresh, Address::is_still).map(|key| key.index).collect();
                self.addresses = others;
                self.addresses.extend(fresh);
            }
            Dump::Routes(family, fresh) => {
                let known: BTreeSet<Route> = self.routes().filter(|route| route.family == family).cloned().collect();
                known.symmetric_difference(&fresh).for_each(|route| changes.note_route(route));
                fresh
                    .iter()
                    .filter(|route| {
                        known.get(route).is_some_and(|former| lifetime::has_moved(former.expires, route.expires))
                    })
                    .for_each(|route| changes.note_route(route));
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
        let link = Arc::new(link);
        let before = self.links.insert(index, Arc::clone(&link));
        if !link.administratively_up && before.as_ref().is_some_and(|before| before.administratively_up) {
            self.doubt_routes(|route| route.uses(index));
        }
        let mut changes = self.hear_anew(before.as_deref(), &link, false);
        changes.links.extend((before.as_ref() != Some(&link)).then_some(index));
        changes
    }

    /// What was announced belongs to the network that the carrier led to.
    fn hear_anew(&mut self, before: Option<&Link>, link: &Link, looked_up: bool) -> Changes {
        let lost_meanwhile = before.is_some_and(|before| before.carrier_losses != link.carrier_losses);
        let mut changes =
            if lost_meanwhile || !hears(link) { self.forget_announcements(link.index) } else { Changes::default() };
        // The kernel solicits by itself when a link comes up; but its answer may have come before this message.
        let missed = lost_meanwhile || (looked_up && before.is_none_or(|before| !hears(before)));
        if hears(link) && missed && self.unheard.insert(link.index) {
            changes.announcements.insert(link.index);
        }
        changes
    }

    fn forget_announcements(&mut self, interface: u32) -> Changes {
        self.unheard.remove(&interface);
        let known = self.announcements.remove(&interface).is_some();
        Changes { announcements: BTreeSet::from_iter(known.then_some(interface)), ..Changes::default() }
    }

    fn apply_announcement(&mut self, announcement: RouterAnnouncement, now: Moment) -> Changes {
        let RouterAnnouncement { interface, router, options } = announcement;
        // The link went away or lost its carrier while this was on its way.
        if !self.links.get(&interface).is_some_and(|link| hears(link)) {
            return Changes::default();
        }
        let known = self.announcements.entry(interface).or_default();
        let mut changed = false;
        for AnnouncedOption { option, lifetime } in options {
            let expires = lifetime.map(|lifetime| now + lifetime);
            let fresh = Announcement { router, option, expires };
            let place = known.iter().position(|one| one.router == router && replaces(&fresh.option, &one.option));
            match place.and_then(|place| known.get_mut(place)) {
                _ if !fresh.holds(now) => {
                    if let Some(place) = place {
                        known.remove(place);
                        changed = true;
                    }
                }
                Some(former) => {
                    changed |= former.option != fresh.option || lifetime::has_moved(former.expires, expires);
                    *former = fresh;
                }
                None => {
                    if known.len() >= ANNOUNCEMENTS {
                        drop_soonest(known);
                    }
                    known.push(fresh);
                    changed = true;
                }
            }
        }
        if known.is_empty() {
            self.announcements.remove(&interface);
        }
        Changes { announcements: BTreeSet::from_iter(changed.then_some(interface)), ..Changes::default() }
    }

    fn remove_link(&mut self, index: u32) -> Changes {
        let known = self.links.remove(&index).is_some();
        self.doubt_routes(|route| route.uses(index));
        let before = self.addresses.len();
        self.addresses.retain(|key, _| key.index != index);
        let mut changes = address_changes(index, before != self.addresses.len());
        changes.links.extend(known.then_some(index));
        changes += self.forget_announcements(index);
        changes
    }

    fn apply_route(&mut self, route: Route, replaces: bool) -> Changes {
        let mut changes = Changes::default();
        let alternatives = self.routes.entry(route.key()).or_default();
        if let Some(former) = alternatives.get(&route) {
            if lifetime::has_moved(former.expires, route.expires) {
                changes.note_route(&route);
            }
            alternatives.replace(route);
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

/// True if routers can be heard on it.
fn hears(link: &Link) -> bool {
    link.administratively_up && link.carrier && !link.loopback
}

/// A router has one captive portal, and any number of everything else.
fn replaces(fresh: &RouterOption, former: &RouterOption) -> bool {
    match (fresh, former) {
        (RouterOption::CaptivePortal(_), RouterOption::CaptivePortal(_)) => true,
        _ => fresh == former,
    }
}

fn drop_soonest(announcements: &mut Vec<Announcement>) {
    let soonest =
        announcements.iter().enumerate().min_by_key(|(_, one)| one.expires.unwrap_or(Moment::ZERO + Duration::MAX));
    if let Some((place, _)) = soonest {
        announcements.remove(place);
    }
}

/// The keys under which the maps do not hold the same.
fn different_keys<K: Copy + Ord, V>(
    one: &BTreeMap<K, V>,
    other: &BTreeMap<K, V>,
    same: impl Fn(&V, &V) -> bool,
) -> impl Iterator<Item = K> {
    let keys: BTreeSet<K> = one.keys().chain(other.keys()).copied().collect();
    keys.into_iter().filter(move |key| match (one.get(key), other.get(key)) {
        (Some(one), Some(other)) => !same(one, other),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use netbearer_types::AddressScope;
    use proptest::prelude::*;

    use super::*;
    use crate::{NextHop, OUR_PROTOCOL, RouteKind, RouterPreference, RuleAction};

    const NOW: Moment = Moment::from_nanoseconds(1_000_000_000);

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
            temporary: false,
            manages_temporary: false,
            permanent: true,
            preferred_until: None,
            valid_until: None,
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
            preference: RouterPreference::Medium,
            expires: None,
        }
    }

    fn rule(priority: u32, table: u32) -> Rule {
        Rule { protocol: OUR_PROTOCOL, ..Rule::new(Family::V6, priority, RuleAction::Table(table)) }
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
                    let changes = cache.apply(change.clone(), NOW);
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
                kernel.change(wish).into_iter().for_each(|change| drop(cache.apply(change, NOW)));
            }
            missed.iter().for_each(|wish| drop(kernel.change(wish)));
            let mut fresh = Cache::default();
            for part in Part::ALL {
                cache.update(kernel.dump(part));
                fresh.update(kernel.dump(part));
            }
            prop_assert!(cache.doubts().is_empty());
            // What was announced meanwhile, no dump tells.
            fresh.unheard.clone_from(&cache.unheard);
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
            assert!(!cache.apply(change.clone(), NOW).is_empty());
            assert!(cache.apply(change, NOW).is_empty());
        }
        assert!(cache.doubts().is_empty());
    }

    #[test]
    fn an_appended_alternative_is_looked_up_rather_than_guessed() {
        let mut cache = Cache::default();
        cache.apply(Change::Route { route: route(1, 0, 1), replaces: false }, NOW);
        assert!(cache.apply(Change::Route { route: route(1, 0, 2), replaces: false }, NOW).is_empty());
        assert_eq!(*cache.doubts(), BTreeSet::from([Part::Routes(Family::V4)]));
        let changes = cache.update(Dump::Routes(Family::V4, BTreeSet::from([route(1, 0, 1), route(1, 0, 2)])));
        assert_eq!(changes.routes, BTreeSet::from([1]));
        assert_eq!((cache.routes().count(), cache.doubts().len()), (2, 0));
    }

    #[test]
    fn a_flap_that_was_over_before_it_was_seen_is_a_change() {
        let mut cache = Cache::default();
        cache.apply(Change::Link(link(1, true, 3)), NOW);
        let changes = cache.apply(Change::Link(link(1, true, 4)), NOW);
        assert_eq!(changes.links, BTreeSet::from([1]));
    }

    #[test]
    fn ours_is_what_carries_our_tag() {
        let mut cache = Cache::default();
        cache.apply(Change::Address(address(1, 1, true)), NOW);
        cache.apply(Change::Address(address(1, 2, false)), NOW);
        cache.apply(Change::Route { route: Route { protocol: 4, ..route(1, 0, 1) }, replaces: false }, NOW);
        cache.apply(Change::Route { route: route(1, 1, 1), replaces: false }, NOW);
        cache.apply(Change::Rule(Rule { protocol: 0, ..rule(1, 1) }), NOW);
        cache.apply(Change::Rule(rule(2, 1)), NOW);
        assert_eq!(cache.our_addresses().map(|address| address.address).collect::<Vec<_>>(), [ipv4(2)]);
        assert_eq!(cache.our_routes().map(|route| route.metric).collect::<Vec<_>>(), [1]);
        assert_eq!(cache.our_rules().map(|rule| rule.priority).collect::<Vec<_>>(), [2]);
    }

    fn hearing(index: u32) -> Link {
        Link { carrier: true, ..link(index, true, 0) }
    }

    fn announcement(interface: u32, servers: impl Iterator<Item = (u16, u64)>) -> Change {
        let options = servers.map(|(last, seconds)| AnnouncedOption {
            option: RouterOption::RecursiveServer(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)),
            lifetime: Some(Duration::from_secs(seconds)),
        });
        let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        Change::Announcement(RouterAnnouncement { interface, router, options: options.collect() })
    }

    #[test]
    fn lost_messages_leave_the_links_unheard_that_have_a_carrier() {
        let mut cache = Cache::default();
        cache.apply(Change::Link(hearing(1)), NOW);
        cache.apply(Change::Link(link(2, true, 0)), NOW);
        assert!(cache.unheard().is_empty(), "both were heard from their beginning");
        assert_eq!(cache.doubt_announcements().announcements, BTreeSet::from([1]));
        assert!(cache.doubt_announcements().is_empty(), "told once");
        assert_eq!(*cache.unheard(), BTreeSet::from([1]));
        cache.solicited(1);
        assert!(cache.unheard().is_empty());
        cache.update(Dump::Links([1, 3].map(|index| (index, Arc::new(hearing(index)))).into()));
        assert_eq!(*cache.unheard(), BTreeSet::from([3]), "nobody told of its beginning");
    }

    #[test]
    fn a_flood_of_announcements_costs_the_ones_that_end_first() {
        let mut cache = Cache::default();
        cache.apply(Change::Link(hearing(1)), NOW);
        cache.apply(announcement(1, (0..1_000).map(|last| (last, 1_000 + u64::from(last)))), NOW);
        let kept = cache.announcements_of(1, NOW + Duration::from_secs(1_000 + 1_000 - 64 - 1)).count();
        assert_eq!((kept, cache.announcements_of(1, NOW).count()), (ANNOUNCEMENTS, ANNOUNCEMENTS));
        cache.apply(announcement(7, std::iter::once((1, 60))), NOW);
        assert_eq!(cache.announcements_of(7, NOW).count(), 0, "there is no such link");
    }
}
