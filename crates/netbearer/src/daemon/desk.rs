use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, Mutex, Weak},
};

use netbearer_dbus::{MANAGER_INTERFACE, MANAGER_PATH, TOPIC_CONFIGURATIONS, TOPIC_NEWS, TOPIC_STEPS, from_word};
use netbearer_types::{Identifier, ManagerEvent, SessionEvent, Step};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use zbus::{DynamicType, Message};

use super::{
    chooser::Registration,
    entry::{Done, Entry, Found},
    line::{Line, Method, contents},
    place::PROPERTIES,
};
use crate::{
    CallError, Events, ServiceDescription,
    feed::{Feed, lock},
};

/// What is being done with access points.
pub(super) type StepLevels = BTreeMap<Identifier, Step>;

/// What this program has of the daemon, whether that is there at the moment or not.
#[derive(Debug)]
pub(super) struct Desk {
    state: Mutex<State>,
    /// Set when nobody needs it any more.
    leaving: watch::Sender<bool>,
    /// Set when nothing is done here any more.
    left: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    service: ServiceDescription,
    /// Where calls go; none while the daemon is away.
    line: Option<Arc<Line>>,
    has_ended: bool,
    /// The readers of events know that the daemon is away.
    is_told_away: bool,
    last_key: u64,
    sessions: BTreeMap<u64, Weak<Entry>>,
    /// Those that the daemon has, by its numbers.
    seated: BTreeMap<u64, Weak<Entry>>,
    choosers: BTreeMap<u64, Weak<Registration>>,
    registered: BTreeMap<u64, Weak<Registration>>,
    feed: Feed<ManagerEvent>,
    topics: BTreeSet<&'static str>,
    /// Updates that were asked for and are not completed.
    updates: u64,
    /// Both end with the desk.
    steps: Option<watch::Sender<StepLevels>>,
    news: Option<watch::Sender<u64>>,
}

impl Desk {
    pub(super) fn new(service: ServiceDescription) -> Self {
        let state = State {
            service,
            line: None,
            has_ended: false,
            is_told_away: false,
            last_key: 0,
            sessions: BTreeMap::new(),
            seated: BTreeMap::new(),
            choosers: BTreeMap::new(),
            registered: BTreeMap::new(),
            feed: Feed::default(),
            topics: BTreeSet::new(),
            updates: 0,
            steps: Some(watch::Sender::new(StepLevels::new())),
            news: Some(watch::Sender::new(0)),
        };
        Self { state: Mutex::new(state), leaving: watch::Sender::new(false), left: watch::Sender::new(false) }
    }

    pub(super) fn service(&self) -> ServiceDescription {
        lock(&self.state).service.clone()
    }

    /// Where calls go.
    ///
    /// # Errors
    /// While the daemon is away.
    pub(super) fn line(&self) -> Result<Arc<Line>, CallError> {
        let line = lock(&self.state).line.clone();
        line.ok_or_else(|| self.absence())
    }

    /// How it is told that the daemon is away.
    pub(super) fn absence(&self) -> CallError {
        if lock(&self.state).has_ended { CallError::ServiceGone } else { CallError::ServiceLost }
    }

    /// Makes a call to the manager.
    pub(super) fn call_manager<B: Serialize + DynamicType>(
        &self,
        line: &Line,
        name: &str,
        body: &B,
        heed: impl FnOnce(Result<Message, CallError>) + Send + 'static,
    ) {
        line.call(Method::of_manager(name), body, heed);
    }

    /// Asks the manager, and waits for its answer.
    pub(super) async fn ask_manager<B: Serialize + DynamicType, T: Send + 'static>(
        &self,
        name: &str,
        body: &B,
        read: impl FnOnce(&Message) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        let method = Method::of_manager(name);
        self.or_absence(self.line()?.ask(method, body, |answer| read(&answer?)).await)
    }

    /// One property of the manager.
    pub(super) async fn manager_property(&self, name: &str) -> Result<zbus::OwnedVariant, CallError> {
        self.property(MANAGER_PATH, MANAGER_INTERFACE, name).await
    }

    /// One property of an object.
    pub(super) async fn property(
        &self,
        path: &str,
        interface: &str,
        name: &str,
    ) -> Result<zbus::OwnedVariant, CallError> {
        let method = Method { path, interface: PROPERTIES, name: "Get" };
        let asked = self.line()?.ask(method, &(interface, name), |answer| contents(&answer?)).await;
        self.or_absence(asked)
    }

    /// A line that was lost because nobody needs it any more is no outage.
    pub(super) fn or_absence<T>(&self, outcome: Result<T, CallError>) -> Result<T, CallError> {
        outcome.map_err(|error| if error == CallError::ServiceLost { self.absence() } else { error })
    }

    // Sessions and choosers.

    /// Takes in a session that the daemon has made, on the line's thread.
    pub(super) fn add_session(self: &Arc<Self>, found: Found, token: String, line: Arc<Line>) -> Arc<Entry> {
        let number = found.number;
        let mut state = lock(&self.state);
        state.last_key += 1;
        let key = state.last_key;
        let entry = Entry::new(self, key, found, token, line);
        state.sessions.insert(key, Arc::downgrade(&entry));
        state.seated.insert(number, Arc::downgrade(&entry));
        entry
    }

    /// The daemon has the session under this number.
    pub(super) fn seat(&self, entry: &Arc<Entry>, number: u64) {
        lock(&self.state).seated.insert(number, Arc::downgrade(entry));
    }

    pub(super) fn forget_session(&self, key: u64, number: Option<u64>) {
        let mut state = lock(&self.state);
        state.sessions.remove(&key);
        if let Some(number) = number {
            state.seated.remove(&number);
        }
    }

    pub(super) fn session(&self, number: u64) -> Option<Arc<Entry>> {
        lock(&self.state).seated.get(&number).and_then(Weak::upgrade)
    }

    pub(super) fn sessions(&self) -> Vec<Arc<Entry>> {
        lock(&self.state).sessions.values().filter_map(Weak::upgrade).collect()
    }

    /// Takes in a chooser that the daemon has registered, on the line's thread.
    pub(super) fn add_chooser(self: &Arc<Self>, number: u64, line: Arc<Line>) -> Arc<Registration> {
        let mut state = lock(&self.state);
        state.last_key += 1;
        let key = state.last_key;
        let registration = Arc::new(Registration::new(Arc::clone(self), key, number, line));
        state.choosers.insert(key, Arc::downgrade(&registration));
        state.registered.insert(number, Arc::downgrade(&registration));
        registration
    }

    pub(super) fn register(&self, registration: &Arc<Registration>, number: u64) {
        lock(&self.state).registered.insert(number, Arc::downgrade(registration));
    }

    pub(super) fn forget_chooser(&self, key: u64, number: Option<u64>) {
        let mut state = lock(&self.state);
        state.choosers.remove(&key);
        if let Some(number) = number {
            state.registered.remove(&number);
        }
    }

    pub(super) fn chooser(&self, number: u64) -> Option<Arc<Registration>> {
        lock(&self.state).registered.get(&number).and_then(Weak::upgrade)
    }

    fn choosers(&self) -> Vec<Arc<Registration>> {
        lock(&self.state).choosers.values().filter_map(Weak::upgrade).collect()
    }

    // What the manager tells.

    pub(super) fn events(self: &Arc<Self>) -> Events<ManagerEvent> {
        let events = lock(&self.state).feed.subscribe();
        self.want(TOPIC_CONFIGURATIONS);
        events
    }

    /// None once nothing will be told any more.
    pub(super) fn steps(self: &Arc<Self>) -> Option<watch::Receiver<StepLevels>> {
        let steps = lock(&self.state).steps.as_ref().map(watch::Sender::subscribe);
        self.want(TOPIC_STEPS);
        steps
    }

    /// None once nothing will be told any more.
    pub(super) fn news(self: &Arc<Self>) -> Option<watch::Receiver<u64>> {
        let news = lock(&self.state).news.as_ref().map(watch::Sender::subscribe);
        self.want(TOPIC_NEWS);
        news
    }

    /// What is asked for after this is told of by the topic, too: the daemon takes calls in order.
    fn want(self: &Arc<Self>, topic: &'static str) {
        let mut state = lock(&self.state);
        if !state.topics.insert(topic) {
            return;
        }
        let line = state.line.clone();
        drop(state);
        if let Some(line) = line {
            self.subscribe(&line, &BTreeSet::from([topic]), None);
        }
    }

    /// Tells the daemon all topics, and asks for what holds of those that are new to it.
    fn subscribe(self: &Arc<Self>, line: &Line, new: &BTreeSet<&'static str>, done: Option<&Done>) {
        let topics: Vec<&str> = lock(&self.state).topics.iter().copied().collect();
        if topics.is_empty() {
            return;
        }
        let held = done.cloned();
        self.call_manager(line, "Subscribe", &topics, move |answer| {
            if let Err(error) = answer {
                tracing::debug!("the bearer service does not tell of everything: {error}");
            }
            drop(held);
        });
        if let Some(owner) = line.owner() {
            let listen = |to: &str| line.call_bus("AddMatch", &format!("type='signal',sender='{owner}',{to}"));
            if new.contains(TOPIC_CONFIGURATIONS) {
                listen("interface='org.freedesktop.DBus.ObjectManager',path='/'");
                listen(&format!("interface='{PROPERTIES}',path_namespace='{MANAGER_PATH}'"));
            }
            // The same again is one more rule, which changes nothing.
            listen(&format!("interface='{MANAGER_INTERFACE}'"));
        }
        if new.contains(TOPIC_STEPS) {
            let (desk, held) = (Arc::downgrade(self), done.cloned());
            self.call_manager(line, "GetSteps", &(), move |answer| {
                let steps = answer.and_then(|answer| contents::<BTreeMap<String, String>>(&answer));
                if let (Some(desk), Ok(steps)) = (desk.upgrade(), steps) {
                    desk.set_steps(steps);
                }
                drop(held);
            });
        }
    }

    pub(super) fn set_steps(&self, steps: BTreeMap<String, String>) {
        let known = |(identifier, step): (String, String)| Some((Identifier::new(identifier), from_word(&step)?));
        let steps: StepLevels = steps.into_iter().filter_map(known).collect();
        let state = lock(&self.state);
        if let Some(sender) = &state.steps {
            sender.send_if_modified(|told| {
                let is_new = *told != steps;
                *told = steps;
                is_new
            });
        }
    }

    pub(super) fn tell_news(&self) {
        if let Some(news) = &lock(&self.state).news {
            news.send_modify(|count| *count += 1);
        }
    }

    pub(super) fn tell(&self, event: &ManagerEvent) {
        let mut state = lock(&self.state);
        if *event == ManagerEvent::UpdateCompleted {
            state.updates = state.updates.saturating_sub(1);
        }
        let wakers = state.feed.push(event, || vec![ManagerEvent::Lagged]);
        drop(state);
        wakers.wake();
    }

    pub(super) async fn update(&self) -> Result<(), CallError> {
        let line = self.line()?;
        lock(&self.state).updates += 1;
        let method = Method::of_manager("UpdateConfigurations");
        let outcome = self.or_absence(line.ask(method, &(), |answer| answer.map(|_| ())).await);
        if outcome.is_err() {
            let mut state = lock(&self.state);
            state.updates = state.updates.saturating_sub(1);
        }
        outcome
    }

    // Coming and going.

    /// A daemon is there, for the first time or again.
    pub(super) async fn attend(self: &Arc<Self>, line: &Arc<Line>, service: ServiceDescription, is_return: bool) {
        let (topics, updates) = {
            let mut state = lock(&self.state);
            state.service = service;
            state.line = Some(Arc::clone(line));
            (state.topics.clone(), state.updates)
        };
        let (done, mut all_done) = mpsc::unbounded_channel::<()>();
        let sessions = self.sessions();
        for session in &sessions {
            session.come_back(line, done.clone());
        }
        // The application may drop them meanwhile.
        let sessions: Vec<Weak<Entry>> = sessions.iter().map(Arc::downgrade).collect();
        for chooser in self.choosers() {
            chooser.come_back(line, done.clone());
        }
        self.subscribe(line, &topics, Some(&done));
        for _ in 0..updates {
            let done = done.clone();
            self.call_manager(line, "UpdateConfigurations", &(), move |_| drop(done));
        }
        drop(done);
        // It ends when all of these have.
        while all_done.recv().await.is_some() {}
        let is_dead = lock(&self.state).line.as_ref().is_none_or(|current| !Arc::ptr_eq(current, line));
        if is_return && !is_dead {
            for session in sessions.iter().filter_map(Weak::upgrade) {
                session.tell_of_service(&SessionEvent::ServiceBack);
            }
            lock(&self.state).is_told_away = false;
            self.tell(&ManagerEvent::ServiceBack);
            self.tell_news();
        }
    }

    /// The daemon is away. Nobody is asked on this line any more, and who waits for an answer is told.
    pub(super) fn lose(&self, line: &Line) {
        {
            let mut state = lock(&self.state);
            state.line = None;
            state.seated.clear();
            state.registered.clear();
        }
        let (sessions, choosers) = (self.sessions(), self.choosers());
        sessions.iter().for_each(|session| session.lose_seat());
        line.hang_up();
        if lock(&self.state).has_ended {
            return;
        }
        for session in sessions {
            session.tell_of_service(&SessionEvent::ServiceLost);
        }
        for chooser in choosers {
            chooser.lose_number();
        }
        if !std::mem::replace(&mut lock(&self.state).is_told_away, true) {
            self.tell(&ManagerEvent::ServiceLost);
        }
    }

    /// Nobody needs it any more.
    pub(super) fn leave(&self) {
        lock(&self.state).has_ended = true;
        self.leaving.send_replace(true);
    }

    pub(super) async fn has_left(&self) {
        // It is there as long as this is.
        let _ = self.left.subscribe().wait_for(|left| *left).await;
    }

    pub(super) async fn is_leaving(&self) {
        let _ = self.leaving.subscribe().wait_for(|leaving| *leaving).await;
    }

    /// Nothing will be told any more.
    pub(super) fn end(&self) {
        let (line, mut feed, steps, news) = {
            let mut state = lock(&self.state);
            state.has_ended = true;
            let feed = mem::replace(&mut state.feed, Feed::ended());
            (state.line.take(), feed, state.steps.take(), state.news.take())
        };
        if let Some(line) = line {
            line.hang_up();
        }
        feed.end().wake();
        drop((steps, news));
        self.sessions().iter().for_each(|session| session.end());
        self.choosers().iter().for_each(|chooser| chooser.end());
        self.left.send_replace(true);
    }
}
