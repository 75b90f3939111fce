use std::sync::Arc;

use netbearer_types::{Failure, FailureReason, Identifier, Moment, SessionError, SessionEvent, SessionState, Stage};

use crate::{
    Core, Input, Refusal, SessionId, Verdict,
    ledger::Released,
    losing::Downfall,
    opening::engine_failure,
    phase::{Phase, Teardown},
    publication::REMOVAL_TIMEOUT,
    rights::may_not_stop,
    session::Interest,
    timer::Timer,
};

/// Closing, stopping, losing and removing: every way in which a hold ends.
impl Core {
    /// The session's own part ends; descriptors that were passed on go on holding.
    pub(crate) fn close_session(&mut self, id: SessionId, now: Moment) {
        let decides = self.is_stakeholder(id);
        if self.sessions.get(&id).is_some_and(|session| !session.holds.passed_on.is_empty()) {
            // Who goes on decides nothing.
            self.abandon_decisions(id, now);
        }
        self.break_off(id, now);
        self.pass_on(id, now);
        if self.is_stakeholder(id) != decides
            && let Some(way) = self.way_mut(id)
        {
            // Its application decides again when it opens again.
            way.stakeholder = decides;
        }
        let Some(identifier) = self.sessions.get(&id).and_then(|session| session.access_point().cloned()) else {
            self.close_without_member(id, now);
            return;
        };
        match self.close_own(id, &identifier, now) {
            Released::Nothing => {}
            Released::Last => self.last_hold_gone(&identifier, now),
            Released::OthersHold => {
                // Those who are left may be content to wait, and then this is no start any more.
                if self.access_points.get(&identifier).is_some_and(|found| found.phase == Phase::Retreating) {
                    self.tell_states(&identifier);
                }
            }
        }
    }

    pub(crate) fn stop_session(&mut self, id: SessionId, now: Moment) -> Result<(), Refusal> {
        let session = self.sessions.get(&id).ok_or(Refusal::UnknownSession)?;
        if !self.rights_of(id).may_control {
            let failure = may_not_stop(&session.configuration.name);
            self.close_session(id, now);
            self.tell_failure(id, failure.clone(), now);
            return Err(Refusal::Denied(failure));
        }
        if session.way.is_some() && !session.interest.holds() {
            let is_valid = session.configuration.is_valid();
            return if is_valid { Err(Refusal::NotOpen(session.configuration.identifier.clone())) } else { Ok(()) };
        }
        let Some(identifier) = session.access_point().cloned() else {
            self.close_without_member(id, now);
            return Ok(());
        };
        let Some(access_point) = self.access_points.get(&identifier) else { return Ok(()) };
        let phase = access_point.phase;
        let adopted = access_point.is_adopted();
        if phase == Phase::Sensing || phase == Phase::Observed && !adopted {
            return Ok(());
        }
        if let Some(failure) = access_point.report.cannot_start_and_stop.clone() {
            self.tell_failure(id, failure.clone(), now);
            return Err(Refusal::NotSupported(failure));
        }
        let name = access_point.name().to_owned();
        self.break_off(id, now);
        self.close_own(id, &identifier, now);
        let stranded = self.roam_away(&identifier, true, now);
        let losing = self.evict_guests(&identifier);
        let others = self.ledger.holders(&identifier);
        for other in &others {
            self.release(*other, &identifier, now);
        }
        let inputs = vec![Input::new("cause", "stop"), Input::new("sessions aborted", others.len())];
        match phase {
            Phase::Closing(_) | Phase::Sensing => {}
            Phase::Enumerating | Phase::AwaitingDevice => self.observe(&identifier, now),
            Phase::Waiting => self.retreat(&identifier, now, inputs),
            Phase::Retreating => self.tell_states(&identifier),
            Phase::Starting => {
                self.enter_phase(&identifier, Phase::Closing(Teardown::Attempt), Verdict::Close, now, inputs);
            }
            Phase::Observed => {
                if let Some(access_point) = self.access_points.get_mut(&identifier) {
                    access_point.stopper = Some(id);
                }
                self.enter_phase(&identifier, Phase::Closing(Teardown::Adopted), Verdict::Close, now, inputs);
            }
            Phase::Up | Phase::Regaining | Phase::Lingering => {
                self.enter_phase(&identifier, Phase::Closing(Teardown::Link), Verdict::Close, now, inputs);
            }
        }
        let failure = Arc::new(stopped(&name));
        for other in others {
            self.abort(other, Arc::clone(&failure), now);
        }
        self.roam_on(stranded, now);
        self.lose_candidates(losing, &identifier, &failure, Downfall::Loss, now);
        Ok(())
    }

    /// The link is gone under those who use it.
    pub(crate) fn lose_link(&mut self, identifier: &Identifier, cause: &str, now: Moment) {
        let Some(access_point) = self.access_points.get(identifier) else { return };
        // Shared, as it is kept for all of them.
        let failure = Arc::new(link_lost(access_point.name(), cause));
        let stranded = self.roam_away(identifier, false, now);
        let losing = self.evict_guests(identifier);
        self.drift(identifier, &failure);
        let (stay, lost): (Vec<SessionId>, Vec<SessionId>) =
            self.ledger.holders(identifier).into_iter().partition(|id| self.reconnects(*id));
        for id in &lost {
            self.release(*id, identifier, now);
        }
        let inputs = vec![Input::new("cause", cause), Input::new("sessions aborted", lost.len())];
        if stay.is_empty() {
            self.retreat(identifier, now, inputs);
        } else {
            self.wait(identifier, now);
        }
        for id in lost {
            self.abort(id, Arc::clone(&failure), now);
        }
        self.roam_on(stranded, now);
        self.lose_candidates(losing, identifier, &failure, Downfall::Loss, now);
    }

    /// The configuration is gone for good; its engine has let go of it.
    pub(crate) fn remove_access_point(
        &mut self,
        identifier: &Identifier,
        reason: &str,
        failure: &Failure,
        now: Moment,
    ) {
        let stranded = self.roam_away(identifier, false, now);
        let losing = self.evict_guests(identifier);
        let moving = self.move_on(identifier, failure, now);
        self.drift(identifier, failure);
        let holders = self.ledger.holders(identifier);
        for id in &holders {
            self.release(*id, identifier, now);
        }
        let Some(access_point) = self.access_points.remove(identifier) else { return };
        if access_point.commanded.is_none() {
            // The link is what it was, and so are connections by it.
            holders.iter().for_each(|id| self.leave_sockets(*id));
        }
        self.announce_removal(&access_point, reason, now);
        self.unsettled.extend(self.composites.keys().cloned());
        for id in access_point.sessions.iter().copied() {
            if let Some(way) = self.way_mut(id) {
                way.member = None;
                self.tell_state(id, SessionState::NotAvailable);
                if holders.contains(&id) {
                    self.abort(id, link_lost(access_point.name(), reason), now);
                }
                continue;
            }
            self.invalidate(id);
            self.tell_state(id, SessionState::Invalid);
            if holders.contains(&id) {
                self.abort(id, failure.clone(), now);
            }
        }
        self.roam_on(stranded, now);
        self.lose_candidates(losing, identifier, failure, Downfall::Loss, now);
        self.try_next(moving, now);
    }

    /// Gives a session's hold back without a word to anybody.
    pub(crate) fn release(&mut self, id: SessionId, identifier: &Identifier, now: Moment) -> Released {
        let released = self.ledger.release(identifier, id);
        if released == Released::Nothing {
            return released;
        }
        let interest = self.sessions.get(&id).map(|session| session.interest);
        let ended = match interest {
            Some(Interest::Opening | Interest::Waiting) => Interest::Failing,
            _ => Interest::Watching,
        };
        self.want(id, ended);
        let holds = Input::new("holds", self.ledger.count(identifier));
        self.record_session(id, Verdict::Release, now, vec![holds]);
        self.touch(id);
        self.touch_first_holder_of_shared(identifier);
        released
    }

    /// The session's own close: its hold goes, and it is told so first.
    fn close_own(&mut self, id: SessionId, identifier: &Identifier, now: Moment) -> Released {
        let released = self.release(id, identifier, now);
        if released != Released::Nothing {
            self.want(id, Interest::Watching);
            self.leave_sockets(id);
            self.tell(id, SessionEvent::Closed);
        }
        released
    }

    pub(crate) fn abort(&mut self, id: SessionId, failure: impl Into<Arc<Failure>>, now: Moment) {
        self.abort_left_sockets(id);
        self.tell_failure(id, failure, now);
        self.tell(id, SessionEvent::Closed);
    }

    /// Clears away what is left of ours, if anything is.
    pub(crate) fn retreat(&mut self, identifier: &Identifier, now: Moment, inputs: Vec<Input>) {
        let Some(access_point) = self.access_points.get(identifier) else { return };
        let (phase, verdict) = match access_point.commanded {
            Some(_) => (Phase::Retreating, Verdict::Retreat),
            None => (Phase::Observed, Verdict::Observe),
        };
        self.enter_phase(identifier, phase, verdict, now, inputs);
    }

    /// Lingering ends before or after its time.
    pub(crate) fn end_linger(&mut self, identifier: &Identifier, cause: &str, now: Moment) {
        let Some(access_point) = self.access_points.get(identifier) else { return };
        let teardown = match access_point.phase {
            Phase::Lingering => Teardown::Link,
            Phase::Observed if access_point.is_adopted_on_demand() => Teardown::Adopted,
            _ => return,
        };
        self.enter_phase(identifier, Phase::Closing(teardown), Verdict::Close, now, vec![Input::new("cause", cause)]);
    }

    /// An engine has ended a removal, or refused it: the access point is what its levels say, rather than Closing for ever.
    pub(crate) fn removal_settled(&mut self, identifier: &Identifier, now: Moment) {
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        let refused = match access_point.stage() {
            Some(Stage::Failed(reason, message)) => Some(engine_failure(reason.clone(), message.clone())),
            _ => None,
        };
        let stopper = access_point.stopper.take();
        self.nothing_of_ours(identifier);
        self.pass_device_on(identifier, now);
        if let (Some(stopper), Some(failure)) = (stopper, refused) {
            self.tell_stopper(stopper, failure, now);
        }
    }

    /// An engine takes too long for a removal. What is left is still ours, so the access point is not free before that is
    /// gone, but nobody is kept waiting for it.
    pub(crate) fn removal_timed_out(&mut self, identifier: &Identifier, now: Moment) {
        let Some(access_point) = self.access_points.get(identifier) else { return };
        let failure = removal_timeout(access_point.name());
        if access_point.phase == Phase::AwaitingDevice {
            return self.deny(identifier, &failure, now);
        }
        self.back_off(identifier, now);
        let losing = self.evict_guests(identifier);
        let moving = self.move_on(identifier, &failure, now);
        let (stay, failed): (Vec<SessionId>, Vec<SessionId>) =
            self.ledger.holders(identifier).into_iter().partition(|id| self.reconnects(*id));
        for id in &failed {
            self.release(*id, identifier, now);
        }
        for id in stay {
            self.want(id, Interest::Waiting);
        }
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        let stopper = access_point.stopper.take();
        self.enter_phase(identifier, Phase::Retreating, Verdict::Retreat, now, vec![Input::new("cause", &failure)]);
        if let Some(access_point) = self.access_points.get_mut(identifier) {
            access_point.timers.disarm(Timer::Removal);
        }
        for id in failed {
            self.tell_failure(id, failure.clone(), now);
        }
        if let Some(stopper) = stopper {
            self.tell_stopper(stopper, failure.clone(), now);
        }
        self.lose_candidates(losing, identifier, &failure, Downfall::Start, now);
        self.try_next(moving, now);
    }

    fn tell_stopper(&mut self, stopper: SessionId, failure: Failure, now: Moment) {
        // One that has opened again meanwhile has what it wants now, and an error would end it.
        if self.sessions.get(&stopper).is_some_and(|session| !session.interest.holds()) {
            self.tell_failure(stopper, failure, now);
        }
    }

    pub(crate) fn last_hold_gone(&mut self, identifier: &Identifier, now: Moment) {
        let Some(access_point) = self.access_points.get(identifier) else { return };
        let linger = access_point.profile.linger;
        let inputs = vec![Input::new("cause", "last close"), Input::new("linger", format_args!("{linger:?}"))];
        match access_point.phase {
            Phase::Observed if !access_point.is_adopted_on_demand() => {}
            Phase::Observed if linger.is_zero() => {
                self.enter_phase(identifier, Phase::Closing(Teardown::Adopted), Verdict::Close, now, inputs);
            }
            Phase::Observed => {
                self.enter_phase(identifier, Phase::Observed, Verdict::Linger, now, inputs);
                self.arm(identifier, Timer::Linger, now + linger);
            }
            Phase::Enumerating | Phase::AwaitingDevice => self.observe(identifier, now),
            Phase::Starting => {
                self.enter_phase(identifier, Phase::Closing(Teardown::Attempt), Verdict::Close, now, inputs);
            }
            Phase::Up if !linger.is_zero() => {
                self.enter_phase(identifier, Phase::Lingering, Verdict::Linger, now, inputs);
                self.arm(identifier, Timer::Linger, now + linger);
                self.tell_composites_of_others(identifier);
            }
            // Without its lease a link is not worth keeping for the next who comes.
            Phase::Up | Phase::Regaining => {
                self.enter_phase(identifier, Phase::Closing(Teardown::Link), Verdict::Close, now, inputs);
            }
            Phase::Waiting => self.retreat(identifier, now, inputs),
            // The retreat goes on; without anybody waiting for its end it is no start any more.
            Phase::Retreating => self.tell_states(identifier),
            Phase::Closing(_) | Phase::Lingering | Phase::Sensing => {}
        }
    }
}

fn removal_timeout(name: &str) -> Failure {
    Failure {
        error: SessionError::Unknown,
        reason: FailureReason::EngineFailed,
        message: format!(
            "{name} could not be taken down within {REMOVAL_TIMEOUT:?}; what is left of it is removed by a reset once this process has ended"
        ),
    }
}

fn stopped(name: &str) -> Failure {
    Failure {
        error: SessionError::SessionAborted,
        reason: FailureReason::Stopped,
        message: format!("{name} was stopped by somebody; open the session again to bring it back up"),
    }
}

fn link_lost(name: &str, cause: &str) -> Failure {
    Failure {
        error: SessionError::SessionAborted,
        reason: FailureReason::LinkLost,
        message: format!("the link of {name} was lost: {cause}; open the session again once the network is back"),
    }
}
