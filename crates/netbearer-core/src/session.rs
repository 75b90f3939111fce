use std::sync::Arc;

use netbearer_types::{Configuration, Failure, Identifier, Kind, Moment, SessionState, StateFlags};
use serde::{Deserialize, Serialize};

use crate::{
    ClientId, Core, Program, SessionId, Token, UserId,
    course::{HeldBack, Roam},
    hold::Holds,
    properties::Properties,
    sockets::Sockets,
};

/// One holder's interest in one configuration. There may be many, so what is the same for several is shared.
#[derive(Debug)]
pub(crate) struct Session {
    /// Who is told; none if it goes on without an owner.
    pub(crate) client: Option<ClientId>,
    /// Whom it is charged to.
    pub(crate) user: UserId,
    /// Which program has opened it.
    pub(crate) program: Option<Arc<Program>>,
    /// What it can be found again by.
    pub(crate) token: Option<Token>,
    /// As it was passed in.
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) interest: Interest,
    /// There for sessions on service networks and user choices.
    pub(crate) way: Option<Box<Way>>,
    /// The last state its holder was told.
    pub(crate) told: SessionState,
    pub(crate) failure: Option<Arc<Failure>>,
    pub(crate) properties: Properties,
    pub(crate) holds: Holds,
    pub(crate) sockets: Sockets,
}

/// How a session on a service network or a user choice comes to an access point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Way {
    /// The access point it uses, from its opening until that is down; none while it is open and roams without a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<Identifier>,
    /// What its user choice came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resolved: Option<Identifier>,
    /// What was tried in vain in this opening, and why in vain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) failed: Vec<(Identifier, Failure)>,
    /// Openings in a row that failed altogether, for the back-off of `Reconnect`.
    #[serde(default)]
    pub(crate) failed_starts: u32,
    /// Its application takes the roaming decisions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) stakeholder: bool,
    #[serde(default, skip_serializing_if = "Roam::is_idle")]
    pub(crate) roam: Roam,
    /// The member whose interface its holder was shown last, while it uses none.
    #[serde(skip)]
    pub(crate) shown: Option<Identifier>,
    /// The service network whose unused members are kept in sight for it.
    #[serde(skip)]
    pub(crate) sighted: Option<Identifier>,
    /// What is in the journal of a better member that it does not go to yet, so that it is there once.
    #[serde(skip)]
    pub(crate) held_back: Option<HeldBack>,
}

/// What a session wants. It holds in all but the first and the last. The names are kept in files ([`crate::SavedState`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// → `Watching` (close, link lost, stop); `Waiting` (link lost, with `Reconnect`). It stays so while it roams ([`Course`]).
    ///
    /// [`Course`]: crate::course::Course
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

impl Way {
    /// Without what shows again by itself.
    pub(crate) fn to_be_saved(&self) -> Self {
        Self { shown: None, sighted: None, held_back: None, ..self.clone() }
    }
}

impl Interest {
    pub(crate) const fn holds(self) -> bool {
        !matches!(self, Self::Watching | Self::Failing)
    }
}

impl Session {
    /// Somebody may want to go on with it after the process has ended.
    pub(crate) fn is_to_be_saved(&self) -> bool {
        self.token.is_some() || !self.holds.are_none()
    }

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

impl Core {
    /// The one place where what a session wants changes. Whoever begins to hold is counted as such; whoever ends loses all
    /// descriptors.
    pub(crate) fn want(&mut self, id: SessionId, interest: Interest) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let held = session.interest.holds();
        let was_open = matches!(session.interest, Interest::Open { .. });
        session.interest = interest;
        let (user, has_owner) = (session.user, session.client.is_some());
        match (held, interest.holds()) {
            (false, true) => self.usage.watcher_holds(user),
            (true, false) => {
                self.usage.holder_watches(user);
                self.revoke(id);
                if !has_owner {
                    self.forsaken.insert(id);
                }
            }
            _ => {}
        }
        if was_open && !matches!(interest, Interest::Open { .. }) {
            self.deadlines.remove(id);
            self.forget_course(id);
            if interest == Interest::Waiting {
                self.abort_left_sockets(id);
            }
        }
        self.mark_unsaved(id);
    }

    /// The configuration of a session is gone.
    pub(crate) fn invalidate(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let configuration = Arc::make_mut(&mut session.configuration);
        configuration.kind = Kind::Invalid;
        configuration.state_flags = StateFlags::Undefined;
        self.mark_all_unsaved(id);
    }
}
