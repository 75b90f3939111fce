//! A network is known again by its gateway, without its server (RFC 4436).

use std::time::{Duration, Instant};

use netbearer_lab::{Capture, ClientState, Direction, Exchange, Fault, MessageType, Subnet};

use crate::{
    address_conflicts::wait_for_announcements,
    leases::{server, short_leases},
    stage::{AP0, DEADLINE, Manager, Stage, Watched},
};

const HOUR: Duration = Duration::from_secs(3_600);
/// How long a slow server takes for each answer.
const SLOW: Duration = Duration::from_secs(2);

/// A stage on which the network of ap0 is remembered, and a session on it that was open.
fn known() -> (Stage, Manager, Watched) {
    let stage = short_leases(HOUR);
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    let capture = Capture::start(stage.ap0().namespace(), "port0", "arp").unwrap();
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    // Said later than the gateway has answered.
    wait_for_announcements(&capture, stage.ap0().subnet().host(100), 1);
    drop(capture);
    session.close();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    (stage, manager, session)
}

#[test]
fn a_known_network_is_open_before_its_slow_server_has_answered() {
    let (stage, manager, mut session) = known();
    server(&stage).fail(Fault::Delay(SLOW));
    let before = server(&stage).exchanges().mark();
    let start = Instant::now();
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    let took = start.elapsed();
    println!("opened after {took:?}, with a server that takes {SLOW:?} for each answer");
    assert!(took < SLOW / 2, "{took:?}");
    let mut conversation = session.assert_up();
    // The server agrees in the end, and nobody is told.
    let is_ack = |exchange: &Exchange| exchange.kind == MessageType::Ack && exchange.direction == Direction::Sent;
    server(&stage).exchanges().wait_for_since(before, "an ACK", DEADLINE, is_ack).unwrap();
    session.expect_silence();
    crate::stage::assert_alive(&mut conversation);

    // A process that is started later knows it, too.
    session.close();
    session.expect_last("Disconnected");
    manager.shutdown();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    let start = Instant::now();
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    assert!(start.elapsed() < SLOW / 2, "{:?}", start.elapsed());
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

/// The gateway has the same address there, but is another one.
#[test]
fn another_network_with_the_same_gateway_address_waits_for_its_server() {
    let (stage, _manager, mut session) = known();
    let other = ["link", "set", "port0", "address", "02:00:5e:10:00:01"];
    stage.ap0().namespace().command("ip").args(other).output().unwrap();
    server(&stage).fail(Fault::Delay(SLOW));
    let before = server(&stage).exchanges().mark();
    session.open();
    session.expect(&["Connecting"]);
    let is_offer = |exchange: &Exchange| exchange.kind == MessageType::Offer;
    server(&stage).exchanges().wait_for_since(before, "an OFFER", DEADLINE, is_offer).unwrap();
    session.expect_silence();
    assert_eq!(stage.address_of(AP0), None);
    session.expect(&["Connected", "Opened"]);
    session.assert_up();
}

/// The gateway is where it was, but its server wants the address back.
#[test]
fn the_server_has_the_last_word_about_a_known_network() {
    let (stage, _manager, mut session) = known();
    let subnet: Subnet = "10.77.0.0/24".parse().unwrap();
    stage.ap0().move_to(subnet).unwrap();
    server(&stage).fail(Fault::Delay(SLOW / 5));
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    assert_eq!(stage.address_of(AP0), Some("10.10.0.100/24".to_owned()));
    let event = session.next();
    assert!(event.starts_with("InterfaceChanged") && event.contains("10.77.0.100"), "{event}");
    assert_eq!(stage.address_of(AP0), Some("10.77.0.100/24".to_owned()));
    session.assert_up();
    session.expect_silence();
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

/// No server ever answers: the remembered lease ends when it ends.
#[test]
fn a_known_network_without_a_server_is_lost_when_the_remembered_lease_ends() {
    const LEASE_TIME: Duration = Duration::from_secs(8);
    let stage = short_leases(LEASE_TIME);
    let manager = stage.manager();
    let capture = Capture::start(stage.ap0().namespace(), "port0", "arp").unwrap();
    let mut session = Watched::opened(&manager);
    wait_for_announcements(&capture, stage.ap0().subnet().host(100), 1);
    session.close();
    session.expect_last("Disconnected");
    server(&stage).fail(Fault::Silent);
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    session.assert_up();
    session.expect_loss("expired");
    manager.shutdown();
    stage.assert_as_before();
}

/// A lease that was refused is not used again because its gateway still answers.
#[test]
fn a_lease_that_its_server_took_back_is_forgotten() {
    let stage = short_leases(Duration::from_secs(4));
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    server(&stage).fail_next(1, Fault::NakWhile(ClientState::Renewing));
    server(&stage).fail(Fault::Silent);
    session.expect(&["Disconnected", "Error(SessionAborted)", "Closed"]);
    let before = server(&stage).exchanges().mark();
    session.open();
    session.expect(&["Connecting"]);
    let asks = |exchange: &Exchange| exchange.direction == Direction::Received;
    let asked = server(&stage).exchanges().wait_for_since(before, "a question", DEADLINE, asks).unwrap();
    assert_eq!(asked.kind, MessageType::Discover, "{asked}");
    server(&stage).heal();
    session.expect(&["Connected", "Opened"]);
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}
