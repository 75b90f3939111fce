use std::{io, path::PathBuf, time::Duration};

use netbearer::{CallError, Failure, FailureReason, FindError, ManagerError, OwnershipError, ResetError, SessionError};
use netbearer_lab::LabError;
use netbearer_profiles::ImportError;
use rustix::io::Errno;
use serde::Serialize;

use crate::{
    command::{Refusal, StepError},
    exit_code::ExitCode,
    incumbent::Incumbent,
    service::Absence,
    signals::Signal,
};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the program could not be set up")]
    Runtime(#[source] io::Error),
    #[error("the bearer service could not be started")]
    Start(#[from] ManagerError),
    #[error("{}; {}", .0.words(), .0.advice())]
    NoService(Absence),
    #[error("{who} does not answer as a bearer service does; see what it says, or do without it: --embedded")]
    ServiceSilent { who: String, source: Option<Box<dyn std::error::Error + Send + Sync>> },
    #[error("{0} serves this network namespace, and clears by itself what a killed process has left; end it first")]
    ServiceRuns(Incumbent),
    #[error("the holds that a bearer service has left in {} could not be removed", .0.display())]
    Holds(PathBuf, #[source] io::Error),
    #[error(
        "nobody can be asked: standard input and error are no terminal; say what to choose: bearerctl agent --choose ID"
    )]
    NobodyToAsk,
    #[error(transparent)]
    Find(#[from] FindError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{0} was not opened")]
    NotOpened(String, #[source] Failure),
    #[error("{0} does not roam")]
    CannotRoam(String, #[source] Failure),
    #[error("{0} was not stopped")]
    NotStopped(String, #[source] Failure),
    #[error("the session on {0} has ended")]
    Ended(String, #[source] Failure),
    #[error("{name} was not open within {}; what had been begun is undone", humantime::format_duration(*within))]
    NotOpenInTime { name: String, within: Duration },
    #[error("{name} was still up after {}", humantime::format_duration(*within))]
    NotStoppedInTime { name: String, within: Duration },
    #[error("{0} is no user choice, so there is nothing to choose; leave --choose out")]
    NothingToChoose(String),
    #[error("{wanted} cannot be chosen for {name} now{}", choices(there.as_deref()))]
    NoSuchChoice { wanted: String, name: String, there: Option<String> },
    #[error("{name} is not open in a session of this program, so there is nothing to stop{}", stop_instead(members))]
    NotOpen { name: String, members: Vec<String> },
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
    #[error("{} exists already; edit it with: bearerctl profile edit {name}", file.display())]
    ProfileExists { file: PathBuf, name: String },
    #[error("there is no profile \"{name}\"{}", profiles(there))]
    NoProfile { name: String, there: Vec<String> },
    #[error("{0} has no interface now, so nothing tells what its profile would be for")]
    NoInterface(String),
    #[error("{} could not be written", .0.display())]
    Profile(PathBuf, #[source] io::Error),
    #[error("the profile was changed by somebody else meanwhile; what you wrote is in {}", .0.display())]
    ChangedMeanwhile(PathBuf),
    #[error("the editor {editor} could not be started; say which one to use in $VISUAL or $EDITOR")]
    Editor { editor: String, source: io::Error },
    #[error("the editor {0} failed, so nothing was changed")]
    EditorFailed(String),
    #[error("{count} new mistake(s), so the profile stays as it is; what you wrote is in {}", file.display())]
    EditedWithMistakes { count: usize, file: PathBuf },
    #[error("{count} mistake(s), so {} was not written", file.display())]
    NotWritten { file: PathBuf, count: usize },
    #[error("the profile of {} has {count} mistake(s); correct that file, or put right what is made of it by hand", file.display())]
    Unfit { file: PathBuf, count: usize },
    #[error("{} cannot be read", .0.display())]
    Directory(PathBuf, #[source] io::Error),
    #[error("{} has no files of NetworkManager or systemd-networkd", .0.display())]
    NothingToImport(PathBuf),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("no sandbox of yours runs here; start one: bearerctl lab")]
    NoSandbox,
    #[error("process {wanted} has made no sandbox of yours; there are those of {all}")]
    AnotherSandbox { wanted: u32, all: String },
    #[error("several sandboxes of yours run here, of the processes {all}; name one: --sandbox {first}")]
    SeveralSandboxes { first: u32, all: String },
    #[error("the sandbox does not answer")]
    Sandbox(#[source] io::Error),
    #[error(transparent)]
    SandboxRefuses(#[from] Refusal),
    #[error(transparent)]
    Step(#[from] StepError),
    #[error("the tour failed in step {step}, \"{title}\"")]
    Tour {
        step: u32,
        title: &'static str,
        #[source]
        source: Box<Error>,
    },
    #[error("the standard output could not be written")]
    Output(#[source] io::Error),
}

fn choices(there: Option<&str>) -> String {
    there.map_or_else(|| ": it is not available".to_owned(), |there| format!("; there is {there}"))
}

fn stop_instead(members: &[String]) -> String {
    match members {
        [] => String::new(),
        [member] => format!("; take its access point down: bearerctl stop {member}"),
        several => format!("; take its access points down, each by its name: {}", several.join(", ")),
    }
}

fn profiles(there: &[String]) -> String {
    match there {
        [] => "; there is none at all: begin with bearerctl profile new".to_owned(),
        there => format!("; there are {}", there.join(", ")),
    }
}

/// What can be done about a refusal of the system whose reason is not where it shows.
fn remedy(refusal: &io::Error) -> Option<&'static str> {
    let is_number = |errno: Errno| refusal.raw_os_error() == Some(errno.raw_os_error());
    is_number(Errno::MFILE).then_some("a limit of 256 open files is enough; raise it in the shell: ulimit -n 256")
}

/// The messages of all sources, the nearest first, and what can be done about the last; what a message repeats of its source is
/// not said twice.
pub(crate) fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let mut said = error.to_string();
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        if !said.contains(&message) {
            causes.push(message.clone());
        }
        said = message;
        if let Some(remedy) = cause.downcast_ref().and_then(remedy) {
            causes.push(remedy.to_owned());
        }
        source = cause.source();
    }
    causes
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
            Self::NoProfile { .. }
            | Self::Find(
                FindError::Unknown { .. }
                | FindError::UnknownDefault { .. }
                | FindError::Ambiguous { .. }
                | FindError::NoDefault,
            ) => ExitCode::NO_SUCH_CONFIGURATION,
            Self::Call(CallError::NotSupported(failure) | CallError::Busy(failure) | CallError::Denied(failure))
            | Self::NotOpened(_, failure)
            | Self::CannotRoam(_, failure)
            | Self::NotStopped(_, failure) => ExitCode::of_failure(&failure.reason),
            Self::NoService(_)
            | Self::ServiceSilent { .. }
            | Self::Call(CallError::ServiceLost)
            | Self::Find(FindError::Call(CallError::ServiceLost)) => ExitCode::NOT_AVAILABLE,
            Self::ServiceRuns(_) => ExitCode::OWNED,
            Self::NobodyToAsk => ExitCode::USAGE,
            Self::Ended(..) => ExitCode::SESSION_ENDED,
            Self::NothingToChoose(_) => ExitCode::USAGE,
            Self::NoSuchChoice { there: None, .. } => ExitCode::NOT_AVAILABLE,
            Self::NoSuchChoice { there: Some(_), .. } => ExitCode::NO_SUCH_CONFIGURATION,
            Self::NotOpen { .. } => ExitCode::NOT_SUPPORTED,
            Self::NotOpenInTime { .. } | Self::NotStoppedInTime { .. } => ExitCode::TIMED_OUT,
            Self::Interrupted { signal, .. } => ExitCode::of_signal(signal.number()),
            Self::SeveralSandboxes { .. } | Self::SandboxRefuses(Refusal::UnknownAccessPoint(_)) => {
                ExitCode::NO_SUCH_CONFIGURATION
            }
            Self::NoSandbox | Self::AnotherSandbox { .. } => ExitCode::NOT_AVAILABLE,
            Self::Lab(LabError::NamespacesForbidden { .. } | LabError::NoDelays { .. })
            | Self::SandboxRefuses(Refusal::NotSupported(_))
            | Self::Reset(ResetError::MissingPrivilege { .. }) => ExitCode::NOT_SUPPORTED,
            Self::Reset(ResetError::Owned(OwnershipError::Owned { .. })) => ExitCode::OWNED,
            Self::Command(_, source) if source.kind() == io::ErrorKind::NotFound => ExitCode::COMMAND_NOT_FOUND,
            Self::Command(..) => ExitCode::COMMAND_NOT_STARTED,
            _ if self.is_broken_pipe() => ExitCode::OK,
            _ => ExitCode::FAILURE,
        }
    }

    /// See [`causes`].
    pub(crate) fn causes(&self) -> Vec<String> {
        causes(self)
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
            Self::Call(CallError::NotSupported(failure) | CallError::Busy(failure) | CallError::Denied(failure))
            | Self::NotOpened(_, failure)
            | Self::CannotRoam(_, failure)
            | Self::NotStopped(_, failure)
            | Self::Ended(_, failure) => of_reason(failure.error, failure.reason.clone()),
            Self::Find(FindError::Ambiguous { .. }) => of_word(SessionError::InvalidConfiguration, "Ambiguous"),
            Self::Find(FindError::NoDefault) => of_word(SessionError::InvalidConfiguration, "NoDefault"),
            Self::Find(FindError::UnknownDefault { .. }) => {
                of_word(SessionError::InvalidConfiguration, "UnknownDefault")
            }
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
            Self::NoService(_) => of_word(SessionError::OperationNotSupported, "NoService"),
            Self::ServiceSilent { .. }
            | Self::Call(CallError::ServiceLost)
            | Self::Find(FindError::Call(CallError::ServiceLost)) => of_word(SessionError::Unknown, "ServiceLost"),
            Self::ServiceRuns(Incumbent { process, .. }) => {
                of_reason(SessionError::OperationNotSupported, FailureReason::OwnedByAnotherProcess(Some(*process)))
            }
            Self::NobodyToAsk => of_word(SessionError::OperationNotSupported, "NobodyToAsk"),
            Self::NotOpenInTime { .. } | Self::NotStoppedInTime { .. } => of_word(SessionError::Unknown, "TimedOut"),
            Self::NothingToChoose(_) => of_word(SessionError::OperationNotSupported, "NothingToChoose"),
            Self::NoSuchChoice { .. } => of_word(SessionError::InvalidConfiguration, "NoSuchChoice"),
            Self::NotOpen { .. } => of_word(SessionError::OperationNotSupported, "NotOpen"),
            Self::Interrupted { .. } => of_word(SessionError::SessionAborted, "Interrupted"),
            Self::Command(..) => of_word(SessionError::Unknown, "CommandNotStarted"),
            Self::Lab(LabError::NamespacesForbidden { .. }) => {
                of_word(SessionError::OperationNotSupported, "NamespacesForbidden")
            }
            Self::SandboxRefuses(Refusal::NotSupported(_)) => of_word(SessionError::OperationNotSupported, "NoDelays"),
            Self::SandboxRefuses(Refusal::UnknownAccessPoint(_)) => {
                of_word(SessionError::InvalidConfiguration, "UnknownAccessPoint")
            }
            Self::NoSandbox | Self::AnotherSandbox { .. } => of_word(SessionError::InvalidConfiguration, "NoSandbox"),
            Self::SeveralSandboxes { .. } => of_word(SessionError::InvalidConfiguration, "SeveralSandboxes"),
            Self::Tour { .. } => of_word(SessionError::Unknown, "TourFailed"),
            _ => of_word(SessionError::Unknown, "Other"),
        }
    }
}
