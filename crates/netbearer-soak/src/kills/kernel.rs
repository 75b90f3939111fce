use std::collections::BTreeSet;

use netbearer_lab::{LabError, Namespace};
use serde_json::Value;

use crate::truth::{ROUTES_V4, ROUTES_V6, Truth, list, number, text};

/// The protocol that what is ours is tagged with, as `ip` writes one without a name.
const NETBEARER: &str = "110";
/// The rules that say whose packets go where (ARCHITECTURE.md, "Steering").
const BOUND: u32 = 5_100;
const MARKED: u32 = 5_110;
const FAIL_CLOSED: u32 = 5_111;
const SOURCE: u32 = 5_120;
const MAIN: &str = "main";

/// What `ip` says of a machine at one moment, or nearly so.
#[derive(Debug)]
pub(crate) struct Kernel {
    links: Value,
    routes: Vec<Value>,
    rules: Vec<Value>,
}

/// What of ours is on an interface beside addresses, whose origin not every `ip` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ours {
    routes: usize,
    pub(crate) tables: BTreeSet<String>,
    /// Rules for sockets bound to it.
    bound: usize,
    /// Rules that lead from an address to one of the tables.
    sources: usize,
}

impl Ours {
    pub(crate) fn is_nothing(&self) -> bool {
        self.routes + self.bound == 0
    }

    /// All that lets traffic through: routes in a table of their own, and rules that lead there.
    pub(crate) fn is_whole(&self) -> bool {
        self.tables.len() == 1 && self.bound > 0 && self.sources > 0
    }
}

impl Kernel {
    pub(crate) fn read(machine: &Namespace) -> Result<Self, LabError> {
        let ask_all = |questions: [&[&str]; 2]| -> Result<Vec<Value>, LabError> {
            questions.into_iter().map(|question| machine.ip_json(question)).collect()
        };
        Ok(Self {
            links: machine.ip_json(&["address", "show"])?,
            routes: ask_all([&ROUTES_V4, &ROUTES_V6])?,
            rules: ask_all([&["-4", "rule", "show"], &["-6", "rule", "show"]])?,
        })
    }

    pub(crate) fn truth(&self, interface: &str) -> Truth {
        let Ok(truth) = Truth::read(&self.links, interface, || Ok::<_, std::convert::Infallible>(self.routes.clone()));
        truth
    }

    pub(crate) fn ours(&self, interface: &str) -> Ours {
        let routes: Vec<&Value> = self.routes_of(interface).filter(|route| is_ours(route)).collect();
        let tables = routes.iter().map(|route| table(route)).filter(|table| *table != MAIN);
        let tables: BTreeSet<String> = tables.map(str::to_owned).collect();
        let bound = self.rules().filter(|rule| number(rule, "priority") == BOUND && text(rule, "oif") == interface);
        let sources =
            self.rules().filter(|rule| number(rule, "priority") == SOURCE && tables.contains(text(rule, "table")));
        Ours { routes: routes.len(), bound: bound.count(), sources: sources.count(), tables }
    }

    /// Rules of ours that lead to none of these tables, and routes of ours in others than these.
    pub(crate) fn strays(&self, tables: &BTreeSet<String>) -> Vec<String> {
        let leads_there = |rule: &&Value| tables.contains(text(rule, "table"));
        let marks: BTreeSet<&str> = self
            .rules()
            .filter(|rule| number(rule, "priority") == MARKED)
            .filter(leads_there)
            .map(|rule| text(rule, "fwmark"))
            .collect();
        let is_stray = |rule: &&Value| {
            let priority = number(rule, "priority");
            let is_in_place = match priority {
                FAIL_CLOSED => marks.contains(text(rule, "fwmark")),
                _ => leads_there(rule),
            };
            (BOUND..=SOURCE).contains(&priority) && !is_in_place
        };
        let routes = self.routes.iter().flat_map(list);
        let is_astray = |route: &&Value| is_ours(route) && table(route) != MAIN && !tables.contains(table(route));
        self.rules().filter(is_stray).chain(routes.filter(is_astray)).map(Value::to_string).collect()
    }

    /// The link, addresses and routes of an interface, but for what is ours: a line each.
    pub(crate) fn of_others(&self, interface: &str) -> Vec<String> {
        let link = self.link(interface).map(|link| text(link, "flags").to_owned() + &link["flags"].to_string());
        let others = self.addresses_of(interface).chain(self.routes_of(interface)).filter(|fact| !is_ours(fact));
        link.into_iter().chain(others.map(Value::to_string)).collect()
    }

    fn link(&self, interface: &str) -> Option<&Value> {
        list(&self.links).find(|link| text(link, "ifname") == interface)
    }

    fn addresses_of(&self, interface: &str) -> impl Iterator<Item = &Value> {
        self.link(interface).and_then(|link| link.get("addr_info")).into_iter().flat_map(list)
    }

    fn routes_of<'a>(&'a self, interface: &'a str) -> impl Iterator<Item = &'a Value> {
        self.routes.iter().flat_map(list).filter(move |route| text(route, "dev") == interface)
    }

    fn rules(&self) -> impl Iterator<Item = &Value> {
        self.rules.iter().flat_map(list)
    }
}

fn is_ours(fact: &Value) -> bool {
    text(fact, "protocol") == NETBEARER
}

/// `ip` leaves out the main one.
fn table(route: &Value) -> &str {
    match text(route, "table") {
        "" => MAIN,
        table => table,
    }
}

#[cfg(test)]
mod tests {
    use netbearer::SessionState;
    use serde_json::json;

    use super::*;

    /// ap0 is ours and up, ap1 is down.
    fn kernel() -> Kernel {
        let address = json!({"local": "10.10.0.100", "scope": "global"});
        let route = |table: &str| json!({"dst": "default", "dev": "ap0", "protocol": "110", "table": table});
        Kernel {
            links: json!([
                {"ifname": "ap0", "ifindex": 500, "flags": ["UP", "LOWER_UP"], "addr_info": [address]},
                {"ifname": "ap1", "ifindex": 501, "flags": [], "addr_info": []},
            ]),
            routes: vec![json!([{"dst": "default", "dev": "ap0", "protocol": "110"}, route("21001")]), json!([])],
            rules: vec![
                json!([
                    {"priority": 0, "src": "all", "table": "local"},
                    {"priority": 5_100, "src": "all", "oif": "ap0", "table": "21001", "protocol": "110"},
                    {"priority": 5_110, "src": "all", "fwmark": "0x6e01", "table": "21001", "protocol": "110"},
                    {"priority": 5_111, "src": "all", "fwmark": "0x6e01", "action": "unreachable", "protocol": "110"},
                    {"priority": 5_120, "src": "10.10.0.100", "table": "21001", "protocol": "110"},
                ]),
                json!([]),
            ],
        }
    }

    fn tables(kernel: &Kernel) -> BTreeSet<String> {
        kernel.ours("ap0").tables
    }

    #[test]
    fn what_is_up_is_whole_and_what_is_down_is_nothing() {
        let kernel = kernel();
        assert!(kernel.ours("ap0").is_whole() && !kernel.ours("ap0").is_nothing());
        assert!(kernel.ours("ap1").is_nothing() && !kernel.ours("ap1").is_whole());
        assert_eq!(kernel.truth("ap0").state, SessionState::Connected);
        assert_eq!(kernel.truth("ap1").state, SessionState::Disconnected);
        assert!(kernel.strays(&tables(&kernel)).is_empty());
        assert_eq!(kernel.of_others("ap0").len(), 2, "its link and its address");
    }

    #[test]
    fn each_rule_that_is_missing_or_left_over_is_seen() {
        for missing in [1, 4] {
            let mut kernel = kernel();
            kernel.rules[0].as_array_mut().unwrap().remove(missing);
            assert!(!kernel.ours("ap0").is_whole(), "{missing}");
        }
        let kernel = kernel();
        assert_eq!(kernel.strays(&BTreeSet::new()).len(), 5, "four rules and a route");
        let mut unmarked = kernel;
        unmarked.rules[0].as_array_mut().unwrap().remove(2);
        assert_eq!(unmarked.strays(&tables(&unmarked)).len(), 1, "what is refused is not marked");
    }
}
