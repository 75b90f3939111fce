//! Which service a command works with: the one of the machine, or one of its own.

use std::{
    fmt, fs, io,
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use netbearer::{Daemon, Manager, ManagerError, namespace_lock};
use netbearer_dbus::{holds_path, service_lock_path, socket_path};
use serde::Serialize;

use crate::{command::Context, error::Error, incumbent::Incumbent, waiting::Waiting};

/// What the program of the machine's service is called.
pub(crate) const SERVICE: &str = "bearerd";
/// For a service that is starting to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// For one that has ended to be started again by whoever watches over it. To do its work meanwhile would undo what it has set
/// up, and goes on with when it is back.
const RETURN: Duration = Duration::from_secs(2);

/// Which service a command shall work with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    /// That of the machine; one of its own if there is none.
    #[default]
    Any,
    /// That of the machine.
    Daemon,
    /// One of its own.
    Embedded,
}

/// Why there is no service of the machine for a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Absence {
    /// None runs.
    NotRunning,
    /// One was killed: its socket is there.
    Killed { socket: PathBuf },
    /// One has ended, and left what was held to the next one.
    Left { holds: usize },
    /// None runs, and another program has a service of its own.
    Owned(Incumbent),
    /// One runs, but for another network namespace than that of this program.
    Elsewhere { process: u32 },
    /// It was not wanted.
    Unwanted,
}

impl Absence {
    /// What is the matter, in a part of a sentence.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::NotRunning => "no bearer service is running".to_owned(),
            Self::Killed { socket } => {
                format!("the bearer service was killed: nobody answers at {}", socket.display())
            }
            Self::Left { holds } => format!(
                "the bearer service has ended while programs held networks (holds: {holds}), and left these to the next one"
            ),
            Self::Owned(incumbent) => format!(
                "no bearer service is running, and {incumbent} keeps the sessions of this network namespace to itself"
            ),
            Self::Elsewhere { process } => {
                format!("the bearer service (process {process}) serves another network namespace than this one")
            }
            Self::Unwanted => "the work is done without a bearer service, as --embedded says".to_owned(),
        }
    }

    /// What can be done about it.
    pub(crate) fn advice(&self) -> String {
        let start = start_it();
        match self {
            Self::NotRunning => format!("start one: {start}"),
            Self::Killed { .. } => format!("start it again: {start}"),
            Self::Left { .. } => {
                format!("start it again: {start}; or take down what is left: bearerctl reset")
            }
            Self::Owned(Incumbent { process, .. }) => format!("end process {process}, and start one for all: {start}"),
            Self::Elsewhere { .. } => "use it all the same: --daemon".to_owned(),
            Self::Unwanted => "leave --embedded out".to_owned(),
        }
    }
}

/// What people are told first, where a program does what a service would.
impl fmt::Display for Absence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let consequence = match self {
            Self::Owned(_) => "so this program watches, and opens only what is up",
            _ => "so this program does the work itself, and its sessions are counted by it alone",
        };
        write!(formatter, "{}, {consequence}; {}", self.words(), self.advice())
    }
}

fn start_it() -> &'static str {
    if rustix::process::geteuid().is_root() { "bearerd" } else { "sudo bearerd" }
}

/// A manager, and why it is not that of the machine's service.
pub(crate) struct Connected {
    pub(crate) manager: Manager,
    pub(crate) absence: Option<Absence>,
}

/// Finds the service that a command works with.
pub(crate) async fn connect(context: &Context) -> Result<Connected, Error> {
    let absence = match context.service {
        Choice::Embedded => Absence::Unwanted,
        Choice::Daemon => return require(context).await.map(|manager| Connected { manager, absence: None }),
        Choice::Any => match find_daemon(context).await? {
            Ok(manager) => match serves_elsewhere(&manager) {
                Some(process) => Absence::Elsewhere { process },
                None => return Ok(Connected { manager, absence: None }),
            },
            // To start would take down what programs use now, and what the next service would go on with.
            Err(absence @ Absence::Left { .. }) => return Err(Error::NoService(absence)),
            Err(absence) => absence,
        },
    };
    let manager = context.embedded.clone().start().await.map_err(|error| match error {
        ManagerError::LeftToDaemon { holds } => Error::NoService(Absence::Left { holds }),
        error => error.into(),
    })?;
    Ok(Connected { manager, absence: Some(absence) })
}

/// The machine's service alone.
pub(crate) async fn require(context: &Context) -> Result<Manager, Error> {
    if context.service == Choice::Embedded {
        return Err(Error::NoService(Absence::Unwanted));
    }
    find_daemon(context).await?.map_err(Error::NoService)
}

/// The process that is the machine's service, or on its way to be it.
pub(crate) fn running(runtime_directory: &Path) -> Option<Incumbent> {
    look_at(&service_lock_path(runtime_directory))
}

async fn find_daemon(context: &Context) -> Result<Result<Manager, Absence>, Error> {
    let runtime = &context.directories.runtime;
    let daemon = Daemon::default().directories(context.directories.clone());
    let refused = match daemon.clone().patience(Duration::ZERO).connect().await {
        Ok(manager) => return Ok(Ok(manager)),
        Err(ManagerError::NoDaemon { source, .. }) => source,
        Err(error) => return Err(error.into()),
    };
    // In this order: a service has its lock before it listens, and for as long as it does.
    let (socket, holds) = (Socket::at(socket_path(runtime)), left_holds(runtime));
    let absence = match (running(runtime), socket, holds) {
        (Some(_), ..) => None,
        (None, Socket::Answering(socket), _) => {
            return Err(Error::ServiceSilent {
                who: format!("whoever listens at {}", socket.display()),
                source: refused,
            });
        }
        (None, Socket::None, 0) => {
            return Ok(Err(owner(runtime).map_or(Absence::NotRunning, Absence::Owned)));
        }
        (None, Socket::Left(socket), 0) => Some(Absence::Killed { socket }),
        (None, _, holds) => Some(Absence::Left { holds }),
    };
    let (patience, what) = match &absence {
        None => (PATIENCE, "waiting for the bearer service to start"),
        Some(_) => (RETURN, "waiting for the bearer service, which has ended, to come back"),
    };
    match Waiting::during(context.output, what, daemon.patience(patience).connect()).await {
        Ok(manager) => Ok(Ok(manager)),
        Err(ManagerError::NoDaemon { source, .. }) => match (running(runtime), absence) {
            (Some(incumbent), _) => Err(Error::ServiceSilent { who: incumbent.to_string(), source }),
            (None, absence) => Ok(Err(absence.unwrap_or(Absence::NotRunning))),
        },
        Err(error) => Err(error.into()),
    }
}

/// How many holds a service has left: when it is told to end, and when it is killed, what is held stays as it is for the next
/// one. None for who may not look: such a one cannot take anything down either.
pub(crate) fn left_holds(runtime_directory: &Path) -> usize {
    fs::read_dir(holds_path(runtime_directory)).map_or(0, Iterator::count)
}

/// Who changes this network namespace, when there is no service.
fn owner(runtime_directory: &Path) -> Option<Incumbent> {
    look_at(&namespace_lock(runtime_directory).ok()?)
}

/// What cannot be looked at is met again when it is used, and told then.
fn look_at(lock: &Path) -> Option<Incumbent> {
    Incumbent::of(lock).unwrap_or_default()
}

/// The process of a service that is in another network namespace, as far as this program may see that.
fn serves_elsewhere(manager: &Manager) -> Option<u32> {
    let process = manager.service().process;
    // In another process namespace that number is somebody else's.
    if Incumbent::named(process).name != SERVICE {
        return None;
    }
    let namespace = |process: &str| fs::metadata(format!("/proc/{process}/ns/net")).map(|file| file.ino());
    let (theirs, ours) = (namespace(&process.to_string()).ok()?, namespace("thread-self").ok()?);
    (theirs != ours).then_some(process)
}

/// What is where a service has its socket.
enum Socket {
    None,
    /// Whoever made it is gone without removing it.
    Left(PathBuf),
    Answering(PathBuf),
}

impl Socket {
    fn at(path: PathBuf) -> Self {
        match UnixStream::connect(&path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Self::Left(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::None,
            // Any other refusal is one that the library has met, too.
            _ => Self::Answering(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_that_nobody_listens_at_was_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bus");
        assert!(matches!(Socket::at(path.clone()), Socket::None));
        let listener = UnixListener::bind(&path).unwrap();
        assert!(matches!(Socket::at(path.clone()), Socket::Answering(_)));
        drop(listener);
        assert!(matches!(Socket::at(path.clone()), Socket::Left(left) if left == path));
    }

    #[test]
    fn who_does_the_work_and_what_to_do_is_said_in_one_line() {
        let other = Incumbent { process: 12, name: "bearerctl".to_owned() };
        for (absence, said) in [
            (Absence::NotRunning, "no bearer service is running, so this program does the work itself"),
            (Absence::Killed { socket: "/run/netbearer/bus".into() }, "nobody answers at /run/netbearer/bus, so"),
            (Absence::Owned(other), "bearerctl (process 12) keeps the sessions of this network namespace to itself"),
        ] {
            let text = absence.to_string();
            assert!(text.contains(said) && text.contains("bearerd") && !text.contains('\n'), "{text}");
        }
    }
}
