use std::{os::fd::OwnedFd, sync::Arc};

use netbearer_core::{Core, Refusal, SessionId};
use netbearer_types::{Failure, FailureReason, Moment, PropertyKey, PropertyValue, SessionError, Traffic};

use super::backend::EmbeddedBackend;
use crate::{
    CallError,
    backend::{Answer, SessionBackend},
    shared::Shared,
};

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
    ) -> Answer<'_, ()> {
        let (id, shared) = (self.id, Arc::clone(&self.shared));
        let call = move |core: &mut Core, now| {
            let result = call(core, id, now);
            (result, core.session(id))
        };
        let told = move |(result, snapshot)| {
            if let Some(snapshot) = snapshot {
                shared.refresh(snapshot);
            }
            result
        };
        Box::pin(async move { Ok(self.backend.service.call_then(call, told).await??) })
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

    fn property(&self, key: PropertyKey) -> Answer<'_, Option<PropertyValue>> {
        let id = self.id;
        Box::pin(async move { Ok(self.backend.service.call(move |core, _| core.property(id, key)).await?) })
    }

    fn set_property(&self, key: PropertyKey, value: Option<PropertyValue>) -> Answer<'_, ()> {
        let id = self.id;
        Box::pin(async move { Ok(self.backend.service.call(move |core, _| core.set_property(id, key, value)).await??) })
    }

    fn is_stakeholder(&self) -> bool {
        false
    }

    fn set_stakeholder(&self, _: bool) -> Answer<'_, ()> {
        Box::pin(async { Err(self.only_with_daemon("the application cannot decide about roaming")) })
    }
}

impl Drop for EmbeddedSession {
    fn drop(&mut self) {
        let id = self.id;
        self.backend.reception.forget_session(id);
        self.backend.service.cast(move |core, now| core.drop_session(id, now));
    }
}
