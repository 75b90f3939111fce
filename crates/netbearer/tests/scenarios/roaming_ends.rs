//! How an offer, a migration and a trial end without an answer (scenario 52).

use std::thread;

use netbearer::MigrateError;
use netbearer_holder::Order;
use netbearer_lab::{Dhcp, Fault, Script};

use crate::{
    holders::Holder,
    roaming::{Deciding, ON_TRIAL},
    stage::{DEADLINE, Manager, Stage, Watched, assert_alive, server},
    transport::Transport,
    uplink::{access_point, converse, expect_abort, patient_manager, reached_by, stage},
};

const MOVED: &str = "ActiveConfigurationChanged(native-lan)";

/// Those whose old link is there are moved as well: scenario 25.
#[test]
fn an_offer_whose_events_are_dropped_without_a_link_is_moved_to() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = patient_manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let superseded = deciding.offered(&stage);
    access_point(&stage, "lte").cut().expect("the cable is cut");
    deciding.watched.expect(&["Roaming", "PreferredConfigurationChanged(native-lan, replacement)"]);
    expect_abort(&deciding.old);
    let replacement = deciding.next_offer();
    assert!(replacement.replacement && replacement.number > superseded.number);
    let Deciding { mut watched, roaming, .. } = deciding;
    drop(roaming);
    watched.expect(&["Connected", MOVED]);
    assert_eq!(reached_by(&watched), "lan");
    for offer in [superseded, replacement] {
        let over = offer.ignore().expect_err("it is void");
        assert!(matches!(over, MigrateError::Over(_)), "{over}");
    }
    watched.expect_silence();
}

/// The candidate's DHCP server does not answer before the events are dropped.
#[test]
fn a_migration_whose_events_are_dropped_is_rejected_or_without_a_link_goes_on() {
    for has_link in [true, false] {
        let stage = stage(Dhcp::Scripted(Script::default()), Dhcp::Dnsmasq);
        let server = access_point(&stage, "lan").dhcp_server().expect("it is scripted");
        server.fail(Fault::Silent);
        let manager = patient_manager(&stage);
        let mut deciding = Deciding::on_lte(&stage, &manager);
        let mut lan = Watched::on(&manager, "lan");
        let offer = deciding.offered(&stage);
        let Deciding { mut watched, roaming, mut old } = deciding;
        let migrated = thread::scope(|scope| {
            let migrating = scope.spawn(|| offer.migrate());
            watched.expect(&["Roaming"]);
            if !has_link {
                access_point(&stage, "lte").cut().expect("the cable is cut");
                watched.expect(&["CurrentLinkLost"]);
            }
            drop(roaming);
            if has_link {
                watched.expect(&["Connected"]);
            } else {
                watched.expect_silence();
                server.heal();
                watched.expect(&["Connected", MOVED]);
            }
            migrating.join().expect("it is answered")
        });
        let over = migrated.expect_err("somebody else has decided");
        assert!(matches!(over, MigrateError::Over(_)), "{over}");
        if has_link {
            lan.expect_last("Closing");
            lan.expect(&["Disconnected"]);
            assert_eq!(reached_by(&watched), "lte");
            assert_alive(&mut old);
        } else {
            assert_eq!(reached_by(&watched), "lan");
        }
        watched.expect_silence();
        assert!(!watched.session.is_stakeholder());
    }
}

/// One whose old link is there is rejected, as "roaming" shows.
#[test]
fn a_trial_whose_events_are_dropped_without_the_old_link_is_accepted() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = patient_manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let mut trial = deciding.on_trial(&stage);
    let mut tried = converse(&deciding.watched);
    access_point(&stage, "lte").cut().expect("the cable is cut");
    deciding.watched.expect(&["CurrentLinkLost"]);
    let Deciding { mut watched, roaming, .. } = deciding;
    drop(roaming);
    watched.expect(&["Connected"]);
    assert_eq!(watched.active_configuration(), "native-lan");
    let over = trial.ended_within(DEADLINE).expect("it is over");
    assert!(matches!(over, MigrateError::Over(_)), "{over}");
    assert!(trial.connect_tcp(server()).is_err(), "it is over");
    assert_alive(&mut tried);
    assert_eq!(reached_by(&watched), "lan");
    watched.expect_silence();
}

/// The card is pulled out; what comes back is offered anew.
#[test]
fn what_is_withdrawn_cannot_be_answered_and_is_offered_anew_when_it_is_back() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = patient_manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let withdrawn = deciding.offered(&stage);
    let number = withdrawn.number;
    access_point(&stage, "lan").unplug().expect("it is there");
    deciding.watched.expect(&["OfferWithdrawn"]);
    let over = withdrawn.ignore().expect_err("it is not there");
    assert!(matches!(over, MigrateError::Over(offer) if offer == number), "{over}");
    deciding.expect_no_offer();
    deciding.assert_on_lte();
    access_point(&stage, "lan").plug().expect("it was pulled out");
    let anew = deciding.offered(&stage);
    assert!(anew.number > number);
    anew.migrate().expect("it comes up").accept().expect("the trial is on");
    deciding.watched.expect(&["Roaming", ON_TRIAL, "Connected"]);
}

/// Another process stops this access point; in an embedded service, which serves its own only, another session does.
fn stop(stage: &Stage, manager: &Manager, access_point: &str) {
    if Transport::chosen() == Transport::Embedded {
        return Watched::on(manager, access_point).session.stop().expect("it is ours");
    }
    let mut other = Holder::start(stage, manager);
    let session = other.session(access_point);
    other.give(Order::Stop(session)).expect("root may");
    other.end();
}

#[test]
fn in_a_trial_a_stopped_candidate_has_died_and_a_stopped_old_link_is_lost() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = patient_manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let mut trial = deciding.on_trial(&stage);
    let tried = converse(&deciding.watched);
    stop(&stage, &manager, "lan");
    deciding.watched.expect(&["Connected", "RoamingFailed(native-lan)"]);
    let died = trial.ended_within(DEADLINE).expect("it is over");
    assert!(
        matches!(&died, MigrateError::Failed { configuration, .. } if configuration.as_str() == "native-lan"),
        "{died}"
    );
    expect_abort(&tried);
    deciding.expect_no_offer();
    deciding.assert_on_lte();

    access_point(&stage, "lan").cut().expect("the cable is cut");
    let trial = deciding.on_trial(&stage);
    let mut tried = converse(&deciding.watched);
    stop(&stage, &manager, "lte");
    deciding.watched.expect(&["CurrentLinkLost"]);
    expect_abort(&deciding.old);
    assert!(deciding.watched.session.is_open());
    assert_eq!(deciding.watched.session.interface(), None);
    assert_eq!(reached_by(&deciding.watched), "lan");
    trial.accept().expect("only that remains");
    deciding.watched.expect(&["Connected"]);
    assert_alive(&mut tried);
    deciding.watched.expect_silence();
    deciding.watched.close();
    deciding.watched.expect(&["Closed", "Closing", "Disconnected"]);
    drop((deciding, manager));
    stage.assert_as_before();
}

#[test]
fn who_rejects_after_the_old_link_was_stopped_has_none() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = patient_manager(&stage);
    let mut deciding = Deciding::on_lte(&stage, &manager);
    let trial = deciding.on_trial(&stage);
    stop(&stage, &manager, "lte");
    deciding.watched.expect(&["CurrentLinkLost"]);
    trial.reject().expect("the trial is on");
    deciding.watched.expect(&["Disconnected", "Error(Roaming)", "Closed"]);
}
