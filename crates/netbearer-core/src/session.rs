use netbearer_types::{Configuration, Failure, Identifier, Moment, SessionState};

use crate::{ClientId, UserId, properties::Properties};

/// One holder's interest in one configuration.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: ClientId,
    pub(crate) user: UserId,
    /// As it was passed in.
    pub(crate) configuration: Configuration,
    pub(crate) interest: Interest,
    /// The last state its holder was told.
    pub(crate) told: SessionState,
    pub(crate) failure: Option<Failure>,
    pub(crate) properties: Properties,
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
    /// The access point this session is about; none once its configuration is invalid.
    pub(crate) fn access_point(&self) -> Option<&Identifier> {
        self.configuration.is_valid().then_some(&self.configuration.identifier)
    }
}
