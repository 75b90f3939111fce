//! What profiles say of addresses, sizes and names, and whom they are for.

use std::{net::Ipv6Addr, time::Instant};

use netbearer::{
    Addressing, HostName, ManagerEvent, Profile, PropertyKey, PropertyValue, Proxy, Purpose, blocking::Events,
};
use netbearer_lab::{AccessPointPlan, Conversation, Dhcp};
use serde_json::Value;

use crate::{
    ipv6::ipv6_server,
    only_embedded,
    stage::{AP0, DEADLINE, Manager, Stage, Watched, assert_alive, plain_connection},
};

/// The access point's own address.
const ROUTER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
const OURS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x77);

/// An access point without a DHCP server, that nobody announces.
fn silent() -> Stage {
    let stage = Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::None)]);
    stage.ap0().serve_ipv6(ROUTER).unwrap();
    stage
}

fn fixed(addresses: &[String], gateways: &[String]) -> Profile {
    Profile {
        addressing: Addressing::Static,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        gateways: gateways.iter().map(|gateway| gateway.parse().unwrap()).collect(),
        ..Profile::default()
    }
}

/// An address in the access point's own network, and its gateway.
pub(crate) fn fixed_ipv4(stage: &Stage, host: u8) -> Profile {
    let subnet = stage.ap0().subnet();
    fixed(&[format!("{}/24", subnet.host(host))], &[subnet.gateway().to_string()])
}

/// As `ip` tells it.
fn link(stage: &Stage) -> Value {
    stage.lab.machine().ip_json(&["address", "show", "dev", AP0]).unwrap()[0].clone()
}

/// What `ip` tells of one of the link's addresses.
fn address(stage: &Stage, wanted: &str) -> Option<Value> {
    let link = link(stage);
    link["addr_info"].as_array().unwrap().iter().find(|address| address["local"] == wanted).cloned()
}

fn is_online(manager: &Manager) -> bool {
    manager.wait_for(async |manager| manager.is_online().await).expect("the service answers")
}

fn reach_by_ipv6(session: &Watched) {
    let stream = session.session.connect_tcp(ipv6_server()).expect("the server is reached by IPv6");
    let mut conversation = Conversation::over(stream, DEADLINE).expect("the server greets");
    assert_alive(&mut conversation);
}

#[test]
fn static_addresses_of_both_families_open_without_asking_anybody_and_go_again() {
    let stage = silent();
    let subnet = stage.ap0().subnet();
    let (own, gateway) = (subnet.host(77).to_string(), subnet.gateway().to_string());
    let profile = fixed(&[format!("{own}/24"), format!("{OURS}/64")], &[gateway.clone(), ROUTER.to_string()]);
    let manager = stage.manager_with(profile);
    let mut session = Watched::new(&manager);
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    session.assert_up();
    reach_by_ipv6(&session);
    assert!(plain_connection().is_ok(), "the main table has its routes, too");
    for (text, length) in [(own.as_str(), 24), (&OURS.to_string(), 64)] {
        let found = address(&stage, text).unwrap_or_else(|| panic!("{text} is not there: {}", link(&stage)));
        assert_eq!(found["prefixlen"], length, "{found}");
    }
    assert!(
        stage.routes().iter().any(|route| route.starts_with(&format!("default via {gateway} dev ap0 table 21001")))
    );
    assert!(stage.rules().contains(&format!("from {own} lookup 21001")), "{}", stage.rules());
    let interface = session.session.interface().unwrap();
    assert_eq!(interface.gateways.iter().map(ToString::to_string).collect::<Vec<_>>(), [gateway, ROUTER.to_string()]);
    session.close();
    // The kernel tells of the IPv6 address a moment after the other, so the interface may have changed in between.
    session.expect_last("Closed");
    session.expect(&["Closing", "Disconnected"]);
    stage.assert_as_before();
}

/// The kernel would wait a second or two for duplicate address detection.
#[test]
fn a_static_ipv6_address_alone_is_enough_and_used_at_once() {
    let stage = silent();
    let manager = stage.manager_with(fixed(&[format!("{OURS}/64")], &[ROUTER.to_string()]));
    let begin = Instant::now();
    let mut session = Watched::opened(&manager);
    assert!(begin.elapsed().as_millis() < 900, "{:?}", begin.elapsed());
    reach_by_ipv6(&session);
    assert_eq!(stage.address_of(AP0), None);
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

/// Routes and rules by a profile are watched over as those by a lease are, and a lost cable ends the session.
#[test]
fn a_static_link_is_kept_and_lost_like_any_other() {
    let stage = silent();
    let manager = stage.manager_with(fixed_ipv4(&stage, 77));
    let mut session = Watched::opened(&manager);
    stage.ip("route flush table 21001");
    let is_back = || Ok(stage.routes().iter().any(|route| route.contains("table 21001")).then_some(()));
    stage.lab.machine().wait_until("the routes are put back", DEADLINE, is_back).unwrap();
    session.assert_up();
    stage.ap0().cut().unwrap();
    session.expect(&["Disconnected", "Error(SessionAborted)", "Closed"]);
    stage.ap0().restore().unwrap();
    drop(session);
    manager.shutdown();
    stage.assert_as_before();
}

#[test]
fn the_mtu_of_a_profile_holds_while_it_is_open_and_the_old_one_after() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager_with(Profile { mtu: Some(1_400), ..Profile::default() });
    let mut session = Watched::opened(&manager);
    assert_eq!(link(&stage)["mtu"], 1_400);
    assert_eq!(session.session.interface().unwrap().mtu, 1_400);
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

/// No interface takes so much. What could not be set is not taken for set by the next try, before which nothing is undone.
#[test]
fn an_mtu_that_the_kernel_refuses_fails_each_try_and_leaves_nothing() {
    if only_embedded("files with such an MTU are refused") {
        return;
    }
    let stage = silent();
    let manager = stage.manager_with(Profile { mtu: Some(70_000), ..fixed_ipv4(&stage, 77) });
    let mut session = Watched::new(&manager);
    session.open();
    session.expect(&["Connecting", "Disconnected", "Error(Unknown)"]);
    let failure = session.session.error().unwrap();
    assert!(failure.message.contains("MTU"), "{failure}");
    session.session.set_property(PropertyKey::Reconnect, Some(PropertyValue::Boolean(true))).unwrap();
    session.open();
    session.expect(&["Connecting", "Disconnected", "Connecting", "Disconnected"]);
    session.close();
    session.expect(&["Closed"]);
    manager.shutdown();
    stage.assert_as_before();
}

#[test]
fn a_static_link_has_the_mtu_of_its_profile() {
    let stage = silent();
    let manager = stage.manager_with(Profile { mtu: Some(1_400), ..fixed_ipv4(&stage, 77) });
    let mut session = Watched::opened(&manager);
    assert_eq!((&link(&stage)["mtu"], session.session.interface().unwrap().mtu), (&1_400.into(), 1_400));
    session.assert_up();
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

/// What somebody else sets meanwhile is his.
#[test]
fn an_mtu_that_somebody_else_sets_meanwhile_stays() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager_with(Profile { mtu: Some(1_400), ..Profile::default() });
    let mut session = Watched::opened(&manager);
    stage.ip("link set ap0 mtu 1350");
    let event = session.next();
    assert!(event.contains("InterfaceChanged") && event.contains("mtu: 1350"), "{event}");
    session.close();
    session.expect_last("Disconnected");
    assert_eq!(link(&stage)["mtu"], 1_350);
    stage.ip("link set ap0 mtu 1500");
    stage.assert_as_before();
}

#[test]
fn name_servers_and_search_domains_of_a_profile_count_instead_of_the_lease_s() {
    let stage = Stage::with_dnsmasq();
    let told = {
        let manager = stage.manager();
        let session = Watched::opened(&manager);
        session.session.interface().unwrap().name_servers
    };
    assert!(!told.is_empty(), "the network tells one");
    let own = "192.0.2.53".parse().unwrap();
    let profile = Profile {
        name_servers: vec![own],
        search_domains: vec![HostName::new("office.example").unwrap()],
        ..Profile::default()
    };
    let manager = stage.manager_with(profile);
    let session = Watched::opened(&manager);
    let interface = session.session.interface().unwrap();
    assert_eq!((interface.name_servers, interface.search_domains), (vec![own], vec!["office.example".to_owned()]));
}

#[test]
fn files_are_matched_by_hardware_and_the_more_specific_one_counts() {
    let stage = Stage::with_dnsmasq();
    let profile = |matching: &str, mtu: u32| format!("[match]\n{matching}\n[access_point]\nmtu = {mtu}\n");
    let mtu = || {
        let manager = stage.manager();
        let mut session = Watched::opened(&manager);
        let mtu = link(&stage)["mtu"].clone();
        session.close();
        session.expect_last("Disconnected");
        mtu
    };
    stage.write_configuration("profiles.d/all.toml", &profile("driver = \"veth\"", 1_410));
    assert_eq!(mtu(), 1_410);
    stage.write_configuration("profiles.d/name.toml", &profile("interface = \"ap0\"", 1_420));
    assert_eq!(mtu(), 1_420);
    let address = link(&stage)["address"].as_str().unwrap().to_uppercase();
    stage.write_configuration("profiles.d/card.toml", &profile(&format!("mac = \"{address}\""), 1_430));
    assert_eq!(mtu(), 1_430);
    stage.write_configuration("profiles.d/other.toml", &profile("mac = \"02:00:00:00:00:09\"", 1_440));
    assert_eq!(mtu(), 1_430);
    stage.assert_as_before();
}

#[test]
fn what_a_profile_says_of_its_network_is_told_to_applications() {
    let stage = Stage::with_dnsmasq();
    let text = "[match]\ninterface = \"ap0\"\n[access_point]\nname = \"Office\"\npurpose = \"private\"\nmetered = true\n\
        proxy_auto_configuration = \"http://proxy.example/wpad.dat\"\nonline = false\n";
    stage.write_configuration("profiles.d/office.toml", text);
    let manager = stage.manager();
    let configuration = manager.find(Some("Office")).unwrap();
    assert_eq!((configuration.purpose, configuration.metered), (Purpose::Private, true));
    assert_eq!(configuration.proxy, Proxy::AutoConfigurationUrl("http://proxy.example/wpad.dat".into()));
    let session = Watched::opened(&manager);
    assert!(!is_online(&manager), "the profile says that it leads nowhere");
    drop(session);
    manager.shutdown();
    stage.write_configuration(
        "profiles.d/office.toml",
        "[match]\ninterface = \"ap0\"\n[access_point]\ndefault_route = false\nonline = true\n",
    );
    let manager = stage.manager();
    let _session = Watched::opened(&manager);
    assert!(is_online(&manager), "the profile says so, though the main table has no default route");
}

/// Reads events until the access point is called so; then the files have been read.
fn wait_for_name(events: &mut Events<ManagerEvent>, name: &str) {
    loop {
        match events.next_within(DEADLINE).expect("the change is told") {
            ManagerEvent::ConfigurationChanged { configuration } if configuration.name == name => return,
            _ => {}
        }
    }
}

#[test]
fn an_edited_file_is_in_force_at_once_and_a_broken_one_as_it_was() {
    let stage = Stage::with_dnsmasq();
    let write = |name: &str, mtu: &str| {
        let text = format!("[match]\ninterface = \"ap0\"\n[access_point]\nname = \"{name}\"\nmtu = {mtu}\n");
        stage.write_configuration("profiles.d/ap0.toml", &text);
    };
    write("First", "1400");
    let manager = stage.manager();
    let mut events = manager.events();
    let mut session = Watched::opened(&manager);
    assert_eq!(link(&stage)["mtu"], 1_400);
    write("Second", "1300");
    wait_for_name(&mut events, "Second");
    assert_eq!(link(&stage)["mtu"], 1_400, "how a link is brought up changes the next time");
    session.assert_up();
    // Nothing of a broken file is in force, and all of what it said before; its drop-in is part of it.
    stage.write_configuration(
        "profiles.d/ap0.toml.d/10-broken.toml",
        "[access_point]\nname = \"Broken\"\nmtu = \"big\"\n",
    );
    stage.write_configuration("profiles.d/other.toml", "[match]\ninterface = \"ap7\"\n");
    stage.write_configuration("profiles.d/uplink.toml", "[service_network]\nname = \"Uplink\"\nmembers = [\"ap0\"]\n");
    loop {
        match events.next_within(DEADLINE).expect("the service network is told") {
            ManagerEvent::ConfigurationAdded { configuration } if configuration.name == "Uplink" => break,
            ManagerEvent::ConfigurationChanged { configuration } => assert_ne!(configuration.name, "Broken"),
            _ => {}
        }
    }
    assert_eq!(manager.find(Some("ap0")).unwrap().name, "Second");
    session.close();
    session.expect_last("Disconnected");
    session.open();
    session.expect_last("Opened");
    assert_eq!(link(&stage)["mtu"], 1_300);
    drop(session);
    manager.shutdown();
    stage.assert_as_before();
}

#[test]
fn the_configuration_file_names_the_default() {
    let stage = Stage::new(["ap0", "ap1"].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::None)));
    stage.write_configuration("profiles.d/second.toml", "[match]\ninterface = \"ap1\"\n");
    stage.write_configuration("netbearer.toml", "default = \"second\"\n");
    let manager = stage.manager();
    assert_eq!(manager.find(None).unwrap().interface_name.as_deref(), Some("ap1"));
}
