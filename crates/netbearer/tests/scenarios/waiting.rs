use std::time::{Duration, Instant};

use netbearer::{Profile, Step, blocking::Steps};
use netbearer_lab::{AccessPointPlan, Dhcp, Fault, Script};

use crate::stage::{AP0, DEADLINE, Stage, Watched};

/// Scenario 15: true at once if open, false at once if not opening.
#[test]
fn wait_for_opened_answers_at_once_when_there_is_nothing_to_wait_for() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let session = Watched::new(&manager);
    assert_eq!(session.session.wait_for_opened(None), Ok(false));
    let session = Watched::opened(&manager);
    assert_eq!(session.session.wait_for_opened(None), Ok(true));
    session.close();
    assert_eq!(session.session.wait_for_opened(None), Ok(false));
}

/// Scenario 15: without a timeout it waits as long as it takes, and returns after Opened was delivered.
#[test]
fn wait_for_opened_waits_as_long_as_it_takes() {
    let stage = scripted(Fault::Delay(Duration::from_millis(300)));
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    session.open();
    assert_eq!(session.session.wait_for_opened(None), Ok(true));
    assert!(session.session.is_open());
    session.expect(&["Connecting", "Connected", "Opened"]);
}

/// Scenario 15: also for a session that joins a link which another one is bringing up, or which is being taken down; and
/// an accepted open is no place for the failure before.
#[test]
fn wait_for_opened_waits_for_a_link_that_others_are_bringing_up() {
    let stage = scripted(Fault::Delay(Duration::from_millis(300)));
    let connect_timeout = Duration::from_millis(100);
    let manager = stage.manager_with(Profile { connect_timeout, ..Profile::default() });
    let (first, joining) = (Watched::new(&manager), Watched::new(&manager));
    for session in [&first, &joining] {
        session.open();
        assert_eq!(session.session.error(), None);
        assert!(session.session.snapshot().is_opening);
    }
    for session in [&first, &joining] {
        assert_eq!(session.session.wait_for_opened(None), Ok(false));
        assert!(session.session.error().is_some());
    }
    stage.ap0().dhcp_server().unwrap().heal();
    for session in [&first, &joining] {
        session.open();
        assert_eq!(session.session.error(), None);
    }
    assert_eq!(joining.session.wait_for_opened(None), Ok(true));
    first.close();
    joining.close();
    first.open();
    assert_eq!(first.session.wait_for_opened(None), Ok(true));
}

/// Scenario 15: it honours its timeout, and that is no error.
#[test]
fn wait_for_opened_honours_its_timeout() {
    let stage = scripted(Fault::Silent);
    let manager = stage.manager();
    let session = Watched::new(&manager);
    session.open();
    let (started, timeout) = (Instant::now(), Duration::from_millis(200));
    assert_eq!(session.session.wait_for_opened(Some(timeout)), Ok(false));
    assert!(started.elapsed() >= timeout);
    assert_eq!(session.session.error(), None);
}

/// Scenario 15: it returns early on failure.
#[test]
fn wait_for_opened_returns_as_soon_as_opening_fails() {
    let stage = scripted(Fault::Silent);
    let connect_timeout = Duration::from_millis(300);
    let manager = stage.manager_with(Profile { connect_timeout, ..Profile::default() });
    let session = Watched::new(&manager);
    session.open();
    let started = Instant::now();
    assert_eq!(session.session.wait_for_opened(Some(DEADLINE)), Ok(false));
    assert!(started.elapsed() < DEADLINE);
    assert!(session.session.error().is_some());
}

#[test]
fn what_an_opening_waits_for_is_told_as_it_changes() {
    let stage = scripted(Fault::Silent);
    stage.ap0().cut().unwrap();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    let mut steps = manager.steps();
    assert!(steps.now().is_empty());
    session.open();
    wait_for_step(&mut steps, &session, Some(Step::AwaitingCarrier));
    stage.ap0().restore().unwrap();
    wait_for_step(&mut steps, &session, Some(Step::AcquiringLease));
    stage.ap0().dhcp_server().unwrap().heal();
    assert_eq!(session.session.wait_for_opened(None), Ok(true));
    wait_for_step(&mut steps, &session, None);
    session.close();
    session.expect_last("Disconnected");
    wait_for_step(&mut steps, &session, None);
    manager.shutdown();
    assert!(steps.now().is_empty(), "{:?}", steps.now());
}

fn wait_for_step(steps: &mut Steps, session: &Watched, wanted: Option<Step>) {
    let identifier = session.session.configuration().identifier;
    while steps.of(&identifier) != wanted {
        assert_eq!(steps.changed_within(DEADLINE), Ok(true), "{wanted:?}, not {:?}", steps.now());
    }
}

fn scripted(fault: Fault) -> Stage {
    let stage = Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Scripted(Script::default()))]);
    stage.ap0().dhcp_server().unwrap().fail(fault);
    stage
}
