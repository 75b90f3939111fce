//! Rounds that a seed makes happen, one after another on one stage.

use std::{fmt::Debug, fs, path::PathBuf, time::Instant};

use clap::Args;

use crate::{error::SoakError, kills::stage::Stage, with_causes};

/// After so much it says how far it is.
const PROGRESS: u64 = 100;

/// Which rounds.
#[derive(Args, Debug)]
pub(crate) struct Rounds {
    /// Seed of the first round; the others follow.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How much must have happened: rounds, or roams.
    #[arg(long, value_name = "M", default_value_t = 1_000)]
    count: u64,
    /// Go on after a failure, up to the last round.
    #[arg(long)]
    keep_going: bool,
    /// Print what happened in good rounds, too.
    #[arg(long)]
    verbose: bool,
}

impl Rounds {
    /// Lets rounds happen until enough has; `count` says after each how much that was. `follow` returns what daemons have
    /// logged, too, and `name` is what `cargo xtask soak` calls such rounds.
    pub(crate) fn run<P: Debug>(
        &self,
        name: &str,
        plan: impl Fn(u64) -> P,
        follow: impl Fn(&Stage, &P) -> (Result<(), SoakError>, String),
        mut count: impl FnMut(&Stage) -> u64,
    ) -> Result<(), SoakError> {
        let begin = Instant::now();
        let mut stage = Stage::build()?;
        let (mut seed, mut done, mut failed) = (self.seed, 0, Vec::new());
        while done < self.count {
            let plan = plan(seed);
            stage.pulse.begin_anew();
            let (outcome, log) = follow(&stage, &plan);
            let before = done / PROGRESS;
            done += count(&stage);
            let transcript = || {
                let happened = stage.pulse.transcript();
                format!(
                    "{plan:#?}\n\nwhat happened, after milliseconds:\n{happened}\n\nwhat daemons have logged:\n{log}"
                )
            };
            if self.verbose {
                println!("{}", transcript());
            }
            if let Err(error) = outcome {
                eprintln!("{}", transcript());
                eprintln!("== seed {seed} failed: {}", with_causes(&error));
                eprintln!("== run it again with: cargo xtask soak --{name} --seed {seed} --count 1");
                failed.push(seed);
                if !self.keep_going {
                    break;
                }
                // What has come of the old one is not known.
                stage = Stage::build()?;
            }
            if done / PROGRESS > before {
                println!("{done} of {} {name}, {:.1} s", self.count, begin.elapsed().as_secs_f64());
            }
            seed = seed.saturating_add(1);
        }
        if failed.is_empty() { Ok(()) } else { Err(SoakError::Wrong(format!("failed seeds: {failed:?}"))) }
    }
}

/// What a plan is made happen by, step by step.
pub(crate) trait Round {
    type Step;

    /// Lets a step happen.
    fn perform(&mut self, step: &Self::Step) -> Result<(), SoakError>;

    /// The file in which daemons log.
    fn log(&self) -> PathBuf;

    /// Has everything end, and judges what is left.
    fn end(self) -> Result<(), SoakError>;
}

/// Lets a plan happen, and judges what comes of it. Returns what daemons have logged, too.
pub(crate) fn follow<R: Round>(round: Result<R, SoakError>, steps: &[R::Step]) -> (Result<(), SoakError>, String) {
    let mut round = match round {
        Ok(round) => round,
        Err(error) => return (Err(error), String::new()),
    };
    let log = round.log();
    for step in steps {
        if let Err(error) = round.perform(step) {
            return (Err(error), fs::read_to_string(log).unwrap_or_default());
        }
    }
    let log = fs::read_to_string(log).unwrap_or_default();
    (round.end().and_then(|()| nothing_grave(&log)), log)
}

/// Daemons have not said what none says as long as nothing fails but other programs.
fn nothing_grave(log: &str) -> Result<(), SoakError> {
    match log.lines().find(|line| [" ERROR ", "panicked"].iter().any(|word| line.contains(word))) {
        None => Ok(()),
        Some(line) => Err(SoakError::Wrong(format!("a daemon has logged: {line}"))),
    }
}
