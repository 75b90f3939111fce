//! Random rounds of roaming sessions of several processes, some of which decide, while members of the service network are put
//! in another order, their cables are cut, and clients and the daemon are killed. Somebody who is no client has a connection by
//! each link that is kept up. Whenever all has settled, the processes' own words, the kernel's (`ip`, `/proc`), the servers' and
//! the daemon's must agree, and in the end nothing is left.

mod foreigner;
mod plan;
mod round;

use std::time::Instant;

use netbearer_holder::{Answer, Line};

use self::{foreigner::STILL_THERE, plan::Plan, round::Round};
use crate::{
    error::SoakError,
    kills::stage::Stage,
    rounds::{Rounds, follow},
};

/// After so many roams all that rounds are made of must have happened.
const MANY: usize = 1_000;

/// What is written down of a session's own connection by the link that it still uses, and by one that it has left.
const LIVES_ON: &str = "its connection lives, by";
const HAS_ENDED: &str = "its connection has ended, by";

/// How often something happened in all rounds.
#[derive(Debug, Default)]
struct Counts {
    rounds: u64,
    moved: usize,
    accepted: usize,
    rejected: usize,
    failed: usize,
    /// Offers that were ignored, and answers that came to nothing: no roams.
    others: usize,
    cuts: usize,
    kills: usize,
    daemon_kills: usize,
    foreign: usize,
    living: usize,
    ended: usize,
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
    let Counts { rounds, moved, accepted, rejected, failed, others, cuts, kills, daemon_kills, foreign, living, ended } =
        counts;
    println!(
        "rounds: {rounds}, moved without being asked: {moved}, migrations accepted: {accepted}, rejected: {rejected}, failed: {failed}, other ends of offers: {others}, cables cut: {cuts}, holders killed: {kills}, daemons killed: {daemon_kills}, looks at connections of who is no client: {foreign}, at those of sessions that have stayed: {living}, and that have left: {ended}, {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    outcome.and_then(|()| counts.check())
}

impl Counts {
    /// Returns how many roams there were: a session uses another access point without being asked, or a migration has come to
    /// its end.
    fn add(&mut self, stage: &Stage) -> u64 {
        let before = self.roams();
        let count = |text| stage.pulse.count(text);
        self.rounds += 1;
        self.moved += count("\"event\":\"ActiveConfigurationChanged\"");
        for said in stage.pulse.since(0) {
            let line = said.find('{').and_then(|begin| serde_json::from_str(&said[begin..]).ok());
            if let Some(Line::Decided { answer, refusal, .. }) = line {
                *self.end(answer, refusal.as_ref().map(|(kind, _)| kind.as_str())) += 1;
            }
        }
        self.cuts += count("Cut(");
        self.kills += count("Kill(");
        self.daemon_kills += count("KillDaemon");
        self.foreign += count(STILL_THERE);
        self.living += count(LIVES_ON);
        self.ended += count(HAS_ENDED);
        (self.roams() - before) as u64
    }

    /// Where an end of an offer is counted.
    fn end(&mut self, answer: Answer, refusal: Option<&str>) -> &mut usize {
        match (answer, refusal) {
            (Answer::Accept, None) => &mut self.accepted,
            (Answer::Reject, None) => &mut self.rejected,
            (Answer::Accept | Answer::Reject, Some("Failed")) => &mut self.failed,
            (Answer::Ignore | Answer::Wait, _) | (_, Some(_)) => &mut self.others,
        }
    }

    const fn roams(&self) -> usize {
        self.moved + self.accepted + self.rejected + self.failed
    }

    /// Rounds in which something never happens have shown nothing of it.
    fn check(&self) -> Result<(), SoakError> {
        if self.roams() < MANY {
            return Ok(());
        }
        let wanted = [
            ("a session has moved without being asked", self.moved),
            ("a migration was accepted", self.accepted),
            ("a migration was rejected", self.rejected),
            ("a cable was cut", self.cuts),
            ("a holder was killed", self.kills),
            ("a daemon was killed", self.daemon_kills),
            ("a connection was looked at of who is no client", self.foreign),
            ("a session's own connection was looked at, by a link that it uses", self.living),
            ("a session's own connection was looked at, by a link that it has left", self.ended),
        ];
        match wanted.iter().find(|(_, times)| *times == 0) {
            None => Ok(()),
            Some((what, _)) => {
                Err(SoakError::Wrong(format!("in {} roams it never happened that {what}", self.roams())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ignored_or_refused_is_no_roam() {
        let mut counts = Counts::default();
        for (answer, refusal) in [
            (Answer::Ignore, None),
            (Answer::Accept, Some("Over")),
            (Answer::Reject, Some("Call")),
            (Answer::Accept, Some("SessionEnded")),
        ] {
            *counts.end(answer, refusal) += 1;
            assert_eq!(counts.roams(), 0, "{answer:?}, {refusal:?}");
        }
        for (answer, refusal) in [(Answer::Accept, None), (Answer::Reject, None), (Answer::Accept, Some("Failed"))] {
            *counts.end(answer, refusal) += 1;
        }
        assert_eq!((counts.roams(), counts.others), (3, 4));
    }

    #[test]
    fn a_long_run_must_have_seen_all_it_is_made_of() {
        let counts = || Counts {
            moved: MANY,
            accepted: 1,
            rejected: 1,
            cuts: 1,
            kills: 1,
            foreign: 1,
            living: 1,
            ended: 1,
            ..Counts::default()
        };
        assert!(Counts { daemon_kills: 1, ..counts() }.check().is_ok());
        let wrong = counts().check().map_err(|error| error.to_string());
        assert!(wrong.is_err_and(|error| error.contains("a daemon was killed")));
        assert!(Counts { moved: 1, ..counts() }.check().is_ok());
    }
}
