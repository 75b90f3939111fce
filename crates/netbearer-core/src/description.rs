use netbearer_types::{Identifier, Moment, SessionState};
use serde::{Deserialize, Serialize};

use crate::{Core, Program, SessionId, UserId};

/// A session as everybody may know of it: who has what, since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionDescription {
    /// Which one.
    pub session: SessionId,
    /// What it was made on.
    pub configuration: Identifier,
    /// The access point that it uses, while it is open.
    pub active: Option<Identifier>,
    /// Whom it is charged to.
    pub user: UserId,
    /// The program that has it, or had it last.
    pub program: Option<Program>,
    /// A client is there for it; else it goes on as descriptors hold it, or until its client is back.
    pub owned: bool,
    /// Its state.
    pub state: SessionState,
    /// It holds, and its link is up.
    pub is_open: bool,
    /// It holds, and its link is not up yet, or is waited for.
    pub is_opening: bool,
    /// Since when it has been open.
    pub since: Option<Moment>,
    /// How many descriptors hold it.
    pub descriptors: u32,
}

impl Core {
    /// All sessions, by number.
    #[must_use]
    pub fn session_descriptions(&self) -> Vec<SessionDescription> {
        self.sessions.keys().filter_map(|id| self.session_description(*id)).collect()
    }

    /// How many of them hold.
    #[must_use]
    pub fn sessions_held(&self) -> usize {
        self.sessions.values().filter(|session| session.interest.holds()).count()
    }

    /// One session.
    #[must_use]
    pub fn session_description(&self, id: SessionId) -> Option<SessionDescription> {
        let (session, snapshot) = (self.sessions.get(&id)?, self.session(id)?);
        Some(SessionDescription {
            session: id,
            configuration: session.configuration.identifier.clone(),
            active: snapshot.active_configuration,
            user: session.user,
            program: session.program.as_deref().cloned(),
            owned: session.client.is_some(),
            state: snapshot.state,
            is_open: snapshot.is_open,
            is_opening: snapshot.is_opening,
            since: snapshot.active_since,
            descriptors: u32::try_from(session.holds.count()).unwrap_or(u32::MAX),
        })
    }
}
