use serde::{Deserialize, Serialize};

use crate::{Failure, Identifier, Interface, Moment, RoamingSnapshot, SessionState};

/// A session as it is at one moment: what its getters return, and what a stream of events starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSnapshot {
    /// The connectivity state.
    pub state: SessionState,
    /// This session holds, and its link is up or it is roaming.
    pub is_open: bool,
    /// This session holds and its link is not up yet, or is waited for (`Reconnect`).
    pub is_opening: bool,
    /// The interface in use: present exactly when [`SessionState::Connected`], and while roaming as long as the old link lives.
    pub interface: Option<Interface>,
    /// The access point in use while open.
    pub active_configuration: Option<Identifier>,
    /// Since when the session has been open.
    pub active_since: Option<Moment>,
    /// The last failure; an accepted open clears it.
    pub failure: Option<Failure>,
    /// The offer that its application has to answer, or has under way; there for stakeholders only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roaming: Option<Box<RoamingSnapshot>>,
}

impl SessionSnapshot {
    /// The interface of the candidate, during a trial.
    #[must_use]
    pub fn candidate_interface(&self) -> Option<&Interface> {
        self.roaming.as_deref()?.candidate_interface.as_ref()
    }

    /// By which interface new sockets of an open session leave the machine: the candidate's during a trial, else that in use.
    #[must_use]
    pub fn interface_for_sockets(&self) -> Option<&Interface> {
        self.candidate_interface().or(self.interface.as_ref()).filter(|_| self.is_open)
    }

    /// The access point that this interface is of.
    #[must_use]
    pub fn access_point_for_sockets(&self) -> Option<&Identifier> {
        let candidate = self.roaming.as_deref().filter(|roaming| roaming.candidate_interface.is_some());
        candidate.map(|roaming| &roaming.offer.configuration).or(self.active_configuration.as_ref())
    }

    /// What is known of a session before anything is known.
    #[must_use]
    pub const fn invalid() -> Self {
        Self {
            state: SessionState::Invalid,
            is_open: false,
            is_opening: false,
            interface: None,
            active_configuration: None,
            active_since: None,
            failure: None,
            roaming: None,
        }
    }
}
