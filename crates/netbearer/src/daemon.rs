mod attendant;
mod backend;
mod chooser;
mod desk;
mod entry;
mod line;
mod place;
mod reader;
mod refusal;
mod session;
mod transport;

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use netbearer_clock::InjectedSuspends;
use netbearer_dbus::socket_path;
use netbearer_lookup::NamePlaces;
use netbearer_types::Directories;
use tokio::sync::oneshot;

use self::{attendant::Started, backend::DaemonBackend, place::Place};
use crate::{Manager, ManagerError, service_thread::ServiceThread};

/// How long a daemon is waited for that is not there: it may be starting with the machine, or be on its way back.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the daemon is found. [`Manager::connect`] is this with nothing changed: the socket in the runtime directory of this
/// machine, or of `NETBEARER_RUNTIME_DIR`.
///
/// However often the daemon goes away, it is waited for, and sessions, choosers and streams of events go on when it is back
/// (semantics §4). There is never another service in its place.
#[derive(Clone, Debug)]
pub struct Daemon {
    socket: PathBuf,
    bus: Option<String>,
    names: Option<NamePlaces>,
    patience: Duration,
    suspends: Option<mpsc::Sender<InjectedSuspends>>,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            socket: socket_path(&Directories::from_environment().runtime),
            bus: None,
            names: NamePlaces::of_this_machine(),
            patience: PATIENCE,
            suspends: None,
        }
    }
}

impl Daemon {
    /// Where the daemon keeps its socket: in the runtime directory of these.
    #[must_use]
    pub fn directories(mut self, directories: Directories) -> Self {
        self.socket = socket_path(&directories.runtime);
        self
    }

    /// The D-Bus address of a bus that the daemon is to be talked to by, instead of its own socket.
    #[must_use]
    pub fn system_bus(mut self, address: Option<String>) -> Self {
        self.bus = address;
        self
    }

    /// Where the machine's resolver is to be found, for [`crate::Session::lookup`]; none to ask name servers directly. By
    /// default [`NamePlaces::of_this_machine`].
    #[must_use]
    pub fn names(mut self, names: Option<NamePlaces>) -> Self {
        self.names = names;
        self
    }

    /// How long [`Daemon::connect`] waits for a daemon that is not there. Ten seconds if nothing else is said.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// For tests: sends the means to let this client's time jump as a suspend does, before [`Daemon::connect`] returns. The
    /// daemon's own stays as it is.
    #[doc(hidden)]
    #[must_use]
    pub fn injected_suspends(mut self, suspends: mpsc::Sender<InjectedSuspends>) -> Self {
        self.suspends = Some(suspends);
        self
    }

    /// Connects to the daemon. Returns when it has answered.
    ///
    /// # Errors
    /// [`ManagerError::NoDaemon`] if there is none in time.
    pub async fn connect(self) -> Result<Manager, ManagerError> {
        let place = self.bus.map_or(Place::Socket(self.socket), Place::Bus);
        let (started, has_started) = oneshot::channel();
        let thread = ServiceThread::new(attendant::start(place, self.patience, started)?);
        let Started { desk, clock } = has_started.await.map_err(|_| ManagerError::ServiceGone)??;
        if let Some(suspends) = self.suspends {
            // A test that does not listen has no use for them.
            let _ = suspends.send(clock.injected_suspends());
        }
        Ok(Manager::new(Arc::new(DaemonBackend::new(desk, clock, self.names, thread))))
    }
}
