//! The acceptance scenarios, each once, against real interfaces in the lab. The numbers are those of docs/scenarios.md.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod adoption;
mod availability;
mod closing;
mod leases;
mod loss;
mod opening;
mod routing;
mod stage;
mod stopping;
mod waiting;
