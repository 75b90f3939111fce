use std::{collections::BTreeMap, time::Duration};

use netbearer_types::{Identifier, Moment};

use crate::{
    Core, Input, RoamCause, SessionId, Verdict, access_point::AccessPoint, choosing::is_startable,
    composite::Composite, course::Course, course::HeldBack, course::Reserve, phase::Phase, session::Session,
};

/// Which member a settled session would rather use, and since when it may (§5).
impl Core {
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
    pub(crate) fn is_within_reach(&self, access_point: &AccessPoint, current: &Identifier) -> bool {
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
}
