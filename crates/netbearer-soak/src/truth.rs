use std::net::IpAddr;

use netbearer::{Interface, SessionState};
use netbearer_lab::{LabError, Namespace};
use serde_json::Value;

pub(crate) const ROUTES_V4: [&str; 5] = ["-4", "route", "show", "table", "all"];
pub(crate) const ROUTES_V6: [&str; 5] = ["-6", "route", "show", "table", "all"];

/// What `ip` says of an interface, and what a session has to tell of it once nothing is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) state: SessionState,
    pub(crate) index: u32,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Truth {
    /// Asks `ip`. An interface that is not there is not available.
    pub(crate) fn of(machine: &Namespace, interface: &str) -> Result<Self, LabError> {
        let links = machine.ip_json(&["address", "show"])?;
        let routes = || [ROUTES_V4, ROUTES_V6].into_iter().map(|question| machine.ip_json(&question)).collect();
        Self::read(&links, interface, routes)
    }

    /// From answers of `ip`: about links and their addresses, and, if they matter, about routes of all tables.
    pub(crate) fn read<E>(
        links: &Value,
        interface: &str,
        routes: impl FnOnce() -> Result<Vec<Value>, E>,
    ) -> Result<Self, E> {
        let Some(link) = list(links).find(|link| text(link, "ifname") == interface) else {
            return Ok(Self { state: SessionState::NotAvailable, index: 0, addresses: Vec::new() });
        };
        let index = number(link, "ifindex");
        let addresses: Vec<IpAddr> = list(link.get("addr_info").unwrap_or(&Value::Null))
            .filter(|address| text(address, "scope") == "global" && !is_set(address, "tentative"))
            .filter_map(|address| text(address, "local").parse().ok())
            .collect();
        let has_flag = |wanted: &str| list(link.get("flags").unwrap_or(&Value::Null)).any(|flag| flag == wanted);
        let state = match (has_flag("UP"), has_flag("LOWER_UP")) {
            (false, _) => SessionState::Disconnected,
            (true, false) => SessionState::NotAvailable,
            (true, true) if addresses.is_empty() => SessionState::Disconnected,
            (true, true) if is_routed(&routes()?, interface, &addresses) => SessionState::Connected,
            (true, true) => SessionState::Disconnected,
        };
        Ok(Self { state, index, addresses })
    }

    /// True if this is the interface a session tells of.
    pub(crate) fn is_told_by(&self, interface: Option<&Interface>, name: &str) -> bool {
        let Some(told) = interface else { return self.state != SessionState::Connected };
        let usable = |address: &IpAddr| told.addresses.iter().any(|told| told.address == *address && told.is_usable());
        self.state == SessionState::Connected
            && told.name == name
            && told.index == self.index
            && self.addresses.iter().all(usable)
            && told.addresses.iter().filter(|told| told.is_usable()).count() == self.addresses.len()
    }
}

/// True if routes of a family, IPv4 and then IPv6, lead over the interface in which it has an address.
fn is_routed(routes: &[Value], interface: &str, addresses: &[IpAddr]) -> bool {
    let leads_there = |route: &Value| text(route, "dev") == interface && matches!(text(route, "type"), "" | "unicast");
    routes.iter().zip([true, false]).any(|(routes, is_four)| {
        addresses.iter().any(|address| address.is_ipv4() == is_four) && list(routes).any(leads_there)
    })
}

pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(crate) fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn number(object: &Value, key: &str) -> u32 {
    object.get(key).and_then(Value::as_u64).and_then(|number| number.try_into().ok()).unwrap_or_default()
}

fn is_set(object: &Value, key: &str) -> bool {
    object.get(key).and_then(Value::as_bool).unwrap_or_default()
}
