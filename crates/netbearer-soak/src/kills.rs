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

use std::time::Instant;

use self::{
    plan::{Place, Plan},
    round::Round,
    stage::Stage,
};
use crate::{
    error::SoakError,
    rounds::{Rounds, follow},
};

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
    let outcome = rounds.run(
        "kills",
        Plan::random,
        |stage, plan| follow(Round::begin(stage, plan), &plan.steps),
        |stage| {
            counts.add(stage);
            1
        },
    );
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

/// What an access point and its interface are called.
pub(crate) fn name_of(place: Place) -> String {
    format!("ap{place}")
}
