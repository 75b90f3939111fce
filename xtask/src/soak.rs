//! The long counts.

use std::process::Command;

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
    /// Random fault histories on real interfaces, and rounds of killed programs and daemons
    #[arg(long, default_value_t = 1_000)]
    count: u64,
    /// Seed of the first fault history; if it is given, nothing but fault histories is run
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: run rounds of killed programs and daemons instead of fault histories
    #[arg(long, requires = "seed")]
    kills: bool,
    /// How many roams of sessions over the real daemon
    #[arg(long, default_value_t = 10_000)]
    roam_count: u64,
    /// With --seed: run rounds of roaming sessions instead of fault histories, --count roams
    #[arg(long, requires = "seed", conflicts_with = "kills")]
    roams: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), TaskError> {
    let seed = arguments.seed.unwrap_or_default();
    let (mut faults, mut kills) = (fault_histories(seed, arguments.count), kills(seed, arguments.count));
    if arguments.kills {
        command::run(&mut programs())?;
        return command::run(&mut kills);
    }
    if arguments.roams {
        command::run(&mut programs())?;
        return command::run(&mut roams(seed, arguments.count));
    }
    if arguments.seed.is_some() {
        return command::run(&mut faults);
    }
    let mut model = cargo(&["test", "--release", "--package", "netbearer-core", "--", "--nocapture"]);
    command::run(model.env("NETBEARER_HISTORIES", arguments.histories.to_string()))?;
    let mut scenarios =
        cargo(&["test", "--release", "--package", "netbearer", "--test", "scenarios", "--", "stopping"]);
    command::run(scenarios.env("NETBEARER_ROUNDS", arguments.rounds.to_string()))?;
    command::run(&mut faults)?;
    command::run(&mut programs())?;
    command::run(&mut kills)?;
    command::run(&mut roams(seed, arguments.roam_count))?;
    command::run(&mut idle(60))
}

/// A process that nothing happens to, watched for so many seconds.
pub(crate) fn idle(seconds: u64) -> Command {
    let mut command = cargo(&["run", "--quiet", "--package", "netbearer-soak", "--", "idle"]);
    command.args(["--seconds", &seconds.to_string()]);
    command
}

/// Random fault histories, one after another. Not optimised, so that what tests have built is used.
pub(crate) fn fault_histories(seed: u64, count: u64) -> Command {
    let mut command = cargo(&["run", "--quiet", "--package", "netbearer-soak", "--", "run"]);
    command.args(["--seed", &seed.to_string(), "--count", &count.to_string()]);
    command
}

/// Programs that tests start, but that are of other packages.
pub(crate) fn programs() -> Command {
    cargo(&["build", "--quiet", "--package", "bearerd", "--package", "netbearer-holder"])
}

/// Rounds of killed programs and daemons, one after another.
pub(crate) fn kills(seed: u64, count: u64) -> Command {
    let mut command = cargo(&["run", "--quiet", "--package", "netbearer-soak", "--", "kills"]);
    command.args(["--seed", &seed.to_string(), "--count", &count.to_string()]);
    command
}

/// Rounds of roaming sessions, until there were so many roams.
pub(crate) fn roams(seed: u64, count: u64) -> Command {
    let mut command = cargo(&["run", "--quiet", "--package", "netbearer-soak", "--", "roams"]);
    command.args(["--seed", &seed.to_string(), "--count", &count.to_string()]);
    command
}
