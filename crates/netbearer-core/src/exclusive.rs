use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use netbearer_types::{
    AccessPointCommand, AccessPointReport, CommandNumber, Failure, FailureReason, Families, Identifier, Level, Moment,
    SessionError, Stage, StateFlags, SteeringLevel, Target,
};

use crate::{
    Action, Core, Input, Refusal, SessionId, Verdict,
    access_point::{AccessPoint, link_has_carrier},
    choosing::has_no_addresses,
    core::invalid_configuration,
    losing::Downfall,
    opening::not_available,
    phase::Phase,
    session::Interest,
    timer::Timer,
};

/// A device with exclusive access points. Its engine knows the device only, and is told of it only; which of its access points
/// that is about is decided here.
#[derive(Debug)]
pub(crate) struct Device {
    /// What its engine says of it.
    report: AccessPointReport,
    access_points: BTreeSet<Identifier>,
    /// The one that has the device: what its engine says is told of this one, and the others are as they could be without it.
    /// It is kept until the device is idle, and another one is opened. None for a moment, and while something is vacated.
    occupant: Option<Identifier>,
    /// What a removed access point has left is still being cleared away.
    vacated: Option<Vacating>,
    /// False as long as that is what its engine said before the service was started anew.
    heard: bool,
}

impl Device {
    /// As it was before the service was started anew.
    pub(crate) const fn restored(
        report: AccessPointReport,
        access_points: BTreeSet<Identifier>,
        occupant: Option<Identifier>,
    ) -> Self {
        Self { report, access_points, occupant, vacated: None, heard: false }
    }

    /// It is not there any more.
    pub(crate) fn miss(&mut self) {
        self.report.level = Level::Absent;
    }
}

/// A removed access point's last command.
#[derive(Debug)]
struct Vacating {
    number: CommandNumber,
    found_up: bool,
}

/// Access points that share a device and cannot be up together (§3, "Exclusive"). Of those of one device at most one is held;
/// who opens another one is refused, unless the former is held by nobody any more and ours to take down.
impl Core {
    /// The device of an access point, if others may have it as well.
    fn shared(&self, identifier: &Identifier) -> Option<&Device> {
        if self.devices.is_empty() {
            return None;
        }
        self.devices.get(&self.access_points.get(identifier)?.device)
    }

    /// The other access points of the same device.
    #[must_use]
    pub fn exclusive_with(&self, identifier: &Identifier) -> Vec<Identifier> {
        let all = self.shared(identifier).map(|device| &device.access_points);
        all.into_iter().flatten().filter(|other| *other != identifier).cloned().collect()
    }

    /// The access points of a device with exclusive ones, and which of them has it; none of a device that is one itself.
    #[must_use]
    pub fn sharing(&self, device: &Identifier) -> Option<(&BTreeSet<Identifier>, Option<&Identifier>)> {
        self.devices.get(device).map(|device| (&device.access_points, device.occupant.as_ref()))
    }

    /// What an engine's word about a device is about.
    pub(crate) fn access_points_of(&self, device: &Identifier) -> Vec<Identifier> {
        let shared = self.devices.get(device).map(|device| device.access_points.iter().cloned().collect());
        shared.unwrap_or_else(|| vec![device.clone()])
    }

    /// Nothing is left to be cleared away of access points that were removed.
    pub(crate) fn are_devices_vacated(&self) -> bool {
        self.devices.values().all(|device| device.vacated.is_none())
    }

    /// False for one whose device is another's now.
    pub(crate) fn has_its_device(&self, identifier: &Identifier) -> bool {
        self.shared(identifier).is_none_or(|device| device.occupant.as_ref() == Some(identifier))
    }

    // Opening.

    /// Why an access point cannot be opened: another one of its device is held, or up without us.
    pub(crate) fn busy(&self, identifier: &Identifier) -> Option<Failure> {
        let device = self.shared(identifier)?;
        let access_points = device.access_points.iter().filter(|other| *other != identifier);
        let mut others = access_points.filter_map(|other| self.access_points.get(other));
        let is_used = |other: &&AccessPoint| {
            let lingers = other.is_adopted_on_demand() && other.timers.is_armed(Timer::Linger);
            self.ledger.count(other.identifier()) > 0 || other.is_adopted() && !lingers
        };
        let user = others.find(is_used)?;
        Some(busy(self.access_points.get(identifier)?, user, self.ledger.count(user.identifier())))
    }

    /// Opens a session on an access point of a device that it does not have for itself; none if nothing of that matters now.
    pub(crate) fn open_beside_others(
        &mut self,
        id: SessionId,
        identifier: &Identifier,
        now: Moment,
    ) -> Option<Result<(), Refusal>> {
        self.shared(identifier)?;
        if let Some(failure) = self.busy(identifier) {
            self.tell_failure(id, failure.clone(), now);
            return Some(Err(Refusal::Busy(failure)));
        }
        if !self.is_in_the_way_of(identifier) {
            self.occupy(identifier);
            return None;
        }
        let access_point = self.access_points.get(identifier)?;
        let is_discovered = access_point.flags() == StateFlags::Discovered;
        if access_point.phase == Phase::AwaitingDevice {
            self.hold(id, identifier, Interest::Opening, now);
        } else if let Some(failure) = access_point.report.cannot_start_and_stop.clone().filter(|_| is_discovered) {
            self.tell_failure(id, failure.clone(), now);
            return Some(Err(Refusal::NotSupported(failure)));
        } else if is_discovered || self.reconnects(id) {
            self.hold(id, identifier, Interest::Opening, now);
            self.enter_phase(identifier, Phase::AwaitingDevice, Verdict::AwaitDevice, now, Vec::new());
            self.have_others_give_way(identifier, now);
        } else {
            let failure = not_available(access_point.name());
            self.tell_failure(id, failure, now);
        }
        Some(Ok(()))
    }

    /// The same for those who hold it beside another one. True if its device has to become free first.
    pub(crate) fn share_device(&mut self, identifier: &Identifier, now: Moment) -> Result<bool, Failure> {
        if self.shared(identifier).is_none() {
            return Ok(false);
        }
        if let Some(failure) = self.busy(identifier) {
            return Err(failure);
        }
        if !self.is_in_the_way_of(identifier) {
            self.occupy(identifier);
            return Ok(false);
        }
        let Some(access_point) = self.access_points.get(identifier) else { return Ok(false) };
        if access_point.phase == Phase::AwaitingDevice {
            return Ok(true);
        }
        match access_point.report.cannot_start_and_stop.clone() {
            _ if access_point.flags() != StateFlags::Discovered => Err(not_available(access_point.name())),
            Some(failure) => Err(failure),
            None => {
                self.enter_phase(identifier, Phase::AwaitingDevice, Verdict::AwaitDevice, now, Vec::new());
                self.have_others_give_way(identifier, now);
                Ok(true)
            }
        }
    }

    /// True if something of ours is on the device for another access point, or for one that was removed.
    fn is_in_the_way_of(&self, identifier: &Identifier) -> bool {
        let Some(device) = self.shared(identifier) else { return false };
        let occupant = device.occupant.as_ref().filter(|occupant| *occupant != identifier);
        let occupant = occupant.and_then(|occupant| self.access_points.get(occupant));
        device.vacated.is_some() || occupant.is_some_and(|found| found.commanded.is_some() || found.is_adopted())
    }

    /// What nobody holds goes down at once.
    fn have_others_give_way(&mut self, identifier: &Identifier, now: Moment) {
        let Some(occupant) = self.shared(identifier).and_then(|device| device.occupant.clone()) else { return };
        let cause = "another access point of its device is opened";
        match self.access_points.get(&occupant).map(|found| found.phase) {
            Some(Phase::Lingering | Phase::Observed) => self.end_linger(&occupant, cause, now),
            Some(Phase::Sensing) => self.retreat(&occupant, now, vec![Input::new("cause", cause)]),
            _ => {}
        }
    }

    /// Everything of ours is off a device that `former` has had: it is the turn of the one that waits for it, if any.
    pub(crate) fn pass_device_on(&mut self, former: &Identifier, now: Moment) {
        let next = self.shared(former).and_then(|device| self.waiting_for(device));
        let is_free = self.access_points.get(former).is_none_or(|found| found.observed_flags() != StateFlags::Active);
        if let Some(next) = next.as_ref().filter(|_| is_free) {
            self.occupy(next);
        }
        self.serve_holders(former, now);
        if let Some(next) = next {
            self.serve_next(&next, now);
        }
    }

    /// The one that waited for its device gets it, unless others keep it up now.
    fn serve_next(&mut self, next: &Identifier, now: Moment) {
        match self.busy(next) {
            Some(failure) => self.deny(next, &failure, now),
            None => {
                self.occupy(next);
                self.serve_holders(next, now);
            }
        }
    }

    /// What was in the way may be gone together with the process that was to take it down.
    pub(crate) fn serve_if_vacated(&mut self, identifier: &Identifier, now: Moment) {
        if !self.is_in_the_way_of(identifier) {
            self.serve_next(identifier, now);
        }
    }

    /// Those who hold an access point may leave it together now for another one of its device; the first of them is looked at
    /// on behalf of all.
    pub(crate) fn touch_first_holder_of_shared(&mut self, identifier: &Identifier) {
        let first = self.shared(identifier).and_then(|_| self.ledger.iter(identifier).next());
        if let Some(first) = first {
            self.touch(first);
        }
    }

    fn waiting_for(&self, device: &Device) -> Option<Identifier> {
        let is_waiting = |identifier: &&Identifier| {
            self.access_points.get(*identifier).is_some_and(|found| found.phase == Phase::AwaitingDevice)
        };
        device.access_points.iter().find(is_waiting).cloned()
    }

    /// Those who wait for the device of an access point cannot have it; with `Reconnect` neither (§3: a denial ends the wait).
    pub(crate) fn deny(&mut self, identifier: &Identifier, failure: &Failure, now: Moment) {
        self.back_off(identifier, now);
        let losing = self.evict_guests(identifier);
        let moving = self.move_on(identifier, failure, now);
        let denied = self.ledger.holders(identifier);
        for id in &denied {
            self.release(*id, identifier, now);
        }
        self.observe(identifier, now);
        for id in denied {
            self.tell_failure(id, failure.clone(), now);
        }
        self.lose_candidates(losing, identifier, failure, Downfall::Start, now);
        self.try_next(moving, now);
    }

    /// It may be sensed for a service network: nobody uses its device, others included, nor is another one of it sensed.
    pub(crate) fn may_be_sensed(&self, identifier: &Identifier) -> bool {
        let Some(device) = self.shared(identifier) else { return true };
        let is_idle = |other: &Identifier| {
            self.ledger.count(other) == 0
                && self.access_points.get(other).is_some_and(|found| found.phase == Phase::Observed)
        };
        let has_no_addresses = matches!(&device.report.level, Level::Present(link) if has_no_addresses(link));
        has_no_addresses && device.vacated.is_none() && device.access_points.iter().all(is_idle)
    }

    /// A device that had no carrier had none for any of its access points.
    pub(crate) fn refute_carrier(&mut self, identifier: &Identifier) {
        for other in self.exclusive_with(identifier) {
            if let Some(access_point) = self.access_points.get_mut(&other) {
                access_point.carrier_refuted = true;
            }
            self.tell_states(&other);
        }
    }

    /// Service networks may get on with the other access points of a device that is free now.
    pub(crate) fn tell_composites_of_others(&mut self, identifier: &Identifier) {
        if self.composites.is_empty() {
            return;
        }
        for other in self.exclusive_with(identifier) {
            self.tell_composites(&other);
        }
    }

    // What is seen.

    /// A device has come: true if it has exclusive access points, and is known from now on.
    pub(crate) fn begin_sharing(&mut self, report: &AccessPointReport) -> bool {
        if !self.has_exclusive(report) {
            return false;
        }
        let device = Device {
            report: report.clone(),
            access_points: BTreeSet::new(),
            occupant: None,
            vacated: None,
            heard: true,
        };
        self.devices.insert(report.identifier.clone(), device);
        true
    }

    /// An engine tells its newest truth about a device with exclusive access points.
    pub(crate) fn share(&mut self, mut report: AccessPointReport, now: Moment) {
        let identifier = report.identifier.clone();
        let Some(device) = self.devices.get_mut(&identifier) else { return };
        let has_come =
            device.access_points.is_empty() || device.report.level == Level::Absent && report.level != Level::Absent;
        let is_renamed = device.report.name != report.name || device.report.hardware != report.hardware;
        let has_carrier = matches!(&report.level, Level::Present(link) if link_has_carrier(link));
        if report.progress.is_none() {
            report.progress = device.report.progress.take();
        }
        let last = device.vacated.as_ref().map(|vacating| vacating.number);
        let is_vacated = report.progress.as_ref().is_some_and(|progress| {
            Some(progress.number) == last && matches!(progress.stage, Stage::Reached | Stage::Failed(..))
        });
        device.report = report;
        let is_first = !std::mem::replace(&mut device.heard, true);
        if is_vacated {
            device.vacated = None;
        }
        if has_come {
            self.add_missing(&identifier, now);
        }
        if has_carrier {
            for one in self.access_points_of(&identifier) {
                if let Some(access_point) = self.access_points.get_mut(&one) {
                    access_point.carrier_refuted = false;
                }
            }
        }
        if !is_first {
            self.show(&identifier, now);
        }
        let is_renamed = is_renamed || is_first;
        if let Some(report) = self.devices.get(&identifier).map(|device| device.report.clone()).filter(|_| is_renamed) {
            self.arrange(&identifier, report, now);
            self.drop_former_members(now);
        }
        if is_vacated {
            if let Some(next) = self.devices.get(&identifier).and_then(|device| self.waiting_for(device)) {
                self.serve_next(&next, now);
            }
            self.let_go_of_device(&identifier);
        }
    }

    /// Tells each access point of a device what it is now, the one that has it first.
    fn show(&mut self, device: &Identifier, now: Moment) {
        self.give_idle_device_back(device);
        let mut all = self.access_points_of(device);
        all.sort_by_key(|one| !self.has_its_device(one));
        for one in all {
            if let Some(seen) = self.seen_by(&one) {
                self.take_in(seen, now);
            }
        }
    }

    /// What nobody of ours uses, and nobody else, is shown as that access point which others would be seen to keep up: the one
    /// that is not exclusive, else the most preferred, the most specific, the first by its file's name.
    fn give_idle_device_back(&mut self, device: &Identifier) {
        let Some(found) = self.devices.get(device).filter(|found| found.vacated.is_none()) else { return };
        let is_used = |access_point: &AccessPoint| {
            access_point.phase != Phase::Observed
                || self.ledger.count(access_point.identifier()) > 0
                || access_point.observed_flags() == StateFlags::Active
        };
        let occupant = found.occupant.as_ref().and_then(|occupant| self.access_points.get(occupant));
        if occupant.is_some_and(is_used) {
            return;
        }
        let rank = |access_point: &&AccessPoint| {
            let file = access_point.file.as_deref();
            let specificity = file.map(|file| self.settings.profiles.specificity(file));
            (Reverse(file.is_none()), Reverse(access_point.profile.preference), Reverse(specificity))
        };
        let access_points = found.access_points.iter().filter_map(|one| self.access_points.get(one));
        if let Some(first) = access_points.min_by_key(rank).map(|first| first.identifier().clone()) {
            self.occupy(&first);
        }
    }

    /// The device is this access point's now. Nothing of another one's may be on it.
    pub(crate) fn occupy(&mut self, identifier: &Identifier) {
        let Some(device) = self.access_points.get(identifier).map(|found| found.device.clone()) else { return };
        let Some(found) = self.devices.get_mut(&device) else { return };
        if found.occupant.as_ref() == Some(identifier) {
            return;
        }
        for one in found.access_points.clone() {
            self.mark_access_point_unsaved(&one);
        }
        let Some(found) = self.devices.get_mut(&device) else { return };
        found.occupant = Some(identifier.clone());
        for one in self.access_points_of(&device) {
            self.look_again(&one);
        }
    }

    /// Something else of ours is on the device of an access point than before, so the others of it would find something else.
    pub(crate) fn show_others(&mut self, identifier: &Identifier) {
        for other in self.exclusive_with(identifier) {
            self.look_again(&other);
            self.tell_states(&other);
        }
    }

    fn look_again(&mut self, identifier: &Identifier) {
        if let Some(seen) = self.seen_by(identifier)
            && let Some(access_point) = self.access_points.get_mut(identifier)
        {
            access_point.report = seen;
        }
    }

    /// What the engine's word means for one access point of the device: everything for the one that has it. The others have
    /// nothing of it, and if that one has set the link up, it will be down for them.
    pub(crate) fn seen_by(&self, identifier: &Identifier) -> Option<AccessPointReport> {
        let device = self.shared(identifier)?;
        let mut seen = AccessPointReport { identifier: identifier.clone(), ..device.report.clone() };
        if device.occupant.as_ref() == Some(identifier) {
            return Some(seen);
        }
        let occupant = device.occupant.as_ref().and_then(|occupant| self.access_points.get(occupant));
        let was_set_up = occupant.is_some_and(|occupant| {
            let is_borrowed = matches!(occupant.commanded, Some(Target::Configured | Target::Released));
            is_borrowed && !occupant.found_up || occupant.commanded == Some(Target::Stopped)
        });
        let will_go_down = device.vacated.as_ref().is_some_and(|vacating| !vacating.found_up);
        seen.progress = None;
        (seen.steering.unsteered, seen.steering.deaf) = (None, None);
        if let Level::Present(link) = &mut seen.level {
            (link.routed, link.default_route) = (Families::empty(), Families::empty());
            link.administratively_up &= !was_set_up && !will_go_down;
            let interface = &mut link.interface;
            interface.addresses.clear();
            interface.gateways.clear();
            interface.name_servers.clear();
            interface.search_domains.clear();
        }
        Some(seen)
    }

    // What there is.

    fn has_exclusive(&self, report: &AccessPointReport) -> bool {
        self.settings.profiles.exclusive_of(&report.name, &report.hardware).next().is_some()
    }

    /// Adds those that a device should have, and has not.
    fn add_missing(&mut self, device: &Identifier, now: Moment) {
        let Some(found) = self.devices.get(device).filter(|found| found.report.level != Level::Absent) else { return };
        // What bears on its routes and rules is news for each of them.
        let report = AccessPointReport { steering: SteeringLevel::default(), ..found.report.clone() };
        let profiles = &self.settings.profiles;
        let exclusive = profiles.exclusive_of(&report.name, &report.hardware);
        let exclusive = exclusive.map(|(file, profile)| AccessPoint::exclusive(report.clone(), file, profile.clone()));
        let has_plain = profiles.has_plain(&report.name, &report.hardware);
        let plain = has_plain.then(|| AccessPoint::new(report.clone(), profiles.profile(&report).clone()));
        let all: Vec<AccessPoint> = exclusive.chain(plain).collect();
        for access_point in all {
            let identifier = access_point.identifier().clone();
            if self.access_points.contains_key(&identifier) {
                continue;
            }
            if let Some(found) = self.devices.get_mut(device) {
                found.access_points.insert(identifier.clone());
            }
            let presence = self.recall_presence(&identifier, now);
            self.access_points.insert(identifier.clone(), AccessPoint { presence, ..access_point });
            self.unsettled.extend(self.composites.keys().cloned());
            if let Some(seen) = self.seen_by(&identifier) {
                self.take_in(seen, now);
            }
        }
    }

    /// Profiles have changed: each device has the access points that they say now.
    pub(crate) fn arrange_devices(&mut self, now: Moment) {
        let mut reports: BTreeMap<Identifier, AccessPointReport> = BTreeMap::new();
        // Those that no engine has said anything of yet are arranged when one does.
        for access_point in self.access_points.values().filter(|access_point| access_point.past.is_none()) {
            let report = self.devices.get(&access_point.device).map(|device| &device.report);
            reports.insert(access_point.device.clone(), report.unwrap_or(&access_point.report).clone());
        }
        for (device, report) in reports {
            if self.devices.contains_key(&device) || self.has_exclusive(&report) {
                self.arrange(&device, report, now);
            }
        }
    }

    /// A device has got a name or a hardware address that exclusive profiles are for.
    pub(crate) fn arrange_renamed(&mut self, identifier: &Identifier, now: Moment) {
        let found = self.access_points.get(identifier).filter(|_| self.shared(identifier).is_none());
        let report = found.map(|found| &found.report).filter(|report| self.has_exclusive(report));
        if let Some(report) = report.cloned() {
            self.arrange(identifier, report, now);
        }
    }

    fn arrange(&mut self, device: &Identifier, report: AccessPointReport, now: Moment) {
        let has_plain = self.settings.profiles.has_plain(&report.name, &report.hardware);
        let exclusive = self.settings.profiles.exclusive_of(&report.name, &report.hardware);
        let files: BTreeSet<String> = exclusive.map(|(file, _)| file.to_owned()).collect();
        self.devices.entry(device.clone()).or_insert_with(|| Device {
            report: report.clone(),
            access_points: BTreeSet::from([device.clone()]),
            occupant: Some(device.clone()),
            vacated: None,
            heard: true,
        });
        self.add_missing(device, now);
        for one in self.access_points_of(device) {
            let file = self.access_points.get(&one).map(|found| &found.file);
            let is_wanted = file.is_some_and(|file| file.as_ref().map_or(has_plain, |file| files.contains(file)));
            if !is_wanted {
                self.withdraw(&one, now);
            }
        }
        if self.devices.contains_key(device) {
            self.show(device, now);
            self.let_go_of_device(device);
        } else if self.access_points.contains_key(device) {
            // Those who lost the others have gone on to the plain one already, so nothing is shared any more.
            self.take_in(report, now);
        }
    }

    /// An access point that no profile makes any more is removed; its link, if ours, goes down.
    fn withdraw(&mut self, identifier: &Identifier, now: Moment) {
        let Some(access_point) = self.access_points.get(identifier) else { return };
        let (device, profile, found_up) =
            (access_point.device.clone(), access_point.profile.clone(), access_point.found_up);
        let (commanded, is_counted) = (access_point.commanded, access_point.is_counted);
        let mut number = access_point.command;
        let is_on_its_way = access_point.past.is_none();
        let is_leaving =
            is_on_its_way && matches!(commanded, Some(Target::Released | Target::LeftUp | Target::Stopped));
        if commanded.is_some() && !is_leaving {
            self.last_command += 1;
            number = CommandNumber(self.last_command);
        }
        if let Some(found) = self.devices.get_mut(&device) {
            if found.occupant.as_ref() == Some(identifier) {
                found.occupant = None;
            }
            if commanded.is_some() {
                let found_up = found_up && commanded != Some(Target::Stopped);
                found.vacated = Some(Vacating { number, found_up });
            }
        }
        if is_counted {
            self.actions.push_back(Action::Count { identifier: device.clone(), counting: false });
        }
        let failure = invalid_configuration(identifier);
        self.remove_access_point(identifier, "no profile makes it any more", &failure, now);
        self.name();
        if commanded.is_some() && !is_leaving {
            let command = AccessPointCommand { identifier: device, number, target: Target::Released, profile };
            self.actions.push_back(Action::Command(command));
        }
    }

    /// An access point was removed, perhaps as the last one of its device.
    pub(crate) fn forget_device_of(&mut self, access_point: &AccessPoint) {
        let Some(device) = self.devices.get_mut(&access_point.device) else {
            self.actions.push_back(Action::Forget(access_point.device.clone()));
            return;
        };
        device.access_points.remove(access_point.identifier());
        if device.occupant.as_ref() == Some(access_point.identifier()) {
            device.occupant = None;
        }
        self.let_go_of_device(&access_point.device);
    }

    /// A device without access points is forgotten, and one that shall have no exclusive ones any more is nothing special.
    fn let_go_of_device(&mut self, identifier: &Identifier) {
        let Some(device) = self.devices.get(identifier).filter(|device| device.vacated.is_none()) else { return };
        let is_plain = device.access_points.len() == 1
            && device.access_points.contains(identifier)
            && device.occupant.as_ref() == Some(identifier)
            && !self.has_exclusive(&device.report);
        if device.access_points.is_empty() {
            self.devices.remove(identifier);
            self.actions.push_back(Action::Forget(identifier.clone()));
        } else if is_plain {
            self.devices.remove(identifier);
        }
    }

    /// A device is none any more, or its engine has failed; nothing can be done with it until all its access points are gone.
    pub(crate) fn close_device(&mut self, identifier: &Identifier) {
        if let Some(device) = self.devices.get_mut(identifier) {
            // No command will ever have this number.
            device.vacated = Some(Vacating { number: CommandNumber(u64::MAX), found_up: true });
        }
    }
}

fn busy(wanted: &AccessPoint, user: &AccessPoint, holds: usize) -> Failure {
    let (wanted, device, other) = (wanted.name(), &wanted.report.name, user.name());
    let (device, role) = match user.file {
        Some(_) => (device.clone(), format!(" as {other}")),
        None => (format!("{device} itself"), String::new()),
    };
    let (sessions, them) = match holds {
        1 => ("1 session".to_owned(), "it"),
        _ => (format!("{holds} sessions"), "them"),
    };
    let how = match (holds, user.phase) {
        (0, _) => format!("is up{role}, and others keep it up; have them take it down, or stop {other}"),
        (_, Phase::Waiting) => format!("is kept for {sessions} on {other} waiting for it; close {them}"),
        _ => format!("is used{role} by {sessions}; close {them}, or stop {other}"),
    };
    Failure {
        error: SessionError::InvalidConfiguration,
        reason: FailureReason::Busy(user.identifier().clone()),
        message: format!("busy: {wanted} cannot be opened, as {device} {how}, and open {wanted} again"),
    }
}
