//! What other people's programs say about a namespace.

use std::net::IpAddr;

use serde_json::Value;

use crate::{LabError, Namespace};

impl Namespace {
    /// What `ip -json` answers, for instance to `["-6", "route", "show", "table", "all"]`; `[]` if it says nothing.
    ///
    /// # Errors
    /// [`LabError::CommandFailed`], as for an interface that does not exist.
    pub fn ip_json(&self, arguments: &[&str]) -> Result<Value, LabError> {
        let command = self.command("ip").arg("-json").args(arguments);
        let line = command.line();
        let answer = command.output()?;
        match answer.trim() {
            "" => Ok(Value::Array(Vec::new())),
            answer => serde_json::from_str(answer).map_err(|source| LabError::NotJson { command: line, source }),
        }
    }

    /// The lines `ip` answers, for instance to `["rule"]`, without trailing blanks.
    ///
    /// # Errors
    /// [`LabError::CommandFailed`].
    pub fn ip_lines(&self, arguments: &[&str]) -> Result<Vec<String>, LabError> {
        let answer = self.command("ip").args(arguments).output()?;
        Ok(answer.lines().map(|line| line.trim_end().to_owned()).collect())
    }

    /// The addresses of an interface with the lengths of their prefixes, link-local ones included.
    ///
    /// # Errors
    /// [`LabError::CommandFailed`] if there is no such interface.
    pub fn addresses(&self, interface: &str) -> Result<Vec<(IpAddr, u8)>, LabError> {
        let answer = self.ip_json(&["address", "show", "dev", interface])?;
        Ok(list(&answer, "addr_info").filter_map(address).collect())
    }

    /// The routes of a table (`main`, `all` or a number), IPv4 before IPv6, as `ip route` writes them. A table that has
    /// never been used has none.
    ///
    /// # Errors
    /// [`LabError::CommandFailed`] if there cannot be such a table.
    pub fn routes(&self, table: &str) -> Result<Vec<String>, LabError> {
        let mut routes = Vec::new();
        for family in ["-4", "-6"] {
            match self.ip_lines(&[family, "route", "show", "table", table]) {
                Ok(lines) => routes.extend(lines),
                Err(LabError::CommandFailed { message, .. }) if message.contains("table does not exist") => {}
                Err(error) => return Err(error),
            }
        }
        Ok(routes)
    }

    /// The policy rules, IPv4 before IPv6, as `ip rule` writes them.
    ///
    /// # Errors
    /// [`LabError::CommandFailed`].
    pub fn rules(&self) -> Result<Vec<String>, LabError> {
        let mut rules = self.ip_lines(&["-4", "rule", "show"])?;
        rules.extend(self.ip_lines(&["-6", "rule", "show"])?);
        Ok(rules)
    }

    /// Whether an interface is administratively up.
    ///
    /// # Errors
    /// [`LabError::CommandFailed`] if there is no such interface.
    pub fn is_administratively_up(&self, interface: &str) -> Result<bool, LabError> {
        self.has_flag(interface, "UP")
    }

    /// Whether an interface is up and has carrier.
    ///
    /// # Errors
    /// [`LabError::CommandFailed`] if there is no such interface.
    pub fn has_carrier(&self, interface: &str) -> Result<bool, LabError> {
        self.has_flag(interface, "LOWER_UP")
    }

    /// Whether an interface is up, has carrier, and has what the kernel gives it for IPv6 a moment later: its link-local
    /// network.
    ///
    /// # Errors
    /// [`LabError::CommandFailed`] if there is no such interface.
    pub fn is_settled(&self, interface: &str) -> Result<bool, LabError> {
        let network = self.ip_lines(&["-6", "route", "show", "fe80::/64", "dev", interface])?;
        Ok(self.has_carrier(interface)? && !network.is_empty())
    }

    fn has_flag(&self, interface: &str, flag: &str) -> Result<bool, LabError> {
        let answer = self.ip_json(&["link", "show", "dev", interface])?;
        Ok(list(&answer, "flags").any(|set| set == flag))
    }

    /// Addresses, routes and rules as a person reads them, for messages.
    pub(crate) fn describe(&self) -> Result<String, LabError> {
        let mut lines = self.ip_lines(&["-brief", "address"])?;
        lines.extend(self.routes("all")?.into_iter().filter(|route| !route.contains("table local")));
        lines.extend(self.rules()?);
        Ok(lines.join("\n"))
    }
}

/// The items of the list `key` in all objects of `answer`.
fn list<'a>(answer: &'a Value, key: &'a str) -> impl Iterator<Item = &'a Value> {
    answer.as_array().into_iter().flatten().filter_map(move |object| object.get(key)?.as_array()).flatten()
}

fn address(entry: &Value) -> Option<(IpAddr, u8)> {
    let address = entry.get("local")?.as_str()?.parse().ok()?;
    Some((address, u8::try_from(entry.get("prefixlen")?.as_u64()?).ok()?))
}
