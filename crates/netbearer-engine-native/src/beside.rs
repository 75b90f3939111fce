//! A table and rules of ours beside a link that others keep up, so that its sessions have their own way, and replies theirs.
//! Nothing of the others is changed: the table is a mirror of what the main one has of that link.

use std::{cmp::Reverse, collections::BTreeMap, net::IpAddr};

use futures_util::FutureExt;
use netbearer_kernel::{Cache, Link, Requests, Route, RouteKind, RouteSpec, RuleSpec};
use netbearer_types::{AddressScope, BypassVpn, Family, Moment};

use crate::{
    belongings::Found, contest::Contest, followed::Followed, installation::Standing, ownership::Claim,
    steering::Steering, surroundings::Surroundings,
};

/// What of ours stands beside one link.
#[derive(Debug)]
pub(crate) struct Beside {
    /// The interface it is about.
    pub(crate) index: u32,
    steering: Steering,
    followed: Followed,
    contest: Contest,
    claim: Claim,
}

impl Beside {
    pub(crate) fn new(index: u32, steering: Steering, claim: Claim) -> Self {
        Self { index, steering, followed: Followed::default(), contest: Contest::default(), claim }
    }

    /// The same with what a process has left that was killed.
    pub(crate) fn inherited(index: u32, steering: Steering, claim: Claim, found: Found) -> Self {
        let followed = Followed { rules: found.rules, routes: found.routes };
        Self { followed, ..Self::new(index, steering, claim) }
    }

    /// Brings it to what the link is now. False if somebody keeps removing it, and it is left at that.
    pub(crate) fn follow(
        &mut self,
        requests: &Requests,
        cache: &Cache,
        link: &Link,
        (surroundings, bypass): (&Surroundings, BypassVpn),
        now: Moment,
    ) -> bool {
        let mirrored = mirror(cache, link.index, self.steering.table());
        let rules = self.rules(cache, link, &mirrored, surroundings, bypass);
        let routes: Vec<RouteSpec> = self.steering.dead_end(link.index, bypass).into_iter().chain(mirrored).collect();
        if !(is_same(&self.followed.rules, &rules) && is_same(&self.followed.routes, &routes)) {
            carry_out(self.followed.follow(requests, rules, routes));
            return true;
        }
        let standing = Standing { rules, routes };
        if standing.is_complete(cache) {
            return true;
        }
        if !self.contest.may_go_on(now) {
            return false;
        }
        tracing::debug!(interface = link.name, "routes or rules of ours are missing, and are put back");
        let Standing { rules, routes } = standing;
        self.followed = Followed::default();
        carry_out(self.followed.follow(requests, rules, routes));
        true
    }

    /// Removes all of it. The lock is to be given back when the note is gone, too.
    pub(crate) fn remove(mut self, requests: &Requests) -> Claim {
        carry_out(self.followed.follow(requests, Vec::new(), Vec::new()));
        self.claim
    }

    fn rules(
        &self,
        cache: &Cache,
        link: &Link,
        routes: &[RouteSpec],
        surroundings: &Surroundings,
        bypass: BypassVpn,
    ) -> Vec<RuleSpec> {
        let rules = self.steering.rules(surroundings, bypass);
        let families =
            [Family::V4, Family::V6].into_iter().filter(|family| routes.iter().any(|route| is_of(route, *family)));
        let of_family = |family: Family| {
            let sources =
                sources(cache, link.index, family).filter(|address| !surroundings.elsewhere.contains(address));
            let sources: Vec<RuleSpec> = sources.filter_map(|address| rules.source(address)).collect();
            rules.standing(family, &link.name).into_iter().chain(sources)
        };
        families.flat_map(of_family).collect()
    }
}

fn is_same<T: PartialEq>(some: &[T], others: &[T]) -> bool {
    some.len() == others.len() && some.iter().all(|one| others.contains(one))
}

/// Requests are carried out and answered while they are made; only the answers are fetched later.
fn carry_out(work: impl Future<Output = ()>) {
    if work.now_or_never().is_none() {
        tracing::warn!("the kernel has not answered to changes of routes and rules");
    }
}

fn is_of(route: &RouteSpec, family: Family) -> bool {
    Family::of(route.destination) == family
}

fn sources(cache: &Cache, interface: u32, family: Family) -> impl Iterator<Item = IpAddr> {
    let usable = cache.addresses_of(interface).filter(move |address| {
        address.scope == AddressScope::Global
            && !address.duplicate
            && (!address.tentative || address.optimistic)
            && Family::of(address.address) == family
    });
    usable.map(|address| address.address)
}

/// What the main table has of a link, for this one. Of several routes to one IPv6 network each gets a metric of its own, in
/// the order of the kernel's preference: with the same one, ours would become one route with several ways.
fn mirror(cache: &Cache, interface: u32, table: u32) -> Vec<RouteSpec> {
    let mut routes: Vec<&Route> = cache.routes_over(interface).filter(|route| is_mirrored(route)).collect();
    routes.sort_unstable_by_key(|route| {
        (route.destination, route.prefix_length, route.metric, Reverse(route.preference), route.gateway())
    });
    let mut metrics: BTreeMap<(IpAddr, u8), u32> = BTreeMap::new();
    let mirrored = routes.into_iter().map(|route| {
        let free = metrics.entry((route.destination, route.prefix_length)).or_insert(0);
        let metric = if route.family == Family::V6 { route.metric.max(*free) } else { route.metric };
        *free = metric.saturating_add(1);
        RouteSpec {
            table,
            metric: Some(metric),
            preference: netbearer_kernel::RouterPreference::Medium,
            // In the main table it may be another route that says how the router is reached.
            on_link: route.family == Family::V4 && route.gateway().is_some(),
            ..RouteSpec::from(route)
        }
    });
    mirrored.collect()
}

fn is_mirrored(route: &Route) -> bool {
    let is_for_the_link_only = match route.destination {
        IpAddr::V4(destination) => destination.is_multicast(),
        IpAddr::V6(destination) => destination.is_unicast_link_local() || destination.is_multicast(),
    };
    route.table == RouteSpec::MAIN_TABLE
        && route.kind == RouteKind::Unicast
        && route.next_hops.len() == 1
        && route.type_of_service == 0
        && !route.is_ours()
        && !is_for_the_link_only
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use netbearer_types::SteeringPlan;

    use super::*;
    use crate::{ownership::Ownership, steering::Numbers};

    #[tokio::test]
    async fn the_lock_is_not_given_back_with_the_rules() {
        let directory = tempfile::tempdir().unwrap();
        let [ownership, other] = [0, 1].map(|_| Ownership::new(directory.path().join("netns-1.lock")));
        let steering = Numbers::new(SteeringPlan::default().first_table).reserve(&BTreeSet::new()).unwrap();
        let beside = Beside::new(3, steering, ownership.claim().unwrap());
        let claim = beside.remove(&Requests::open().unwrap());
        assert!(other.claim().is_err());
        drop(claim);
        assert!(other.claim().is_ok());
    }
}
