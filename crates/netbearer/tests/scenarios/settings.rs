//! The kernel's settings of an interface: ours while it is ours, and what they were before and after.

use netbearer::Profile;

use crate::stage::{AP0, DEADLINE, Stage, Watched};

/// Most settings are changed after the session is open, as nobody waits for them.
fn assert_settings(stage: &Stage, expected: &[(&str, &str)]) {
    let machine = stage.lab.machine();
    for (setting, value) in expected {
        let path = setting.replacen('/', "/conf/ap0/", 1);
        machine.wait_for_sysctl(&format!("net/{path}"), value, DEADLINE).unwrap();
    }
}

#[test]
fn the_settings_of_a_link_of_ours_are_changed_while_it_is_open_and_restored_after() {
    let mut stage = Stage::with_dnsmasq();
    let machine = stage.lab.machine();
    machine.set_sysctl("net/ipv4/conf/ap0/rp_filter", "1").unwrap();
    machine.set_sysctl("net/ipv6/conf/ap0/accept_ra", "0").unwrap();
    stage.remember();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    assert_settings(
        &stage,
        &[
            ("ipv4/rp_filter", "2"),
            ("ipv4/arp_ignore", "1"),
            ("ipv4/arp_announce", "2"),
            ("ipv6/accept_ra", "2"),
            ("ipv6/accept_ra_defrtr", "1"),
            ("ipv6/ra_defrtr_metric", "20001001"),
            ("ipv6/optimistic_dad", "1"),
            ("ipv6/use_optimistic", "1"),
        ],
    );
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

/// Of several interfaces only the one that is opened is changed; of that one, what somebody else changes meanwhile is his.
#[test]
fn what_somebody_else_sets_meanwhile_stays() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    assert_settings(&stage, &[("ipv4/arp_ignore", "1"), ("ipv4/arp_announce", "2")]);
    stage.lab.machine().set_sysctl("net/ipv4/conf/ap0/arp_ignore", "2").unwrap();
    session.close();
    session.expect_last("Disconnected");
    assert_settings(&stage, &[("ipv4/arp_ignore", "2"), ("ipv4/arp_announce", "0")]);
    stage.lab.machine().set_sysctl("net/ipv4/conf/ap0/arp_ignore", "0").unwrap();
    stage.assert_as_before();
}

/// An interface too small for IPv6 (RFC 8200 §5) has none of its settings, and works by IPv4.
#[test]
fn a_link_without_ipv6_opens_all_the_same() {
    let mut stage = Stage::with_dnsmasq();
    stage.ip(&format!("link set {AP0} mtu 1000"));
    stage.remember();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    session.assert_up();
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

#[test]
fn without_a_default_route_none_is_accepted_from_routers() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager_with(Profile { default_route: false, ..Profile::default() });
    let session = Watched::opened(&manager);
    assert_settings(&stage, &[("ipv6/accept_ra_defrtr", "0")]);
    drop(session);
    manager.shutdown();
    stage.assert_as_before();
}
