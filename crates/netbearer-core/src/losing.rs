use netbearer_types::{
    BearerFamily, Failure, FailureReason, Identifier, Moment, SessionError, SessionEvent, SessionState,
};

use crate::{
    Core, Input, RoamCause, SessionId, Verdict, choosing::is_startable, course::Course, ledger::Released,
    opening::retry_delay, session::Interest,
};

/// Why what a session holds beside its link came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Downfall {
    /// It did not come up.
    Start,
    /// It was up, or was to be brought up, and was lost, stopped or removed.
    Loss,
}

/// What becomes of roaming sessions whose link or candidate is lost, stopped or removed (§5).
impl Core {
    /// Those who hold an access point beside another one lose it. The sessions whose candidate it was are to be told once it is
    /// clear what becomes of it ([`Core::lose_candidates`]).
    pub(crate) fn evict_guests(&mut self, identifier: &Identifier) -> Vec<SessionId> {
        let mut losing = Vec::new();
        for id in self.ledger.guests(identifier) {
            self.ledger.release_beside(identifier, id);
            let Some(way) = self.way_mut(id) else { continue };
            let lingered = way.roam.lingering.remove(identifier).is_some();
            if way.roam.course.held_candidate() == Some(identifier) {
                losing.push(id);
            }
            if lingered {
                self.await_end_of_lingering(id);
            }
            self.abort_left_sockets(id);
        }
        losing
    }

    pub(crate) fn lose_candidates(
        &mut self,
        losing: Vec<SessionId>,
        candidate: &Identifier,
        failure: &Failure,
        downfall: Downfall,
        now: Moment,
    ) {
        for id in losing {
            self.lose_candidate(id, candidate, failure, downfall, now);
        }
    }

    pub(crate) fn lose_candidate(
        &mut self,
        id: SessionId,
        candidate: &Identifier,
        failure: &Failure,
        downfall: Downfall,
        now: Moment,
    ) {
        let Some(course) = self.course(id).filter(|course| course.held_candidate() == Some(candidate)).cloned() else {
            return;
        };
        self.deadlines.remove(id);
        let inputs = vec![Input::new("candidate", candidate), Input::new("cause", failure)];
        self.turn(id, RoamCause::CandidateFailed, inputs, now, |way| way.roam.course = Course::Settled);
        self.abort_left_sockets(id);
        let has_link = self.has_link(id);
        if has_link && course.is_moving() {
            self.tell_state(id, SessionState::Connected);
        }
        if course.is_moving() {
            let (configuration, failure) = (candidate.clone(), failure.clone());
            self.tell(id, SessionEvent::RoamingFailed { configuration, failure });
        }
        // One that did not start comes again after its back-off.
        match downfall {
            Downfall::Start => self.count_as_lost(id, candidate, now),
            Downfall::Loss => self.disappoint(id, candidate, now),
        }
        if has_link {
            self.touch(id);
        } else {
            self.note_failed(id, candidate);
            self.replace_link(id, now);
        }
    }

    fn note_failed(&mut self, id: SessionId, identifier: &Identifier) {
        let appearance = self.appearance(identifier);
        if let Some(way) = self.way_mut(id) {
            way.roam.failed.insert(identifier.clone(), appearance);
        }
    }

    /// The link is lost, or taken away: the sessions that can go on without it leave it, and are to be told once it is clear what
    /// becomes of it ([`Core::roam_on`]). Those that are settled stay with a link that was stopped.
    pub(crate) fn roam_away(&mut self, identifier: &Identifier, is_stopped: bool, now: Moment) -> Vec<SessionId> {
        let leaving: Vec<SessionId> = self
            .ledger
            .holders(identifier)
            .into_iter()
            .filter(|id| self.can_go_on_without(*id, identifier, is_stopped, now))
            .collect();
        for id in &leaving {
            self.strand(*id, identifier, now);
        }
        leaving
    }

    pub(crate) fn can_go_on_without(&self, id: SessionId, link: &Identifier, is_stopped: bool, now: Moment) -> bool {
        let Some(session) = self.sessions.get(&id) else { return false };
        let Some(way) = session.way.as_ref().filter(|_| matches!(session.interest, Interest::Open { .. })) else {
            return false;
        };
        match way.roam.course {
            Course::Migrating { .. } | Course::Trial { .. } => true,
            _ if is_stopped => false,
            Course::Preparing { .. } => true,
            _ => self.replacement(id, Some(link), now).is_some(),
        }
    }

    /// A session has its link no more, and goes on without.
    pub(crate) fn strand(&mut self, id: SessionId, link: &Identifier, now: Moment) {
        self.deadlines.remove(id);
        let inputs = vec![Input::new("lost", link)];
        self.turn(id, RoamCause::LinkLost, inputs, now, |way| {
            way.member = None;
            way.roam.course = match std::mem::take(&mut way.roam.course) {
                Course::Preparing { candidate } => Course::Replacing { candidate },
                Course::Offered { .. } => Course::Settled,
                course => course,
            };
        });
        self.note_failed(id, link);
        if self.ledger.release(link, id) == Released::Last {
            self.vacated.insert(link.clone());
        }
        if let Some(access_point) = self.access_points.get_mut(link) {
            access_point.sessions.remove(&id);
        }
        self.abort_left_sockets(id);
    }

    /// Those whose link was lost are told so, and go on.
    pub(crate) fn roam_on(&mut self, stranded: Vec<SessionId>, now: Moment) {
        for id in stranded {
            self.tell_state(id, SessionState::Roaming);
            match self.course(id) {
                Some(Course::Settled) => self.replace_link(id, now),
                Some(Course::Migrating { offer }) => {
                    let offer = offer.number;
                    self.tell(id, SessionEvent::CurrentLinkLost { offer });
                }
                Some(Course::Trial { offer }) => {
                    let offer = offer.number;
                    self.await_answer(id, now);
                    self.tell(id, SessionEvent::CurrentLinkLost { offer });
                }
                _ => {}
            }
        }
    }

    /// A session without a link goes to the best member there is, or is offered it, or ends.
    pub(crate) fn replace_link(&mut self, id: SessionId, now: Moment) {
        match self.replacement(id, None, now) {
            Some(best) => self.take_to(id, best, now),
            None => self.end_roaming(id, true, "no other could take its place", now),
        }
    }

    /// What could take the place of a lost link: what is up, else the most preferred that can be brought up. `lost` is about to
    /// be lost.
    pub(crate) fn replacement(&self, id: SessionId, lost: Option<&Identifier>, now: Moment) -> Option<Identifier> {
        let usable = self.replacements(id, lost, now);
        let is_at_hand =
            |member: &&Identifier| self.access_points.get(*member).is_some_and(|found| self.is_at_hand(found));
        usable.iter().find(is_at_hand).or_else(|| usable.first()).cloned()
    }

    /// All of those, the most preferred first.
    pub(crate) fn replacements(&self, id: SessionId, lost: Option<&Identifier>, now: Moment) -> Vec<Identifier> {
        let mut members = self.network_of(id).map(|network| self.members(network)).unwrap_or_default();
        members.retain(|member| self.is_replacement(id, member, lost, now));
        members
    }

    fn is_replacement(&self, id: SessionId, member: &Identifier, lost: Option<&Identifier>, now: Moment) -> bool {
        let Some(access_point) = self.access_points.get(member) else { return false };
        let way = self.sessions.get(&id).and_then(|session| session.way.as_ref());
        let has_failed =
            way.is_some_and(|way| way.roam.failed.get(member) == Some(&access_point.presence.appearance()));
        if lost == Some(member) || has_failed || access_point.presence.is_backing_off(now) {
            return false;
        }
        if self.is_at_hand(access_point) {
            return true;
        }
        // Its carrier was lost. If it is down now, then only on its way to where that shows again.
        if access_point.presence.is_gone() {
            return false;
        }
        // The device of the lost one will be free; of a cable that has no carrier nobody can make use.
        let of_same_device = lost.and_then(|lost| self.access_points.get(lost));
        let of_same_device = of_same_device.filter(|lost| lost.device == access_point.device);
        let is_dead = of_same_device
            .is_some_and(|lost| lost.report.bearer_type.family() == BearerFamily::Wired && !lost.has_carrier());
        !is_dead && is_startable(access_point) && (of_same_device.is_some() || self.busy(member).is_none())
    }

    /// The session has no link, and there is none for it. With `Reconnect` it waits, unless its application wanted none.
    pub(crate) fn end_roaming(&mut self, id: SessionId, may_wait: bool, cause: &str, now: Moment) {
        let Some(session) = self.sessions.get(&id) else { return };
        let failure = nothing_to_roam_to(&session.configuration.name, cause);
        let waits = may_wait && session.properties.reconnect();
        self.forget_course(id);
        let state = match self.sessions.get(&id).and_then(|session| {
            let composite = self.composites.get(&session.configuration.identifier)?;
            Some(self.composite_state(composite))
        }) {
            Some(SessionState::NotAvailable) => SessionState::NotAvailable,
            _ => SessionState::Disconnected,
        };
        if waits {
            self.want(id, Interest::Waiting);
            self.tell_state(id, state);
            self.record_session(id, Verdict::Failed(failure.message), now, Vec::new());
            if let Some(way) = self.way_mut(id) {
                way.failed_starts = 1;
            }
            self.deadlines.insert(id, now + retry_delay(0));
        } else {
            self.want(id, Interest::Watching);
            self.tell_state(id, state);
            self.abort(id, failure, now);
            self.leave_vacated(now);
            self.tell_own_watch(id);
        }
        self.touch(id);
    }

    /// A session does not roam any more; what it held beside its link is given back.
    pub(crate) fn forget_course(&mut self, id: SessionId) {
        self.lingering.remove(id);
        let Some(way) = self.sessions.get_mut(&id).and_then(|session| session.way.as_mut()) else { return };
        if way.roam.is_idle() {
            return;
        }
        let roam = std::mem::take(&mut way.roam);
        self.deadlines.remove(id);
        for identifier in roam.lingering.keys().chain(roam.course.held_candidate()) {
            // Who has closed the session decides about its sockets.
            if self.ledger.release_beside(identifier, id) {
                self.vacated.insert(identifier.clone());
            }
            self.touch_first_holder_of_shared(identifier);
        }
        self.mark_unsaved(id);
    }

    /// A session is about to be closed: a trial is rejected before.
    pub(crate) fn break_off(&mut self, id: SessionId, now: Moment) {
        if self.has_link(id)
            && let Some(candidate) =
                self.course(id).filter(|course| course.is_moving()).and_then(Course::held_candidate)
        {
            let candidate = candidate.clone();
            self.turn(id, RoamCause::Reject, vec![Input::new("cause", "close")], now, |way| {
                way.roam.course = Course::Settled;
            });
            self.release_beside(id, &candidate);
            self.tell_state(id, SessionState::Connected);
        }
    }

    /// A candidate is no member any more.
    pub(crate) fn drop_former_candidate(&mut self, id: SessionId, members: &[Identifier], name: &str, now: Moment) {
        let Some(course) = self.course(id) else { return };
        let Some(candidate) = course.held_candidate().filter(|candidate| !members.contains(candidate)).cloned() else {
            return;
        };
        let failure = Failure {
            error: SessionError::Roaming,
            reason: FailureReason::ConfigurationInvalid,
            message: format!("{candidate} is no member of {name} any more"),
        };
        self.release_beside(id, &candidate);
        self.lose_candidate(id, &candidate, &failure, Downfall::Loss, now);
    }
}

fn nothing_to_roam_to(name: &str, cause: &str) -> Failure {
    Failure {
        error: SessionError::Roaming,
        reason: FailureReason::NothingToRoamTo,
        message: format!("the link of {name} was lost, and {cause}; open the session again once a network is there"),
    }
}
