use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
};

use netbearer_core::{ChooserId, Question, QuestionNumber, SessionId};
use netbearer_service::Audience;
use netbearer_types::{ManagerEvent, SessionEvent, SessionSnapshot};

use crate::{
    ChooserEvent, Events,
    feed::{Feed, lock},
    shared::Shared,
};

/// Where the service's task leaves what it has to say.
#[derive(Debug, Default)]
pub(super) struct Reception {
    sessions: Mutex<BTreeMap<SessionId, Weak<Shared>>>,
    feed: Mutex<Feed<ManagerEvent>>,
    choosers: Mutex<BTreeMap<ChooserId, Feed<ChooserEvent>>>,
}

impl Audience for Reception {
    fn session_event(&self, session: SessionId, event: SessionEvent, snapshot: SessionSnapshot) {
        let shared = lock(&self.sessions).get(&session).and_then(Weak::upgrade);
        if let Some(shared) = shared {
            shared.deliver(&event, snapshot).wake();
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
    pub(super) fn events(&self) -> Events<ManagerEvent> {
        lock(&self.feed).subscribe()
    }

    pub(super) fn add_session(&self, session: SessionId, shared: &Arc<Shared>) {
        lock(&self.sessions).insert(session, Arc::downgrade(shared));
    }

    pub(super) fn forget_session(&self, session: SessionId) {
        lock(&self.sessions).remove(&session);
    }

    pub(super) fn add_chooser(&self, chooser: ChooserId) -> Events<ChooserEvent> {
        let mut feed = Feed::default();
        let events = feed.subscribe();
        lock(&self.choosers).insert(chooser, feed);
        events
    }

    pub(super) fn forget_chooser(&self, chooser: ChooserId) {
        let feed = lock(&self.choosers).remove(&chooser);
        drop(feed);
    }

    fn tell_chooser(&self, chooser: ChooserId, event: &ChooserEvent) {
        let wakers = lock(&self.choosers).get_mut(&chooser).map(|feed| feed.push(event, || vec![event.clone()]));
        wakers.unwrap_or_default().wake();
    }

    /// The service has ended: nothing more will come.
    pub(super) fn end(&self) {
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
