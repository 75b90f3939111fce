//! Who decides for whom, and how often (scenarios 27, 29, 50, 56).

use std::{
    thread,
    time::{Duration, Instant},
};

use netbearer_lab::{Conversation, Dhcp};

use crate::{
    ipv6::{self, OTHER_NETWORK, announce, connect_ipv6, wait_for_way},
    roaming::Deciding,
    stage::{DEADLINE, Watched, assert_alive},
    steering::Flow,
    uplink::{NETWORK, access_point, converse, manager, reached_by, stage, with_connect_timeout},
};

/// As scenario 29 has it.
const FLAPS: u32 = 20;
const FLAPPING: Duration = Duration::from_secs(10);
/// Much shorter than settling takes.
const FOR_A_MOMENT: Duration = Duration::from_millis(100);
/// A member that has been lost twenty times within a minute is not offered before another one is over.
const DAMPED: Duration = Duration::from_secs(3);

/// Scenario 27, in both families, and with either of them in the better place.
#[test]
fn those_who_decide_may_settle_on_different_members_at_the_same_time() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    // No member is to fail here.
    let manager = stage.start(|setup| with_connect_timeout(setup, DEADLINE));
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

/// Scenario 50, of a candidate that was rejected: gone and back, it is offered once.
#[test]
fn what_was_rejected_is_offered_again_once_it_was_replugged() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    deciding.on_trial(&stage).reject().expect("the trial is on");
    deciding.watched.expect(&["Connected"]);
    deciding.expect_no_offer();
    access_point(&stage, "lan").cut().expect("the cable is cut");
    deciding.offered(&stage).ignore().expect("it is the newest");
    deciding.expect_no_offer();
    deciding.assert_on_lte();
}

/// Scenario 56, its part of offers: what is down and without a cable is not offered, and down again after the last close.
#[test]
fn a_member_without_a_cable_is_offered_once_it_has_one() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    deciding.expect_no_offer();
    let offer = deciding.offered(&stage);
    deciding.expect_no_offer();
    offer.ignore().expect("it is the newest");
    assert_eq!(reached_by(&deciding.watched), "lte");
    deciding.watched.close();
    deciding.watched.expect(&["Closed", "Closing", "Disconnected"]);
    drop((deciding, manager));
    stage.assert_as_before();
}
