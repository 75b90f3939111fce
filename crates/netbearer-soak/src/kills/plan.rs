use std::time::Duration;

use super::{NETWORK, name_of};
use crate::choice::Choice;

/// Number of an access point of the lab.
pub(crate) type Place = usize;
/// Where a holder may be: one after another.
pub(crate) type Slot = usize;

/// The most access points there are in a round.
pub(crate) const PLACES: usize = 3;
/// The most holders there are at a time.
const SLOTS: usize = 5;
/// The most sessions that one of them has.
const SESSIONS: usize = 3;

/// The members of the service network, the most preferred first.
pub(crate) const MEMBERS: [Place; 2] = [0, 1];

/// What a seed makes happen in a round. What comes of it also depends on when who is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// So many of the lab's access points are used.
    pub(crate) places: usize,
    /// The last one is up already, by `ip`.
    pub(crate) adopted: bool,
    /// There are sessions on the service network, too.
    network: bool,
    /// Of all access points.
    pub(crate) linger: Duration,
    pub(crate) steps: Vec<Step>,
}

/// What a session is made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    Place(Place),
    /// The service network of [`MEMBERS`].
    Network,
}

impl Aim {
    /// An access point that both may be about.
    pub(crate) fn may_meet(self, other: Self) -> bool {
        match (self, other) {
            (Self::Place(one), Self::Place(other)) => one == other,
            (Self::Place(place), Self::Network) | (Self::Network, Self::Place(place)) => MEMBERS.contains(&place),
            (Self::Network, Self::Network) => true,
        }
    }

    /// What it is called.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Place(place) => name_of(place),
            Self::Network => NETWORK.to_owned(),
        }
    }
}

/// A session that a holder is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) aim: Aim,
    /// It survives the loss of its link.
    pub(crate) reconnects: bool,
}

/// One thing that happens. Sessions and descriptors are numbered as the holder numbers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A holder is started with these sessions, as root or as another user.
    Start {
        slot: Slot,
        as_root: bool,
        seats: Vec<Seat>,
    },
    Open(Slot, usize),
    Close(Slot, usize),
    Stop(Slot, usize),
    Drop(Slot, usize),
    /// Another descriptor is asked for.
    Hold(Slot, usize),
    Release(Slot, usize),
    /// A descriptor is passed on to a process that has nothing else, and ends with nobody.
    PassOn(Slot, usize),
    /// The one that got what was passed on as the so manieth is killed.
    KillHeir(usize),
    Kill(Slot),
    /// It is asked to end.
    End(Slot),
    Suspend(Slot),
    Resume(Slot),

    KillDaemon,
    /// It is asked to end, as by an upgrade.
    EndDaemon,
    StartDaemon,

    Cut(Place),
    Restore(Place),
    /// Cut and restored at once.
    Flap(Place),

    /// Nothing, for so long.
    Pause(Duration),
    /// Whatever is told next, or this long.
    NextBeat(Duration),
    /// Until all that was asked for is answered.
    Answers,
    /// Until all is settled; then it is judged.
    Quiet,
}

/// What the generator knows of the world, so that most steps make sense.
struct Writer {
    choice: Choice,
    places: usize,
    network: bool,
    slots: [Option<Holder>; SLOTS],
    daemon: bool,
    cut: [bool; PLACES],
    passed_on: usize,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    as_root: bool,
    sessions: usize,
    /// Those that are on the service network.
    on_network: [bool; SESSIONS],
    /// The session that was opened last, if it was not closed since.
    open: Option<usize>,
    /// So many were asked for.
    descriptors: usize,
    /// The one that was asked for last, if the session was open then.
    held: Option<usize>,
    suspended: bool,
}

impl Plan {
    pub(crate) fn random(seed: u64) -> Self {
        let mut choice = Choice::seeded(seed);
        let places = choice.of([2, PLACES]);
        let (adopted, network) = (choice.once_in(2), choice.once_in(3));
        let linger = choice.of([Duration::ZERO, Duration::ZERO, Duration::from_millis(60)]);
        let (slots, cut) = ([None; SLOTS], [false; PLACES]);
        let mut writer = Writer { choice, places, network, slots, daemon: true, cut, passed_on: 0, steps: Vec::new() };
        let holders = writer.pick(SLOTS - 1) + 2;
        for slot in 0..holders.min(SLOTS) {
            writer.start(slot);
        }
        if !writer.choice.once_in(4) {
            writer.steps.push(Step::Answers);
        }
        for _ in 0..2 {
            for _ in 0..6 + writer.pick(10) {
                writer.step();
                writer.breathe();
            }
            writer.settle();
        }
        writer.end();
        Self { places, adopted, network, linger, steps: writer.steps }
    }
}

impl Writer {
    fn pick(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).unwrap_or(1);
        usize::try_from(self.choice.below(limit)).unwrap_or_default()
    }

    fn milliseconds(&mut self, limit: u64) -> Duration {
        Duration::from_micros(self.choice.below(limit * 1_000))
    }

    /// Something in between, or nothing.
    fn breathe(&mut self) {
        match self.choice.below(4) {
            0 => {
                let pause = self.milliseconds(5);
                self.steps.push(Step::Pause(pause));
            }
            1 => self.steps.push(Step::NextBeat(Duration::from_millis(20))),
            _ => {}
        }
    }

    fn start(&mut self, slot: Slot) {
        let as_root = !self.choice.once_in(3);
        let seats: Vec<Seat> = (0..=self.pick(SESSIONS - 1))
            .map(|_| {
                let is_on_network = self.network && self.choice.once_in(3);
                let aim = if is_on_network { Aim::Network } else { Aim::Place(self.pick(self.places)) };
                Seat { aim, reconnects: self.choice.once_in(5) }
            })
            .collect();
        let sessions = seats.len();
        let mut on_network = [false; SESSIONS];
        seats.iter().zip(&mut on_network).for_each(|(seat, on_network)| *on_network = seat.aim == Aim::Network);
        let (open, held) = (None, None);
        self.slots[slot] = Some(Holder { as_root, sessions, on_network, open, descriptors: 0, held, suspended: false });
        self.steps.push(Step::Start { slot, as_root, seats });
    }

    fn step(&mut self) {
        if !self.daemon && !self.choice.once_in(3) {
            return self.start_daemon();
        }
        match self.choice.below(27) {
            0..2 => self.strike_daemon(),
            2 => self.cable(),
            3 if self.passed_on > 0 => {
                let heir = self.pick(self.passed_on);
                self.steps.push(Step::KillHeir(heir));
            }
            _ => self.holder(),
        }
    }

    fn start_daemon(&mut self) {
        match self.choice.below(4) {
            0 | 1 => {}
            2 => {
                let pause = self.milliseconds(5);
                self.steps.push(Step::Pause(pause));
            }
            _ => {
                let pause = self.milliseconds(200);
                self.steps.push(Step::Pause(pause));
            }
        }
        self.daemon = true;
        self.steps.push(Step::StartDaemon);
        if self.choice.once_in(6) {
            // Again, while it takes up what it has found.
            let pause = self.milliseconds(60);
            self.steps.extend([Step::Pause(pause), Step::KillDaemon]);
            self.daemon = false;
        }
    }

    fn strike_daemon(&mut self) {
        if !self.daemon {
            return self.start_daemon();
        }
        self.daemon = false;
        self.steps.push(if self.choice.once_in(6) { Step::EndDaemon } else { Step::KillDaemon });
        if self.choice.once_in(2) {
            self.start_daemon();
        }
    }

    fn cable(&mut self) {
        let place = self.pick(self.places);
        if self.cut[place] {
            self.cut[place] = false;
            self.steps.push(Step::Restore(place));
        } else if self.choice.once_in(3) {
            self.steps.push(Step::Flap(place));
        } else {
            self.cut[place] = true;
            self.steps.push(Step::Cut(place));
        }
    }

    fn holder(&mut self) {
        let slot = self.pick(SLOTS);
        let Some(holder) = self.slots[slot] else {
            // Most of those that are gone do not come back.
            let are_some_left = self.slots.iter().flatten().count() > 1;
            return if are_some_left && !self.choice.once_in(3) { self.holder() } else { self.start(slot) };
        };
        if holder.suspended && self.choice.once_in(2) {
            self.slots[slot] = Some(Holder { suspended: false, ..holder });
            return self.steps.push(Step::Resume(slot));
        }
        let mut now = holder;
        let any = self.pick(holder.sessions);
        let open = holder.open.filter(|_| !self.choice.once_in(4)).unwrap_or(any);
        let step = match self.choice.below(24) {
            8..10 => Step::Close(slot, open),
            10 | 11 if holder.as_root || self.choice.once_in(2) => Step::Stop(slot, open),
            12 if self.choice.once_in(3) => Step::Drop(slot, open),
            // Which member a descriptor holds could not be said if nobody is there to ask.
            12..16 if holder.open.is_some_and(|open| !holder.on_network[open]) && !holder.on_network[open] => {
                now.held = Some(holder.descriptors);
                now.descriptors += 1;
                Step::Hold(slot, open)
            }
            16..19 if let Some(held) = holder.held => {
                self.passed_on += 1;
                Step::PassOn(slot, held)
            }
            19 if holder.descriptors > 0 => Step::Release(slot, self.pick(holder.descriptors)),
            20 | 21 => {
                self.slots[slot] = None;
                let is_killed = holder.suspended || !self.choice.once_in(4);
                return self.steps.push(if is_killed { Step::Kill(slot) } else { Step::End(slot) });
            }
            22 if !holder.suspended => {
                now.suspended = true;
                Step::Suspend(slot)
            }
            _ => Step::Open(slot, any),
        };
        match step {
            Step::Open(_, session) => now.open = Some(session),
            Step::Close(_, session) | Step::Stop(_, session) | Step::Drop(_, session)
                if holder.open == Some(session) =>
            {
                now.open = None;
            }
            _ => {}
        }
        self.slots[slot] = Some(now);
        self.steps.push(step);
        // What is asked for is asked for to be passed on.
        if let (Some(held), true) = (now.held.filter(|_| now.held != holder.held), self.choice.once_in(2)) {
            self.breathe();
            self.passed_on += 1;
            self.steps.push(Step::PassOn(slot, held));
        }
    }

    /// Nothing is in the way any more, and then it is judged.
    fn settle(&mut self) {
        for slot in 0..SLOTS {
            if let Some(holder) = self.slots[slot].as_mut().filter(|holder| holder.suspended) {
                holder.suspended = false;
                self.steps.push(Step::Resume(slot));
            }
        }
        for place in 0..PLACES {
            if std::mem::take(&mut self.cut[place]) {
                self.steps.push(Step::Restore(place));
            }
        }
        if !self.daemon {
            self.daemon = true;
            self.steps.push(Step::StartDaemon);
        }
        self.steps.push(Step::Quiet);
    }

    /// Everybody ends, in some order, and the daemon may be killed on the way.
    fn end(&mut self) {
        let mut left: Vec<Slot> = (0..SLOTS).filter(|slot| self.slots[*slot].is_some()).collect();
        let mut heirs: Vec<usize> = (0..self.passed_on).collect();
        while !left.is_empty() || !heirs.is_empty() {
            if self.choice.once_in(8) {
                self.strike_daemon();
            }
            let number = self.pick(left.len() + heirs.len());
            let step = if number < left.len() {
                let slot = left.swap_remove(number);
                if self.choice.once_in(2) { Step::Kill(slot) } else { Step::End(slot) }
            } else {
                Step::KillHeir(heirs.swap_remove(number - left.len()))
            };
            self.steps.push(step);
            self.breathe();
        }
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_makes_the_same_plan_again_and_another_one_another() {
        let [one, same, other] = [7, 7, 8].map(Plan::random);
        assert_eq!(one, same);
        assert_ne!(one, other);
    }

    #[test]
    fn a_hundred_plans_hold_every_kind_of_step() {
        let all = (0..100).flat_map(|seed| Plan::random(seed).steps);
        let kinds: BTreeSet<String> =
            all.map(|step| format!("{step:?}").split([' ', '(']).next().unwrap_or_default().to_owned()).collect();
        assert_eq!(kinds.len(), 23, "{kinds:?}");
    }
}
