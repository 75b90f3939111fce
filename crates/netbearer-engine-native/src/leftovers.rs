//! What a process that was killed left behind, found by its tag in the kernel and by its notes.

use futures_util::future::join_all;
use netbearer_kernel::{AddressKey, Cache, RequestError, Requests, RouteSpec, RuleSpec, WatchError, Watcher};
use serde::Serialize;

use crate::{
    engine::{NativeSettings, Place, StartError},
    notes::{Note, Notes},
    ownership::OwnershipError,
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
    /// What the kernel refused to remove.
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
    let watcher = Watcher::open(clock).await.map_err(StartError::Watch)?;
    let requests = Requests::open().map_err(StartError::Socket)?;
    Ok(clear(watcher.cache(), &place.notes, &place.boot, &requests).await)
}

/// Clears leftovers before the first enumeration, if there are any and nobody else uses the namespace.
pub(crate) async fn clear_at_start(
    watcher: &mut Watcher,
    place: &Place,
    requests: &Requests,
) -> Result<(), WatchError> {
    let nothing = leftovers(watcher.cache()).is_nothing() && place.notes.all().is_empty();
    if nothing {
        return Ok(());
    }
    // Somebody who is alive keeps the ledger: then they are no leftovers.
    let Ok(_claim) = place.ownership.claim() else { return Ok(()) };
    let cleared = clear(watcher.cache(), &place.notes, &place.boot, requests).await;
    if !cleared.is_nothing() {
        tracing::warn!(?cleared, "cleared what a killed process had left");
    }
    watcher.resync().await.map(|_| ())
}

/// Everything that carries our tag.
struct Leftovers {
    rules: Vec<RuleSpec>,
    routes: Vec<RouteSpec>,
    addresses: Vec<AddressKey>,
}

impl Leftovers {
    fn is_nothing(&self) -> bool {
        self.rules.is_empty() && self.routes.is_empty() && self.addresses.is_empty()
    }
}

fn leftovers(cache: &Cache) -> Leftovers {
    Leftovers {
        rules: cache.our_rules().map(RuleSpec::from).collect(),
        routes: cache.our_routes().map(RouteSpec::from).collect(),
        addresses: cache.our_addresses().map(netbearer_kernel::Address::key).collect(),
    }
}

async fn clear(cache: &Cache, notes: &Notes, boot: &str, requests: &Requests) -> Cleared {
    let Leftovers { rules, routes, addresses } = leftovers(cache);
    let mut cleared = Cleared::default();
    let mut refused: Vec<RequestError> = Vec::new();
    let removed_rules = join_all(rules.iter().map(|rule| requests.delete_rule(rule))).await;
    cleared.rules = count(removed_rules, &mut refused);
    let removed_routes = join_all(routes.iter().map(|route| requests.delete_route(route))).await;
    cleared.routes = count(removed_routes, &mut refused);
    for key in addresses {
        let interface = cache.link(key.index).map_or_else(|| key.index.to_string(), |link| link.name.clone());
        if count(vec![requests.delete_address(key).await], &mut refused) == 1 {
            cleared.addresses.push(format!("{}/{} on {interface}", key.address, key.prefix_length));
        }
    }
    for note in notes.all() {
        if is_about(&note, cache, boot) && !note.administratively_up {
            match requests.set_link_up(note.index, false).await {
                Ok(()) => cleared.interfaces_set_down.push(note.name.clone()),
                Err(error) => refused.push(error),
            }
        }
        notes.remove(note.index);
    }
    cleared.refused = refused.iter().map(ToString::to_string).collect();
    cleared
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
        && cache
            .link(note.index)
            .is_some_and(|link| link.administratively_up && link.hardware_address.to_string() == note.hardware_address)
}
