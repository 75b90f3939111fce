//! Plain data and the words of NetBearer.
//!
//! A newcomer who knows Qt's `QNetworkSession` finds each of its words here under its own name: [`Configuration`],
//! [`SessionState`], [`SessionError`], [`Capabilities`], [`PropertyKey`]. Beside them stand the words that the core and
//! the engines speak to each other: [`AccessPointReport`] upwards, [`AccessPointCommand`] downwards.
//!
//! Nothing in this crate does anything: no I/O, no clock, no decisions about sessions.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod access_point;
mod bearer_type;
mod capabilities;
mod client_identifier;
mod configuration;
mod differences;
mod directories;
mod event;
mod failure;
mod host_name;
mod identifier;
mod interface;
mod link_names;
mod matching;
mod moment;
mod profile;
mod property;
mod roaming;
mod session_snapshot;
mod session_state;
mod socket_cookie;
mod state_flags;
mod steering;
mod steering_plan;
mod traffic;
mod vendor_class;

pub use access_point::{
    AccessPointCommand, AccessPointReport, CommandNumber, Level, LinkLevel, Progress, Stage, Step, Target,
};
pub use bearer_type::{BearerFamily, BearerType};
pub use capabilities::Capabilities;
pub use client_identifier::{ClientIdentifier, ClientIdentifierError};
pub use configuration::{Configuration, Kind, Proxy, Purpose};
pub use differences::differences;
pub use directories::Directories;
pub use event::{ManagerEvent, SessionEvent};
pub use failure::{Failure, FailureReason, SessionError};
pub use host_name::{HostName, HostNameError};
pub use identifier::Identifier;
pub use interface::{AddressScope, Families, Family, Interface, InterfaceAddress};
pub use link_names::{LinkNames, NamesReport};
pub use matching::{Hardware, Matching};
pub use moment::Moment;
pub use profile::{
    Addressing, AnnouncedRoutes, BypassVpn, Lifetime, NetworkAddress, NetworkAddressError, Profile,
    ServiceNetworkProfile, UserChoiceProfile,
};
pub use property::{PropertyKey, PropertyValue};
pub use roaming::{Offer, OfferNumber, OfferPhase, RoamingSnapshot};
pub use session_snapshot::SessionSnapshot;
pub use session_state::SessionState;
pub use socket_cookie::{SocketCookie, SocketEnd};
pub use state_flags::StateFlags;
pub use steering::{FullTunnel, Steering, SteeringLevel};
pub use steering_plan::{MarkField, SteeringPlan, SteeringPlanError, TableBase};
pub use traffic::Traffic;
pub use vendor_class::{VendorClass, VendorClassError};
