use std::time::Duration;

use netbearer_types::{Identifier, Moment, OfferNumber, OfferPhase, RoamingSnapshot, SessionState};

use crate::{Core, Input, Refusal, RoamCause, SessionId, access_point::AccessPoint, course::Course, session::Session};

/// What applications say about where their sessions roam (§5, "ALR").
impl Core {
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

    pub(crate) fn begin_migration(&mut self, id: SessionId, now: Moment) {
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
    pub(crate) fn disappoint(&mut self, id: SessionId, candidate: &Identifier, now: Moment) {
        self.ignore_candidate(id, candidate);
        self.count_as_lost(id, candidate, now);
    }

    pub(crate) fn count_as_lost(&mut self, id: SessionId, candidate: &Identifier, now: Moment) {
        if let Some(way) = self.way_mut(id) {
            let rejected = way.roam.rejected.entry(candidate.clone()).or_default();
            rejected.retain(|before| *before + REMEMBERED >= now);
            rejected.push(now);
        }
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
