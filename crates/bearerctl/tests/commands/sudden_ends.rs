//! A tour that is ended at any moment, in any way, leaves nothing.

use std::time::{Duration, Instant};

use netbearer_lab::Signal;
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, waitid};

use crate::{
    lab::{Host, family, wait_for_the_end_of},
    stage::Running,
    terminal::child_of,
};

/// Of the moments, one in each part of the tour. Another one finds other moments; this one finds the same again.
const SEED: u64 = 0x6e65_7462_6561_7265;
const MOMENTS: u32 = 4;
const TOUR: [&str; 4] = ["lab", "tour", "--pause", "15ms"];

/// SplitMix64 (Steele, Lea, Flood 2014): a fraction of one.
fn next_fraction(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let bits = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap();
    f64::from(bits) / 2_f64.powi(32)
}

/// Who is signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Program,
    /// The sandbox's first process, by its number outside.
    Inside,
}

/// Starts a tour, and ends it at that moment; false if it came to its end.
fn end_at(host: &Host, moment: Duration, target: Target, signal: Signal) -> bool {
    let mut tour = host.start(&TOUR);
    if tour.ends_within(moment) {
        assert_eq!(tour.end().code, 0);
        return false;
    }
    let Some(family) = stopped_family(&tour) else {
        assert_eq!(tour.end().code, 0);
        return false;
    };
    let inside = (target == Target::Inside && family.len() > 1).then(|| child_of(tour.id()));
    match inside {
        Some(inside) => kill_process(inside, signal).unwrap(),
        None => tour.signal(signal),
    }
    tour.signal(Signal::CONT);
    wait_for_the_end_of(&family);
    let ended = tour.end();
    assert!([128 + signal.as_raw(), 0].contains(&ended.code), "{ended:?}");
    // It may have come to its last words just then; one that is not ended with the program comes to them always.
    !ended.output.join("").contains("That was it")
}

/// All processes of a tour that starts no more of them, until it goes on; none if it is over.
fn stopped_family(tour: &Running) -> Option<Vec<std::os::fd::OwnedFd>> {
    tour.signal(Signal::STOP);
    let process = Pid::from_raw(tour.id().cast_signed()).unwrap();
    let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(process), options).unwrap().unwrap();
    status.stopped().then(|| family(tour.id()))
}

#[test]
fn a_tour_leaves_nothing_whenever_and_however_it_is_ended() {
    let host = Host::new();
    let began = Instant::now();
    assert_eq!(host.run(&TOUR).code, 0);
    let length = began.elapsed();
    let mut state = SEED;
    host.leaves_nothing(|| {
        let before = host.census();
        for (target, signal) in [
            (Target::Program, Signal::KILL),
            (Target::Program, Signal::TERM),
            (Target::Program, Signal::INT),
            (Target::Program, Signal::HUP),
            (Target::Inside, Signal::KILL),
        ] {
            let mut halfway = 0;
            for part in 0..MOMENTS {
                let fraction = (f64::from(part) + next_fraction(&mut state)) / f64::from(MOMENTS + 1);
                let moment = length.mul_f64(fraction);
                halfway += u32::from(end_at(&host, moment, target, signal));
                assert_eq!(host.census(), before, "{target:?}, {signal:?} after {moment:?} of {length:?}");
            }
            assert!(halfway >= MOMENTS / 2, "{signal:?}: {halfway} of {MOMENTS} tours were ended halfway");
        }
    });
}
