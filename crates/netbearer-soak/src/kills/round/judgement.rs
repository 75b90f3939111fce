use std::{collections::BTreeSet, fs, io, path::Path};

use netbearer::{SessionListing, SessionState, blocking::Manager};
use netbearer_holder::Told;

use super::{PlaceInUse, Round};
use crate::{
    error::SoakError,
    kills::{
        ends::Ends,
        kernel::Kernel,
        ledger::Fate,
        member::Member,
        plan::{Aim, Place},
    },
    truth::Truth,
};

/// What can be wrong once all has settled.
impl Round<'_> {
    /// The first thing that is not as it must be. The daemon is asked last, by a client that is kept from then on.
    pub(super) fn disagreement(&self, witness: &mut Option<Manager>) -> Result<Option<String>, SoakError> {
        if let Some(wrong) = self.wrong_session() {
            return Ok(Some(wrong));
        }
        let files = files(&self.site.holds())?;
        let ends = Ends::read(&self.site.holds())?;
        if let Some(wrong) = self.wrong_end(&files, &ends) {
            return Ok(Some(wrong));
        }
        let kernel = Kernel::read(self.stage.lab.machine())?;
        if let Some(wrong) = self.wrong_link(&files, &kernel).or_else(|| self.wrong_word(&kernel)) {
            return Ok(Some(wrong));
        }
        let manager = match witness {
            Some(manager) => manager,
            None => witness.insert(self.site.manager()?),
        };
        let listed = manager.wait_for(async |manager| manager.sessions().await)?;
        Ok(self.wrong_count(&files, &listed))
    }

    /// A session that tells something else than the model has it.
    fn wrong_session(&self) -> Option<String> {
        for member in self.members.values() {
            for (number, session) in member.sessions.iter().enumerate().filter(|(_, session)| session.is_there) {
                let whose = || format!("{}, session {number} on {}", member.name, session.seat.aim.name());
                let Some(told) = member.told(number) else { return Some(format!("{} has told nothing", whose())) };
                let fate = session.hold.map_or(Fate::DoesNot, |hold| self.ledger.fate(hold));
                if told.is_opening || !fate.allows(told.is_open) {
                    return Some(format!("{} must be so: {fate:?}, but tells {told:?}", whose()));
                }
                if told.is_open && told.state != SessionState::Connected {
                    return Some(format!("{} is open in vain: {told:?}", whose()));
                }
            }
        }
        None
    }

    /// A FIFO that nobody holds, or that somebody holds in vain.
    fn wrong_end(&self, files: &BTreeSet<String>, ends: &Ends) -> Option<String> {
        if let Some(wrong) = ends.wrong(files, self.site.daemon()) {
            return Some(wrong);
        }
        for ((member, number), descriptor) in &self.descriptors {
            let fate = match (self.has_copies((*member, *number)), descriptor.is_over) {
                (false, _) | (true, true) => Fate::DoesNot,
                (true, false) => self.ledger.fate(descriptor.hold),
            };
            let holds = files.contains(&descriptor.file);
            if !fate.allows(holds) {
                let whose = format!("descriptor {number} of holder {member}, {descriptor:?}");
                return Some(format!("{whose} must be so: {fate:?}, but its FIFO is there: {holds}"));
            }
        }
        for pass in &self.passes {
            let known = self.descriptors.get(&pass.descriptor).map(|descriptor| &descriptor.file);
            if pass.file.as_ref().is_some_and(|file| !file.contains(' ') && Some(file) != known) {
                return Some(format!("what was passed on is another one than {known:?}: {pass:?}"));
            }
        }
        let of_descriptors: BTreeSet<&str> = self.descriptors.values().map(|one| one.file.as_str()).collect();
        for member in self.members.values() {
            let written = ends.written_by(member.process());
            let own = written.difference(&of_descriptors).count();
            let open = open_sessions(member).count();
            if own != open {
                let whose = &member.name;
                return Some(format!("{whose} has {open} open sessions, and {own} FIFOs for them: {written:?}"));
            }
        }
        None
    }

    fn has_copies(&self, descriptor: (usize, usize)) -> bool {
        let is_kept = self.descriptors.get(&descriptor).is_some_and(|one| one.is_kept);
        is_kept || self.passes.iter().any(|pass| pass.descriptor == descriptor && pass.heir.is_some())
    }

    /// An access point that is up without being held, or held without being up.
    fn wrong_link(&self, files: &BTreeSet<String>, kernel: &Kernel) -> Option<String> {
        wrong_link(&self.places, kernel, |place| self.held_by(place, files) > 0, false)
    }

    /// A session that tells something else than `ip` does.
    fn wrong_word(&self, kernel: &Kernel) -> Option<String> {
        let truths: Vec<(&str, Truth)> =
            self.places.iter().map(|place| (place.name.as_str(), kernel.truth(&place.name))).collect();
        for member in self.members.values() {
            for (number, session) in member.sessions.iter().enumerate().filter(|(_, session)| session.is_there) {
                let Some(told) = member.told(number) else { continue };
                let meant =
                    truths.iter().enumerate().filter(|(place, _)| session.seat.aim.may_meet(Aim::Place(*place)));
                let meant: Vec<&(&str, Truth)> = meant.map(|(_, truth)| truth).collect();
                if !is_true(&told, &meant) {
                    let (whose, aim) = (&member.name, session.seat.aim.name());
                    return Some(format!("{whose}, session {number} on {aim} tells {told:?}, but ip says {meant:?}"));
                }
            }
        }
        None
    }

    /// How many holds there are on an access point, as living processes have them.
    fn held_by(&self, place: Place, files: &BTreeSet<String>) -> usize {
        let sessions = self.members.values().map(|member| self.open_on(member, place));
        let descriptors = self.descriptors.values();
        let descriptors = descriptors.filter(|one| one.hold.aim == Aim::Place(place) && files.contains(&one.file));
        sessions.sum::<usize>() + descriptors.count()
    }

    /// How many sessions a member has open on an access point.
    fn open_on(&self, member: &Member, place: Place) -> usize {
        let name = self.places.get(place).map(|place| place.name.as_str());
        let is_there = |(aim, told): &(Aim, Told)| match aim {
            Aim::Place(one) => *one == place,
            Aim::Network => told.interface.as_ref().is_some_and(|interface| Some(interface.name.as_str()) == name),
        };
        open_sessions(member).filter(is_there).count()
    }

    /// What the daemon counts that nobody has, or does not count that somebody has.
    fn wrong_count(&self, files: &BTreeSet<String>, listed: &[SessionListing]) -> Option<String> {
        let count = |listed: &[&SessionListing]| listed.iter().map(|one| one.descriptors as usize).sum::<usize>();
        for (number, place) in self.places.iter().enumerate() {
            let name = &place.name;
            let is_here =
                |one: &&SessionListing| one.active.as_ref().is_some_and(|active| active.as_str().ends_with(name));
            let here: Vec<&SessionListing> = listed.iter().filter(is_here).collect();
            let (counted, held) = (count(&here), self.held_by(number, files));
            if counted != held {
                return Some(format!("the daemon counts {counted} holds on {name}, and there are {held}: {here:?}"));
            }
            for member in self.members.values() {
                let is_its = |one: &&&SessionListing| {
                    let process = one.program.as_ref().and_then(|program| program.process);
                    one.owned && one.is_open && process == Some(member.process())
                };
                let (counted, open) = (here.iter().filter(is_its).count(), self.open_on(member, number));
                if counted != open {
                    let whose = &member.name;
                    return Some(format!(
                        "{whose} has {open} open sessions on {name}, and the daemon knows {counted}: {here:?}"
                    ));
                }
            }
        }
        let counted = count(&listed.iter().collect::<Vec<_>>());
        (counted != files.len()).then(|| format!("the daemon counts {counted} holds, and there are {}", files.len()))
    }
}

/// An access point that is up without being held, or held without being up. Those that are sensed are kept up without addresses.
pub(crate) fn wrong_link(
    places: &[PlaceInUse],
    kernel: &Kernel,
    is_held: impl Fn(Place) -> bool,
    are_sensed: bool,
) -> Option<String> {
    let is_active = |place: &PlaceInUse| kernel.truth(&place.name).state == SessionState::Connected;
    let has_several_ways = places.iter().filter(|place| is_active(place)).count() > 1;
    let mut tables = BTreeSet::new();
    for (number, place) in places.iter().enumerate() {
        let (name, is_held) = (&place.name, is_held(number));
        let (truth, ours) = (kernel.truth(name), kernel.ours(name));
        tables.extend(ours.tables.iter().cloned());
        let is_right = match &place.adopted {
            Some(others) => {
                let now = kernel.of_others(name);
                if now != *others {
                    return Some(format!("{name} is others', who had there {others:?}, and now {now:?}"));
                }
                let is_beside = is_held && has_several_ways;
                if is_beside { ours.is_whole() } else { ours.is_nothing() }
            }
            None if is_held => truth.state == SessionState::Connected && (place.was_adopted || ours.is_whole()),
            None => {
                let is_waited_for = are_sensed && truth.state == SessionState::NotAvailable;
                let is_bare = truth.state == SessionState::Disconnected || is_waited_for;
                let is_down = is_bare && truth.addresses.is_empty();
                (is_down || place.was_adopted) && ours.is_nothing()
            }
        };
        if !is_right {
            let held = if is_held { "held" } else { "not held" };
            return Some(format!("{name} is {held}, and ip says {truth:?}, ours of it {ours:?}"));
        }
    }
    let strays = kernel.strays(&tables);
    (!strays.is_empty()).then(|| format!("rules or routes of ours for nothing: {strays:?}"))
}

/// Whether a session tells what is so of one of the access points it may be about, and of the best of them.
pub(crate) fn is_true(told: &Told, truths: &[&(&str, Truth)]) -> bool {
    let is_connected = |(_, truth): &&&(&str, Truth)| truth.state == SessionState::Connected;
    if truths.iter().any(|truth| is_connected(&truth)) {
        let is_told = |(name, truth): &&(&str, Truth)| truth.is_told_by(told.interface.as_ref(), name);
        return told.state == SessionState::Connected && truths.iter().filter(is_connected).any(is_told);
    }
    // A link that had no carrier when it was tried, and was set down again, may be told to be not available.
    told.interface.is_none() && matches!(told.state, SessionState::Disconnected | SessionState::NotAvailable)
}

pub(crate) fn open_sessions(member: &Member) -> impl Iterator<Item = (Aim, Told)> {
    let there = member.sessions.iter().enumerate().filter(|(_, session)| session.is_there);
    let told = there.filter_map(|(number, session)| Some((session.seat.aim, member.told(number)?)));
    told.filter(|(_, told)| told.is_open)
}

pub(crate) fn files(directory: &Path) -> io::Result<BTreeSet<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
