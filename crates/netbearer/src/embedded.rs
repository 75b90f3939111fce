use std::{sync::Arc, thread};

use netbearer_core::{ClientId, Limits, Profiles, Settings, UserId};
use netbearer_engine_native::{Cleared, NativeEngine, NativeSettings, ResetError};
use netbearer_kernel::BootClock;
use netbearer_service::{Directories, Service, read_profiles};
use netbearer_types::Profile;
use tokio::sync::oneshot;

use crate::{
    Manager, ManagerError,
    manager::{Connection, ConnectionParts, Reception, ServiceThread},
};

/// The only client of an embedded service.
const CLIENT: ClientId = ClientId(1);

/// How an embedded service is made. [`Manager::embedded`] is this with nothing changed.
#[derive(Clone, Debug)]
pub struct Embedded {
    directories: Directories,
    profiles: Vec<(String, Profile)>,
    limits: Limits,
}

impl Default for Embedded {
    fn default() -> Self {
        Self { directories: Directories::from_environment(), profiles: Vec::new(), limits: Limits::default() }
    }
}

impl Embedded {
    /// Where configuration, locks and leases are kept.
    #[must_use]
    pub fn directories(mut self, directories: Directories) -> Self {
        self.directories = directories;
        self
    }

    /// A profile for the access point on the interface `interface_name`, over what the configuration directory says.
    #[must_use]
    pub fn profile(mut self, interface_name: &str, profile: Profile) -> Self {
        self.profiles.push((interface_name.to_owned(), profile));
        self
    }

    /// How many sessions this process may have.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Removes by hand what a killed process left in the network namespace of the calling thread, as the next start would.
    ///
    /// # Errors
    /// When another process uses the namespace, a privilege is missing, or the kernel cannot be looked at.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub async fn reset(&self) -> Result<Cleared, ResetError> {
        netbearer_engine_native::reset(&native_settings(&self.directories)).await
    }

    /// Starts the service in a thread of its own, and returns after everything there is has been looked at.
    ///
    /// # Errors
    /// When the network cannot be looked at, or a profile is malformed.
    pub async fn start(self) -> Result<Manager, ManagerError> {
        let mut profiles: Profiles = read_profiles(&self.directories.configuration)?;
        profiles.by_interface.extend(self.profiles);
        let settings = Settings { profiles, limits: self.limits, serves_all_processes: false };
        let native = native_settings(&self.directories);
        let (started, has_started) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("netbearer".to_owned())
            .spawn(move || serve(settings, native, started))
            .map_err(ManagerError::Thread)?;
        let (parts, enumerated) = has_started.await.map_err(|_| ManagerError::ServiceGone)??;
        let connection = Connection::new(parts, ServiceThread::new(thread));
        enumerated.await.map_err(|_| ManagerError::ServiceGone)?;
        Ok(Manager::new(connection))
    }
}

fn native_settings(directories: &Directories) -> NativeSettings {
    NativeSettings { runtime_directory: directories.runtime.clone(), state_directory: directories.state.clone() }
}

type Started = Result<(ConnectionParts, oneshot::Receiver<()>), ManagerError>;

fn serve(settings: Settings, native: NativeSettings, started: oneshot::Sender<Started>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(ManagerError::Thread(error)));
            return;
        }
    };
    runtime.block_on(async {
        match assemble(settings, native).await {
            Ok((service, parts, enumerated)) => {
                let _ending = Ending(Arc::clone(&parts.reception));
                if started.send(Ok((parts, enumerated))).is_ok() {
                    service.run().await;
                }
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    });
}

/// Ends every stream of events when the service has ended, however that came.
struct Ending(Arc<Reception>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

async fn assemble(
    settings: Settings,
    native: NativeSettings,
) -> Result<(Service<NativeEngine, BootClock>, ConnectionParts, oneshot::Receiver<()>), ManagerError> {
    let engine_failed = |error: Box<dyn std::error::Error + Send + Sync>| ManagerError::Engine(error);
    let clock = BootClock::start().map_err(|error| engine_failed(error.into()))?;
    let engine = NativeEngine::start(native, clock.clone()).await.map_err(|error| engine_failed(error.into()))?;
    let (service, handle, enumerated) = Service::new(settings, engine, clock.clone());
    let reception = Arc::new(Reception::default());
    let user = UserId(rustix::process::getuid().as_raw());
    handle.join(CLIENT, user, Arc::clone(&reception) as _)?;
    let parts = ConnectionParts { service: handle, clock, client: CLIENT, reception };
    Ok((service, parts, enumerated))
}
