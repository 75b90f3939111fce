//! What a process that was killed left behind, found by its tag in the kernel and by its notes.

use std::collections::BTreeMap;

use futures_util::{FutureExt, future::join_all};
use netbearer_kernel::{
    Address, AddressKey, Cache, RequestError, Requests, RouteSpec, Rule, RuleSpec, WatchError, Watcher,
};
use netbearer_types::SteeringPlan;
use serde::Serialize;

use crate::{
    belongings::Belongings,
    engine::{NativeSettings, Place, StartError},
    foreign::ForeignManagers,
    notes::{Note, NoteFile, Notes},
    ownership::{Claim, OwnershipError},
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

/// Removes by hand what killed processes left in this network namespace, as the next start would, and whatever else carries our
/// tag: that of a process with another runtime directory too, be it alive.
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

/// Clears leftovers before the first enumeration, if there are any and nobody else uses the namespace; those of interfaces
/// that `is_inherited` chooses by their notes are left. Returns the right to go on with these.
pub(crate) async fn clear_at_start(
    watcher: &mut Watcher,
    place: &Place,
    requests: &Requests,
    (managers, plan): (&ForeignManagers, &SteeringPlan),
    is_inherited: impl Fn(&Cache, &Note) -> bool,
) -> Result<Option<Inheritance>, WatchError> {
    let files = place.notes.all();
    if files.is_empty() {
        return Ok(None);
    }
    // Somebody who is alive keeps the ledger: then they are no leftovers.
    let Ok(claim) = place.ownership.claim() else { return Ok(None) };
    let is_kept = |file: &NoteFile| {
        let note =
            file.note.as_ref().filter(|note| !file.is_unfinished() && note.is_true(watcher.cache(), &place.boot));
        note.is_some_and(|note| is_inherited(watcher.cache(), note))
    };
    let (kept, left): (Vec<NoteFile>, Vec<NoteFile>) = files.into_iter().partition(is_kept);
    let notes: Vec<Note> = kept.into_iter().filter_map(|file| file.note).collect();
    if !left.is_empty() {
        let leftovers = Leftovers::of(left, &notes, watcher.cache(), &place.boot, (managers, plan));
        leftovers.clear(requests, &place.notes).await;
        watcher.resync().await?;
    }
    place.ownership.cleared();
    Ok((!notes.is_empty()).then_some(Inheritance { claim, notes }))
}

/// Forgets the notes of links that a killed process had up, unless somebody who is alive keeps the ledger. So nobody takes them
/// for leftovers, but a reset by hand.
pub(crate) fn leave(cache: &Cache, place: &Place) {
    let Ok(_claim) = place.ownership.claim() else { return };
    let is_up = |file: &NoteFile| {
        let note = file.note.as_ref().filter(|note| !file.is_unfinished() && note.is_true(cache, &place.boot));
        note.is_some_and(|note| note.reached.is_some())
    };
    let left: Vec<NoteFile> = place.notes.all().into_iter().filter(is_up).collect();
    for note in left.iter().filter_map(|file| file.note.as_ref()) {
        tracing::warn!(
            "{} is left up, as if others had set it up; bearerctl reset removes what is ours of it",
            note.name
        );
    }
    place.notes.remove_files(&left);
}

/// What a killed process had up, and is gone on with.
#[derive(Debug)]
pub(crate) struct Inheritance {
    /// As long as it lives nobody else takes it for leftovers.
    pub(crate) claim: Claim,
    /// How the interfaces were found.
    pub(crate) notes: Vec<Note>,
}

/// What carries our tag or is told of in a note. Leftovers, if no process that is alive has the lock.
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
    notes: Vec<NoteFile>,
}

impl Leftovers {
    /// All there is: what carries our tag may be another process's that has another runtime directory. For a reset by hand.
    pub(crate) fn find(cache: &Cache, notes: &Notes, boot: &str, managers: &ForeignManagers) -> Self {
        Self {
            rules: cache.our_rules().map(RuleSpec::from).collect(),
            routes: cache.our_routes().map(RouteSpec::from).collect(),
            addresses: addresses(cache, |_| true),
            ..Self::untagged(notes.all(), cache, boot, managers)
        }
    }

    /// What belongs to the interfaces that these notes of a process that is gone are about, and not to those that others of
    /// its notes, `kept`, are.
    pub(crate) fn of(
        files: Vec<NoteFile>,
        kept: &[Note],
        cache: &Cache,
        boot: &str,
        (managers, plan): (&ForeignManagers, &SteeringPlan),
    ) -> Self {
        let is_of_this_boot = |file: &&NoteFile| file.note.as_ref().is_none_or(|note| note.boot == boot);
        let interfaces = files.iter().filter(is_of_this_boot);
        let interfaces = interfaces.filter_map(|file| Some((file.index()?, file.note.as_ref())));
        let is_kept = |index: u32| kept.iter().any(|note| note.index == index);
        let left = Belongings::of(interfaces.filter(|(index, _)| !is_kept(*index)), cache, plan);
        let kept = Belongings::of(kept.iter().map(|note| (note.index, Some(note))), cache, plan);
        let is_left = |rule: &&Rule| left.has_rule(rule) && !kept.has_rule(rule);
        Self {
            rules: cache.our_rules().filter(is_left).map(RuleSpec::from).collect(),
            routes: cache.our_routes().filter(|route| left.has_route(route)).map(RouteSpec::from).collect(),
            addresses: addresses(cache, |address| left.has_address(address)),
            ..Self::untagged(files, cache, boot, managers)
        }
    }

    /// What only notes tell of.
    fn untagged(notes: Vec<NoteFile>, cache: &Cache, boot: &str, managers: &ForeignManagers) -> Self {
        let true_notes = || notes.iter().filter_map(|file| file.note.as_ref()).filter(|note| note.is_true(cache, boot));
        let is_up = |index| cache.link(index).is_some_and(|link| link.administratively_up);
        Self {
            up: true_notes()
                .filter(|note| !note.administratively_up && is_up(note.index))
                .map(|note| (note.index, name(cache, note.index)))
                // One that somebody else has taken since is up for them now.
                .filter(|(_, name)| managers.claim(name).is_none())
                // Who was killed while he wrote a note has left two of the interface.
                .collect::<BTreeMap<_, _>>()
                .into_iter()
                .collect(),
            settings: true_notes()
                .filter(|note| !note.settings.is_empty())
                .map(|note| (name(cache, note.index), note.settings.clone()))
                .collect(),
            mtus: true_notes()
                .filter_map(|note| Some((note, note.mtu?)))
                .filter(|(note, mtu)| cache.link(note.index).is_some_and(|link| link.mtu == mtu.new))
                .map(|(note, mtu)| (note.index, (name(cache, note.index), mtu.old)))
                .collect::<BTreeMap<_, _>>()
                .into_iter()
                .map(|(index, (name, mtu))| (index, name, mtu))
                .collect(),
            notes,
            ..Self::default()
        }
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

fn addresses(cache: &Cache, is_left: impl Fn(&Address) -> bool) -> Vec<(AddressKey, String)> {
    let left = cache.our_addresses().filter(|address| is_left(address));
    left.map(|address| (address.key(), name(cache, address.index))).collect()
}

fn name(cache: &Cache, index: u32) -> String {
    cache.link(index).map_or_else(|| format!("interface {index}"), |link| link.name.clone())
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
