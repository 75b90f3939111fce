use std::time::Duration;

use netbearer_holder::Answer;

use crate::{
    choice::Choice,
    kills::plan::{Aim, PLACES, Place, Seat, Slot},
};

/// The holder that keeps links up, and is never killed.
pub(crate) const KEEPER: Slot = 0;
/// The other holders there may be at a time.
const SLOTS: usize = 5;

/// What a seed makes happen in a round. What comes of it also depends on when who is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// So many of the lab's access points are used. All are members of the service network.
    pub(crate) places: usize,
    /// The last one is up already, by `ip`.
    pub(crate) adopted: bool,
    pub(crate) settle: Duration,
    pub(crate) roam_linger: Duration,
    /// The first order of the members, the most preferred first.
    pub(crate) order: Vec<Place>,
    /// Those that somebody keeps up all the time.
    pub(crate) kept: Vec<Place>,
    pub(crate) steps: Vec<Step>,
}

/// A session that a holder is to have, and what is answered to its offers. Without answers nobody decides for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) seat: Seat,
    pub(crate) answers: Vec<Answer>,
    /// How long it tries what it migrates to.
    pub(crate) trial: Duration,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A holder is started with these sessions, as root or as another user, and opens them.
    Start {
        slot: Slot,
        as_root: bool,
        parts: Vec<Part>,
    },
    Kill(Slot),
    Close(Slot, usize),
    /// Whatever is not open any more is opened.
    OpenAll,
    /// Each session gets a connection.
    ConnectAll,

    KillDaemon,
    /// It is asked to end, as by an upgrade.
    EndDaemon,
    StartDaemon,

    Cut(Place),
    Restore(Place),
    /// The members of the service network are put in this order.
    Order(Vec<Place>),

    /// Nothing, for so long.
    Pause(Duration),
    /// Whatever is told next, or this long.
    NextBeat(Duration),
    /// Until all that was asked for is answered.
    Answers,
    /// Until all is settled; then it is judged.
    Quiet,
}

/// What the generator knows of the world.
struct Writer {
    choice: Choice,
    places: usize,
    adopted: bool,
    order: Vec<Place>,
    slots: [bool; SLOTS],
    daemon: bool,
    cut: Vec<Place>,
    steps: Vec<Step>,
}

impl Plan {
    pub(crate) fn random(seed: u64) -> Self {
        let mut choice = Choice::seeded(seed);
        let places = choice.of([2, PLACES, PLACES]);
        let adopted = choice.once_in(3);
        let settle = Duration::from_millis(choice.of([30, 60, 120]));
        let roam_linger = Duration::from_millis(choice.of([0, 50, 150]));
        let slots = [false; SLOTS];
        let order = shuffled(&mut choice, (0..places).collect());
        let kept: Vec<Place> = (0..places).filter(|_| choice.once_in(3)).collect();
        let mut writer = Writer {
            choice,
            places,
            adopted,
            order: order.clone(),
            slots,
            daemon: true,
            cut: Vec::new(),
            steps: Vec::new(),
        };
        writer.start_keeper(&kept);
        let holders = 3 + writer.pick(SLOTS - 2);
        for slot in 0..holders {
            writer.start(slot);
        }
        writer.steps.extend([Step::ConnectAll, Step::Quiet]);
        for _ in 0..4 + writer.pick(4) {
            writer.stretch();
        }
        Self { places, adopted, settle, roam_linger, order, kept, steps: writer.steps }
    }
}

impl Writer {
    fn pick(&mut self, limit: usize) -> usize {
        usize::try_from(self.choice.below(limit as u64)).unwrap_or_default()
    }

    fn start_keeper(&mut self, kept: &[Place]) {
        let seat = |place: &Place| Seat { aim: Aim::Place(*place), reconnects: false };
        let parts =
            kept.iter().map(|place| Part { seat: seat(place), answers: Vec::new(), trial: Duration::ZERO }).collect();
        self.steps.push(Step::Start { slot: KEEPER, as_root: true, parts });
    }

    fn start(&mut self, slot: usize) {
        let count = 2 + self.pick(3);
        let parts = (0..count).map(|_| self.part()).collect();
        if let Some(there) = self.slots.get_mut(slot) {
            *there = true;
        }
        let as_root = self.choice.once_in(2);
        self.steps.push(Step::Start { slot: KEEPER + 1 + slot, as_root, parts });
    }

    fn part(&mut self) -> Part {
        let aim = if self.choice.once_in(6) { Aim::Place(self.pick(self.places)) } else { Aim::Network };
        let decides = aim == Aim::Network && self.choice.once_in(2);
        let answers = match (decides, self.choice.below(3)) {
            (false, _) => Vec::new(),
            (true, 0) => vec![Answer::Accept],
            (true, _) => {
                let count = 1 + self.pick(4);
                let mut answer = || self.choice.of([Answer::Accept, Answer::Accept, Answer::Reject, Answer::Ignore]);
                (0..count).map(|_| answer()).collect()
            }
        };
        let trial = Duration::from_millis(self.choice.of([0, 0, 20, 150]));
        Part { seat: Seat { aim, reconnects: false }, answers, trial }
    }

    /// From one moment when all is settled to the next.
    fn stretch(&mut self) {
        self.steps.push(Step::OpenAll);
        if self.choice.once_in(2) {
            self.steps.extend([Step::Answers, Step::ConnectAll]);
        }
        // One link lasts, as far as it is up to cables, so that nobody needs to lose more than the link in use.
        let lasting = if self.choice.once_in(8) { None } else { self.lasting() };
        for _ in 0..2 + self.pick(4) {
            self.step(lasting);
            self.breathe();
        }
        if !self.daemon {
            self.daemon = true;
            self.steps.push(Step::StartDaemon);
        }
        if !self.cut.is_empty() && !self.choice.once_in(3) {
            self.restore();
        }
        self.steps.push(Step::Quiet);
    }

    fn lasting(&mut self) -> Option<Place> {
        let whole: Vec<Place> = (0..self.places).filter(|place| !self.cut.contains(place)).collect();
        let chosen = self.pick(whole.len().max(1));
        whole.get(chosen).copied()
    }

    fn step(&mut self, lasting: Option<Place>) {
        match self.choice.below(14) {
            0..6 => self.put_in_order(),
            6..9 if self.cut.is_empty() => {
                let place = self.pick(self.places);
                let is_adopted = self.adopted && place + 1 == self.places;
                if lasting != Some(place) && !is_adopted {
                    self.cut.push(place);
                    self.steps.push(Step::Cut(place));
                } else {
                    self.put_in_order();
                }
            }
            6..9 => self.restore(),
            9 | 10 if self.daemon => {
                let slot = self.pick(SLOTS);
                if self.slots.get(slot).copied().unwrap_or_default() {
                    self.steps.push(Step::Kill(KEEPER + 1 + slot));
                }
                self.breathe();
                self.start(slot);
            }
            11 | 12 if self.daemon => {
                let (slot, session) = (KEEPER + 1 + self.pick(SLOTS), self.pick(4));
                self.steps.push(Step::Close(slot, session));
            }
            9..14 if self.daemon => {
                self.daemon = false;
                let is_asked = self.choice.once_in(3);
                self.steps.push(if is_asked { Step::EndDaemon } else { Step::KillDaemon });
            }
            _ => {
                self.daemon = true;
                self.steps.push(Step::StartDaemon);
            }
        }
    }

    fn put_in_order(&mut self) {
        let old = self.order.clone();
        self.order = shuffled(&mut self.choice, old.clone());
        if self.order == old {
            self.order.rotate_left(1);
        }
        self.steps.push(Step::Order(self.order.clone()));
    }

    fn restore(&mut self) {
        self.steps.extend(self.cut.drain(..).map(Step::Restore));
    }

    fn breathe(&mut self) {
        let pause = |choice: &mut Choice, all: [u64; 4]| Duration::from_millis(choice.of(all));
        match self.choice.below(5) {
            0 | 1 => {
                let pause = pause(&mut self.choice, [1, 10, 60, 200]);
                self.steps.push(Step::Pause(pause));
            }
            2 => {
                let within = pause(&mut self.choice, [30, 30, 100, 200]);
                self.steps.push(Step::NextBeat(within));
            }
            3 if self.daemon => self.steps.push(Step::Answers),
            _ => {}
        }
    }
}

fn shuffled(choice: &mut Choice, mut places: Vec<Place>) -> Vec<Place> {
    for last in (1..places.len()).rev() {
        let other = usize::try_from(choice.below(last as u64 + 1)).unwrap_or_default();
        places.swap(last, other);
    }
    places
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_makes_the_same_round_again_and_another_one_another() {
        assert_eq!(Plan::random(7), Plan::random(7));
        assert_ne!(Plan::random(7), Plan::random(8));
    }

    #[test]
    fn a_hundred_rounds_hold_every_kind_of_step_and_answer() {
        let plans: Vec<Plan> = (0..100).map(Plan::random).collect();
        let steps = || plans.iter().flat_map(|plan| &plan.steps);
        let kind = |step: &Step| format!("{step:?}").split(['(', ' ']).next().unwrap_or_default().to_owned();
        let kinds: BTreeSet<String> = steps().map(kind).collect();
        assert_eq!(kinds.len(), 15, "{kinds:?}");
        let answers = steps().filter_map(|step| match step {
            Step::Start { parts, .. } => Some(parts.iter().flat_map(|part| part.answers.clone())),
            _ => None,
        });
        assert_eq!(answers.flatten().collect::<BTreeSet<_>>().len(), 3);
    }

    #[test]
    fn whoever_keeps_links_up_is_never_killed() {
        let mut steps = (0..100).flat_map(|seed| Plan::random(seed).steps);
        assert!(steps.all(|step| step != Step::Kill(KEEPER)));
    }
}
