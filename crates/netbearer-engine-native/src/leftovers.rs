//! What a process that was killed left behind, found by its tag in the kernel and by its notes.

use std::path::PathBuf;

use futures_util::{FutureExt, future::join_all};
use netbearer_kernel::{AddressKey, Cache, RequestError, Requests, RouteSpec, RuleSpec, WatchError, Watcher};
use serde::Serialize;

use crate::{
    engine::{NativeSettings, Place, StartError},
    foreign::ForeignManagers,
    notes::{Note, Notes},
    ownership::OwnershipError,
    settings::{self, ChangedSetting},
};

/// What was removed or restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cleared {
    /// Policy rules removed.
    pub rules: usize,
    /// Routes removed.
    pub routes: usize,
    /// Addresses removed, as `address/length on interface`.
    pub addresses: Vec<String>,
    /// Interfaces set administratively down again.
    pub interfaces_set_down: Vec<String>,
    /// Kernel settings that have their old values again, as `ipv4 rp_filter of interface`.
    pub settings_restored: Vec<String>,
    /// What programs ask for names by, as it was before: a file, or what another program was told. Not the engine's work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub name_servers_restored: Vec<String>,
    /// What could not be removed or restored, and why.
    pub refused: Vec<String>,
}

impl Cleared {
    /// True if there was nothing to do.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a reset could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResetError {
    /// Somebody uses the network now.
    #[error("nothing was reset")]
    Owned(#[from] OwnershipError),
    /// The kernel cannot be looked at.
    #[error("nothing was reset")]
    Start(#[from] StartError),
    /// A privilege is missing.
    #[error("nothing was reset: {} missing; run as root", missing.join(", "))]
    MissingPrivilege {
        /// The capabilities by name.
        missing: Vec<&'static str>,
    },
}

/// Removes by hand what a killed process left in this network namespace, as the next start would.
///
/// # Errors
/// When another process uses the namespace, a privilege is missing, or the kernel cannot be looked at.
pub async fn reset(settings: &NativeSettings) -> Result<Cleared, ResetError> {
    let missing = netbearer_kernel::missing_privileges().map_err(StartError::Privileges)?;
    if !missing.is_empty() {
        return Err(ResetError::MissingPrivilege { missing });
    }
    let place = settings.place()?;
    let _claim = place.ownership.claim()?;
    let clock = netbearer_kernel::BootClock::start().map_err(StartError::Socket)?;
    let mut managers = ForeignManagers::open(&settings.managers, clock.clone());
    managers.first_answers().await;
    let watcher = Watcher::open(clock).await.map_err(StartError::Watch)?;
    let requests = Requests::open().map_err(StartError::Socket)?;
    Ok(Leftovers::find(watcher.cache(), &place.notes, &place.boot, &managers).clear(&requests, &place.notes).await)
}

/// Clears leftovers before the first enumeration, if there are any and nobody else uses the namespace.
pub(crate) async fn clear_at_start(
    watcher: &mut Watcher,
    place: &Place,
    requests: &Requests,
    managers: &ForeignManagers,
) -> Result<(), WatchError> {
    let leftovers = Leftovers::noted(watcher.cache(), &place.notes, &place.boot, managers);
    if !leftovers.are_noted() {
        return Ok(());
    }
    // Somebody who is alive keeps the ledger: then they are no leftovers.
    let Ok(_claim) = place.ownership.claim() else { return Ok(()) };
    leftovers.clear(requests, &place.notes).await;
    place.ownership.cleared();
    watcher.resync().await.map(|_| ())
}

/// Everything that carries our tag or is told of in a note. Leftovers, if no process that is alive has the lock.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    rules: Vec<RuleSpec>,
    routes: Vec<RouteSpec>,
    /// With the names of their interfaces.
    addresses: Vec<(AddressKey, String)>,
    /// Interfaces that were found down, and are up.
    up: Vec<(u32, String)>,
    /// Settings that were changed, with the names of their interfaces.
    settings: Vec<(String, Vec<ChangedSetting>)>,
    /// MTUs as they were of interfaces that still have ours, with their names.
    mtus: Vec<(u32, String, u32)>,
    /// Files of notes.
    notes: Vec<PathBuf>,
}

impl Leftovers {
    pub(crate) fn find(cache: &Cache, notes: &Notes, boot: &str, managers: &ForeignManagers) -> Self {
        Self::told_of(notes.all(), cache, boot, managers)
    }

    /// The same if there are notes of them here, and otherwise nothing: a process notes before it changes anything, so what
    /// carries our tag without a note is of one that has another runtime directory, and may be alive. Only a reset by hand
    /// removes that.
    pub(crate) fn noted(cache: &Cache, notes: &Notes, boot: &str, managers: &ForeignManagers) -> Self {
        let notes = notes.all();
        if notes.is_empty() { Self::default() } else { Self::told_of(notes, cache, boot, managers) }
    }

    fn told_of(notes: Vec<(PathBuf, Option<Note>)>, cache: &Cache, boot: &str, managers: &ForeignManagers) -> Self {
        let name = |index| cache.link(index).map_or_else(|| format!("interface {index}"), |link| link.name.clone());
        let true_notes =
            || notes.iter().filter_map(|(_, note)| note.as_ref()).filter(|note| is_about(note, cache, boot));
        let is_up = |index| cache.link(index).is_some_and(|link| link.administratively_up);
        Self {
            rules: cache.our_rules().map(RuleSpec::from).collect(),
            routes: cache.our_routes().map(RouteSpec::from).collect(),
            addresses: cache.our_addresses().map(|address| (address.key(), name(address.index))).collect(),
            up: true_notes()
                .filter(|note| !note.administratively_up && is_up(note.index))
                .map(|note| (note.index, name(note.index)))
                // One that somebody else has taken since is up for them now.
                .filter(|(_, name)| managers.claim(name).is_none())
                .collect(),
            settings: true_notes()
                .filter(|note| !note.settings.is_empty())
                .map(|note| (name(note.index), note.settings.clone()))
                .collect(),
            mtus: true_notes()
                .filter_map(|note| Some((note, note.mtu?)))
                .filter(|(note, mtu)| cache.link(note.index).is_some_and(|link| link.mtu == mtu.new))
                .map(|(note, mtu)| (note.index, name(note.index), mtu.old))
                .collect(),
            notes: notes.into_iter().map(|(path, _)| path).collect(),
        }
    }

    /// True if there are notes of them here.
    pub(crate) const fn are_noted(&self) -> bool {
        !self.notes.is_empty()
    }

    /// The same as [`Leftovers::clear`], done when it returns: requests are carried out and answered while they are made.
    pub(crate) fn clear_at_once(&self, requests: &Requests, notes: &Notes) {
        if self.clear(requests, notes).now_or_never().is_none() {
            tracing::warn!("the kernel has not answered to the removal of what a killed process had left");
        }
    }

    /// Removes and restores all of it; collects what the kernel refuses, and goes on.
    pub(crate) async fn clear(&self, requests: &Requests, notes: &Notes) -> Cleared {
        let mut cleared = Cleared::default();
        let mut refused: Vec<RequestError> = Vec::new();
        let removed_rules = join_all(self.rules.iter().map(|rule| requests.delete_rule(rule))).await;
        cleared.rules = count(removed_rules, &mut refused);
        let removed_routes = join_all(self.routes.iter().map(|route| requests.delete_route(route))).await;
        cleared.routes = count(removed_routes, &mut refused);
        for (key, interface) in &self.addresses {
            if count(vec![requests.delete_address(*key).await], &mut refused) == 1 {
                cleared.addresses.push(format!("{}/{} on {interface}", key.address, key.prefix_length));
            }
        }
        for (index, name) in &self.up {
            match requests.set_link_up(*index, false).await {
                Ok(()) => cleared.interfaces_set_down.push(name.clone()),
                Err(error) => refused.push(error),
            }
        }
        for (interface, changed) in &self.settings {
            let restored = settings::restore(interface, changed);
            cleared.settings_restored.extend(restored.iter().map(|setting| format!("{setting} of {interface}")));
        }
        for (index, interface, mtu) in &self.mtus {
            match requests.set_mtu(*index, *mtu).await {
                Ok(()) => cleared.settings_restored.push(format!("MTU of {interface}")),
                Err(error) => refused.push(error),
            }
        }
        notes.remove_files(&self.notes);
        cleared.refused = refused.iter().map(ToString::to_string).collect();
        if !cleared.is_nothing() {
            tracing::warn!(?cleared, "cleared what a killed process had left");
        }
        cleared
    }
}

fn count(answers: Vec<Result<(), RequestError>>, refused: &mut Vec<RequestError>) -> usize {
    let mut removed = 0;
    for answer in answers {
        match answer {
            Ok(()) => removed += 1,
            Err(error) if error.is_gone() => {}
            Err(error) => refused.push(error),
        }
    }
    removed
}

/// The note may outlive its boot or its interface; another one may have the index now.
fn is_about(note: &Note, cache: &Cache, boot: &str) -> bool {
    note.boot == boot
        && cache.link(note.index).is_some_and(|link| link.hardware_address.to_string() == note.hardware_address)
}
