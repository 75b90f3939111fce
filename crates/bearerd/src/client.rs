//! One client: what it has, and what it was told last.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use netbearer_core::{ChooserId, ClientId, Question, QuestionNumber, SessionId};
use netbearer_dbus::{InterfaceValue, OfferValue, SessionProperties, failure_to_wire, session_path};
use netbearer_service::Audience;
use netbearer_types::{
    Failure, Identifier, Interface, ManagerEvent, Moment, RoamingSnapshot, SessionEvent, SessionSnapshot, SessionState,
};
use zbus::{
    Message,
    names::{OwnedUniqueName, UniqueName},
};

use crate::{Letter, Mail, Outbox, Repeated, outbox::Lag, signals};

/// A connection to the private socket, or one of the bus that has called.
#[derive(Debug)]
pub struct Client {
    id: ClientId,
    /// On a bus, where its signals go.
    name: Option<OwnedUniqueName>,
    outbox: Arc<Outbox>,
    passes_descriptors: bool,
    common: Arc<Common>,
    possessions: Mutex<Possessions>,
}

#[derive(Debug, Default)]
struct Possessions {
    sessions: BTreeMap<SessionId, Told>,
    choosers: BTreeSet<ChooserId>,
    topics: Topics,
}

/// What a client wants to be told beside its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    /// Configurations.
    pub configurations: bool,
    /// What is being done with access points.
    pub steps: bool,
    /// That something may be different.
    pub news: bool,
}

/// What the owner of a session was told of it last. There are many sessions, so it is small, and shares what it can.
#[derive(Clone, Debug)]
struct Told {
    state: SessionState,
    is_open: bool,
    is_opening: bool,
    stakeholder: bool,
    since: Option<Moment>,
    active: Option<Identifier>,
    interface: Option<Arc<Interface>>,
    failure: Option<Box<Failure>>,
    roaming: Option<Box<RoamingSnapshot>>,
}

/// What many sessions have in common, whoever has them.
#[derive(Debug, Default)]
pub struct Common {
    interfaces: Interfaces,
    changes: Repeated<SessionProperties>,
    events: Repeated<SessionEvent>,
}

/// Interfaces as they were told, each once, however many sessions are on it.
#[derive(Debug, Default)]
struct Interfaces(Mutex<Vec<Weak<Interface>>>);

impl Interfaces {
    fn share(&self, interface: &Interface) -> Arc<Interface> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.strong_count() > 0);
        let found = known.iter().filter_map(Weak::upgrade).find(|known| **known == *interface);
        found.unwrap_or_else(|| {
            let shared = Arc::new(interface.clone());
            known.push(Arc::downgrade(&shared));
            shared
        })
    }
}

impl Told {
    fn of(snapshot: &SessionSnapshot, stakeholder: bool, interfaces: &Interfaces) -> Self {
        Self {
            state: snapshot.state,
            is_open: snapshot.is_open,
            is_opening: snapshot.is_opening,
            stakeholder,
            since: snapshot.active_since,
            active: snapshot.active_configuration.clone(),
            interface: snapshot.interface.as_ref().map(|interface| interfaces.share(interface)),
            failure: snapshot.failure.clone().map(Box::new),
            roaming: snapshot.roaming.clone(),
        }
    }

    /// Tells what has changed, and takes it over.
    fn update(&mut self, snapshot: &SessionSnapshot, interfaces: &Interfaces) -> Option<SessionProperties> {
        let mut changes = SessionProperties::default();
        if self.state != snapshot.state {
            self.state = snapshot.state;
            changes.state = Some(self.state as u32);
        }
        if self.is_open != snapshot.is_open {
            self.is_open = snapshot.is_open;
            changes.is_open = Some(self.is_open);
        }
        if self.is_opening != snapshot.is_opening {
            self.is_opening = snapshot.is_opening;
            changes.is_opening = Some(self.is_opening);
        }
        if self.since != snapshot.active_since {
            self.since = snapshot.active_since;
            changes.active_since = Some(since_value(self.since));
        }
        if self.active != snapshot.active_configuration {
            self.active.clone_from(&snapshot.active_configuration);
            changes.active_configuration = Some(identifier_value(self.active.as_ref()));
        }
        if self.interface.as_deref() != snapshot.interface.as_ref() {
            self.interface = snapshot.interface.as_ref().map(|interface| interfaces.share(interface));
            changes.interface = Some(interface_value(self.interface.as_deref()));
        }
        if self.failure.as_deref() != snapshot.failure.as_ref() {
            self.failure = snapshot.failure.clone().map(Box::new);
            changes.failure = Some(self.failure.as_deref().map(failure_to_wire).unwrap_or_default());
        }
        if self.roaming != snapshot.roaming {
            self.roaming.clone_from(&snapshot.roaming);
            changes.offer = Some(offer_value(self.roaming.as_deref()));
        }
        (changes != SessionProperties::default()).then_some(changes)
    }

    fn properties(&self) -> SessionProperties {
        SessionProperties {
            configuration: None,
            state: Some(self.state as u32),
            is_open: Some(self.is_open),
            is_opening: Some(self.is_opening),
            interface: Some(interface_value(self.interface.as_deref())),
            active_configuration: Some(identifier_value(self.active.as_ref())),
            active_since: Some(since_value(self.since)),
            failure: Some(self.failure.as_deref().map(failure_to_wire).unwrap_or_default()),
            stakeholder: Some(self.stakeholder),
            offer: Some(offer_value(self.roaming.as_deref())),
        }
    }
}

fn offer_value(roaming: Option<&RoamingSnapshot>) -> OfferValue {
    roaming.map(OfferValue::from).unwrap_or_default()
}

fn since_value(since: Option<Moment>) -> u64 {
    since.map(Moment::nanoseconds).unwrap_or_default()
}

fn identifier_value(identifier: Option<&Identifier>) -> String {
    identifier.map(|identifier| identifier.as_str().to_owned()).unwrap_or_default()
}

fn interface_value(interface: Option<&Interface>) -> InterfaceValue {
    interface.map(InterfaceValue::from).unwrap_or_default()
}

impl Client {
    /// A client of the private socket, whose connection has this outbox.
    #[must_use]
    pub fn private(id: ClientId, outbox: Arc<Outbox>, passes_descriptors: bool, common: Arc<Common>) -> Self {
        Self { id, name: None, outbox, passes_descriptors, common, possessions: Mutex::default() }
    }

    /// A client on a bus, whose outbox is that of the bus.
    #[must_use]
    pub fn on_bus(id: ClientId, name: OwnedUniqueName, outbox: Arc<Outbox>, common: Arc<Common>) -> Self {
        let possessions = Mutex::default();
        Self { id, name: Some(name), outbox, passes_descriptors: true, common, possessions }
    }

    pub(crate) const fn id(&self) -> ClientId {
        self.id
    }

    /// Whether descriptors can be given to it.
    pub(crate) const fn passes_descriptors(&self) -> bool {
        self.passes_descriptors
    }

    /// True if others share its connection.
    pub(crate) const fn is_on_bus(&self) -> bool {
        self.name.is_some()
    }

    pub(crate) fn destination(&self) -> Option<&UniqueName<'_>> {
        self.name.as_deref()
    }

    pub(crate) fn send(&self, mail: Mail, letter: Option<impl Into<Letter>>) {
        if let Some(letter) = letter {
            self.outbox.push(mail, letter);
        }
    }

    fn send_changes(&self, session: SessionId, changes: &SessionProperties) {
        self.send(Mail::Session(session), self.changes(session, changes));
    }

    fn changes(&self, session: SessionId, changes: &SessionProperties) -> Option<Letter> {
        let make = || signals::session_changed(self.destination(), session, changes);
        self.repeated(&self.common.changes, session, changes, make)
    }

    fn event(&self, session: SessionId, event: &SessionEvent) -> Option<Letter> {
        let make = || signals::session_event(self.destination(), session, event);
        self.repeated(&self.common.events, session, event, make)
    }

    /// On a bus each client has another name, and zbus sends what zbus has made.
    fn repeated<K: Clone + PartialEq>(
        &self,
        repeated: &Repeated<K>,
        session: SessionId,
        told: &K,
        make: impl FnOnce() -> Option<Message>,
    ) -> Option<Letter> {
        if self.is_on_bus() {
            return make().map(Letter::from);
        }
        repeated.signal(&session_path(session.0), told, make)
    }

    pub(crate) fn begin_calls(&self, calls: usize) {
        self.outbox.begin(calls);
    }

    pub(crate) fn finish_calls(&self, calls: usize) {
        self.outbox.finish(calls);
    }

    /// Whether it is told when objects of its own come and go, as it may not know by other means.
    pub(crate) fn follows_objects(&self) -> bool {
        self.is_on_bus() || self.possessions().topics.configurations
    }

    pub(crate) fn topics(&self) -> Topics {
        self.possessions().topics
    }

    pub(crate) fn set_topics(&self, topics: Topics) {
        self.possessions().topics = topics;
    }

    /// A session is this client's from now on. Returns its properties.
    pub(crate) fn add_session(
        &self,
        session: SessionId,
        snapshot: &SessionSnapshot,
        stakeholder: bool,
    ) -> SessionProperties {
        let told = Told::of(snapshot, stakeholder, &self.common.interfaces);
        let properties = told.properties();
        self.possessions().sessions.insert(session, told);
        properties
    }

    /// Tells what is different of a session from what was told last. False if it is not this client's.
    pub(crate) fn refresh_session(&self, session: SessionId, snapshot: &SessionSnapshot) -> bool {
        let changes = match self.possessions().sessions.get_mut(&session) {
            Some(told) => told.update(snapshot, &self.common.interfaces),
            None => return false,
        };
        if let Some(changes) = changes {
            self.send_changes(session, &changes);
        }
        true
    }

    pub(crate) fn remove_session(&self, session: SessionId) {
        self.possessions().sessions.remove(&session);
        self.outbox.forget(session);
    }

    pub(crate) fn has_session(&self, session: SessionId) -> bool {
        self.possessions().sessions.contains_key(&session)
    }

    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        self.possessions().sessions.keys().copied().collect()
    }

    /// The properties of a session as they were told last, without those that never change.
    pub(crate) fn session_properties(&self, session: SessionId) -> Option<SessionProperties> {
        self.possessions().sessions.get(&session).map(Told::properties)
    }

    /// The application decides when to roam, or does not any more.
    pub(crate) fn set_stakeholder(&self, session: SessionId, stakeholder: bool) {
        let changed = self.possessions().sessions.get_mut(&session).is_some_and(|told| {
            let before = std::mem::replace(&mut told.stakeholder, stakeholder);
            before != stakeholder
        });
        if changed {
            let changes = SessionProperties { stakeholder: Some(stakeholder), ..SessionProperties::default() };
            self.send_changes(session, &changes);
        }
    }

    pub(crate) fn add_chooser(&self, chooser: ChooserId) {
        self.possessions().choosers.insert(chooser);
    }

    pub(crate) fn remove_chooser(&self, chooser: ChooserId) -> bool {
        self.possessions().choosers.remove(&chooser)
    }

    pub(crate) fn choosers(&self) -> Vec<ChooserId> {
        self.possessions().choosers.iter().copied().collect()
    }

    pub(crate) fn has_chooser(&self, chooser: ChooserId) -> bool {
        self.possessions().choosers.contains(&chooser)
    }

    /// What is told in the place of what was dropped.
    pub(crate) fn told_instead(&self, lag: Lag) -> Vec<Letter> {
        match lag {
            Lag::Configurations => {
                signals::manager(self.destination(), "Lagged").map(Letter::from).into_iter().collect()
            }
            Lag::Session(session) => {
                let Some(properties) = self.session_properties(session) else { return Vec::new() };
                let state = self.changes(session, &properties);
                state.into_iter().chain(self.event(session, &SessionEvent::Lagged)).collect()
            }
        }
    }

    fn possessions(&self) -> MutexGuard<'_, Possessions> {
        self.possessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audience for Client {
    fn session_event(&self, session: SessionId, event: SessionEvent, snapshot: SessionSnapshot) {
        if self.refresh_session(session, &snapshot) {
            self.send(Mail::Session(session), self.event(session, &event));
        }
    }

    /// What is for everybody is told by [`crate::Roster`].
    fn manager_event(&self, event: ManagerEvent) {
        if event == ManagerEvent::UpdateCompleted {
            self.send(Mail::Signal, signals::manager(self.destination(), "UpdateCompleted"));
        }
    }

    fn question(&self, chooser: ChooserId, question: Question) {
        self.send(Mail::Signal, signals::asked(self.destination(), chooser, &question));
    }

    fn withdrawal(&self, chooser: ChooserId, number: QuestionNumber) {
        self.send(Mail::Signal, signals::withdrawn(self.destination(), chooser, number));
    }
}
