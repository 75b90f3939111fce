//! The client as its driver sees it, in simulated time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod acquisition;
mod address_guard;
mod confirmation;
mod corpus;
mod decline;
mod gateway_inquiry;
mod history;
mod hostile_replies;
mod identity;
mod ipv6_only;
mod known_network;
mod loss;
mod operation;
mod prolongation;
mod properties;
mod rapid_commit;
mod reboot;
mod release;
mod server;
mod targets;
