use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use netbearer_types::Family;

use crate::{Address, AddressKey, Change, Link, Part, Route, Rule};

/// A part of the kernel's configuration, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dump {
    /// The links, by index.
    Links(BTreeMap<u32, Arc<Link>>),
    /// The addresses of a family.
    Addresses(Family, BTreeMap<AddressKey, Address>),
    /// The routes of a family, in all tables but the local one.
    Routes(Family, BTreeSet<Route>),
    /// The policy rules of a family.
    Rules(Family, BTreeSet<Rule>),
}

impl Dump {
    /// A dump of `part` that nothing was found in yet.
    #[must_use]
    pub const fn empty(part: Part) -> Self {
        match part {
            Part::Links => Self::Links(BTreeMap::new()),
            Part::Addresses(family) => Self::Addresses(family, BTreeMap::new()),
            Part::Routes(family) => Self::Routes(family, BTreeSet::new()),
            Part::Rules(family) => Self::Rules(family, BTreeSet::new()),
        }
    }

    /// What it is a dump of.
    #[must_use]
    pub const fn part(&self) -> Part {
        match self {
            Self::Links(_) => Part::Links,
            Self::Addresses(family, _) => Part::Addresses(*family),
            Self::Routes(family, _) => Part::Routes(*family),
            Self::Rules(family, _) => Part::Rules(*family),
        }
    }

    /// Adds what a message of the dump says. What does not belong to the part is left out: a kernel without IPv6
    /// answers with everything it has instead.
    pub fn add(&mut self, change: Change) {
        match (self, change) {
            (Self::Links(links), Change::Link(link)) => {
                links.insert(link.index, Arc::new(link));
            }
            (Self::Addresses(family, addresses), Change::Address(address))
                if Family::of(address.address) == *family =>
            {
                addresses.insert(address.key(), address);
            }
            (Self::Routes(family, routes), Change::Route { route, .. }) if route.family == *family => {
                routes.insert(route);
            }
            (Self::Rules(family, rules), Change::Rule(rule)) if rule.family == *family => {
                rules.insert(rule);
            }
            _ => {}
        }
    }
}
