use std::collections::{BTreeMap, BTreeSet};

use netbearer_core::{ClientId, HoldId, SessionId};
use netbearer_types::{
    BearerType, Capabilities, Configuration, FailureReason, Identifier, Interface, ManagerEvent, Offer, OfferNumber,
    SessionError, SessionEvent, SessionState, StateFlags, Target,
};

/// What one step made the core say, by listener. The order within each list counts, that between lists does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) sessions: BTreeMap<SessionId, Vec<Told>>,
    pub(crate) commands: BTreeMap<Identifier, Vec<Target>>,
    pub(crate) configurations: BTreeMap<Identifier, Vec<Announced>>,
    pub(crate) online: Vec<bool>,
    pub(crate) completed: Vec<ClientId>,
    pub(crate) refreshes: usize,
    pub(crate) revoked: BTreeSet<HoldId>,
}

/// A session event without the words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    State(SessionState),
    Opened,
    Closed,
    Error(SessionError, FailureReason),
    InterfaceChanged(Interface),
    Offered(Offer),
    Withdrawn(OfferNumber),
    /// The candidate is up.
    Activated(Identifier),
    RoamingFailed(Identifier, FailureReason),
    /// The old link was lost on the way.
    LinkLost(OfferNumber),
    /// Moved without having been asked.
    Moved(Identifier),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    Added(Public),
    Changed(Public),
    Removed,
}

/// The public fields of an access point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Public {
    pub(crate) name: String,
    pub(crate) bearer_type: BearerType,
    pub(crate) flags: StateFlags,
    pub(crate) may_start: bool,
    pub(crate) interface_name: Option<String>,
}

impl Heard {
    pub(crate) fn tell(&mut self, session: SessionId, told: Told) {
        self.sessions.entry(session).or_default().push(told);
    }

    pub(crate) fn announce(&mut self, identifier: &Identifier, announced: Announced) {
        self.configurations.entry(identifier.clone()).or_default().push(announced);
    }

    pub(crate) fn command(&mut self, identifier: &Identifier, target: Target) {
        self.commands.entry(identifier.clone()).or_default().push(target);
    }

    pub(crate) fn revoke(&mut self, hold: HoldId) {
        assert!(self.revoked.insert(hold), "{hold:?} is revoked twice");
    }

    pub(crate) fn hear(&mut self, event: ManagerEvent) {
        match event {
            ManagerEvent::ConfigurationAdded { configuration } => {
                self.announce(&configuration.identifier, Announced::Added(Public::of(&configuration)));
            }
            ManagerEvent::ConfigurationChanged { configuration } => {
                self.announce(&configuration.identifier, Announced::Changed(Public::of(&configuration)));
            }
            ManagerEvent::ConfigurationRemoved { identifier } => self.announce(&identifier, Announced::Removed),
            ManagerEvent::OnlineStateChanged { online } => self.online.push(online),
            other => panic!("the core announced {other:?}"),
        }
    }
}

impl From<SessionEvent> for Told {
    fn from(event: SessionEvent) -> Self {
        match event {
            SessionEvent::StateChanged { state } => Self::State(state),
            SessionEvent::Opened => Self::Opened,
            SessionEvent::Closed => Self::Closed,
            SessionEvent::Error(failure) => Self::Error(failure.error, failure.reason),
            SessionEvent::InterfaceChanged { interface } => Self::InterfaceChanged(interface),
            SessionEvent::PreferredConfigurationChanged { offer } => Self::Offered(offer),
            SessionEvent::OfferWithdrawn { offer } => Self::Withdrawn(offer),
            SessionEvent::NewConfigurationActivated { configuration, .. } => Self::Activated(configuration),
            SessionEvent::RoamingFailed { configuration, failure } => {
                Self::RoamingFailed(configuration, failure.reason)
            }
            SessionEvent::CurrentLinkLost { offer } => Self::LinkLost(offer),
            SessionEvent::ActiveConfigurationChanged { configuration } => Self::Moved(configuration),
            other => panic!("the core told {other:?}"),
        }
    }
}

impl Public {
    pub(crate) fn of(configuration: &Configuration) -> Self {
        Self {
            name: configuration.name.clone(),
            bearer_type: configuration.bearer_type,
            flags: configuration.state_flags,
            may_start: configuration.capabilities.contains(Capabilities::CanStartAndStopInterfaces),
            interface_name: configuration.interface_name.clone(),
        }
    }
}
