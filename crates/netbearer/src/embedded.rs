use std::{
    sync::{Arc, mpsc},
    thread,
};

use netbearer_core::{ClientId, Limits, Profiles, Settings, UserId};
use netbearer_engine_native::{CarrierWatch, Cleared, NativeEngine, NativeSettings, Places, ResetError};
use netbearer_kernel::{BootClock, InjectedSuspends};
use netbearer_names::{NamePlaces, NamesSettings, SystemNames};
use netbearer_profiles::{ProfileStore, Reading};
use netbearer_service::{Directories, Service, read_steering_plan, tell_mistakes};
use netbearer_types::{Identifier, Profile, ServiceNetworkProfile, SteeringPlan, UserChoiceProfile};
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
    managers: Places,
    names: Option<NamePlaces>,
    profiles: Vec<(String, Profile)>,
    service_networks: Vec<(Identifier, ServiceNetworkProfile)>,
    user_choices: Vec<(Identifier, UserChoiceProfile)>,
    limits: Limits,
    suspends: Option<mpsc::Sender<InjectedSuspends>>,
}

impl Default for Embedded {
    fn default() -> Self {
        Self {
            directories: Directories::from_environment(),
            managers: Places::of_this_machine(),
            names: NamePlaces::of_this_machine(),
            profiles: Vec::new(),
            service_networks: Vec::new(),
            user_choices: Vec::new(),
            limits: Limits::default(),
            suspends: None,
        }
    }
}

impl Embedded {
    /// Where configuration, locks and leases are kept.
    #[must_use]
    pub fn directories(mut self, directories: Directories) -> Self {
        self.directories = directories;
        self
    }

    /// Where other network managers are to be found, whose interfaces are left to them.
    #[must_use]
    pub fn managers(mut self, managers: Places) -> Self {
        self.managers = managers;
        self
    }

    /// Where the machine's resolver is to be found, which is told of the name servers of access points; none to leave it
    /// alone. By default [`NamePlaces::of_this_machine`].
    #[must_use]
    pub fn names(mut self, names: Option<NamePlaces>) -> Self {
        self.names = names;
        self
    }

    /// A profile for the access point on the interface `interface_name`, over what the configuration directory says.
    #[must_use]
    pub fn profile(mut self, interface_name: &str, profile: Profile) -> Self {
        self.profiles.push((interface_name.to_owned(), profile));
        self
    }

    /// A service network of this name, over what the configuration directory says. Its identifier is `service-NAME`.
    #[must_use]
    pub fn service_network(mut self, name: &str, profile: ServiceNetworkProfile) -> Self {
        self.service_networks.push((Identifier::new(format!("service-{name}")), profile));
        self
    }

    /// A user choice of this name, over what the configuration directory says. Its identifier is `choice-NAME`.
    #[must_use]
    pub fn user_choice(mut self, name: &str, profile: UserChoiceProfile) -> Self {
        self.user_choices.push((Identifier::new(format!("choice-{name}")), profile));
        self
    }

    /// How many sessions this process may have.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// For tests: sends the means to let the service's time jump as a suspend does, before [`Embedded::start`] returns. The
    /// machine's clock stays as it is.
    #[doc(hidden)]
    #[must_use]
    pub fn injected_suspends(mut self, suspends: mpsc::Sender<InjectedSuspends>) -> Self {
        self.suspends = Some(suspends);
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
        let mut cleared = netbearer_engine_native::reset(&self.native_settings()).await?;
        if let Some(settings) = self.names_settings() {
            match netbearer_names::recover(&settings).await {
                Ok(recovered) => {
                    cleared.name_servers_restored = recovered.restored;
                    cleared.refused.extend(recovered.refused);
                }
                Err(error) => cleared.refused.push(error.to_string()),
            }
        }
        Ok(cleared)
    }

    /// Starts the service in a thread of its own, and returns after everything there is has been looked at.
    ///
    /// # Errors
    /// When the network cannot be looked at, or `steering.toml` is malformed. Profiles with mistakes are logged and left out.
    pub async fn start(self) -> Result<Manager, ManagerError> {
        let mut native = self.native_settings();
        let names = self.names_settings();
        native.steering = read_steering_plan(&self.directories.configuration)?;
        let mut store = ProfileStore::new(&self.directories.configuration).with_program(Profiles {
            by_interface: self.profiles.into_iter().collect(),
            service_networks: self.service_networks.into_iter().collect(),
            user_choices: self.user_choices.into_iter().collect(),
            ..Profiles::default()
        });
        let reading = store.read();
        tell_mistakes(&reading);
        let profiles = reading.profiles.clone();
        native.carrier_watch =
            CarrierWatch::new(move |interface, hardware| profiles.watches_carrier(interface, hardware));
        let settings =
            Settings { profiles: reading.profiles.clone(), limits: self.limits, serves_all_processes: false };
        let files = Files { store, reading };
        let (started, has_started) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("netbearer".to_owned())
            .spawn(move || serve(settings, native, files, names, self.suspends, started))
            .map_err(ManagerError::Thread)?;
        let (parts, enumerated) = has_started.await.map_err(|_| ManagerError::ServiceGone)??;
        let connection = Connection::new(parts, self.names, ServiceThread::new(thread));
        enumerated.await.map_err(|_| ManagerError::ServiceGone)?;
        Ok(Manager::new(connection))
    }

    fn names_settings(&self) -> Option<NamesSettings> {
        Some(NamesSettings {
            places: self.names.clone()?,
            runtime_directory: self.directories.runtime.clone(),
            state_directory: self.directories.state.clone(),
        })
    }

    fn native_settings(&self) -> NativeSettings {
        NativeSettings {
            runtime_directory: self.directories.runtime.clone(),
            state_directory: self.directories.state.clone(),
            managers: self.managers.clone(),
            carrier_watch: CarrierWatch::default(),
            steering: SteeringPlan::default(),
        }
    }
}

/// Profiles as they were read at the start.
struct Files {
    store: ProfileStore,
    reading: Reading,
}

type Started = Result<(ConnectionParts, oneshot::Receiver<()>), ManagerError>;

fn serve(
    settings: Settings,
    native: NativeSettings,
    files: Files,
    names: Option<NamesSettings>,
    suspends: Option<mpsc::Sender<InjectedSuspends>>,
    started: oneshot::Sender<Started>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(ManagerError::Thread(error)));
            return;
        }
    };
    runtime.block_on(async {
        match assemble(settings, native, files, names, suspends).await {
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
    files: Files,
    names: Option<NamesSettings>,
    suspends: Option<mpsc::Sender<InjectedSuspends>>,
) -> Result<(Service<NativeEngine, SystemNames, BootClock>, ConnectionParts, oneshot::Receiver<()>), ManagerError> {
    let engine_failed = |error: Box<dyn std::error::Error + Send + Sync>| ManagerError::Engine(error);
    let (clock, injected) = BootClock::start_with_injected_suspends().map_err(|error| engine_failed(error.into()))?;
    if let Some(suspends) = suspends {
        // A test that does not listen has no use for them.
        let _ = suspends.send(injected);
    }
    let engine = NativeEngine::start(native, clock.clone()).await.map_err(|error| engine_failed(error.into()))?;
    let (service, handle, enumerated) = Service::new(settings, engine, SystemNames::start(names), clock.clone());
    let service = service.following(files.store, files.reading);
    let reception = Arc::new(Reception::default());
    let user = UserId(rustix::process::getuid().as_raw());
    handle.join(CLIENT, user, Arc::clone(&reception) as _)?;
    let parts = ConnectionParts { service: handle, clock, client: CLIENT, reception };
    Ok((service, parts, enumerated))
}
