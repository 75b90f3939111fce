mod backend;
mod chooser;
mod inheritance;
mod reception;
mod session;

use std::{
    sync::{Arc, mpsc},
    thread,
};

use netbearer_assembly::{Assembled, Assembly, Prepared};
use netbearer_clock::InjectedSuspends;
use netbearer_core::{Client, ClientId, Limits, UserId};
use netbearer_engine_native::{Cleared, Places, ResetError};
use netbearer_lookup::NamePlaces;
use netbearer_types::{Directories, Identifier, Profile, ServiceNetworkProfile, UserChoiceProfile};
use tokio::sync::oneshot;

use self::{
    backend::{EmbeddedBackend, Parts},
    reception::Reception,
};
use crate::{Manager, ManagerError, service_thread::ServiceThread};

/// The only client of an embedded service.
const CLIENT: ClientId = ClientId(1);

/// How an embedded service is made. [`Manager::embedded`] is this with nothing changed.
#[derive(Clone, Debug)]
pub struct Embedded {
    assembly: Assembly,
    suspends: Option<mpsc::Sender<InjectedSuspends>>,
}

impl Default for Embedded {
    fn default() -> Self {
        Self { assembly: Assembly::of_this_machine(Directories::from_environment()), suspends: None }
    }
}

impl Embedded {
    /// Where configuration, locks and leases are kept.
    #[must_use]
    pub fn directories(mut self, directories: Directories) -> Self {
        self.assembly.directories = directories;
        self
    }

    /// Where other network managers are to be found, whose interfaces are left to them.
    #[must_use]
    pub fn managers(mut self, managers: Places) -> Self {
        self.assembly.managers = managers;
        self
    }

    /// Where the machine's resolver is to be found, which is told of the name servers of access points; none to leave it
    /// alone. By default [`NamePlaces::of_this_machine`].
    #[must_use]
    pub fn names(mut self, names: Option<NamePlaces>) -> Self {
        self.assembly.names = names;
        self
    }

    /// A profile for the access point on the interface `interface_name`, over what the configuration directory says.
    #[must_use]
    pub fn profile(mut self, interface_name: &str, profile: Profile) -> Self {
        self.assembly.program.by_interface.insert(interface_name.to_owned(), profile);
        self
    }

    /// A service network of this name, over what the configuration directory says. Its identifier is `service-NAME`.
    #[must_use]
    pub fn service_network(mut self, name: &str, profile: ServiceNetworkProfile) -> Self {
        self.assembly.program.service_networks.insert(Identifier::new(format!("service-{name}")), profile);
        self
    }

    /// A user choice of this name, over what the configuration directory says. Its identifier is `choice-NAME`.
    #[must_use]
    pub fn user_choice(mut self, name: &str, profile: UserChoiceProfile) -> Self {
        self.assembly.program.user_choices.insert(Identifier::new(format!("choice-{name}")), profile);
        self
    }

    /// How many sessions this process may have.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.assembly.limits = limits;
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
        self.assembly.reset().await
    }

    /// Starts the service in a thread of its own, and returns after everything there is has been looked at.
    ///
    /// # Errors
    /// When the network cannot be looked at, or `steering.toml` is malformed; [`ManagerError::LeftToDaemon`]. Profiles with
    /// mistakes are logged and left out.
    pub async fn start(self) -> Result<Manager, ManagerError> {
        let holds = inheritance::holds_left(&self.assembly.directories.runtime);
        if holds > 0 {
            return Err(ManagerError::LeftToDaemon { holds });
        }
        let names = self.assembly.names.clone();
        let prepared = self.assembly.prepare()?;
        let (started, has_started) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("netbearer".to_owned())
            .spawn(move || serve(prepared, self.suspends, started))
            .map_err(ManagerError::Thread)?;
        let (parts, enumerated) = has_started.await.map_err(|_| ManagerError::ServiceGone)??;
        let backend = EmbeddedBackend::new(parts, names, ServiceThread::new(thread));
        enumerated.await.map_err(|_| ManagerError::ServiceGone)?;
        Ok(Manager::new(Arc::new(backend)))
    }
}

type Started = Result<(Parts, oneshot::Receiver<()>), ManagerError>;

fn serve(prepared: Prepared, suspends: Option<mpsc::Sender<InjectedSuspends>>, started: oneshot::Sender<Started>) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(tokio::runtime::LocalOptions::default())
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(ManagerError::Thread(error)));
            return;
        }
    };
    runtime.block_on(async {
        let outcome = async {
            let assembled = prepared.start().await.map_err(|error| ManagerError::Engine(error.into()))?;
            let Assembled { service, handle, clock, suspends: injected, enumerated } = assembled;
            if let Some(suspends) = suspends {
                // A test that does not listen has no use for them.
                let _ = suspends.send(injected);
            }
            let reception = Arc::new(Reception::default());
            let user = UserId(rustix::process::getuid().as_raw());
            handle.join(CLIENT, Client::of_user(user), Arc::clone(&reception) as _)?;
            Ok((service, Parts { service: handle, clock, client: CLIENT, reception }, enumerated))
        };
        match outcome.await {
            Ok((service, parts, enumerated)) => {
                let _ending = Ending(Arc::clone(&parts.reception));
                if started.send(Ok((parts, enumerated))).is_ok() {
                    // Without an engine it goes on.
                    let _ = service.run().await;
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
