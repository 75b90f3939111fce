//! Profiles that are edited, deleted and added again under live sessions (scenario 13).

use std::time::{Duration, Instant};

use netbearer::{FindError, ManagerEvent, Verdict, blocking::Events};
use netbearer_lab::{AccessPointPlan, Dhcp};

use crate::stage::{AP0, DEADLINE, Manager, Stage, Watched};

const NETWORK_FILE: &str = "profiles.d/uplink.toml";
const NETWORK: &str = "service-uplink";
const AP0_FILE: &str = "profiles.d/ap0.toml";

/// What the scenario promises.
const PROMISED: Duration = Duration::from_millis(50);
/// Processors are shared with other tests; a figure beyond the promise is printed, and one beyond this is a failure.
const BOUND: Duration = Duration::from_secs(1);

/// "lan" and "lte", and the file of a service network of both.
fn stage() -> Stage {
    let stage = Stage::new(["lan", "lte"].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)));
    write_network(&stage, r#"["lan", "lte"]"#);
    stage
}

fn write_network(stage: &Stage, members: &str) {
    stage.write_configuration(NETWORK_FILE, &format!("[service_network]\nname = \"Uplink\"\nmembers = {members}\n"));
}

fn write_ap0(stage: &Stage, settings: &str) {
    let text = format!("[match]\ninterface = \"{AP0}\"\n\n[access_point]\n{settings}\n");
    stage.write_configuration(AP0_FILE, &text);
}

/// Waits until this service network is there.
fn wait_for_network(events: &mut Events<ManagerEvent>, wanted: &str) {
    let mut is_there = false;
    while !is_there {
        let event = events.next_within(DEADLINE).expect("it comes in time");
        if let ManagerEvent::ConfigurationAdded { configuration } = event {
            is_there = configuration.identifier.as_str() == wanted;
        }
    }
}

/// Changes the profile of ap0, waits until that is in force, and returns what `why` says of it.
fn change_ap0(stage: &Stage, manager: &Manager, change: impl FnOnce()) -> String {
    let mut events = manager.events();
    change();
    // Files are read together: once this one counts, everything that was written before does.
    stage.write_configuration("profiles.d/marker.toml", &format!("[service_network]\nmembers = [\"{AP0}\"]\n"));
    wait_for_network(&mut events, "service-marker");
    let decisions = manager.wait_for(async |manager| manager.decisions().await).expect("the service answers");
    let edited = decisions.iter().rfind(|decision| decision.verdict == Verdict::Edited).expect("it is written down");
    assert!(edited.subject.to_string().contains(AP0), "{edited:?}");
    edited.inputs.iter().map(|input| format!("{}: {}\n", input.name, input.value)).collect()
}

/// A profile by name covers an interface that gets the name; what is up stays as it is (§3, "addressing at the next bring-up").
#[test]
fn a_renamed_interface_has_the_profile_of_its_new_name_and_keeps_its_link_until_the_next_bring_up() {
    let stage = Stage::with_dnsmasq();
    let named = "[match]\ninterface = \"uplink0\"\n\n[access_point]\nname = \"Office\"\nmtu = 1400\n";
    stage.write_configuration("profiles.d/office.toml", named);
    let manager = stage.manager();
    let mut events = manager.events();
    let mut session = Watched::opened(&manager);
    let (mut conversation, address) = (session.assert_up(), stage.address_of(AP0));
    let mut rename = |from, to, name| {
        stage.ip(&format!("link set {from} name {to}"));
        loop {
            match events.next_within(DEADLINE).expect("it comes in time") {
                ManagerEvent::ConfigurationChanged { configuration } if configuration.name == name => return,
                _ => {}
            }
        }
    };
    let mtu = |name| stage.lab.machine().ip_json(&["link", "show", "dev", name]).unwrap()[0]["mtu"].as_u64();
    rename(AP0, "uplink0", "Office");
    let event = session.next();
    assert!(event.contains("InterfaceChanged") && event.contains("uplink0"), "{event}");
    assert_eq!((stage.address_of("uplink0"), mtu("uplink0")), (address, Some(1_500)));
    crate::stage::assert_alive(&mut conversation);
    session.close();
    session.expect_last("Disconnected");
    session.bring_up();
    assert_eq!(mtu("uplink0"), Some(1_400));
    session.close();
    session.expect_last("Disconnected");
    rename("uplink0", AP0, AP0);
    stage.assert_as_before();
}

/// A default route of the main table.
fn is_default_of_everybody(route: &str) -> bool {
    route.starts_with("default ") && !route.contains(" table ")
}

/// Scenario 13.
#[test]
fn a_deleted_service_network_ends_its_sessions_and_works_anew_when_it_is_added_again() {
    let stage = stage();
    let manager = stage.manager();
    let (mut watched, mut watcher) = (Watched::on(&manager, NETWORK), Watched::on(&manager, NETWORK));
    let mut member = Watched::on(&manager, "lan");
    watched.bring_up();
    watcher.expect(&["Connecting", "Connected"]);
    member.expect(&["Connecting", "Connected"]);

    let deleted = Instant::now();
    stage.remove_configuration(NETWORK_FILE);
    watched.expect(&["Invalid"]);
    let took = deleted.elapsed();
    println!("Invalid {took:?} after the file was deleted; promised are {PROMISED:?}");
    assert!(took < BOUND, "Invalid only after {took:?}");
    watched.expect(&["Error(InvalidConfiguration)", "Closed"]);
    watcher.expect(&["Invalid"]);
    member.expect(&["Closing", "Disconnected"]);
    assert_eq!(stage.address_of("lan"), None, "its link was only this session's, and is down");
    let removed = watched.session.configuration();
    assert_eq!((removed.name.as_str(), removed.identifier.as_str()), ("Uplink", NETWORK));
    assert!(!removed.is_valid() && !watched.session.is_open());
    assert!(matches!(manager.find(Some(NETWORK)), Err(FindError::Unknown { .. })));
    let refused = watched.session.open();
    watched.expect(&["Error(InvalidConfiguration)"]);
    assert!(!watched.session.is_open(), "{refused:?}");
    watched.expect_silence();

    let mut events = manager.events();
    write_network(&stage, r#"["lte", "lan"]"#);
    wait_for_network(&mut events, NETWORK);
    let mut again = Watched::on(&manager, NETWORK);
    again.bring_up();
    assert_eq!(again.session.interface().map(|interface| interface.name).as_deref(), Some("lte"));
    drop((watched, watcher, member, again, manager));
    stage.assert_as_before();
}

/// Scenario 13: what others hold as well stays.
#[test]
fn the_link_of_a_deleted_service_network_stays_up_for_who_else_holds_it() {
    let stage = stage();
    let manager = stage.manager();
    let (mut watched, mut other) = (Watched::on(&manager, NETWORK), Watched::on(&manager, "lan"));
    watched.open();
    watched.expect_last("Opened");
    other.open();
    other.expect_last("Opened");
    stage.remove_configuration(NETWORK_FILE);
    watched.expect(&["Invalid", "Error(InvalidConfiguration)", "Closed"]);
    other.expect_silence();
    assert!(other.session.is_open());
    other.close();
    other.expect(&["Closed", "Closing", "Disconnected"]);
    drop((watched, other, manager));
    stage.assert_as_before();
}

#[test]
fn a_session_loses_a_member_that_is_edited_out_of_its_service_network() {
    let stage = stage();
    let manager = stage.manager();
    let mut watched = Watched::on(&manager, NETWORK);
    watched.open();
    watched.expect_last("Opened");
    write_network(&stage, r#"["lte"]"#);
    // As when its link is lost: it goes on with another one.
    watched.expect(&["Roaming", "Connected", "ActiveConfigurationChanged(native-lte)"]);
    assert_eq!(watched.session.interface().map(|interface| interface.name).as_deref(), Some("lte"));
    write_network(&stage, "[]");
    watched.expect(&["NotAvailable", "Error(SessionAborted)", "Closed"]);
    let failure = watched.session.error().expect("it has ended");
    assert!(failure.message.contains("is no member of Uplink any more"), "{failure}");
    drop((watched, manager));
    stage.assert_as_before();
}

/// An access point is there with or without a profile.
#[test]
fn an_access_point_outlives_its_profile() {
    let stage = Stage::with_dnsmasq();
    write_ap0(&stage, "linger = \"1h\"");
    let manager = stage.manager();
    let mut watched = Watched::opened(&manager);
    change_ap0(&stage, &manager, || stage.remove_configuration(AP0_FILE));
    watched.expect_silence();
    watched.assert_up();
    watched.close();
    watched.expect(&["Closed", "Closing", "Disconnected"]);
    drop((watched, manager));
    stage.assert_as_before();
}

#[test]
fn an_edited_linger_counts_at_the_next_close_and_the_rest_at_the_next_bring_up() {
    let stage = Stage::with_dnsmasq();
    write_ap0(&stage, "linger = \"1h\"");
    let manager = stage.manager();
    let mut watched = Watched::opened(&manager);
    let default_routes = || stage.routes().into_iter().filter(|route| is_default_of_everybody(route)).count();
    assert_eq!(default_routes(), 1);

    let told = change_ap0(&stage, &manager, || write_ap0(&stage, "linger = \"0s\"\ndefault_route = false"));
    assert!(told.contains("linger and lifetime apply: at once"), "{told}");
    assert!(told.contains("everything else applies: at the next bring-up"), "{told}");
    watched.expect_silence();
    assert_eq!(default_routes(), 1, "what is up stays as it is");
    watched.close();
    watched.expect(&["Closed", "Closing", "Disconnected"]);

    watched.bring_up();
    assert_eq!(default_routes(), 0, "it was brought up as the file says now");
    drop((watched, manager));
    stage.assert_as_before();
}

#[test]
fn an_edited_preference_counts_at_once() {
    let stage = Stage::new([AP0, "ap1"].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)));
    write_ap0(&stage, "preference = 1");
    let manager = stage.manager();
    let default = || {
        let told = manager.wait_for(async |manager| manager.default_configuration().await);
        told.expect("the service answers").map(|configuration| configuration.name)
    };
    assert_eq!(default().as_deref(), Some(AP0));
    change_ap0(&stage, &manager, || write_ap0(&stage, "preference = -1"));
    assert_eq!(default().as_deref(), Some("ap1"));
}
