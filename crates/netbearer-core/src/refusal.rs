use netbearer_types::{Failure, FailureReason, Identifier, OfferNumber, OfferPhase, PropertyKey, SessionError};

use crate::QuestionNumber;

/// Why a call was refused. A refused call has changed nothing, but see [`Refusal::Denied`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The client was not announced, or has gone.
    #[error("the client is not known")]
    UnknownClient,
    /// The session does not exist, or belongs to another client.
    #[error("the session does not exist")]
    UnknownSession,
    /// No session is found by this token, or it is another user's.
    #[error("there is no session with this token to attach to")]
    UnknownToken,
    /// The session does not hold anything, so there is nothing to pass on.
    #[error("{0} is not held by this session, so there is nothing to pass on; open it first")]
    NotHeld(Identifier),
    /// The user lacks a right. The session's event stream has the same failure. A `stop()` that is denied has closed the
    /// session.
    #[error("{0}")]
    Denied(Failure),
    /// The user has as many watching sessions as the limit allows.
    #[error("the limit of {0} watching sessions for one user is reached; drop some, or raise the limit")]
    TooManyWatchers(u32),
    /// The user has as many descriptors to pass on as the limit allows.
    #[error("the limit of {0} descriptors that hold for one user is reached; close some, or raise the limit")]
    TooManyDescriptors(u32),
    /// As many requests of this client for a look at everything wait to be completed as may.
    #[error("{0} requests of this program to look at everything anew are waiting already; wait for UpdateCompleted")]
    TooManyUpdates(usize),
    /// The user holds as many sessions as the limit allows. The session's event stream has the same failure.
    #[error("{0}")]
    TooManySessions(Failure),
    /// The configuration does not support the operation. The session's event stream has the same failure.
    #[error("{0}")]
    NotSupported(Failure),
    /// Another access point of the same device is in use. The session's event stream has the same failure.
    #[error("{0}")]
    Busy(Failure),
    /// A service network or user choice can only be stopped by a session that is open on it.
    #[error("{0} is not open in this session, so there is nothing to stop; open it, or stop one of its access points")]
    NotOpen(Identifier),
    /// The question was answered or withdrawn, or is another's to answer.
    #[error("there is no question {0} to answer; it was answered, withdrawn, or put to somebody else")]
    UnknownQuestion(QuestionNumber),
    /// This was not among the choices.
    #[error("{0} was not among the choices; choose one of them, or none")]
    NoSuchChoice(Identifier),
    /// Only sessions on service networks and user choices roam.
    #[error("{0} has no members to roam among; open a session on a service network to decide when to roam")]
    CannotRoam(Identifier),
    /// This offer is not the newest any more: it was superseded, withdrawn, or has been decided.
    #[error("offer {0} is not the newest one: it was superseded, withdrawn or decided; answer the newest")]
    SupersededOffer(OfferNumber),
    /// The answer does not fit how far the offer is.
    #[error("{}", out_of_turn(verb, *phase))]
    OutOfTurn {
        /// The answer.
        verb: &'static str,
        /// How far the newest offer is; none if there is none.
        phase: Option<OfferPhase>,
    },
    /// The session, or all of its user's together, have as many sockets as are kept an eye on.
    #[error(
        "the limit of {0} sockets of one session or user is reached; what more there is is not ended when the session leaves its link"
    )]
    TooManySockets(usize),
    /// Only NetBearer writes this property.
    #[error("the property {0} is read-only")]
    ReadOnlyProperty(PropertyKey),
    /// The value does not fit the property.
    #[error("the property {key} takes {expected}")]
    UnfitPropertyValue {
        /// The property.
        key: PropertyKey,
        /// What it takes.
        expected: &'static str,
    },
}

impl Refusal {
    /// The refusal as a failure, if it is of a kind that has one.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Self::Denied(failure)
            | Self::TooManySessions(failure)
            | Self::NotSupported(failure)
            | Self::Busy(failure) => Some(failure.clone()),
            Self::CannotRoam(_) => Some(Failure {
                error: SessionError::OperationNotSupported,
                reason: FailureReason::CannotRoam,
                message: self.to_string(),
            }),
            _ => None,
        }
    }
}

fn out_of_turn(verb: &str, phase: Option<OfferPhase>) -> String {
    match phase {
        None => format!("there is nothing to {verb}: no access point is offered to this session"),
        Some(phase) => format!("it is no time to {verb}: the access point that was offered is {phase}"),
    }
}
