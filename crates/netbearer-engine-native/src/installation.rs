//! What of ours is on one interface, and how it gets there and away again.

use std::pin::Pin;

use futures_util::future::join_all;
use netbearer_dhcp::Lease;
use netbearer_kernel::{AddressKey, AddressSpec, RequestError, Requests, RouteSpec, RuleSpec};
use netbearer_types::Moment;

use crate::steering::{self, Steering};

type Answer = Pin<Box<dyn Future<Output = Result<(), RequestError>> + Send>>;

/// Everything of ours on one interface. Each thing is recorded before it is asked for, so that whatever happens in
/// between, taking it away misses nothing.
#[derive(Default)]
pub(crate) struct Installation {
    rules: Vec<RuleSpec>,
    /// What the kernel says to the rules, as long as nobody has heard it.
    ruled: Option<Answer>,
    routes: Vec<RouteSpec>,
    source_rule: Option<RuleSpec>,
    address: Option<AddressSpec>,
}

impl Installation {
    /// Asks for the rules that need no address. Nobody waits for them before there is a lease; then
    /// [`Installation::add_lease`] does. A family that the kernel does not have needs none.
    pub(crate) fn ask_for_standing_rules(&mut self, requests: &Requests, rules: Vec<RuleSpec>) {
        let asked: Vec<_> = rules.iter().map(|rule| requests.add_rule(rule)).collect();
        self.rules = rules;
        self.ruled = Some(Box::pin(async { join_all(asked).await.into_iter().find(is_unexpected).unwrap_or(Ok(())) }));
    }

    /// Adds what a lease brings.
    pub(crate) async fn add_lease(
        &mut self,
        requests: &Requests,
        steering: &Steering,
        wanted: LeaseParts,
        now: Moment,
    ) -> Result<(), RequestError> {
        let LeaseParts { interface, lease, metric, default_route } = wanted;
        let address = steering::address(interface, &lease, now);
        let routes = steering.routes(interface, &lease, metric, default_route);
        let source_rule = steering.source_rule(lease.address);
        let added = requests.replace_address(&address);
        let ruled = requests.add_rule(&source_rule);
        let routed: Vec<_> = routes.iter().map(|route| requests.replace_route(route)).collect();
        self.address = Some(address);
        self.source_rule = Some(source_rule);
        self.routes = routes;
        if let Some(answer) = self.ruled.take() {
            answer.await?;
        }
        added.await?;
        match ruled.await {
            Err(error) if !error.is_exists() => return Err(error),
            _ => {}
        }
        join_all(routed).await.into_iter().collect()
    }

    /// Takes everything away that a lease brought; collects what the kernel refused, and goes on.
    pub(crate) async fn remove_lease(&mut self, requests: &Requests) -> Vec<RequestError> {
        let rule = self.source_rule.take().map(|rule| requests.delete_rule(&rule));
        let routes: Vec<_> = self.routes.drain(..).map(|route| requests.delete_route(&route)).collect();
        let address = self.address.take().map(|address| requests.delete_address(key(&address)));
        let mut refused = Vec::new();
        for answer in [rule.map(Box::pin)].into_iter().flatten() {
            refused.extend(answer.await.err());
        }
        refused.extend(join_all(routes).await.into_iter().filter_map(Result::err));
        if let Some(answer) = address {
            refused.extend(answer.await.err());
        }
        refused.retain(|error| !error.is_gone());
        refused
    }

    /// Takes everything away.
    pub(crate) async fn remove(&mut self, requests: &Requests) -> Vec<RequestError> {
        self.ruled = None;
        let rules: Vec<_> = self.rules.drain(..).map(|rule| requests.delete_rule(&rule)).collect();
        let mut refused = self.remove_lease(requests).await;
        refused.extend(join_all(rules).await.into_iter().filter_map(Result::err).filter(|error| !error.is_gone()));
        refused
    }
}

/// A lease, and how it is to be installed.
pub(crate) struct LeaseParts {
    pub(crate) interface: u32,
    pub(crate) lease: Lease,
    pub(crate) metric: u32,
    pub(crate) default_route: bool,
}

fn key(address: &AddressSpec) -> AddressKey {
    AddressKey { index: address.index, address: address.address, prefix_length: address.prefix_length, peer: None }
}

fn is_unexpected(answer: &Result<(), RequestError>) -> bool {
    const NO_SUCH_FAMILY: [Option<i32>; 2] =
        [Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()), Some(rustix::io::Errno::OPNOTSUPP.raw_os_error())];
    answer.as_ref().is_err_and(|error| !error.is_exists() && !NO_SUCH_FAMILY.contains(&error.errno))
}
