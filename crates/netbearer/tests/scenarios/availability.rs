use std::time::Duration;

use netbearer::{FailureReason, Identifier, Profile, SessionError, SessionState};

use crate::stage::{AP0, DEADLINE, Manager, Stage, Watched};

/// Scenario 12.
#[test]
fn an_absent_access_point_is_not_available_until_it_appears() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    stage.ap0().unplug().unwrap();
    session.expect(&["NotAvailable"]);
    session.open();
    session.expect(&["Error(InvalidConfiguration)"]);
    assert_eq!(session.session.state(), SessionState::NotAvailable);
    assert_eq!(session.session.wait_for_opened(Some(DEADLINE)), Ok(false));
    // Another index, the same access point.
    stage.ap0().plug_with_index(777).unwrap();
    session.expect(&["Disconnected"]);
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    assert_eq!(session.session.interface().unwrap().index, 777);
    session.assert_up();
}

/// A link that has no carrier when it is tried: so says the error, and it is not available until an event says otherwise.
#[test]
fn a_link_without_carrier_fails_in_time_and_may_be_tried_again_after_an_update() {
    let stage = Stage::with_dnsmasq();
    stage.ap0().cut().unwrap();
    let timeout = Duration::from_millis(300);
    let manager = stage.manager_with(Profile { carrier_timeout: timeout, ..Profile::default() });
    let mut session = Watched::new(&manager);
    assert_eq!(session.session.state(), SessionState::Disconnected, "a link that is down may be tried");
    session.open();
    session.expect(&["Connecting", "NotAvailable", "Error(Unknown)"]);
    assert_eq!(session.session.error().unwrap().reason, FailureReason::NoCarrier);
    session.open();
    session.expect(&["Error(InvalidConfiguration)"]);
    stage.ap0().restore().unwrap();
    manager.wait_for(async |manager| manager.update_configurations().await).unwrap();
    session.expect(&["Disconnected"]);
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
}

/// Nobody waits for the cable of a link that somebody else has set down meanwhile.
#[test]
fn a_link_that_is_set_down_while_its_carrier_is_awaited_fails_at_once_and_says_so() {
    let stage = Stage::with_dnsmasq();
    stage.ap0().cut().unwrap();
    let (carrier_timeout, connect_timeout) = (2 * DEADLINE, 2 * DEADLINE);
    let manager = stage.manager_with(Profile { carrier_timeout, connect_timeout, ..Profile::default() });
    let mut session = Watched::new(&manager);
    session.open();
    session.expect(&["Connecting"]);
    let is_up = || Ok(stage.lab.machine().ip_lines(&["link", "show", AP0, "up"])?.first().map(|_| ()));
    stage.lab.machine().wait_until("ap0 to be up", DEADLINE, is_up).unwrap();
    stage.ip("link set ap0 down");
    session.expect(&["Disconnected", "Error(Unknown)"]);
    let failure = session.session.error().unwrap();
    assert!(failure.message.contains("set down by another program"), "{failure}");
    stage.ap0().restore().unwrap();
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

/// Scenario 14.
#[test]
fn an_invalid_configuration_gives_one_error_and_is_otherwise_harmless() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let session = session_on(&manager, "native-nowhere");
    let mut events = session.events();
    assert_eq!(session.state(), SessionState::Invalid);
    assert_eq!(session.error().unwrap().error, SessionError::InvalidConfiguration);
    assert!(!session.configuration().is_valid());
    session.open().unwrap();
    let event = events.next_within(DEADLINE).unwrap();
    assert!(
        matches!(&event, netbearer::SessionEvent::Error(failure) if failure.error == SessionError::InvalidConfiguration),
        "{event:?}"
    );
    assert_eq!(session.wait_for_opened(Some(Duration::from_secs(1))), Ok(false));
    session.close().unwrap();
    session.stop().unwrap();
    assert!(session.bind(&std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).is_err());
    assert_eq!(session.interface(), None);
    assert_eq!(events.try_next(), None);
    stage.assert_as_before();
}

/// An interface that becomes a port of a bridge is no access point any more.
#[test]
fn an_enslaved_interface_is_removed_under_its_sessions() {
    let stage = Stage::with_dnsmasq();
    stage.ip("link add bridge0 type bridge");
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    stage.ip(&format!("link set {AP0} master bridge0"));
    session.expect(&["Invalid", "Error(InvalidConfiguration)", "Closed"]);
    assert!(!session.session.configuration().is_valid());
    assert_eq!(session.session.configuration().name, AP0);
}

/// An access point that nobody has a session on is forgotten when it is unplugged.
#[test]
fn unplugged_access_points_come_and_go_by_event() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut events = manager.events();
    let identifier = manager.find(Some(AP0)).unwrap().identifier;
    stage.ap0().unplug().unwrap();
    let removed = events.next_within(DEADLINE).unwrap();
    assert_eq!(removed, netbearer::ManagerEvent::ConfigurationRemoved { identifier: identifier.clone() });
    assert!(manager.find(Some(AP0)).is_err());
    stage.ap0().plug().unwrap();
    let added = events.next_within(DEADLINE).unwrap();
    let netbearer::ManagerEvent::ConfigurationAdded { configuration } = added else { panic!("{added:?}") };
    assert_eq!(configuration.identifier, identifier, "identifiers are stable");
}

fn session_on(manager: &Manager, identifier: &str) -> netbearer::blocking::Session {
    let identifier = Identifier::new(identifier);
    let configuration = manager.wait_for(async |manager| manager.configuration(&identifier).await).unwrap();
    manager.session(&configuration).unwrap()
}
