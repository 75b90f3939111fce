use std::{future::Future, pin::Pin, sync::Arc};

use netbearer_clock::BootClock;
use netbearer_core::{ClientId, Decision, Refusal, SessionId};
use netbearer_lookup::NamePlaces;
use netbearer_service::ServiceHandle;
use netbearer_types::{
    Capabilities, Configuration, Identifier, Interface, ManagerEvent, SessionSnapshot, StateFlags, Steering,
};

use super::{chooser::EmbeddedChooser, reception::Reception, session::EmbeddedSession};
use crate::{
    Events, News, ServiceDescription, ServiceKind, SessionListing, Steps,
    backend::{Answer, Backend, ChooserBackend, NewChooser, NewSession, Resolution, SessionBackend},
    service_thread::ServiceThread,
    shared::Shared,
};

/// The only client of a service in this process.
#[derive(Debug)]
pub(super) struct EmbeddedBackend {
    pub(super) service: ServiceHandle,
    pub(super) client: ClientId,
    pub(super) reception: Arc<Reception>,
    clock: BootClock,
    names: Option<NamePlaces>,
    /// Declared last, so dropped last: by then the service has heard that we left.
    _thread: ServiceThread,
}

/// What the service's thread makes for its client.
pub(super) struct Parts {
    pub(super) service: ServiceHandle,
    pub(super) clock: BootClock,
    pub(super) client: ClientId,
    pub(super) reception: Arc<Reception>,
}

impl EmbeddedBackend {
    pub(super) fn new(parts: Parts, names: Option<NamePlaces>, thread: ServiceThread) -> Self {
        let Parts { service, clock, client, reception } = parts;
        Self { service, client, reception, clock, names, _thread: thread }
    }
}

impl Drop for EmbeddedBackend {
    fn drop(&mut self) {
        self.service.leave(self.client);
    }
}

impl Backend for EmbeddedBackend {
    fn clock(&self) -> &BootClock {
        &self.clock
    }

    fn names(&self) -> Option<&NamePlaces> {
        self.names.as_ref()
    }

    fn service(&self) -> ServiceDescription {
        ServiceDescription {
            kind: ServiceKind::Embedded,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
            features: Vec::new(),
        }
    }

    fn configurations(&self, filter: Option<StateFlags>) -> Answer<'_, Vec<Configuration>> {
        Box::pin(async move { Ok(self.service.call(move |core, _| core.configurations(filter)).await?) })
    }

    fn user_choices(&self) -> Answer<'_, Vec<Configuration>> {
        Box::pin(async { Ok(self.service.call(|core, _| core.user_choices()).await?) })
    }

    fn default_configuration(&self) -> Answer<'_, Option<Configuration>> {
        Box::pin(async { Ok(self.service.call(|core, _| core.default_configuration()).await?) })
    }

    fn configuration(&self, identifier: Identifier) -> Answer<'_, Option<Configuration>> {
        Box::pin(async move { Ok(self.service.call(move |core, _| core.configuration(&identifier)).await?) })
    }

    fn is_adopted(&self, identifier: Identifier) -> Answer<'_, bool> {
        Box::pin(async move { Ok(self.service.call(move |core, _| core.is_adopted(&identifier)).await?) })
    }

    fn resolve(&self, name: String) -> Answer<'_, Resolution> {
        Box::pin(async move {
            let resolution = self.service.call(move |core, _| Resolution {
                referred: core.referred(&name),
                names: core.referring_names(),
                default: core.named_default().map(str::to_owned),
            });
            Ok(resolution.await?)
        })
    }

    fn is_online(&self) -> Answer<'_, bool> {
        Box::pin(async { Ok(self.service.call(|core, _| core.is_online()).await?) })
    }

    fn capabilities(&self) -> Answer<'_, Capabilities> {
        Box::pin(async { Ok(self.service.call(|core, _| core.capabilities()).await?) })
    }

    fn interface(&self, identifier: Identifier) -> Answer<'_, Option<Interface>> {
        Box::pin(async move { Ok(self.service.call(move |core, _| core.interface(&identifier)).await?) })
    }

    fn steering(&self, identifier: Identifier) -> Answer<'_, Option<Steering>> {
        Box::pin(async move { Ok(self.service.call(move |core, _| core.steering(&identifier)).await?) })
    }

    fn exclusive_with(&self, identifier: Identifier) -> Answer<'_, Vec<Identifier>> {
        Box::pin(async move { Ok(self.service.call(move |core, _| core.exclusive_with(&identifier)).await?) })
    }

    fn decisions(&self) -> Answer<'_, Vec<Decision>> {
        Box::pin(async { Ok(self.service.call(|core, _| core.decisions(0).cloned().collect()).await?) })
    }

    fn sessions(&self) -> Answer<'_, Vec<SessionListing>> {
        Box::pin(async {
            let mut listings = Vec::new();
            for description in self.service.call(|core, _| core.session_descriptions()).await? {
                let traffic = self.service.traffic(description.session).await?;
                listings.push(SessionListing::new(description, traffic));
            }
            Ok(listings)
        })
    }

    fn update_configurations(&self) -> Answer<'_, ()> {
        let client = self.client;
        Box::pin(async move { Ok(self.service.call(move |core, _| core.update_configurations(client)).await??) })
    }

    fn events(&self) -> Events<ManagerEvent> {
        self.reception.events()
    }

    fn steps(&self) -> Steps {
        Steps::new(self.service.steps())
    }

    fn news(&self) -> News {
        News::new(self.service.news())
    }

    fn make_session(self: Arc<Self>, identifier: Identifier) -> Answer<'static, NewSession> {
        Box::pin(async move {
            let (client, reception, backend) = (self.client, Arc::clone(&self.reception), Arc::clone(&self));
            // Registered within the call, so that no event between the snapshot and the registration is lost.
            let make = move |core: &mut netbearer_core::Core, _| {
                let id = core.create_session(client, &identifier)?;
                let snapshot = core.session(id).unwrap_or(SessionSnapshot::invalid());
                let configuration =
                    core.session_configuration(id).unwrap_or_else(|| Configuration::invalid(identifier.clone()));
                let shared = Arc::new(Shared::new(configuration, snapshot));
                reception.add_session(id, &shared);
                Ok::<(SessionId, Arc<Shared>), Refusal>((id, shared))
            };
            // One that nobody waits for any more is dropped here, and thereby in the core.
            let told = move |made: Result<(SessionId, Arc<Shared>), Refusal>| {
                made.map(|(id, shared)| (EmbeddedSession::new(backend, id, Arc::clone(&shared)), shared))
            };
            let (session, shared) = self.service.call_then(make, told).await??;
            Ok((Box::new(session) as Box<dyn SessionBackend>, shared))
        })
    }

    fn make_chooser(self: Arc<Self>) -> Answer<'static, NewChooser> {
        Box::pin(async move {
            let (client, reception, backend) = (self.client, Arc::clone(&self.reception), Arc::clone(&self));
            // Registered within the call, so that no question is lost.
            let add = move |core: &mut netbearer_core::Core, _| {
                let id = core.add_chooser(client);
                (id, reception.add_chooser(id))
            };
            let told = move |(id, events)| (EmbeddedChooser::new(backend, id), events);
            let (chooser, events) = self.service.call_then(add, told).await?;
            Ok((Box::new(chooser) as Box<dyn ChooserBackend>, events))
        })
    }

    fn shutdown(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.service.shutdown())
    }
}
