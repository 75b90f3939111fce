//! Who decides for whom, and how often (scenarios 27, 29, 50, 56).

use std::{
    thread,
    time::{Duration, Instant},
};

use netbearer::MigrateError;
use netbearer_lab::{Conversation, Dhcp, DhcpServer, Exchange, Fault, MessageType, Script};
use netbearer_types::Moment;

use crate::{
    ipv6::{self, OTHER_NETWORK, announce, connect_ipv6, wait_for_way},
    roaming::{Deciding, OFFERED, ON_TRIAL},
    stage::{DEADLINE, Stage, Watched, assert_alive},
    steering::Flow,
    uplink::{NETWORK, access_point, converse, hasty_manager, manager, patient_manager, reached_by, stage},
};

/// As scenario 29 has it.
const FLAPS: u32 = 20;
const FLAPPING: Duration = Duration::from_secs(10);
/// Much shorter than settling takes.
const FOR_A_MOMENT: Duration = Duration::from_millis(100);
/// A member that has been lost twenty times within a minute is not offered before another one is over.
const DAMPED: Duration = Duration::from_secs(3);
/// As scenarios 50 and 56 have it.
const MINUTE: Duration = Duration::from_secs(60);
/// How long a member that does not start is left alone, as often as a minute allows (semantics §5).
const BACK_OFF: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(20)];
/// Requests that lie so far apart belong to two tries; a try is given up sooner.
const BETWEEN_TRIES: Duration = Duration::from_secs(4);

/// Scenario 27, in both families, and with either of them in the better place.
#[test]
fn those_who_decide_may_settle_on_different_members_at_the_same_time() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    // No member is to fail here.
    let manager = patient_manager(&stage);
    for accepts_first in [true, false] {
        access_point(&stage, "lan").cut().expect("the cable is cut");
        let mut sessions = [(); 2].map(|()| Watched::on(&manager, NETWORK));
        let mut roamings = sessions.each_ref().map(|watched| watched.session.roaming().expect("it can roam"));
        for watched in &mut sessions {
            watched.open();
            watched.expect_last("Opened");
        }
        access_point(&stage, "lan").restore().expect("the cable is back");
        let [first, second] =
            roamings.each_mut().map(|roaming| roaming.next_within(DEADLINE).expect("\"lan\" is offered"));
        let (accepting, ignoring) = if accepts_first { (first, second) } else { (second, first) };
        ignoring.ignore().expect("it is the newest");
        accepting.migrate().expect("it comes up").accept().expect("the trial is on");
        for (name, network) in [("lan", ipv6::NETWORK), ("lte", OTHER_NETWORK)] {
            announce(&stage, access_point(&stage, name), network);
            wait_for_way(&stage, &stage.table_of(name));
        }
        let expected = if accepts_first { ["lan", "lte"] } else { ["lte", "lan"] };
        let converse_by_both = || {
            let conversations = sessions.each_ref().map(|watched| [converse(watched), connect_ipv6(watched)]);
            for (of_session, expected) in conversations.iter().zip(expected) {
                assert_eq!(of_session.each_ref().map(Conversation::access_point), [expected; 2]);
            }
            conversations.into_iter().flatten()
        };
        let flowing = Flow::start(converse_by_both());
        for _ in 0..2 {
            converse_by_both().for_each(|mut conversation| assert_alive(&mut conversation));
        }
        let rounds = flowing.stop();
        assert!(rounds.iter().all(|rounds| *rounds > 0), "{rounds:?}");
    }
}

/// Scenario 29.
#[test]
fn a_member_that_flaps_is_not_offered_and_no_event_of_the_session_is_lost() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let lan = access_point(&stage, "lan");
    let begin = Instant::now();
    for flap in 1..=FLAPS {
        lan.restore().expect("the cable is back");
        thread::sleep(FOR_A_MOMENT);
        lan.cut().expect("the cable is cut");
        thread::sleep((begin + FLAPPING / FLAPS * flap).saturating_duration_since(Instant::now()));
    }
    lan.restore().expect("the cable is back");
    deciding.watched.expect_silence_for(DAMPED);
    deciding.assert_on_lte();
}

/// Scenarios 50 and 56. Each of them waits for a minute; they do so side by side.
#[test]
fn in_a_minute_nothing_comes_again_too_early() {
    let scenarios: [(&str, fn()); 4] = [
        ("rejected", what_was_rejected_is_offered_again_once_it_was_replugged),
        ("decided", what_does_not_start_is_offered_again_after_its_back_off_only),
        ("forced", what_does_not_start_is_tried_again_after_its_back_off_only),
        ("without a cable", a_member_without_a_cable_is_offered_once_it_has_one),
    ];
    let start = |(name, scenario): (&str, fn())| {
        thread::Builder::new().name(name.to_owned()).spawn(scenario).expect("there are threads")
    };
    // All of them come to their end, whatever becomes of the others.
    let failed: Vec<String> = scenarios.map(start).into_iter().filter_map(failure).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// The name of a thread that has panicked, and said why.
fn failure(scenario: thread::JoinHandle<()>) -> Option<String> {
    let name = scenario.thread().name().unwrap_or_default().to_owned();
    scenario.join().is_err().then_some(name)
}

/// Two access points, of which the preferred one has a DHCP server that keeps a record.
fn recorded_stage() -> Stage {
    stage(Dhcp::Scripted(Script::default()), Dhcp::Dnsmasq)
}

fn server(stage: &Stage) -> &DhcpServer {
    access_point(stage, "lan").dhcp_server().expect("it is scripted")
}

/// When "lan" was begun to be brought up, by the requests that came to its server.
fn bring_ups(stage: &Stage) -> Vec<Moment> {
    let is_request = |exchange: &Exchange| matches!(exchange.kind, MessageType::Discover | MessageType::Request);
    let exchanges = server(stage).exchanges().entries();
    let mut asked: Vec<Moment> = exchanges.iter().filter(|found| is_request(found)).map(|found| found.moment).collect();
    let mut last = None;
    asked.retain(|asked| last.replace(*asked).is_none_or(|last| *asked - last >= BETWEEN_TRIES));
    asked
}

/// As often as the back-off allows within that time, and never sooner.
fn assert_backed_off(begun: &[Moment]) {
    let between: Vec<Duration> = begun.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(between.len(), BACK_OFF.len(), "{between:?} lie between the tries");
    assert!(between.iter().zip(BACK_OFF).all(|(found, least)| *found >= least), "{between:?} lie between the tries");
}

/// Scenario 50, of a candidate that was rejected.
fn what_was_rejected_is_offered_again_once_it_was_replugged() {
    let stage = recorded_stage();
    let manager = hasty_manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let trial = deciding.on_trial(&stage);
    let mut lan = Watched::on(&manager, "lan");
    trial.reject().expect("the trial is on");
    deciding.watched.expect(&["Connected"]);
    lan.expect(&["Closing", "Disconnected"]);
    deciding.watched.expect_silence_for(MINUTE);
    lan.expect_silence();
    assert_eq!(bring_ups(&stage).len(), 1, "the one that was asked for");
    access_point(&stage, "lan").cut().expect("the cable is cut");
    let offer = deciding.offered(&stage);
    deciding.expect_no_offer();
    offer.ignore().expect("it is the newest");
    deciding.assert_on_lte();
}

/// Scenario 50, of a candidate that does not start, with somebody who wants it each time.
fn what_does_not_start_is_offered_again_after_its_back_off_only() {
    let stage = recorded_stage();
    server(&stage).fail(Fault::Silent);
    let manager = hasty_manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let mut offer = deciding.offered(&stage);
    let end = Instant::now() + MINUTE;
    loop {
        let failed = offer.migrate().expect_err("nobody gives it an address");
        assert!(matches!(failed, MigrateError::Failed { .. }), "{failed}");
        deciding.watched.expect(&["Roaming", "Connected", "RoamingFailed(native-lan)"]);
        match deciding.watched.next_within(end.saturating_duration_since(Instant::now())) {
            Some(event) => assert_eq!(event, OFFERED),
            None => break,
        }
        offer = deciding.next_offer();
    }
    assert_backed_off(&bring_ups(&stage));
    server(&stage).heal();
    access_point(&stage, "lan").cut().expect("the cable is cut");
    let offer = deciding.offered(&stage);
    deciding.expect_no_offer();
    deciding.assert_on_lte();
    offer.migrate().expect("it comes up").accept().expect("the trial is on");
    deciding.watched.expect(&["Roaming", ON_TRIAL, "Connected"]);
    assert_eq!(reached_by(&deciding.watched), "lan");
}

/// The same of a session that nobody decides for. It is told nothing.
fn what_does_not_start_is_tried_again_after_its_back_off_only() {
    let stage = recorded_stage();
    server(&stage).fail(Fault::Silent);
    let manager = hasty_manager(&stage);
    access_point(&stage, "lan").cut().expect("the cable is cut");
    let mut watched = Watched::on(&manager, NETWORK);
    watched.bring_up();
    let mut old = converse(&watched);
    access_point(&stage, "lan").restore().expect("the cable is back");
    watched.expect_silence_for(MINUTE);
    assert_backed_off(&bring_ups(&stage));
    assert_alive(&mut old);
    server(&stage).heal();
    access_point(&stage, "lan").cut().expect("the cable is cut");
    access_point(&stage, "lan").restore().expect("the cable is back");
    watched.expect(&["Roaming", "Connected", "ActiveConfigurationChanged(native-lan)"]);
    assert_alive(&mut old);
    assert_eq!(bring_ups(&stage).len(), BACK_OFF.len() + 2, "once more");
    assert_eq!(reached_by(&watched), "lan");
}

/// Scenario 56.
fn a_member_without_a_cable_is_offered_once_it_has_one() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = hasty_manager(&stage);
    let is_up = || access_point(&stage, "lan").is_administratively_up().expect("it is plugged in");
    assert!(!is_up());
    let mut deciding = Deciding::on_lte(&stage, &manager);
    deciding.watched.expect_silence_for(MINUTE);
    let offer = deciding.offered(&stage);
    deciding.expect_no_offer();
    offer.ignore().expect("it is the newest");
    deciding.assert_on_lte();
    deciding.watched.close();
    deciding.watched.expect(&["Closed", "Closing", "Disconnected"]);
    drop((deciding, manager));
    assert!(!is_up());
    stage.assert_as_before();
}
