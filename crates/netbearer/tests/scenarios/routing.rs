use netbearer::Profile;
use netbearer_lab::{AccessPointPlan, Conversation, Dhcp};

use crate::stage::{AP0, DEADLINE, Stage, Watched, plain_connection};

/// Scenario 53, without its trial.
#[test]
fn an_ordinary_program_has_a_default_route_while_a_session_is_open() {
    let stage = Stage::with_dnsmasq();
    assert!(plain_connection().is_err(), "there is no route before");
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let conversation = Conversation::over(plain_connection().unwrap(), DEADLINE).unwrap();
    assert_eq!(conversation.access_point(), AP0);
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
    assert!(plain_connection().is_err(), "there is no route after");
}

/// The profile's `default_route = false`: the session has its way, other programs do not.
#[test]
fn without_a_default_route_only_the_sessions_own_sockets_leave() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager_with(Profile { default_route: false, ..Profile::default() });
    let session = Watched::opened(&manager);
    session.assert_up();
    assert!(plain_connection().is_err());
}

/// A session's sockets use its access point, wherever the default route leads.
#[test]
fn each_session_uses_its_own_access_point() {
    let other = AccessPointPlan::new("ap1").dhcp(Dhcp::Dnsmasq);
    let stage = Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Dnsmasq), other]);
    let manager = stage.manager();
    let first = Watched::opened(&manager);
    let configuration = manager.find(Some("ap1")).unwrap();
    let second = manager.session(&configuration).unwrap();
    second.open().unwrap();
    assert_eq!(second.wait_for_opened(Some(DEADLINE)), Ok(true));
    for _ in 0..3 {
        first.connect();
        let stream = second.connect_tcp(crate::stage::server()).unwrap();
        assert_eq!(Conversation::over(stream, DEADLINE).unwrap().access_point(), "ap1");
    }
}
