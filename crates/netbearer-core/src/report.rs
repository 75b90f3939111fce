use std::time::Duration;

use netbearer_types::{
    AccessPointReport, Failure, FailureReason, Identifier, Level, ManagerEvent, Moment, Progress, SessionError,
    SessionState, Stage, StateFlags, Target,
};

use crate::{
    Action, Core, Input, Subject, Verdict,
    access_point::{AccessPoint, is_usable},
    core::invalid_configuration,
    phase::Phase,
    timer::Timer,
};

/// How long a link whose lease was lost may ask for another before its sessions lose it.
pub(crate) const REGAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// What engines say. Reports are levels: the core compares them with the last one, and decides.
impl Core {
    /// An engine tells its newest truth about an access point.
    pub fn handle_report(&mut self, report: AccessPointReport, now: Moment) {
        if self.devices.contains_key(&report.identifier) {
            self.share(report, now);
        } else {
            self.take_in(report, now);
        }
        self.publish(now);
    }

    /// An access point has another truth, as far as its device is its own.
    pub(crate) fn take_in(&mut self, mut report: AccessPointReport, now: Moment) {
        if let Some(between) = self.flap_between(&report) {
            self.apply(between, now);
            // Those who lost it may have brought up another one of its device.
            report = self.seen_by(&report.identifier).unwrap_or(report);
        }
        self.apply(report, now);
    }

    /// An access point is none any more. Its engine has removed from it what was ours.
    pub fn handle_removed(&mut self, identifier: &Identifier, reason: &str, now: Moment) {
        self.close_device(identifier);
        for access_point in self.access_points_of(identifier) {
            if let Some(access_point) = self.access_points.get_mut(&access_point) {
                // Who loses one of them shall not go on to the next.
                access_point.report.level = Level::Absent;
            }
        }
        for access_point in self.access_points_of(identifier) {
            self.remove_access_point(&access_point, reason, &invalid_configuration(&access_point), now);
        }
        if self.devices.remove(identifier).is_some() {
            self.actions.push_back(Action::Forget(identifier.clone()));
        }
        self.publish(now);
    }

    /// An interface is no access point.
    pub fn handle_ignored(&mut self, interface_name: String, reason: String, now: Moment) {
        let inputs = vec![Input::new("reason", reason)];
        self.journal.record(now, Subject::Interface(interface_name), Verdict::NotAnAccessPoint, inputs);
    }

    /// The first enumeration has ended.
    pub fn handle_enumerated(&mut self, now: Moment) {
        self.enumerated = true;
        self.unsettled.extend(self.composites.keys().cloned());
        if self.is_returning {
            self.end_return(now);
        }
        for identifier in self.access_points_where(|access_point| access_point.phase == Phase::Enumerating) {
            self.enumeration_ended(&identifier, now);
        }
        self.publish(now);
    }

    /// The engine can do nothing more: its access points are lost, and no look at them will end any more.
    pub fn handle_engine_failed(&mut self, message: &str, now: Moment) {
        self.engine_failed = true;
        for device in self.devices.keys().cloned().collect::<Vec<_>>() {
            self.close_device(&device);
        }
        for identifier in self.access_points_where(|_| true) {
            self.remove_access_point(&identifier, message, &engine_failed(&identifier, message), now);
        }
        self.actions.extend(std::mem::take(&mut self.devices).into_keys().map(Action::Forget));
        self.publish(now);
        while !self.updates.is_empty() {
            self.complete_update();
        }
    }

    /// A flap that was over before it was seen shows only in the count of losses, and an interface that was replaced
    /// only in its index. It is told as what it was: a loss and a return.
    fn flap_between(&self, report: &AccessPointReport) -> Option<AccessPointReport> {
        let known = self.access_points.get(&report.identifier)?;
        let (before, is_past) = (known.link()?, known.past.is_some());
        let Level::Present(after) = &report.level else { return None };
        // What was flapping while the service was away has been confirmed by whoever has kept it up.
        let was_lost = !is_past && before.carrier_losses != after.carrier_losses;
        let count_or_index_changed = was_lost || before.interface.index != after.interface.index;
        let unseen = before.administratively_up
            && before.carrier
            && after.administratively_up
            && after.carrier
            && count_or_index_changed;
        unseen.then(|| {
            // What the engine has reached, it reached with the carrier that is there now.
            let mut between = AccessPointReport { progress: None, ..report.clone() };
            if let Level::Present(link) = &mut between.level {
                link.carrier = false;
            }
            between
        })
    }

    fn apply(&mut self, mut report: AccessPointReport, now: Moment) {
        let identifier = report.identifier.clone();
        let known = self.access_points.get(&identifier);
        let steering_before = known.map(|known| known.report.steering.clone()).unwrap_or_default();
        // Administrators mean access points by these.
        let is_renamed =
            known.is_some_and(|known| known.report.name != report.name || known.report.hardware != report.hardware);
        let past = known.and_then(|known| known.past);
        let is_renamed = is_renamed || past.is_some();
        let was_active = match self.access_points.get_mut(&identifier) {
            Some(access_point) => {
                let was_active = access_point.observed_flags() == StateFlags::Active;
                let index = access_point.interface().map(|interface| interface.index);
                // How far an overtaken command came is no news of the newest one.
                let overtaken = |progress: &Progress| progress.number < access_point.command;
                if report.progress.as_ref().is_none_or(overtaken) {
                    report.progress = access_point.report.progress.take();
                }
                access_point.report = report;
                access_point.past = None;
                let is_another = access_point.interface().map(|interface| interface.index) != index;
                if is_another || access_point.has_carrier() {
                    access_point.carrier_refuted = false;
                }
                was_active
            }
            None if report.level == Level::Absent => return,
            None => {
                if self.begin_sharing(&report) {
                    return self.share(report, now);
                }
                let profile = self.settings.profiles.profile(&report).clone();
                let presence = self.recall_presence(&identifier, now);
                let access_point = AccessPoint { presence, ..AccessPoint::new(report, profile) };
                self.access_points.insert(identifier.clone(), access_point);
                self.unsettled.extend(self.composites.keys().cloned());
                false
            }
        };
        if is_renamed {
            self.match_profile(&identifier, "the interface has another name or hardware address", now);
            self.unsettled.extend(self.composites.keys().cloned());
        }
        self.note_steering(&identifier, &steering_before, now);
        self.note_presence(&identifier, now);
        if let Some(past) = past {
            self.go_on_with(&identifier, past, now);
        }
        self.react(&identifier, was_active, now);
        self.tell_states(&identifier);
        self.tell_interface(&identifier);
        if is_renamed {
            self.arrange_renamed(&identifier, now);
            self.drop_former_members(now);
        }
        self.forget_if_absent(&identifier, now);
    }

    pub(crate) fn react(&mut self, identifier: &Identifier, was_active: bool, now: Moment) {
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        let flags = access_point.observed_flags();
        match access_point.phase {
            Phase::Observed => {
                if was_active && flags != StateFlags::Active {
                    let cause = loss(access_point).unwrap_or_default();
                    self.lose_link(identifier, &cause, now);
                }
            }
            Phase::Enumerating => {
                if flags >= StateFlags::Discovered {
                    self.serve_holders(identifier, now);
                }
            }
            Phase::AwaitingDevice => {}
            Phase::Starting => self.start_progressed(identifier, now),
            Phase::Up | Phase::Lingering | Phase::Regaining => self.check_link(identifier, now),
            Phase::Waiting => {
                if flags < StateFlags::Discovered {
                    // It went away: when it comes back it is another try, not the next of a row.
                    access_point.timers.disarm(Timer::Retry);
                    access_point.failed_starts = 0;
                    self.direct(identifier);
                    return;
                }
                let is_left_to_others =
                    access_point.found_up || access_point.commanded.is_none() || access_point.is_owned_elsewhere();
                let may_try = access_point.may_start() && !access_point.timers.is_armed(Timer::Retry);
                if flags == StateFlags::Active && is_left_to_others {
                    // While the engine is at work, what makes it Active may still be ours.
                    if access_point.commanded.is_none() || access_point.is_settled() {
                        self.serve_active(identifier, now);
                    }
                } else if may_try {
                    self.start(identifier, now);
                }
            }
            Phase::Sensing => {
                let is_at_rest = access_point.commanded.is_none() || access_point.is_settled();
                if access_point.link().is_none() {
                    self.retreat(identifier, now, vec![Input::new("cause", "its interface is gone")]);
                } else if flags == StateFlags::Active && is_at_rest {
                    // The addresses are not ours, so somebody else uses it now.
                    if access_point.commanded.is_some() {
                        self.command(identifier, Target::LeftUp);
                        self.nothing_of_ours(identifier);
                    }
                    self.observe(identifier, now);
                }
            }
            Phase::Closing(_) | Phase::Retreating => {
                if access_point.is_settled() {
                    self.removal_settled(identifier, now);
                }
            }
        }
    }

    /// A link of ours that was up: still up, lost, or looking for a new lease.
    fn check_link(&mut self, identifier: &Identifier, now: Moment) {
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        access_point.resuming &= !access_point.is_settled();
        let (cause, resuming) = (loss(access_point), access_point.resuming);
        match (access_point.phase, access_point.stage()) {
            (Phase::Up, Some(Stage::Working(_))) if access_point.has_carrier() && !resuming => {
                let inputs = vec![Input::new("time allowed", format_args!("{REGAIN_TIMEOUT:?}"))];
                self.enter_phase(identifier, Phase::Regaining, Verdict::Regain, now, inputs);
                self.arm(identifier, Timer::Regain, now + REGAIN_TIMEOUT);
            }
            (Phase::Regaining, Some(Stage::Working(_))) if access_point.has_carrier() && !resuming => {}
            // Nobody is there for whom another lease would be worth waiting for.
            (Phase::Lingering, Some(Stage::Working(_))) if !resuming => {
                self.lose_link(identifier, "the lease was lost", now)
            }
            (_, Some(Stage::Failed(_, message))) => {
                let message = message.clone();
                self.lose_link(identifier, &message, now);
            }
            (phase, _) => match cause {
                Some(cause) => self.lose_link(identifier, &cause, now),
                None if phase == Phase::Regaining => {
                    self.enter_phase(
                        identifier,
                        Phase::Up,
                        Verdict::Up,
                        now,
                        vec![Input::new("cause", "leased again")],
                    );
                }
                None => {}
            },
        }
    }

    /// An access point that is unplugged and that no session is about is no longer worth remembering.
    pub(crate) fn forget_if_absent(&mut self, identifier: &Identifier, now: Moment) {
        let forgettable = self.access_points.get(identifier).is_some_and(|access_point| {
            access_point.report.level == Level::Absent
                && access_point.sessions.is_empty()
                && access_point.phase == Phase::Observed
        });
        if forgettable && let Some(mut access_point) = self.access_points.remove(identifier) {
            self.remember_presence(identifier.clone(), std::mem::take(&mut access_point.presence), now);
            self.announce_removal(&access_point, "unplugged, and no session is about it", now);
        }
    }

    pub(crate) fn announce_removal(&mut self, access_point: &AccessPoint, reason: &str, now: Moment) {
        let identifier = access_point.identifier().clone();
        let subject = Subject::AccessPoint(identifier.clone());
        self.journal.record(now, subject, Verdict::Remove, vec![Input::new("reason", reason)]);
        self.unpublished.remove(&identifier);
        self.mark_access_point_unsaved(&identifier);
        self.forget_device_of(access_point);
        if access_point.published.is_some() {
            self.actions.push_back(Action::Announce(ManagerEvent::ConfigurationRemoved { identifier }));
        }
    }

    /// Tells the sessions on a connected access point that its interface changed under it. Not while a lost lease is
    /// asked for anew: either the same address returns, or the change is told with the new one.
    fn tell_interface(&mut self, identifier: &Identifier) {
        let Some(access_point) = self.access_points.get(identifier) else { return };
        if access_point.phase == Phase::Regaining {
            return;
        }
        if self.access_point_state(access_point) != SessionState::Connected {
            return;
        }
        let Some(interface) = access_point.interface().cloned() else { return };
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        if let Some(before) = access_point.interface_told.replace(interface.clone()) {
            self.tell_interface_change(identifier, &before, interface);
        }
    }
}

fn engine_failed(identifier: &Identifier, message: &str) -> Failure {
    Failure {
        error: SessionError::InvalidConfiguration,
        reason: FailureReason::EngineFailed,
        message: format!("{identifier} is lost, because its engine has failed: {message}; start the service again"),
    }
}

/// Why a link counts as lost, if it does.
pub(crate) fn loss(access_point: &AccessPoint) -> Option<String> {
    match access_point.link() {
        None => Some("its interface is gone".to_owned()),
        Some(link) if !link.administratively_up => Some("somebody set its interface down".to_owned()),
        Some(link) if !link.carrier => Some("no carrier".to_owned()),
        Some(link) if !is_usable(link) => Some("its address or its route is gone".to_owned()),
        Some(_) => None,
    }
}
