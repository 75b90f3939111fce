//! The one task that owns the core.
//!
//! [`Service`] feeds what clients ask, what the engine reports and what the clock says into [`netbearer_core::Core`], and
//! carries out what comes out. It decides nothing. Front ends talk to it through a [`ServiceHandle`] and are told events
//! through an [`Audience`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod audience;
mod handle;
mod holds;
mod keeper;
mod service;
mod steering_file;

pub use audience::Audience;
pub use handle::{ServiceGone, ServiceHandle, Steps};
pub use holds::Holds;
pub use keeper::Keeper;
pub use netbearer_types::Directories;
pub use service::{Service, tell_mistakes};
pub use steering_file::{SteeringFileError, read_steering_plan};
