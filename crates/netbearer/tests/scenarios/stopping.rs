use netbearer::SessionError;

use crate::{
    choice::{Choice, rounds},
    stage::{Stage, Watched},
};

/// Scenario 8, in one process.
#[test]
fn stop_aborts_every_session_on_the_link() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut caller = Watched::opened(&manager);
    let mut others = [Watched::opened(&manager), Watched::opened(&manager)];
    let mut watcher = Watched::new(&manager);
    caller.session.stop().unwrap();
    // Closed has been told when stop() returns.
    assert!(!caller.session.is_open());
    caller.expect(&["Closed", "Closing", "Disconnected"]);
    for other in &mut others {
        other.expect(&["Closing", "Error(SessionAborted)", "Closed", "Disconnected"]);
        assert!(!other.session.is_open());
        assert_eq!(other.session.error().unwrap().error, SessionError::SessionAborted);
        other.expect_silence();
    }
    watcher.expect(&["Closing", "Disconnected"]);
    watcher.expect_silence();
    caller.expect_silence();
    stage.assert_as_before();
}

/// Scenario 8, through a session that never was open.
#[test]
fn stop_through_a_session_that_never_was_open_works_the_same() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut holder = Watched::opened(&manager);
    let mut caller = Watched::new(&manager);
    caller.session.stop().unwrap();
    caller.expect(&["Closing", "Disconnected"]);
    holder.expect(&["Closing", "Error(SessionAborted)", "Closed", "Disconnected"]);
    caller.expect_silence();
    stage.assert_as_before();
}

/// Scenario 8, on an inactive access point.
#[test]
fn stop_on_an_inactive_access_point_does_nothing() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    session.session.stop().unwrap();
    session.expect_silence();
    stage.assert_as_before();
}

/// Scenario 48, in one process: three sessions open, and close or stop while Connecting, in whatever order. The seed is
/// printed with a failure; NETBEARER_ROUNDS says how many seeds there are.
#[test]
fn stop_and_close_while_connecting_never_let_a_late_opened_through() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    for seed in 0..rounds() {
        let mut choice = Choice::new(seed);
        let mut sessions = [(); 3].map(|()| Watched::new(&manager));
        for session in &sessions {
            session.open();
        }
        let mut told: [Vec<String>; 3] = Default::default();
        let mut left = vec![0, 1, 2];
        while !left.is_empty() {
            let who = left.swap_remove(choice.below(left.len()));
            if choice.below(2) == 0 {
                // Lets the bring-up come as far as it may meanwhile.
                told[who].push(sessions[who].next());
            }
            match choice.below(3) {
                0 => sessions[who].session.stop().unwrap(),
                _ => sessions[who].close(),
            }
        }
        for (session, told) in sessions.iter_mut().zip(&mut told) {
            while told.last().is_none_or(|event| event != "Disconnected") {
                told.push(session.next());
            }
            session.expect_silence();
            assert!(!session.session.is_open(), "seed {seed}");
            assert_row_of_the_table(told, seed);
        }
    }
    stage.assert_as_before();
}

/// What a session may be told that opened and was closed or stopped, by itself or by another (semantics §3).
pub(crate) fn assert_row_of_the_table(told: &[String], seed: u64) {
    let opening = ["Connecting", "Connected", "Opened"];
    let rest = told.iter().zip(opening).take_while(|(event, step)| event == step).count();
    let ends: [&[&str]; 3] = [
        &["Closed", "Closing", "Disconnected"],
        &["Closing", "Error(SessionAborted)", "Closed", "Disconnected"],
        // Closed first; somebody else held on, and came to Connected before the end.
        &["Closed", "Connected", "Closing", "Disconnected"],
    ];
    assert!(ends.iter().any(|end| told[rest..] == **end), "seed {seed}: {told:?}");
}

/// Scenario 48: a handler opens again from inside Error, Closed and Closing.
#[test]
fn a_handler_may_open_again_from_inside_error_closed_and_closing() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let stopper = Watched::new(&manager);
    for (from, follows) in [
        ("Closing", &["Error(SessionAborted)", "Closed", "Connecting", "Connected", "Opened"][..]),
        ("Error(SessionAborted)", &["Closed", "Connecting", "Connected", "Opened"][..]),
        ("Closed", &["Connecting", "Connected", "Opened"][..]),
    ] {
        let mut session = Watched::opened(&manager);
        stopper.session.stop().unwrap();
        session.expect_last(from);
        session.open();
        // The teardown may have ended before the handler ran; then Disconnected was told on the way.
        let mut told = Vec::new();
        while told.last().is_none_or(|event| event != "Opened") {
            told.push(session.next());
        }
        told.retain(|event| event != "Disconnected");
        assert_eq!(told, follows, "from {from}");
        session.assert_up();
        session.close();
        session.expect(&["Closed", "Closing", "Disconnected"]);
    }
    stage.assert_as_before();
}
