//! Which interfaces other programs look after, so that NetBearer leaves them alone.
//!
//! A [`ManagerWatcher`] asks `NetworkManager` and `ConnMan` over D-Bus and reads the run files of networkd, dhcpcd and
//! ifupdown, and tells its whole truth ([`Owners`]) each time it differs. Nobody is ever started by being asked. A manager
//! that is not there, or a machine without a bus, is ordinary; one that appears later is noticed. Nothing is polled.
//!
//! Run files and buses do not know network namespaces: what they say is taken to be about the interfaces of the
//! namespace the watcher was opened in.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod bus;
mod connman;
mod dhcpcd;
mod ifupdown;
mod interface_name;
mod network_manager;
mod networkd;
mod open_error;
mod owners;
mod pattern;
mod pending;
mod places;
mod run_files;
mod watcher;

pub use open_error::OpenError;
pub use owners::{ManagerName, Owner, Owners};
pub use places::Places;
pub use watcher::ManagerWatcher;
