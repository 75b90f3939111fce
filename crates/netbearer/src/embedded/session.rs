use std::{os::fd::OwnedFd, sync::Arc};

use netbearer_core::{Core, Refusal, SessionId};
use netbearer_types::{
    Failure, FailureReason, Identifier, Moment, OfferNumber, PropertyKey, PropertyValue, SessionError, SessionSnapshot,
    SocketCookie, Traffic,
};

use super::backend::EmbeddedBackend;
use crate::{
    CallError,
    backend::{Answer, OfferAnswer, SessionBackend},
    shared::{Shared, Ticket},
};

/// What a call has come to, and what the session is like then.
type Called = (Result<(), Refusal>, Option<SessionSnapshot>);

/// A session of a service in this process.
#[derive(Debug)]
pub(super) struct EmbeddedSession {
    backend: Arc<EmbeddedBackend>,
    id: SessionId,
    shared: Arc<Shared>,
}

impl EmbeddedSession {
    pub(super) const fn new(backend: Arc<EmbeddedBackend>, id: SessionId, shared: Arc<Shared>) -> Self {
        Self { backend, id, shared }
    }

    /// Asks the core, and knows what came of it before anybody can ask for it.
    fn ask(
        &self,
        call: impl FnOnce(&mut Core, SessionId, Moment) -> Result<(), Refusal> + Send + 'static,
    ) -> Answer<'static, ()> {
        let (call, told) = self.followed(call);
        let backend = Arc::clone(&self.backend);
        Box::pin(async move { Ok(backend.service.call_then(call, told).await??) })
    }

    /// The same, and nobody waits for what comes of it.
    fn tell(&self, call: impl FnOnce(&mut Core, SessionId, Moment) -> Result<(), Refusal> + Send + 'static) {
        let (call, told) = self.followed(call);
        // If the service is gone, so is the session.
        let _ = self.backend.service.cast_then(call, move |called| drop(told(called)));
    }

    /// A call, and what makes known what the session is like after it.
    fn followed(
        &self,
        call: impl FnOnce(&mut Core, SessionId, Moment) -> Result<(), Refusal> + Send + 'static,
    ) -> (
        impl FnOnce(&mut Core, Moment) -> Called + Send + 'static,
        impl FnOnce(Called) -> Result<(), Refusal> + Send + 'static,
    ) {
        let (id, shared) = (self.id, Arc::clone(&self.shared));
        let call = move |core: &mut Core, now| {
            let result = call(core, id, now);
            (result, core.session(id))
        };
        let told = move |(result, snapshot): Called| {
            if let Some(snapshot) = snapshot {
                shared.refresh(snapshot);
            }
            result
        };
        (call, told)
    }

    fn only_with_daemon(&self, what: &str) -> CallError {
        CallError::NotSupported(Failure {
            error: SessionError::OperationNotSupported,
            reason: FailureReason::OnlyWithDaemon,
            message: format!(
                "{what} of the session on {}: the embedded service knows no other process; use the daemon (Manager::connect)",
                self.shared.configuration().identifier
            ),
        })
    }
}

fn carry_out(
    core: &mut Core,
    id: SessionId,
    answer: OfferAnswer,
    offer: OfferNumber,
    now: Moment,
) -> Result<(), Refusal> {
    match answer {
        OfferAnswer::Migrate => core.migrate(id, offer, now),
        OfferAnswer::Ignore => core.ignore(id, offer, now),
        OfferAnswer::Accept => core.accept(id, offer, now),
        OfferAnswer::Reject => core.reject(id, offer, now),
    }
}

impl SessionBackend for EmbeddedSession {
    fn open(&self) -> Answer<'_, ()> {
        self.ask(Core::open)
    }

    fn close(&self) -> Answer<'_, ()> {
        self.ask(Core::close)
    }

    fn stop(&self) -> Answer<'_, ()> {
        self.ask(Core::stop)
    }

    fn hold_fd(&self) -> Answer<'_, OwnedFd> {
        Box::pin(async { Err(self.only_with_daemon("there is no descriptor for the hold")) })
    }

    fn traffic(&self) -> Answer<'_, Traffic> {
        Box::pin(async { Ok(self.backend.service.traffic(self.id).await?) })
    }

    fn property(&self, key: PropertyKey) -> Answer<'static, Option<PropertyValue>> {
        let (id, backend) = (self.id, Arc::clone(&self.backend));
        Box::pin(async move { Ok(backend.service.call(move |core, _| core.property(id, key)).await?) })
    }

    fn set_property(&self, key: PropertyKey, value: Option<PropertyValue>) -> Answer<'_, ()> {
        let id = self.id;
        Box::pin(async move { Ok(self.backend.service.call(move |core, _| core.set_property(id, key, value)).await??) })
    }

    fn is_stakeholder(&self) -> bool {
        self.shared.has_roaming()
    }

    fn set_stakeholder(&self, stakeholder: bool) -> Answer<'_, ()> {
        self.ask(move |core, id, now| core.set_stakeholder(id, stakeholder, now))
    }

    fn is_reachable(&self) -> bool {
        true
    }

    fn answer(&self, answer: OfferAnswer, offer: Ticket) -> Answer<'static, ()> {
        self.ask(move |core, id, now| carry_out(core, id, answer, offer.number, now))
    }

    fn answer_unheard(&self, answer: OfferAnswer, offer: Ticket) {
        self.tell(move |core, id, now| carry_out(core, id, answer, offer.number, now));
    }

    fn leave_decisions(&self) {
        self.tell(|core, id, now| core.set_stakeholder(id, false, now));
    }

    fn add_socket(&self, socket: SocketCookie, access_point: Identifier) {
        let id = self.id;
        self.backend.service.cast(move |core, now| {
            if let Err(refusal) = core.add_socket(id, socket, access_point, now) {
                tracing::warn!("{refusal}");
            }
        });
    }

    fn own_traffic(&self) -> Answer<'_, Traffic> {
        Box::pin(async { Ok(self.backend.service.session_traffic(self.id).await?) })
    }
}

impl Drop for EmbeddedSession {
    fn drop(&mut self) {
        let id = self.id;
        self.backend.reception.forget_session(id);
        self.backend.service.cast(move |core, now| core.drop_session(id, now));
    }
}
