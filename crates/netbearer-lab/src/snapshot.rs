use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{LabError, Namespace};

/// Numbers that change by themselves, and the state of a check that ends by itself.
const VOLATILE: [&str; 5] = ["valid_life_time", "preferred_life_time", "expires", "tentative", "optimistic"];
/// NetworkManager's directory while it runs, or has run.
const NETWORK_MANAGER: &str = "/run/NetworkManager/devices";
/// The beginning of what `nmcli` says of how often something was brought up before.
const ACTIVATIONS: &str = "GENERAL.CON-PATH:";
/// The protocol that NetBearer's addresses, routes and rules are tagged with, as `ip` writes one without a name.
const NETBEARER: &str = "110";

/// The network state of a namespace at one moment: links, addresses, routes, rules and the sysctls of the interfaces,
/// one fact a line. For assertions that something is "as before".
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    facts: Vec<String>,
}

impl Snapshot {
    /// Takes a snapshot, by `ip` and `/proc/sys`.
    ///
    /// # Errors
    /// [`LabError::CommandFailed`] or [`LabError::System`].
    pub fn take(namespace: &Namespace) -> Result<Self, LabError> {
        let mut facts = Vec::new();
        for mut link in objects(namespace.ip_json(&["address", "show"])?) {
            let name = link.get("ifname").and_then(Value::as_str).unwrap_or_default().to_owned();
            let addresses = link.as_object_mut().and_then(|link| link.remove("addr_info")).unwrap_or_default();
            // The first time a link is set up it gets its queueing discipline, and keeps it.
            link.as_object_mut().and_then(|link| link.remove("qdisc"));
            facts.push(fact("link", link));
            facts.extend(objects(addresses).into_iter().map(|address| fact(&format!("address {name}"), address)));
        }
        for family in ["-4", "-6"] {
            let routes = namespace.ip_json(&[family, "route", "show", "table", "all"])?;
            let routes = objects(routes).into_iter().filter(|route| !is_of_an_address(route));
            facts.extend(routes.map(|route| fact(&format!("route {family}"), route)));
            let rules = namespace.ip_json(&[family, "rule", "show"])?;
            facts.extend(objects(rules).into_iter().map(|rule| fact(&format!("rule {family}"), rule)));
        }
        facts.extend(namespace.run(sysctls)?);
        facts.sort();
        Ok(Self { facts })
    }

    /// Takes a snapshot of what belongs to others than NetBearer: all but the addresses, routes and rules tagged as its
    /// own, and also `/etc/resolv.conf` and, if NetworkManager runs there, what `nmcli` says of devices and profiles.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn of_others(namespace: &Namespace) -> Result<Self, LabError> {
        let Self { mut facts } = Self::take(namespace)?;
        let ours = format!("\"protocol\":\"{NETBEARER}\"");
        facts.retain(|fact| !fact.contains(&ours));
        let resolver = fs::read_to_string(namespace.path("/etc/resolv.conf")).unwrap_or_default();
        facts.push(format!("resolv.conf {resolver:?}"));
        if namespace.path(NETWORK_MANAGER).exists() {
            for question in [["device", "show"], ["connection", "show"]] {
                let answer = namespace.command("nmcli").args(["--terse", "--colors", "no"]).args(question).output()?;
                let lines = answer.lines().filter(|line| !line.starts_with(ACTIVATIONS));
                facts.extend(lines.map(|line| format!("nmcli {} {line}", question.join(" "))));
            }
        }
        facts.sort();
        Ok(Self { facts })
    }

    /// The facts that `later` lacks (`- …`) and those it has in addition (`+ …`), one a line; empty if both are equal.
    #[must_use]
    pub fn difference(&self, later: &Self) -> String {
        let gone = without(&self.facts, &later.facts).into_iter().map(|fact| format!("- {fact}\n"));
        let new = without(&later.facts, &self.facts).into_iter().map(|fact| format!("+ {fact}\n"));
        gone.chain(new).collect()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.iter().try_for_each(|fact| writeln!(formatter, "{fact}"))
    }
}

/// The route to an address itself, which is a fact of its own. The kernel adds one of IPv6 when it has checked the address.
fn is_of_an_address(route: &Value) -> bool {
    route["table"] == "local" && route["type"] == "local" && route["protocol"] == "kernel"
}

/// `facts` less one for each equal one in `others`.
fn without<'a>(facts: &'a [String], others: &[String]) -> Vec<&'a String> {
    let mut others: Vec<&String> = others.iter().collect();
    let mut left = Vec::new();
    for fact in facts {
        match others.iter().position(|other| *other == fact) {
            Some(place) => drop(others.swap_remove(place)),
            None => left.push(fact),
        }
    }
    left
}

fn objects(answer: Value) -> Vec<Value> {
    match answer {
        Value::Array(objects) => objects,
        _ => Vec::new(),
    }
}

fn fact(kind: &str, mut object: Value) -> String {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|name, _| !VOLATILE.contains(&name.as_str()));
    }
    format!("{kind} {object}")
}

/// Every setting of every interface, and of those to come.
fn sysctls() -> io::Result<Vec<String>> {
    let mut facts = Vec::new();
    for family in ["ipv4", "ipv6"] {
        let root = PathBuf::from("/proc/sys/net").join(family).join("conf");
        if !root.exists() {
            continue; // a kernel without IPv6
        }
        for interface in fs::read_dir(root)? {
            for setting in fs::read_dir(interface?.path())? {
                facts.extend(sysctl(&setting?.path()));
            }
        }
    }
    Ok(facts)
}

/// Nothing for a setting that cannot be read, as `stable_secret` before it is set.
fn sysctl(path: &Path) -> Option<String> {
    let value = fs::read_to_string(path).ok()?;
    Some(format!("sysctl {} = {}", path.strip_prefix("/proc/sys").ok()?.display(), value.trim()))
}
