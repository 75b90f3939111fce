//! The profile's `carrier_watch`, for machines whose link events are used up by other network namespaces.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use netbearer::Profile;
use netbearer_lab::{AccessPointPlan, Lab};

use crate::stage::{AP0, Stage, Watched};

/// After that long without a link event of its own a service asks for no carrier any more, unless it watches.
const QUIET: Duration = Duration::from_millis(1_100);
/// How often a link changes elsewhere, so that the kernel's one event a second is used up.
const ELSEWHERE: Duration = Duration::from_millis(200);
const ROUNDS: usize = 5;

/// Changes a link of another machine until told to stop.
fn flap_elsewhere(stopped: &mpsc::Receiver<()>) {
    let lab = Lab::builder().access_point(AccessPointPlan::new(AP0).card_like()).build().unwrap();
    let access_point = lab.access_point(AP0).unwrap();
    access_point.set_administratively_up(true).unwrap();
    while stopped.recv_timeout(ELSEWHERE) == Err(RecvTimeoutError::Timeout) {
        access_point.cut().unwrap();
        access_point.restore().unwrap();
    }
}

/// How long it takes until a session is told that the carrier is lost, on a machine that was quiet before; sorted.
fn losses(carrier_watch: bool) -> Vec<Duration> {
    let stage = Stage::new([AccessPointPlan::new(AP0).card_like()]);
    stage.configure_by_hand();
    let manager = stage.manager_with(Profile { carrier_watch, ..Profile::default() });
    let mut session = Watched::opened(&manager);
    let mut losses = Vec::new();
    for _ in 0..ROUNDS {
        session.expect_silence_for(QUIET);
        let start = Instant::now();
        stage.ap0().cut().unwrap();
        session.expect(&["NotAvailable"]);
        losses.push(start.elapsed());
        stage.ap0().restore().unwrap();
        session.expect_last("Connected");
        session.open();
        session.expect_last("Opened");
    }
    losses.sort_unstable();
    losses
}

/// The median without a watch is half a second, or more.
#[test]
fn a_watched_carrier_is_seen_to_go_although_events_elsewhere_hold_the_kernels_word_back() {
    let (stop, stopped) = mpsc::channel();
    let elsewhere = thread::spawn(move || flap_elsewhere(&stopped));
    let (watched, unwatched) = (losses(true), losses(false));
    drop(stop);
    elsewhere.join().unwrap();
    assert!(watched[ROUNDS / 2] < Duration::from_millis(100), "{watched:?}");
    assert!(unwatched[ROUNDS / 2] > 2 * watched[ROUNDS / 2], "nothing was held back: {unwatched:?}, {watched:?}");
}
