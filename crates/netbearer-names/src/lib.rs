//! The name servers of access points, for every program of the machine and for single lookups.
//!
//! [`SystemNames`] has programs ask the servers of the links it is told of (a level): through
//! systemd-resolved for each link, else through resolvconf, else by `/etc/resolv.conf` itself, and puts everything back when
//! there are no such links any more. Which of them it is, is a pure function of what is found ([`choose`]), asked again
//! whenever that changes. What a killed process left is put back by [`recover`].
//!
//! [`lookup`] asks for one name on one interface, whatever the machine's own resolver does.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod back_end;
mod bus;
mod choice;
mod error;
mod follower;
mod keep;
mod lookup;
mod note;
mod own_resolver;
mod places;
mod resolv_conf;
mod resolvconf;
mod resolved;
mod surroundings;
mod system_names;

pub use choice::{Choice, Found, ResolvConf, choose};
pub use error::NamesError;
pub use lookup::{LookupError, lookup};
pub use places::NamePlaces;
pub use system_names::{NamesSettings, Recovered, SystemNames, recover};
