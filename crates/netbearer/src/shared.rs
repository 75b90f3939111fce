use std::sync::Mutex;

use netbearer_types::{Configuration, OfferPhase, SessionEvent, SessionSnapshot, SessionState};

use crate::{
    Events,
    feed::{Feed, Wakers, lock},
};

/// A session as its holder reads it, and as its service writes it.
#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    configuration: Configuration,
    snapshot: SessionSnapshot,
    feed: Feed<SessionEvent>,
    /// Somebody takes the decisions about its roaming.
    has_roaming: bool,
}

impl Shared {
    pub(crate) fn new(configuration: Configuration, snapshot: SessionSnapshot) -> Self {
        Self { inner: Mutex::new(Inner { configuration, snapshot, feed: Feed::default(), has_roaming: false }) }
    }

    /// The session was told something, and is so right after it.
    pub(crate) fn deliver(&self, event: &SessionEvent, snapshot: SessionSnapshot) -> Wakers {
        let mut inner = lock(&self.inner);
        inner.take_over(snapshot);
        let Inner { snapshot, feed, .. } = &mut *inner;
        feed.push(event, || what_holds(snapshot))
    }

    /// Events were lost on the way, and the session is so now.
    pub(crate) fn deliver_lag(&self, snapshot: SessionSnapshot) -> Wakers {
        let mut inner = lock(&self.inner);
        inner.take_over(snapshot);
        let Inner { snapshot, feed, .. } = &mut *inner;
        let current = what_holds(snapshot);
        let mut wakers = Wakers::default();
        for event in &current {
            wakers.extend(feed.push(event, || current.clone()));
        }
        wakers
    }

    /// Takes over what a call has changed without an event: that it is opening now, and that its last failure is past.
    pub(crate) fn refresh(&self, snapshot: SessionSnapshot) {
        lock(&self.inner).snapshot = snapshot;
    }

    /// Nothing more will come.
    pub(crate) fn end(&self) {
        let wakers = lock(&self.inner).feed.end();
        wakers.wake();
    }

    /// Takes the decisions about its roaming; false if somebody has them already.
    pub(crate) fn take_roaming(&self) -> bool {
        !std::mem::replace(&mut lock(&self.inner).has_roaming, true)
    }

    #[cfg(feature = "embedded")]
    pub(crate) fn has_roaming(&self) -> bool {
        lock(&self.inner).has_roaming
    }

    pub(crate) fn give_back_roaming(&self) {
        lock(&self.inner).has_roaming = false;
    }

    pub(crate) fn configuration(&self) -> Configuration {
        lock(&self.inner).configuration.clone()
    }

    pub(crate) fn read<T>(&self, get: impl FnOnce(&SessionSnapshot) -> T) -> T {
        get(&lock(&self.inner).snapshot)
    }

    pub(crate) fn snapshot_and_events(&self) -> (SessionSnapshot, Events<SessionEvent>) {
        let mut inner = lock(&self.inner);
        (inner.snapshot.clone(), inner.feed.subscribe())
    }
}

impl Inner {
    fn take_over(&mut self, snapshot: SessionSnapshot) {
        if snapshot.state == SessionState::Invalid && self.configuration.is_valid() {
            let identifier = self.configuration.identifier.clone();
            let name = std::mem::take(&mut self.configuration.name);
            self.configuration = Configuration { name, ..Configuration::invalid(identifier) };
        }
        self.snapshot = snapshot;
    }
}

/// What somebody is told who has missed what came before.
fn what_holds(snapshot: &SessionSnapshot) -> Vec<SessionEvent> {
    let state = SessionEvent::StateChanged { state: snapshot.state };
    let interest = if snapshot.is_open {
        Some(SessionEvent::Opened)
    } else {
        (!snapshot.is_opening).then_some(SessionEvent::Closed)
    };
    let roaming = snapshot.roaming.as_deref().and_then(|roaming| match (roaming.phase, &roaming.candidate_interface) {
        (OfferPhase::Offered, _) => Some(SessionEvent::PreferredConfigurationChanged { offer: roaming.offer.clone() }),
        (OfferPhase::Trial, Some(interface)) => Some(SessionEvent::NewConfigurationActivated {
            offer: roaming.offer.number,
            configuration: roaming.offer.configuration.clone(),
            interface: interface.clone(),
        }),
        _ => None,
    });
    [SessionEvent::Lagged, state].into_iter().chain(interest).chain(roaming).collect()
}

#[cfg(test)]
mod tests {
    use netbearer_types::{Interface, Offer, OfferNumber, RoamingSnapshot};

    use super::*;

    fn open() -> SessionSnapshot {
        SessionSnapshot { state: SessionState::Connected, is_open: true, ..SessionSnapshot::invalid() }
    }

    fn roaming(phase: OfferPhase) -> SessionSnapshot {
        let offer = Offer { number: OfferNumber(1), configuration: "ap1".into(), seamless: false, replacement: false };
        let interface = Interface {
            name: "ap1".to_owned(),
            index: 2,
            hardware_address: "02:00:00:00:00:01".to_owned(),
            mtu: 1_500,
            addresses: Vec::new(),
            gateways: Vec::new(),
            name_servers: Vec::new(),
            search_domains: Vec::new(),
        };
        let candidate_interface = (phase == OfferPhase::Trial).then_some(interface);
        SessionSnapshot { roaming: Some(Box::new(RoamingSnapshot { offer, phase, candidate_interface })), ..open() }
    }

    #[test]
    fn who_has_missed_something_is_told_what_there_is_to_decide() {
        let last = |snapshot: SessionSnapshot| what_holds(&snapshot).pop();
        assert_eq!(last(open()), Some(SessionEvent::Opened));
        let offered = last(roaming(OfferPhase::Offered));
        assert!(matches!(offered, Some(SessionEvent::PreferredConfigurationChanged { .. })), "{offered:?}");
        assert_eq!(last(roaming(OfferPhase::Migrating)), Some(SessionEvent::Opened));
        let on_trial = last(roaming(OfferPhase::Trial));
        assert!(matches!(on_trial, Some(SessionEvent::NewConfigurationActivated { .. })), "{on_trial:?}");
    }
}
