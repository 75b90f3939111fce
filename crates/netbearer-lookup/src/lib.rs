//! Lookups of names on one interface, and whom the programs of a machine ask.
//!
//! [`lookup`] asks for one name on one interface, whatever the machine's own resolver does. By whom programs are told whom to
//! ask is a pure function of what is found ([`choose`]); how that is changed is the business of `netbearer-names`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod choice;
mod lookup;
mod own_resolver;
mod places;
mod resolv_conf;
pub mod resolved;

pub use choice::{Choice, Found, ResolvConf, choose};
pub use lookup::{LookupError, lookup};
pub use places::NamePlaces;
pub use resolv_conf::look_at_resolv_conf;
