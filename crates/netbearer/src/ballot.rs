use std::sync::{Arc, Weak};

use netbearer_types::{OfferNumber, OfferPhase, PropertyKey};

use crate::{
    CallError,
    backend::{Backend, OfferAnswer, SessionBackend},
    outlet::Outlet,
    shared::Shared,
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

    pub(crate) async fn answer(&self, answer: OfferAnswer, offer: OfferNumber) -> Result<(), CallError> {
        let interest = self.interest.upgrade().ok_or(CallError::SupersededOffer(offer))?;
        interest.answer(answer, offer).await
    }

    /// Gives an answer of which nobody hears what comes of it.
    pub(crate) fn answer_unheard(&self, answer: OfferAnswer, offer: OfferNumber) {
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
        if let Some(interest) = self.interest.upgrade() {
            // Whatever is answered, what came before it is here.
            let _ = interest.property(PropertyKey::Reconnect).await;
        }
    }

    /// How far this offer is; none if it is over.
    pub(crate) fn phase(&self, offer: OfferNumber) -> Option<OfferPhase> {
        if !self.is_current() {
            return None;
        }
        self.shared.read(|snapshot| {
            snapshot.roaming.as_deref().filter(|roaming| roaming.offer.number == offer).map(|roaming| roaming.phase)
        })
    }

    /// Where sockets that try the candidate of this offer leave the machine; none unless its trial is on.
    pub(crate) fn outlet(&self, offer: OfferNumber) -> Option<Outlet<'_>> {
        self.phase(offer).filter(|phase| *phase == OfferPhase::Trial)?;
        let interest = self.interest.upgrade()?;
        let (interface, access_point) = self.shared.read(|snapshot| {
            Some((snapshot.candidate_interface().cloned()?, snapshot.access_point_for_sockets().cloned()))
        })?;
        Some(Outlet::new(interface, access_point, &self.shared, self.backend.names(), interest))
    }
}
