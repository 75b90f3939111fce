//! Bearer management for Linux: a program says *"I need a network"* by opening a [`Session`].
//!
//! NetBearer brings the interface up, counts who uses it, takes it down when the last one is done, and tells what
//! happens on the way.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use netbearer::Manager;
//!
//! let manager = Manager::connect().await?;
//! let configuration = manager.find(None).await?; // the default one
//! let session = manager.session(&configuration).await?;
//! session.open().await?;
//! if session.wait_for_opened(None).await? {
//!     let stream = session.connect_tcp("192.0.2.1:80".parse()?).await?;
//!     // … the stream uses this session's access point, whatever the default route is.
//!     drop(stream);
//! } else if let Some(failure) = session.error() {
//!     eprintln!("{failure}");
//! }
//! session.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Sessions of all programs are counted together, by the daemon `bearerd`, which [`Manager::connect`] talks to. A program
//! that is to do without it brings the service along: `Manager::embedded()`, with the cargo feature `embedded`, which is off
//! by default.
//!
//! Programs without async find the same in [`blocking`]. The [`guide`] is a tour of all of it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod backend;
mod ballot;
mod carrier_test;
mod chooser;
mod daemon;
#[cfg(feature = "embedded")]
mod embedded;
mod error;
mod feed;
mod manager;
mod news;
mod outlet;
mod roaming;
mod service_description;
mod service_thread;
mod session;
mod session_listing;
mod shared;
mod steps;

pub mod blocking;
pub mod guide;

pub use chooser::{Chooser, ChooserEvent};
pub use daemon::Daemon;
#[cfg(feature = "embedded")]
pub use embedded::Embedded;
pub use error::{CallError, FindError, LookupError, ManagerError, MigrateError, SocketError, TestError};
pub use feed::Events;
pub use manager::Manager;
#[cfg(feature = "embedded")]
#[doc(hidden)]
pub use netbearer_clock::InjectedSuspends;
pub use netbearer_core::{
    Decision, Input, Limits, Program, Question, QuestionNumber, RoamCause, SessionDescription, SessionId, Subject,
    UserId, Verdict,
};
#[cfg(feature = "embedded")]
pub use netbearer_engine_native::{Cleared, OwnershipError, Places, ResetError, namespace_lock};
#[cfg(feature = "embedded")]
pub use netbearer_kernel::missing_privileges;
pub use netbearer_lookup::{LookupError as NameError, NamePlaces};
pub use netbearer_types::{
    AddressScope, Addressing, AnnouncedRoutes, BearerFamily, BearerType, BypassVpn, Capabilities, ClientIdentifier,
    ClientIdentifierError, Configuration, Directories, Failure, FailureReason, Families, Family, FullTunnel, HostName,
    HostNameError, Identifier, Interface, InterfaceAddress, Kind, Lifetime, ManagerEvent, Moment, NetworkAddress,
    NetworkAddressError, Offer as OfferDescription, OfferNumber, OfferPhase, Profile, PropertyKey, PropertyValue,
    Proxy, Purpose, RoamingSnapshot, ServiceNetworkProfile, SessionError, SessionEvent, SessionSnapshot, SessionState,
    StateFlags, Steering, SteeringPlan, Step, Traffic, UserChoiceProfile, VendorClass, VendorClassError,
};
pub use news::News;
pub use roaming::{Offer, Roaming, Trial};
pub use service_description::{ServiceDescription, ServiceKind};
pub use session::Session;
pub use session_listing::SessionListing;
pub use steps::Steps;
