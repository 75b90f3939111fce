use netbearer::SessionError;

use crate::stage::{Stage, Watched};

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

/// Scenario 48, in one process: stop() and close() by three sessions while Connecting.
#[test]
fn stop_and_close_while_connecting_never_let_a_late_opened_through() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    for round in 0..20 {
        let [mut first, mut second, mut third] = [(); 3].map(|()| Watched::new(&manager));
        for session in [&first, &second, &third] {
            session.open();
        }
        first.expect(&["Connecting"]);
        second.close();
        third.session.stop().unwrap();
        second.expect(&["Connecting", "Closed", "Closing", "Disconnected"]);
        third.expect(&["Connecting", "Closed", "Closing", "Disconnected"]);
        first.expect(&["Closing", "Error(SessionAborted)", "Closed", "Disconnected"]);
        for session in [&mut first, &mut second, &mut third] {
            session.expect_silence();
            assert!(!session.session.is_open(), "round {round}");
        }
    }
    stage.assert_as_before();
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
