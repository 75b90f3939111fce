use std::{sync::Arc, time::Duration};

use netbearer_types::{
    Configuration, Failure, Identifier, Interface, Kind, ManagerEvent, Moment, SessionEvent, SessionState, StateFlags,
    Target,
};

use crate::{
    Action, Core, Input, SessionId, Subject, Verdict, access_point::AccessPoint, phase::Phase, session::Interest,
    timer::Timer,
};

/// How long those who wait for a removal are kept waiting, so that nothing is Closing for ever.
pub(crate) const REMOVAL_TIMEOUT: Duration = Duration::from_secs(10);

/// The projection of inner phases to what the world is told, and the choke points through which every change goes.
impl Core {
    /// Moves an access point to another phase: records why, commands its engine, and tells its sessions what changed.
    pub(crate) fn enter_phase(
        &mut self,
        identifier: &Identifier,
        phase: Phase,
        verdict: Verdict,
        now: Moment,
        inputs: Vec<Input>,
    ) {
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        if !matches!(phase, Phase::Starting | Phase::Waiting) {
            access_point.failed_starts = 0;
        }
        access_point.phase = phase;
        access_point.timers.disarm_all();
        if matches!(phase, Phase::AwaitingDevice | Phase::Closing(_) | Phase::Retreating) {
            access_point.timers.arm(Timer::Removal, now + REMOVAL_TIMEOUT);
        }
        self.journal.record(now, Subject::AccessPoint(identifier.clone()), verdict, inputs);
        self.name();
        self.direct(identifier);
        self.note_presence(identifier, now);
        self.tell_states(identifier);
        if phase == Phase::Observed {
            // It may be of use to a service network now, though it looks as before.
            self.tell_composites(identifier);
            self.tell_composites_of_others(identifier);
        }
    }

    /// Commands an access point's engine to go where its phase wants it, unless it was told so before.
    pub(crate) fn direct(&mut self, identifier: &Identifier) {
        let Some(access_point) = self.access_points.get(identifier) else { return };
        match (access_point.commanded, access_point.phase.target()) {
            // What we may not start is not touched while it is waited for.
            (None, Some(Target::Sensed)) if !access_point.may_start() => {}
            // Nor is what others have set up and lost: its carrier shows anyway, and then it is theirs again at once.
            (None, Some(Target::Sensed)) if access_point.is_set_up_by_others() => {}
            (before, Some(target)) if before != Some(target) => self.command(identifier, target),
            (Some(_), None) => {
                self.command(identifier, Target::Released);
                self.nothing_of_ours(identifier);
            }
            _ => {}
        }
    }

    /// Nothing of ours is left on an access point, or it is of no consequence.
    pub(crate) fn nothing_of_ours(&mut self, identifier: &Identifier) {
        if let Some(access_point) = self.access_points.get_mut(identifier) {
            access_point.commanded = None;
            self.mark_access_point_unsaved(identifier);
        }
        self.show_others(identifier);
    }

    /// Tells every session on an access point its state, if that is another than they were told last.
    pub(crate) fn tell_states(&mut self, identifier: &Identifier) {
        self.unpublished.insert(identifier.clone());
        self.mark_access_point_unsaved(identifier);
        self.count(identifier);
        let Some(access_point) = self.access_points.get(identifier) else { return };
        let state = self.access_point_state(access_point);
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        if access_point.state_told == state {
            return;
        }
        access_point.state_told = state;
        if state != SessionState::Connected {
            access_point.interface_told = None;
        }
        let sessions: Vec<SessionId> = access_point.sessions.iter().copied().collect();
        for session in sessions {
            self.tell_state(session, state);
        }
        self.tell_composites(identifier);
    }

    pub(crate) fn tell_state(&mut self, id: SessionId, state: SessionState) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.told != state {
            session.told = state;
            self.tell(id, SessionEvent::StateChanged { state });
        }
    }

    /// Tells every session on a connected access point that its interface changed under it, if it matters to them.
    pub(crate) fn tell_interface_change(&mut self, identifier: &Identifier, before: &Interface, interface: Interface) {
        if before.is_same_for_sessions(&interface) {
            return;
        }
        let Some(access_point) = self.access_points.get(identifier) else { return };
        let on_trial = self.ledger.guests(identifier).into_iter().filter(|id| self.tries(*id, identifier));
        let sessions: Vec<SessionId> = access_point.sessions.iter().copied().chain(on_trial).collect();
        for session in sessions {
            self.tell(session, SessionEvent::InterfaceChanged { interface: interface.clone() });
        }
        self.tell_watchers_interface(identifier, &interface);
    }

    pub(crate) fn tell(&mut self, id: SessionId, event: SessionEvent) {
        // Nobody is told of what goes on without an owner.
        if let Some(client) = self.owner(id)
            && let Some(snapshot) = self.session(id)
        {
            self.actions.push_back(Action::Tell { client, session: id, event, snapshot: Box::new(snapshot) });
        }
    }

    pub(crate) fn tell_failure(&mut self, id: SessionId, failure: impl Into<Arc<Failure>>, now: Moment) {
        let failure = failure.into();
        self.record_session(id, Verdict::Failed(failure.message.clone()), now, Vec::new());
        if let Some(session) = self.sessions.get_mut(&id) {
            session.failure = Some(Arc::clone(&failure));
            let is_failing = session.interest == Interest::Failing;
            self.mark_unsaved(id);
            if is_failing {
                self.want(id, Interest::Watching);
            }
        }
        self.tell(id, SessionEvent::Error(Arc::unwrap_or_clone(failure)));
    }

    /// The session has its network.
    pub(crate) fn tell_opened(&mut self, id: SessionId, now: Moment) {
        if self.is_composite(id) {
            if let Some(way) = self.way_mut(id) {
                way.failed.clear();
                way.failed_starts = 0;
            }
            // It may have seen another member so far.
            self.tell_state(id, SessionState::Connected);
            self.touch(id);
        }
        self.want(id, Interest::Open { since: now });
        self.record_session(id, Verdict::Opened, now, Vec::new());
        self.tell(id, SessionEvent::Opened);
    }

    /// The state of sessions on an access point (§2).
    pub(crate) fn access_point_state(&self, access_point: &AccessPoint) -> SessionState {
        match access_point.phase {
            Phase::Enumerating | Phase::AwaitingDevice | Phase::Starting => SessionState::Connecting,
            Phase::Up | Phase::Regaining | Phase::Lingering => SessionState::Connected,
            Phase::Closing(_) => SessionState::Closing,
            // Somebody opened again: the next start follows at once, and this is its first part.
            Phase::Retreating if self.is_wanted(access_point.identifier()) => SessionState::Connecting,
            Phase::Observed | Phase::Waiting | Phase::Sensing | Phase::Retreating => match access_point.flags() {
                StateFlags::Undefined | StateFlags::Defined => SessionState::NotAvailable,
                StateFlags::Discovered => SessionState::Disconnected,
                StateFlags::Active => SessionState::Connected,
            },
        }
    }

    /// True if somebody opens the access point, or wants to roam to it, and is not content to wait.
    fn is_wanted(&self, identifier: &Identifier) -> bool {
        let opening =
            |id: SessionId| self.sessions.get(&id).is_some_and(|session| session.interest == Interest::Opening);
        self.ledger.iter(identifier).any(opening) || self.is_candidate_of_somebody(identifier)
    }

    /// Has the world told what changed in public, once the sessions have been told and the engines commanded: those are
    /// in a hurry, and this takes longer.
    pub(crate) fn publish(&mut self, now: Moment) {
        self.settle_composites(now);
        while self.end_forsaken(now) {
            self.settle_composites(now);
        }
        self.unpublished_since = Some(now);
    }

    /// Tells everybody what changed in public since the last time.
    pub(crate) fn announce_changes(&mut self) {
        let Some(now) = self.unpublished_since.take() else { return };
        self.steer(now);
        self.name();
        let support = self.settings.session_support();
        let unpublished = std::mem::take(&mut self.unpublished);
        if !unpublished.is_empty() {
            self.announce_service_networks();
        }
        for identifier in unpublished {
            let Some(access_point) = self.access_points.get_mut(&identifier) else { continue };
            let configuration = access_point.configuration(support);
            let was_active = is_active(access_point.published.as_ref());
            let event = match &access_point.published {
                Some(published) if *published == configuration => continue,
                Some(_) => ManagerEvent::ConfigurationChanged { configuration: configuration.clone() },
                None => ManagerEvent::ConfigurationAdded { configuration: configuration.clone() },
            };
            access_point.published = Some(configuration);
            if access_point.is_adopted() && !was_active {
                let inputs = access_point.interface().map(adoption_inputs).unwrap_or_default();
                self.journal.record(now, Subject::AccessPoint(identifier), Verdict::Adopt, inputs);
            }
            self.actions.push_back(Action::Announce(event));
        }
        let online = self.is_online();
        if online != self.online {
            self.online = online;
            self.actions.push_back(Action::Announce(ManagerEvent::OnlineStateChanged { online }));
        }
    }
}

impl Core {
    fn announce_service_networks(&mut self) {
        let networks = self.composites.values().filter(|composite| composite.kind == Kind::ServiceNetwork);
        let news: Vec<Configuration> = networks
            .filter_map(|network| {
                let configuration = self.composite_configuration(network);
                (network.published.as_ref() != Some(&configuration)).then_some(configuration)
            })
            .collect();
        for configuration in news {
            let Some(network) = self.composites.get_mut(&configuration.identifier) else { continue };
            let event = match network.published.replace(configuration.clone()) {
                Some(_) => ManagerEvent::ConfigurationChanged { configuration },
                None => ManagerEvent::ConfigurationAdded { configuration },
            };
            self.actions.push_back(Action::Announce(event));
        }
    }
}

fn is_active(configuration: Option<&Configuration>) -> bool {
    configuration.is_some_and(|configuration| configuration.state_flags == StateFlags::Active)
}

fn adoption_inputs(interface: &Interface) -> Vec<Input> {
    let addresses: Vec<String> =
        interface.usable_addresses().map(|address| format!("{}/{}", address.address, address.prefix_length)).collect();
    vec![Input::new("carrier", "yes"), Input::new("addresses", addresses.join(" "))]
}
