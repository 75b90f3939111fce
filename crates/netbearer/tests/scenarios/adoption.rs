use netbearer::{Lifetime, Profile, SessionState};

use crate::stage::{AP0, Stage, Watched};

/// Scenario 5.
#[test]
fn a_link_that_somebody_else_brought_up_stays_up_after_the_last_close() {
    let mut stage = Stage::with_dnsmasq();
    stage.configure_by_hand();
    stage.remember();
    let manager = stage.manager();
    drop(Watched::new(&manager));
    stage.assert_as_before();
    let mut session = Watched::new(&manager);
    assert_eq!(session.session.state(), SessionState::Connected);
    assert!(!session.session.is_open());
    assert_eq!(session.session.interface().unwrap().name, AP0);
    session.open();
    session.expect(&["Opened"]);
    session.assert_up();
    stage.assert_as_before();
    session.close();
    session.expect(&["Closed"]);
    session.expect_silence();
    assert_eq!(session.session.state(), SessionState::Connected);
    stage.assert_as_before();
}

/// Scenario 5, the profile's `lifetime`.
#[test]
fn an_adopted_link_goes_down_with_its_last_hold_if_the_profile_says_so() {
    let stage = Stage::with_dnsmasq();
    stage.configure_by_hand();
    let manager = stage.manager_with(Profile { lifetime: Lifetime::OnDemand, ..Profile::default() });
    let mut session = Watched::new(&manager);
    session.open();
    session.expect(&["Opened"]);
    session.close();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    assert!(!stage.lab.machine().is_administratively_up(AP0).unwrap());
}

/// Scenario 54, in one process.
#[test]
fn a_link_that_came_up_by_itself_after_the_start_is_adopted_too() {
    let mut stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    stage.configure_by_hand();
    stage.remember();
    session.expect_last("Connected");
    for _ in 0..3 {
        session.open();
        session.expect_last("Opened");
        session.close();
        session.expect(&["Closed"]);
    }
    session.expect_silence();
    drop(session);
    drop(manager);
    stage.assert_as_before();
}

/// What stop() took down is ours when it is opened again.
#[test]
fn an_adopted_link_that_was_stopped_is_ours_after_the_next_open() {
    let stage = Stage::with_dnsmasq();
    stage.configure_by_hand();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    session.session.stop().unwrap();
    session.expect(&["Closing", "Disconnected"]);
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    session.assert_up();
    session.close();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    assert!(!stage.lab.machine().is_administratively_up(AP0).unwrap());
}
