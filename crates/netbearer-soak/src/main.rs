//! Random fault histories: sessions on real interfaces in the lab, in this process and in another one, while cables are
//! cut, cards unplugged and renamed, servers lie, other programs interfere, and processes are killed. Afterwards nothing
//! is wrong any more, and then what sessions tell must be what `ip` says, every access point must work, and after the
//! last close nothing of ours may be left.
//!
//! A history is made from its seed alone, so a seed that fails can be run again; what comes of it also depends on the
//! kernel's timing. Exit status: 0 when every history was good, 1 when one was not, with that history on standard error.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod choice;
mod error;
mod history;
mod holder;
mod idle;
mod kills;
mod operation;
mod pulse;
mod roams;
mod rounds;
mod trace;
mod truth;
mod world;

use std::{
    error::Error,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::{Args, Parser, Subcommand};
use netbearer_holder::{HolderError, Way, hold};

use crate::{error::SoakError, history::History, pulse::Pulse, rounds::Rounds, world::World};

/// Runs random fault histories. Must be root.
#[derive(Debug, Parser)]
#[command(name = "netbearer-soak", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run histories, one after another.
    Run(Run),
    /// Run rounds of killed clients and daemons, one after another.
    Kills(Rounds),
    /// Run rounds of roaming sessions until there were so many roams, while cables are cut and processes are killed.
    Roams(Rounds),
    /// Be the other process of a history: hold sessions as the standard input says.
    #[command(hide = true, subcommand)]
    Hold(Way),
    /// Show by `strace` that an opening does not wait for packet sockets to be opened or closed.
    Trace,
    /// Watch a process with 100 open sessions do nothing, and pass over what does not concern them.
    Idle {
        /// For how many seconds.
        #[arg(long, value_name = "N", default_value_t = 60)]
        seconds: u64,
    },
}

#[derive(Args, Debug)]
struct Run {
    /// Seed of the first history; the others follow.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How many histories.
    #[arg(long, value_name = "M", default_value_t = 1_000)]
    count: u64,
    /// Go on after a failure, up to the last history.
    #[arg(long)]
    keep_going: bool,
    /// Print what happened in good histories, too.
    #[arg(long)]
    verbose: bool,
}

/// After so many histories it says how far it is.
const PROGRESS: u64 = 50;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(run) => run_all(&run),
        Command::Hold(way) => way.manager().map_err(HolderError::from).and_then(hold).map_err(SoakError::from),
        Command::Kills(rounds) => kills::run(&rounds),
        Command::Roams(rounds) => roams::run(&rounds),
        Command::Trace => trace::run(),
        Command::Idle { seconds } => idle::run(Duration::from_secs(seconds)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netbearer-soak: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

fn run_all(run: &Run) -> Result<(), SoakError> {
    let begin = Instant::now();
    let (mut operations, mut opened, mut failed) = (0, 0, Vec::new());
    for seed in run.seed..run.seed.saturating_add(run.count) {
        let history = History::random(seed);
        let (pulse, listener) = Pulse::new();
        // A thread of its own, as it moves to the lab's machine for good.
        let outcome = thread::scope(|scope| {
            let follow = scope.spawn(|| follow(&history, pulse.clone(), listener));
            follow.join().unwrap_or_else(|_| Err(SoakError::Wrong("the soak itself panicked".to_owned())))
        });
        let done = seed - run.seed + 1;
        if done.is_multiple_of(PROGRESS) {
            println!("{done} of {} histories, {:.1} s", run.count, begin.elapsed().as_secs_f64());
        }
        operations += history.operations.len();
        opened += pulse.count(": Opened");
        if run.verbose {
            println!("{history:#?}\n{}", pulse.transcript());
        }
        if let Err(error) = outcome {
            eprintln!("== seed {seed} failed: {}", with_causes(&error));
            eprintln!("{history:#?}\n\nwhat happened, after milliseconds:\n{}", pulse.transcript());
            eprintln!("== run it again with: cargo xtask soak --seed {seed} --count 1");
            failed.push(seed);
            if !run.keep_going {
                break;
            }
        }
    }
    println!("operations: {operations}, sessions opened: {opened}, {:.1} s", begin.elapsed().as_secs_f64());
    if failed.is_empty() { Ok(()) } else { Err(SoakError::Wrong(format!("failed seeds: {failed:?}"))) }
}

/// Lets a history happen, and judges what comes of it.
fn follow(history: &History, pulse: Pulse, listener: pulse::Listener) -> Result<(), SoakError> {
    let mut world = World::build(history, pulse.clone(), listener)?;
    for operation in &history.operations {
        world.perform(operation)?;
    }
    world.turn_fair()?;
    world.come_to_rest()?;
    world.end_holder()?;
    world.come_to_rest()?;
    world.look_again()?;
    world.open_each()?;
    world.end(history)?;
    match pulse.complaints().first() {
        None => Ok(()),
        Some(first) => Err(SoakError::Wrong(first.clone())),
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
