use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::pattern::Selection;

/// A program that looks after interfaces. In the order in which they are named when several claim the same one: those
/// that act by themselves first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ManagerName {
    /// `NetworkManager`.
    NetworkManager,
    /// `ConnMan`.
    ConnMan,
    /// systemd-networkd.
    Networkd,
    /// dhcpcd.
    Dhcpcd,
    /// ifupdown: `ifup` and `ifdown`.
    Ifupdown,
}

impl fmt::Display for ManagerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NetworkManager => "NetworkManager",
            Self::ConnMan => "ConnMan",
            Self::Networkd => "systemd-networkd",
            Self::Dhcpcd => "dhcpcd",
            Self::Ifupdown => "ifupdown",
        })
    }
}

/// Who looks after an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The program.
    pub manager: ManagerName,
    /// What it said of the interface, in its own words, for people.
    pub detail: String,
}

/// Who looks after which interface, as all managers say at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    claims: BTreeMap<ManagerName, Claims>,
    /// Managers that have not been asked yet.
    unasked: BTreeSet<ManagerName>,
}

/// What one manager looks after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Interfaces, and what it says of them.
    pub(crate) interfaces: BTreeMap<String, String>,
    /// Those it takes whenever they appear.
    pub(crate) selection: Option<Selection>,
}

impl Owners {
    /// Who looks after the interface of this name, if anybody does. It need not exist: some managers take every interface
    /// there will be.
    #[must_use]
    pub fn of(&self, interface: &str) -> Option<Owner> {
        self.claims.iter().find_map(|(manager, claims)| {
            let detail = claims.interfaces.get(interface).cloned().or_else(|| {
                let selected = claims.selection.as_ref()?.contains(interface);
                selected.then(|| "takes every interface its configuration allows".to_owned())
            })?;
            Some(Owner { manager: *manager, detail })
        })
    }

    /// The interfaces that managers name, with their owners. Those that a manager takes without naming them are missing.
    #[must_use]
    pub fn named(&self) -> BTreeMap<&str, Owner> {
        let names = self.claims.values().flat_map(|claims| claims.interfaces.keys());
        names.filter_map(|name| Some((name.as_str(), self.of(name)?))).collect()
    }

    pub(crate) fn unasked(managers: impl IntoIterator<Item = ManagerName>) -> Self {
        Self { claims: BTreeMap::new(), unasked: managers.into_iter().collect() }
    }

    pub(crate) fn everybody_was_asked(&self) -> bool {
        self.unasked.is_empty()
    }

    /// Takes in what a manager says. True if that is a change.
    pub(crate) fn set(&mut self, manager: ManagerName, claims: Claims) -> bool {
        let first = self.unasked.remove(&manager);
        let before = if claims == Claims::default() {
            self.claims.remove(&manager)
        } else {
            self.claims.insert(manager, claims.clone())
        };
        first || before.unwrap_or_default() != claims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(interface: &str) -> Claims {
        Claims { interfaces: BTreeMap::from([(interface.to_owned(), "up".to_owned())]), selection: None }
    }

    #[test]
    fn the_manager_that_acts_by_itself_is_named_before_the_one_that_started_it() {
        let mut owners = Owners::default();
        assert!(owners.set(ManagerName::Ifupdown, claims("ap0")));
        assert!(owners.set(ManagerName::Dhcpcd, claims("ap0")));
        assert_eq!(owners.of("ap0").unwrap().manager, ManagerName::Dhcpcd);
        assert!(owners.set(ManagerName::Dhcpcd, Claims::default()));
        assert_eq!(owners.of("ap0").unwrap().manager, ManagerName::Ifupdown);
        assert_eq!(owners.named().len(), 1);
    }

    #[test]
    fn the_same_claims_again_are_no_change() {
        let mut owners = Owners::unasked([ManagerName::ConnMan]);
        assert!(!owners.everybody_was_asked());
        assert!(owners.set(ManagerName::ConnMan, Claims::default()), "to have been asked is a change");
        assert!(!owners.set(ManagerName::ConnMan, Claims::default()));
        assert!(owners.set(ManagerName::ConnMan, claims("ap0")));
        assert!(!owners.set(ManagerName::ConnMan, claims("ap0")));
        assert!(owners.everybody_was_asked());
    }
}
