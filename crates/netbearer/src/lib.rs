//! Bearer management for Linux: a program says *"I need a network"* by opening a [`Session`].
//!
//! NetBearer brings the interface up, counts who uses it, takes it down when the last one is done, and tells what
//! happens on the way.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use netbearer::Manager;
//!
//! let manager = Manager::embedded().await?;
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
//! Programs without async find the same in [`blocking`]. The [`guide`] is a tour of all of it.

mod chooser;
mod embedded;
mod error;
mod feed;
mod manager;
mod news;
mod session;
mod steps;

pub mod blocking;
pub mod guide;

pub use chooser::{Chooser, ChooserEvent};
pub use embedded::Embedded;
pub use error::{CallError, FindError, LookupError, ManagerError, SocketError};
pub use feed::Events;
pub use manager::Manager;
pub use netbearer_core::{Decision, Input, Limits, Question, QuestionNumber, SessionId, Subject, Verdict};
pub use netbearer_engine_native::{Cleared, OwnershipError, Places, ResetError};
#[doc(hidden)]
pub use netbearer_kernel::InjectedSuspends;
pub use netbearer_kernel::missing_privileges;
pub use netbearer_names::{LookupError as NameError, NamePlaces};
pub use netbearer_service::Directories;
pub use netbearer_types::{
    AddressScope, Addressing, AnnouncedRoutes, BearerFamily, BearerType, BypassVpn, Capabilities, ClientIdentifier,
    ClientIdentifierError, Configuration, Failure, FailureReason, Families, Family, FullTunnel, HostName,
    HostNameError, Identifier, Interface, InterfaceAddress, Kind, Lifetime, ManagerEvent, Moment, NetworkAddress,
    NetworkAddressError, Profile, PropertyKey, PropertyValue, Proxy, Purpose, ServiceNetworkProfile, SessionError,
    SessionEvent, SessionSnapshot, SessionState, StateFlags, Steering, SteeringPlan, Step, UserChoiceProfile,
    VendorClass, VendorClassError,
};
pub use news::News;
pub use session::Session;
pub use steps::Steps;
