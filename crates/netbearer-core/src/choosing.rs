use std::{collections::BTreeSet, time::Duration};

use netbearer_types::{
    BearerFamily, Failure, FailureReason, Identifier, Kind, Moment, PropertyKey, PropertyValue, SessionError,
    SessionEvent, SessionState, StateFlags,
};

use crate::{
    Core, Input, Refusal, SessionId, Verdict,
    access_point::AccessPoint,
    ledger::Released,
    opening::{ENUMERATION_TIMEOUT, not_available, retry_delay},
    phase::Phase,
    ranking,
    session::{Interest, Way},
};

/// How long a user may think about a question (§6).
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Opening service networks and user choices: which access point a session comes to, and when it leaves it.
impl Core {
    pub(crate) fn open_composite(&mut self, id: SessionId, now: Moment) -> Result<(), Refusal> {
        if let Some(way) = self.way_mut(id) {
            // One that is still on its way down is left behind: the session wants the best there is now.
            *way = Way {
                member: way.member.take(),
                shown: way.shown.take(),
                sighted: way.sighted.take(),
                stakeholder: way.stakeholder,
                ..Way::default()
            };
        }
        if let Some(member) = self.sessions.get(&id).and_then(|session| session.access_point().cloned()) {
            self.detach(id, &member, now);
        }
        if self.is_on(id, Kind::UserChoice) {
            return self.open_user_choice(id, now);
        }
        self.take_member(id, now)
    }

    pub(crate) fn open_user_choice(&mut self, id: SessionId, now: Moment) -> Result<(), Refusal> {
        let choices = self.usable_choices(id);
        let in_background = self.sessions.get(&id).is_some_and(|session| {
            session.client.is_none()
                || session.properties.get(PropertyKey::ConnectInBackground) == Some(PropertyValue::Boolean(true))
        });
        if choices.len() > 1 && !in_background && self.ask(id, &choices, now) {
            return Ok(());
        }
        match choices.into_iter().next() {
            Some(choice) => self.resolve(id, choice, now),
            None => self.take_member(id, now),
        }
    }

    /// A user choice has become this.
    pub(crate) fn resolve(&mut self, id: SessionId, choice: Identifier, now: Moment) -> Result<(), Refusal> {
        self.record_session(id, Verdict::Resolved, now, vec![Input::new("to", &choice)]);
        if let Some(way) = self.way_mut(id) {
            way.resolved = Some(choice);
        }
        self.take_member(id, now)
    }

    /// What a user choice could come to now, the most preferred first.
    pub(crate) fn usable_choices(&self, id: SessionId) -> Vec<Identifier> {
        let Some(composite) = self.composite_of(id) else { return Vec::new() };
        let is_usable = |access_point: &&AccessPoint| self.is_at_hand(access_point) || self.is_free(access_point);
        if composite.references.is_empty() {
            let mut usable: Vec<&AccessPoint> = self.access_points.values().filter(is_usable).collect();
            usable.sort_by_key(|access_point| ranking::order(access_point));
            let networks = self.composites.values().filter(|network| network.kind == Kind::ServiceNetwork);
            let is_network_usable = |network: &&crate::composite::Composite| {
                let members = self.members(network);
                members.iter().filter_map(|member| self.access_points.get(member)).any(|member| is_usable(&member))
            };
            let networks = networks.filter(is_network_usable).map(|network| network.identifier.clone());
            return networks.chain(usable.into_iter().map(|access_point| access_point.identifier().clone())).collect();
        }
        let mut choices: Vec<(bool, Identifier)> = Vec::new();
        for reference in &composite.references {
            let (names, members) = match self.referred_composite(reference, Kind::ServiceNetwork) {
                Some(network) => (vec![network.identifier.clone()], self.members(network)),
                None => {
                    let found: Vec<Identifier> = self.referred_access_points(reference).cloned().collect();
                    (found.clone(), found)
                }
            };
            let members: Vec<&AccessPoint> =
                members.iter().filter_map(|member| self.access_points.get(member)).filter(is_usable).collect();
            if !members.is_empty() {
                let is_active = members.iter().any(|member| self.is_at_hand(member));
                choices.extend(names.into_iter().map(|name| (!is_active, name)));
            }
        }
        // The order is the administrator's, but what is up is taken before what would have to be brought up.
        choices.sort_by_key(|(is_down, _)| *is_down);
        choices.into_iter().map(|(_, choice)| choice).collect()
    }

    /// Takes the most preferred Active member, else begins with the most preferred that can be brought up; those that failed
    /// before in this opening are passed over (§3).
    pub(crate) fn take_member(&mut self, id: SessionId, now: Moment) -> Result<(), Refusal> {
        let candidates = self.candidates(id);
        let at_hand = candidates.iter().find(|candidate| self.is_at_hand(candidate));
        let startable = candidates.iter().find(|candidate| is_startable(candidate));
        let Some(chosen) = at_hand.or(startable) else { return self.go_without_member(id, now) };
        let member = chosen.identifier().clone();
        if let Some(failure) = self.busy(&member) {
            if let Some(way) = self.way_mut(id) {
                way.failed.push((member, failure));
            }
            return self.take_member(id, now);
        }
        let inputs = vec![
            Input::new("member", &member),
            Input::new("state", chosen.flags()),
            Input::new("candidates", candidates.len()),
        ];
        self.record_session(id, Verdict::Member, now, inputs);
        self.deadlines.remove(id);
        if let Some(way) = self.way_mut(id) {
            way.member = Some(member.clone());
        }
        if let Some(access_point) = self.access_points.get_mut(&member) {
            access_point.sessions.insert(id);
        }
        let outcome = self.open_on(id, &member, now);
        if let Some(access_point) = self.access_points.get(&member)
            && self.sessions.get(&id).is_some_and(|session| session.access_point() == Some(&member))
        {
            let state = self.access_point_state(access_point);
            let told = self.sessions.get(&id).map(|session| session.told);
            // Who goes on to a member that has to go down first is Connecting throughout.
            if !(told == Some(SessionState::Connecting) && state == SessionState::Closing) {
                self.tell_state(id, state);
            }
        }
        outcome
    }

    /// What can be tried for a session, the most preferred first.
    fn candidates(&self, id: SessionId) -> Vec<&AccessPoint> {
        let Some(way) = self.sessions.get(&id).and_then(|session| session.way.as_ref()) else { return Vec::new() };
        let members = self.ways_of(id);
        let is_untried = |member: &&Identifier| !way.failed.iter().any(|(failed, _)| failed == *member);
        members.iter().filter(is_untried).filter_map(|member| self.access_points.get(member)).collect()
    }

    /// The access points a session on a composite is about, the most preferred first.
    pub(crate) fn ways_of(&self, id: SessionId) -> Vec<Identifier> {
        let resolved = self.sessions.get(&id).and_then(|session| session.way.as_ref()?.resolved.as_ref());
        match (resolved, self.composite_of(id)) {
            (Some(resolved), _) => match self.composites.get(resolved) {
                Some(network) => self.members(network),
                None => vec![resolved.clone()],
            },
            (None, Some(composite)) => self.members(composite),
            (None, None) => Vec::new(),
        }
    }

    /// It can be used at once.
    pub(crate) fn is_at_hand(&self, access_point: &AccessPoint) -> bool {
        access_point.flags() == StateFlags::Active
            && !matches!(access_point.phase, Phase::Closing(_))
            && self.deafness(access_point.identifier()).is_none()
    }

    /// It can be brought up, now or soon, and its device is nobody else's.
    pub(crate) fn is_free(&self, access_point: &AccessPoint) -> bool {
        is_startable(access_point) && self.busy(access_point.identifier()).is_none()
    }

    /// No member can be tried, or none is left.
    fn go_without_member(&mut self, id: SessionId, now: Moment) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get(&id) else { return Err(Refusal::UnknownSession) };
        let name = session.configuration.name.clone();
        let (is_holding, reconnect) = (session.interest.holds(), session.properties.reconnect());
        let failed = session.way.as_ref().map(|way| way.failed.clone()).unwrap_or_default();
        if !failed.is_empty() {
            if reconnect {
                self.wait_without_member(id);
                let way = self.way_mut(id);
                let failed_starts = way.map_or(0, |way| {
                    way.failed.clear();
                    way.failed_starts = way.failed_starts.saturating_add(1);
                    way.failed_starts - 1
                });
                self.deadlines.insert(id, now + retry_delay(failed_starts));
                self.tell_own_watch(id);
                return Ok(());
            }
            self.fail_without_member(id, self.all_failed(&name, &failed), now);
            return Ok(());
        }
        let obstacle = self.candidates(id).into_iter().find_map(|candidate| self.obstacle(candidate));
        if let Some(failure) = obstacle {
            self.fail_without_member(id, failure.clone(), now);
            return if is_holding { Ok(()) } else { Err(Refusal::NotSupported(failure)) };
        }
        if reconnect {
            self.wait_without_member(id);
            self.tell_own_watch(id);
        } else if !self.enumerated && !is_holding {
            self.take_up(id, Interest::Opening);
            self.record_session(id, Verdict::AwaitEnumeration, now, Vec::new());
            self.deadlines.insert(id, now + ENUMERATION_TIMEOUT);
            self.tell_state(id, SessionState::Connecting);
        } else {
            self.fail_without_member(id, not_available(&name), now);
        }
        Ok(())
    }

    /// The causes of all, each with the name of its access point, which most have in them.
    fn all_failed(&self, name: &str, failed: &[(Identifier, Failure)]) -> Failure {
        let cause = |(member, failure): &(Identifier, Failure)| {
            let member = self.access_points.get(member).map_or(member.as_str(), |found| found.report.name.as_str());
            let message = &failure.message;
            if names(message, member) { message.clone() } else { format!("{member}: {message}") }
        };
        let causes: Vec<String> = failed.iter().map(cause).collect();
        let causes = match &causes[..] {
            [only] => only.clone(),
            causes => {
                let numbered = (1..).zip(causes).map(|(number, cause)| format!("({number}) {cause}"));
                numbered.collect::<Vec<_>>().join("; ")
            }
        };
        Failure {
            error: SessionError::Unknown,
            reason: FailureReason::AllMembersFailed,
            message: format!("no member of {name} could be brought up: {causes}"),
        }
    }

    /// Why a member that is at least Discovered is of no use.
    fn obstacle(&self, candidate: &AccessPoint) -> Option<Failure> {
        match candidate.flags() {
            StateFlags::Discovered => candidate.report.cannot_start_and_stop.clone(),
            StateFlags::Active => self.deafness(candidate.identifier()),
            _ => None,
        }
    }

    fn wait_without_member(&mut self, id: SessionId) {
        self.take_up(id, Interest::Waiting);
    }

    /// The opening has come to nothing.
    pub(crate) fn fail_without_member(&mut self, id: SessionId, failure: Failure, now: Moment) {
        self.withdraw_question(id);
        self.deadlines.remove(id);
        if self.sessions.get(&id).is_some_and(|session| session.interest.holds()) {
            self.want(id, Interest::Failing);
        }
        self.tell_own_watch(id);
        self.tell_failure(id, failure, now);
        self.touch(id);
    }

    /// Tells a session without a member what its composite is.
    pub(crate) fn tell_own_watch(&mut self, id: SessionId) {
        if let Some(composite) = self.composite_of(id) {
            let state = self.composite_state(composite);
            let shown = self.shown_member(composite).map(|access_point| access_point.identifier().clone());
            self.tell_watch(id, state, shown.as_ref());
        }
    }

    /// Those who were opening on this member and can try another let go of it, in silence.
    pub(crate) fn move_on(&mut self, member: &Identifier, failure: &Failure, now: Moment) -> Vec<SessionId> {
        let can_move = |id: &SessionId| {
            self.sessions.get(id).is_some_and(|session| session.way.is_some() && session.interest == Interest::Opening)
        };
        let moving: Vec<SessionId> = self.ledger.holders(member).into_iter().filter(can_move).collect();
        for id in &moving {
            self.leave_member(*id, member, Some(failure.clone()), now);
        }
        moving
    }

    /// A session leaves a member without being told anything, and goes on wanting one.
    pub(crate) fn leave_member(
        &mut self,
        id: SessionId,
        member: &Identifier,
        failure: Option<Failure>,
        now: Moment,
    ) -> Released {
        let released = self.ledger.release(member, id);
        let holds = Input::new("holds", self.ledger.count(member));
        self.record_session(id, Verdict::Release, now, vec![Input::new("member", member), holds]);
        if let Some(access_point) = self.access_points.get_mut(member) {
            access_point.sessions.remove(&id);
        }
        if let Some(way) = self.way_mut(id) {
            way.member = None;
            way.failed.extend(failure.map(|failure| (member.clone(), failure)));
        }
        released
    }

    /// They try another member.
    pub(crate) fn try_next(&mut self, moving: Vec<SessionId>, now: Moment) {
        for id in moving {
            // Told on the event stream; nobody is calling.
            let _ = self.take_member(id, now);
        }
    }

    /// Those who hold a lost link on behalf of a composite, and wait for any member now (`Reconnect`). They see the loss of
    /// this one first, and try the others first.
    pub(crate) fn drift(&mut self, member: &Identifier, loss: &Failure) {
        let drifts = |id: &SessionId| self.reconnects(*id) && self.is_composite(*id);
        let drifting: Vec<SessionId> = self.ledger.holders(member).into_iter().filter(drifts).collect();
        for id in drifting {
            self.ledger.release(member, id);
            self.want(id, Interest::Waiting);
            if let Some(way) = self.way_mut(id) {
                way.failed.push((member.clone(), loss.clone()));
            }
            self.touch(id);
        }
    }

    /// A session uses a member no more.
    pub(crate) fn detach(&mut self, id: SessionId, member: &Identifier, now: Moment) {
        if let Some(way) = self.way_mut(id) {
            way.shown = way.member.take();
        }
        if let Some(access_point) = self.access_points.get_mut(member) {
            access_point.sessions.remove(&id);
        }
        self.forget_if_absent(member, now);
    }

    /// A composite's session that uses no member ends.
    pub(crate) fn close_without_member(&mut self, id: SessionId, now: Moment) {
        self.withdraw_question(id);
        self.deadlines.remove(id);
        if !self.sessions.get(&id).is_some_and(|session| session.interest.holds()) {
            return;
        }
        self.want(id, Interest::Watching);
        self.leave_sockets(id);
        self.tell(id, SessionEvent::Closed);
        // It watches what is left when nothing is held for it any more.
        self.leave_vacated(now);
        self.tell_own_watch(id);
        self.touch(id);
    }

    /// After everything else has been decided: sessions whose member is down watch their composite again, those who wait
    /// take what has come, and unused members are kept in sight.
    pub(crate) fn settle_composites(&mut self, now: Moment) {
        // Each round ends something; what is left to the next one was begun by the round before.
        self.leave_vacated(now);
        while !(self.unsettled.is_empty() && self.touched.is_empty()) {
            let mut sessions = std::mem::take(&mut self.touched);
            let unsettled = std::mem::take(&mut self.unsettled);
            for composite in unsettled.iter().filter_map(|identifier| self.composites.get(identifier)) {
                sessions.extend(&composite.sessions);
            }
            for id in sessions {
                self.settle_session(id, now);
                self.follow_sight(id);
            }
            for identifier in unsettled {
                self.tell_watchers(&identifier);
                self.unpublished.insert(identifier);
            }
            self.leave_vacated(now);
            self.sense(now);
        }
    }

    fn settle_session(&mut self, id: SessionId, now: Moment) {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        let Some(session) = self.sessions.get(&id) else { return };
        let (interest, member) = (session.interest, session.access_point().cloned());
        match (interest, member) {
            (Interest::Watching, Some(member)) if !self.is_going_down(&member) => {
                self.detach(id, &member, now);
                self.tell_own_watch(id);
            }
            (Interest::Watching, None) => {
                // What it came to is of the past.
                let is_resolved = session.way.as_ref().is_some_and(|way| way.resolved.is_some());
                if is_resolved && let Some(way) = self.way_mut(id) {
                    way.resolved = None;
                }
            }
            (Interest::Waiting, member) => {
                let has_lost_one = member.is_some();
                if let Some(member) = member {
                    self.detach(id, &member, now);
                }
                if !has_lost_one && let Some(way) = self.way_mut(id) {
                    // A row of tries is over; a member that comes back is tried anew.
                    way.failed.clear();
                }
                let candidates = self.candidates(id);
                let is_at_hand = candidates.iter().any(|candidate| self.is_at_hand(candidate));
                let may_try = is_at_hand || self.deadlines.get(id).is_none();
                let is_possible =
                    candidates.iter().any(|candidate| self.is_at_hand(candidate) || self.is_free(candidate));
                if has_lost_one {
                    self.become_opening(id);
                    let _ = self.take_member(id, now);
                } else if !is_possible {
                    // What goes away and comes back is another try, not the next of a row.
                    self.deadlines.remove(id);
                    if let Some(way) = self.way_mut(id) {
                        way.failed_starts = 0;
                    }
                    self.tell_own_watch(id);
                } else if may_try {
                    self.become_opening(id);
                    let _ = self.open_again(id, now);
                } else {
                    self.tell_own_watch(id);
                }
            }
            (Interest::Opening, None) => {
                let is_asked = self.is_asked(id);
                let is_possible = !self
                    .candidates(id)
                    .iter()
                    .all(|candidate| !self.is_at_hand(candidate) && !is_startable(candidate));
                if !is_asked && (is_possible || self.enumerated) {
                    let _ = self.open_again(id, now);
                }
            }
            (Interest::Open { .. }, _) => self.consider(id, now),
            _ => {}
        }
    }

    /// Opens what was waited for; a user choice that has not been made is made now.
    pub(crate) fn open_again(&mut self, id: SessionId, now: Moment) -> Result<(), Refusal> {
        let is_resolved = self.sessions.get(&id).and_then(|session| session.way.as_ref()?.resolved.as_ref()).is_some();
        if self.is_on(id, Kind::UserChoice) && !is_resolved {
            self.open_user_choice(id, now)
        } else {
            self.take_member(id, now)
        }
    }

    fn become_opening(&mut self, id: SessionId) {
        self.want(id, Interest::Opening);
    }

    /// The member that a closed session still sees: ours, on its way down, and held by nobody (§2).
    fn is_going_down(&self, member: &Identifier) -> bool {
        let Some(access_point) = self.access_points.get(member) else { return false };
        match self.access_point_state(access_point) {
            SessionState::Closing => true,
            SessionState::Connected => access_point.phase != Phase::Observed && self.ledger.count(member) == 0,
            _ => false,
        }
    }

    /// The time of a session without a member has come.
    pub(crate) fn session_due(&mut self, id: SessionId, now: Moment) {
        let Some(session) = self.sessions.get(&id) else { return };
        match session.interest {
            Interest::Waiting => {
                self.touch(id);
            }
            Interest::Opening if session.access_point().is_none() => {
                let name = session.configuration.name.clone();
                let is_asked = self.is_asked(id);
                let failure = if is_asked { unanswered(&name) } else { not_available(&name) };
                self.fail_without_member(id, failure, now);
            }
            Interest::Open { .. } => self.roaming_due(id, now),
            _ => {}
        }
    }

    /// While a session is open on a service network, or waits for it, its unused wired members that we may start are kept up
    /// without addresses, so that their carrier decides (§2, "Sensing"). What others keep up shows its carrier anyway.
    fn sense(&mut self, now: Moment) {
        let networks = self.sighted.keys().filter_map(|network| self.composites.get(network));
        let wanted: BTreeSet<Identifier> = networks.flat_map(|network| self.members(network)).collect();
        let is_sensed = |access_point: &AccessPoint| {
            access_point.phase == Phase::Observed
                && access_point.report.bearer_type.family() == BearerFamily::Wired
                && access_point.may_start()
                && access_point.link().is_some_and(|link| !link.administratively_up && has_no_addresses(link))
        };
        for identifier in self
            .access_points_where(|access_point| wanted.contains(access_point.identifier()) && is_sensed(access_point))
        {
            if !self.may_be_sensed(&identifier) {
                continue;
            }
            self.occupy(&identifier);
            self.enter_phase(&identifier, Phase::Sensing, Verdict::Sense, now, Vec::new());
        }
        let unwanted = |access_point: &AccessPoint| {
            access_point.phase == Phase::Sensing && !wanted.contains(access_point.identifier())
        };
        for identifier in self.access_points_where(unwanted) {
            self.retreat(&identifier, now, vec![Input::new("cause", "no session is open on its service network")]);
        }
    }

    /// Notes for which service network a session wants unused members kept in sight, if for any.
    fn follow_sight(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let wants = match session.interest {
            Interest::Open { .. } | Interest::Waiting => true,
            // Between two tries nothing is taken down.
            Interest::Opening => session.properties.reconnect(),
            _ => false,
        };
        let network = self.network_of(id).filter(|_| wants).map(|network| &network.identifier);
        // Most often it is as before, for thousands of sessions at once.
        if session.way.as_ref().is_none_or(|way| way.sighted.as_ref() == network) {
            return;
        }
        let network = network.cloned();
        let Some(way) = self.sessions.get_mut(&id).and_then(|session| session.way.as_mut()) else { return };
        let former = std::mem::replace(&mut way.sighted, network.clone());
        if let Some(former) = former {
            self.lose_sight(id, &former);
        }
        if let Some(network) = network {
            self.sighted.entry(network).or_default().insert(id);
        }
    }

    /// A session does not want the members of a service network kept in sight any more.
    pub(crate) fn lose_sight(&mut self, id: SessionId, network: &Identifier) {
        if let Some(sessions) = self.sighted.get_mut(network) {
            sessions.remove(&id);
            if sessions.is_empty() {
                self.sighted.remove(network);
            }
        }
    }

    /// The service network that a session is open on, by itself or by its user's choice.
    pub(crate) fn network_of(&self, id: SessionId) -> Option<&crate::composite::Composite> {
        let session = self.sessions.get(&id)?;
        let resolved = session.way.as_ref()?.resolved.as_ref();
        let network = self.composites.get(resolved.unwrap_or(&session.configuration.identifier))?;
        (network.kind == Kind::ServiceNetwork).then_some(network)
    }

    pub(crate) fn way_mut(&mut self, id: SessionId) -> Option<&mut Way> {
        self.mark_unsaved(id);
        self.sessions.get_mut(&id)?.way.as_deref_mut()
    }

    pub(crate) fn is_composite(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.way.is_some())
    }

    fn is_on(&self, id: SessionId, kind: Kind) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.configuration.kind == kind)
    }

    fn composite_of(&self, id: SessionId) -> Option<&crate::composite::Composite> {
        self.composites.get(&self.sessions.get(&id)?.configuration.identifier)
    }

    /// Something happened to the session that has to be looked at once everything else has been decided.
    pub(crate) fn touch(&mut self, id: SessionId) {
        if self.is_composite(id) {
            self.touched.insert(id);
        }
    }

    /// Ends a session's hold, wherever it has one, without a word to anybody; none if it had none on an access point.
    pub(crate) fn let_go(&mut self, id: SessionId, now: Moment) -> Option<Released> {
        self.deadlines.remove(id);
        self.touch(id);
        let session = self.sessions.get(&id)?;
        if let Some(member) = session.access_point().cloned() {
            let released = self.release(id, &member, now);
            self.want(id, Interest::Watching);
            return Some(released);
        }
        self.want(id, Interest::Watching);
        None
    }
}

/// What an administrator or another program has left on a link that is down would work again once it is up.
pub(crate) fn has_no_addresses(link: &netbearer_types::LinkLevel) -> bool {
    !link.interface.addresses.iter().any(netbearer_types::InterfaceAddress::is_usable)
}

/// It can be brought up now, or will be as soon as its teardown has ended.
pub(crate) fn is_startable(access_point: &AccessPoint) -> bool {
    let is_closing = || matches!(access_point.phase, Phase::Closing(_)) && access_point.link().is_some();
    access_point.may_start() && (access_point.flags() == StateFlags::Discovered || is_closing())
}

/// True if the message has the name as a word of its own.
fn names(message: &str, name: &str) -> bool {
    message.split_whitespace().any(|word| word.trim_matches([',', ';', ':', '.', '(', ')', '"']) == name)
}

fn unanswered(name: &str) -> Failure {
    Failure {
        error: SessionError::SessionAborted,
        reason: FailureReason::NotChosen,
        message: format!(
            "nobody chose what to open for {name} within {ANSWER_TIMEOUT:?}; open the session again to be asked again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use netbearer_types::{
        AccessPointReport, AddressScope, BearerType, Families, Hardware, Interface, InterfaceAddress, Level, LinkLevel,
        ServiceNetworkProfile, SteeringLevel,
    };

    use super::*;
    use crate::{Client, ClientId, Limits, Profiles, Record, Settings, Token, UserId};

    const NETWORK: &str = "service-uplink";
    const NOW: Moment = Moment::ZERO;

    /// An access point that is up without us.
    fn adopted(name: &str) -> AccessPointReport {
        let address = InterfaceAddress {
            address: [10, 0, 0, 2].into(),
            prefix_length: 24,
            scope: AddressScope::Global,
            tentative: false,
        };
        let link = LinkLevel {
            administratively_up: true,
            carrier: true,
            carrier_losses: 0,
            interface: Interface {
                name: name.to_owned(),
                index: 1,
                hardware_address: String::new(),
                mtu: 1_500,
                addresses: vec![address],
                gateways: Vec::new(),
                name_servers: Vec::new(),
                search_domains: Vec::new(),
            },
            routed: Families::V4,
            default_route: Families::V4,
        };
        AccessPointReport {
            identifier: name.into(),
            name: name.to_owned(),
            bearer_type: BearerType::Ethernet,
            hardware: Hardware::default(),
            cannot_start_and_stop: None,
            counts_traffic: true,
            level: Level::Present(link),
            steering: SteeringLevel::default(),
            progress: None,
        }
    }

    /// So many sessions that are open on a service network by b, whose other members are a and c, and which are to be saved.
    fn open_by_b(sessions: u32) -> (Core, Vec<SessionId>) {
        let members = ["a", "b", "c"].map(str::to_owned).to_vec();
        let network = ServiceNetworkProfile { members, ..ServiceNetworkProfile::default() };
        let service_networks = [(NETWORK.into(), network)].into();
        let limits = Limits { sessions, watchers: sessions, ..Limits::default() };
        let profiles = Profiles { service_networks, ..Profiles::default() };
        let mut core = Core::new(Settings { profiles, limits, serves_all_processes: true, ..Settings::default() });
        core.handle_client(ClientId(1), Client::of_user(UserId(1)));
        core.handle_report(adopted("b"), NOW);
        core.handle_enumerated(NOW);
        let ids: Vec<SessionId> =
            (0..sessions).map(|_| core.create_session(ClientId(1), &NETWORK.into()).unwrap()).collect();
        for id in &ids {
            core.give_token(*id, Token(id.0.into()));
            core.open(*id, NOW).unwrap();
            assert!(core.session(*id).unwrap().is_open);
            while core.poll_action().is_some() {}
        }
        core.take_unsaved();
        (core, ids)
    }

    /// How often sessions are looked at while so many on one service network are made, opened and dropped with their client.
    fn looks_at(sessions: u32) -> usize {
        let (mut core, _) = open_by_b(sessions);
        core.handle_client_gone(ClientId(1), NOW);
        assert_eq!(core.holds(&"b".into()), 0);
        core.looks
    }

    #[test]
    fn a_member_that_comes_or_goes_has_each_session_looked_at_once_and_none_saved() {
        const SESSIONS: u32 = 100;
        let (mut core, ids) = open_by_b(SESSIONS);
        let settle = core.settings.profiles.settle(&NETWORK.into());
        for (name, is_better) in [("c", false), ("a", true)] {
            for carrier in [true, false, true] {
                let mut report = adopted(name);
                if let Level::Present(link) = &mut report.level {
                    link.carrier = carrier;
                }
                let before = core.looks;
                core.handle_report(report, NOW);
                assert_eq!(core.looks - before, SESSIONS as usize, "{name} {carrier}");
                let records = core.take_unsaved();
                assert!(matches!(records[..], [Record::AccessPoint(_)]), "{records:?}");
                // Only for something better that settles.
                let due = core.poll_timeout();
                assert_eq!(due.is_some(), carrier && is_better, "{name} {carrier}: {due:?}");
            }
        }
        core.handle_timeout(NOW + settle + settle);
        let is_there = |id: &SessionId| core.session(*id).unwrap().active_configuration == Some("a".into());
        assert!(ids.iter().all(is_there), "all have moved to what is up and better");
    }

    #[test]
    fn a_session_that_comes_or_goes_leaves_those_beside_it_alone() {
        let (few, many) = (looks_at(100), looks_at(400));
        assert!(many <= 4 * few, "{many} looks at 400 sessions, {few} at 100");
    }
}
