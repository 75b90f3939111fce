//! Access points that share a device, of which one is up at a time (scenario 47, its opening part).

use std::time::Duration;

use netbearer::{
    CallError, Configuration, Failure, FailureReason, FindError, SessionError, SessionState, StateFlags, Step,
};
use netbearer_lab::{AccessPointPlan, Dhcp};
use serde_json::Value;

use crate::stage::{AP0, DEADLINE, Manager, Stage, Watched, assert_alive};

const HOME: &str = "profiles.d/home.toml";
const OFFICE: &str = "profiles.d/office.toml";

/// Home by DHCP and office by a static address, as exclusive access points of `ap0`.
fn stage(home: &str) -> Stage {
    let stage = Stage::with_dnsmasq();
    stage.write_configuration(HOME, &file(home));
    let subnet = stage.ap0().subnet();
    let fixed = format!(
        "addressing = \"static\"\naddresses = [\"{}/24\"]\ngateways = [\"{}\"]\n",
        subnet.host(77),
        subnet.gateway()
    );
    stage.write_configuration(OFFICE, &file(&fixed));
    stage
}

fn file(settings: &str) -> String {
    format!("[match]\ninterface = \"{AP0}\"\n\n[access_point]\nexclusive = true\n{settings}")
}

/// What `ip` tells of the machine's links, addresses, routes and rules.
fn everything(stage: &Stage) -> Vec<Value> {
    let tables = ["table", "all"];
    let told = [&["-details", "link"][..], &["address"], &["route", "show", tables[0], tables[1]], &["rule"]];
    let mut told: Vec<Value> =
        told.iter().map(|arguments| stage.lab.machine().ip_json(arguments).expect("ip tells")).collect();
    // Remaining lifetimes count down.
    told.iter_mut().for_each(forget_what_time_changes);
    told
}

fn forget_what_time_changes(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(forget_what_time_changes),
        Value::Object(fields) => {
            fields.retain(|key, _| !["valid_life_time", "preferred_life_time", "expires"].contains(&key.as_str()));
            fields.values_mut().for_each(forget_what_time_changes);
        }
        _ => {}
    }
}

fn busy(refused: Result<(), CallError>) -> Failure {
    match refused {
        Err(CallError::Busy(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

fn configuration(manager: &Manager, name: &str) -> Configuration {
    manager.find(Some(name)).expect("it is there")
}

fn all(manager: &Manager) -> Vec<Configuration> {
    manager.wait_for(async |manager| manager.configurations(None).await).expect("the service answers")
}

fn own_address(stage: &Stage) -> String {
    format!("{}/24", stage.ap0().subnet().host(77))
}

/// Scenario 47.
#[test]
fn one_of_a_device_that_is_held_leaves_the_others_busy_and_its_connections_untouched() {
    let stage = stage("");
    let manager = stage.manager();
    let configurations = all(&manager);
    let names: Vec<&str> = configurations.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["home", "office"]);
    assert!(matches!(manager.find(Some(AP0)), Err(FindError::Ambiguous { .. })), "it is both");
    let (mut home, mut office) = (Watched::on(&manager, "home"), Watched::on(&manager, "office"));
    home.open();
    home.expect(&["Connecting", "Connected", "Opened"]);
    let mut conversation = home.assert_up();
    assert_eq!(configuration(&manager, "home").state_flags, StateFlags::Active);
    assert_eq!(configuration(&manager, "office").state_flags, StateFlags::Discovered);

    let before = everything(&stage);
    let failure = busy(office.session.open());
    assert_eq!(
        failure.message,
        "busy: office cannot be opened, as ap0 is used as home by 1 session; close it, or stop home, and open office again"
    );
    let identifier = configuration(&manager, "home").identifier;
    assert_eq!((failure.error, failure.reason), (SessionError::InvalidConfiguration, FailureReason::Busy(identifier)));
    office.expect(&["Error(InvalidConfiguration)"]);
    assert_eq!(office.session.state(), SessionState::Disconnected);
    assert_eq!(everything(&stage), before, "nothing was touched");
    assert_alive(&mut conversation);
    home.expect_silence();
    office.expect_silence();

    home.close();
    home.expect(&["Closed", "Closing", "Disconnected"]);
    office.open();
    office.expect(&["Connecting", "Connected", "Opened"]);
    assert_eq!(stage.address_of(AP0), Some(own_address(&stage)));
    drop(conversation);
    office.assert_up();
    let identifier = configuration(&manager, "office").identifier;
    assert_eq!(busy(home.session.open()).reason, FailureReason::Busy(identifier));
    office.session.stop().expect("it is ours");
    office.expect_last("Disconnected");
    drop((home, office, manager));
    stage.assert_as_before();
}

/// Scenario 47: what nobody holds any more gives way.
#[test]
fn one_that_lingers_or_closes_gives_way() {
    let stage = stage("linger = \"60s\"\n");
    let manager = stage.manager();
    for _ in 0..3 {
        let (mut home, mut office) = (Watched::on(&manager, "home"), Watched::on(&manager, "office"));
        home.open();
        home.expect(&["Connecting", "Connected", "Opened"]);
        home.close();
        home.expect(&["Closed"]);
        office.open();
        home.expect(&["Closing", "Disconnected"]);
        office.expect(&["Connecting", "Connected", "Opened"]);
        assert_eq!(stage.address_of(AP0), Some(own_address(&stage)), "and no other");
        office.assert_up();
        // While this one closes, the other one is opened.
        office.close();
        home.open();
        office.expect(&["Closed", "Closing", "Disconnected"]);
        home.expect(&["Connecting", "Connected", "Opened"]);
        assert_ne!(stage.address_of(AP0), Some(own_address(&stage)));
        home.assert_up();
        home.session.stop().expect("it is ours");
        home.expect_last("Disconnected");
        home.expect_silence();
    }
    drop(manager);
    stage.assert_as_before();
}

/// Scenario 47: who keeps it up are others.
#[test]
fn what_others_keep_up_is_one_of_them_and_the_others_are_busy() {
    let mut stage = stage("preference = 1\n");
    stage.configure_by_hand();
    stage.remember();
    let manager = stage.manager();
    let (mut home, mut office) = (Watched::on(&manager, "home"), Watched::on(&manager, "office"));
    assert_eq!(home.session.state(), SessionState::Connected);
    assert_eq!(office.session.state(), SessionState::Disconnected);
    assert_eq!(
        busy(office.session.open()).message,
        "busy: office cannot be opened, as ap0 is up as home, and others keep it up; have them take it down, or stop home, and open office again"
    );
    home.open();
    home.expect(&["Opened"]);
    home.assert_up();
    let received = || home.session.bytes_received().expect("the service answers");
    assert!(received() > 0, "what the device carries is home's");
    assert_eq!(office.session.bytes_received().expect("the service answers"), 0);
    home.close();
    home.expect(&["Closed"]);
    office.expect(&["Error(InvalidConfiguration)"]);
    stage.assert_as_before();
    home.session.stop().expect("root may stop it");
    home.expect(&["Closing", "Disconnected"]);
    office.open();
    office.expect(&["Connecting", "Connected", "Opened"]);
    office.assert_up();
}

/// Scenarios 13 and 47: files come, change and go under a live session, and nothing of one is left to another.
#[test]
fn a_file_that_goes_takes_its_link_down_and_the_others_stay() {
    let stage = stage("");
    let manager = stage.manager();
    let (mut home, mut office) = (Watched::on(&manager, "home"), Watched::on(&manager, "office"));
    home.open();
    home.expect_last("Opened");
    stage.remove_configuration(HOME);
    home.expect(&["Invalid", "Error(InvalidConfiguration)", "Closed"]);
    office.open();
    office.expect(&["Connecting", "Connected", "Opened"]);
    assert_eq!(stage.address_of(AP0), Some(own_address(&stage)));
    office.assert_up();
    // It is no exclusive one any more: the access point of the device itself, and another one.
    let text = std::fs::read_to_string(stage.configuration_file(OFFICE)).expect("it is there");
    stage.write_configuration(OFFICE, &text.replace("exclusive = true", ""));
    office.expect(&["Invalid", "Error(InvalidConfiguration)", "Closed"]);
    let mut plain = Watched::on(&manager, AP0);
    plain.open();
    plain.expect_last("Opened");
    assert_eq!(stage.address_of(AP0), Some(own_address(&stage)));
    plain.assert_up();
    drop((home, office, plain, manager));
    stage.assert_as_before();
}

/// What others keep up is not touched when files come and go, and what it carries is counted for the one that it is.
#[test]
fn a_link_of_others_stays_as_it_is_while_files_make_another_access_point_of_it() {
    let stage = Stage::with_dnsmasq();
    stage.configure_by_hand();
    let manager = stage.manager();
    let mut plain = Watched::opened(&manager);
    let mut conversation = plain.connect();
    let before = everything(&stage);
    stage.write_configuration(HOME, &file(""));
    plain.expect(&["Invalid", "Error(InvalidConfiguration)", "Closed"]);
    let mut home = Watched::on(&manager, "home");
    assert_eq!(home.session.state(), SessionState::Connected);
    let received = || home.session.bytes_received().expect("the service answers");
    let received_before = received();
    assert_alive(&mut conversation);
    assert!(received() > received_before, "what it carries is counted");
    assert_eq!(everything(&stage), before);
    home.open();
    home.expect(&["Opened"]);
    home.assert_up();
    stage.remove_configuration(HOME);
    home.expect(&["Invalid", "Error(InvalidConfiguration)", "Closed"]);
    assert_eq!(Watched::new(&manager).session.state(), SessionState::Connected);
    assert_alive(&mut conversation);
    assert_eq!(everything(&stage), before);
}

/// Identifiers are the same under another name of the interface, and after a restart.
#[test]
fn a_renamed_device_keeps_the_access_points_that_are_known_by_its_hardware() {
    let stage = Stage::with_dnsmasq();
    let links = stage.lab.machine().ip_json(&["link", "show", "dev", AP0]).expect("ip tells");
    let address = links[0]["address"].as_str().expect("it has one").to_owned();
    for path in [HOME, OFFICE] {
        stage.write_configuration(path, &file("").replace("interface = \"ap0\"", &format!("mac = \"{address}\"")));
    }
    let manager = stage.manager();
    let identifiers =
        |manager: &Manager| all(manager).into_iter().map(|one| one.identifier.to_string()).collect::<Vec<_>>();
    let before = identifiers(&manager);
    assert!(before[0].ends_with("/home") && before[1].ends_with("/office"), "{before:?}");
    let mut home = Watched::on(&manager, "home");
    home.open();
    home.expect_last("Opened");
    stage.ip(&format!("link set {AP0} name lan0"));
    while !home.next().contains("lan0") {}
    assert!(home.session.is_open());
    assert_eq!(identifiers(&manager), before);
    assert!(matches!(Watched::on(&manager, "office").session.open(), Err(CallError::Busy(_))));
    stage.ip(&format!("link set lan0 name {AP0}"));
    while !home.next().contains(AP0) {}
    home.close();
    home.expect_last("Disconnected");
    drop((home, manager));
    assert_eq!(identifiers(&stage.manager()), before);
    stage.assert_as_before();
}

/// Profiles by name are about who has the name.
#[test]
fn files_for_an_interface_follow_its_name() {
    let stage = stage("");
    let manager = stage.manager();
    let mut home = Watched::on(&manager, "home");
    home.open();
    home.expect_last("Opened");
    stage.ip(&format!("link set {AP0} name lan0"));
    while home.next() != "Invalid" {}
    home.expect(&["Error(InvalidConfiguration)", "Closed"]);
    let mut plain = Watched::on(&manager, "lan0");
    plain.open();
    plain.expect(&["Connecting", "Connected", "Opened"]);
    stage.ip(&format!("link set lan0 name {AP0}"));
    while plain.next() != "Invalid" {}
    let mut office = Watched::on(&manager, "office");
    office.open();
    office.expect(&["Connecting", "Connected", "Opened"]);
    assert_eq!(stage.address_of(AP0), Some(own_address(&stage)));
    office.close();
    office.expect_last("Disconnected");
    drop((home, plain, office, manager));
    stage.assert_as_before();
}

/// What an opening waits for is told of the access point that has the device.
#[test]
fn steps_are_those_of_the_one_that_is_brought_up() {
    let stage = Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::None)]);
    stage.write_configuration(HOME, &file("connect_timeout = \"1s\"\n"));
    stage.write_configuration(OFFICE, &file(""));
    let manager = stage.manager();
    let mut home = Watched::on(&manager, "home");
    let (one, other) = (home.session.configuration().identifier, configuration(&manager, "office").identifier);
    let mut steps = manager.wait_for(async |manager| manager.steps());
    home.open();
    manager.wait_for(async |_| {
        while steps.of(&one) != Some(Step::AcquiringLease) {
            steps.changed().await.expect("the service answers");
        }
    });
    assert_eq!(steps.now().keys().collect::<Vec<_>>(), [&one]);
    home.expect(&["Connecting", "Disconnected", "Error(Unknown)"]);
    let failure = home.session.error().expect("it failed");
    assert!(failure.message.starts_with("home could not be brought up within 1s"), "{failure}");
    let mut office = Watched::on(&manager, "office");
    office.open();
    manager.wait_for(async |_| {
        while steps.of(&other) != Some(Step::AcquiringLease) {
            steps.changed().await.expect("the service answers");
        }
    });
    assert_eq!(steps.now().keys().collect::<Vec<_>>(), [&other]);
    office.close();
    office.expect_last("Disconnected");
    drop((home, office, manager));
    stage.assert_as_before();
}

/// An access point of its own for the service network, and one that is busy in it.
#[test]
fn a_service_network_passes_a_busy_member_over() {
    let stage =
        Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Dnsmasq), AccessPointPlan::new("ap1").dhcp(Dhcp::Dnsmasq)]);
    stage.write_configuration(HOME, &file(""));
    stage.write_configuration(OFFICE, &file("preference = 1\n"));
    stage.write_configuration("profiles.d/work.toml", "[service_network]\nmembers = [\"office\", \"ap1\"]\n");
    let manager = stage.manager();
    let (mut home, mut work) = (Watched::on(&manager, "home"), Watched::on(&manager, "work"));
    home.open();
    home.expect_last("Opened");
    work.open();
    work.expect(&["Connecting", "Connected", "Opened"]);
    assert_eq!(work.session.interface().map(|interface| interface.name).as_deref(), Some("ap1"));
    home.expect_silence();
    assert_eq!(work.next_within(Duration::from_millis(300)), None, "and stays there");
    work.close();
    work.expect_last("Disconnected");
    home.close();
    home.expect_last("Disconnected");
    work.open();
    work.expect_last("Opened");
    assert_eq!(work.active_configuration(), configuration(&manager, "office").identifier.as_str());
    let is_gone = || Ok(stage.address_of("ap1").is_none().then_some(()));
    stage.lab.machine().wait_until("ap1 is down", DEADLINE, is_gone).expect("nobody uses it");
    drop((home, work, manager));
    stage.assert_as_before();
}
