//! What holds after every step whatever the model says (semantics §2–§4): the second judge.

use std::collections::{BTreeMap, BTreeSet};

use netbearer_core::{Limits, SessionDescription, SessionId, UserId};
use netbearer_types::{
    Capabilities, FailureReason, Identifier, PropertyKey, PropertyValue, SessionError, SessionSnapshot, SessionState,
    StateFlags, Target, differences,
};

use crate::{
    heard::{Announced, Heard, Public, Told},
    scene::{Scene, device_of},
};

/// What each session and each engine was told so far.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    sessions: BTreeMap<SessionId, Witness>,
    /// Those whose clients are away, and what these know of them.
    away: BTreeMap<SessionId, (Witness, SessionSnapshot)>,
    targets: BTreeMap<Identifier, Target>,
    adopted: BTreeSet<Identifier>,
    public: BTreeMap<Identifier, Public>,
    is_online: bool,
}

#[derive(Debug)]
struct Witness {
    user: UserId,
    on: Identifier,
    state: SessionState,
    /// An open was accepted, and nothing has ended it.
    holds: bool,
    is_open: bool,
    failure: Option<(SessionError, FailureReason)>,
}

impl Promises {
    pub(crate) fn created(&mut self, id: SessionId, user: UserId, on: &Identifier, scene: &Scene) {
        let snapshot = scene.core.session(id).expect("it was made just now");
        let is_invalid = snapshot.state == SessionState::Invalid;
        let invalid = (SessionError::InvalidConfiguration, FailureReason::ConfigurationInvalid);
        let failure = snapshot.failure.map(|failure| (failure.error, failure.reason));
        assert_eq!(failure, is_invalid.then_some(invalid), "a fresh session has no failure unless it is invalid");
        assert!(!snapshot.is_open, "a fresh session watches");
        let witness = Witness { user, on: on.clone(), state: snapshot.state, holds: false, is_open: false, failure };
        self.sessions.insert(id, witness);
    }

    pub(crate) fn dropped(&mut self, id: SessionId) {
        self.sessions.remove(&id);
        self.away.remove(&id);
    }

    /// The client of a session loses the service, and knows no more of it than it was told so far.
    pub(crate) fn away(&mut self, id: SessionId, scene: &Scene) {
        let witness = self.sessions.remove(&id).expect("it exists");
        self.away.insert(id, (witness, scene.core.session(id).expect("it exists")));
    }

    /// The client of a session opens it just when the service is killed, and so has no answer.
    pub(crate) fn opened_while_away(&mut self, id: SessionId) {
        let (_, snapshot) = self.away.get_mut(&id).expect("it is away");
        snapshot.failure = None;
    }

    /// The client of a session closes it without the service.
    pub(crate) fn closed_while_away(&mut self, id: SessionId) {
        if let Some((witness, snapshot)) = self.away.get_mut(&id) {
            (witness.holds, witness.is_open) = (false, false);
            (snapshot.is_open, snapshot.is_opening) = (false, false);
        }
    }

    /// The client of a session is back: what is told of what has become of it leads from what it knew to what holds now.
    pub(crate) fn attached(&mut self, id: SessionId, scene: &Scene) {
        let (mut witness, before) = self.away.remove(&id).expect("it was away");
        let now = scene.core.session(id).expect("it is attached");
        let told: Vec<Told> = differences(&before, &now).into_iter().map(Told::from).collect();
        // An open whose answer was lost.
        witness.holds |= now.is_open || now.is_opening;
        self.sessions.insert(id, witness);
        self.check_events(id, &told, false);
        let witness = self.sessions.get_mut(&id).expect("it was put there");
        witness.failure = now.failure.map(|failure| (failure.error, failure.reason));
        self.check_getters(id, scene);
    }

    /// The service is started anew: it asks engines anew, and announces anew what there is.
    pub(crate) fn restart(&mut self) {
        assert!(self.sessions.is_empty(), "every session is away");
        *self = Self { away: std::mem::take(&mut self.away), ..Self::default() };
    }

    /// An open was accepted, whatever it comes to. One while the session holds already changes nothing.
    pub(crate) fn accepted(&mut self, id: SessionId) {
        let witness = self.sessions.get_mut(&id).expect("it exists");
        if !witness.holds {
            witness.holds = true;
            witness.failure = None;
        }
    }

    pub(crate) fn check(
        &mut self,
        heard: &Heard,
        refused: Option<SessionId>,
        described: &[SessionDescription],
        scene: &Scene,
        limits: Limits,
    ) {
        for (id, events) in &heard.sessions {
            self.check_events(*id, events, refused == Some(*id));
        }
        for id in self.sessions.keys() {
            self.check_getters(*id, scene);
        }
        self.check_configurations(heard, scene);
        self.check_ledger(heard, described, scene);
        self.check_adopted(heard, scene);
        self.check_limits(limits);
        self.check_capabilities(scene);
    }

    fn check_events(&mut self, id: SessionId, events: &[Told], refused: bool) {
        let witness = self.sessions.get_mut(&id).expect("only sessions that exist are told");
        for (position, event) in events.iter().enumerate() {
            match event {
                Told::State(state) => {
                    assert_ne!(*state, witness.state, "session {id} is told the same state twice");
                    witness.state = *state;
                    witness.is_open &= *state == SessionState::Connected;
                }
                Told::Opened => {
                    assert!(witness.holds, "session {id} is told Opened without an open");
                    assert!(!witness.is_open, "session {id} is told Opened twice");
                    assert_eq!(witness.state, SessionState::Connected, "session {id} is told Opened");
                    witness.is_open = true;
                }
                Told::Closed => {
                    assert!(witness.holds, "session {id} is told Closed, but did not hold");
                    witness.holds = false;
                    witness.is_open = false;
                }
                Told::Error(error, reason) => {
                    witness.failure = Some((*error, reason.clone()));
                    let is_end = events[position + 1..].contains(&Told::Closed) || refused;
                    witness.holds &= is_end;
                }
                Told::InterfaceChanged(_) => {
                    assert_eq!(witness.state, SessionState::Connected, "session {id} is told InterfaceChanged");
                }
                Told::Offered(_)
                | Told::Withdrawn(_)
                | Told::Activated(_)
                | Told::LinkLost(_)
                | Told::RoamingFailed(..)
                | Told::Moved(_) => panic!("session {id} on an access point is told {:?}", events[position]),
            }
        }
    }

    fn check_getters(&self, id: SessionId, scene: &Scene) {
        let witness = &self.sessions[&id];
        let snapshot = scene.core.session(id).expect("it exists");
        assert_eq!(snapshot.state, witness.state, "session {id}: the getter says what was told last");
        assert_eq!(snapshot.is_open, witness.is_open, "session {id} is open if it was told so");
        let is_opening = witness.holds && !witness.is_open;
        assert_eq!(snapshot.is_opening, is_opening, "session {id} is opening if it holds and is not open");
        let is_connected = witness.state == SessionState::Connected;
        assert_eq!(snapshot.interface.is_some(), is_connected, "session {id} has an interface when it is connected");
        let active = scene.core.property(id, PropertyKey::ActiveConfiguration);
        let name = if witness.is_open { witness.on.to_string() } else { String::new() };
        assert_eq!(active, Some(PropertyValue::Text(name)), "session {id}: ActiveConfiguration");
        assert_eq!(snapshot.active_configuration.is_some(), witness.is_open);
        assert_eq!(snapshot.active_since.is_some(), witness.is_open);
        let failure = snapshot.failure.map(|failure| (failure.error, failure.reason));
        assert_eq!(failure, witness.failure, "session {id}: the failure told last since the last accepted open");
        let configuration = scene.core.session_configuration(id).expect("it exists");
        assert_eq!(configuration.identifier, witness.on, "session {id} keeps its identifier");
        assert_eq!(configuration.is_valid(), witness.state != SessionState::Invalid);
    }

    fn check_configurations(&mut self, heard: &Heard, scene: &Scene) {
        for (identifier, announcements) in &heard.configurations {
            for announcement in announcements {
                match announcement {
                    Announced::Added(public) => {
                        assert!(self.public.insert(identifier.clone(), public.clone()).is_none(), "added twice");
                    }
                    Announced::Changed(public) => {
                        let before = self.public.insert(identifier.clone(), public.clone());
                        assert!(before.is_some_and(|before| before != *public), "{identifier}: nothing changed");
                    }
                    Announced::Removed => {
                        assert!(self.public.remove(identifier).is_some(), "removed, but never added");
                    }
                }
            }
        }
        let listed: BTreeMap<Identifier, Public> = scene
            .core
            .configurations(None)
            .iter()
            .map(|configuration| (configuration.identifier.clone(), Public::of(configuration)))
            .collect();
        assert_eq!(listed, self.public, "the list is what was announced");
        for online in &heard.online {
            assert_ne!(*online, self.is_online, "OnlineStateChanged only on a change");
            self.is_online = *online;
        }
        assert_eq!(scene.core.is_online(), self.is_online);
        let best = listed.values().map(|public| public.flags).max().filter(|flags| *flags >= StateFlags::Discovered);
        let default = scene.core.default_configuration().map(|configuration| configuration.state_flags);
        assert_eq!(default, best, "the default configuration is among the best");
    }

    fn check_ledger(&mut self, heard: &Heard, described: &[SessionDescription], scene: &Scene) {
        for (identifier, targets) in &heard.commands {
            self.targets.extend(targets.last().map(|target| (identifier.clone(), *target)));
        }
        self.targets.retain(|device, _| self.public.keys().any(|identifier| device_of(identifier) == *device));
        let goes_on = |session: &&SessionDescription| !session.owned && (session.is_open || session.is_opening);
        let unowned: Vec<&SessionDescription> = described.iter().filter(goes_on).collect();
        let mut kept_up_for: BTreeMap<Identifier, bool> = BTreeMap::new();
        for (identifier, public) in &self.public {
            let holding = self
                .sessions
                .values()
                .filter(|witness| witness.holds && witness.on == *identifier && witness.state != SessionState::Invalid);
            let count = holding.count() + unowned.iter().filter(|one| one.configuration == *identifier).count();
            assert_eq!(scene.core.holds(identifier), count, "{identifier}: the ledger counts those who want it");
            let device = device_of(identifier);
            let is_kept_up = self.targets.get(&device) == Some(&Target::Configured);
            let may_linger = public.flags == StateFlags::Active && public.name != "ap0";
            let is_adopted = scene.core.is_adopted(identifier);
            assert!(!is_kept_up || !is_adopted, "{identifier} is adopted and commanded");
            let has_our_lease = scene.machine[&device].lease.is_some();
            assert!(!has_our_lease || !is_adopted, "{identifier} is taken for adopted, but what is there is ours");
            *kept_up_for.entry(device).or_default() |= count > 0 || !is_kept_up || may_linger;
        }
        for (device, is_for_somebody) in kept_up_for {
            assert!(is_for_somebody, "{device} is kept up for nobody");
        }
        self.check_devices(scene);
    }

    /// Of the access points of one device one is held at most, and one is Active at most.
    fn check_devices(&self, scene: &Scene) {
        let (mut held, mut active) = (BTreeSet::new(), BTreeSet::new());
        for (identifier, public) in &self.public {
            let device = device_of(identifier);
            let is_held = scene.core.holds(identifier) > 0;
            assert!(!is_held || held.insert(device.clone()), "{identifier} is held, and another one of {device}");
            let is_active = public.flags == StateFlags::Active;
            assert!(!is_active || active.insert(device.clone()), "{identifier} is Active, and another one of {device}");
        }
    }

    /// What is up without us, and stays so, gets no command.
    fn check_adopted(&mut self, heard: &Heard, scene: &Scene) {
        let is_adopted = |identifier: &&Identifier| scene.core.is_adopted(identifier);
        let adopted: BTreeSet<Identifier> = self.public.keys().filter(is_adopted).cloned().collect();
        for identifier in self.adopted.intersection(&adopted) {
            let has_changed = |(id, witness): (&SessionId, &Witness)| {
                let told = heard.sessions.get(id).into_iter().flatten();
                witness.on == *identifier && told.into_iter().any(|event| matches!(event, Told::State(_)))
            };
            let was_lost_meanwhile = self.sessions.iter().any(has_changed);
            let commands = heard.commands.get(&device_of(identifier));
            assert!(commands.is_none() || was_lost_meanwhile, "{identifier} is adopted, and commanded {commands:?}");
        }
        self.adopted = adopted;
    }

    fn check_limits(&self, limits: Limits) {
        let mut users: BTreeMap<UserId, (u32, u32)> = BTreeMap::new();
        for witness in self.sessions.values() {
            let (holding, objects) = users.entry(witness.user).or_default();
            *holding += u32::from(witness.holds);
            *objects += 1;
        }
        for (user, (holding, objects)) in users {
            assert!(holding <= limits.sessions, "{user:?} holds too much");
            assert!(objects <= limits.sessions + limits.watchers, "{user:?} has too many session objects");
        }
    }

    fn check_capabilities(&self, scene: &Scene) {
        let everything = scene.core.capabilities();
        for configuration in scene.core.configurations(None) {
            let reported = scene.machine[&device_of(&configuration.identifier)].report();
            assert!(everything.contains(configuration.capabilities), "the manager reports the union");
            assert!(configuration.capabilities.contains(Capabilities::DirectConnectionRouting));
            assert_eq!(configuration.bearer_type, reported.bearer_type);
            let counts = configuration.capabilities.contains(Capabilities::DataStatistics);
            assert_eq!(counts, reported.counts_traffic);
            let later = Capabilities::ApplicationLevelRoaming | Capabilities::ForcedRoaming;
            assert!(!configuration.capabilities.intersects(later), "nobody does this yet");
        }
    }
}
