//! What of ours is on one interface, and how it gets there and away again.

use std::{collections::BTreeSet, net::IpAddr};

use futures_util::future::join_all;
use netbearer_kernel::{Addition, AddressKey, AddressSpec, Cache, RequestError, Requests, Route, RouteSpec, RuleSpec};
use netbearer_types::Family;

use crate::{
    belongings::Found,
    followed::{Followed, is_in_place_of},
    steering::is_learnt,
};

/// Everything of ours on one interface. What somebody else had made before is not ours, though it be the same.
#[derive(Default)]
pub(crate) struct Installation {
    rules: Vec<RuleSpec>,
    /// What the kernel says to the rules, as long as nobody has heard it.
    ruled: Option<Result<(), RequestError>>,
    routes: Vec<RouteSpec>,
    source_rules: Vec<RuleSpec>,
    addresses: Vec<AddressSpec>,
    /// Rules for IPv6, and routes for it in our own table.
    ipv6: Followed,
}

impl Installation {
    /// What a process has left that was killed: as if this one had made it.
    pub(crate) fn inherited(found: Found) -> Self {
        let Found { mut rules, mut routes, addresses } = found;
        let ipv6 = Followed {
            rules: rules.extract_if(.., |rule| rule.family == Family::V6).collect(),
            routes: routes.extract_if(.., |route| is_learnt(route)).collect(),
        };
        let source_rules = rules.extract_if(.., |rule| rule.source.is_some()).collect();
        Self { rules, ruled: None, routes, source_rules, addresses, ipv6 }
    }

    /// True if this address of ours is there.
    pub(crate) fn has_address(&self, address: IpAddr, prefix_length: u8) -> bool {
        self.addresses.iter().any(|ours| ours.address == address && ours.prefix_length == prefix_length)
    }

    /// Asks for the rules that need no address. Nobody waits for them before there is one; then [`Installation::add`]
    /// does. A family that the kernel does not have needs none.
    pub(crate) fn ask_for_standing_rules(&mut self, requests: &Requests, rules: Vec<RuleSpec>) {
        let additions: Vec<Addition<'_>> = rules.iter().map(Addition::Rule).collect();
        let answers = requests.add_together(&additions);
        self.rules = rules;
        self.ruled = Some(answers.into_iter().find(is_unexpected).unwrap_or(Ok(())));
    }

    /// True once rules that need no address were asked for.
    pub(crate) const fn has_standing_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Puts other standing rules in the place of those there are.
    pub(crate) async fn replace_standing_rules(
        &mut self,
        requests: &Requests,
        rules: Vec<RuleSpec>,
    ) -> Result<(), RequestError> {
        let former = std::mem::take(&mut self.rules);
        let unwanted: Vec<RuleSpec> = former.into_iter().filter(|rule| !rules.contains(rule)).collect();
        // New ones first, so that nothing leaks in between.
        self.ask_for_standing_rules(requests, rules);
        let removed: Vec<_> = unwanted.iter().map(|rule| requests.delete_rule(rule)).collect();
        for answer in removed {
            match answer.await {
                Err(error) if !error.is_gone() => return Err(error),
                _ => {}
            }
        }
        self.hear_rules()
    }

    /// Makes addresses, and what they bring, these: adds or prolongs them, and removes what there is besides.
    pub(crate) async fn add(&mut self, requests: &Requests, wanted: Parts) -> Result<(), RequestError> {
        let Parts { addresses, routes, source_rules } = wanted;
        // Before others come: with the first address of a network the kernel removes all of it.
        let is_wanted = |ours: &AddressSpec| addresses.iter().any(|address| key(address) == key(ours));
        for stale in self.addresses.extract_if(.., |ours| !is_wanted(ours)) {
            requests.delete_address(key(&stale)).await.or_else(|error| unless(error.is_gone(), error))?;
        }
        // In the main table nothing is put in the place of another, which may be somebody else's.
        let is_other = |former: &RouteSpec| {
            let in_its_place = routes.iter().find(|route| is_in_place_of(route, former));
            former.table == RouteSpec::MAIN_TABLE && in_its_place.is_some_and(|route| !is_same_way(route, former))
        };
        for other in self.routes.extract_if(.., |former| is_other(former)) {
            requests.delete_route(&other).await.or_else(|error| unless(error.is_gone(), error))?;
        }
        let is_ours = |address: &AddressSpec| self.addresses.iter().position(|ours| key(ours) == key(address));
        let renewed: Vec<Option<usize>> = addresses.iter().map(is_ours).collect();
        let new_rules: Vec<RuleSpec> =
            source_rules.iter().filter(|rule| !self.source_rules.contains(rule)).cloned().collect();
        let wanted_addresses = addresses.iter().zip(&renewed).map(|(address, renewed)| {
            let former = renewed.and_then(|position| self.addresses.get(position));
            match former {
                // One without an end that is there needs nothing.
                Some(former) if former.lifetime.is_some() || address.lifetime.is_some() => {
                    Addition::RenewedAddress(address)
                }
                _ => Addition::Address(address),
            }
        });
        // Together, as somebody waits for the last of them.
        let additions: Vec<Addition<'_>> = wanted_addresses
            .chain(new_rules.iter().map(Addition::Rule))
            .chain(routes.iter().map(addition_of_route))
            .collect();
        let mut answers = requests.add_together(&additions).into_iter();
        let mut outcome = Ok(());
        // What is there is recorded whatever became of the rest.
        for (address, renewed) in addresses.into_iter().zip(renewed) {
            match (answers.next().unwrap_or(Ok(())), renewed.and_then(|position| self.addresses.get_mut(position))) {
                (Ok(()), Some(former)) => *former = address,
                (Ok(()), None) => self.addresses.push(address),
                (Err(error), Some(_)) if error.is_exists() => {}
                // Put there by somebody, who may want it longer than we do.
                (Err(error), _) if error.is_exists() => {
                    tracing::info!("{error}: it is there already, and left as it is");
                }
                (Err(error), _) => outcome = outcome.and(Err(error)),
            }
        }
        outcome = outcome.and(self.hear_rules());
        for (rule, answer) in new_rules.into_iter().zip(answers.by_ref()) {
            match answer.or_else(unless_exists) {
                Ok(()) => self.source_rules.push(rule),
                refused => outcome = outcome.and(refused),
            }
        }
        // Only what carries our tag is ever removed.
        let former = std::mem::replace(&mut self.routes, routes);
        for (route, answer) in self.routes.iter().zip(answers) {
            outcome = outcome.and(unless_others_route(route, answer));
        }
        let is_replaced = |former: &RouteSpec| self.routes.iter().any(|route| is_in_place_of(route, former));
        for stale in former.iter().filter(|former| !is_replaced(former)) {
            let answer = requests.delete_route(stale).await;
            outcome = outcome.and(answer.or_else(|error| unless(error.is_gone(), error)));
        }
        outcome?;
        self.follow_source_rules(requests, source_rules).await
    }

    /// Makes the rules for traffic from our addresses these.
    pub(crate) async fn follow_source_rules(
        &mut self,
        requests: &Requests,
        rules: Vec<RuleSpec>,
    ) -> Result<(), RequestError> {
        let former: Vec<RuleSpec> = self.source_rules.extract_if(.., |former| !rules.contains(former)).collect();
        for rule in rules {
            if !self.source_rules.contains(&rule) {
                requests.add_rule(&rule).await.or_else(unless_exists)?;
                self.source_rules.push(rule);
            }
        }
        for rule in former {
            requests.delete_rule(&rule).await.or_else(|error| unless(error.is_gone(), error))?;
        }
        Ok(())
    }

    /// The IPv4 addresses, whoever put them on the interface: our routes prefer them.
    pub(crate) fn sources(&self) -> BTreeSet<IpAddr> {
        self.routes.iter().filter_map(|route| route.preferred_source).collect()
    }

    /// Puts back what somebody has removed.
    pub(crate) async fn restore(&mut self, requests: &Requests) -> Result<(), RequestError> {
        let rules = self.all_rules().map(|rule| requests.add_rule(rule));
        for answer in join_all(rules).await {
            answer.or_else(unless_exists)?;
        }
        let routes: Vec<&RouteSpec> = self.all_routes().collect();
        let additions: Vec<Addition<'_>> = routes.iter().copied().map(addition_of_route).collect();
        let answers = requests.add_together(&additions);
        routes.into_iter().zip(answers).try_for_each(|(route, answer)| unless_others_route(route, answer))
    }

    /// Makes the rules and routes for IPv6 these.
    pub(crate) async fn follow_ipv6(&mut self, requests: &Requests, rules: Vec<RuleSpec>, routes: Vec<RouteSpec>) {
        self.ipv6.follow(requests, rules, routes).await;
    }

    /// True from the first address on, or once there is a way by IPv6.
    pub(crate) const fn has_routes(&self) -> bool {
        !self.routes.is_empty() || !self.ipv6.routes.is_empty()
    }

    /// What is to be found in the kernel as long as nobody interferes.
    pub(crate) fn standing(&self) -> Standing {
        Standing { rules: self.all_rules().cloned().collect(), routes: self.all_routes().cloned().collect() }
    }

    fn all_rules(&self) -> impl Iterator<Item = &RuleSpec> {
        self.rules.iter().chain(&self.source_rules).chain(&self.ipv6.rules)
    }

    fn all_routes(&self) -> impl Iterator<Item = &RouteSpec> {
        self.routes.iter().chain(&self.ipv6.routes)
    }

    fn hear_rules(&mut self) -> Result<(), RequestError> {
        self.ruled.take().unwrap_or(Ok(()))
    }

    /// Takes everything away that [`Installation::add`] added; collects what the kernel refused, and goes on.
    pub(crate) async fn remove_addresses(&mut self, requests: &Requests) -> Vec<RequestError> {
        let rules: Vec<_> = self.source_rules.drain(..).map(|rule| requests.delete_rule(&rule)).collect();
        let routes: Vec<_> = self.routes.drain(..).map(|route| requests.delete_route(&route)).collect();
        let addresses: Vec<_> =
            self.addresses.drain(..).map(|address| requests.delete_address(key(&address))).collect();
        let mut refused: Vec<RequestError> = join_all(rules).await.into_iter().filter_map(Result::err).collect();
        refused.extend(join_all(routes).await.into_iter().filter_map(Result::err));
        refused.extend(join_all(addresses).await.into_iter().filter_map(Result::err));
        refused.retain(|error| !error.is_gone());
        refused
    }

    /// Takes everything away.
    pub(crate) async fn remove(&mut self, requests: &Requests) -> Vec<RequestError> {
        self.ruled = None;
        let rules: Vec<_> = self.rules.drain(..).map(|rule| requests.delete_rule(&rule)).collect();
        let mut refused = self.remove_addresses(requests).await;
        self.follow_ipv6(requests, Vec::new(), Vec::new()).await;
        refused.extend(join_all(rules).await.into_iter().filter_map(Result::err).filter(|error| !error.is_gone()));
        refused
    }
}

/// Addresses, and what is to be installed with them.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) addresses: Vec<AddressSpec>,
    pub(crate) routes: Vec<RouteSpec>,
    /// By which traffic from them is steered, as far as it is.
    pub(crate) source_rules: Vec<RuleSpec>,
}

/// What of ours stands in the kernel beside the addresses.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) rules: Vec<RuleSpec>,
    pub(crate) routes: Vec<RouteSpec>,
}

impl Standing {
    /// True if all of it is there.
    pub(crate) fn is_complete(&self, cache: &Cache) -> bool {
        let is_there = |route: &RouteSpec| {
            // In the main table one of somebody else's may stand in its place, and is left there.
            let is_as_made = |found: &Route| {
                route.table == RouteSpec::MAIN_TABLE
                    || found.is_ours()
                        && found.kind == route.kind
                        && found.gateway() == route.gateway
                        && route.interface.is_none_or(|interface| found.uses(interface))
            };
            cache.routes().any(|found| {
                found.table == route.table
                    && found.destination == route.destination
                    && found.prefix_length == route.prefix_length
                    && route.metric.is_none_or(|metric| metric == found.metric)
                    && is_as_made(found)
            })
        };
        let rules: Vec<RuleSpec> = cache.our_rules().map(RuleSpec::from).collect();
        self.rules.iter().all(|rule| rules.contains(rule)) && self.routes.iter().all(is_there)
    }
}

/// True for what leads to the same neighbour from the same address. Whether that is on the link, the kernel does not tell.
fn is_same_way(route: &RouteSpec, other: &RouteSpec) -> bool {
    let way = |route: &RouteSpec| (route.kind, route.interface, route.gateway, route.preferred_source);
    way(route) == way(other)
}

/// In the main table a route of somebody else may have the same destination and metric: that stays.
fn addition_of_route(route: &RouteSpec) -> Addition<'_> {
    if route.table == RouteSpec::MAIN_TABLE { Addition::Route(route) } else { Addition::ReplacingRoute(route) }
}

fn unless_others_route(route: &RouteSpec, answer: Result<(), RequestError>) -> Result<(), RequestError> {
    answer.or_else(|error| unless(route.table == RouteSpec::MAIN_TABLE && error.is_exists(), error))
}

fn key(address: &AddressSpec) -> AddressKey {
    AddressKey { index: address.index, address: address.address, prefix_length: address.prefix_length, peer: None }
}

pub(crate) fn unless_exists(error: RequestError) -> Result<(), RequestError> {
    unless(error.is_exists(), error)
}

fn unless(is_as_wanted: bool, error: RequestError) -> Result<(), RequestError> {
    if is_as_wanted { Ok(()) } else { Err(error) }
}

fn is_unexpected(answer: &Result<(), RequestError>) -> bool {
    const NO_SUCH_FAMILY: [Option<i32>; 2] =
        [Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()), Some(rustix::io::Errno::OPNOTSUPP.raw_os_error())];
    answer.as_ref().is_err_and(|error| !error.is_exists() && !NO_SUCH_FAMILY.contains(&error.errno))
}
