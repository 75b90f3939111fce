//! What a process that was killed had up, kept until the core says what becomes of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netbearer_kernel::{Cache, Link};
use netbearer_types::{Identifier, SteeringPlan};

use super::NativeEngine;
use crate::{
    belongings::{Belongings, Found},
    beside::Beside,
    classification::{Classification, classify},
    device::Device,
    leftovers::{Inheritance, Leftovers},
    notes::Note,
    ownership::Claim,
    reporting::Names,
    steering::Steering,
    worker::Context,
};

/// An interface as a process left it that was killed.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) note: Note,
    /// Its table and its mark; none if they cannot be had any more.
    pub(crate) steering: Option<Steering>,
    pub(crate) claim: Claim,
}

impl Inherited {
    pub(super) fn find(&self, cache: &Cache, plan: &SteeringPlan) -> Found {
        belongings(&self.note, cache, plan).find(cache)
    }

    /// What the core knew them to be.
    pub(super) fn names(&self) -> Names {
        let reached = self.note.reached.as_deref();
        reached.map(|reached| Names::new(&reached.profile, reached.lease.as_ref())).unwrap_or_default()
    }
}

fn belongings<'a>(note: &Note, cache: &Cache, plan: &'a SteeringPlan) -> Belongings<'a> {
    Belongings::of([(note.index, Some(note))], cache, plan)
}

/// Chooses what is gone on with by its notes: what is `resumed`, and with it all that stands beside links of others.
pub(super) fn choice(cache: &Cache, resumed: &BTreeSet<Identifier>) -> impl Fn(&Cache, &Note) -> bool + use<> {
    let mut known = BTreeSet::new();
    let mut chosen = BTreeSet::new();
    let is_begun_anew = resumed.is_empty();
    for link in cache.links().values().filter(|_| !is_begun_anew) {
        if matches!(classify(link, Device::of(link).kind.as_deref()), Classification::Not(_)) {
            continue;
        }
        let identifier = name(link, |identifier| known.contains(identifier));
        if resumed.contains(&identifier) {
            chosen.insert(link.index);
        }
        known.insert(identifier);
    }
    move |_, note| chosen.contains(&note.index) || note.beside && !is_begun_anew
}

/// By the address the hardware came with, which survives reboots and renaming; by the interface name where the hardware has
/// none, or another interface has the same.
pub(super) fn name(link: &Link, is_taken: impl Fn(&Identifier) -> bool) -> Identifier {
    let by_name = Identifier::new(format!("native-{}", link.name));
    if link.permanent_hardware_address.is_empty() {
        return by_name;
    }
    let digits = link.permanent_hardware_address.to_string().replace(':', "");
    let by_hardware = Identifier::new(format!("native-{digits}"));
    if is_taken(&by_hardware) { by_name } else { by_hardware }
}

/// By the interfaces' indexes. Nobody else has the numbers from here on.
pub(super) fn take_over(
    inheritance: Option<Inheritance>,
    context: &Context,
    cache: &Cache,
    plan: &SteeringPlan,
) -> BTreeMap<u32, Inherited> {
    let Some(Inheritance { claim, notes }) = inheritance else { return BTreeMap::new() };
    let take_over = |note: Note| {
        let belongings = belongings(&note, cache, plan);
        let table = note.table.or_else(|| belongings.table());
        let steering = table.and_then(|table| context.numbers.reserve_table(table));
        // Of several interfaces with the same address the one whose traffic it steers had it first.
        let steered: BTreeSet<IpAddr> =
            belongings.find(cache).rules.iter().filter_map(|rule| Some(rule.source?.0)).collect();
        let addresses = cache.addresses_of(note.index).filter(|address| steered.contains(&address.address));
        context.addresses.note(note.index, addresses.map(|address| (address.address, address.is_ours())));
        let claim = context.ownership.claim().ok()?;
        Some((note.index, Inherited { note, steering, claim }))
    };
    let inherited = notes.into_iter().filter_map(take_over).collect();
    // It lives on in each of them.
    drop(claim);
    inherited
}

impl NativeEngine {
    /// What nobody goes on with is cleared.
    pub(super) fn clear_inherited(&self, inherited: Inherited) {
        let Context { notes, boot, requests, .. } = &*self.context;
        let kept = self.kept();
        let files = vec![notes.file(inherited.note.clone())];
        let leftovers = Leftovers::of(files, &kept, self.watcher.cache(), boot, (&self.managers, &self.plan));
        leftovers.clear_at_once(requests, notes);
    }

    /// What of it still waits.
    pub(super) fn kept(&self) -> Vec<Note> {
        self.access_points.values().filter_map(|entry| Some(entry.inherited.as_ref()?.note.clone())).collect()
    }

    /// The interface is gone, or is no access point any more.
    pub(super) fn give_up_inherited(&mut self, identifier: &Identifier) {
        self.take_inherited(identifier, |_| true).into_iter().for_each(|inherited| self.clear_inherited(inherited));
    }

    /// The same of what stands beside a link of others.
    pub(super) fn give_up_inherited_beside(&mut self, identifier: &Identifier) {
        let beside = self.take_inherited(identifier, |note| note.beside);
        beside.into_iter().for_each(|inherited| self.clear_inherited(inherited));
    }

    fn take_inherited(&mut self, identifier: &Identifier, is_meant: fn(&Note) -> bool) -> Option<Inherited> {
        let entry = self.access_points.get_mut(identifier)?;
        entry.inherited.take_if(|inherited| is_meant(&inherited.note))
    }

    /// Goes on with what stands beside the links that are steered, and clears what stands beside others.
    pub(super) fn inherit_beside(&mut self) {
        let identifiers: Vec<Identifier> = self.access_points.keys().cloned().collect();
        for identifier in identifiers {
            let Some(inherited) = self.take_inherited(&identifier, |note| note.beside) else { continue };
            if !self.steered.contains_key(&identifier) || inherited.steering.is_none() {
                self.clear_inherited(inherited);
                continue;
            }
            let found = inherited.find(self.watcher.cache(), &self.plan);
            let Inherited { note, steering, claim } = inherited;
            if let (Some(entry), Some(steering)) = (self.access_points.get_mut(&identifier), steering) {
                entry.beside = Some(Beside::inherited(note.index, steering, claim, found));
            }
        }
    }

    pub(super) fn forget_inherited(&mut self) {
        let identifiers: Vec<Identifier> = self.access_points.keys().cloned().collect();
        for identifier in identifiers {
            let Some(inherited) = self.take_inherited(&identifier, |_| true) else { continue };
            tracing::info!(%identifier, "nobody goes on with what a killed process had up here");
            self.clear_inherited(inherited);
            if let Some(entry) = self.access_points.get_mut(&identifier) {
                entry.names = Names::default();
            }
            self.report(&identifier, super::Extent::Everything);
            self.drop_if_idle(&identifier);
        }
    }
}
