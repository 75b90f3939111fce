use std::sync::Mutex;

use netbearer_types::{
    Configuration, Offer, OfferNumber, OfferPhase, RoamingSnapshot, SessionEvent, SessionSnapshot, SessionState,
};

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
    /// How often it was made anew, as the service had forgotten it.
    life: u64,
    /// What was handed out and could not be answered.
    given_back: Option<Ticket>,
}

/// One offer to a session, told from all others: a session that was made anew may be offered something by a number that it had
/// before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    pub(crate) life: u64,
    pub(crate) number: OfferNumber,
}

/// An offer that waits for its answer.
#[derive(Debug)]
pub(crate) struct OfferOnTable {
    pub(crate) ticket: Ticket,
    pub(crate) description: Offer,
    /// It was handed out before, and may be under way.
    pub(crate) was_given_back: bool,
}

impl Shared {
    pub(crate) fn new(configuration: Configuration, snapshot: SessionSnapshot) -> Self {
        let (feed, has_roaming, life, given_back) = (Feed::default(), false, 0, None);
        Self { inner: Mutex::new(Inner { configuration, snapshot, feed, has_roaming, life, given_back }) }
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
        feed.push_all(&what_holds(snapshot))
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

    /// The service had forgotten the session, and has made it anew. Whatever it is offered is another offer.
    pub(crate) fn begin_anew(&self) {
        let mut inner = lock(&self.inner);
        inner.life += 1;
        inner.snapshot.roaming = None;
    }

    /// See [`Ticket::life`].
    pub(crate) fn life(&self) -> u64 {
        lock(&self.inner).life
    }

    /// What is to be decided and has not been handed out: later than `last`, or given back.
    pub(crate) fn offer_after(&self, last: Option<Ticket>) -> Option<OfferOnTable> {
        let mut inner = lock(&self.inner);
        let (ticket, roaming) = inner.roaming()?;
        let was_given_back = inner.given_back == Some(ticket);
        let is_new = roaming.phase == OfferPhase::Offered && last.is_none_or(|last| ticket > last);
        if !was_given_back && !is_new {
            return None;
        }
        let description = roaming.offer.clone();
        inner.given_back = None;
        Some(OfferOnTable { ticket, description, was_given_back })
    }

    /// This offer could not be answered, and is to be handed out again.
    pub(crate) fn give_back_offer(&self, offer: Ticket) {
        lock(&self.inner).given_back = Some(offer);
    }

    /// How far this offer is; none if it is over.
    pub(crate) fn phase(&self, offer: Ticket) -> Option<OfferPhase> {
        let inner = lock(&self.inner);
        inner.roaming().filter(|(ticket, _)| *ticket == offer).map(|(_, roaming)| roaming.phase)
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
    fn roaming(&self) -> Option<(Ticket, &RoamingSnapshot)> {
        let roaming = self.snapshot.roaming.as_deref()?;
        Some((Ticket { life: self.life, number: roaming.offer.number }, roaming))
    }

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
    use netbearer_types::Interface;

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
    fn offered(shared: &Shared, phase: OfferPhase) {
        shared.refresh(roaming(phase));
    }

    #[test]
    fn an_offer_is_handed_out_once_and_again_if_it_was_given_back() {
        use OfferPhase::{Migrating, Offered, Trial};
        let shared = Shared::new(Configuration::invalid("ap0".into()), open());
        assert!(shared.offer_after(None).is_none());
        offered(&shared, Offered);
        let OfferOnTable { ticket, was_given_back, .. } = shared.offer_after(None).unwrap();
        assert!(!was_given_back);
        for phase in [Offered, Migrating, Trial] {
            offered(&shared, phase);
            assert!(shared.offer_after(Some(ticket)).is_none(), "{phase:?}");
            shared.give_back_offer(ticket);
            let again = shared.offer_after(Some(ticket)).unwrap();
            assert_eq!((again.ticket, again.was_given_back), (ticket, true), "{phase:?}");
            assert!(shared.offer_after(Some(ticket)).is_none(), "{phase:?}");
        }
        shared.give_back_offer(ticket);
        shared.refresh(open());
        assert!(shared.offer_after(Some(ticket)).is_none(), "it is over");
    }

    #[test]
    fn numbers_of_a_session_that_was_made_anew_are_those_of_other_offers() {
        let shared = Shared::new(Configuration::invalid("ap0".into()), roaming(OfferPhase::Offered));
        let former = shared.offer_after(None).unwrap().ticket;
        shared.give_back_offer(former);
        shared.begin_anew();
        assert_eq!(shared.phase(former), None);
        assert!(shared.offer_after(Some(former)).is_none());
        offered(&shared, OfferPhase::Offered);
        assert_eq!(shared.phase(former), None);
        let offered = shared.offer_after(Some(former)).unwrap();
        assert_eq!(offered.ticket.number, former.number);
        assert!(!offered.was_given_back);
        assert_eq!(shared.phase(offered.ticket), Some(OfferPhase::Offered));
    }
}
