//! Scenario 16: each fault of a DHCP server, what sessions are told of it, and until when.
//!
//! | fault | events | test |
//! |---|---|---|
//! | no server | Error(Unknown) at `connect_timeout` | [`without_a_dhcp_server_the_open_fails_at_its_timeout_and_says_so`] |
//! | offers nobody can take | the same, named | [`offers_that_cannot_be_accepted_are_named_by_the_failure`] |
//! | late offer | Opened, late | [`a_late_offer_opens_late`] |
//! | NAK while requesting, rebooting | Opened, with another lease | [`a_nak_before_there_is_a_lease_only_costs_a_round_trip`] |
//! | NAK while renewing, rebinding; leased again in time | nothing | [`a_lease_that_is_refused_and_granted_again_in_time_keeps_the_session`] |
//! | the same, with a program connecting meanwhile | ECONNABORTED | [`who_began_to_connect_between_two_leases_is_told_at_once`] |
//! | the same with another subnet | InterfaceChanged | [`a_network_that_moves_to_another_subnet_is_told_as_a_change`] |
//! | the same, not leased again in time | link lost after 2 s | [`a_lease_that_is_refused_and_not_granted_again_is_a_lost_link`] |
//! | address in use | DECLINE, InterfaceChanged | `address_conflicts.rs` |
//! | subnet changed on renewal | InterfaceChanged | [`a_subnet_that_changes_with_a_renewal_is_told_as_a_change`] |
//! | server gone before T1, before T2 | nothing until the end of the lease, then link lost | [`a_server_that_is_gone_is_a_lost_link_when_the_lease_has_ended`] |
//! | link flap in each phase | Opened, or the failure; never a wrong Connected | [`a_flap_in_any_phase_of_the_lease_ends_up_open_or_failed`] |

use std::{
    io::{ErrorKind, Read},
    net::TcpStream,
    time::{Duration, Instant},
};

use netbearer::{Profile, SessionError};
use netbearer_lab::{
    AccessPointPlan, Card, ClientState, Dhcp, Direction, Exchange, Fault, Mark, MessageType, Script, Subnet,
    dhcproto::v4::{DhcpOption, Message},
    uninterrupted,
};
use socket2::{Domain, Socket, Type};

use crate::{
    leases::{server, wait_for_renewal},
    stage::{self, AP0, DEADLINE, Stage, Watched, assert_aborted, assert_alive},
};

/// How long a link may be without a lease before its sessions lose it.
const REGAINED_WITHIN: Duration = Duration::from_secs(2);
/// What a busy machine may need for anything.
const TOLERANCE: Duration = Duration::from_millis(1_500);

#[test]
fn without_a_dhcp_server_the_open_fails_at_its_timeout_and_says_so() {
    let stage = Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::None)]);
    let profile = quick_to_give_up();
    let timeout = profile.connect_timeout;
    let manager = stage.manager_with(profile);
    let mut session = Watched::new(&manager);
    let start = Instant::now();
    session.open();
    session.expect(&["Connecting", "Disconnected", "Error(Unknown)"]);
    assert_lasted(start, timeout);
    session.expect_silence();
    let failure = session.session.error().unwrap();
    assert_eq!(failure.error, SessionError::Unknown);
    assert!(failure.message.contains(AP0) && failure.message.contains("DHCP"), "{failure}");
    manager.shutdown();
    stage.assert_as_before();
}

/// Offers that nobody could use are no lease, and the failure says whose they were and what is wrong with them.
#[test]
fn offers_that_cannot_be_accepted_are_named_by_the_failure() {
    let stage = scripted(Script::default());
    server(&stage).alter_answers(|answer: &mut Message| {
        answer.opts_mut().insert(DhcpOption::AddressLeaseTime(0));
    });
    let manager = stage.manager_with(quick_to_give_up());
    let mut session = Watched::new(&manager);
    session.open();
    session.expect(&["Connecting", "Disconnected", "Error(Unknown)"]);
    let failure = session.session.error().unwrap();
    let told = ["offers came, but none was acceptable", "grants no time", &stage.router().to_string()];
    assert!(told.iter().all(|part| failure.message.contains(part)), "{failure}");
}

#[test]
fn a_late_offer_opens_late() {
    const LATE: Duration = Duration::from_secs(2);
    let stage = scripted(Script::default());
    // As late as the first one are those that answer the repetitions.
    server(&stage).fail(Fault::Delay(LATE));
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    let start = Instant::now();
    session.open();
    session.expect(&["Connecting"]);
    server(&stage).exchanges().wait_for("the OFFER", DEADLINE, is_sent(MessageType::Offer)).unwrap();
    assert_lasted(start, LATE);
    session.expect_silence();
    server(&stage).heal();
    session.expect(&["Connected", "Opened"]);
    assert_lasted(start, LATE);
    session.assert_up();
}

#[test]
fn a_nak_before_there_is_a_lease_only_costs_a_round_trip() {
    for state in [ClientState::Selecting, ClientState::Rebooting] {
        let stage = scripted(Script::default());
        let manager = stage.manager();
        if state == ClientState::Rebooting {
            let mut session = Watched::opened(&manager);
            session.close();
            session.expect(&["Closed", "Closing", "Disconnected"]);
        }
        server(&stage).fail_next(1, Fault::NakWhile(state));
        let before = server(&stage).exchanges().mark();
        let mut session = Watched::new(&manager);
        session.open();
        session.expect(&["Connecting", "Connected", "Opened"]);
        wait_for_nak_and_what_follows(&stage, before, state);
        // A gateway that is known again may have opened it before the NAK.
        let is_there = || Ok(stage.address_of(AP0).map(|_| ()));
        stage.lab.machine().wait_until("an address", DEADLINE, is_there).unwrap();
        session.assert_up();
        session.close();
        session.expect_last("Disconnected");
        stage.assert_as_before();
    }
}

#[test]
fn a_lease_that_is_refused_and_granted_again_in_time_keeps_the_session() {
    for state in [ClientState::Renewing, ClientState::Rebinding] {
        let stage = scripted(short());
        let manager = stage.manager();
        let mut session = Watched::opened(&manager);
        let mut conversation = session.assert_up();
        let before = server(&stage).exchanges().mark();
        if state == ClientState::Rebinding {
            // An ACK while renewing would not let it come to that.
            server(&stage).fail_next(1, Fault::Silent);
        }
        server(&stage).fail_next(1, Fault::NakWhile(state));
        wait_for_nak_and_what_follows(&stage, before, state);
        // It is the ordinary course again.
        wait_for_renewal(server(&stage));
        session.expect_silence();
        assert_alive(&mut conversation);
        session.assert_up();
    }
}

/// The kernel would take no answer to be for it, and have its program wait for two minutes.
#[test]
fn who_began_to_connect_between_two_leases_is_told_at_once() {
    let stage = scripted(short());
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    server(&stage).fail_next(1, Fault::NakWhile(ClientState::Renewing));
    server(&stage).fail(Fault::Silent);
    let without_address = || Ok(stage.address_of(AP0).is_none().then_some(()));
    stage.lab.machine().wait_until("no address", DEADLINE, without_address).unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    session.session.bind(&socket).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.connect(&stage::server().into()).unwrap_err();
    assert_eq!(stage.address_of(AP0), None);
    server(&stage).heal();
    socket.set_nonblocking(false).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let error = uninterrupted(|| (&stream).read(&mut [0])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
    session.assert_up();
    session.expect_silence();
}

#[test]
fn a_network_that_moves_to_another_subnet_is_told_as_a_change() {
    let stage = scripted(short());
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let mut watcher = Watched::new(&manager);
    let mut conversation = session.assert_up();
    let before = server(&stage).exchanges().mark();
    stage.ap0().move_to("10.77.0.0/24".parse().unwrap()).unwrap();
    for told in [&mut session, &mut watcher] {
        let event = told.next();
        assert!(event.starts_with("InterfaceChanged") && event.contains("10.77.0.100"), "{event}");
    }
    wait_for_nak_and_what_follows(&stage, before, ClientState::Renewing);
    assert_eq!(stage.address_of(AP0), Some("10.77.0.100/24".to_owned()));
    assert!(stage.routes().iter().any(|route| route.starts_with("default via 10.77.0.1 ")), "{:?}", stage.routes());
    assert!(!stage.routes().iter().any(|route| route.contains("10.10.0.1 ")), "{:?}", stage.routes());
    session.assert_up();
    assert_aborted(&mut conversation);
    watcher.expect_silence();
    session.expect_silence();
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

#[test]
fn a_lease_that_is_refused_and_not_granted_again_is_a_lost_link() {
    let stage = scripted(short());
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    server(&stage).fail_next(1, Fault::NakWhile(ClientState::Renewing));
    server(&stage).fail(Fault::Silent);
    server(&stage).exchanges().wait_for("the NAK", DEADLINE, is_sent(MessageType::Nak)).unwrap();
    let refused = Instant::now();
    session.expect(&["Disconnected"]);
    assert_lasted(refused, REGAINED_WITHIN - Duration::from_millis(100));
    session.expect(&["Error(SessionAborted)", "Closed"]);
    assert!(!session.session.is_open());
    manager.shutdown();
    stage.assert_as_before();
}

/// The address and its router stay, the prefix does not.
#[test]
fn a_subnet_that_changes_with_a_renewal_is_told_as_a_change() {
    let stage = scripted(short());
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let wider: Subnet = "10.10.0.0/16".parse().unwrap();
    server(&stage).follow(short().announced_subnet(wider));
    let event = session.next();
    assert!(event.starts_with("InterfaceChanged") && event.contains("10.10.0.100"), "{event}");
    assert_eq!(stage.address_of(AP0), Some("10.10.0.100/16".to_owned()));
    wait_for_renewal(server(&stage));
    session.expect_silence();
    session.assert_up();
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

#[test]
fn a_server_that_is_gone_is_a_lost_link_when_the_lease_has_ended() {
    for renewals in [0, 1] {
        let stage = scripted(short());
        let manager = stage.manager();
        let mut session = Watched::opened(&manager);
        for _ in 0..renewals {
            // Gone before T2: the lease was prolonged at T1, and the next question has no answer any more.
            let before = server(&stage).exchanges().mark();
            let is_ack = is_sent(MessageType::Ack);
            server(&stage).exchanges().wait_for_since(before, "a renewal", DEADLINE, is_ack).unwrap();
        }
        let granted = Instant::now();
        server(&stage).fail(Fault::Silent);
        session.expect(&["Disconnected"]);
        // The client counts from its question, and asked for the first lease a little before it was opened.
        assert_lasted(granted, LEASE_TIME - Duration::from_millis(500));
        session.expect(&["Error(SessionAborted)", "Closed"]);
        let failure = session.session.error().unwrap();
        assert!(failure.message.contains("expired"), "{failure}");
        for state in [ClientState::Renewing, ClientState::Rebinding] {
            let asks = |exchange: &Exchange| exchange.client_state == Some(state);
            server(&stage).exchanges().wait_for(&format!("a question while {state:?}"), DEADLINE, asks).unwrap();
        }
        manager.shutdown();
        stage.assert_as_before();
    }
}

/// How far the lease is when the carrier goes and comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    BeforeTheOffer,
    BetweenOfferAndAck,
    WhileInstalling,
    WhileBound,
    WhileRenewing,
}

#[test]
fn a_flap_in_any_phase_of_the_lease_ends_up_open_or_failed() {
    use Moment::{BeforeTheOffer, BetweenOfferAndAck, WhileBound, WhileInstalling, WhileRenewing};
    for card in [Card::Ordinary, Card::CardLike] {
        for moment in [BeforeTheOffer, BetweenOfferAndAck, WhileInstalling, WhileBound, WhileRenewing] {
            println!("{card:?}, {moment:?}");
            flap(card, moment);
        }
    }
}

fn flap(card: Card, moment: Moment) {
    let stage = Stage::new([AccessPointPlan::new(AP0).card(card).dhcp(Dhcp::Scripted(short()))]);
    let server = server(&stage);
    match moment {
        Moment::BeforeTheOffer => server.fail_next(1, Fault::Silent),
        Moment::BetweenOfferAndAck => {
            server.fail_next(1, Fault::Delay(Duration::ZERO));
            server.fail_next(1, Fault::Silent);
        }
        Moment::WhileInstalling | Moment::WhileBound => {}
        // Discovering and requesting come before.
        Moment::WhileRenewing => {
            server.fail_next(2, Fault::Delay(Duration::ZERO));
            server.fail_next(1, Fault::Silent);
        }
    }
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    session.open();
    session.expect(&["Connecting"]);
    let has_come = |wanted: &dyn Fn(&Exchange) -> bool| {
        server.exchanges().wait_for("the moment of the flap", DEADLINE, wanted).unwrap();
    };
    match moment {
        Moment::BeforeTheOffer => has_come(&|exchange| exchange.kind == MessageType::Discover),
        Moment::BetweenOfferAndAck => has_come(&|exchange| exchange.kind == MessageType::Request),
        Moment::WhileInstalling => has_come(&is_sent(MessageType::Ack)),
        Moment::WhileBound => session.expect_last("Opened"),
        Moment::WhileRenewing => {
            session.expect_last("Opened");
            has_come(&|exchange| exchange.client_state == Some(ClientState::Renewing));
        }
    }
    stage.ap0().cut().unwrap();
    stage.ap0().restore().unwrap();
    let was_open = matches!(moment, Moment::WhileBound | Moment::WhileRenewing);
    if was_open || !opens_for_good(&mut session) {
        session.expect_last("Error(SessionAborted)");
        session.expect(&["Closed"]);
        assert!(!session.session.is_open());
        session.expect_silence();
        // And it works again.
        session.open();
        session.expect_last("Opened");
    }
    let mut conversation = session.assert_up();
    wait_for_renewal(server);
    session.expect_silence();
    assert_alive(&mut conversation);
    session.close();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    manager.shutdown();
    stage.assert_as_before();
}

/// Opened, and not because the flap had not been seen yet. True also for what the next renewal finds open.
fn opens_for_good(session: &mut Watched) -> bool {
    session.expect_last("Opened");
    session.next_within(TOLERANCE).is_none_or(|event| {
        assert!(matches!(event.as_str(), "Disconnected" | "NotAvailable"), "{event}");
        false
    })
}

const LEASE_TIME: Duration = Duration::from_secs(4);

/// T1 after one second, T2 after two.
fn short() -> Script {
    let [renewal, rebinding] = [1, 2].map(Duration::from_secs);
    Script::default().lease_time(LEASE_TIME).renewal_time(renewal).rebinding_time(rebinding)
}

fn scripted(script: Script) -> Stage {
    Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Scripted(script))])
}

fn quick_to_give_up() -> Profile {
    Profile { connect_timeout: Duration::from_millis(600), ..Profile::default() }
}

fn is_sent(kind: MessageType) -> impl Fn(&Exchange) -> bool {
    move |exchange| exchange.kind == kind && exchange.direction == Direction::Sent
}

/// The server has refused a client in this state, and granted another lease after it was asked anew.
fn wait_for_nak_and_what_follows(stage: &Stage, before: Mark, state: ClientState) {
    let exchanges = server(stage).exchanges();
    let asks = |exchange: &Exchange| exchange.client_state == Some(state);
    exchanges.wait_for_since(before, &format!("a REQUEST while {state:?}"), DEADLINE, asks).unwrap();
    let mut expected = [MessageType::Nak, MessageType::Discover, MessageType::Offer, MessageType::Ack].into_iter();
    let mut wanted = expected.next();
    let follows = |exchange: &Exchange| {
        if Some(exchange.kind) == wanted {
            wanted = expected.next();
        }
        wanted.is_none()
    };
    exchanges.wait_for_since(before, "NAK, DISCOVER, OFFER, ACK", DEADLINE, follows).unwrap();
}

/// As long as that, and not much longer.
fn assert_lasted(since: Instant, expected: Duration) {
    let lasted = since.elapsed();
    assert!((expected..expected + TOLERANCE).contains(&lasted), "{lasted:?} instead of {expected:?}");
}
