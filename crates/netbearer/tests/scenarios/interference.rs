//! What others do to what is ours, and what must not happen to what is theirs.

use netbearer_lab::{AccessPointPlan, Dhcp};

use crate::stage::{AP0, DEADLINE, Stage, Watched};

/// Rules and routes of ours that somebody deletes or replaces are put back, and nobody notices.
#[test]
fn rules_and_routes_that_others_delete_are_put_back() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let (rules, routes) = (stage.rules(), stage.routes());
    for deleted in [
        "rule delete priority 5100",
        "rule delete priority 5111",
        "rule delete priority 5120",
        "route flush table 21001",
        "route flush proto 110",
        "route replace blackhole default table 21001",
    ] {
        stage.ip(deleted);
        let restored = || Ok((stage.rules() == rules && stage.routes() == routes).then_some(()));
        stage.lab.machine().wait_until(&format!("all as before `ip {deleted}`"), DEADLINE, restored).unwrap();
    }
    session.assert_up();
    session.expect_silence();
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

/// A program that deletes again and again what we put back has its way, and the session is told.
#[test]
fn a_link_whose_rules_others_keep_deleting_is_lost() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    for _ in 0..10 {
        stage.ip("rule delete priority 5100");
        let restored = || Ok(stage.rules().contains("5100:").then_some(()));
        stage.lab.machine().wait_until("the rule again", DEADLINE, restored).unwrap();
    }
    stage.ip("rule delete priority 5100");
    session.expect_loss("another program keeps removing");
    manager.shutdown();
    stage.assert_as_before();
}

/// An address that somebody put on the interface, and that the server leases as well, stays when the lease goes.
#[test]
fn a_foreign_address_equal_to_the_leased_one_is_left_alone() {
    let mut stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let leased = stage.address_of(AP0).unwrap();
    session.close();
    session.expect_last("Disconnected");
    stage.ip(&format!("address add {leased} dev {AP0}"));
    stage.remember();
    session.open();
    session.expect_last("Opened");
    assert_eq!(stage.address_of(AP0).as_ref(), Some(&leased), "the server leases the same again");
    session.assert_up();
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

/// A server cannot steer the traffic of another interface to itself by leasing that one's address.
#[test]
fn an_address_that_another_interface_has_is_not_steered() {
    let other = AccessPointPlan::new("ap1");
    let stage = Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Dnsmasq), other]);
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let leased = stage.address_of(AP0).unwrap();
    assert!(stage.rules().contains("5120:"), "{}", stage.rules());
    session.close();
    session.expect_last("Disconnected");
    stage.ip(&format!("address add {leased} dev ap1"));
    session.open();
    session.expect_last("Opened");
    assert_eq!(stage.address_of(AP0).as_ref(), Some(&leased), "the server leases the same again");
    assert!(!stage.rules().contains("5120:"), "{}", stage.rules());
    session.close();
    session.expect_last("Disconnected");
}

/// The same while the session is open: at once, and back.
#[test]
fn an_address_that_another_interface_gets_in_use_is_not_steered_until_it_goes_there() {
    let other = AccessPointPlan::new("ap1");
    let stage = Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Dnsmasq), other]);
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let mut conversation = session.assert_up();
    let leased = stage.address_of(AP0).unwrap();
    let rules = stage.rules();
    for _ in 0..3 {
        stage.ip(&format!("address add {leased} dev ap1"));
        stage.wait_for_rules("no source rule", |rules| !rules.contains("5120:"));
        // What is bound has its way all the same.
        session.connect();
        stage.ip(&format!("address delete {leased} dev ap1"));
        stage.wait_for_rules("the source rule", |now| now == rules);
    }
    crate::stage::assert_alive(&mut conversation);
    session.expect_silence();
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}
