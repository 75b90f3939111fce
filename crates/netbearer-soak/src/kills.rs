//! Random rounds of killed clients and daemons, in the middle of what they do: openings, closes, stops, descriptors passed
//! on, cables cut. A model keeps count of who must hold what; whenever all has settled, the processes' own words, the kernel's
//! (`ip`, `/proc`) and the daemon's must agree with it, and in the end nothing is left.

mod ends;
mod kernel;
mod ledger;
mod member;
mod plan;
mod round;
mod stage;

use std::{fs, time::Instant};

use clap::Args;

use self::{
    plan::{Place, Plan},
    round::Round,
    stage::Stage,
};
use crate::{error::SoakError, with_causes};

/// What the service network is called.
const NETWORK: &str = "net";
/// After so many rounds it says how far it is.
const PROGRESS: u64 = 100;

/// Which rounds.
#[derive(Args, Debug)]
pub(crate) struct Kills {
    /// Seed of the first round; the others follow.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How many rounds.
    #[arg(long, value_name = "M", default_value_t = 1_000)]
    count: u64,
    /// Go on after a failure, up to the last round.
    #[arg(long)]
    keep_going: bool,
    /// Print what happened in good rounds, too.
    #[arg(long)]
    verbose: bool,
}

/// How often something happened in all rounds.
#[derive(Debug, Default)]
struct Counts {
    opened: usize,
    kills: usize,
    daemon_kills: usize,
    passed_on: usize,
}

pub(crate) fn run(kills: &Kills) -> Result<(), SoakError> {
    let begin = Instant::now();
    let mut stage = Stage::build()?;
    let (mut counts, mut failed) = (Counts::default(), Vec::new());
    for seed in kills.seed..kills.seed.saturating_add(kills.count) {
        let plan = Plan::random(seed);
        stage.pulse.begin_anew();
        let (outcome, log) = follow(&stage, &plan);
        counts.add(&stage);
        let transcript = || format!("{plan:#?}\n\nwhat happened, after milliseconds:\n{}", stage.pulse.transcript());
        if kills.verbose {
            println!("{}\n\nwhat daemons have logged:\n{log}", transcript());
        }
        if let Err(error) = outcome {
            eprintln!("{}\n\nwhat daemons have logged:\n{log}", transcript());
            eprintln!("== seed {seed} failed: {}", with_causes(&error));
            eprintln!("== run it again with: cargo xtask soak --kills --seed {seed} --count 1");
            failed.push(seed);
            if !kills.keep_going {
                break;
            }
            // What has come of the old one is not known.
            stage = Stage::build()?;
        }
        let done = seed - kills.seed + 1;
        if done.is_multiple_of(PROGRESS) {
            println!("{done} of {} rounds, {:.1} s", kills.count, begin.elapsed().as_secs_f64());
        }
    }
    let Counts { opened, kills, daemon_kills, passed_on } = counts;
    println!(
        "sessions opened: {opened}, holders killed: {kills}, daemons killed: {daemon_kills}, descriptors passed on: {passed_on}, {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    if failed.is_empty() { Ok(()) } else { Err(SoakError::Wrong(format!("failed seeds: {failed:?}"))) }
}

impl Counts {
    fn add(&mut self, stage: &Stage) {
        let count = |text| stage.pulse.count(text);
        self.opened += count("\"event\":\"Opened\"");
        self.kills += count("Kill(");
        self.daemon_kills += count("KillDaemon");
        self.passed_on += count("and has Some");
    }
}

/// Lets a plan happen, and judges what comes of it. Returns what daemons have logged, too.
fn follow(stage: &Stage, plan: &Plan) -> (Result<(), SoakError>, String) {
    let mut round = match Round::begin(stage, plan) {
        Ok(round) => round,
        Err(error) => return (Err(error), String::new()),
    };
    let log = round.log();
    for step in &plan.steps {
        if let Err(error) = round.perform(step) {
            return (Err(error), fs::read_to_string(log).unwrap_or_default());
        }
    }
    let log = fs::read_to_string(log).unwrap_or_default();
    let outcome = round.end().and_then(|()| match log.lines().find(|line| is_grave(line)) {
        None => Ok(()),
        Some(line) => Err(SoakError::Wrong(format!("a daemon has logged: {line}"))),
    });
    (outcome, log)
}

/// What no daemon says as long as nothing fails but other programs.
fn is_grave(line: &str) -> bool {
    [" ERROR ", "panicked"].iter().any(|word| line.contains(word))
}

/// What an access point and its interface are called.
fn name_of(place: Place) -> String {
    format!("ap{place}")
}
