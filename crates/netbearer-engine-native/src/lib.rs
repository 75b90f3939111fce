//! The engine that needs nobody else.
//!
//! Every interface that can carry traffic is an access point (`classification`). One worker for each of them brings it
//! to its target: link, lease, address, routes and rules, each tagged as ours, and back (`worker`). What cannot be
//! tagged is noted first (`notes`), and nothing is changed before the namespace's lock is taken (`ownership`).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod addresses;
mod belongings;
mod beside;
mod carrier_watch;
mod classification;
mod contest;
mod device;
mod engine;
mod fixed;
mod followed;
mod foreign;
mod installation;
mod kept;
mod learnt;
mod lease;
mod leftovers;
mod neighbourhood;
mod notes;
mod ownership;
mod remembered;
mod reporting;
mod settings;
mod spare_socket;
mod steering;
mod surroundings;
mod tunnel;
mod worker;

pub use carrier_watch::CarrierWatch;
pub use engine::{NativeEngine, NativeSettings, StartError};
pub use leftovers::{Cleared, ResetError, reset};
pub use netbearer_managers::Places;
pub use ownership::{OwnershipError, namespace_lock, owner_of_namespace};
