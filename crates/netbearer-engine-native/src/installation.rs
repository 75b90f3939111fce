//! What of ours is on one interface, and how it gets there and away again.

use std::{collections::BTreeSet, net::IpAddr, pin::Pin};

use futures_util::future::join_all;
use netbearer_kernel::{AddressKey, AddressSpec, Cache, RequestError, Requests, Route, RouteSpec, RuleSpec};

use crate::followed::Followed;

type Answer = Pin<Box<dyn Future<Output = Result<(), RequestError>> + Send>>;

/// Everything of ours on one interface. What somebody else had made before is not ours, though it be the same.
#[derive(Default)]
pub(crate) struct Installation {
    rules: Vec<RuleSpec>,
    /// What the kernel says to the rules, as long as nobody has heard it.
    ruled: Option<Answer>,
    routes: Vec<RouteSpec>,
    source_rules: Vec<RuleSpec>,
    addresses: Vec<AddressSpec>,
    /// Rules for IPv6, and routes for it in our own table.
    ipv6: Followed,
}

impl Installation {
    /// Asks for the rules that need no address. Nobody waits for them before there is one; then [`Installation::add`]
    /// does. A family that the kernel does not have needs none.
    pub(crate) fn ask_for_standing_rules(&mut self, requests: &Requests, rules: Vec<RuleSpec>) {
        let asked: Vec<_> = rules.iter().map(|rule| requests.add_rule(rule)).collect();
        self.rules = rules;
        self.ruled = Some(Box::pin(async { join_all(asked).await.into_iter().find(is_unexpected).unwrap_or(Ok(())) }));
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
        self.hear_rules().await
    }

    /// Adds addresses and what they bring, or prolongs them. Routes there are besides these are no longer ours.
    pub(crate) async fn add(&mut self, requests: &Requests, wanted: Parts) -> Result<(), RequestError> {
        let Parts { addresses, routes, source_rules } = wanted;
        for address in addresses {
            let renewed = self.addresses.iter().position(|ours| key(ours) == key(&address));
            let added = match renewed {
                Some(_) => requests.replace_address(&address).await,
                None => requests.add_address(&address).await,
            };
            match added {
                Ok(()) => {
                    renewed.map(|position| self.addresses.swap_remove(position));
                    self.addresses.push(address);
                }
                // Put there by somebody, who may want it longer than we do.
                Err(error) if error.is_exists() => tracing::info!("{error}: it is there already, and left as it is"),
                Err(error) => return Err(error),
            }
        }
        self.hear_rules().await?;
        self.follow_source_rules(requests, source_rules).await?;
        let asked: Vec<_> = routes.iter().map(|route| self.ask_for_route(requests, route)).collect();
        // Recorded whatever comes of them: only what carries our tag is ever removed.
        self.routes = routes;
        join_all(asked).await.into_iter().collect()
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
        join_all(self.all_routes().map(|route| self.ask_for_route(requests, route))).await.into_iter().collect()
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

    /// In the main table a route of somebody else may have the same destination and metric: that stays.
    fn ask_for_route(&self, requests: &Requests, route: &RouteSpec) -> Answer {
        if route.table == RouteSpec::MAIN_TABLE {
            let asked = requests.add_route(route);
            Box::pin(async { asked.await.or_else(unless_exists) })
        } else {
            Box::pin(requests.replace_route(route))
        }
    }

    async fn hear_rules(&mut self) -> Result<(), RequestError> {
        match self.ruled.take() {
            Some(answer) => answer.await,
            None => Ok(()),
        }
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
