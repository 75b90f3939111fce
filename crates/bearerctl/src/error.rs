use std::{error::Error as _, io, path::PathBuf, time::Duration};

use netbearer::{CallError, Failure, FailureReason, FindError, ManagerError, OwnershipError, ResetError, SessionError};
use serde::Serialize;

use crate::{exit_code::ExitCode, signals::Signal};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the program could not be set up")]
    Runtime(#[source] io::Error),
    #[error("the bearer service could not be started")]
    Start(#[from] ManagerError),
    #[error(transparent)]
    Find(#[from] FindError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{0} was not opened")]
    NotOpened(String, #[source] Failure),
    #[error("{0} was not stopped")]
    NotStopped(String, #[source] Failure),
    #[error("the session on {0} has ended")]
    Ended(String, #[source] Failure),
    #[error("{name} was not open within {}; what had been begun is undone", humantime::format_duration(*within))]
    NotOpenInTime { name: String, within: Duration },
    #[error("{name} was still up after {}", humantime::format_duration(*within))]
    NotStoppedInTime { name: String, within: Duration },
    #[error("ended by {signal} before {name} was {wanted}")]
    Interrupted { name: String, signal: Signal, wanted: &'static str },
    #[error(transparent)]
    Reset(#[from] ResetError),
    #[error("{0} change(s) of a killed process could not be undone: {1}")]
    NotAllReset(usize, String),
    #[error("the command {0} could not be started")]
    Command(String, #[source] io::Error),
    #[error("{path} could not be written", path = .0.display())]
    Write(PathBuf, #[source] io::Error),
    #[error("the standard output could not be written")]
    Output(#[source] io::Error),
}

/// An error as programs read it.
#[derive(Serialize)]
pub(crate) struct ErrorObject {
    error: SessionError,
    reason: serde_json::Value,
    message: String,
    causes: Vec<String>,
}

impl Error {
    /// True if nobody reads what we write: nothing to complain about, and nobody to complain to.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(source) if source.kind() == io::ErrorKind::BrokenPipe)
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Find(FindError::Unknown { .. } | FindError::Ambiguous { .. } | FindError::NoDefault) => {
                ExitCode::NO_SUCH_CONFIGURATION
            }
            Self::Call(CallError::NotSupported(failure))
            | Self::NotOpened(_, failure)
            | Self::NotStopped(_, failure) => ExitCode::of_failure(&failure.reason),
            Self::Ended(..) => ExitCode::SESSION_ENDED,
            Self::NotOpenInTime { .. } | Self::NotStoppedInTime { .. } => ExitCode::TIMED_OUT,
            Self::Interrupted { signal, .. } => ExitCode::of_signal(signal.number()),
            Self::Reset(ResetError::MissingPrivilege { .. }) => ExitCode::NOT_SUPPORTED,
            Self::Reset(ResetError::Owned(OwnershipError::Owned { .. })) => ExitCode::OWNED,
            Self::Command(_, source) if source.kind() == io::ErrorKind::NotFound => ExitCode::COMMAND_NOT_FOUND,
            Self::Command(..) => ExitCode::COMMAND_NOT_STARTED,
            _ if self.is_broken_pipe() => ExitCode::OK,
            _ => ExitCode::FAILURE,
        }
    }

    /// The messages of all sources, the nearest first; what a message repeats of its source is not said twice.
    pub(crate) fn causes(&self) -> Vec<String> {
        let mut said = self.to_string();
        let mut causes = Vec::new();
        let mut source = self.source();
        while let Some(cause) = source {
            let message = cause.to_string();
            if !said.contains(&message) {
                causes.push(message.clone());
            }
            said = message;
            source = cause.source();
        }
        causes
    }

    pub(crate) fn object(&self) -> ErrorObject {
        let (error, reason) = self.error_and_reason();
        ErrorObject { error, reason, message: self.to_string(), causes: self.causes() }
    }

    /// In the words of a session's failure wherever they fit.
    fn error_and_reason(&self) -> (SessionError, serde_json::Value) {
        let of_reason = |error, reason: FailureReason| (error, serde_json::to_value(reason).unwrap_or_default());
        let of_word = |error, word: &str| (error, word.into());
        match self {
            Self::Call(CallError::NotSupported(failure))
            | Self::NotOpened(_, failure)
            | Self::NotStopped(_, failure)
            | Self::Ended(_, failure) => of_reason(failure.error, failure.reason.clone()),
            Self::Find(FindError::Ambiguous { .. }) => of_word(SessionError::InvalidConfiguration, "Ambiguous"),
            Self::Find(FindError::NoDefault) => of_word(SessionError::InvalidConfiguration, "NoDefault"),
            Self::Find(FindError::Unknown { .. }) => {
                of_reason(SessionError::InvalidConfiguration, FailureReason::ConfigurationInvalid)
            }
            Self::Reset(ResetError::MissingPrivilege { missing }) => {
                let first = missing.first().copied().unwrap_or_default().to_owned();
                of_reason(SessionError::OperationNotSupported, FailureReason::MissingPrivilege(first))
            }
            Self::Reset(ResetError::Owned(OwnershipError::Owned { process })) => {
                of_reason(SessionError::OperationNotSupported, FailureReason::OwnedByAnotherProcess(*process))
            }
            Self::Call(CallError::LimitReached(_)) => of_word(SessionError::OperationNotSupported, "LimitReached"),
            Self::NotOpenInTime { .. } | Self::NotStoppedInTime { .. } => of_word(SessionError::Unknown, "TimedOut"),
            Self::Interrupted { .. } => of_word(SessionError::SessionAborted, "Interrupted"),
            Self::Command(..) => of_word(SessionError::Unknown, "CommandNotStarted"),
            _ => of_word(SessionError::Unknown, "Other"),
        }
    }
}
