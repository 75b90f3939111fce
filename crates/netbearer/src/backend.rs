use std::{fmt, future::Future, os::fd::OwnedFd, pin::Pin, sync::Arc};

use netbearer_clock::BootClock;
use netbearer_core::{Decision, QuestionNumber};
use netbearer_lookup::NamePlaces;
use netbearer_types::{
    Capabilities, Configuration, Identifier, Interface, ManagerEvent, PropertyKey, PropertyValue, SocketCookie,
    StateFlags, Steering, Traffic,
};

use crate::{
    CallError, ChooserEvent, Events, News, ServiceDescription, SessionListing, Steps,
    shared::{Shared, Ticket},
};

/// What a call comes to. Whoever drops it does not want to know that; a call that was made runs on.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, CallError>> + Send + 'a>>;

/// The service of a manager, wherever it is. Nothing of what sessions mean is decided here.
///
/// When a call has returned, everything that it caused has been delivered.
pub(crate) trait Backend: fmt::Debug + Send + Sync {
    fn clock(&self) -> &BootClock;

    /// Where the machine's resolver is, for lookups.
    fn names(&self) -> Option<&NamePlaces>;

    fn service(&self) -> ServiceDescription;

    fn configurations(&self, filter: Option<StateFlags>) -> Answer<'_, Vec<Configuration>>;

    fn user_choices(&self) -> Answer<'_, Vec<Configuration>>;

    fn default_configuration(&self) -> Answer<'_, Option<Configuration>>;

    /// None if there is no such configuration.
    fn configuration(&self, identifier: Identifier) -> Answer<'_, Option<Configuration>>;

    /// False if there is no such access point.
    fn is_adopted(&self, identifier: Identifier) -> Answer<'_, bool>;

    fn resolve(&self, name: String) -> Answer<'_, Resolution>;

    fn is_online(&self) -> Answer<'_, bool>;

    fn capabilities(&self) -> Answer<'_, Capabilities>;

    fn interface(&self, identifier: Identifier) -> Answer<'_, Option<Interface>>;

    fn steering(&self, identifier: Identifier) -> Answer<'_, Option<Steering>>;

    fn exclusive_with(&self, identifier: Identifier) -> Answer<'_, Vec<Identifier>>;

    fn decisions(&self) -> Answer<'_, Vec<Decision>>;

    fn sessions(&self) -> Answer<'_, Vec<SessionListing>>;

    fn update_configurations(&self) -> Answer<'_, ()>;

    fn events(&self) -> Events<ManagerEvent>;

    fn steps(&self) -> Steps;

    fn news(&self) -> News;

    fn make_session(self: Arc<Self>, identifier: Identifier) -> Answer<'static, NewSession>;

    fn make_chooser(self: Arc<Self>) -> Answer<'static, NewChooser>;

    fn shutdown(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// One session of a service; dropping it closes and forgets it.
pub(crate) trait SessionBackend: fmt::Debug + Send + Sync {
    fn open(&self) -> Answer<'_, ()>;

    fn close(&self) -> Answer<'_, ()>;

    fn stop(&self) -> Answer<'_, ()>;

    fn hold_fd(&self) -> Answer<'_, OwnedFd>;

    fn traffic(&self) -> Answer<'_, Traffic>;

    /// The session is not kept by who waits.
    fn property(&self, key: PropertyKey) -> Answer<'static, Option<PropertyValue>>;

    fn set_property(&self, key: PropertyKey, value: Option<PropertyValue>) -> Answer<'_, ()>;

    fn is_stakeholder(&self) -> bool;

    fn set_stakeholder(&self, stakeholder: bool) -> Answer<'_, ()>;

    /// False while the service is away.
    fn is_reachable(&self) -> bool;

    /// The session is not kept by who waits.
    fn answer(&self, answer: OfferAnswer, offer: Ticket) -> Answer<'static, ()>;

    /// The same without waiting for what comes of it. If the service is away, it is told when it is back.
    fn answer_unheard(&self, answer: OfferAnswer, offer: Ticket);

    /// The session's program decides no more about its roaming; told as [`Self::answer_unheard`] tells.
    fn leave_decisions(&self);

    /// A socket was bound to this access point for the session; told as [`Self::answer_unheard`] tells.
    fn add_socket(&self, socket: SocketCookie, access_point: Identifier);

    /// What the session's own sockets have carried.
    fn own_traffic(&self) -> Answer<'_, Traffic>;
}

/// What an application says to an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfferAnswer {
    Migrate,
    Ignore,
    Accept,
    Reject,
}

/// One chooser of a service; dropping it ends that.
pub(crate) trait ChooserBackend: fmt::Debug + Send + Sync {
    fn answer(&self, number: QuestionNumber, choice: Option<Identifier>) -> Answer<'_, ()>;
}

/// A session that was made, and where its events go.
pub(crate) type NewSession = (Box<dyn SessionBackend>, Arc<Shared>);

/// A chooser that was registered, and what it is told.
pub(crate) type NewChooser = (Box<dyn ChooserBackend>, Events<ChooserEvent>);

/// What files mean by a name.
#[derive(Debug)]
pub(crate) struct Resolution {
    /// What it refers to.
    pub(crate) referred: Vec<Identifier>,
    /// Every name that files know.
    pub(crate) names: Vec<String>,
    /// The default that they name.
    pub(crate) default: Option<String>,
}
