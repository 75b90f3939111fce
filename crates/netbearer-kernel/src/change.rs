use std::{collections::BTreeSet, ops::AddAssign};

use netbearer_types::Family;

use crate::{Address, AddressKey, Link, Route, RouterAnnouncement, Rule};

/// A part of the kernel's configuration that is dumped in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The links.
    Links,
    /// The addresses of a family.
    Addresses(Family),
    /// The routes of a family, in all tables but the local one.
    Routes(Family),
    /// The policy rules of a family.
    Rules(Family),
}

impl Part {
    /// Everything, in the order in which it is dumped.
    pub const ALL: [Self; 7] = [
        Self::Links,
        Self::Addresses(Family::V4),
        Self::Addresses(Family::V6),
        Self::Routes(Family::V4),
        Self::Routes(Family::V6),
        Self::Rules(Family::V4),
        Self::Rules(Family::V6),
    ];
}

/// One message of the kernel about a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The link is new or different.
    Link(Link),
    /// The link with this index is gone.
    LinkGone(u32),
    /// The address is new or different.
    Address(Address),
    /// The address is gone.
    AddressGone(AddressKey),
    /// The route is new, or came in the place of another one.
    Route {
        /// The route.
        route: Route,
        /// It came in the place of one that is told apart from it by nothing but its ways (`NLM_F_REPLACE`).
        replaces: bool,
    },
    /// The route is gone.
    RouteGone(Route),
    /// The rule is new.
    Rule(Rule),
    /// The rule is gone.
    RuleGone(Rule),
    /// A router was heard. The kernel may have renewed the routes it announces, without a word about them.
    Announcement(RouterAnnouncement),
}

/// What has changed in a cache, lifetimes that were prolonged or shortened included. Says where to look, not what
/// happened: the cache has the levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Indexes of links that are new, different or gone.
    pub links: BTreeSet<u32>,
    /// Indexes of interfaces whose addresses changed.
    pub addresses: BTreeSet<u32>,
    /// Indexes of interfaces that routes came to or went from.
    pub routes: BTreeSet<u32>,
    /// Routes changed that leave by no interface: blackhole, unreachable …
    pub dead_end_routes: bool,
    /// Rules changed.
    pub rules: bool,
    /// A reverse-path filter (`rp_filter`) was changed, of whatever interface, or may have been. Not told of an interface that
    /// is new.
    pub reverse_path_filters: bool,
    /// Indexes of interfaces where something else is announced by routers now, or may be: see [`Cache::unheard`].
    ///
    /// [`Cache::unheard`]: crate::Cache::unheard
    pub announcements: BTreeSet<u32>,
}

impl Changes {
    /// True if nothing has changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every interface that has to do with one of the changes, rules excepted.
    #[must_use]
    pub fn interfaces(&self) -> BTreeSet<u32> {
        self.links.iter().chain(&self.addresses).chain(&self.routes).chain(&self.announcements).copied().collect()
    }

    pub(crate) fn note_route(&mut self, route: &Route) {
        self.routes.extend(route.interfaces());
        self.dead_end_routes |= route.next_hops.is_empty();
    }
}

impl AddAssign for Changes {
    fn add_assign(&mut self, more: Self) {
        self.links.extend(more.links);
        self.addresses.extend(more.addresses);
        self.routes.extend(more.routes);
        self.dead_end_routes |= more.dead_end_routes;
        self.rules |= more.rules;
        self.reverse_path_filters |= more.reverse_path_filters;
        self.announcements.extend(more.announcements);
    }
}
