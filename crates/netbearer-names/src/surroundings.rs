use std::path::Path;

use netbearer_dbus::bus_socket;
use netbearer_lookup::look_at_resolv_conf;
use netbearer_watch::{DirectoryWatch, WatchedEntries};
use tracing::warn;
use zbus::names::OwnedUniqueName;

use crate::{Found, NamePlaces, NamesError, bus::Bus, keep};

/// What a back-end is chosen from, watched.
#[derive(Debug)]
pub(crate) struct Surroundings {
    places: NamePlaces,
    directories: Option<DirectoryWatch>,
    bus: Option<Bus>,
}

impl Surroundings {
    /// To be opened within a runtime.
    pub(crate) fn open(places: &NamePlaces, state_directory: &Path) -> Self {
        let socket = bus_socket(&places.bus_address);
        let lock = state_directory.join(keep::LOCK);
        let watched = [Some(places.resolv_conf.clone()), Some(lock), socket].into_iter().flatten();
        let wanted =
            watched.filter_map(|path| Some((path.parent()?.to_owned(), WatchedEntries::only(path.file_name()?))));
        let directories = DirectoryWatch::open(wanted.collect())
            .inspect_err(|error| warn!("the machine's resolver cannot be watched: {error}"));
        Self { places: places.clone(), directories: directories.ok(), bus: None }
    }

    /// What is there now, and who systemd-resolved is. What changes from now on is told by [`Self::changed`].
    pub(crate) async fn look(&mut self) -> Result<(Found, Option<OwnedUniqueName>), NamesError> {
        if let Some(directories) = &mut self.directories {
            directories.arm();
        }
        let resolved = self.resolved().await;
        let found = Found {
            resolved_runs: resolved.is_some(),
            resolvconf: self.places.find_resolvconf(),
            resolv_conf: look_at_resolv_conf(&self.places.resolv_conf)
                .map_err(NamesError::file("read", &self.places.resolv_conf))?,
        };
        Ok((found, resolved))
    }

    pub(crate) fn bus(&self) -> Option<&Bus> {
        self.bus.as_ref()
    }

    /// Waits until something may be different.
    pub(crate) async fn changed(&mut self) {
        let directories = async {
            match &mut self.directories {
                Some(directories) => directories.changed().await,
                None => std::future::pending().await,
            }
        };
        let bus = async {
            match &self.bus {
                Some(bus) => bus.changed().await,
                None => std::future::pending().await,
            }
        };
        let failed = tokio::select! {
            changed = directories => changed.err(),
            () = bus => None,
        };
        if let Some(error) = failed {
            warn!("the machine's resolver cannot be watched any more: {error}");
            self.directories = None;
        }
    }

    /// A bus that has gone is left, and one that has come is joined.
    async fn resolved(&mut self) -> Option<OwnedUniqueName> {
        if let Some(bus) = &self.bus {
            match bus.resolved().await {
                Ok(owner) => return owner,
                Err(error) => tracing::debug!("the system bus does not answer any more: {error}"),
            }
        }
        self.bus = match Bus::open(&self.places.bus_address).await {
            Ok(bus) => bus,
            Err(error) => {
                tracing::debug!("the system bus cannot be asked: {error}");
                None
            }
        };
        self.bus.as_ref()?.resolved().await.ok().flatten()
    }
}
