use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
    thread::JoinHandle,
};

use netbearer_core::{ChooserId, ClientId, Decision, Question, QuestionNumber, SessionId};
use netbearer_kernel::BootClock;
use netbearer_names::NamePlaces;
use netbearer_service::{Audience, ServiceHandle};
use netbearer_types::{
    Capabilities, Configuration, Identifier, Interface, ManagerEvent, SessionEvent, SessionSnapshot, StateFlags,
    Steering,
};

use crate::{
    CallError, Chooser, ChooserEvent, Embedded, Events, FindError, ManagerError, News, Session, Steps,
    feed::{Feed, lock},
    session::Shared,
};

/// Names nearer than this many changed letters are suggested.
const SUGGESTION_DISTANCE: usize = 3;

/// The way in: what there is to open sessions on.
///
/// Cheap to clone. The service ends, and takes down what is ours, when the last clone and the last session are gone;
/// dropping that last one waits for it.
#[derive(Clone, Debug)]
pub struct Manager {
    connection: Arc<Connection>,
}

/// One client of a service, shared by a manager and its sessions.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) service: ServiceHandle,
    pub(crate) clock: BootClock,
    pub(crate) client: ClientId,
    reception: Arc<Reception>,
    /// Where the machine's resolver is, for lookups.
    pub(crate) names: Option<NamePlaces>,
    /// Declared last, so dropped last: by then the service has heard that we left.
    _thread: ServiceThread,
}

/// The thread of an embedded service. Dropping it waits until the links of ours are down: a program that returns from its
/// main function right after must not leave them up.
#[derive(Debug)]
pub(crate) struct ServiceThread(Option<JoinHandle<()>>);

impl ServiceThread {
    pub(crate) fn new(thread: JoinHandle<()>) -> Self {
        Self(Some(thread))
    }
}

impl Drop for ServiceThread {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // An error means that it panicked, and it has said so on its own.
            let _ = thread.join();
        }
    }
}

/// What the service's thread makes for its client.
pub(crate) struct ConnectionParts {
    pub(crate) service: ServiceHandle,
    pub(crate) clock: BootClock,
    pub(crate) client: ClientId,
    pub(crate) reception: Arc<Reception>,
}

/// Where the service's task leaves what it has to say.
#[derive(Debug, Default)]
pub(crate) struct Reception {
    sessions: Mutex<BTreeMap<SessionId, Weak<Shared>>>,
    feed: Mutex<Feed<ManagerEvent>>,
    choosers: Mutex<BTreeMap<ChooserId, Feed<ChooserEvent>>>,
}

impl Audience for Reception {
    fn session_event(&self, session: SessionId, event: SessionEvent, snapshot: SessionSnapshot) {
        let shared = lock(&self.sessions).get(&session).and_then(Weak::upgrade);
        if let Some(shared) = shared {
            shared.deliver(&event, snapshot);
        }
    }

    fn manager_event(&self, event: ManagerEvent) {
        let wakers = lock(&self.feed).push(&event, || vec![ManagerEvent::Lagged]);
        wakers.wake();
    }

    fn question(&self, chooser: ChooserId, question: Question) {
        self.tell_chooser(chooser, &ChooserEvent::Asked(question));
    }

    fn withdrawal(&self, chooser: ChooserId, number: QuestionNumber) {
        self.tell_chooser(chooser, &ChooserEvent::Withdrawn(number));
    }
}

impl Reception {
    fn tell_chooser(&self, chooser: ChooserId, event: &ChooserEvent) {
        let wakers = lock(&self.choosers).get_mut(&chooser).map(|feed| feed.push(event, || vec![event.clone()]));
        wakers.unwrap_or_default().wake();
    }

    /// The service has ended: nothing more will come.
    pub(crate) fn end(&self) {
        let sessions: Vec<Arc<Shared>> = lock(&self.sessions).values().filter_map(Weak::upgrade).collect();
        for session in sessions {
            session.end();
        }
        let wakers = lock(&self.feed).end();
        wakers.wake();
        // Each ends when it is dropped, and not under the lock.
        drop(std::mem::take(&mut *lock(&self.choosers)));
    }
}

impl Connection {
    pub(crate) fn new(parts: ConnectionParts, names: Option<NamePlaces>, thread: ServiceThread) -> Self {
        let ConnectionParts { service, clock, client, reception } = parts;
        Self { service, clock, client, reception, names, _thread: thread }
    }

    pub(crate) fn forget(&self, session: SessionId) {
        lock(&self.reception.sessions).remove(&session);
    }

    pub(crate) fn forget_chooser(&self, chooser: ChooserId) {
        let feed = lock(&self.reception.choosers).remove(&chooser);
        drop(feed);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.service.leave(self.client);
    }
}

impl Manager {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection: Arc::new(connection) }
    }

    /// A manager with a service of its own, in a thread of this process, for the network namespace of the calling
    /// thread. Sessions are counted within this process. Returns after everything there is has been looked at.
    ///
    /// # Errors
    /// When the network cannot be looked at, or a profile is malformed.
    pub async fn embedded() -> Result<Self, ManagerError> {
        Embedded::default().start().await
    }

    /// Access points and service networks whose flags contain `filter`; all of them without one.
    ///
    /// # Errors
    /// [`CallError::ServiceGone`].
    pub async fn configurations(&self, filter: Option<StateFlags>) -> Result<Vec<Configuration>, CallError> {
        Ok(self.connection.service.call(move |core, _| core.configurations(filter)).await?)
    }

    /// All user choices, which are not among [`Manager::configurations`]: for people who look for what they can name.
    ///
    /// # Errors
    /// [`CallError::ServiceGone`].
    pub async fn user_choices(&self) -> Result<Vec<Configuration>, CallError> {
        Ok(self.connection.service.call(|core, _| core.user_choices()).await?)
    }

    /// The configuration a program without wishes of its own should open; none if nothing can be opened, or if the one that
    /// files name as the default is nowhere to be found.
    ///
    /// # Errors
    /// [`CallError::ServiceGone`].
    pub async fn default_configuration(&self) -> Result<Option<Configuration>, CallError> {
        Ok(self.connection.service.call(|core, _| core.default_configuration()).await?)
    }

    /// The configuration with this identifier; an invalid one if there is none.
    ///
    /// # Errors
    /// [`CallError::ServiceGone`].
    pub async fn configuration(&self, identifier: &Identifier) -> Result<Configuration, CallError> {
        let wanted = identifier.clone();
        let found = self.connection.service.call(move |core, _| core.configuration(&wanted)).await?;
        Ok(found.unwrap_or_else(|| Configuration::invalid(identifier.clone())))
    }

    /// The configuration that a person means: by identifier, else by name, else by interface name, else by the name of the
    /// file that it is from. The default one if nothing is named.
    ///
    /// # Errors
    /// When there is none, with near names; or several, with their identifiers. When files name a default that is nowhere to
    /// be found.
    pub async fn find(&self, wanted: Option<&str>) -> Result<Configuration, FindError> {
        let gone = |_: CallError| FindError::ServiceGone;
        let default = match wanted {
            Some(_) => None,
            None => self.default_configuration().await.map_err(gone)?,
        };
        if let Some(default) = default {
            return Ok(default);
        }
        let Some(wanted) = wanted else { return Err(self.without_default().await) };
        let mut all = self.configurations(None).await.map_err(gone)?;
        all.extend(self.user_choices().await.map_err(gone)?);
        let by: [fn(&Configuration) -> Option<&str>; 3] = [
            |configuration| Some(configuration.identifier.as_str()),
            |configuration| Some(configuration.name.as_str()),
            |configuration| configuration.interface_name.as_deref(),
        ];
        for key in by {
            let found = all.iter().filter(|one| key(one) == Some(wanted));
            if let Some(found) = the_only(wanted, found)? {
                return Ok(found.clone());
            }
        }
        let name = wanted.to_owned();
        let referred =
            self.connection.service.call(move |core, _| (core.referred(&name), core.referring_names())).await;
        let (referred, names) = referred.map_err(|_| FindError::ServiceGone)?;
        let found = all.iter().filter(|one| referred.contains(&one.identifier));
        if let Some(found) = the_only(wanted, found)? {
            return Ok(found.clone());
        }
        let names = all.into_iter().map(|one| one.name).chain(names);
        Err(FindError::Unknown { wanted: wanted.to_owned(), near: near(wanted, names) })
    }

    async fn without_default(&self) -> FindError {
        let asked = self.connection.service.call(|core, _| {
            let named = core.named_default().map(str::to_owned);
            named.map(|named| FindError::UnknownDefault { near: near(&named, core.referring_names()), named })
        });
        asked.await.map_or(FindError::ServiceGone, |unknown| unknown.unwrap_or(FindError::NoDefault))
    }

    /// Makes a session, which only watches until it is opened. Returns after its first snapshot.
    ///
    /// # Errors
    /// When the limit of watching sessions is reached.
    pub async fn session(&self, configuration: &Configuration) -> Result<Session, CallError> {
        let identifier = configuration.identifier.clone();
        let (client, reception) = (self.connection.client, Arc::clone(&self.connection.reception));
        // Registered within the call, so that no event between the snapshot and the registration is lost.
        let made = self.connection.service.call(move |core, _| {
            let id = core.create_session(client, &identifier)?;
            let snapshot = core.session(id).unwrap_or(SessionSnapshot::invalid());
            let configuration =
                core.session_configuration(id).unwrap_or_else(|| Configuration::invalid(identifier.clone()));
            let shared = Arc::new(Shared::new(configuration, snapshot));
            lock(&reception.sessions).insert(id, Arc::downgrade(&shared));
            Ok::<_, netbearer_core::Refusal>((id, shared))
        });
        let (id, shared) = made.await??;
        Ok(Session::new(Arc::clone(&self.connection), id, shared))
    }

    /// True if some access point is Active and has a default route.
    ///
    /// # Errors
    /// [`CallError::ServiceGone`].
    pub async fn is_online(&self) -> Result<bool, CallError> {
        Ok(self.connection.service.call(|core, _| core.is_online()).await?)
    }

    /// What can be done with some configuration at least.
    ///
    /// # Errors
    /// [`CallError::ServiceGone`].
    pub async fn capabilities(&self) -> Result<Capabilities, CallError> {
        Ok(self.connection.service.call(|core, _| core.capabilities()).await?)
    }

    /// Asks for a look at everything anew. One UpdateCompleted event follows for each call.
    ///
    /// # Errors
    /// [`CallError::ServiceGone`].
    pub async fn update_configurations(&self) -> Result<(), CallError> {
        let client = self.connection.client;
        Ok(self.connection.service.call(move |core, _| core.update_configurations(client)).await?)
    }

    /// The events from now on: configurations that come, change and go, and whether the machine is online.
    #[must_use]
    pub fn events(&self) -> Events<ManagerEvent> {
        lock(&self.connection.reception.feed).subscribe()
    }

    /// What is being done with access points on their way up or down.
    #[must_use]
    pub fn steps(&self) -> Steps {
        Steps::new(self.connection.service.steps())
    }

    /// That something which can be asked may be different now.
    #[must_use]
    pub fn news(&self) -> News {
        News::new(self.connection.service.news())
    }

    /// Answers the questions of user choices from now on, for sessions of this user: the newest chooser is asked. As long as
    /// there is none, the most preferred choice is taken (semantics §6).
    ///
    /// # Errors
    /// [`CallError::ServiceGone`].
    pub async fn chooser(&self) -> Result<Chooser, CallError> {
        let (client, reception) = (self.connection.client, Arc::clone(&self.connection.reception));
        // Registered within the call, so that no question is lost.
        let made = self.connection.service.call(move |core, _| {
            let id = core.add_chooser(client);
            let mut feed = Feed::default();
            let events = feed.subscribe();
            lock(&reception.choosers).insert(id, feed);
            (id, events)
        });
        let (id, events) = made.await?;
        Ok(Chooser::new(Arc::clone(&self.connection), id, events))
    }

    /// The interface of an access point, whatever its state; none while it is unplugged.
    ///
    /// # Errors
    /// [`CallError::ServiceGone`].
    pub async fn interface(&self, identifier: &Identifier) -> Result<Option<Interface>, CallError> {
        let identifier = identifier.clone();
        Ok(self.connection.service.call(move |core, _| core.interface(&identifier)).await?)
    }

    /// Whose packets go where on an access point, as far as it is not as usual: a full-tunnel VPN beside it, and what does not
    /// work. None if there is no such access point.
    ///
    /// # Errors
    /// [`CallError::ServiceGone`].
    pub async fn steering(&self, identifier: &Identifier) -> Result<Option<Steering>, CallError> {
        let identifier = identifier.clone();
        Ok(self.connection.service.call(move |core, _| core.steering(&identifier)).await?)
    }

    /// The other access points of the same device: one of them is up at a time (semantics §3, "Exclusive").
    ///
    /// # Errors
    /// [`CallError::ServiceGone`].
    pub async fn exclusive_with(&self, identifier: &Identifier) -> Result<Vec<Identifier>, CallError> {
        let identifier = identifier.clone();
        Ok(self.connection.service.call(move |core, _| core.exclusive_with(&identifier)).await?)
    }

    /// The decisions made so far, with their inputs; the oldest may be forgotten.
    ///
    /// # Errors
    /// [`CallError::ServiceGone`].
    pub async fn decisions(&self) -> Result<Vec<Decision>, CallError> {
        Ok(self.connection.service.call(|core, _| core.decisions(0).cloned().collect()).await?)
    }

    /// Closes every session of this service, takes down what is ours, and ends it. Returns when that has happened.
    pub async fn shutdown(&self) {
        self.connection.service.shutdown().await;
    }
}

/// None of none.
fn the_only<'a>(
    wanted: &str,
    found: impl Iterator<Item = &'a Configuration>,
) -> Result<Option<&'a Configuration>, FindError> {
    let found: Vec<&Configuration> = found.collect();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => {
            let identifiers = several.iter().map(|one| one.identifier.clone()).collect();
            Err(FindError::Ambiguous { wanted: wanted.to_owned(), identifiers })
        }
    }
}

fn near(wanted: &str, names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<(usize, String)> = names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(wanted, &name), name))
        .filter(|(distance, _)| *distance <= SUGGESTION_DISTANCE)
        .collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().take(3).map(|(_, name)| name).collect()
}
