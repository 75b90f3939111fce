use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Identifier;

/// The kind of error a session meets; the numbers are Qt's (semantics §1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SessionError {
    /// None of the others.
    Unknown = 0,
    /// The user or the system ended the session.
    SessionAborted = 1,
    /// The session cannot roam.
    Roaming = 2,
    /// The operation is not supported for this configuration.
    OperationNotSupported = 3,
    /// The operation cannot be performed on this configuration now.
    InvalidConfiguration = 4,
}

impl SessionError {
    /// All errors, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Unknown, Self::SessionAborted, Self::Roaming, Self::OperationNotSupported, Self::InvalidConfiguration];
}

impl fmt::Display for SessionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Unknown => "Unknown",
            Self::SessionAborted => "SessionAborted",
            Self::Roaming => "Roaming",
            Self::OperationNotSupported => "OperationNotSupported",
            Self::InvalidConfiguration => "InvalidConfiguration",
        })
    }
}

/// Why something failed, told finely enough for a program to act on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FailureReason {
    /// The configuration does not exist, or was removed.
    ConfigurationInvalid,
    /// The access point is known but cannot be opened now: no carrier, out of range, unplugged.
    NotAvailable,
    /// The link was set up, but no carrier came in time.
    NoCarrier,
    /// No DHCP server answered in time.
    NoLease,
    /// Bringing the link up took longer than the profile allows.
    ConnectTimeout,
    /// The link was lost: carrier, address or interface gone.
    LinkLost,
    /// Somebody stopped the access point.
    Stopped,
    /// The process lacks a privilege; the text is the capability's name, for instance `CAP_NET_ADMIN`.
    MissingPrivilege(String),
    /// The user lacks a right of the service (semantics §8): its name, for instance `org.netbearer.control`, or whom one has to
    /// be one of, as in `group bearer`.
    MissingRight(String),
    /// Another process keeps the ledger of this network namespace; its process number, if it could be read.
    OwnedByAnotherProcess(Option<u32>),
    /// Another program manages this interface; its name.
    ManagedElsewhere(String),
    /// Replies would be dropped by the strict reverse-path filter (`rp_filter` 1, RFC 3704) of a link that is not ours.
    StrictReversePathFilter,
    /// A limit of the user is reached; the number allowed.
    LimitReached(u32),
    /// Another access point of the same device is held or adopted (semantics §3, "Exclusive"); its identifier.
    Busy(Identifier),
    /// No member of the service network could be brought up; the message has each one's cause.
    AllMembersFailed,
    /// The user was asked what to open, and chose nothing.
    NotChosen,
    /// The kernel refused a change.
    KernelRefused,
    /// An embedded service knows this process only; the daemon can do it.
    OnlyWithDaemon,
    /// The link was lost, and nothing that could have taken its place came up or was accepted.
    NothingToRoamTo,
    /// The configuration has no members to roam among.
    CannotRoam,
    /// The engine of the access point has failed or ended.
    EngineFailed,
    /// A reason that a newer service knows, by its name.
    Other(String),
}

/// A failure as a session meets it: what Qt would call it, why it happened, and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Failure {
    /// The error as the seed names it.
    pub error: SessionError,
    /// The reason, for programs.
    pub reason: FailureReason,
    /// What failed, on what, why, and what to do; for people.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
