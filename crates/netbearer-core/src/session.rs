use netbearer_types::{Configuration, Failure, Identifier, Kind, Moment, SessionState};

use crate::{ClientId, UserId, properties::Properties};

/// One holder's interest in one configuration.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: ClientId,
    pub(crate) user: UserId,
    /// As it was passed in.
    pub(crate) configuration: Configuration,
    pub(crate) interest: Interest,
    /// There for sessions on service networks and user choices.
    pub(crate) way: Option<Way>,
    /// The last state its holder was told.
    pub(crate) told: SessionState,
    pub(crate) failure: Option<Failure>,
    pub(crate) properties: Properties,
}

/// How a session on a service network or a user choice comes to an access point.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// The access point it uses, from its opening until that is down.
    pub(crate) member: Option<Identifier>,
    /// What its user choice came to.
    pub(crate) resolved: Option<Identifier>,
    /// What was tried in vain in this opening, and why in vain.
    pub(crate) failed: Vec<(Identifier, Failure)>,
    /// Openings in a row that failed altogether, for the back-off of `Reconnect`.
    pub(crate) failed_starts: u32,
    /// The member whose interface its holder was shown last, while it uses none.
    pub(crate) shown: Option<Identifier>,
    /// The service network whose unused members are kept in sight for it.
    pub(crate) sighted: Option<Identifier>,
}

/// What a session wants. It holds in all but the first and the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Nothing; it watches.
    ///
    /// → `Opening`, `Open`, `Waiting` (open).
    Watching,
    /// It wants the access point, which is not up yet.
    ///
    /// → `Open` (up); `Watching` (close, failed, stop); `Waiting` (failed, with `Reconnect`).
    Opening,
    /// It was told Opened.
    ///
    /// → `Watching` (close, link lost, stop); `Waiting` (link lost, with `Reconnect`).
    Open {
        /// Since when.
        since: Moment,
    },
    /// It waits for the access point to come back (`Reconnect`).
    ///
    /// → `Opening`, `Open` (discovered again); `Watching` (close, stop).
    Waiting,
    /// Its opening has failed, and it is told so within the same call, after its state. Until then it counts as opening,
    /// so that nobody sees an end without its cause.
    ///
    /// → `Watching` (told).
    Failing,
}

impl Interest {
    pub(crate) const fn holds(self) -> bool {
        !matches!(self, Self::Watching | Self::Failing)
    }
}

impl Session {
    /// The access point this session is about; none once its configuration is invalid, and as long as it only watches a
    /// service network or a user choice.
    pub(crate) fn access_point(&self) -> Option<&Identifier> {
        match (self.configuration.kind, &self.way) {
            (Kind::Invalid, _) => None,
            (_, Some(way)) => way.member.as_ref(),
            (_, None) => Some(&self.configuration.identifier),
        }
    }
}
