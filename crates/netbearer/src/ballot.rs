use std::sync::{Arc, Weak};

use netbearer_types::{OfferPhase, PropertyKey};

use crate::{
    CallError,
    backend::{Backend, OfferAnswer, SessionBackend},
    outlet::Outlet,
    shared::{OfferOnTable, Shared, Ticket},
};

/// What roaming needs of its session, without keeping that open.
#[derive(Clone, Debug)]
pub(crate) struct Ballot {
    interest: Weak<dyn SessionBackend>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) backend: Arc<dyn Backend>,
}

impl Ballot {
    pub(crate) fn new(interest: &Arc<dyn SessionBackend>, shared: &Arc<Shared>, backend: &Arc<dyn Backend>) -> Self {
        let interest = Arc::downgrade(interest);
        Self { interest, shared: Arc::clone(shared), backend: Arc::clone(backend) }
    }

    /// False once the session was dropped.
    pub(crate) fn is_current(&self) -> bool {
        self.interest.strong_count() > 0
    }

    pub(crate) async fn answer(&self, answer: OfferAnswer, offer: Ticket) -> Result<(), CallError> {
        let answering = self.interest.upgrade().map(|interest| interest.answer(answer, offer));
        answering.ok_or(CallError::SupersededOffer(offer.number))?.await
    }

    /// Gives an answer of which nobody hears what comes of it.
    pub(crate) fn answer_unheard(&self, answer: OfferAnswer, offer: Ticket) {
        if let Some(interest) = self.interest.upgrade() {
            interest.answer_unheard(answer, offer);
        }
    }

    /// The session decides no more about its roaming.
    pub(crate) fn leave_decisions(&self) {
        if let Some(interest) = self.interest.upgrade() {
            interest.leave_decisions();
        }
    }

    /// Waits until everything that the service has said so far was delivered.
    pub(crate) async fn catch_up(&self) {
        let asking = self.interest.upgrade().map(|interest| interest.property(PropertyKey::Reconnect));
        if let Some(asking) = asking {
            // Whatever is answered, what came before it is here.
            let _ = asking.await;
        }
    }

    /// What is to be decided after this offer, if anybody is there to be told.
    pub(crate) fn offer_after(&self, last: Option<Ticket>) -> Option<OfferOnTable> {
        if !self.interest.upgrade()?.is_reachable() {
            return None;
        }
        self.shared.offer_after(last)
    }

    /// How far this offer is; none if it is over.
    pub(crate) fn phase(&self, offer: Ticket) -> Option<OfferPhase> {
        if self.is_current() { self.shared.phase(offer) } else { None }
    }

    /// The candidate is being brought up, or tried.
    pub(crate) fn has_begun(&self, offer: Ticket) -> bool {
        self.phase(offer).is_some_and(|phase| phase > OfferPhase::Offered)
    }

    /// Where sockets that try the candidate of this offer leave the machine; none unless its trial is on.
    pub(crate) fn outlet(&self, offer: Ticket) -> Option<Outlet<'_>> {
        self.phase(offer).filter(|phase| *phase == OfferPhase::Trial)?;
        let (interface, access_point) = self.shared.read(|snapshot| {
            Some((snapshot.candidate_interface().cloned()?, snapshot.access_point_for_sockets().cloned()))
        })?;
        let outlet = Outlet::new(interface, access_point, &self.shared, self.backend.names(), self.interest.clone());
        Some(outlet.of_candidate(true))
    }
}
