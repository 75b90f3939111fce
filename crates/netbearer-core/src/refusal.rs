use netbearer_types::{Failure, Identifier, PropertyKey};

use crate::QuestionNumber;

/// Why a call was refused. A refused call has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The session does not exist, or belongs to another client.
    #[error("the session does not exist")]
    UnknownSession,
    /// The user has as many watching sessions as the limit allows.
    #[error("the limit of {0} watching sessions for one user is reached; drop some, or raise the limit")]
    TooManyWatchers(u32),
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
