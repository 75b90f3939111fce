//! The real program, on a sandbox machine with real access points.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agent;
mod daemon;
mod ending;
mod exclusive;
mod explaining;
mod failing;
mod help;
mod killing;
mod lab;
mod listing;
mod monitoring;
mod name_servers;
mod opening;
mod overrun;
mod packaging;
mod profiles;
mod reporting;
mod roaming;
mod running;
mod service_networks;
mod sessions;
mod stage;
mod steering;
mod stopping;
mod sudden_ends;
mod terminal;
mod waiting;
