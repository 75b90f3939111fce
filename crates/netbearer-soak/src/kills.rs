//! Random rounds of killed clients and daemons, in the middle of what they do: openings, closes, stops, descriptors passed
//! on, cables cut. A model keeps count of who must hold what; whenever all has settled, the processes' own words, the kernel's
//! (`ip`, `/proc`) and the daemon's must agree with it, and in the end nothing is left.

pub(crate) mod ends;
pub(crate) mod kernel;
pub(crate) mod ledger;
pub(crate) mod member;
pub(crate) mod plan;
pub(crate) mod round;
pub(crate) mod site;
pub(crate) mod stage;

use std::{fs, time::Instant};

use self::{
    plan::{Place, Plan},
    round::Round,
    stage::Stage,
};
use crate::{error::SoakError, rounds::Rounds};

/// What the service network is called.
pub(crate) const NETWORK: &str = "net";
/// How often something happened in all rounds.
#[derive(Debug, Default)]
struct Counts {
    opened: usize,
    kills: usize,
    daemon_kills: usize,
    passed_on: usize,
}

pub(crate) fn run(rounds: &Rounds) -> Result<(), SoakError> {
    let begin = Instant::now();
    let mut counts = Counts::default();
    let outcome = rounds.run("kills", Plan::random, follow, |stage| {
        counts.add(stage);
        1
    });
    let Counts { opened, kills, daemon_kills, passed_on } = counts;
    println!(
        "sessions opened: {opened}, holders killed: {kills}, daemons killed: {daemon_kills}, descriptors passed on: {passed_on}, {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    outcome
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
    (round.end().and_then(|()| nothing_grave(&log)), log)
}

/// Daemons have not said what none says as long as nothing fails but other programs.
pub(crate) fn nothing_grave(log: &str) -> Result<(), SoakError> {
    match log.lines().find(|line| [" ERROR ", "panicked"].iter().any(|word| line.contains(word))) {
        None => Ok(()),
        Some(line) => Err(SoakError::Wrong(format!("a daemon has logged: {line}"))),
    }
}

/// What an access point and its interface are called.
pub(crate) fn name_of(place: Place) -> String {
    format!("ap{place}")
}
