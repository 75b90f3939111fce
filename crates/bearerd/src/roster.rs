//! All clients there are, and what all of them are told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use netbearer_core::{ChooserId, ClientId, Question, QuestionNumber, SessionId};
use netbearer_service::{Audience, ServiceHandle, Steps};
use netbearer_types::{ManagerEvent, SessionEvent, SessionSnapshot};
use zbus::Message;

use crate::{
    Client, Letter, Mail, Outbox,
    client::Topics,
    outbox::{Lag, Level},
    signals,
};

/// The client that stands for all of them, when everybody is told something.
pub(crate) const EVERYBODY: ClientId = ClientId(0);

/// Who is there.
#[derive(Debug, Default)]
pub struct Roster {
    clients: Mutex<BTreeMap<ClientId, Arc<Client>>>,
    /// What goes out there once reaches all on the bus.
    bus: Mutex<Option<Arc<Outbox>>>,
    last: AtomicU64,
}

impl Roster {
    /// A name for a client that comes.
    pub(crate) fn next(&self) -> ClientId {
        ClientId(self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(crate) fn add(&self, client: Arc<Client>) {
        self.clients().insert(client.id(), client);
    }

    pub(crate) fn remove(&self, client: ClientId) {
        self.clients().remove(&client);
    }

    /// A session is another client's from now on: what waits to be told of it is told to this one no more.
    pub(crate) fn take_session_from(&self, client: ClientId, session: SessionId) {
        let client = self.clients().get(&client).cloned();
        if let Some(client) = client {
            client.remove_session(session);
        }
    }

    /// The bus has come, or has gone.
    pub(crate) fn set_bus(&self, outbox: Option<Arc<Outbox>>) {
        *self.bus.lock().unwrap_or_else(PoisonError::into_inner) = outbox;
    }

    /// What is told on the bus in the place of what was dropped.
    pub(crate) fn told_instead(&self, lag: Lag) -> Vec<Letter> {
        match lag {
            Lag::Configurations => signals::manager(None, "Lagged").map(Letter::from).into_iter().collect(),
            Lag::Session(session) => {
                let owner = self.clients().values().find(|client| client.has_session(session)).cloned();
                owner.map(|owner| owner.told_instead(lag)).unwrap_or_default()
            }
        }
    }

    /// Tells what is being done with access points, and that there is news, for ever.
    pub async fn follow(self: Arc<Self>, service: ServiceHandle) {
        let (mut steps, mut news) = (service.steps(), service.news());
        loop {
            let told = tokio::select! {
                changed = steps.changed() => changed.map(|()| Level::Steps),
                changed = news.changed() => changed.map(|()| Level::News),
            };
            match told {
                Ok(Level::Steps) => {
                    let now: Steps = steps.borrow_and_update().clone();
                    self.tell(Mail::Latest(Level::Steps), |topics| topics.steps, || signals::steps(&now));
                }
                Ok(Level::News) => {
                    news.mark_unchanged();
                    self.tell(Mail::Latest(Level::News), |topics| topics.news, || signals::manager(None, "News"));
                }
                // The service has ended.
                Err(_) => return,
            }
        }
    }

    /// Makes a message at most once, and none that nobody wants.
    fn tell(&self, mail: Mail, wanted: impl Fn(Topics) -> bool, message: impl FnOnce() -> Option<Message>) {
        let clients = self.clients();
        let mut wanting = clients.values().filter(|client| !client.is_on_bus() && wanted(client.topics())).peekable();
        let is_wanted_on_bus = mail == Mail::Configurations
            || clients.values().any(|client| client.is_on_bus() && wanted(client.topics()));
        let bus = is_wanted_on_bus.then(|| self.bus.lock().unwrap_or_else(PoisonError::into_inner).clone()).flatten();
        if wanting.peek().is_none() && bus.is_none() {
            return;
        }
        let Some(message) = message() else { return };
        if let Some(bus) = bus {
            bus.push(mail, message.clone());
        }
        for client in wanting {
            client.send(mail, Some(message.clone()));
        }
    }

    fn clients(&self) -> MutexGuard<'_, BTreeMap<ClientId, Arc<Client>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audience for Roster {
    fn manager_event(&self, event: ManagerEvent) {
        self.tell(Mail::Configurations, |topics| topics.configurations, || signals::announcement(&event));
    }

    fn session_event(&self, _: SessionId, _: SessionEvent, _: SessionSnapshot) {}

    fn question(&self, _: ChooserId, _: Question) {}

    fn withdrawal(&self, _: ChooserId, _: QuestionNumber) {}
}
