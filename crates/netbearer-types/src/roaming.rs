use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Identifier, Interface};

/// Names an offer; a later one has a higher number, and none is ever used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OfferNumber(pub u64);

impl fmt::Display for OfferNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// An access point that a session could migrate to (semantics §5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What an answer has to carry.
    pub number: OfferNumber,
    /// The access point.
    pub configuration: Identifier,
    /// The session's address survives the change.
    pub seamless: bool,
    /// The link that was in use is lost: this is not about a better one, but about the next.
    pub replacement: bool,
}

/// How far an offer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OfferPhase {
    /// It was made, and is not answered.
    Offered,
    /// Its access point is brought up, while the link in use is kept.
    Migrating,
    /// Both links carry traffic: new sockets of the session use the candidate's.
    Trial,
}

impl fmt::Display for OfferPhase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Offered => "offered",
            Self::Migrating => "migrating",
            Self::Trial => "on trial",
        })
    }
}

/// What an application that takes roaming decisions has to decide on, or has under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoamingSnapshot {
    /// What was offered.
    pub offer: Offer,
    /// How far that is.
    pub phase: OfferPhase,
    /// The candidate's interface, during a trial.
    pub candidate_interface: Option<Interface>,
}
