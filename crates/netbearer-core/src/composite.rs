use std::{collections::BTreeSet, sync::Arc};

use netbearer_types::{
    BearerType, Capabilities, Configuration, Failure, FailureReason, Identifier, Interface, Kind, ManagerEvent, Moment,
    Proxy, Purpose, SessionError, SessionEvent, SessionState, StateFlags,
};

use crate::{
    Action, Core, Input, Profiles, SessionId, Subject, Verdict,
    access_point::AccessPoint,
    core::invalid_configuration,
    ledger::Released,
    session::{Interest, Session},
    timer::Timer,
};

/// A configuration whose sessions use one of several access points: a service network, or a user choice.
#[derive(Debug)]
pub(crate) struct Composite {
    pub(crate) identifier: Identifier,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) purpose: Purpose,
    pub(crate) proxy: Proxy,
    /// Its members or choices, the most preferred first, as the administrator named them. A user choice without any is one
    /// of everything.
    pub(crate) references: Vec<String>,
    /// Sessions on it, holding or watching.
    pub(crate) sessions: BTreeSet<SessionId>,
    /// What the world was last told; nothing of a user choice, which is never listed.
    pub(crate) published: Option<Configuration>,
    /// What sessions on it were made with last.
    pub(crate) shared: Option<Arc<Configuration>>,
}

/// Configurations that are made of others, and the sessions that watch them.
impl Core {
    /// The members of a service network, the most preferred first; for a user choice, everything it could come to.
    pub(crate) fn members(&self, composite: &Composite) -> Vec<Identifier> {
        self.ranked_members(composite).into_iter().map(|(_, member)| member).collect()
    }

    /// The same, each with its rank. What the administrator names by one name is of one rank, though in an order.
    pub(crate) fn ranked_members(&self, composite: &Composite) -> Vec<(usize, Identifier)> {
        let mut members: Vec<(usize, Identifier)> = Vec::new();
        let mut add = |rank: usize, found: &Identifier| {
            if !members.iter().any(|(_, member)| member == found) {
                members.push((rank, found.clone()));
            }
        };
        if composite.kind == Kind::UserChoice && composite.references.is_empty() {
            self.access_points.keys().for_each(|found| add(0, found));
        }
        for (rank, reference) in composite.references.iter().enumerate() {
            self.referred_access_points(reference).for_each(|found| add(rank, found));
            if composite.kind == Kind::UserChoice
                && let Some(network) = self.referred_composite(reference, Kind::ServiceNetwork)
            {
                self.members(network).iter().for_each(|found| add(rank, found));
            }
        }
        members
    }

    /// The access points that an administrator means by this name.
    pub(crate) fn referred_access_points<'a>(&'a self, reference: &'a str) -> impl Iterator<Item = &'a Identifier> {
        let is_meant = move |access_point: &&AccessPoint| self.settings.profiles.means(reference, access_point);
        self.access_points.values().filter(is_meant).map(AccessPoint::identifier)
    }

    /// The service network or user choice that an administrator means by this name: its identifier, or the name of its file.
    pub(crate) fn referred_composite(&self, reference: &str, kind: Kind) -> Option<&Composite> {
        let by_file = if kind == Kind::ServiceNetwork { "service-" } else { "choice-" };
        let names = [Identifier::new(reference), Identifier::new(format!("{by_file}{reference}"))];
        names.iter().find_map(|name| self.composites.get(name)).filter(|found| found.kind == kind)
    }

    /// The composites that an access point is a member of.
    fn composites_with(&self, access_point: &Identifier) -> Vec<Identifier> {
        let has_it = |composite: &&Composite| self.members(composite).contains(access_point);
        self.composites.values().filter(has_it).map(|composite| composite.identifier.clone()).collect()
    }

    /// What sessions see that watch a composite, or have not come to a member yet (§2).
    pub(crate) fn composite_state(&self, composite: &Composite) -> SessionState {
        let states: Vec<SessionState> = self
            .members(composite)
            .iter()
            .filter_map(|member| self.access_points.get(member))
            .map(|access_point| self.access_point_state(access_point))
            .collect();
        let order =
            [SessionState::Connected, SessionState::Connecting, SessionState::Closing, SessionState::Disconnected];
        order.into_iter().find(|state| states.contains(state)).unwrap_or(SessionState::NotAvailable)
    }

    /// Whose interface a watching session on a composite is shown: the most preferred member that is up.
    pub(crate) fn shown_member(&self, composite: &Composite) -> Option<&AccessPoint> {
        let members = self.members(composite);
        let access_points = members.iter().filter_map(|member| self.access_points.get(member));
        access_points.into_iter().find(|access_point| self.access_point_state(access_point) == SessionState::Connected)
    }

    /// The public projection.
    pub(crate) fn composite_configuration(&self, composite: &Composite) -> Configuration {
        let members = self.members(composite);
        let access_points: Vec<&AccessPoint> =
            members.iter().filter_map(|member| self.access_points.get(member)).collect();
        let support = self.settings.session_support();
        let mut capabilities = support | Capabilities::DirectConnectionRouting;
        let may_start = access_points.iter().any(|access_point| access_point.may_start());
        capabilities.set(Capabilities::CanStartAndStopInterfaces, may_start);
        let counts = access_points.iter().any(|access_point| access_point.report.counts_traffic);
        capabilities.set(Capabilities::DataStatistics, counts);
        // Also of those that have one member now: another one may come.
        capabilities |= Capabilities::ApplicationLevelRoaming | Capabilities::ForcedRoaming;
        let (state_flags, children) = if composite.kind == Kind::UserChoice {
            (StateFlags::Discovered, Vec::new())
        } else {
            let highest = access_points.iter().map(|access_point| access_point.flags()).max();
            (highest.unwrap_or(StateFlags::Defined), members)
        };
        Configuration {
            identifier: composite.identifier.clone(),
            name: composite.name.clone(),
            kind: composite.kind,
            purpose: composite.purpose,
            bearer_type: BearerType::Unknown,
            state_flags,
            capabilities,
            children,
            proxy: composite.proxy.without_user_information(),
            metered: access_points.iter().any(|access_point| access_point.profile.metered),
            interface_name: None,
        }
    }

    /// An access point has another state: those who watch what it is a member of are told at once.
    pub(crate) fn tell_composites(&mut self, access_point: &Identifier) {
        if self.composites.is_empty() {
            return;
        }
        for identifier in self.composites_with(access_point) {
            self.tell_watchers(&identifier);
            self.unsettled.insert(identifier);
        }
    }

    /// Tells the sessions that use no member what the composite is now.
    pub(crate) fn tell_watchers(&mut self, identifier: &Identifier) {
        let Some(composite) = self.composites.get(identifier) else { return };
        let state = self.composite_state(composite);
        let shown = self.shown_member(composite).map(|access_point| access_point.identifier().clone());
        let sessions: Vec<SessionId> = composite.sessions.iter().copied().collect();
        for id in sessions {
            // Who waits may have found a member by the end of this step, and sees that instead.
            let is_concerned = self
                .sessions
                .get(&id)
                .is_some_and(|session| session.access_point().is_none() && !session.interest.holds());
            if is_concerned {
                self.tell_watch(id, state, shown.as_ref());
            }
        }
    }

    /// Tells a session that uses no member the state of its composite, and that it is shown another interface, unless the
    /// state says so.
    pub(crate) fn tell_watch(&mut self, id: SessionId, state: SessionState, shown: Option<&Identifier>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let stays_connected = session.told == SessionState::Connected && state == SessionState::Connected;
        let Some(way) = &mut session.way else { return };
        let is_another = way.shown.as_ref() != shown;
        way.shown = shown.cloned();
        self.tell_state(id, state);
        let interface = shown.and_then(|shown| self.access_points.get(shown)).and_then(AccessPoint::interface);
        if let Some(interface) = interface.filter(|_| stays_connected && is_another) {
            self.tell(id, SessionEvent::InterfaceChanged { interface: interface.clone() });
        }
    }

    /// The interface of an access point changed: those are told who watch a composite and are shown that one.
    pub(crate) fn tell_watchers_interface(&mut self, access_point: &Identifier, interface: &Interface) {
        let is_shown_it = |id: &SessionId| {
            self.sessions.get(id).is_some_and(|session| {
                let shown = session.way.as_ref().and_then(|way| way.shown.as_ref());
                session.access_point().is_none()
                    && session.told == SessionState::Connected
                    && shown == Some(access_point)
            })
        };
        let sessions = self.composites.values().flat_map(|composite| composite.sessions.iter().copied());
        let watching: Vec<SessionId> = sessions.filter(is_shown_it).collect();
        for id in watching {
            self.tell(id, SessionEvent::InterfaceChanged { interface: interface.clone() });
        }
    }

    pub(crate) fn add_composite(&mut self, composite: Composite) {
        self.unsettled.insert(composite.identifier.clone());
        self.composites.insert(composite.identifier.clone(), composite);
    }

    /// The administrator has removed it: its sessions end, and what only they held goes down.
    pub(crate) fn remove_composite(&mut self, identifier: &Identifier, now: Moment) {
        let Some(composite) = self.composites.remove(identifier) else { return };
        let subject = Subject::Configuration(identifier.clone());
        let inputs = vec![Input::new("reason", "it was removed from the profiles")];
        self.journal.record(now, subject, Verdict::Remove, inputs);
        self.unsettled.remove(identifier);
        for id in &composite.sessions {
            let failure = invalid_configuration(identifier);
            self.end_on_composite(*id, SessionState::Invalid, failure, now);
            self.invalidate(*id);
        }
        if composite.published.is_some() {
            let event = ManagerEvent::ConfigurationRemoved { identifier: identifier.clone() };
            self.actions.push_back(Action::Announce(event));
        }
    }

    /// Sessions from before the service was started anew, whose composites have been removed meanwhile.
    pub(crate) fn end_on_removed_composites(&mut self, removed: &BTreeSet<Identifier>, now: Moment) {
        let is_on_one =
            |session: &Session| removed.contains(&session.configuration.identifier) && session.way.is_some();
        let sessions = self.sessions.iter().filter(|(_, session)| is_on_one(session));
        for id in sessions.map(|(id, _)| *id).collect::<Vec<_>>() {
            let Some(session) = self.sessions.get(&id) else { continue };
            let identifier = session.configuration.identifier.clone();
            self.end_on_composite(id, SessionState::Invalid, invalid_configuration(&identifier), now);
            self.invalidate(id);
        }
    }

    /// A session on a composite loses its member, or the composite itself: it sees `state`, and if it held anything, why.
    fn end_on_composite(&mut self, id: SessionId, state: SessionState, failure: Failure, now: Moment) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (held, member) = (session.interest.holds(), session.access_point().cloned());
        self.withdraw_question(id);
        let mut last = None;
        if held {
            last = self.let_go(id, now).filter(|_| member.is_some());
        }
        if let Some(member) = &member {
            self.detach(id, member, now);
        }
        self.tell_state(id, state);
        if held {
            self.abort(id, failure, now);
        }
        if let (Some(member), Some(Released::Last)) = (member, last) {
            self.last_hold_gone(&member, now);
        }
    }

    /// What administrators say has changed (§3, last lines): preference, linger and members apply at once, how an access
    /// point is addressed when it is brought up the next time.
    pub fn handle_profiles(&mut self, profiles: Profiles, now: Moment) {
        let before = std::mem::replace(&mut self.settings.profiles, profiles);
        let identifiers: Vec<Identifier> = self.access_points.keys().cloned().collect();
        for identifier in identifiers {
            self.match_profile(&identifier, "profiles were edited", now);
        }
        let wanted = composites_of(&self.settings.profiles);
        let gone: Vec<Identifier> = self
            .composites
            .keys()
            .filter(|known| !wanted.iter().any(|one| one.identifier == **known))
            .cloned()
            .collect();
        for identifier in gone {
            self.remove_composite(&identifier, now);
        }
        for composite in wanted {
            match self.composites.get_mut(&composite.identifier) {
                None => self.add_composite(composite),
                Some(known) => {
                    let identifier = composite.identifier.clone();
                    (known.name, known.purpose, known.proxy) = (composite.name, composite.purpose, composite.proxy);
                    let is_other = known.references != composite.references;
                    known.references = composite.references;
                    if is_other {
                        self.consider_order_anew(&identifier);
                    }
                    self.unsettled.insert(identifier);
                }
            }
        }
        self.arrange_devices(now);
        self.drop_former_members(now);
        if before != self.settings.profiles {
            self.publish(now);
        }
    }

    /// Gives an access point the profile that covers it now. What is up keeps its addresses as they are.
    pub(crate) fn match_profile(&mut self, identifier: &Identifier, cause: &str, now: Moment) {
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        let profile = self.settings.profiles.profile_for(access_point);
        let Some(profile) = profile.filter(|profile| **profile != access_point.profile).cloned() else { return };
        let former_linger = std::mem::replace(&mut access_point.profile, profile).linger;
        access_point.timers.shift(Timer::Linger, former_linger, access_point.profile.linger);
        let is_up = access_point.commanded.is_some();
        let inputs = vec![
            Input::new("cause", cause),
            Input::new("preference, linger and lifetime apply", "at once"),
            Input::new("everything else applies", if is_up { "at the next bring-up" } else { "at once" }),
        ];
        self.journal.record(now, Subject::AccessPoint(identifier.clone()), Verdict::Edited, inputs);
        self.unpublished.insert(identifier.clone());
        // It may be a member of something under its new name, or none any more.
        self.unsettled.extend(self.composites.keys().cloned());
    }

    /// Sessions that use what is no member any more have lost their link.
    pub(crate) fn drop_former_members(&mut self, now: Moment) {
        for identifier in self.composites.keys().cloned().collect::<Vec<_>>() {
            self.drop_former_members_of(&identifier, now);
        }
    }

    fn drop_former_members_of(&mut self, identifier: &Identifier, now: Moment) {
        let Some(composite) = self.composites.get(identifier) else { return };
        let name = composite.name.clone();
        for id in composite.sessions.clone() {
            let members = if self.forget_choice_that_is_none(id) { Vec::new() } else { self.ways_of(id) };
            self.drop_former_candidate(id, &members, &name, now);
            let Some(session) = self.sessions.get(&id) else { continue };
            let Some(member) = session.access_point().filter(|member| !members.contains(member)).cloned() else {
                continue;
            };
            let session_holds = session.interest.holds();
            if self.can_go_on_without(id, &member, false, now) {
                self.strand(id, &member, now);
                self.roam_on(vec![id], now);
                continue;
            }
            if session.interest == Interest::Opening {
                let released = self.leave_member(id, &member, None, now);
                if released == Released::Last {
                    self.last_hold_gone(&member, now);
                }
                let _ = self.open_again(id, now);
            } else if session_holds && self.reconnects(id) {
                // A lost link: another member is taken when everything has been decided.
                let released = self.leave_member(id, &member, None, now);
                self.want(id, Interest::Waiting);
                self.tell_state(id, SessionState::Disconnected);
                if released == Released::Last {
                    self.last_hold_gone(&member, now);
                }
            } else {
                let failure = no_member_any_more(&member, &name);
                let state = self.composites.get(identifier).map_or(SessionState::Invalid, |composite| {
                    match self.composite_state(composite) {
                        SessionState::NotAvailable => SessionState::NotAvailable,
                        _ => SessionState::Disconnected,
                    }
                });
                self.end_on_composite(id, state, failure, now);
            }
        }
    }

    /// True if a user choice had come to something that is no choice of it any more; now it has come to nothing.
    fn forget_choice_that_is_none(&mut self, id: SessionId) -> bool {
        let resolved = self.sessions.get(&id).and_then(|session| {
            let composite = self.composites.get(&session.configuration.identifier)?;
            Some((session.way.as_ref()?.resolved.clone()?, composite))
        });
        let Some((resolved, composite)) = resolved else { return false };
        let is_there = self.composites.contains_key(&resolved) || self.access_points.contains_key(&resolved);
        let is_chosen = |reference: &String| {
            let network = self.referred_composite(reference, Kind::ServiceNetwork);
            network.is_some_and(|network| network.identifier == resolved)
                || self.referred_access_points(reference).any(|access_point| *access_point == resolved)
        };
        let is_choice = composite.references.is_empty() || composite.references.iter().any(is_chosen);
        if is_there && is_choice {
            return false;
        }
        if let Some(way) = self.way_mut(id) {
            way.resolved = None;
        }
        true
    }
}

/// What the profiles say there is to open beside access points.
pub(crate) fn composites_of(profiles: &Profiles) -> Vec<Composite> {
    let name = |name: &Option<String>, identifier: &Identifier| name.clone().unwrap_or_else(|| identifier.to_string());
    let networks = profiles.service_networks.iter().map(|(identifier, profile)| Composite {
        identifier: identifier.clone(),
        kind: Kind::ServiceNetwork,
        name: name(&profile.name, identifier),
        purpose: profile.purpose,
        proxy: profile.proxy.clone(),
        references: profile.members.clone(),
        sessions: BTreeSet::new(),
        published: None,
        shared: None,
    });
    let choices = profiles.user_choices.iter().map(|(identifier, profile)| Composite {
        identifier: identifier.clone(),
        kind: Kind::UserChoice,
        name: name(&profile.name, identifier),
        purpose: Purpose::Unknown,
        proxy: Proxy::None,
        references: profile.choices.clone(),
        sessions: BTreeSet::new(),
        published: None,
        shared: None,
    });
    networks.chain(choices).collect()
}

fn no_member_any_more(member: &Identifier, name: &str) -> Failure {
    Failure {
        error: SessionError::SessionAborted,
        reason: FailureReason::LinkLost,
        message: format!("{member} is no member of {name} any more; open the session again to use another"),
    }
}
