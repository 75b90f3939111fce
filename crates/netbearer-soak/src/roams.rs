//! Random rounds of roaming sessions of several processes, some of which decide, while members of the service network are put
//! in another order, their cables are cut, and clients and the daemon are killed. Somebody who is no client has a connection by
//! each link that is kept up. Whenever all has settled, the processes' own words, the kernel's (`ip`, `/proc`), the servers' and
//! the daemon's must agree, and in the end nothing is left.

mod foreigner;
mod plan;
mod round;

use std::time::Instant;

use self::{foreigner::STILL_THERE, plan::Plan, round::Round};
use crate::{
    error::SoakError,
    kills::stage::Stage,
    rounds::{Rounds, follow},
};

/// How often something happened in all rounds.
#[derive(Debug, Default)]
struct Counts {
    rounds: u64,
    moved: usize,
    decided: usize,
    cuts: usize,
    kills: usize,
    daemon_kills: usize,
    foreign: usize,
}

pub(crate) fn run(rounds: &Rounds) -> Result<(), SoakError> {
    let begin = Instant::now();
    let mut counts = Counts::default();
    let outcome = rounds.run(
        "roams",
        Plan::random,
        |stage, plan| follow(Round::begin(stage, plan), &plan.steps),
        |stage| counts.add(stage),
    );
    let Counts { rounds, moved, decided, cuts, kills, daemon_kills, foreign } = counts;
    println!(
        "rounds: {rounds}, moved without being asked: {moved}, ends of offers: {decided}, cables cut: {cuts}, holders killed: {kills}, daemons killed: {daemon_kills}, looks at connections of who is no client: {foreign}, {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    outcome
}

impl Counts {
    /// Returns how many roams there were: a session uses another access point, or an offer has come to its end.
    fn add(&mut self, stage: &Stage) -> u64 {
        let count = |text| stage.pulse.count(text);
        let moved = count("\"event\":\"ActiveConfigurationChanged\"");
        let decided = count("\"line\":\"decided\"");
        self.rounds += 1;
        self.moved += moved;
        self.decided += decided;
        self.cuts += count("Cut(");
        self.kills += count("Kill(");
        self.daemon_kills += count("KillDaemon");
        self.foreign += count(STILL_THERE);
        (moved + decided) as u64
    }
}
