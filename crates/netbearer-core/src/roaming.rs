use std::{collections::BTreeMap, time::Duration};

use netbearer_types::{
    BearerFamily, Failure, FailureReason, Identifier, Moment, Offer, OfferNumber, OfferPhase, PropertyKey,
    PropertyValue, RoamingSnapshot, SessionError, SessionEvent, SessionState, StateFlags,
};

use crate::{
    Core, CourseKind, Input, Refusal, RoamCause, SessionId, Verdict,
    access_point::AccessPoint,
    choosing::is_startable,
    composite::Composite,
    course::{Course, HeldBack, Reserve},
    ledger::Released,
    opening::{not_available, retry_delay},
    phase::Phase,
    session::{Interest, Session, Way},
    timer::Timer,
};

/// Why what a session holds beside its link came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Downfall {
    /// It did not come up.
    Start,
    /// It was up, or was to be brought up, and was lost, stopped or removed.
    Loss,
}

/// Roaming: which member a session on a service network goes to next, and who decides (§5).
impl Core {
    // What applications say.

    /// The application takes the roaming decisions of this session from now on, or leaves them to us again. What it had been
    /// offered is void then, a trial is rejected, or accepted if the old link is lost.
    ///
    /// # Errors
    /// [`Refusal::CannotRoam`] unless the session is on a service network or a user choice.
    pub fn set_stakeholder(&mut self, id: SessionId, is_stakeholder: bool, now: Moment) -> Result<(), Refusal> {
        let session = self.sessions.get(&id).ok_or(Refusal::UnknownSession)?;
        let Some(way) = session.way.as_ref().filter(|_| session.configuration.is_valid() || !is_stakeholder) else {
            let identifier = session.configuration.identifier.clone();
            return if is_stakeholder { Err(Refusal::CannotRoam(identifier)) } else { Ok(()) };
        };
        if way.stakeholder != is_stakeholder {
            if is_stakeholder {
                self.become_stakeholder(id, now);
            } else {
                self.leave_decisions(id, now);
            }
            self.publish(now);
        }
        Ok(())
    }

    /// True if the application takes the roaming decisions of this session.
    #[must_use]
    pub fn is_stakeholder(&self, id: SessionId) -> bool {
        self.sessions.get(&id).and_then(|session| session.way.as_ref()).is_some_and(|way| way.stakeholder)
    }

    /// The candidate of this offer is brought up while the link in use is kept, for a trial.
    ///
    /// # Errors
    /// [`Refusal::SupersededOffer`], [`Refusal::OutOfTurn`]; nothing has changed then.
    pub fn migrate(&mut self, id: SessionId, offer: OfferNumber, now: Moment) -> Result<(), Refusal> {
        self.expect_answer(id, "migrate", offer, &[OfferPhase::Offered])?;
        self.begin_migration(id, now);
        self.publish(now);
        Ok(())
    }

    /// The session stays where it is; without a link it ends.
    ///
    /// # Errors
    /// As of [`Core::migrate`].
    pub fn ignore(&mut self, id: SessionId, offer: OfferNumber, now: Moment) -> Result<(), Refusal> {
        self.expect_answer(id, "ignore", offer, &[OfferPhase::Offered])?;
        self.ignore_offer(id, now);
        self.publish(now);
        Ok(())
    }

    /// The session uses the candidate from now on. Its hold on the old link is given back.
    ///
    /// # Errors
    /// As of [`Core::migrate`].
    pub fn accept(&mut self, id: SessionId, offer: OfferNumber, now: Moment) -> Result<(), Refusal> {
        self.expect_answer(id, "accept", offer, &[OfferPhase::Trial])?;
        self.settle_on_candidate(id, RoamCause::Accept, now);
        self.publish(now);
        Ok(())
    }

    /// The session goes on with its old link; without that it ends. A migration that has not come to its trial can be rejected,
    /// too.
    ///
    /// # Errors
    /// As of [`Core::migrate`].
    pub fn reject(&mut self, id: SessionId, offer: OfferNumber, now: Moment) -> Result<(), Refusal> {
        self.expect_answer(id, "reject", offer, &[OfferPhase::Migrating, OfferPhase::Trial])?;
        self.reject_candidate(id, RoamCause::Reject, now);
        self.publish(now);
        Ok(())
    }

    /// What the application has to decide on, or has under way.
    pub(crate) fn roaming_snapshot(&self, session: &Session) -> Option<Box<RoamingSnapshot>> {
        let course = &session.way.as_ref()?.roam.course;
        let (offer, phase) = (course.offer()?, course.phase()?);
        let candidate = self.access_points.get(&offer.configuration).filter(|_| phase == OfferPhase::Trial);
        let candidate_interface = candidate.and_then(AccessPoint::interface).cloned();
        Some(Box::new(RoamingSnapshot { offer: offer.clone(), phase, candidate_interface }))
    }

    /// An answer is to the newest offer, and comes when it is due.
    fn expect_answer(
        &self,
        id: SessionId,
        verb: &'static str,
        offer: OfferNumber,
        phases: &[OfferPhase],
    ) -> Result<(), Refusal> {
        let session = self.sessions.get(&id).ok_or(Refusal::UnknownSession)?;
        let course = session.way.as_ref().map(|way| &way.roam.course);
        let Some((current, phase)) = course.and_then(|course| Some((course.offer()?, course.phase()?))) else {
            return Err(Refusal::OutOfTurn { verb, phase: None });
        };
        if current.number != offer {
            return Err(Refusal::SupersededOffer(offer));
        }
        if !phases.contains(&phase) {
            return Err(Refusal::OutOfTurn { verb, phase: Some(phase) });
        }
        Ok(())
    }

    fn become_stakeholder(&mut self, id: SessionId, now: Moment) {
        if let Some(way) = self.way_mut(id) {
            way.stakeholder = true;
        }
        if let Some(Course::Preparing { candidate }) = self.course(id).cloned() {
            self.turn(id, RoamCause::StakeholderGained, Vec::new(), now, |way| way.roam.course = Course::Settled);
            self.release_beside(id, &candidate);
        }
        self.touch(id);
    }

    /// Nobody is there any more who could decide for the session (semantics §4): what was offered counts as ignored, but a link is
    /// wanted all the same.
    pub(crate) fn abandon_decisions(&mut self, id: SessionId, now: Moment) {
        if let Some(Course::Offered { offer }) = self.course(id).filter(|_| self.has_link(id)).cloned() {
            self.ignore_candidate(id, &offer.configuration);
        }
        self.leave_decisions(id, now);
    }

    /// The application does not want to decide for the session any more.
    fn leave_decisions(&mut self, id: SessionId, now: Moment) {
        let Some(way) = self.way_mut(id).filter(|way| way.stakeholder) else { return };
        way.stakeholder = false;
        let has_link = way.member.is_some();
        match way.roam.course.clone() {
            Course::Offered { .. } => {
                self.turn(id, RoamCause::StakeholderLost, Vec::new(), now, |way| way.roam.course = Course::Settled);
                if !has_link {
                    self.replace_link(id, now);
                }
            }
            Course::Migrating { .. } | Course::Trial { .. } if has_link => {
                self.reject_candidate(id, RoamCause::StakeholderLost, now);
            }
            Course::Migrating { offer } => {
                let candidate = offer.configuration;
                self.turn(id, RoamCause::StakeholderLost, Vec::new(), now, |way| {
                    way.roam.course = Course::Replacing { candidate };
                });
            }
            Course::Trial { .. } => self.settle_on_candidate(id, RoamCause::StakeholderLost, now),
            Course::Settled | Course::Preparing { .. } | Course::Replacing { .. } => {}
        }
        self.touch(id);
        if let Some(member) = self.sessions.get(&id).and_then(|session| session.access_point().cloned()) {
            self.touch_first_holder_of_shared(&member);
        }
    }

    fn begin_migration(&mut self, id: SessionId, now: Moment) {
        let Some(Course::Offered { offer }) = self.course(id).cloned() else { return };
        self.deadlines.remove(id);
        let candidate = offer.configuration.clone();
        let inputs = vec![Input::new("offer", offer.number), Input::new("candidate", &candidate)];
        self.turn(id, RoamCause::Migrate, inputs, now, |way| way.roam.course = Course::Migrating { offer });
        self.tell_state(id, SessionState::Roaming);
        self.reach_for(id, &candidate, now);
    }

    fn ignore_offer(&mut self, id: SessionId, now: Moment) {
        let Some(Course::Offered { offer }) = self.course(id).cloned() else { return };
        if !self.has_link(id) {
            return self.end_roaming(id, false, "its application ignored the offer of another", now);
        }
        let inputs = vec![Input::new("offer", offer.number), Input::new("candidate", &offer.configuration)];
        self.turn(id, RoamCause::Ignore, inputs, now, |way| way.roam.course = Course::Settled);
        self.ignore_candidate(id, &offer.configuration);
        self.touch(id);
    }

    fn ignore_candidate(&mut self, id: SessionId, candidate: &Identifier) {
        let appearance = self.appearance(candidate);
        if let Some(way) = self.way_mut(id) {
            way.roam.ignored.insert(candidate.clone(), appearance);
        }
    }

    /// The session stays with the link it had.
    fn reject_candidate(&mut self, id: SessionId, cause: RoamCause, now: Moment) {
        let Some(candidate) = self.course(id).and_then(Course::held_candidate).cloned() else { return };
        if !self.has_link(id) {
            return self.end_roaming(id, false, "its application rejected another", now);
        }
        self.turn(id, cause, vec![Input::new("candidate", &candidate)], now, |way| way.roam.course = Course::Settled);
        self.release_beside(id, &candidate);
        self.disappoint(id, &candidate, now);
        self.tell_state(id, SessionState::Connected);
        self.touch(id);
    }

    /// It counts as ignored, and as having been lost.
    fn disappoint(&mut self, id: SessionId, candidate: &Identifier, now: Moment) {
        self.ignore_candidate(id, candidate);
        self.count_as_lost(id, candidate, now);
    }

    fn count_as_lost(&mut self, id: SessionId, candidate: &Identifier, now: Moment) {
        if let Some(way) = self.way_mut(id) {
            let rejected = way.roam.rejected.entry(candidate.clone()).or_default();
            rejected.retain(|before| *before + REMEMBERED >= now);
            rejected.push(now);
        }
    }

    // What the world does.

    /// Whether something else is offered to a session, or it is moved, as things are now. Time that has to pass first is waited for.
    pub(crate) fn consider(&mut self, id: SessionId, now: Moment) {
        self.forget_former_appearances(id);
        let Some(course) = self.course(id) else { return };
        match (course.clone(), self.has_link(id)) {
            (Course::Settled, true) => {
                if let Some(best) = self.await_better(id, now) {
                    self.take_to(id, best, now);
                }
            }
            (Course::Preparing { candidate }, true) => {
                let way = self.sessions.get(&id).and_then(|session| session.way.as_ref());
                let current = way.and_then(|way| way.member.as_ref());
                if current.is_some_and(|current| !self.is_preferred(id, &candidate, current)) {
                    let inputs = vec![Input::new("candidate", &candidate)];
                    self.turn(id, RoamCause::Withdraw, inputs, now, |way| way.roam.course = Course::Settled);
                    self.release_beside(id, &candidate);
                    self.touch(id);
                }
            }
            (Course::Offered { offer }, true) => {
                let best = self.await_better(id, now);
                if best.as_ref() == Some(&offer.configuration) {
                    return;
                }
                let is_preferred = |best: &Identifier| self.is_preferred(id, best, &offer.configuration);
                match best {
                    Some(best) if is_preferred(&best) => self.offer(id, best, RoamCause::Supersede, now),
                    _ if self.stands(id, &offer.configuration, now) => {}
                    best => {
                        self.withdraw_offer(id, &offer, now);
                        if let Some(best) = best {
                            self.offer(id, best, RoamCause::Offer, now);
                        }
                    }
                }
            }
            (Course::Offered { offer }, false) => {
                let best = self.replacement(id, None, now);
                let is_there = self.replacements(id, None, now).contains(&offer.configuration);
                match best {
                    Some(best) if !is_there || self.is_preferred(id, &best, &offer.configuration) => {
                        self.offer(id, best, RoamCause::Supersede, now);
                    }
                    _ if is_there => {}
                    _ => {
                        self.withdraw_offer(id, &offer, now);
                        self.replace_link(id, now);
                    }
                }
            }
            _ => {}
        }
    }

    /// What has gone away and come back is worth another look, also after the service was started anew.
    fn forget_former_appearances(&mut self, id: SessionId) {
        let Some(way) = self.sessions.get(&id).and_then(|session| session.way.as_ref()) else { return };
        let is_former = |(identifier, appearance): (&Identifier, &u64)| {
            self.access_points.get(identifier).is_none_or(|found| found.presence.appearance() != *appearance)
        };
        let remembered = way.roam.ignored.iter().chain(&way.roam.failed);
        let former: Vec<(Identifier, u64)> =
            remembered.filter(|one| is_former(*one)).map(|(one, appearance)| (one.clone(), *appearance)).collect();
        if former.is_empty() {
            return;
        }
        if let Some(way) = self.way_mut(id) {
            for (identifier, appearance) in former {
                for remembered in [&mut way.roam.ignored, &mut way.roam.failed] {
                    if remembered.get(&identifier) == Some(&appearance) {
                        remembered.remove(&identifier);
                    }
                }
            }
        }
    }

    /// The best member that is preferred to the one in use, and has been there long enough. If there is none yet, the session is
    /// looked at again when there will be.
    fn await_better(&mut self, id: SessionId, now: Moment) -> Option<Identifier> {
        let (best, held_back) = self.better(id, now);
        match held_back.iter().filter_map(|held_back| held_back.by.end()).min() {
            Some(next) => self.deadlines.insert(id, next),
            None => self.deadlines.remove(id),
        }
        self.note_held_back(id, held_back.into_iter().next(), now);
        best
    }

    /// Why nothing happens although something better is there, once for each reason.
    fn note_held_back(&mut self, id: SessionId, held_back: Option<HeldBack>, now: Moment) {
        // Nothing of that is saved.
        let way = self.sessions.get_mut(&id).and_then(|session| session.way.as_deref_mut());
        let Some(way) = way.filter(|way| way.held_back != held_back) else { return };
        way.held_back.clone_from(&held_back);
        let Some(HeldBack { candidate, by }) = held_back else { return };
        let mut inputs = self.candidate_inputs(id, &candidate);
        inputs.push(Input::new("cause", by));
        if let Some(end) = by.end() {
            let left = Duration::from_millis(u64::try_from((end - now).as_millis()).unwrap_or(u64::MAX));
            inputs.push(Input::new("for another", format_args!("{left:?}")));
        }
        self.record_session(id, Verdict::HoldBack, now, inputs);
    }

    /// And what is better still, but held back.
    fn better(&self, id: SessionId, now: Moment) -> (Option<Identifier>, Vec<HeldBack>) {
        let mut held_back = Vec::new();
        let nothing = || (None, Vec::new());
        let Some(way) = self.sessions.get(&id).and_then(|session| session.way.as_ref()) else { return nothing() };
        let Some(current) = &way.member else { return nothing() };
        let Some(network) = self.network_of(id) else { return nothing() };
        let settle = self.settings.profiles.settle(&network.identifier);
        let members = self.ranked_members(network);
        let rank = members.iter().find(|(_, member)| member == current).map(|(rank, _)| *rank);
        let Some(current_rank) = rank else { return nothing() };
        for (_, member) in members.into_iter().take_while(|(rank, _)| *rank < current_rank) {
            let Some(access_point) = self.access_points.get(&member) else { continue };
            if !(self.is_candidate(access_point, current) || self.can_break_for(id, access_point, current)) {
                continue;
            }
            if way.roam.ignores(&member, access_point) {
                held_back.push(HeldBack { candidate: member, by: Reserve::Ignored });
                continue;
            }
            let rejections = way.roam.rejected.get(&member).into_iter().flatten();
            let rejections = rejections.filter(|rejection| access_point.presence.remembers(**rejection)).count();
            match access_point.presence.settled_at(settle, rejections) {
                Some(settled) if settled <= now => return (Some(member), held_back),
                Some(settled) => {
                    let is_backing_off = access_point.presence.is_backing_off(now);
                    let by = if is_backing_off { Reserve::BacksOff(settled) } else { Reserve::Settles(settled) };
                    held_back.push(HeldBack { candidate: member, by });
                }
                None => {}
            }
        }
        (None, held_back)
    }

    /// What was offered is still to be had, or soon again. It need not wait anew to be offered because the service was started
    /// anew, or because others have brought it up and let it go.
    fn stands(&mut self, id: SessionId, offered: &Identifier, now: Moment) -> bool {
        let current = self.sessions.get(&id).and_then(|session| session.way.as_ref()?.member.as_ref());
        let Some((current, access_point)) = current.zip(self.access_points.get(offered)) else { return false };
        if !self.is_preferred(id, offered, current) {
            return false;
        }
        if access_point.past.is_some_and(|past| !past.is_missed) {
            return true;
        }
        if !self.is_within_reach(access_point, current) || access_point.presence.is_backing_off(now) {
            return false;
        }
        let doubted_until = access_point.presence.doubted_until(access_point.profile.carrier_timeout);
        match doubted_until.filter(|until| now < *until) {
            // One that has come back is offered anew, once it has settled.
            None => access_point.presence.is_there() && access_point.presence.appearance() == 0,
            Some(until) => {
                let next = self.deadlines.get(id).map_or(until, |next| next.min(until));
                self.deadlines.insert(id, next);
                true
            }
        }
    }

    /// It is there, and a trial of it is possible beside the link in use.
    fn is_candidate(&self, access_point: &AccessPoint, current: &Identifier) -> bool {
        access_point.presence.is_there() && self.is_within_reach(access_point, current)
    }

    /// It is up, or can be brought up beside the link in use.
    fn is_within_reach(&self, access_point: &AccessPoint, current: &Identifier) -> bool {
        let has_own_device =
            || self.access_points.get(current).is_none_or(|current| current.device != access_point.device);
        self.is_at_hand(access_point) || self.is_free(access_point) && has_own_device()
    }

    /// It has the device of the link in use, which all who hold that would leave for it: they are moved without asking, and find
    /// it better (§3, "Exclusive"). The first of them is looked at on behalf of all, as there may be thousands.
    fn can_break_for(&self, id: SessionId, access_point: &AccessPoint, current: &Identifier) -> bool {
        let is_of_same_device = self
            .access_points
            .get(current)
            .is_some_and(|found| found.device == access_point.device && found.phase == Phase::Up);
        let would_leave = |id: SessionId| !self.is_stakeholder(id) && self.course(id) == Some(&Course::Settled);
        let finds_it_better = |network: Option<&Composite>| {
            network.is_some_and(|network| self.is_preferred_in(network, access_point.identifier(), current))
        };
        let networks = || {
            let networks = self.ledger.iter(current).map(|id| self.network_of(id));
            networks.map(|network| (network.map(|network| &network.identifier), network)).collect::<BTreeMap<_, _>>()
        };
        is_of_same_device
            && self.ledger.iter(current).next() == Some(id)
            && access_point.presence.is_there()
            && is_startable(access_point)
            && self.ledger.guests(current).is_empty()
            && self.ledger.iter(current).all(would_leave)
            && networks().into_values().all(finds_it_better)
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
            self.tell_state(*id, SessionState::Roaming);
        }
        self.last_hold_gone(current, now);
        for id in leaving {
            self.reach_for(id, candidate, now);
        }
    }

    fn is_preferred(&self, id: SessionId, one: &Identifier, other: &Identifier) -> bool {
        self.network_of(id).is_some_and(|network| self.is_preferred_in(network, one, other))
    }

    fn is_preferred_in(&self, network: &Composite, one: &Identifier, other: &Identifier) -> bool {
        let members = self.ranked_members(network);
        let rank = |member: &Identifier| {
            members.iter().find(|(_, found)| found == member).map_or(usize::MAX, |(rank, _)| *rank)
        };
        rank(one) < rank(other)
    }

    /// A settled session goes to this member: it is offered, or brought up at once.
    fn take_to(&mut self, id: SessionId, candidate: Identifier, now: Moment) {
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

    fn offer(&mut self, id: SessionId, candidate: Identifier, cause: RoamCause, now: Moment) {
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

    fn withdraw_offer(&mut self, id: SessionId, offer: &Offer, now: Moment) {
        let inputs = vec![Input::new("offer", offer.number), Input::new("candidate", &offer.configuration)];
        self.turn(id, RoamCause::Withdraw, inputs, now, |way| way.roam.course = Course::Settled);
        self.tell(id, SessionEvent::OfferWithdrawn { offer: offer.number });
    }

    fn candidate_inputs(&self, id: SessionId, candidate: &Identifier) -> Vec<Input> {
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
    fn await_answer(&mut self, id: SessionId, now: Moment) {
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
    fn reach_for(&mut self, id: SessionId, candidate: &Identifier, now: Moment) {
        self.ledger.take_beside(candidate, id);
        let lingered = self.way_mut(id).is_some_and(|way| way.roam.lingering.remove(candidate).is_some());
        if lingered {
            self.await_end_of_lingering(id);
        }
        if let Err(failure) = self.bring_up_beside(candidate, now) {
            self.back_off(candidate, now);
            self.release_beside(id, candidate);
            self.lose_candidate(id, candidate, &failure, Downfall::Start, now);
        }
    }

    /// Brings an access point up for those who hold it beside the one they use, unless it is up already.
    fn bring_up_beside(&mut self, identifier: &Identifier, now: Moment) -> Result<(), Failure> {
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
                self.candidate_is_up(identifier, now);
            }
            Phase::Up | Phase::Regaining => self.candidate_is_up(identifier, now),
            Phase::Lingering => {
                let inputs = vec![Input::new("cause", "roaming while it lingers")];
                self.enter_phase(identifier, Phase::Up, Verdict::Up, now, inputs);
                self.tell_composites(identifier);
                self.candidate_is_up(identifier, now);
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

    /// An access point has come up: those who roam to it have what they wanted.
    pub(crate) fn candidate_is_up(&mut self, identifier: &Identifier, now: Moment) {
        for id in self.ledger.guests(identifier) {
            let course = self.course(id).filter(|course| course.held_candidate() == Some(identifier)).cloned();
            match course {
                Some(Course::Preparing { .. } | Course::Replacing { .. }) => {
                    self.settle_on_candidate(id, RoamCause::CandidateUp, now);
                }
                Some(Course::Migrating { offer }) => self.begin_trial(id, offer, now),
                _ => {}
            }
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
    fn settle_on_candidate(&mut self, id: SessionId, cause: RoamCause, now: Moment) {
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

    fn await_end_of_lingering(&mut self, id: SessionId) {
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
        way.roam.lingering.retain(|_, end| *end > now);
        for left in over {
            self.record_session(id, Verdict::Release, now, vec![Input::new("left", &left)]);
            self.release_beside(id, &left);
        }
        self.await_end_of_lingering(id);
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

    // What is lost.

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

    fn lose_candidate(
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
    fn replace_link(&mut self, id: SessionId, now: Moment) {
        match self.replacement(id, None, now) {
            Some(best) => self.take_to(id, best, now),
            None => self.end_roaming(id, true, "no other could take its place", now),
        }
    }

    /// What could take the place of a lost link: what is up, else the most preferred that can be brought up. `lost` is about to
    /// be lost.
    fn replacement(&self, id: SessionId, lost: Option<&Identifier>, now: Moment) -> Option<Identifier> {
        let usable = self.replacements(id, lost, now);
        let is_at_hand =
            |member: &&Identifier| self.access_points.get(*member).is_some_and(|found| self.is_at_hand(found));
        usable.iter().find(is_at_hand).or_else(|| usable.first()).cloned()
    }

    /// All of those, the most preferred first.
    fn replacements(&self, id: SessionId, lost: Option<&Identifier>, now: Moment) -> Vec<Identifier> {
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
    fn end_roaming(&mut self, id: SessionId, may_wait: bool, cause: &str, now: Moment) {
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

    /// An administrator has put the members in another order, so what was ignored is worth another look.
    pub(crate) fn consider_order_anew(&mut self, network: &Identifier) {
        let is_on_it =
            |(id, _): &(&SessionId, &Session)| self.network_of(**id).is_some_and(|found| found.identifier == *network);
        let sessions: Vec<SessionId> = self.sessions.iter().filter(is_on_it).map(|(id, _)| *id).collect();
        for id in sessions {
            if let Some(way) = self.way_mut(id) {
                way.roam.ignored.clear();
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

    // What several of these need.

    /// The course of a session that is open on a composite.
    fn course(&self, id: SessionId) -> Option<&Course> {
        let session = self.sessions.get(&id).filter(|session| matches!(session.interest, Interest::Open { .. }))?;
        session.way.as_ref().map(|way| &way.roam.course)
    }

    fn has_link(&self, id: SessionId) -> bool {
        self.sessions.get(&id).and_then(|session| session.way.as_ref()).is_some_and(|way| way.member.is_some())
    }

    fn appearance(&self, identifier: &Identifier) -> u64 {
        self.access_points.get(identifier).map_or(0, |found| found.presence.appearance())
    }

    /// The one place where a session's course changes.
    fn turn(
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

/// Rejections are remembered so long.
const REMEMBERED: Duration = Duration::from_secs(60);

impl Course {
    pub(crate) const fn phase(&self) -> Option<OfferPhase> {
        match self {
            Self::Offered { .. } => Some(OfferPhase::Offered),
            Self::Migrating { .. } => Some(OfferPhase::Migrating),
            Self::Trial { .. } => Some(OfferPhase::Trial),
            Self::Settled | Self::Preparing { .. } | Self::Replacing { .. } => None,
        }
    }
}

fn nothing_to_roam_to(name: &str, cause: &str) -> Failure {
    Failure {
        error: SessionError::Roaming,
        reason: FailureReason::NothingToRoamTo,
        message: format!("the link of {name} was lost, and {cause}; open the session again once a network is there"),
    }
}
