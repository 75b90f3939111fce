//! The long counts.

use clap::Args;

use crate::command::{self, TaskError, cargo};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Random histories of the core
    #[arg(long, default_value_t = 1_000_000)]
    histories: u64,
    /// Seeds of the scenarios that have seeds
    #[arg(long, default_value_t = 100_000)]
    rounds: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), TaskError> {
    let mut model = cargo(&["test", "--release", "--package", "netbearer-core", "--", "--nocapture"]);
    command::run(model.env("NETBEARER_HISTORIES", arguments.histories.to_string()))?;
    let mut scenarios =
        cargo(&["test", "--release", "--package", "netbearer", "--test", "scenarios", "--", "stopping"]);
    command::run(scenarios.env("NETBEARER_ROUNDS", arguments.rounds.to_string()))
}
