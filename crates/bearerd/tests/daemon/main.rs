//! The real daemon, on a sandbox machine with real access points, and clients that know nothing but D-Bus.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod asking;
mod bus;
mod checking;
mod client;
mod ending;
mod errors;
mod floods;
mod holds;
mod library;
mod limits;
mod opening;
mod raw;
mod restarts;
mod rights;
mod roaming;
mod stage;
mod witnesses;
