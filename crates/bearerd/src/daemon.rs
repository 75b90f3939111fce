//! The daemon as a whole: what it starts with, in which order, and how it ends.
//!
//! It begins to listen when everything there is has been looked at and what a former daemon has left is true again, so nobody
//! ever sees less than there is.
//!
//! SIGTERM and SIGINT end it. If a session holds something, links, holds, state and socket stay as a SIGKILL would leave them,
//! so that a restart or an upgrade disturbs nobody: the next daemon goes on from there, and its clients come back by themselves.
//! If nothing is held, all that is ours is taken down first.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use netbearer_assembly::{Assembled, Assembly, AssemblyError};
use netbearer_clock::InjectedSuspends;
use netbearer_core::{Limits, SavedState, UserId};
use netbearer_dbus::{holds_path, socket_path};
use netbearer_engine::EngineError;
use netbearer_kernel::{boot_identifier, network_namespace_inode};
use netbearer_service::{Directories, ServiceGone, ServiceHandle, SteeringFileError};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    Common, Dispatcher, Fifos, Instance, InstanceError, PrivateSocket, Realm, Roster, Rules, StateFile, SystemBus,
    background::Background, keeping::LedgerKeeper, readiness, roster::EVERYBODY,
};

/// How a daemon is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it reads and keeps things.
    pub directories: Directories,
    /// The bus that it serves beside its socket, if any.
    pub bus: Option<SystemBus>,
    /// Who may do what.
    pub rules: Rules,
    /// Sessions that each user may have.
    pub limits: Limits,
    /// Connections to the socket that each user may have, but for root.
    pub connections: usize,
    /// How long a client may take nothing of what is to be sent to it, before it is cut off.
    pub patience: Duration,
    /// For tests.
    pub staging: Staging,
}

/// What tests have otherwise than machines.
#[derive(Clone, Debug, Default)]
pub struct Staging {
    /// Where the root directory of the machine is, with its network managers and its resolver.
    pub root: Option<PathBuf>,
    /// A FIFO: the milliseconds that are written into it seem to have passed in suspend.
    pub suspends: Option<PathBuf>,
}

/// How a daemon has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing of ours is left.
    TakenDown,
    /// So many sessions hold something, which was left as it is: the process is to end without more ado.
    Left {
        /// How many. None only if the daemon was told to end before it had looked at what a former one has left.
        sessions: usize,
    },
}

/// Why the daemon could not start, or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// There is another.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// A directory cannot be made or used.
    #[error("the directory {} cannot be used; start as root, or name another", path.display())]
    Directory {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `/proc` is not there.
    #[error("the kernel does not tell which boot and which network namespace this is; mount /proc")]
    Realm(#[source] io::Error),
    /// `steering.toml` cannot be used.
    #[error(transparent)]
    Steering(#[from] SteeringFileError),
    /// The network cannot be looked at.
    #[error("the service could not be started")]
    Assembly(#[from] AssemblyError),
    /// The state file cannot be read or written.
    #[error("the state file in {} cannot be used", path.display())]
    StateFile {
        /// The runtime directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// FIFOs cannot be made or opened.
    #[error("holds cannot be kept in {}", path.display())]
    Holds {
        /// The directory of the FIFOs.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The socket cannot be bound.
    #[error("the socket {} cannot be bound", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The runtime refuses signals.
    #[error("signals cannot be waited for")]
    Signals(#[source] io::Error),
    /// The network cannot be followed any more. What is held is left as it is, for the next start.
    #[error("the daemon cannot go on without its engine; what is held is left to the next start")]
    Engine(#[from] EngineError),
    /// Something that is to go on for ever has ended. What is held is left as it is, for the next start.
    #[error("the daemon cannot go on without {task}; what is held is left to the next start")]
    Task {
        /// What it was.
        task: &'static str,
    },
    /// The service has ended by itself.
    #[error("the service has ended")]
    Ended,
}

impl From<ServiceGone> for DaemonError {
    fn from(_: ServiceGone) -> Self {
        Self::Ended
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn open() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Runs a daemon until it is told to end.
///
/// # Errors
/// When it cannot start, or the service ends by itself.
///
/// # Panics
/// Outside a tokio runtime with I/O and time enabled.
pub async fn run(options: Options) -> Result<Ending, DaemonError> {
    let Options { directories, bus, rules, limits, connections, patience, staging } = options;
    let mut signals = Signals::open().map_err(DaemonError::Signals)?;
    let runtime_directory = directories.runtime.clone();
    // Open to all, as the socket in it is.
    make_directory(&runtime_directory, 0o755)?;
    warn_if_closed(&runtime_directory);
    let _instance = Instance::claim(&runtime_directory)?;
    let realm = boot_identifier().and_then(|boot| Ok(Realm::new(&boot, network_namespace_inode()?)));
    let realm = realm.map_err(DaemonError::Realm)?;

    let state_failed = |source| DaemonError::StateFile { path: runtime_directory.clone(), source };
    let mut found = StateFile::find(&runtime_directory, &realm).map_err(state_failed)?;
    for remark in &found.remarks {
        tracing::warn!("{remark}");
    }
    let saved = found.state.take();
    let state_file =
        StateFile::begin(&runtime_directory, realm, &found, saved.as_ref().unwrap_or(&SavedState::default()))
            .map_err(state_failed)?;
    let holds_directory = holds_path(&runtime_directory);
    let holds_failed = |source| DaemonError::Holds { path: holds_directory.clone(), source };
    let fifos = Fifos::open(&holds_directory).map_err(holds_failed)?;
    let gone = fifos.reopen(saved.iter().flat_map(SavedState::holds));
    if saved.is_some() {
        tracing::info!("going on from what a former daemon has left, with {} descriptors that hold", fifos.len());
    }

    let assembly = match &staging.root {
        Some(root) => Assembly::below(root, directories),
        None => Assembly::of_this_machine(directories),
    };
    let leaves_links = found.is_newer;
    let assembly = Assembly {
        limits,
        serves_all_processes: true,
        opening_group: Some(rules.group().to_owned()),
        saved,
        leaves_links,
        ..assembly
    };
    let left = assembly.saved.as_ref().map(SavedState::sessions_held);
    let prepared = assembly.prepare()?;
    let started = tokio::select! {
        biased;
        () = signals.received() => None,
        started = prepared.start() => Some(started?),
    };
    let Some(Assembled { service, handle, enumerated, suspends, .. }) = started else {
        return Ok(end_early(left, state_file, &holds_directory));
    };
    let keeper = LedgerKeeper::new(state_file, handle.clone());
    let service = service.keeping(keeper.clone()).holding(fifos.clone());
    for hold in gone {
        handle.cast(move |core, now| core.handle_hold_gone(hold, now));
    }
    let roster = Arc::new(Roster::default());
    let ourselves = netbearer_core::Client::of_user(UserId(rustix::process::geteuid().as_raw()));
    handle.join(EVERYBODY, ourselves, Arc::clone(&roster) as _)?;

    let mut serving = Box::pin(service.ending_with_engine().run());
    // Sessions may be waited for already, so an end is as later.
    let is_told_to_end = tokio::select! {
        biased;
        () = signals.received() => true,
        ended = &mut serving => return Err(unwanted(ended)),
        enumerated = enumerated => enumerated.map(|()| false).map_err(|_| DaemonError::Ended)?,
    };
    let path = socket_path(&runtime_directory);
    let mut background = Background::default();
    if !is_told_to_end {
        let socket = PrivateSocket::bind(&path, connections, patience)
            .map_err(|source| DaemonError::Socket { path: path.clone(), source })?;
        let common = Arc::new(Common::default());
        let dispatcher = Arc::new(Dispatcher::new(handle.clone(), fifos.clone(), Arc::clone(&roster), common));
        background.spawn("the news of holds that end", follow_holds(fifos.clone(), handle.clone()));
        background.spawn("the news for its clients", roster.follow(handle.clone()));
        background.spawn("what could not be written", keeper.clone().make_whole());
        if let Some(fifo) = staging.suspends {
            inject_suspends(fifo, suspends);
        }
        background.spawn("its socket", socket.serve(Arc::clone(&dispatcher), rules.clone()));
        tracing::info!("ready: {}", path.display());
        if let Some(bus) = bus {
            background.spawn("the bus", bus.serve(dispatcher, rules));
        }
        readiness::tell();
        tokio::select! {
            biased;
            () = signals.received() => {}
            ended = &mut serving => return Err(unwanted(ended)),
            task = background.ended() => {
                // Whatever is done when it is dropped is not to be done.
                std::mem::forget(serving);
                return Err(DaemonError::Task { task });
            }
        }
    }
    let held = Arc::new(AtomicUsize::new(0));
    let (counted, last_keeper) = (Arc::clone(&held), keeper.clone());
    let ending = handle.shutdown_if(move |core, now| {
        // Whose descriptors were closed before holds nothing, noticed or not.
        for hold in fifos.gone() {
            core.handle_hold_gone(hold, now);
        }
        counted.store(core.sessions_held(), Ordering::Relaxed);
        let is_over = core.sessions_held() == 0;
        if !is_over && let Err(error) = last_keeper.end(core) {
            tracing::error!("the next start will not know of all that is held: it cannot be written down: {error}");
        }
        is_over
    });
    let mut ending = Box::pin(ending);
    let is_taken_down = tokio::select! {
        biased;
        is_taken_down = &mut ending => is_taken_down?,
        ended = &mut serving => {
            ended?;
            ending.await?
        }
    };
    if !is_taken_down {
        let sessions = held.load(Ordering::Relaxed);
        tracing::info!(
            "ended; {sessions} session(s) hold links, which stay up: the next start goes on with them, \"bearerctl reset\" takes \
             them down"
        );
        // Whatever is done when it is dropped is not to be done.
        std::mem::forget(serving);
        return Ok(Ending::Left { sessions });
    }
    // It would bind its socket again.
    background.end().await;
    PrivateSocket::remove(&path);
    keeper.remove();
    // Who has asked for a hold meanwhile was not answered.
    let _ = fs::remove_dir_all(holds_directory);
    tracing::info!("ended; nothing of ours is left");
    Ok(Ending::TakenDown)
}

/// The service is to go on until it is told to end.
fn unwanted(ended: Result<(), EngineError>) -> DaemonError {
    ended.map_or_else(DaemonError::Engine, |()| DaemonError::Ended)
}

/// The daemon was told to end before it had done anything. What a former one has `left`, with so many sessions that hold, is left
/// as it is.
fn end_early(left: Option<usize>, state_file: StateFile, holds_directory: &Path) -> Ending {
    if let Some(sessions) = left {
        tracing::info!("ended before it was ready; what a former daemon has left stays for the next start");
        return Ending::Left { sessions };
    }
    if let Err(error) = state_file.remove() {
        tracing::warn!("the state file cannot be removed: {error}");
    }
    let _ = fs::remove_dir_all(holds_directory);
    tracing::info!("ended before it was ready; nothing of ours is left");
    Ending::TakenDown
}

/// Reads spans of time in milliseconds, each by a writer of its own. Opens the FIFO again when a suspend has been told, for
/// which the next writer waits.
fn inject_suspends(fifo: PathBuf, suspends: InjectedSuspends) {
    std::thread::spawn(move || {
        while let Ok(text) = fs::read_to_string(&fifo) {
            if let Ok(milliseconds) = text.trim().parse() {
                suspends.suspend(Duration::from_millis(milliseconds));
            }
        }
    });
}

/// With this mode whatever the file mode creation mask is, if it was not there.
fn make_directory(path: &Path, mode: u32) -> Result<(), DaemonError> {
    let made = if path.is_dir() {
        Ok(())
    } else {
        let made = DirBuilder::new().recursive(true).create(path);
        made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
    };
    made.map_err(|source| DaemonError::Directory { path: path.to_owned(), source })
}

/// What somebody else has made is left as it is, but nobody would see why he cannot connect.
fn warn_if_closed(runtime_directory: &Path) {
    const SEARCHABLE_BY_ALL: u32 = 0o011;
    let mode = fs::metadata(runtime_directory).map_or(SEARCHABLE_BY_ALL, |metadata| metadata.permissions().mode());
    if mode & SEARCHABLE_BY_ALL != SEARCHABLE_BY_ALL {
        let path = runtime_directory.display();
        tracing::warn!("{path} cannot be entered by all users, who cannot connect then: chmod a+x {path}");
    }
}

/// Tells the core of holds that nobody has any more. Whether that is so is looked at when no call can come between.
async fn follow_holds(fifos: Fifos, service: ServiceHandle) {
    loop {
        match fifos.hung_up().await {
            Ok(holds) => {
                for hold in holds {
                    let fifos = fifos.clone();
                    service.cast(move |core, now| {
                        if fifos.has_gone(hold) {
                            core.handle_hold_gone(hold, now);
                        }
                    });
                }
            }
            Err(error) => return tracing::error!("the end of holds is not noticed any more: {error}"),
        }
    }
}
