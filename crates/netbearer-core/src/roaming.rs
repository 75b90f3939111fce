use std::time::Duration;

use netbearer_types::{
    Failure, Identifier, Moment, Offer, OfferNumber, PropertyKey, PropertyValue, SessionEvent, SessionState, StateFlags,
};

use crate::{
    Core, CourseKind, Input, RoamCause, SessionId, Verdict, access_point::AccessPoint, course::Course,
    ledger::Released, losing::Downfall, opening::not_available, phase::Phase, session::Interest, session::Way,
    timer::Timer,
};

/// Roaming: sessions on a service network go from one member to another (§5). What they answer, what they would rather use and what
/// they lose is decided beside this: `answering.rs`, `candidates.rs`, `losing.rs`.
impl Core {
    /// A settled session goes to this member: it is offered, or brought up at once.
    pub(crate) fn take_to(&mut self, id: SessionId, candidate: Identifier, now: Moment) {
        if self.is_stakeholder(id) {
            return self.offer(id, candidate, RoamCause::Offer, now);
        }
        let way = self.sessions.get(&id).and_then(|session| session.way.as_ref());
        if let Some(current) = way.and_then(|way| way.member.clone())
            && self.access_points.get(&candidate).is_some_and(|found| !self.is_within_reach(found, &current))
        {
            return self.break_for(&candidate, &current, now);
        }
        self.deadlines.remove(id);
        let inputs = self.candidate_inputs(id, &candidate);
        let has_link = self.has_link(id);
        let taken = candidate.clone();
        self.turn(id, RoamCause::Prepare, inputs, now, |way| {
            let candidate = taken;
            way.roam.course = if has_link { Course::Preparing { candidate } } else { Course::Replacing { candidate } };
        });
        self.reach_for(id, &candidate, now);
    }

    /// Break before make: all who hold a link leave it together for another one of its device.
    fn break_for(&mut self, candidate: &Identifier, current: &Identifier, now: Moment) {
        let leaving = self.ledger.holders(current);
        for id in &leaving {
            self.deadlines.remove(*id);
            let inputs = self.candidate_inputs(*id, candidate);
            let taken = candidate.clone();
            self.turn(*id, RoamCause::Prepare, inputs, now, |way| {
                way.member = None;
                way.roam.course = Course::Replacing { candidate: taken };
            });
            self.ledger.take_beside(candidate, *id);
            self.ledger.release(current, *id);
            if let Some(access_point) = self.access_points.get_mut(current) {
                access_point.sessions.remove(id);
            }
            self.abort_left_sockets(*id);
            self.tell_state(*id, SessionState::Roaming);
        }
        self.last_hold_gone(current, now);
        for id in leaving {
            self.reach_for(id, candidate, now);
        }
    }

    pub(crate) fn offer(&mut self, id: SessionId, candidate: Identifier, cause: RoamCause, now: Moment) {
        let number = OfferNumber(self.numbers.offer);
        self.numbers.offer += 1;
        let replacement = !self.has_link(id);
        let mut inputs = self.candidate_inputs(id, &candidate);
        inputs.push(Input::new("offer", number));
        let offer = Offer { number, configuration: candidate, seamless: false, replacement };
        let offered = offer.clone();
        self.turn(id, cause, inputs, now, |way| way.roam.course = Course::Offered { offer: offered });
        if replacement {
            self.await_answer(id, now);
        }
        self.tell(id, SessionEvent::PreferredConfigurationChanged { offer });
    }

    pub(crate) fn withdraw_offer(&mut self, id: SessionId, offer: &Offer, now: Moment) {
        let inputs = vec![Input::new("offer", offer.number), Input::new("candidate", &offer.configuration)];
        self.turn(id, RoamCause::Withdraw, inputs, now, |way| way.roam.course = Course::Settled);
        self.tell(id, SessionEvent::OfferWithdrawn { offer: offer.number });
    }

    pub(crate) fn candidate_inputs(&self, id: SessionId, candidate: &Identifier) -> Vec<Input> {
        let way = self.sessions.get(&id).and_then(|session| session.way.as_ref());
        let current = way.and_then(|way| way.member.as_ref());
        let flags = self.access_points.get(candidate).map(AccessPoint::flags).unwrap_or_default();
        vec![
            Input::new("candidate", candidate),
            Input::new("state", flags),
            Input::new("in use", current.map_or("nothing", Identifier::as_str)),
        ]
    }

    /// The answer of an application whose link is lost is waited for so long, and no longer.
    pub(crate) fn await_answer(&mut self, id: SessionId, now: Moment) {
        let Some(session) = self.sessions.get(&id) else { return };
        let timeout = match session.properties.get(PropertyKey::AnswerTimeout) {
            Some(PropertyValue::Duration(timeout)) => timeout,
            _ => Duration::ZERO,
        };
        self.deadlines.insert(id, now + timeout);
    }

    /// What was waited for on behalf of an open session is due.
    pub(crate) fn roaming_due(&mut self, id: SessionId, now: Moment) {
        let migrates = self.sessions.get(&id).is_some_and(|session| {
            session.properties.get(PropertyKey::OnTimeout) == Some(PropertyValue::Text("migrate".to_owned()))
        });
        match (self.course(id).cloned(), self.has_link(id)) {
            (Some(Course::Offered { .. }), false) if migrates => self.begin_migration(id, now),
            (Some(Course::Trial { .. }), false) if migrates => self.settle_on_candidate(id, RoamCause::Accept, now),
            (Some(Course::Offered { .. } | Course::Trial { .. }), false) => {
                self.end_roaming(id, true, "its application did not decide about another in time", now);
            }
            _ => self.touch(id),
        }
    }

    /// Holds an access point beside the link in use, and has it brought up.
    pub(crate) fn reach_for(&mut self, id: SessionId, candidate: &Identifier, now: Moment) {
        self.ledger.take_beside(candidate, id);
        let lingered = self.way_mut(id).is_some_and(|way| way.roam.lingering.remove(candidate).is_some());
        if lingered {
            self.await_end_of_lingering(id);
        }
        if let Err(failure) = self.bring_up_beside(id, candidate, now) {
            self.back_off(candidate, now);
            self.release_beside(id, candidate);
            self.lose_candidate(id, candidate, &failure, Downfall::Start, now);
        }
    }

    /// Brings an access point up for a session that holds it beside the one it uses, unless it is up already.
    fn bring_up_beside(&mut self, id: SessionId, identifier: &Identifier, now: Moment) -> Result<(), Failure> {
        if self.share_device(identifier, now)? {
            return Ok(());
        }
        let Some(access_point) = self.access_points.get_mut(identifier) else {
            return Err(not_available(identifier.as_str()));
        };
        let (phase, flags) = (access_point.phase, access_point.flags());
        let unsupported = access_point.report.cannot_start_and_stop.clone();
        match phase {
            Phase::Observed if flags == StateFlags::Active => {
                if let Some(failure) = self.deafness(identifier) {
                    return Err(failure);
                }
                if let Some(access_point) = self.access_points.get_mut(identifier) {
                    access_point.timers.disarm(Timer::Linger);
                }
                self.steer(now);
                self.candidate_is_up_for(id, identifier, now);
            }
            Phase::Up | Phase::Regaining => self.candidate_is_up_for(id, identifier, now),
            Phase::Lingering => {
                let inputs = vec![Input::new("cause", "roaming while it lingers")];
                self.enter_phase(identifier, Phase::Up, Verdict::Up, now, inputs);
                self.tell_composites(identifier);
                self.candidate_is_up_for(id, identifier, now);
            }
            Phase::Enumerating | Phase::AwaitingDevice | Phase::Starting | Phase::Closing(_) => {}
            _ if flags != StateFlags::Discovered => return Err(not_available(access_point.name())),
            _ if unsupported.is_some() => return unsupported.map_or(Ok(()), Err),
            Phase::Retreating => {
                self.await_removal(identifier, now);
                self.tell_states(identifier);
            }
            Phase::Observed | Phase::Waiting | Phase::Sensing => self.start(identifier, now),
        }
        Ok(())
    }

    pub(crate) fn is_candidate_of_somebody(&self, identifier: &Identifier) -> bool {
        let reaches = |id: SessionId| self.course(id).is_some_and(|course| course.held_candidate() == Some(identifier));
        self.ledger.guests(identifier).into_iter().any(reaches)
    }

    /// True for a session that has this access point on trial.
    pub(crate) fn tries(&self, id: SessionId, identifier: &Identifier) -> bool {
        matches!(self.course(id), Some(Course::Trial { offer }) if offer.configuration == *identifier)
    }

    /// An access point has come up: those who roam to it have what they wanted.
    pub(crate) fn candidate_is_up(&mut self, identifier: &Identifier, now: Moment) {
        for id in self.ledger.guests(identifier) {
            self.candidate_is_up_for(id, identifier, now);
        }
    }

    fn candidate_is_up_for(&mut self, id: SessionId, identifier: &Identifier, now: Moment) {
        let course = self.course(id).filter(|course| course.held_candidate() == Some(identifier)).cloned();
        match course {
            Some(Course::Preparing { .. } | Course::Replacing { .. }) => {
                self.settle_on_candidate(id, RoamCause::CandidateUp, now);
            }
            Some(Course::Migrating { offer }) => self.begin_trial(id, offer, now),
            _ => {}
        }
    }

    fn begin_trial(&mut self, id: SessionId, offer: Offer, now: Moment) {
        let (number, candidate) = (offer.number, offer.configuration.clone());
        let inputs = vec![Input::new("offer", number), Input::new("candidate", &candidate)];
        self.turn(id, RoamCause::CandidateUp, inputs, now, |way| way.roam.course = Course::Trial { offer });
        if !self.has_link(id) {
            self.await_answer(id, now);
        }
        let interface = self.access_points.get(&candidate).and_then(AccessPoint::interface).cloned();
        if let Some(interface) = interface {
            self.tell(
                id,
                SessionEvent::NewConfigurationActivated { offer: number, configuration: candidate, interface },
            );
        }
    }

    /// The candidate is the session's link from now on.
    pub(crate) fn settle_on_candidate(&mut self, id: SessionId, cause: RoamCause, now: Moment) {
        let Some(course) = self.course(id).cloned() else { return };
        let Some(candidate) = course.held_candidate().cloned() else { return };
        let is_forced = !course.is_moving();
        self.deadlines.remove(id);
        let former = self.sessions.get(&id).and_then(|session| session.way.as_ref()?.member.clone());
        if is_forced {
            self.tell_state(id, SessionState::Roaming);
        }
        let inputs = vec![
            Input::new("candidate", &candidate),
            Input::new("before", former.as_ref().map_or("nothing", Identifier::as_str)),
        ];
        let member = candidate.clone();
        self.turn(id, cause, inputs, now, |way| {
            way.member = Some(member);
            way.roam.course = Course::Settled;
            way.roam.failed.clear();
        });
        self.ledger.take(&candidate, id);
        self.ledger.release_beside(&candidate, id);
        if let Some(access_point) = self.access_points.get_mut(&candidate) {
            access_point.sessions.insert(id);
        }
        if let Some(former) = former {
            self.leave_link(id, &former, is_forced, now);
        }
        self.tell_state(id, SessionState::Connected);
        if is_forced {
            self.tell(id, SessionEvent::ActiveConfigurationChanged { configuration: candidate });
        }
        self.touch(id);
    }

    /// The link that a session has moved from is given back, or kept for a while if the application did not know before.
    fn leave_link(&mut self, id: SessionId, former: &Identifier, is_forced: bool, now: Moment) {
        if let Some(access_point) = self.access_points.get_mut(former) {
            access_point.sessions.remove(&id);
        }
        let network = self.network_of(id).map(|network| network.identifier.clone());
        let linger = network.map_or(Duration::ZERO, |network| self.settings.profiles.roam_linger(&network));
        if is_forced && !linger.is_zero() {
            self.ledger.take_beside(former, id);
            self.ledger.release(former, id);
            if let Some(way) = self.way_mut(id) {
                way.roam.lingering.insert(former.clone(), now + linger);
            }
            self.await_end_of_lingering(id);
        } else if self.ledger.release(former, id) == Released::Last {
            self.vacated.insert(former.clone());
        }
        self.abort_left_sockets(id);
        self.touch_first_holder_of_shared(former);
        self.forget_if_absent(former, now);
    }

    pub(crate) fn await_end_of_lingering(&mut self, id: SessionId) {
        let way = self.sessions.get(&id).and_then(|session| session.way.as_ref());
        match way.and_then(|way| way.roam.lingering.values().min().copied()) {
            Some(end) => self.lingering.insert(id, end),
            None => self.lingering.remove(id),
        }
    }

    /// The time of links that a session has left is over.
    pub(crate) fn end_lingering(&mut self, id: SessionId, now: Moment) {
        let Some(way) = self.way_mut(id) else { return };
        let over = way.roam.lingering.iter().filter(|(_, end)| **end <= now).map(|(left, _)| left.clone());
        let over: Vec<Identifier> = over.collect();
        for left in over {
            self.end_lingering_on(id, &left, "roam_linger is over", now);
        }
    }

    /// A link that the session has left is kept no more. False if it was not.
    pub(crate) fn end_lingering_on(&mut self, id: SessionId, left: &Identifier, cause: &str, now: Moment) -> bool {
        let was_kept = self.way_mut(id).is_some_and(|way| way.roam.lingering.remove(left).is_some());
        if was_kept {
            let inputs = vec![Input::new("left", left), Input::new("cause", cause)];
            self.record_session(id, Verdict::Release, now, inputs);
            self.release_beside(id, left);
            self.await_end_of_lingering(id);
        }
        was_kept
    }

    pub(crate) fn release_beside(&mut self, id: SessionId, identifier: &Identifier) {
        if self.ledger.release_beside(identifier, id) {
            self.vacated.insert(identifier.clone());
        }
        self.abort_left_sockets(id);
        self.touch_first_holder_of_shared(identifier);
        self.mark_unsaved(id);
    }

    /// What nobody holds beside another link any more goes as after a last close.
    pub(crate) fn leave_vacated(&mut self, now: Moment) {
        for identifier in std::mem::take(&mut self.vacated) {
            if self.ledger.count(&identifier) == 0 {
                self.last_hold_gone(&identifier, now);
            }
        }
    }

    /// What roaming sessions held before the service was started anew. All times begin anew.
    pub(crate) fn restore_course(&mut self, id: SessionId, now: Moment) {
        let network = self.network_of(id).map(|network| network.identifier.clone());
        let linger = network.map_or(Duration::ZERO, |network| self.settings.profiles.roam_linger(&network));
        let Some(way) = self.way_mut(id) else { return };
        // What is remembered of appearances is of the one that goes on.
        way.roam.ignored.values_mut().chain(way.roam.failed.values_mut()).for_each(|appearance| *appearance = 0);
        way.roam.lingering.values_mut().for_each(|end| *end = now + linger);
        let beside: Vec<Identifier> =
            way.roam.lingering.keys().chain(way.roam.course.held_candidate()).cloned().collect();
        let is_awaited = matches!(way.course_kind(), CourseKind::ReplacementOffered | CourseKind::TrialWithoutLink);
        for identifier in beside {
            self.know(&identifier);
            self.ledger.take_beside(&identifier, id);
        }
        self.await_end_of_lingering(id);
        if is_awaited {
            self.await_answer(id, now);
        }
    }

    /// The course of a session that is open on a composite.
    pub(crate) fn course(&self, id: SessionId) -> Option<&Course> {
        let session = self.sessions.get(&id).filter(|session| matches!(session.interest, Interest::Open { .. }))?;
        session.way.as_ref().map(|way| &way.roam.course)
    }

    pub(crate) fn has_link(&self, id: SessionId) -> bool {
        self.sessions.get(&id).and_then(|session| session.way.as_ref()).is_some_and(|way| way.member.is_some())
    }

    pub(crate) fn appearance(&self, identifier: &Identifier) -> u64 {
        self.access_points.get(identifier).map_or(0, |found| found.presence.appearance())
    }

    /// The one place where a session's course changes.
    pub(crate) fn turn(
        &mut self,
        id: SessionId,
        cause: RoamCause,
        mut inputs: Vec<Input>,
        now: Moment,
        change: impl FnOnce(&mut Way),
    ) {
        let Some(way) = self.way_mut(id) else { return };
        let from = way.course_kind();
        change(way);
        let to = way.course_kind();
        debug_assert!(crate::course::TRANSITIONS.contains(&(from, cause, to)), "{from:?} {cause:?} {to:?}");
        inputs.extend([Input::new("from", from), Input::new("to", to)]);
        self.record_session(id, Verdict::Roam(cause), now, inputs);
    }
}
