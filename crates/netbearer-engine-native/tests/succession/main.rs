//! An engine goes on with what a process had up that was killed: SIGKILL, and somebody else comes after it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod changed_meanwhile;
mod driver;
mod leases;
mod leftovers;
mod links_of_others;
mod process;
mod stage;
mod undisturbed;
