use std::future::pending;

use netbearer_dbus::bus_socket;
use tokio::{sync::watch, task::JoinSet};

use crate::{ManagerName, OpenError, Owners, Places, bus, run_files::RunFiles};

/// Watches other network managers.
///
/// Its work is done by tasks of its own, which end when it is dropped.
#[derive(Debug)]
pub struct ManagerWatcher {
    owners: watch::Receiver<Owners>,
    told: Option<Owners>,
    _tasks: JoinSet<()>,
}

impl ManagerWatcher {
    /// Begins to watch. Must be called in a tokio runtime with I/O and time, by a thread in the network namespace whose
    /// interfaces are meant. That no manager is there, or no bus, is no error.
    ///
    /// # Errors
    /// [`OpenError`] when the kernel refuses what is needed to watch.
    pub fn open(places: &Places) -> Result<Self, OpenError> {
        let refused = |source| OpenError::Watch { source };
        let mut unasked = vec![ManagerName::Networkd, ManagerName::Dhcpcd, ManagerName::Ifupdown];
        let bus = match bus_socket(&places.bus_address) {
            Some(socket) => {
                unasked.extend([ManagerName::NetworkManager, ManagerName::ConnMan]);
                Some((bus::watch(&socket).map_err(refused)?, socket))
            }
            None => {
                tracing::warn!("the system bus at {} has no path, and is not asked", places.bus_address);
                None
            }
        };
        let watch = RunFiles::watch(places).map_err(refused)?;
        let names = RunFiles::names().map_err(|source| OpenError::Socket { source })?;
        let files = RunFiles::new(places.clone(), watch, names);
        let (publisher, owners) = watch::channel(Owners::unasked(unasked));
        let mut tasks = JoinSet::new();
        if let Some((directory, socket)) = bus {
            tasks.spawn(bus::follow(socket, directory, publisher.clone()));
        }
        tasks.spawn(files.follow(publisher));
        Ok(Self { owners, told: None, _tasks: tasks })
    }

    /// Who looks after which interface, once that differs from what was told last; the first time, once everybody there is
    /// has been asked. May be dropped while waiting, and nothing is lost.
    pub async fn changed(&mut self) -> Owners {
        let new = |owners: &Owners| owners.everybody_was_asked() && self.told.as_ref() != Some(owners);
        let owners = self.owners.wait_for(new).await.map(|owners| owners.clone());
        let Ok(owners) = owners else {
            // Nobody watches any more, which has been logged: what was told stays.
            return pending().await;
        };
        self.told = Some(owners.clone());
        owners
    }
}
