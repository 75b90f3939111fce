use std::{io, path::PathBuf, time::Duration};

use netbearer_core::Refusal;
use netbearer_types::{Failure, Family, Identifier, OfferNumber, PropertyKey};

/// Why a manager could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// The file of tables and marks could not be read.
    #[cfg(feature = "embedded")]
    #[error("the configuration could not be read")]
    Configuration(#[from] netbearer_service::SteeringFileError),
    /// The service's thread could not be started.
    #[error("the service could not be started")]
    Thread(#[source] io::Error),
    /// The engine could not be started.
    #[error("the network could not be looked at")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nobody has answered on the daemon's socket.
    #[error(
        "there is no bearer service at {}; start bearerd, or open the session without it (Manager::embedded)",
        socket.display()
    )]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
        /// Why it could not be used, if it was there.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A daemon has ended, and left what programs hold to the next one. A service of one's own would take that down.
    #[cfg(feature = "embedded")]
    #[error(
        "the bearer service has ended while programs held networks (holds: {holds}), and left these to the next one; start it again: \
         bearerd; or take down what is left: bearerctl reset"
    )]
    LeftToDaemon {
        /// Descriptors that hold.
        holds: usize,
    },
    /// The service ended.
    #[error("the bearer service has ended")]
    ServiceGone,
}

/// Why a call was refused. A refused call has changed nothing, but see [`CallError::Denied`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The service ended.
    #[error("the bearer service has ended")]
    ServiceGone,
    /// The daemon is away at the moment. Nothing was changed; it can be tried again after the event ServiceBack.
    #[error("the bearer service is away at the moment; it is waited for")]
    ServiceLost,
    /// The caller lacks a right, which the failure names; the session's event stream has the same failure. A stop that was
    /// denied has closed the session.
    #[error("{0}")]
    Denied(Failure),
    /// The user has as many sessions or watchers, the program as many updates that wait, or the session as many sockets, as allowed.
    #[error("{0}")]
    LimitReached(String),
    /// The configuration does not support the operation. The session's event stream has the same failure, but for
    /// [`FailureReason::CannotRoam`]: nobody has decided anything.
    ///
    /// [`FailureReason::CannotRoam`]: crate::FailureReason::CannotRoam
    #[error("{0}")]
    NotSupported(Failure),
    /// Another access point of the same device is in use; the session's event stream has the same failure.
    #[error("{0}")]
    Busy(Failure),
    /// A service network or user choice is not open in this session, so that there is nothing to stop.
    #[error("{}", Refusal::NotOpen(.0.clone()))]
    NotOpen(Identifier),
    /// The session on this configuration holds nothing that could be passed on.
    #[error("{}", Refusal::NotHeld(.0.clone()))]
    NotHeld(Identifier),
    /// There is no such question to answer, or no such choice in it.
    #[error("{0}")]
    NotAsked(String),
    /// The decisions about the roaming of the session on this configuration are taken already.
    #[error("the roaming of the session on {0} is decided elsewhere in this program already; drop that first")]
    RoamingTaken(Identifier),
    /// This offer is not the newest any more: it was superseded, withdrawn, or has been decided.
    #[error("{}", Refusal::SupersededOffer(*.0))]
    SupersededOffer(OfferNumber),
    /// The answer does not fit how far the offer is.
    #[error("{0}")]
    OutOfTurn(String),
    /// Only NetBearer writes this property.
    #[error("the property {0} is read-only")]
    ReadOnlyProperty(PropertyKey),
    /// The value does not fit the property.
    #[error("{0}")]
    UnfitPropertyValue(String),
    /// The daemon refused it for a reason that this version does not know, or answered what it does not understand.
    #[error("the bearer service refused it: {0}")]
    Refused(String),
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotSupported(failure) => Self::NotSupported(failure),
            Refusal::CannotRoam(_) => {
                refusal.failure().map_or_else(|| Self::Refused(refusal.to_string()), Self::NotSupported)
            }
            Refusal::SupersededOffer(offer) => Self::SupersededOffer(offer),
            Refusal::OutOfTurn { .. } => Self::OutOfTurn(refusal.to_string()),
            Refusal::Busy(failure) => Self::Busy(failure),
            Refusal::Denied(failure) => Self::Denied(failure),
            Refusal::NotOpen(identifier) => Self::NotOpen(identifier),
            Refusal::NotHeld(identifier) => Self::NotHeld(identifier),
            Refusal::UnknownQuestion(_) | Refusal::NoSuchChoice(_) => Self::NotAsked(refusal.to_string()),
            Refusal::ReadOnlyProperty(key) => Self::ReadOnlyProperty(key),
            Refusal::TooManySessions(_)
            | Refusal::TooManyWatchers(_)
            | Refusal::TooManyDescriptors(_)
            | Refusal::TooManyUpdates(_)
            | Refusal::TooManySockets(_) => Self::LimitReached(refusal.to_string()),
            Refusal::UnfitPropertyValue { .. } => Self::UnfitPropertyValue(refusal.to_string()),
            _ => Self::ServiceGone,
        }
    }
}

#[cfg(feature = "embedded")]
impl From<netbearer_service::ServiceGone> for CallError {
    fn from(_: netbearer_service::ServiceGone) -> Self {
        Self::ServiceGone
    }
}

#[cfg(feature = "embedded")]
impl From<netbearer_service::ServiceGone> for ManagerError {
    fn from(_: netbearer_service::ServiceGone) -> Self {
        Self::ServiceGone
    }
}

/// Why no configuration was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// None has that identifier, name or interface name.
    #[error("there is no configuration \"{wanted}\"{}", suggest(near))]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// What was perhaps meant, the nearest first.
        near: Vec<String>,
    },
    /// Files name a default that is nowhere to be found. Another one is not taken: it may cost money, or lead elsewhere.
    #[error(
        "the default configuration \"{named}\" is nowhere to be found{}; name what to open, or correct netbearer.toml",
        suggest(near)
    )]
    UnknownDefault {
        /// What they name.
        named: String,
        /// What was perhaps meant, the nearest first.
        near: Vec<String>,
    },
    /// Several have that name.
    #[error("\"{wanted}\" is the name of several configurations: {}; give the identifier", list(identifiers))]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// Those that have it.
        identifiers: Vec<Identifier>,
    },
    /// Nothing is there that could be opened.
    #[error("there is no default configuration: no access point is up or could be brought up")]
    NoDefault,
    /// The service ended.
    #[error("the bearer service has ended")]
    ServiceGone,
    /// The service could not be asked.
    #[error(transparent)]
    Call(CallError),
}

impl From<CallError> for FindError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::ServiceGone => Self::ServiceGone,
            other => Self::Call(other),
        }
    }
}

fn suggest(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

fn list(identifiers: &[Identifier]) -> String {
    identifiers.iter().map(Identifier::as_str).collect::<Vec<_>>().join(", ")
}

/// Why a migration has not come to its trial, or through it. The session goes on with its old link, if it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The offer is not to be had any more: it was superseded or withdrawn, or somebody else has decided about it.
    #[error("offer {0} is over: it was superseded, withdrawn or decided; wait for the next one")]
    Over(OfferNumber),
    /// The candidate could not be brought up, or was lost.
    #[error("the session could not roam to {configuration}: {failure}")]
    Failed {
        /// The candidate.
        configuration: Identifier,
        /// What was wrong with it.
        failure: Failure,
    },
    /// The session is not open any more.
    #[error("the session has ended{}", .0.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default())]
    SessionEnded(Option<Failure>),
    /// The service could not be asked.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Why a candidate did not pass a test.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestError {
    /// It took too long.
    #[error("the test took longer than {} ms", .0.as_millis())]
    Deadline(Duration),
    /// The trial has ended meanwhile.
    #[error("the trial of {0} is over")]
    TrialOver(Identifier),
    /// No connection could be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The host's name could not be looked up.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The host has no address.
    #[error("{0} has no address")]
    NoHost(String),
    /// Only plain HTTP can be tried.
    #[error("\"{0}\" is no URL that can be tried; write http://HOST[:PORT][/PATH]")]
    Url(String),
    /// The server has not answered, or not with HTTP.
    #[error("the server was reached, but did not answer")]
    Exchange(#[source] io::Error),
    /// The answer was no success; a portal perhaps.
    #[error("the server answered with status {0} instead of success")]
    Status(u16),
    /// The calling thread could not get a runtime to wait in.
    #[error("the test could not be started")]
    Runtime(#[source] io::Error),
}

/// Why a socket could not be opened through a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The session is not open, or its link is not up.
    #[error("the session on {0} is not ready for sockets; open it, and wait until it is open")]
    NotConnected(Identifier),
    /// The session has lost its link, and is on its way to another one.
    #[error("the session on {0} is roaming, and has no link at the moment; wait until its state is Connected")]
    Roaming(Identifier),
    /// The candidate is not tried any more.
    #[error("the trial of {0} is over; use the session's own sockets")]
    TrialOver(Identifier),
    /// The link is up by the other family only. The kernel would look for the destination on the link, and wait for minutes.
    #[error(
        "the session on {session} has no {family} address now; use its other family, or try again when InterfaceChanged tells of one"
    )]
    NoAddress {
        /// The configuration that the session is on.
        session: Identifier,
        /// The family that its link has no usable address of.
        family: Family,
    },
    /// The candidate that is tried is up by the other family only.
    #[error("the candidate {candidate} has no {family} address; use its other family, or reject it")]
    NoAddressOfCandidate {
        /// The access point that is tried.
        candidate: Identifier,
        /// The family that it has no usable address of.
        family: Family,
    },
    /// The kernel refused.
    #[error("{action} {interface} failed")]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// On which interface.
        interface: String,
        /// Why not.
        source: io::Error,
    },
}

/// Why a name could not be looked up through a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The session is not open, or its link is not up.
    #[error("the session on {0} is not ready for lookups; open it, and wait until it is open")]
    NotConnected(Identifier),
    /// The session has lost its link, and is on its way to another one.
    #[error("the session on {0} is roaming, and has no link at the moment; wait until its state is Connected")]
    Roaming(Identifier),
    /// The candidate is not tried any more.
    #[error("the trial of {0} is over; look the name up through the session")]
    TrialOver(Identifier),
    /// The name servers have no answer.
    #[error(transparent)]
    Name(#[from] netbearer_lookup::LookupError),
    /// The calling thread could not get a runtime to wait in.
    #[error("the lookup could not be started")]
    Runtime(#[source] io::Error),
}
