//! The name servers of access points, for every program of the machine and for single lookups.
//!
//! [`SystemNames`] has programs ask the servers of the links it is told of (a level): through
//! systemd-resolved for each link, else through resolvconf, else by `/etc/resolv.conf` itself, and puts everything back when
//! there are no such links any more. Which of them it is, is a pure function of what is found ([`choose`]), asked again
//! whenever that changes. What a killed process left is put back by [`recover`].
//!
//! A lookup of one name on one interface, whatever the machine's own resolver does, is in `netbearer-lookup`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod back_end;
mod bus;
mod error;
mod follower;
mod keep;
mod note;
mod resolv_conf;
mod resolvconf;
mod resolved;
mod surroundings;
mod system_names;

pub use error::NamesError;
pub use netbearer_lookup::{Choice, Found, NamePlaces, ResolvConf, choose};
pub use system_names::{NamesSettings, Recovered, SystemNames, recover};
