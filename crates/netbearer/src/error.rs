use std::io;

use netbearer_core::Refusal;
use netbearer_types::{Failure, Family, Identifier, PropertyKey};

/// Why a manager could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// The file of tables and marks could not be read.
    #[error("the configuration could not be read")]
    Configuration(#[from] netbearer_service::SteeringFileError),
    /// The service's thread could not be started.
    #[error("the service could not be started")]
    Thread(#[source] io::Error),
    /// The engine could not be started.
    #[error("the network could not be looked at")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The service ended.
    #[error("the bearer service has ended")]
    ServiceGone,
}

/// Why a call was refused. A refused call has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The service ended.
    #[error("the bearer service has ended")]
    ServiceGone,
    /// The user has as many sessions or watchers as allowed.
    #[error("{0}")]
    LimitReached(String),
    /// The configuration does not support the operation; the session's event stream has the same failure.
    #[error("{0}")]
    NotSupported(Failure),
    /// Another access point of the same device is in use; the session's event stream has the same failure.
    #[error("{0}")]
    Busy(Failure),
    /// A service network or user choice is not open in this session, so that there is nothing to stop.
    #[error("{}", Refusal::NotOpen(.0.clone()))]
    NotOpen(Identifier),
    /// There is no such question to answer, or no such choice in it.
    #[error("{0}")]
    NotAsked(String),
    /// Only NetBearer writes this property.
    #[error("the property {0} is read-only")]
    ReadOnlyProperty(PropertyKey),
    /// The value does not fit the property.
    #[error("{0}")]
    UnfitPropertyValue(String),
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotSupported(failure) => Self::NotSupported(failure),
            Refusal::Busy(failure) => Self::Busy(failure),
            Refusal::NotOpen(identifier) => Self::NotOpen(identifier),
            Refusal::UnknownQuestion(_) | Refusal::NoSuchChoice(_) => Self::NotAsked(refusal.to_string()),
            Refusal::ReadOnlyProperty(key) => Self::ReadOnlyProperty(key),
            Refusal::TooManySessions(_) | Refusal::TooManyWatchers(_) => Self::LimitReached(refusal.to_string()),
            Refusal::UnfitPropertyValue { .. } => Self::UnfitPropertyValue(refusal.to_string()),
            _ => Self::ServiceGone,
        }
    }
}

impl From<netbearer_service::ServiceGone> for CallError {
    fn from(_: netbearer_service::ServiceGone) -> Self {
        Self::ServiceGone
    }
}

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
}

fn suggest(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

fn list(identifiers: &[Identifier]) -> String {
    identifiers.iter().map(Identifier::as_str).collect::<Vec<_>>().join(", ")
}

/// Why a socket could not be opened through a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The session is not open, or its link is not up.
    #[error("the session on {0} is not ready for sockets; open it, and wait until it is open")]
    NotConnected(Identifier),
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
    /// The name servers have no answer.
    #[error(transparent)]
    Name(#[from] netbearer_names::LookupError),
    /// The calling thread could not get a runtime to wait in.
    #[error("the lookup could not be started")]
    Runtime(#[source] io::Error),
}
