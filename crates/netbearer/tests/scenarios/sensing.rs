//! Links that are kept up only so that their carrier can be seen (semantics §2, "Sensing").

use std::time::Duration;

use netbearer::{Profile, ServiceNetworkProfile};
use netbearer_lab::{AccessPoint, AccessPointPlan, Dhcp, Fault, Script};

use crate::{
    ipv6::{NETWORK, announce, connect_ipv6, wait_for_way},
    stage::{AP0, DEADLINE, Stage, Watched},
};

const AP1: &str = "ap1";
/// Time enough for a router's word to be acted on.
const A_WHILE: Duration = Duration::from_millis(300);

/// Nothing of the access point has an address, or a route by IPv6.
fn is_bare(stage: &Stage, access_point: &AccessPoint) -> bool {
    let machine = stage.lab.machine();
    let routes = machine.ip_lines(&["-6", "route", "show", "dev", access_point.name()]).unwrap();
    machine.addresses(access_point.name()).unwrap().is_empty() && routes.is_empty()
}

fn wait_until_bare(stage: &Stage, access_point: &AccessPoint) {
    let bare = || Ok(is_bare(stage, access_point).then_some(()));
    stage.lab.machine().wait_until("no address", DEADLINE, bare).unwrap();
}

/// It has carrier, and a router that announces itself there gives it no address.
fn assert_bare_beside_a_router(stage: &Stage, access_point: &AccessPoint, watched: &mut Watched) {
    announce(stage, access_point, NETWORK);
    watched.expect_silence_for(A_WHILE);
    assert!(stage.lab.machine().has_carrier(access_point.name()).unwrap());
    assert!(is_bare(stage, access_point), "{:?}", stage.lab.machine().addresses(access_point.name()));
}

#[test]
fn an_unused_member_has_carrier_and_no_address_until_it_is_opened() {
    let stage = Stage::new([AP0, AP1].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)));
    let members = [AP0, AP1].map(str::to_owned).to_vec();
    let network = ServiceNetworkProfile { members, ..ServiceNetworkProfile::default() };
    let manager = stage.start(|setup| setup.service_network("uplink", network));
    let mut watched = Watched::on(&manager, "service-uplink");
    watched.open();
    watched.expect(&["Connecting", "Connected", "Opened"]);
    let unused = stage.lab.access_point(AP1).unwrap();
    assert_bare_beside_a_router(&stage, unused, &mut watched);

    let mut member = Watched::on(&manager, AP1);
    member.open();
    member.expect_last("Opened");
    announce(&stage, unused, NETWORK);
    wait_for_way(&stage, "21002");
    assert_eq!(connect_ipv6(&member).access_point(), AP1);
    member.close();
    member.expect_last("Disconnected");
    // It is unused again, and has nothing left of what it had.
    wait_until_bare(&stage, unused);
    assert_bare_beside_a_router(&stage, unused, &mut watched);
    watched.close();
    watched.expect_last("Disconnected");
    drop((watched, member));
    manager.shutdown();
    stage.assert_as_before();
}

#[test]
fn a_link_that_is_waited_for_has_carrier_and_no_address_until_it_is_tried_again() {
    let stage = Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Scripted(Script::default()))]);
    let server = stage.ap0().dhcp_server().unwrap();
    server.fail(Fault::Silent);
    let connect_timeout = Duration::from_millis(400);
    let manager = stage.manager_with(Profile { connect_timeout, ..Profile::default() });
    let mut session = Watched::reconnecting(&manager);
    session.open();
    // The second wait is the longer one.
    for _ in 0..2 {
        session.expect(&["Connecting", "Disconnected"]);
        wait_until_bare(&stage, stage.ap0());
    }
    assert_bare_beside_a_router(&stage, stage.ap0(), &mut session);
    server.heal();
    session.expect_last("Opened");
    announce(&stage, stage.ap0(), NETWORK);
    wait_for_way(&stage, "21001");
    assert_eq!(connect_ipv6(&session).access_point(), AP0);
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

/// What others have on a link that was up when it was found stays there.
#[test]
fn a_link_that_was_up_keeps_its_addresses_while_it_is_waited_for() {
    let mut stage = Stage::new([AccessPointPlan::new(AP0)]);
    let machine = stage.lab.machine();
    // The kernel makes addresses of its own at a time of its own.
    machine.set_sysctl("net/ipv6/conf/ap0/addr_gen_mode", "1").unwrap();
    stage.ip("address add fe80::77/64 dev ap0 nodad");
    stage.ip("link set ap0 up");
    let is_there = || Ok(machine.routes("local")?.iter().any(|route| route.contains("fe80::77")).then_some(()));
    machine.wait_until("the address", DEADLINE, is_there).unwrap();
    stage.remember();
    let connect_timeout = Duration::from_millis(300);
    let manager = stage.manager_with(Profile { connect_timeout, ..Profile::default() });
    let mut session = Watched::reconnecting(&manager);
    session.open();
    session.expect(&["Connecting", "Disconnected"]);
    session.expect_silence_for(A_WHILE);
    let kept = ("fe80::77".parse().unwrap(), 64);
    assert!(stage.lab.machine().addresses(AP0).unwrap().contains(&kept));
    session.close();
    session.expect_last("Closed");
    drop(session);
    manager.shutdown();
    stage.assert_as_before();
}
