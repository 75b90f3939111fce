//! What becomes of a session's sockets when it roams (scenarios 21, 24, 35).

use std::{
    collections::BTreeMap,
    net::UdpSocket,
    time::{Duration, Instant},
};

use netbearer::Traffic;

use netbearer_lab::{Capture, Conversation, Dhcp, ECHO_PORT, INTERNET, uninterrupted};
use socket2::SockRef;

use crate::{
    roaming::Deciding,
    stage::{DEADLINE, Watched, assert_alive, server},
    uplink::{
        NETWORK, SETTLE, access_point, bound_to, converse, expect_abort, lingering_manager, manager, reached_by, stage,
    },
};

/// Longer than this test may take.
const LONG_LINGER: Duration = Duration::from_secs(60);

#[test]
fn rejecting_ends_the_sockets_of_the_trial_and_no_others() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let trial = deciding.on_trial(&stage);
    let by_session = converse(&deciding.watched);
    let by_trial = Conversation::over(trial.connect_tcp(server()).unwrap(), DEADLINE).unwrap();
    trial.reject().expect("the trial is on");
    for of_trial in [&by_session, &by_trial] {
        assert_eq!(of_trial.access_point(), "lan");
        expect_abort(of_trial);
    }
    assert_alive(&mut deciding.old);
}

/// A socket of the same process that was never given to the session, and the connection of another session.
#[test]
fn only_the_sessions_own_sockets_end_when_it_leaves_a_link() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let other = Watched::opened_on(&manager, "lte");
    let mut of_other = converse(&other);
    let mut of_nobody = bound_to("lte");
    let bound = UdpSocket::bind("0.0.0.0:0").unwrap();
    deciding.watched.session.bind(&bound).unwrap();
    bound.connect((INTERNET, ECHO_PORT)).unwrap();
    bound.set_read_timeout(Some(DEADLINE)).unwrap();
    deciding.on_trial(&stage).accept().expect("the trial is on");
    expect_abort(&deciding.old);
    let error = uninterrupted(|| bound.recv(&mut [0])).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted, "{error}");
    assert_alive(&mut of_other);
    assert_alive(&mut of_nobody);
}

#[test]
fn sockets_on_a_lost_link_end_at_once() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut watched = Watched::on(&manager, NETWORK);
    watched.bring_up();
    let old = converse(&watched);
    assert_eq!(old.access_point(), "lan");
    access_point(&stage, "lan").cut().expect("the cable is cut");
    expect_abort(&old);
    watched.expect_last("ActiveConfigurationChanged(native-lte)");
    assert_eq!(converse(&watched).access_point(), "lte");
}

/// Scenario 24, of sockets: the old link is kept for them, and no longer.
#[test]
fn a_link_that_was_left_without_asking_goes_down_with_the_last_of_the_sessions_connections() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = lingering_manager(&stage, LONG_LINGER);
    access_point(&stage, "lan").cut().expect("the cable is cut");
    let mut watched = Watched::on(&manager, NETWORK);
    watched.bring_up();
    let mut lte = Watched::on(&manager, "lte");
    let mut old = [(); 2].map(|()| converse(&watched));
    access_point(&stage, "lan").restore().expect("the cable is back");
    watched.expect(&["Roaming", "Connected", "ActiveConfigurationChanged(native-lan)"]);
    let moved = Instant::now();
    assert_eq!(converse(&watched).access_point(), "lan");
    old.iter_mut().for_each(assert_alive);
    let [first, mut last] = old;
    drop(first);
    // Longer than the service takes to hear of an end.
    lte.expect_silence_for(SETTLE);
    assert_alive(&mut last);
    drop(last);
    lte.expect(&["Closing", "Disconnected"]);
    assert!(moved.elapsed() < LONG_LINGER / 2, "it was kept for {:?}", moved.elapsed());
    assert_eq!(stage.address_of("lte"), None, "it is down");
    watched.expect_silence();
    assert_eq!(reached_by(&watched), "lan");
}

/// The service knows of all its sockets by then, and of the ends of those that were closed.
fn wait_for_count(watched: &Watched, written: u64) -> Traffic {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let carried = watched.session.own_traffic().expect("the service answers");
        if carried.written == written {
            return carried;
        }
        assert!(Instant::now() < deadline, "{written} octets were written, not {}", carried.written);
    }
}

/// Octets that came in and went out by these lines of a capture: how far the numbers of each direction of each connection have come
/// (RFC 9293 §3.4; tcpdump counts from the first).
fn payload(lines: &[String]) -> (u64, u64) {
    let mut ends: BTreeMap<(&str, &str), (bool, u64)> = BTreeMap::new();
    for line in lines {
        let word_after = |word: &str| line.split(' ').skip_while(|found| *found != word).nth(1);
        let (Some(from), Some(to)) = (word_after("IP"), word_after(">")) else { continue };
        let end = word_after("seq").and_then(|numbers| numbers.trim_end_matches(',').split_once(':')?.1.parse().ok());
        let known = ends.entry((from, to)).or_insert((line.contains(" In "), 1));
        known.1 = known.1.max(end.unwrap_or(1));
    }
    let sum = |is_in| ends.values().filter(|(comes_in, _)| *comes_in == is_in).map(|(_, end)| end - 1).sum();
    (sum(true), sum(false))
}

/// Scenario 35, per session: octets of payload, as a capture has them on both links.
#[test]
fn what_the_sessions_own_sockets_carry_is_counted_across_a_roam() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let capture = Capture::start(stage.lab.machine(), "any", &format!("tcp port {ECHO_PORT}")).unwrap();
    let mut deciding = Deciding::on_lte(&stage, &manager);
    wait_for_count(&deciding.watched, 0);
    let mut ended = converse(&deciding.watched);
    ended.echo(&[7; 9_000]).unwrap();
    drop(ended);
    deciding.old.echo(&[1; 20_000]).unwrap();
    let trial = deciding.on_trial(&stage);
    converse(&deciding.watched).echo(&[2; 3_000]).unwrap();
    trial.accept().expect("the trial is on");
    deciding.watched.expect_last("Connected");
    expect_abort(&deciding.old);
    let mut living = converse(&deciding.watched);
    living.echo(&[3; 70_000]).unwrap();
    // Not by the session.
    let foreign = Watched::opened_on(&manager, "lan");
    converse(&foreign).echo(&[4; 500]).unwrap();
    let of_foreign = wait_for_count(&foreign, 500);
    let carried = wait_for_count(&deciding.watched, 9_000 + 20_000 + 3_000 + 70_000);
    SockRef::from(living.stream()).shutdown(std::net::Shutdown::Both).unwrap();

    let (received, written) = payload(&capture.finish().unwrap());
    assert_eq!(carried.written + of_foreign.written, written, "as captured");
    // The end of what the other side sends may count as an octet with the kernel, once for each connection that was ended.
    let (carried, ended) = (carried.received + of_foreign.received, 3);
    assert!((received..=received + ended).contains(&carried), "{carried}, and {received} were captured");
}
