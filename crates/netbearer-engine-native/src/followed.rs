//! Rules and routes of ours that follow what somebody else decides: the kernel, or another network manager.

use futures_util::future::join_all;
use netbearer_kernel::{RequestError, Requests, RouteSpec, RuleSpec};

use crate::installation::unless_exists;

/// What of them is in the kernel, in the order in which it came.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    pub(crate) rules: Vec<RuleSpec>,
    pub(crate) routes: Vec<RouteSpec>,
}

impl Followed {
    /// Makes them these. What the kernel refuses is not there, and is tried again with the next change: a link may go down
    /// under it, or lack a family.
    pub(crate) async fn follow(&mut self, requests: &Requests, rules: Vec<RuleSpec>, routes: Vec<RouteSpec>) {
        // New ones first, so that nothing leaks in between; replacing is one step.
        for route in &routes {
            if !self.routes.contains(route) {
                self.note_route(requests.replace_route(route).await, route);
            }
        }
        for rule in &rules {
            if !self.rules.contains(rule) {
                match requests.add_rule(rule).await.or_else(unless_exists) {
                    Ok(()) => self.rules.push(rule.clone()),
                    Err(error) => tracing::debug!("left out: {error}"),
                }
            }
        }
        let unwanted = self.rules.extract_if(.., |rule| !rules.contains(rule)).map(|rule| requests.delete_rule(&rule));
        let unwanted: Vec<_> = unwanted.collect();
        let stale = self.routes.extract_if(.., |route| !routes.contains(route));
        let stale: Vec<_> = stale.map(|route| requests.delete_route(&route)).collect();
        for error in join_all(unwanted).await.into_iter().chain(join_all(stale).await).filter_map(Result::err) {
            // The kernel has removed what went with its link, or what it had expire.
            tracing::debug!("{error}");
        }
    }

    /// A route that was put in the place of another one is there, and the other is not.
    fn note_route(&mut self, answer: Result<(), RequestError>, route: &RouteSpec) {
        match answer {
            Ok(()) => {
                self.routes.retain(|former| !is_in_place_of(route, former));
                self.routes.push(route.clone());
            }
            Err(error) => tracing::debug!("left out: {error}"),
        }
    }
}

/// True if the kernel keeps only one of both.
pub(crate) fn is_in_place_of(route: &RouteSpec, former: &RouteSpec) -> bool {
    let place = |route: &RouteSpec| {
        // What the kernel takes for one that is not told (`ip-route(8)`).
        let default = if route.destination.is_ipv4() { 0 } else { 1_024 };
        (route.table, route.destination, route.prefix_length, route.metric.unwrap_or(default))
    };
    place(route) == place(former)
}
