//! Roaming between real links (scenarios 19 to 26; all of 26 is in `roaming_tables`).

use std::{
    future::poll_fn,
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    pin::Pin,
    task::Poll,
    thread,
    time::Duration,
};

use netbearer::{
    CallError, FailureReason, MigrateError, SessionState, SocketError, TestError,
    blocking::{Offer, Roaming, Trial},
};
use netbearer_holder::Order;
use netbearer_lab::{Conversation, Dhcp, uninterrupted};

use crate::{
    holders::Holder,
    only_served,
    stage::{DEADLINE, Manager, Stage, Watched, assert_alive, server},
    uplink::{LINGER, NETWORK, SETTLE, access_point, converse, expect_abort, manager, reached_by, stage},
};

const LAN: &str = "native-lan";
const LTE: &str = "native-lte";
pub(crate) const OFFERED: &str = "PreferredConfigurationChanged(native-lan)";
pub(crate) const ON_TRIAL: &str = "NewConfigurationActivated(native-lan)";
/// Nothing that takes longer than settling takes so long.
const A_WHILE: Duration = Duration::from_millis(1_200);

/// A session that decides, open on "lte", with a connection by that. Of "lan" the cable is cut.
pub(crate) struct Deciding {
    pub(crate) watched: Watched,
    pub(crate) roaming: Roaming,
    pub(crate) old: Conversation,
}

impl Deciding {
    pub(crate) fn on_lte(stage: &Stage, manager: &Manager) -> Self {
        access_point(stage, "lan").cut().expect("the cable is cut");
        let mut watched = Watched::on(manager, NETWORK);
        let roaming = watched.session.roaming().expect("it can roam");
        watched.bring_up();
        let old = converse(&watched);
        assert_eq!(old.access_point(), "lte");
        Self { watched, roaming, old }
    }

    /// "lan" is there, and is offered.
    pub(crate) fn offered(&mut self, stage: &Stage) -> Offer {
        access_point(stage, "lan").restore().expect("the cable is back");
        self.watched.expect(&[OFFERED]);
        self.next_offer()
    }

    pub(crate) fn next_offer(&mut self) -> Offer {
        self.roaming.next_within(DEADLINE).expect("another access point is offered")
    }

    /// And it is tried.
    pub(crate) fn on_trial(&mut self, stage: &Stage) -> Trial {
        let trial = self.offered(stage).migrate().expect("it comes up");
        self.watched.expect(&["Roaming", ON_TRIAL]);
        trial
    }

    pub(crate) fn expect_no_offer(&mut self) {
        assert!(self.roaming.next_within(A_WHILE).is_none(), "nothing should be offered");
        self.watched.expect_silence();
    }

    /// Settled where it was, and the old connection has never noticed.
    pub(crate) fn assert_on_lte(&mut self) {
        assert_eq!(self.watched.session.state(), SessionState::Connected);
        assert_eq!(self.watched.active_configuration(), LTE);
        assert_eq!(self.interface().as_deref(), Some("lte"));
        assert_eq!(reached_by(&self.watched), "lte");
        assert_alive(&mut self.old);
    }

    fn interface(&self) -> Option<String> {
        self.watched.session.interface().map(|interface| interface.name)
    }

    fn candidate(&self) -> Option<String> {
        self.watched.session.candidate_interface().map(|interface| interface.name)
    }
}

/// A session that only watches this access point.
fn watch(manager: &Manager, access_point: &str) -> Watched {
    Watched::on(manager, access_point)
}

/// Scenario 19.
#[test]
fn a_preferred_member_is_offered_once_and_nothing_changes() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let offer = deciding.offered(&stage);
    assert_eq!(offer.configuration.as_str(), LAN);
    assert!(!offer.seamless && !offer.replacement);
    deciding.expect_no_offer();
    deciding.assert_on_lte();
    assert_eq!(stage.address_of("lan"), None, "it was not brought up");
    assert_eq!(deciding.candidate(), None);
    offer.ignore().expect("it is the newest");
    deciding.watched.close();
    deciding.watched.expect(&["Closed", "Closing", "Disconnected"]);
    drop((deciding, manager));
    stage.assert_as_before();
}

/// Scenario 20.
#[test]
fn in_a_trial_new_sockets_use_the_candidate_and_old_ones_the_old_link() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let trial = deciding.on_trial(&stage);
    assert_eq!(deciding.watched.session.state(), SessionState::Roaming);
    assert!(deciding.watched.session.is_open());
    assert_eq!(trial.candidate().as_str(), LAN);
    assert_eq!((deciding.interface().as_deref(), deciding.candidate().as_deref()), (Some("lte"), Some("lan")));
    assert_eq!(trial.interface(), deciding.watched.session.candidate_interface());
    assert_eq!(deciding.watched.active_configuration(), LTE);
    let mut new = converse(&deciding.watched);
    assert_eq!(new.access_point(), "lan");
    let stream = trial.connect_tcp(server()).expect("the server is reached");
    assert_eq!(Conversation::over(stream, DEADLINE).expect("it greets").access_point(), "lan");
    assert_alive(&mut new);
    assert_alive(&mut deciding.old);
    trial.test_tcp(server(), DEADLINE).expect("the server is reached");
    deciding.watched.expect_silence();
    drop(trial);
    deciding.watched.expect(&["Connected"]);
}

/// Scenario 21.
#[test]
fn accepting_moves_the_session_and_gives_the_old_link_back() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let mut lte = watch(&manager, "lte");
    let trial = deciding.on_trial(&stage);
    trial.accept().expect("the trial is on");
    deciding.watched.expect(&["Connected"]);
    assert_eq!(deciding.watched.active_configuration(), LAN);
    assert_eq!((deciding.interface().as_deref(), deciding.candidate()), (Some("lan"), None));
    expect_abort(&deciding.old);
    assert_eq!(reached_by(&deciding.watched), "lan");
    lte.expect(&["Closing", "Disconnected"]);
    assert_eq!(stage.address_of("lte"), None, "it is down");
    deciding.expect_no_offer();
    deciding.watched.close();
    deciding.watched.expect(&["Closed", "Closing", "Disconnected"]);
    drop((deciding, lte, manager));
    stage.assert_as_before();
}

/// Scenario 22.
#[test]
fn the_old_link_stays_up_for_others_who_hold_it() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let mut other = Watched::opened_on(&manager, "lte");
    let mut of_other = converse(&other);
    let trial = deciding.on_trial(&stage);
    trial.accept().expect("the trial is on");
    deciding.watched.expect(&["Connected"]);
    assert_eq!((reached_by(&deciding.watched).as_str(), reached_by(&other).as_str()), ("lan", "lte"));
    assert_alive(&mut of_other);
    other.expect_silence_for(A_WHILE);
    other.close();
    other.expect(&["Closed", "Closing", "Disconnected"]);
}

/// Scenario 22, with another process.
#[test]
fn the_old_link_stays_up_for_another_process_that_holds_it() {
    if only_served() {
        return;
    }
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let mut other = Holder::opened_on(&stage, &manager, "lte");
    let mut lte = watch(&manager, "lte");
    deciding.on_trial(&stage).accept().expect("the trial is on");
    deciding.watched.expect(&["Connected"]);
    lte.expect_silence_for(A_WHILE);
    expect_abort(&deciding.old);
    other.give(Order::Close(0)).expect("it is its own");
    lte.expect(&["Closing", "Disconnected"]);
}

/// Scenario 23.
#[test]
fn rejecting_goes_on_with_the_old_link_and_what_was_rejected_is_not_offered_again() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let mut lan = watch(&manager, "lan");
    let trial = deciding.on_trial(&stage);
    lan.expect_last("Connected");
    trial.reject().expect("the trial is on");
    deciding.watched.expect(&["Connected"]);
    lan.expect(&["Closing", "Disconnected"]);
    deciding.assert_on_lte();
    deciding.expect_no_offer();
    lan.expect_silence();
}

/// Scenario 23, its second half.
#[test]
fn what_was_ignored_is_never_started_and_offered_again_only_after_a_change() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let offer = deciding.offered(&stage);
    let mut lan = watch(&manager, "lan");
    offer.ignore().expect("it is the newest");
    deciding.expect_no_offer();
    lan.expect_silence();
    deciding.assert_on_lte();
    access_point(&stage, "lan").cut().expect("the cable is cut");
    lan.expect(&["NotAvailable"]);
    let again = deciding.offered(&stage);
    drop(again);
    deciding.expect_no_offer();
    lan.expect(&["Disconnected"]);
    lan.expect_silence();
    deciding.assert_on_lte();
}

/// Scenario 24, its first half.
#[test]
fn a_session_whose_events_nobody_takes_goes_on_with_the_next_member_when_its_link_is_lost() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut watched = Watched::on(&manager, NETWORK);
    watched.bring_up();
    assert_eq!(watched.active_configuration(), LAN);
    access_point(&stage, "lan").cut().expect("the cable is cut");
    watched.expect(&["Roaming", "Connected", "ActiveConfigurationChanged(native-lte)"]);
    assert!(watched.session.is_open());
    assert_eq!(watched.session.error(), None);
    assert_eq!(watched.active_configuration(), LTE);
    assert_eq!(reached_by(&watched), "lte");
    watched.close();
    watched.expect(&["Closed", "Closing", "Disconnected"]);
    access_point(&stage, "lan").restore().expect("the cable is back");
    drop((watched, manager));
    stage.assert_as_before();
}

/// Scenario 24, its second half.
#[test]
fn a_session_whose_events_nobody_takes_moves_to_a_better_member_and_keeps_the_old_link_for_a_while() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    access_point(&stage, "lan").cut().expect("the cable is cut");
    let mut watched = Watched::on(&manager, NETWORK);
    watched.bring_up();
    let mut lte = watch(&manager, "lte");
    let mut old = converse(&watched);
    assert_eq!(old.access_point(), "lte");
    let mut watcher = Watched::on(&manager, NETWORK);
    access_point(&stage, "lan").restore().expect("the cable is back");
    watched.expect(&["Roaming", "Connected", "ActiveConfigurationChanged(native-lan)"]);
    assert_eq!(reached_by(&watched), "lan");
    assert_alive(&mut old);
    lte.expect_silence_for(LINGER / 2);
    assert_alive(&mut old);
    lte.expect(&["Closing", "Disconnected"]);
    assert_eq!(watcher.session.state(), SessionState::Connected);
    while let Some(event) = watcher.try_next() {
        assert!(event.starts_with("InterfaceChanged"), "who watches the network sees no state: {event}");
    }
    watched.expect_silence();
    watched.close();
    watched.expect(&["Closed", "Closing", "Disconnected"]);
    drop((watched, watcher, lte, manager));
    stage.assert_as_before();
}

/// Scenario 25.
#[test]
fn who_drops_the_roaming_events_leaves_the_next_decision_to_us() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let offer = deciding.offered(&stage);
    assert!(deciding.watched.session.is_stakeholder());
    let Deciding { mut watched, roaming, .. } = deciding;
    drop(roaming);
    watched.expect(&["Roaming", "Connected", "ActiveConfigurationChanged(native-lan)"]);
    assert!(!watched.session.is_stakeholder());
    let over = offer.migrate().expect_err("it is void");
    assert!(matches!(over, MigrateError::Over(_)), "{over}");
    // And the other way round.
    let mut roaming = watched.session.roaming().expect("nobody has it");
    access_point(&stage, "lan").cut().expect("the cable is cut");
    watched.expect(&["Roaming", "PreferredConfigurationChanged(native-lte, replacement)"]);
    let offer = roaming.next_within(DEADLINE).expect("it is offered");
    assert!(offer.replacement);
    let refused = watched.session.connect_tcp(server()).expect_err("there is no link");
    assert!(matches!(refused, SocketError::Roaming(_)), "{refused}");
    offer.migrate().expect("it comes up").accept().expect("it is on trial");
    watched.expect(&["NewConfigurationActivated(native-lte)", "Connected"]);
    assert_eq!(reached_by(&watched), "lte");
}

#[test]
fn who_drops_the_roaming_events_in_a_trial_has_rejected_it() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let mut trial = deciding.on_trial(&stage);
    let Deciding { mut watched, roaming, mut old } = deciding;
    drop(roaming);
    watched.expect(&["Connected"]);
    let over = trial.ended_within(DEADLINE).expect("it is over");
    assert!(matches!(over, MigrateError::Over(_)), "{over}");
    assert_eq!(reached_by(&watched), "lte");
    assert_alive(&mut old);
    let refused = trial.connect_tcp(server()).expect_err("the trial is over");
    assert!(matches!(refused, SocketError::TrialOver(_)), "{refused}");
}

/// Scenario 26.
#[test]
fn a_candidate_that_gets_no_lease_is_told_with_the_cause() {
    let stage = stage(Dhcp::None, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let failed = deciding.offered(&stage).migrate().expect_err("nobody gives it an address");
    let MigrateError::Failed { configuration, failure } = failed else { panic!("{failed}") };
    assert_eq!(configuration.as_str(), LAN);
    assert!(matches!(failure.reason, FailureReason::NoLease | FailureReason::ConnectTimeout), "{failure:?}");
    deciding.watched.expect(&["Roaming", "Connected", "RoamingFailed(native-lan)"]);
    deciding.expect_no_offer();
    deciding.assert_on_lte();
}

/// Scenario 26.
#[test]
fn a_candidate_that_dies_in_its_trial_leaves_the_session_where_it_was() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let mut trial = deciding.on_trial(&stage);
    access_point(&stage, "lan").cut().expect("the cable is cut");
    let failed = trial.ended_within(DEADLINE).expect("it has ended");
    assert!(matches!(&failed, MigrateError::Failed { configuration, .. } if configuration.as_str() == LAN), "{failed}");
    deciding.watched.expect(&["Connected", "RoamingFailed(native-lan)"]);
    let refused = trial.accept().expect_err("it is over");
    assert!(matches!(refused, MigrateError::Failed { .. } | MigrateError::Over(_)), "{refused}");
    deciding.assert_on_lte();
}

/// Scenario 26.
#[test]
fn the_old_link_can_be_lost_in_a_trial_and_then_there_is_only_the_candidate() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let trial = deciding.on_trial(&stage);
    access_point(&stage, "lte").cut().expect("the cable is cut");
    deciding.watched.expect(&["CurrentLinkLost"]);
    assert_eq!((deciding.interface(), deciding.candidate().as_deref()), (None, Some("lan")));
    assert_eq!(reached_by(&deciding.watched), "lan");
    trial.accept().expect("the trial is on");
    deciding.watched.expect(&["Connected"]);
    assert_eq!(deciding.watched.active_configuration(), LAN);
}

/// Scenario 26.
#[test]
fn an_offer_that_is_withdrawn_cannot_be_migrated_to() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let offer = deciding.offered(&stage);
    access_point(&stage, "lan").cut().expect("the cable is cut");
    deciding.watched.expect(&["OfferWithdrawn"]);
    let over = offer.migrate().expect_err("it is not there");
    assert!(matches!(over, MigrateError::Over(_)), "{over}");
    deciding.watched.expect_silence();
    deciding.assert_on_lte();
}

#[test]
fn a_dropped_session_ends_its_trial() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let mut trial = deciding.on_trial(&stage);
    let Deciding { watched, mut roaming, .. } = deciding;
    let mut network = watch(&manager, NETWORK);
    // Whoever still waits for something by the candidate does not keep the session.
    let nobody = SocketAddr::from((access_point(&stage, "lan").subnet().host(99), 80));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut connecting = Box::pin(netbearer::Trial::connect_tcp(&trial, nobody));
    assert!(runtime.block_on(is_pending(connecting.as_mut())), "nobody answers");
    drop(watched);
    network.expect_last("Disconnected");
    drop(connecting);
    let ended = trial.ended_within(DEADLINE).expect("it has ended");
    assert!(matches!(ended, MigrateError::SessionEnded(_)), "{ended}");
    assert!(roaming.next_within(DEADLINE).is_none(), "there is no session any more");
    assert!(trial.accept().is_err());
    drop((network, roaming, manager));
    stage.assert_as_before();
}

/// Has one step of a call done, and tells whether that is not all.
async fn is_pending<T>(mut call: Pin<&mut impl Future<Output = T>>) -> bool {
    poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending())).await
}

#[test]
fn a_dropped_migration_is_rejected() {
    let stage = stage(Dhcp::None, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    access_point(&stage, "lan").cut().expect("the cable is cut");
    let mut watched = Watched::on(&manager, NETWORK);
    let mut roaming = manager.wait_for(async |_| (*watched.session).roaming().await).expect("it can roam");
    watched.bring_up();
    access_point(&stage, "lan").restore().expect("the cable is back");
    watched.expect(&[OFFERED]);
    let offer = manager.wait_for(async |_| roaming.next().await).expect("it is offered");
    let mut migration = Box::pin(offer.migrate());
    assert!(manager.wait_for(async |_| is_pending(migration.as_mut()).await), "it cannot come up at once");
    watched.expect(&["Roaming"]);
    drop(migration);
    watched.expect(&["Connected"]);
    watched.expect_silence();
    assert_eq!(reached_by(&watched), "lte");
}

#[test]
fn only_one_decides_and_only_where_there_is_something_to_decide() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let on_access_point = Watched::on(&manager, "lan");
    let refused = on_access_point.session.roaming().expect_err("it has no members");
    let CallError::NotSupported(failure) = refused else { panic!("{refused}") };
    assert_eq!(failure.reason, FailureReason::CannotRoam);
    let network = Watched::on(&manager, NETWORK);
    let roaming = network.session.roaming().expect("it can roam");
    let taken = network.session.roaming().expect_err("it is taken");
    assert_eq!(taken, CallError::RoamingTaken(NETWORK.into()));
    drop(roaming);
    drop(network.session.roaming().expect("it was given back"));
}

/// Answers each request so, for as long as the test lasts.
fn serve_http(stage: &Stage, name: &str, answer: &'static str) -> SocketAddr {
    let access_point = access_point(stage, name);
    let address = SocketAddr::from((access_point.subnet().gateway(), 8080));
    let listener =
        access_point.namespace().run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080))).expect("the port is free");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 1024];
            let read = uninterrupted(|| stream.read(&mut request)).unwrap_or_default();
            assert!(request.starts_with(b"GET /check?one HTTP/1.1\r\nHost: "), "{read} octets");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn candidates_are_tested_for_what_they_carry() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let trial = deciding.on_trial(&stage);
    let good = serve_http(&stage, "lan", "HTTP/1.1 204 No Content\r\n\r\n");
    trial.test_http(&format!("http://{good}/check?one"), DEADLINE).expect("it is answered with success");
    let nobody = SocketAddr::new(good.ip(), 8081);
    let refused = trial.test_tcp(nobody, DEADLINE).expect_err("nobody listens");
    assert!(
        matches!(&refused, TestError::Socket(SocketError::Kernel { interface, .. }) if interface == "lan"),
        "it says by what: {refused}"
    );
    let by_ipv6 = SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 80));
    for refused in [trial.connect_tcp(by_ipv6), deciding.watched.session.connect_tcp(by_ipv6)] {
        let refused = refused.expect_err("the candidate has no IPv6");
        let SocketError::NoAddressOfCandidate { candidate, .. } = refused else { panic!("{refused}") };
        assert_eq!(candidate.as_str(), LAN);
    }
    let url = trial.test_http("https://example.org/", DEADLINE).expect_err("there is no TLS");
    assert!(matches!(url, TestError::Url(_)), "{url}");
    let late = manager.wait_for(async |_| trial.test(std::future::pending::<()>(), SETTLE).await);
    assert!(matches!(late, Err(TestError::Deadline(_))), "{late:?}");
    trial.reject().expect("the trial is on");
}

#[test]
fn a_portal_is_no_success() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let trial = deciding.on_trial(&stage);
    let portal = serve_http(&stage, "lan", "HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n");
    let portal = trial.test_http(&format!("http://{portal}/check?one"), DEADLINE).expect_err("it is no success");
    assert!(matches!(portal, TestError::Status(302)), "{portal}");
}
