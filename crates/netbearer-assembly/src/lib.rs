//! The service of NetBearer put together, for whoever runs one: the daemon, and programs with a service of their own.
//!
//! [`Assembly`] says where everything is; [`Assembly::prepare`] reads what people have written, and [`Prepared::start`] starts
//! clock, engine and names in the network namespace of the calling thread.

use std::{collections::BTreeSet, path::Path};

use netbearer_clock::{BootClock, InjectedSuspends, boot_time};
use netbearer_core::{Core, Limits, Profiles, SavedState, Settings};
use netbearer_engine_native::{CarrierWatch, Cleared, NativeEngine, NativeSettings, Places, ResetError, StartError};
use netbearer_names::{NamePlaces, NamesSettings, SystemNames};
use netbearer_profiles::{ProfileStore, Reading};
use netbearer_service::{Directories, Service, ServiceHandle, SteeringFileError, read_steering_plan, tell_mistakes};
use netbearer_types::SteeringPlan;
use tokio::sync::oneshot;

/// How a service is made.
#[derive(Clone, Debug)]
pub struct Assembly {
    /// Where configuration, locks and leases are kept.
    pub directories: Directories,
    /// Where other network managers are to be found, whose interfaces are left to them.
    pub managers: Places,
    /// Where the machine's resolver is to be found; none to leave it alone.
    pub names: Option<NamePlaces>,
    /// What the program itself says, over what the configuration directory does.
    pub program: Profiles,
    /// How much one user may have.
    pub limits: Limits,
    /// Sessions of all processes are here.
    pub serves_all_processes: bool,
    /// Whose members may open sessions; none says what the core does.
    pub opening_group: Option<String>,
    /// What a service that was killed has left, to be gone on from.
    pub saved: Option<SavedState>,
    /// What a service that was killed has up is left to others, as what it has left cannot be read.
    pub leaves_links: bool,
}

impl Assembly {
    /// The usual places of this machine, for a service of one process.
    #[must_use]
    pub fn of_this_machine(directories: Directories) -> Self {
        Self::new(directories, Places::of_this_machine(), NamePlaces::of_this_machine())
    }

    /// The usual places of a machine whose root directory is `root`, for a service of one process. Without a directory `etc`
    /// there is no resolver.
    #[must_use]
    pub fn below(root: &Path, directories: Directories) -> Self {
        let resolvconf = vec![root.join("usr/sbin/resolvconf")];
        let names = NamePlaces { resolvconf, ..NamePlaces::below(root) };
        Self::new(directories, Places::below(root), root.join("etc").is_dir().then_some(names))
    }

    fn new(directories: Directories, managers: Places, names: Option<NamePlaces>) -> Self {
        Self {
            directories,
            managers,
            names,
            program: Profiles::default(),
            limits: Limits::default(),
            serves_all_processes: false,
            opening_group: None,
            saved: None,
            leaves_links: false,
        }
    }

    /// Reads the files of people. Profiles with mistakes are logged and left out.
    ///
    /// # Errors
    /// When `steering.toml` is malformed.
    pub fn prepare(self) -> Result<Prepared, SteeringFileError> {
        let mut native = self.native_settings();
        let names = self.names_settings();
        native.steering = read_steering_plan(&self.directories.configuration)?;
        let mut store = ProfileStore::new(&self.directories.configuration).with_program(self.program);
        let reading = store.read();
        tell_mistakes(&reading);
        let profiles = reading.profiles.clone();
        native.carrier_watch =
            CarrierWatch::new(move |interface, hardware| profiles.watches_carrier(interface, hardware));
        let usual = Settings::default();
        let settings = Settings {
            profiles: reading.profiles.clone(),
            limits: self.limits,
            serves_all_processes: self.serves_all_processes,
            opening_group: self.opening_group.unwrap_or(usual.opening_group),
            ..usual
        };
        Ok(Prepared { settings, native, names, store, reading, saved: self.saved })
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

    fn names_settings(&self) -> Option<NamesSettings> {
        Some(NamesSettings {
            places: self.names.clone()?,
            runtime_directory: self.directories.runtime.clone(),
            state_directory: self.directories.state.clone(),
            resumed: self.saved.is_some(),
        })
    }

    fn native_settings(&self) -> NativeSettings {
        NativeSettings {
            runtime_directory: self.directories.runtime.clone(),
            state_directory: self.directories.state.clone(),
            managers: self.managers.clone(),
            carrier_watch: CarrierWatch::default(),
            steering: SteeringPlan::default(),
            resumed: self.saved.as_ref().map_or_else(BTreeSet::new, SavedState::devices),
            leaves_links: self.leaves_links,
        }
    }
}

/// A service whose files have been read.
#[derive(Debug)]
pub struct Prepared {
    settings: Settings,
    native: NativeSettings,
    names: Option<NamesSettings>,
    store: ProfileStore,
    reading: Reading,
    saved: Option<SavedState>,
}

/// Why a service could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssemblyError {
    /// There is no clock.
    #[error("the clock could not be started")]
    Clock(#[source] std::io::Error),
    /// The network cannot be looked at.
    #[error(transparent)]
    Engine(#[from] StartError),
}

/// A service that is ready to run.
pub struct Assembled {
    /// The service, which does something when it is [run](Service::run).
    pub service: Service<NativeEngine, SystemNames, BootClock>,
    /// The way to it.
    pub handle: ServiceHandle,
    /// Its clock.
    pub clock: BootClock,
    /// For tests: lets its time jump as a suspend does.
    pub suspends: InjectedSuspends,
    /// Tells that everything there is has been looked at.
    pub enumerated: oneshot::Receiver<()>,
}

impl Prepared {
    /// Starts clock, engine and names.
    ///
    /// # Errors
    /// When the network cannot be looked at.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub async fn start(self) -> Result<Assembled, AssemblyError> {
        let (clock, suspends) = BootClock::start_with_injected_suspends().map_err(AssemblyError::Clock)?;
        let engine = NativeEngine::start(self.native, clock.clone()).await?;
        let core = match self.saved {
            Some(saved) => Core::restore(self.settings, saved, boot_time()),
            None => Core::new(self.settings),
        };
        let names = SystemNames::start(self.names);
        let (service, handle, enumerated) = Service::restored(core, engine, names, clock.clone());
        let service = service.following(self.store, self.reading);
        Ok(Assembled { service, handle, clock, suspends, enumerated })
    }
}
