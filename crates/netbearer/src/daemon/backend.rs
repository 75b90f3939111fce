use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use netbearer_clock::BootClock;
use netbearer_core::Decision;
use netbearer_dbus::{ADOPTED, CONFIGURATION_INTERFACE, ConfigurationProperties, InterfaceValue, configuration_path};
use netbearer_lookup::NamePlaces;
use netbearer_types::{Capabilities, Configuration, Identifier, Interface, ManagerEvent, StateFlags, Steering};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use zbus::Message;

use super::{
    chooser::{DaemonChooser, registered},
    desk::{Desk, StepLevels},
    entry::Found,
    line::{Method, contents},
    session::DaemonSession,
};
use crate::{
    CallError, Events, News, ServiceDescription, SessionListing, Steps,
    backend::{Answer, Backend, ChooserBackend, NewChooser, NewSession, Resolution, SessionBackend},
    service_thread::ServiceThread,
};

/// What the manager's handles share.
#[derive(Debug)]
pub(super) struct DaemonBackend {
    desk: Arc<Desk>,
    clock: BootClock,
    names: Option<NamePlaces>,
    /// Declared last, so dropped last: by then it has heard that it is to end.
    _thread: ServiceThread,
}

impl DaemonBackend {
    pub(super) const fn new(
        desk: Arc<Desk>,
        clock: BootClock,
        names: Option<NamePlaces>,
        thread: ServiceThread,
    ) -> Self {
        Self { desk, clock, names, _thread: thread }
    }
}

impl Drop for DaemonBackend {
    fn drop(&mut self) {
        self.desk.leave();
    }
}

fn configurations(answer: &Message) -> Result<Vec<Configuration>, CallError> {
    let all: BTreeMap<String, ConfigurationProperties> = contents(answer)?;
    Ok(all.into_values().map(ConfigurationProperties::into_configuration).collect())
}

fn identifiers(texts: Vec<String>) -> Vec<Identifier> {
    texts.into_iter().map(Identifier::from).collect()
}

/// What was told as JSON; the default for nothing.
fn described<T: DeserializeOwned + Default>(answer: &Message) -> Result<T, CallError> {
    let text: String = contents(answer)?;
    if text.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_str(&text)
        .map_err(|error| CallError::Refused(format!("it describes what is not understood here: {error}")))
}

/// Of several, those that this version understands.
fn all_described<T: DeserializeOwned>(answer: &Message) -> Result<Vec<T>, CallError> {
    let all: Vec<serde_json::Value> = described(answer)?;
    Ok(all.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect())
}

impl Backend for DaemonBackend {
    fn clock(&self) -> &BootClock {
        &self.clock
    }

    fn names(&self) -> Option<&NamePlaces> {
        self.names.as_ref()
    }

    fn service(&self) -> ServiceDescription {
        self.desk.service()
    }

    fn configurations(&self, filter: Option<StateFlags>) -> Answer<'_, Vec<Configuration>> {
        let filter = filter.map_or(0, StateFlags::bits);
        Box::pin(async move { self.desk.ask_manager("ListConfigurations", &filter, configurations).await })
    }

    fn user_choices(&self) -> Answer<'_, Vec<Configuration>> {
        Box::pin(self.desk.ask_manager("ListUserChoices", &(), configurations))
    }

    fn default_configuration(&self) -> Answer<'_, Option<Configuration>> {
        Box::pin(async {
            let default: String = self.desk.ask_manager("GetDefaultConfiguration", &(), contents).await?;
            if default.is_empty() { Ok(None) } else { self.configuration(Identifier::new(default)).await }
        })
    }

    fn configuration(&self, identifier: Identifier) -> Answer<'_, Option<Configuration>> {
        Box::pin(async move {
            let read = |answer: &Message| contents::<ConfigurationProperties>(answer);
            let properties = self.desk.ask_manager("GetConfiguration", &identifier.as_str(), read).await?;
            Ok(Some(properties.into_configuration()).filter(Configuration::is_valid))
        })
    }

    fn is_adopted(&self, identifier: Identifier) -> Answer<'_, bool> {
        Box::pin(async move {
            let path = configuration_path(identifier.as_str());
            match self.desk.property(&path, CONFIGURATION_INTERFACE, ADOPTED).await {
                Ok(adopted) => bool::try_from(adopted).map_err(|error| CallError::Refused(error.to_string())),
                // There is no such configuration, or the daemon is of a version without the property.
                Err(CallError::Refused(_)) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    fn resolve(&self, name: String) -> Answer<'_, Resolution> {
        Box::pin(async move {
            let (referred, names, default): (Vec<String>, Vec<String>, String) =
                self.desk.ask_manager("ResolveName", &name, contents).await?;
            let default = (!default.is_empty()).then_some(default);
            Ok(Resolution { referred: identifiers(referred), names, default })
        })
    }

    fn is_online(&self) -> Answer<'_, bool> {
        Box::pin(async {
            let online = self.desk.manager_property("Online").await?;
            bool::try_from(online).map_err(|error| CallError::Refused(error.to_string()))
        })
    }

    fn capabilities(&self) -> Answer<'_, Capabilities> {
        Box::pin(async {
            let bits = self.desk.manager_property("Capabilities").await?;
            let bits = u32::try_from(bits).map_err(|error| CallError::Refused(error.to_string()))?;
            Ok(Capabilities::from_bits_truncate(bits))
        })
    }

    fn interface(&self, identifier: Identifier) -> Answer<'_, Option<Interface>> {
        Box::pin(async move {
            let read = |answer: &Message| Ok(contents::<InterfaceValue>(answer)?.into_interface());
            self.desk.ask_manager("GetInterface", &identifier.as_str(), read).await
        })
    }

    fn steering(&self, identifier: Identifier) -> Answer<'_, Option<Steering>> {
        Box::pin(async move { self.desk.ask_manager("DescribeSteering", &identifier.as_str(), described).await })
    }

    fn exclusive_with(&self, identifier: Identifier) -> Answer<'_, Vec<Identifier>> {
        Box::pin(async move {
            let read = |answer: &Message| contents(answer).map(identifiers);
            self.desk.ask_manager("GetExclusive", &identifier.as_str(), read).await
        })
    }

    fn decisions(&self) -> Answer<'_, Vec<Decision>> {
        Box::pin(self.desk.ask_manager("DescribeDecisions", &(), all_described))
    }

    fn sessions(&self) -> Answer<'_, Vec<SessionListing>> {
        Box::pin(self.desk.ask_manager("DescribeSessions", &(), all_described))
    }

    fn update_configurations(&self) -> Answer<'_, ()> {
        Box::pin(self.desk.update())
    }

    fn events(&self) -> Events<ManagerEvent> {
        self.desk.events()
    }

    fn steps(&self) -> Steps {
        Steps::new(self.desk.steps().unwrap_or_else(|| watch::channel(StepLevels::new()).1))
    }

    fn news(&self) -> News {
        News::new(self.desk.news().unwrap_or_else(|| watch::channel(0).1))
    }

    fn make_session(self: Arc<Self>, identifier: Identifier) -> Answer<'static, NewSession> {
        Box::pin(async move {
            let line = self.desk.line()?;
            let (desk, seated) = (Arc::clone(&self.desk), Arc::clone(&line));
            // Taken in on the line's thread, so that nothing that follows is missed. One that nobody waits for any more is
            // dropped there, and thereby released.
            let read = move |answer: Result<Message, CallError>| {
                let (found, token) = Found::created(&answer?)?;
                Ok(desk.add_session(found, token, seated))
            };
            let made = line.ask(Method::of_manager("CreateSession"), &identifier.as_str(), read).await;
            let entry = self.desk.or_absence(made)?;
            let shared = Arc::clone(&entry.shared);
            Ok((Box::new(DaemonSession::new(entry, self)) as Box<dyn SessionBackend>, shared))
        })
    }

    fn make_chooser(self: Arc<Self>) -> Answer<'static, NewChooser> {
        Box::pin(async move {
            let line = self.desk.line()?;
            let (desk, seated) = (Arc::clone(&self.desk), Arc::clone(&line));
            let read = move |answer: Result<Message, CallError>| {
                let registration = desk.add_chooser(registered(&answer?)?, seated);
                let events = registration.events();
                Ok((registration, events))
            };
            let made = line.ask(Method::of_manager("RegisterChooser"), &(), read).await;
            let (registration, events) = self.desk.or_absence(made)?;
            Ok((Box::new(DaemonChooser::new(registration, self)) as Box<dyn ChooserBackend>, events))
        })
    }

    /// The daemon goes on; what this program has of it ends.
    fn shutdown(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let (done, mut all_done) = mpsc::unbounded_channel();
            for session in self.desk.sessions() {
                session.close_for_good(done.clone());
            }
            drop(done);
            while all_done.recv().await.is_some() {}
            self.desk.leave();
            self.desk.has_left().await;
        })
    }
}
