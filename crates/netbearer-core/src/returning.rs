use std::{collections::BTreeSet, sync::Arc, time::Duration};

use netbearer_types::{
    AccessPointReport, BearerType, Hardware, Identifier, Kind, Level, Moment, Profile, SessionState, StateFlags,
    SteeringLevel, Target,
};

use crate::{
    Action, ClientId, Core, Input, Program, Record, Refusal, SavedAccessPoint, SavedSession, SavedState, SessionId,
    Settings, Subject, Token, Verdict,
    access_point::{AccessPoint, Past},
    core::share,
    exclusive::Device,
    opening::{ENUMERATION_TIMEOUT, not_available, retry_delay},
    phase::Phase,
    properties::Properties,
    publication::REMOVAL_TIMEOUT,
    question::not_chosen,
    report::{REGAIN_TIMEOUT, loss},
    session::{Interest, Session},
    timer::Timer,
};

/// Going on after the service was away, and sessions that find their clients again (semantics §4).
impl Core {
    /// From now on a session can be attached to, should its client lose the service, and outlives the process.
    pub fn give_token(&mut self, id: SessionId, token: Token) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(former) = session.token.replace(token) {
            self.tokens.remove(&former);
        }
        self.tokens.insert(token, id);
        self.mark_all_unsaved(id);
    }

    /// The session that this token finds.
    #[must_use]
    pub fn session_with(&self, token: Token) -> Option<SessionId> {
        self.tokens.get(&token).copied()
    }

    /// A client is back for its session, which is told to it from now on, and to whoever had it before no more: the token is the
    /// proof, as the end of a connection may be seen later than the beginning of the one after it. What has become of the
    /// session meanwhile is for the client to find out ([`netbearer_types::differences`]).
    ///
    /// # Errors
    /// [`Refusal::UnknownToken`], also for a session of another user; [`Refusal::UnknownClient`].
    pub fn attach_session(&mut self, client: ClientId, token: Token, now: Moment) -> Result<SessionId, Refusal> {
        let attendance = self.clients.get_mut(&client).ok_or(Refusal::UnknownClient)?;
        let id = *self.tokens.get(&token).ok_or(Refusal::UnknownToken)?;
        let session = self.sessions.get_mut(&id).ok_or(Refusal::UnknownToken)?;
        if session.user != attendance.user {
            return Err(Refusal::UnknownToken);
        }
        let former = session.client.replace(client);
        session.program.clone_from(&attendance.program);
        attendance.sessions.insert(id);
        if let Some(former) = former.filter(|former| *former != client).and_then(|former| self.clients.get_mut(&former))
        {
            former.sessions.remove(&id);
        }
        self.awaited.remove(&id);
        if self.awaited.is_empty() {
            self.grace_until = None;
        }
        self.record_session(id, Verdict::Attach, now, Vec::new());
        self.mark_all_unsaved(id);
        Ok(id)
    }

    /// Nobody is waited for any more: what descriptors hold goes on without an owner, and the rest ends.
    pub(crate) fn end_grace(&mut self, now: Moment) {
        self.grace_until = None;
        for id in std::mem::take(&mut self.awaited) {
            if self.sessions.get(&id).is_some_and(|session| session.holds.are_none()) {
                self.forsaken.insert(id);
                self.close_session(id, now);
            } else {
                self.abandon_decisions(id, now);
            }
        }
    }

    /// A core that goes on from what another one has left: as if nothing had been heard of the world since. What its engines
    /// report first of each access point says what has become of it.
    ///
    /// Sessions have no owner until they are attached to, and are kept for the time of grace in [`Settings::grace`].
    #[must_use]
    pub fn restore(settings: Settings, saved: SavedState, now: Moment) -> Self {
        let grace = settings.grace;
        let mut core = Self::new(settings);
        core.is_returning = true;
        (core.numbers, core.numbers_in_file) = (saved.numbers, saved.numbers);
        core.in_file = saved.sessions.keys().copied().collect();
        core.access_points_in_file = saved.access_points.clone();
        for access_point in saved.access_points.into_values() {
            core.restore_access_point(access_point, now);
        }
        core.restore_devices();
        let mut programs = BTreeSet::new();
        let asked: Vec<SessionId> =
            saved.sessions.values().filter(|session| session.course.asked).map(|session| session.session).collect();
        for session in saved.sessions.into_values() {
            core.restore_session(session, &mut programs, now);
        }
        for identifier in core.access_points.keys().cloned().collect::<Vec<_>>() {
            core.restore_states(&identifier);
            core.mark_access_point_unsaved(&identifier);
        }
        for identifier in core.composites.keys().cloned().collect::<Vec<_>>() {
            core.restore_watchers(&identifier);
        }
        core.watch_sockets();
        let unsettled = std::mem::take(&mut core.unsettled);
        core.end_on_removed_composites(&unsettled, now);
        for id in asked {
            let name = core.sessions.get(&id).map(|session| session.configuration.name.clone()).unwrap_or_default();
            core.fail_without_member(id, not_chosen(&name, "the service was started anew meanwhile"), now);
        }
        core.unpublished.extend(core.access_points.keys().cloned());
        core.grace_until = (!core.awaited.is_empty()).then(|| now + grace);
        core.publish(now);
        core
    }

    fn restore_access_point(&mut self, saved: SavedAccessPoint, now: Moment) {
        let report = AccessPointReport {
            identifier: saved.identifier.clone(),
            name: saved.name,
            bearer_type: saved.bearer_type,
            hardware: saved.hardware,
            cannot_start_and_stop: saved.obstacle,
            counts_traffic: saved.counts_traffic,
            level: saved.link.map_or(Level::Absent, Level::Present),
            steering: SteeringLevel::default(),
            progress: None,
        };
        let mut access_point = AccessPoint::new(report, Profile::default());
        access_point.device = saved.device;
        access_point.file = saved.file;
        access_point.profile = self.settings.profiles.profile_for(&access_point).cloned().unwrap_or_default();
        access_point.phase = saved.phase;
        access_point.commanded = saved.commanded;
        access_point.found_up = saved.found_up;
        access_point.carrier_refuted = saved.carrier_refuted;
        access_point.failed_starts = saved.failed_starts;
        access_point.past =
            Some(Past { had_device: saved.has_device, was_ours: saved.commanded.is_some(), is_missed: false });
        for timer in saved.timers {
            let duration = duration(timer, &access_point);
            access_point.timers.arm(timer, now + duration);
        }
        self.access_points.insert(saved.identifier, access_point);
    }

    /// Those that several access points share.
    fn restore_devices(&mut self) {
        let shared = self.access_points.values().filter(|access_point| access_point.file.is_some());
        let shared: Vec<Identifier> = shared.map(|access_point| access_point.device.clone()).collect();
        for identifier in shared {
            let of_it = || self.access_points.values().filter(|access_point| access_point.device == identifier);
            let occupant = of_it().find(|access_point| access_point.past.is_some_and(|past| past.had_device));
            let Some(report) = occupant.or_else(|| of_it().next()).map(|found| found.report.clone()) else { continue };
            let device = Device::restored(
                AccessPointReport { identifier: identifier.clone(), ..report },
                of_it().map(|access_point| access_point.identifier().clone()).collect(),
                occupant.map(|occupant| occupant.identifier().clone()),
            );
            self.devices.insert(identifier, device);
        }
    }

    fn restore_session(&mut self, saved: SavedSession, programs: &mut BTreeSet<Arc<Program>>, now: Moment) {
        let (id, course) = (saved.session, saved.course);
        let identifier = saved.configuration.identifier.clone();
        let is_valid = saved.configuration.kind != Kind::Invalid;
        let is_composite = course.way.is_some();
        let configuration = match (self.access_points.get_mut(&identifier), self.composites.get_mut(&identifier)) {
            (Some(access_point), _) => share(&mut access_point.shared, saved.configuration),
            (None, Some(composite)) => share(&mut composite.shared, saved.configuration),
            (None, None) => saved.configuration,
        };
        let program = saved.program.map(|program| {
            let known = programs.get(&program).cloned();
            known.unwrap_or_else(|| {
                programs.insert(Arc::clone(&program));
                program
            })
        });
        let interest = match course.interest {
            Interest::Failing => Interest::Watching,
            _ if !is_valid => Interest::Watching,
            interest => interest,
        };
        let session = Session {
            client: None,
            user: saved.user,
            program,
            token: saved.token,
            configuration,
            interest,
            way: course.way.map(Box::new),
            told: SessionState::Invalid,
            failure: course.failure,
            properties: Properties::restored(course.properties),
            holds: course.holds,
            sockets: course.sockets,
        };
        if let Some(token) = session.token {
            self.tokens.insert(token, id);
            self.awaited.insert(id);
        }
        self.held_by.extend(session.holds.iter().map(|hold| (hold, id)));
        self.usage.restore_descriptors(session.user, session.holds.passed_on.len());
        if interest.holds() {
            self.usage.add_holder(session.user);
        } else {
            self.usage.restore_watcher(session.user);
        }
        let access_point = session.access_point().cloned();
        let failed_starts = session.way.as_ref().map_or(0, |way| way.failed_starts);
        self.sessions.insert(id, session);
        match (&access_point, interest) {
            (Some(access_point), _) => {
                self.know(access_point).sessions.insert(id);
                if interest.holds() {
                    self.ledger.take(access_point, id);
                }
            }
            (None, Interest::Opening) => self.deadlines.insert(id, now + ENUMERATION_TIMEOUT),
            (None, Interest::Waiting) if failed_starts > 0 => {
                self.deadlines.insert(id, now + retry_delay(failed_starts - 1));
            }
            (None, _) => {}
        }
        if is_composite && is_valid {
            match self.composites.get_mut(&identifier) {
                Some(composite) => {
                    composite.sessions.insert(id);
                }
                // It is ended once all holds are known.
                None => {
                    self.unsettled.insert(identifier);
                }
            }
        }
        self.restore_sockets(id);
        self.restore_course(id, now);
        self.touch(id);
    }

    /// The access point that a session is about. One that nothing else is known of is unplugged.
    pub(crate) fn know(&mut self, identifier: &Identifier) -> &mut AccessPoint {
        let profiles = &self.settings.profiles;
        self.access_points.entry(identifier.clone()).or_insert_with(|| {
            let report = AccessPointReport {
                identifier: identifier.clone(),
                name: identifier.to_string(),
                bearer_type: BearerType::Unknown,
                hardware: Hardware::default(),
                cannot_start_and_stop: None,
                counts_traffic: false,
                level: Level::Absent,
                steering: SteeringLevel::default(),
                progress: None,
            };
            let profile = profiles.profile(&report).clone();
            let past = Some(Past { had_device: true, was_ours: false, is_missed: false });
            AccessPoint { past, ..AccessPoint::new(report, profile) }
        })
    }

    /// Sessions on an access point were told what it was.
    fn restore_states(&mut self, identifier: &Identifier) {
        let Some(access_point) = self.access_points.get(identifier) else { return };
        let state = self.access_point_state(access_point);
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        access_point.state_told = state;
        if state == SessionState::Connected {
            access_point.interface_told = access_point.interface().cloned();
        }
        for id in &access_point.sessions {
            if let Some(session) = self.sessions.get_mut(id) {
                let goes_on = session.way.is_some() && session.interest == Interest::Opening;
                let is_throughout = goes_on && state == SessionState::Closing;
                let is_moving = session.way.as_ref().is_some_and(|way| way.roam.course.is_moving());
                session.told = match state {
                    _ if is_throughout => SessionState::Connecting,
                    _ if is_moving => SessionState::Roaming,
                    state => state,
                };
            }
        }
    }

    /// Sessions that use no member were told what their composite was.
    fn restore_watchers(&mut self, identifier: &Identifier) {
        let Some(composite) = self.composites.get(identifier) else { return };
        let state = self.composite_state(composite);
        let shown = self.shown_member(composite).map(|access_point| access_point.identifier().clone());
        for id in composite.sessions.clone() {
            if let Some(session) = self.sessions.get_mut(&id).filter(|session| session.access_point().is_none()) {
                session.told = match session.interest {
                    Interest::Opening => SessionState::Connecting,
                    Interest::Open { .. } => SessionState::Roaming,
                    _ => state,
                };
                if let Some(way) = &mut session.way {
                    way.shown.clone_from(&shown);
                }
            }
        }
    }

    /// An engine has said for the first time what has become of an access point from before the service was started anew.
    pub(crate) fn go_on_with(&mut self, identifier: &Identifier, past: Past, now: Moment) {
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        if !past.was_ours {
            access_point.found_up = access_point.link().is_some_and(|link| link.administratively_up);
        }
        let is_ours = access_point.commanded.is_some();
        match (access_point.phase, access_point.phase.target()) {
            (Phase::AwaitingDevice, _) => self.serve_if_vacated(identifier, now),
            (Phase::Up | Phase::Regaining | Phase::Lingering, _) if is_ours => {
                if loss(access_point).is_some() {
                    // To be lost as usual.
                    return;
                }
                self.command(identifier, Target::Configured);
                if let Some(access_point) = self.access_points.get_mut(identifier) {
                    access_point.resuming = true;
                }
                let holds = Input::new("holds", self.ledger.count(identifier));
                let subject = Subject::AccessPoint(identifier.clone());
                self.journal.record(now, subject, Verdict::Resume, vec![holds]);
            }
            (_, Some(target)) if is_ours => self.command(identifier, target),
            _ => {}
        }
    }

    /// What no engine has found after the service was started anew is unplugged, and nothing of ours is left of it.
    pub(crate) fn miss_unheard(&mut self, now: Moment) {
        let unheard = self.access_points_where(|access_point| access_point.past.is_some());
        let was_active = |identifier: &Identifier| {
            let access_point = self.access_points.get(identifier);
            access_point.is_some_and(|found| found.observed_flags() == StateFlags::Active)
        };
        let unheard: Vec<(Identifier, bool)> = unheard.into_iter().map(|one| (one.clone(), was_active(&one))).collect();
        // Who loses one of them shall not go on to the next.
        for (identifier, _) in &unheard {
            let Some(access_point) = self.access_points.get_mut(identifier) else { continue };
            access_point.commanded = None;
            access_point.report.level = Level::Absent;
            if let Some(past) = &mut access_point.past {
                past.is_missed = true;
            }
            let device = access_point.device.clone();
            if let Some(device) = self.devices.get_mut(&device) {
                device.miss();
            }
        }
        for (identifier, was_active) in unheard {
            let Some(access_point) = self.access_points.get(&identifier) else { continue };
            let failure = not_available(access_point.name());
            match self.access_points.get(&identifier).map(|found| found.phase) {
                Some(Phase::Closing(_) | Phase::Retreating) => self.removal_settled(&identifier, now),
                Some(Phase::Starting) => self.fail_holders(&identifier, failure, now),
                Some(_) => self.react(&identifier, was_active, now),
                None => {}
            }
            self.tell_states(&identifier);
            self.forget_if_absent(&identifier, now);
        }
        for identifier in self.access_points_where(|access_point| access_point.phase == Phase::AwaitingDevice) {
            self.serve_if_vacated(&identifier, now);
        }
        self.drop_former_members(now);
    }

    /// What is up for nobody, as whoever held it was not written down, goes as after a last close.
    fn let_go_of_unheld(&mut self, now: Moment) {
        let is_for_holders = |phase| {
            matches!(
                phase,
                Phase::Enumerating
                    | Phase::AwaitingDevice
                    | Phase::Starting
                    | Phase::Up
                    | Phase::Regaining
                    | Phase::Waiting
            )
        };
        for identifier in self.access_points_where(|access_point| is_for_holders(access_point.phase)) {
            if self.ledger.count(&identifier) == 0 {
                self.last_hold_gone(&identifier, now);
            }
        }
    }

    /// Engines have been asked for all that has to be gone on with; what a killed process left otherwise is of no use.
    pub(crate) fn end_return(&mut self, now: Moment) {
        self.is_returning = false;
        self.miss_unheard(now);
        self.let_go_of_unheld(now);
        self.steer(now);
        self.push_steering();
        self.name();
        self.actions.push_back(Action::Names(self.named.clone()));
    }
}

/// How long a timer takes from its start.
fn duration(timer: Timer, access_point: &AccessPoint) -> Duration {
    match timer {
        Timer::Enumeration => ENUMERATION_TIMEOUT,
        Timer::Carrier => access_point.profile.carrier_timeout,
        Timer::Connect => access_point.profile.connect_timeout,
        Timer::Regain => REGAIN_TIMEOUT,
        Timer::Linger => access_point.profile.linger,
        Timer::Retry => retry_delay(access_point.failed_starts.saturating_sub(1)),
        Timer::Removal => REMOVAL_TIMEOUT,
    }
}

impl FromIterator<Record> for SavedState {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        let mut saved = Self::default();
        saved.extend(records);
        saved
    }
}

impl Extend<Record> for SavedState {
    fn extend<I: IntoIterator<Item = Record>>(&mut self, records: I) {
        records.into_iter().for_each(|record| self.apply(record));
    }
}
