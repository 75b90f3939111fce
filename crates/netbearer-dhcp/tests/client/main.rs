//! The client as its driver sees it, in simulated time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod acquisition;
mod corpus;
mod history;
mod hostile_replies;
mod loss;
mod operation;
mod prolongation;
mod properties;
mod reboot;
mod release;
mod server;
mod targets;
