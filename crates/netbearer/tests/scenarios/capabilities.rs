//! What can be done with a configuration, and that what cannot be done is refused.

use std::net::Ipv4Addr;

use netbearer::{
    CallError, Capabilities, Configuration, Failure, FailureReason, ServiceNetworkProfile, SessionError,
    SessionSnapshot, SessionState, UserChoiceProfile,
};
use netbearer_lab::{INTERNET, Snapshot, Tunnel};

use crate::{
    only_embedded,
    stage::{AP0, Manager, Stage, Watched, wait_until_told},
    transport::Transport,
    tunnel::{answered_by, socket},
};

const TUNNEL: &str = "tun0";

fn of_the_manager(manager: &Manager) -> Capabilities {
    manager.wait_for(async |manager| manager.capabilities().await).unwrap()
}

fn find(manager: &Manager, name: &str) -> Configuration {
    manager.find(Some(name)).unwrap()
}

fn refused(result: Result<(), CallError>) -> Failure {
    match result {
        Err(CallError::NotSupported(failure)) => failure,
        other => panic!("it should be refused: {other:?}"),
    }
}

/// Scenario 41: a card of our own, and a tunnel that only its own program can start and stop.
#[test]
fn what_a_configuration_cannot_do_is_refused_and_changes_nothing() {
    let stage = Stage::with_dnsmasq();
    let _tunnel = Tunnel::open(stage.lab.machine(), TUNNEL).unwrap();
    stage.ip(&format!("address add 10.99.0.2/24 dev {TUNNEL}"));
    stage.ip(&format!("route add {INTERNET} dev {TUNNEL}"));
    // Else the kernel makes addresses at a time of its own.
    stage.lab.machine().set_sysctl("net/ipv6/conf/tun0/disable_ipv6", "1").unwrap();
    let as_found = Snapshot::take(stage.lab.machine()).unwrap();
    let network = |member: &str| ServiceNetworkProfile { members: vec![member.to_owned()], ..Default::default() };
    let choice = UserChoiceProfile { name: None, choices: vec![TUNNEL.to_owned()] };
    let manager = stage.start(|setup| {
        let setup = setup.service_network("card", network(AP0)).service_network("tunnel", network(TUNNEL));
        setup.user_choice("anything", choice)
    });
    let mut everywhere = Capabilities::DirectConnectionRouting | Capabilities::DataStatistics;
    // The holds of all programs are counted.
    everywhere.set(Capabilities::SystemSessionSupport, Transport::chosen() != Transport::Embedded);
    let startable = everywhere | Capabilities::CanStartAndStopInterfaces;
    assert_eq!(find(&manager, AP0).capabilities, startable);
    let roaming = Capabilities::ApplicationLevelRoaming | Capabilities::ForcedRoaming;
    assert_eq!(find(&manager, "service-card").capabilities, startable | roaming, "it may get another member");
    assert_eq!(of_the_manager(&manager), startable | roaming | Capabilities::NetworkSessionRequired);

    // Nobody but its program can start and stop the tunnel, nor what is made of it.
    for (identifier, can_roam) in
        [(find(&manager, TUNNEL).identifier, false), ("service-tunnel".into(), true), ("choice-anything".into(), true)]
    {
        let configuration = manager.wait_for(async |manager| manager.configuration(&identifier).await).unwrap();
        let expected = if can_roam { everywhere | roaming } else { everywhere };
        assert_eq!(configuration.capabilities, expected, "{identifier}");
        let session = Watched::of(&manager, manager.session(&configuration).unwrap());
        assert_refused(&stage, session, &as_found);
    }
}

/// Stopping the tunnel, by a session that is open on it.
fn assert_refused(stage: &Stage, mut session: Watched, as_found: &Snapshot) {
    // Holds on a link that is up count all the same.
    session.open();
    session.expect(&["Opened"]);
    let before = session.session.snapshot();
    let failure = refused(session.session.stop());
    assert_eq!(failure.error, SessionError::OperationNotSupported);
    assert!(matches!(failure.reason, FailureReason::ManagedElsewhere(_)), "{failure:?}");
    session.expect(&["Error(OperationNotSupported)"]);
    session.expect_silence();
    let after = SessionSnapshot { failure: None, ..session.session.snapshot() };
    assert_eq!(after, before);
    let now = Snapshot::take(stage.lab.machine()).unwrap();
    assert!(now == *as_found, "{}", as_found.difference(&now));
    // What it can do is done.
    let socket = socket(Ipv4Addr::UNSPECIFIED.into());
    session.session.bind(&socket).unwrap();
    assert_eq!(answered_by(&socket), TUNNEL);
    assert!(session.session.bytes_written().unwrap() > 0 && session.session.bytes_received().unwrap() > 0);
    session.close();
    session.expect(&["Closed"]);
    session.expect_silence();
}

/// Scenario 41: without SystemSessionSupport other programs' holds are not counted, and without ForcedRoaming a lost link ends
/// the session.
#[test]
fn what_is_not_supported_on_any_configuration_does_not_happen() {
    if only_embedded("a daemon counts the holds of all programs") {
        return;
    }
    let stage = Stage::with_dnsmasq();
    let (manager, another_program) = (stage.manager(), stage.manager());
    let absent =
        Capabilities::SystemSessionSupport | Capabilities::ApplicationLevelRoaming | Capabilities::ForcedRoaming;
    assert!(!of_the_manager(&manager).intersects(absent), "{:?}", of_the_manager(&manager));
    let mut session = Watched::opened(&manager);
    let refused = refused(session.session.roaming().map(drop));
    assert_eq!(refused.reason, FailureReason::CannotRoam);
    session.expect_silence();
    let mut elsewhere = Watched::new(&another_program);
    while elsewhere.session.state() != SessionState::Connected {
        elsewhere.next();
    }
    elsewhere.open();
    elsewhere.expect_last("Opened");
    session.close();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    elsewhere.expect_last("Error(SessionAborted)");
    stage.assert_as_before();
}

/// Scenario 41: a session is required as long as there is no other way.
#[test]
fn a_session_is_required_while_nobody_else_has_a_default_route() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let is_required = || of_the_manager(&manager).contains(Capabilities::NetworkSessionRequired);
    assert!(is_required());
    let mut session = Watched::opened(&manager);
    assert!(is_required(), "the way is the session's");
    session.close();
    session.expect_last("Disconnected");
    stage.configure_by_hand();
    session.expect_last("Connected");
    wait_until_told(&manager, "another way", || !is_required());
}
