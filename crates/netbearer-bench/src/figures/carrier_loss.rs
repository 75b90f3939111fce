use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use netbearer_lab::{AccessPointPlan, Lab};

use super::{WARM_UP, repeat};
use crate::{
    cut::cut_under,
    error::BenchError,
    figure::{Figure, FigureName, Flaps, Target},
    floor::FloorMachine,
    known_floors,
    our_machine::{ACCESS_POINT, OurMachine, Watched},
    random::Gaps,
    samples::Samples,
};

/// How long the carrier is away in a quick flap.
const QUICK: Duration = Duration::from_millis(2);
/// The longest of the random gaps between flaps.
const LONGEST_GAP: Duration = Duration::from_millis(300);
/// A loss that is not told by then counts as missed, and as having taken so long. The kernel takes one second.
const MISSED: Duration = Duration::from_secs(3);

/// After that long without a link event nobody asks for carriers any more, so that only the kernel's word counts.
const QUIET: Duration = Duration::from_millis(1_100);
/// How often the other namespace's link changes.
const ELSEWHERE: Duration = Duration::from_millis(200);
/// Rounds with events elsewhere take seconds each, so several machines take turns at the same time.
const MACHINES: u32 = 4;

/// On an ordinary virtual cable, whose losses the kernel tells at once.
pub(super) fn on_an_ordinary_cable(rounds: u32) -> Result<[Figure; 2], BenchError> {
    let plan = || AccessPointPlan::new(ACCESS_POINT);
    let ours = OurMachine::adopting(plan())?;
    let mut floor = FloorMachine::new(plan())?;
    floor.set_up(true)?;
    let mut flapping = Flapping::new(&ours)?;
    let [mut losses, mut heard, mut handed_over] = [const { Samples::new() }; 3];
    repeat(rounds, |counts| {
        let loss = flapping.flap(Hold::UntilTold)?;
        let floor_loss = floor.lose_carrier()?;
        if counts {
            losses.push(loss);
            heard.push(floor_loss.heard);
            handed_over.push(floor_loss.handed_over);
        }
        Ok(())
    })?;
    let told = Figure {
        name: FigureName::CarrierLoss,
        ours: losses.clone().into(),
        floor: Some(handed_over),
        known_floor: Some(known_floors::CARRIER_LOSS),
        target: Some(Target::MedianTimesFloor(2.0)),
        flaps: Some(flapping.flaps()),
    };
    let beside_a_lone_listener = Figure {
        name: FigureName::CarrierLossBesideALoneListener,
        ours: losses.into(),
        floor: Some(heard),
        known_floor: None,
        target: None,
        flaps: None,
    };
    Ok([told, beside_a_lone_listener])
}

/// On a cable that the kernel treats as a card: right after one another and with gaps, until told and for a moment only.
pub(super) fn on_a_card(rounds: u32) -> Result<Figure, BenchError> {
    let ours = OurMachine::adopting(AccessPointPlan::new(ACCESS_POINT).card_like())?;
    let mut flapping = Flapping::new(&ours)?;
    let mut gaps = Gaps::seeded(0x6e65_7462);
    let mut losses = Samples::new();
    for round in 0..WARM_UP + rounds {
        if round % 4 >= 2 {
            thread::sleep(gaps.up_to(LONGEST_GAP));
        }
        let loss = flapping.flap(if round % 2 == 0 { Hold::UntilTold } else { Hold::For(QUICK) })?;
        if round >= WARM_UP {
            losses.push(loss);
        }
    }
    Ok(Figure {
        name: FigureName::CardLikeCarrierLoss,
        ours: losses.into(),
        floor: None,
        known_floor: None,
        target: Some(Target::P99AndNoneMissed(Duration::from_millis(30))),
        flaps: Some(flapping.flaps()),
    })
}

/// The same on machines that were quiet for a while, as the events that hold up theirs are none they hear of.
pub(super) fn on_a_card_with_events_elsewhere(rounds: u32) -> Result<Figure, BenchError> {
    let (stop, stopped) = mpsc::channel();
    let parts = thread::scope(|scope| {
        let elsewhere = scope.spawn(move || flap_elsewhere(&stopped));
        let machines: Vec<_> = (0..MACHINES)
            .map(|machine| {
                let share = rounds / MACHINES + u32::from(machine < rounds % MACHINES);
                scope.spawn(move || on_a_quiet_card(share, machine))
            })
            .collect();
        let parts: Result<Vec<_>, BenchError> = machines.into_iter().map(join).collect();
        drop(stop);
        join(elsewhere)?;
        parts
    })?;
    let mut losses = Samples::new();
    let mut flaps = Flaps::default();
    for (samples, part) in parts {
        losses.append(samples);
        flaps.made += part.made;
        flaps.told += part.told;
    }
    Ok(Figure {
        name: FigureName::CardLikeCarrierLossWithEventsElsewhere,
        ours: losses.into(),
        floor: None,
        known_floor: None,
        target: None,
        flaps: Some(flaps),
    })
}

fn on_a_quiet_card(rounds: u32, seed: u32) -> Result<(Samples, Flaps), BenchError> {
    let ours = OurMachine::adopting(AccessPointPlan::new(ACCESS_POINT).card_like())?;
    let mut flapping = Flapping::new(&ours)?;
    let mut gaps = Gaps::seeded(u64::from(seed + 1) << 20);
    let mut losses = Samples::new();
    for _ in 0..rounds {
        thread::sleep(QUIET + gaps.up_to(LONGEST_GAP));
        losses.push(flapping.flap(Hold::UntilTold)?);
    }
    Ok((losses, flapping.flaps()))
}

/// Changes a link of another namespace until told to stop.
fn flap_elsewhere(stopped: &mpsc::Receiver<()>) -> Result<(), BenchError> {
    let lab = Lab::builder().access_point(AccessPointPlan::new(ACCESS_POINT).card_like()).build()?;
    let access_point = lab.access_point(ACCESS_POINT)?;
    access_point.set_administratively_up(true)?;
    while stopped.recv_timeout(ELSEWHERE) == Err(RecvTimeoutError::Timeout) {
        access_point.cut()?;
        access_point.restore()?;
    }
    Ok(())
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// How long the carrier is away.
enum Hold {
    UntilTold,
    For(Duration),
}

/// An open session on a link whose carrier comes and goes.
struct Flapping<'a> {
    machine: &'a OurMachine,
    session: Watched,
    made: u32,
}

impl<'a> Flapping<'a> {
    fn new(machine: &'a OurMachine) -> Result<Self, BenchError> {
        let mut session = machine.session()?;
        session.open()?;
        Ok(Self { machine, session, made: 0 })
    }

    /// One loss of carrier; the link is up and the session open again afterwards. How long it took until the session's
    /// reader had heard of it.
    fn flap(&mut self, hold: Hold) -> Result<Duration, BenchError> {
        let access_point = self.machine.access_point()?;
        self.session.drain();
        self.made += 1;
        let for_a_moment = match hold {
            Hold::UntilTold => None,
            Hold::For(moment) => Some(moment),
        };
        let session = &mut self.session;
        let (start, told) = cut_under(access_point, for_a_moment, || session.wait_for_loss(MISSED))?;
        if matches!(hold, Hold::UntilTold) {
            access_point.restore()?;
        }
        self.session.open_again()?;
        Ok(told.map_or(MISSED, |told| told - start))
    }

    fn flaps(mut self) -> Flaps {
        self.session.drain();
        Flaps { made: self.made, told: self.session.losses() }
    }
}
