//! What routers announce: addresses and routes by which a session has its network, with or without DHCP.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use netbearer::{Family, SessionState, SocketError};
use netbearer_lab::{
    AccessPoint, AccessPointPlan, Conversation, Dhcp, ECHO_PORT, INTERNET, INTERNET_V6, LabError, Preference,
    RouterAdvertisement,
};

use crate::stage::{AP0, DEADLINE, Stage, Watched, assert_aborted, assert_alive, server};

pub(crate) const NETWORK: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);
/// Another one, for a second access point.
pub(crate) const OTHER_NETWORK: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0);
const NAME_SERVER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x53);
const MAIN: &str = "main";
const OURS: &str = "21001";

/// A default router with a network to make addresses of.
fn router(access_point: &AccessPoint, network: Ipv6Addr) -> RouterAdvertisement {
    RouterAdvertisement::new(600, Preference::Medium)
        .prefix(network, 3_600, 1_800)
        .source_hardware_address(access_point.router_hardware_address())
}

/// The access point's own address in the network.
fn first_of(network: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(network) + 1)
}

pub(crate) fn ipv6_server() -> SocketAddr {
    (INTERNET_V6, ECHO_PORT).into()
}

/// The access point announces itself, once, when the machine can hear it.
pub(crate) fn announce(stage: &Stage, access_point: &AccessPoint, network: Ipv6Addr) {
    access_point.serve_ipv6(first_of(network)).unwrap();
    wait_for_carrier(stage, access_point);
    access_point.advertise(&router(access_point, network)).unwrap();
}

fn wait_for_carrier(stage: &Stage, access_point: &AccessPoint) {
    let has_carrier = || Ok(stage.lab.machine().has_carrier(access_point.name())?.then_some(()));
    stage.lab.machine().wait_until("carrier", DEADLINE, has_carrier).unwrap();
}

/// The routes of a table for IPv6 by a way that contains this.
fn ipv6_routes(stage: &Stage, table: &str, wanted: &str) -> Result<Vec<String>, LabError> {
    let routes = stage.lab.machine().routes(table)?;
    Ok(routes.into_iter().filter(|route| route.contains(wanted)).collect())
}

pub(crate) fn wait_for_route(stage: &Stage, table: &str, wanted: &str) -> String {
    let found = || Ok(ipv6_routes(stage, table, wanted)?.pop());
    stage.lab.machine().wait_until(&format!("{wanted} in table {table}"), DEADLINE, found).unwrap()
}

/// Both have come: a default route in the table, and an address that leads to it.
pub(crate) fn wait_for_way(stage: &Stage, table: &str) {
    wait_for_route(stage, table, "default via fe80::1");
    let leads = |rule: &String| rule.contains("from 2001:db8:") && rule.contains(&format!("lookup {table} "));
    let is_steered = || Ok(ipv6_rules(stage).iter().any(leads).then_some(()));
    stage.lab.machine().wait_until("a source rule", DEADLINE, is_steered).unwrap();
}

fn wait_for_no_route(stage: &Stage, table: &str, unwanted: &str) {
    let gone = || Ok(ipv6_routes(stage, table, unwanted)?.is_empty().then_some(()));
    stage.lab.machine().wait_until(&format!("no {unwanted} in table {table}"), DEADLINE, gone).unwrap();
}

fn ipv6_rules(stage: &Stage) -> Vec<String> {
    let rules = stage.lab.machine().ip_lines(&["-6", "rule", "show"]).unwrap();
    rules.into_iter().filter(|rule| rule.starts_with("51")).collect()
}

pub(crate) fn connect_ipv6(watched: &Watched) -> Conversation {
    let stream = watched.session.connect_tcp(ipv6_server()).expect("the server is reached by IPv6");
    Conversation::over(stream, DEADLINE).expect("the server greets")
}

#[test]
fn without_a_dhcp_server_a_router_is_enough_to_open() {
    let stage = Stage::new([AccessPointPlan::new(AP0)]);
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    session.open();
    announce(&stage, stage.ap0(), NETWORK);
    session.expect(&["Connecting", "Connected", "Opened"]);
    assert_eq!(stage.address_of(AP0), None);
    assert_eq!(connect_ipv6(&session).access_point(), AP0);
    let interface = session.session.interface().unwrap();
    assert!(interface.gateways.contains(&IpAddr::V6("fe80::1".parse().unwrap())), "{interface:?}");
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

/// The kernel would look for the server on the link, from no address, and wait for two minutes.
#[test]
fn a_family_that_the_link_has_no_address_of_is_refused_at_once() {
    let stage = Stage::new([AccessPointPlan::new(AP0)]);
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    let own = session.session.configuration().identifier;
    let refused = |outcome: Result<(), SocketError>| match outcome {
        Err(SocketError::NoAddress { session, family: Family::V4 }) => assert_eq!(session, own),
        other => panic!("{other:?}"),
    };
    session.open();
    announce(&stage, stage.ap0(), NETWORK);
    session.expect(&["Connecting", "Connected", "Opened"]);
    refused(session.session.connect_tcp(server()).map(drop));
    let mapped = SocketAddr::new(INTERNET.to_ipv6_mapped().into(), ECHO_PORT);
    refused(session.session.connect_tcp(mapped).map(drop));
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    refused(session.session.bind(&socket));
    session.session.bind(&UdpSocket::bind("[::]:0").unwrap()).unwrap();
    // What the kernel has is used, though it may not have been told yet.
    stage.ip(&format!("address add 10.10.0.77/24 dev {AP0}"));
    session.session.bind(&socket).unwrap();
    connect_ipv6(&session);
}

#[test]
fn ipv6_is_refused_while_only_ipv4_is_there() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let session = Watched::opened(&manager);
    let outcome = session.session.connect_tcp(ipv6_server());
    assert!(matches!(outcome, Err(SocketError::NoAddress { family: Family::V6, .. })), "{outcome:?}");
    session.assert_up();
}

/// The kernel takes what routers announce with the settings of that moment, and forgets the rest; routers say it once in a
/// while only.
#[test]
fn the_first_advertisement_is_taken_with_our_metric_and_the_routes_in_it() {
    let stage = Stage::new([AccessPointPlan::new(AP0)]);
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    session.open();
    stage.ap0().serve_ipv6(first_of(NETWORK)).unwrap();
    wait_for_carrier(&stage, stage.ap0());
    let behind = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0);
    stage.ap0().advertise(&router(stage.ap0(), NETWORK).route(behind, 48, 600, Preference::High)).unwrap();
    session.expect(&["Connecting", "Connected", "Opened"]);
    let default = wait_for_route(&stage, MAIN, "default via fe80::1");
    assert!(default.contains("proto ra") && default.contains("metric 20001001"), "{default}");
    wait_for_route(&stage, OURS, "2001:db8:77::/48 via fe80::1");
}

#[test]
fn ipv6_follows_silently_what_ipv4_has_opened_and_both_go_with_the_session() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    announce(&stage, stage.ap0(), NETWORK);
    wait_for_way(&stage, OURS);
    wait_for_route(&stage, OURS, "2001:db8:1::/64");
    assert_eq!(ipv6_rules(&stage).len(), 4, "{:?}", ipv6_rules(&stage));
    let default = wait_for_route(&stage, MAIN, "default via fe80::1");
    assert!(default.contains("proto ra") && default.contains("metric 20001001"), "{default}");
    assert_eq!(connect_ipv6(&session).access_point(), AP0);
    session.assert_up();
    assert_eq!(session.session.state(), SessionState::Connected);
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

#[test]
fn routes_to_networks_and_their_end_are_followed() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let session = Watched::opened(&manager);
    announce(&stage, stage.ap0(), NETWORK);
    let behind = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0);
    let with_route = |lifetime| router(stage.ap0(), NETWORK).route(behind, 48, lifetime, Preference::High);
    stage.ap0().advertise(&with_route(600)).unwrap();
    wait_for_route(&stage, OURS, "2001:db8:77::/48 via fe80::1");
    stage.ap0().advertise(&with_route(0)).unwrap();
    wait_for_no_route(&stage, OURS, "2001:db8:77::/48");
    stage.ap0().advertise(&RouterAdvertisement::new(0, Preference::Medium)).unwrap();
    wait_for_no_route(&stage, OURS, "default via fe80::1");
    session.assert_up();
}

#[test]
fn rules_and_routes_for_ipv6_that_others_delete_are_put_back() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let session = Watched::opened(&manager);
    announce(&stage, stage.ap0(), NETWORK);
    wait_for_way(&stage, OURS);
    connect_ipv6(&session);
    stage.ip("-6 rule delete priority 5100");
    let is_back = || Ok(ipv6_rules(&stage).iter().any(|rule| rule.starts_with("5100:")).then_some(()));
    stage.lab.machine().wait_until("the rule again", DEADLINE, is_back).unwrap();
    stage.ip("-6 route flush table 21001");
    wait_for_route(&stage, OURS, "default via fe80::1");
    wait_for_route(&stage, OURS, "fe80::/64");
    assert_eq!(connect_ipv6(&session).access_point(), AP0);
}

#[test]
fn an_address_by_dhcp_joins_a_session_that_a_router_has_opened_and_its_loss_leaves_it_open() {
    let script = netbearer_lab::Script::default().lease_time(std::time::Duration::from_secs(2));
    let stage = Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Scripted(script))]);
    let server = stage.ap0().dhcp_server().unwrap();
    server.fail(netbearer_lab::Fault::Silent);
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    session.open();
    announce(&stage, stage.ap0(), NETWORK);
    session.expect(&["Connecting", "Connected", "Opened"]);
    server.heal();
    wait_for_route(&stage, OURS, "default via 10.10.0.1");
    let mut conversation = session.assert_up();
    let mut other = connect_ipv6(&session);
    server.fail(netbearer_lab::Fault::Silent);
    wait_for_no_route(&stage, OURS, "default via 10.10.0.1");
    // Nothing can reach it any more.
    assert_aborted(&mut conversation);
    assert_alive(&mut other);
    assert_eq!(connect_ipv6(&session).access_point(), AP0);
    assert!(session.session.is_open());
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

#[test]
fn name_servers_that_routers_announce_stand_behind_those_of_the_lease() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let before = session.session.interface().unwrap().name_servers;
    assert!(!before.is_empty());
    let domain = [&[0, 0, 0, 0, 0x0e, 0x10][..], b"\x04corp\x07example\0"].concat();
    announce(&stage, stage.ap0(), NETWORK);
    stage.ap0().advertise(&router(stage.ap0(), NETWORK).servers(3_600, &[NAME_SERVER]).option(31, &domain)).unwrap();
    let told = loop {
        let _ = session.next();
        let interface = session.session.interface().unwrap();
        if interface.name_servers.len() > before.len() && !interface.search_domains.is_empty() {
            break interface;
        }
    };
    assert_eq!(told.name_servers, [before, vec![IpAddr::V6(NAME_SERVER)]].concat());
    assert!(told.search_domains.contains(&"corp.example".to_owned()), "{:?}", told.search_domains);
}

/// A link that was up before is given back with the addresses that the kernel has made on it.
#[test]
fn on_a_link_that_was_found_up_the_kernels_own_addresses_stay() {
    let mut stage = Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Dnsmasq)]);
    stage.ip(&format!("link set {AP0} up"));
    stage.remember();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    announce(&stage, stage.ap0(), NETWORK);
    wait_for_way(&stage, OURS);
    session.close();
    session.expect_last("Closed");
    let is_gone = || Ok((stage.rules_of_ours() == 0 && ipv6_rules(&stage).is_empty()).then_some(()));
    stage.lab.machine().wait_until("no rule of ours", DEADLINE, is_gone).unwrap();
    wait_for_no_route(&stage, OURS, "");
    assert!(learnt_address(&stage).unwrap());
    assert!(stage.lab.machine().is_administratively_up(AP0).unwrap());
}

fn learnt_address(stage: &Stage) -> Result<bool, LabError> {
    let addresses = stage.lab.machine().addresses(AP0)?;
    let is_learnt =
        |address: &IpAddr| matches!(address, IpAddr::V6(address) if address.segments()[..4] == NETWORK.segments()[..4]);
    Ok(addresses.iter().any(|(address, _)| is_learnt(address)))
}
