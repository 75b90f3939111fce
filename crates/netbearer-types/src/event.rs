use serde::{Deserialize, Serialize};

use crate::{Configuration, Failure, Identifier, Interface, Offer, OfferNumber, SessionState};

/// What a session tells its holder. Every event carries its own value (semantics §2, §3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event")]
#[non_exhaustive]
pub enum SessionEvent {
    /// The state changed; never twice in a row to the same one.
    StateChanged {
        /// The new state.
        state: SessionState,
    },
    /// The session is open and ready for sockets.
    Opened,
    /// The session is no longer open, or no longer opening.
    Closed,
    /// Something failed.
    Error(Failure),
    /// Addresses or gateway changed while the link was kept. In a trial also those of the candidate.
    InterfaceChanged {
        /// The interface as it is now.
        interface: Interface,
    },
    /// Another access point is offered to migrate to; the application decides, and nothing changes before it does (semantics §5).
    PreferredConfigurationChanged {
        /// What is offered.
        offer: Offer,
    },
    /// What was offered is not to be had any more (ours).
    OfferWithdrawn {
        /// Which offer.
        offer: OfferNumber,
    },
    /// The candidate is up, beside the link in use: new sockets of the session go by it until the application has decided.
    NewConfigurationActivated {
        /// The offer that was migrated to.
        offer: OfferNumber,
        /// Its access point.
        configuration: Identifier,
        /// Its interface.
        interface: Interface,
    },
    /// The link in use was lost while the candidate is brought up or tried (ours): only the candidate is left, and the application
    /// has to decide within its answer timeout.
    CurrentLinkLost {
        /// The offer that is under way.
        offer: OfferNumber,
    },
    /// The candidate could not be brought up, or was lost during its trial (ours). No error: the session goes on.
    RoamingFailed {
        /// The candidate.
        configuration: Identifier,
        /// What was wrong with it.
        failure: Failure,
    },
    /// The session uses another access point from now on, without having been asked (ours).
    ActiveConfigurationChanged {
        /// The access point.
        configuration: Identifier,
    },
    /// Events were dropped because they were not read: what follows starts from the current state (ours).
    Lagged,
    /// The service is away, and will be back: links stay up and carry traffic meanwhile, and what is told of the session is what
    /// was last known (ours; semantics §4).
    ServiceLost,
    /// The service is back; what has become different meanwhile was told before this (ours).
    ServiceBack,
}

/// What the manager tells everybody (semantics §9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event")]
#[non_exhaustive]
pub enum ManagerEvent {
    /// A configuration appeared.
    ConfigurationAdded {
        /// The configuration as it is now.
        configuration: Configuration,
    },
    /// A public field of a configuration changed.
    ConfigurationChanged {
        /// The configuration as it is now.
        configuration: Configuration,
    },
    /// A configuration is gone.
    ConfigurationRemoved {
        /// Which one.
        identifier: Identifier,
    },
    /// The machine gained or lost its last way out.
    OnlineStateChanged {
        /// True if some access point is Active and has a default route.
        online: bool,
    },
    /// A requested update has ended; one for each request.
    UpdateCompleted,
    /// Events were dropped because they were not read: list the configurations again (ours).
    Lagged,
    /// The service is away, and will be back (ours; semantics §4).
    ServiceLost,
    /// The service is back: list the configurations again (ours).
    ServiceBack,
}
