use netbearer::{SessionError, SessionState};

use crate::stage::{AP0, Stage, Watched};

/// Scenario 10.
#[test]
fn a_lost_link_ends_the_session_with_state_error_and_closed() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let mut watcher = Watched::new(&manager);
    stage.ap0().cut().unwrap();
    session.expect(&["Disconnected", "Error(SessionAborted)", "Closed"]);
    watcher.expect(&["Disconnected"]);
    assert!(!session.session.is_open());
    let failure = session.session.error().unwrap();
    assert_eq!(failure.error, SessionError::SessionAborted);
    assert!(failure.message.contains("no carrier"), "{failure}");
    // Everything of ours is gone when the next open would be served.
    manager.shutdown();
    session.expect_silence();
    watcher.expect_silence();
    stage.ap0().restore().unwrap();
    stage.assert_as_before();
}

/// Scenario 10, with `Reconnect`.
#[test]
fn with_reconnect_a_lost_link_is_opened_again_when_the_network_returns() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::reconnecting(&manager);
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    for _ in 0..3 {
        stage.ap0().cut().unwrap();
        session.expect(&["NotAvailable"]);
        assert!(!session.session.is_open());
        assert_eq!(session.active_configuration(), "");
        stage.ap0().restore().unwrap();
        session.expect(&["Connecting", "Connected", "Opened"]);
        session.assert_up();
    }
    session.close();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    stage.assert_as_before();
}

/// Scenario 11.
#[test]
fn an_error_handler_may_open_again_at_once() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    stage.ap0().cut().unwrap();
    session.expect(&["Disconnected", "Error(SessionAborted)"]);
    stage.ap0().restore().unwrap();
    session.open();
    session.expect(&["Closed", "Connecting", "Connected", "Opened"]);
    session.assert_up();
    assert_eq!(session.session.error(), None);
}

/// An adopted link that loses its carrier is lost like any other, and adopted again when it returns.
#[test]
fn an_adopted_link_that_is_lost_ends_its_sessions_and_is_adopted_again() {
    let mut stage = Stage::with_dnsmasq();
    stage.configure_by_hand();
    stage.remember();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    stage.ap0().cut().unwrap();
    session.expect(&["NotAvailable", "Error(SessionAborted)", "Closed"]);
    stage.ap0().restore().unwrap();
    session.expect_last("Connected");
    session.open();
    session.expect_last("Opened");
    drop(session);
    drop(manager);
    stage.assert_as_before();
}

/// Somebody takes the address away under an open session.
#[test]
fn a_link_that_loses_its_address_is_lost() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    stage.ip(&format!("address flush dev {AP0} scope global"));
    session.expect(&["Disconnected", "Error(SessionAborted)", "Closed"]);
    assert_eq!(session.session.state(), SessionState::Disconnected);
    manager.shutdown();
    stage.assert_as_before();
}
