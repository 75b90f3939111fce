//! Access points that share a device, of which one is up at a time (scenario 47).

use std::time::Duration;

use netbearer::{
    CallError, Configuration, Failure, FailureReason, FindError, SessionError, SessionState, StateFlags, Step,
    blocking::Roaming,
};
use netbearer_holder::Order;
use netbearer_lab::{AccessPointPlan, Conversation, Dhcp, Fault};
use serde_json::Value;

use crate::{
    holders::Holder,
    leases::{server, short_leases},
    only_served,
    stage::{AP0, DEADLINE, Manager, Stage, Watched, assert_aborted, assert_alive},
};

const HOME: &str = "profiles.d/home.toml";
const OFFICE: &str = "profiles.d/office.toml";
/// Short enough to wait for its end.
const LEASE_TIME: Duration = Duration::from_secs(2);
/// Much longer than a better one has to be there.
const A_WHILE: Duration = Duration::from_millis(1_200);

/// Home by DHCP and office by a static address, as exclusive access points of `ap0`.
fn stage(home: &str) -> Stage {
    with_files(Stage::with_dnsmasq(), home)
}

fn with_files(stage: Stage, home: &str) -> Stage {
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

/// The same, whose cable can be seen to lead somewhere, as others have set the interface up; and a service network that prefers
/// office.
fn with_network(stage: Stage) -> Stage {
    let mut stage = with_files(stage, "");
    stage.write_configuration(
        "profiles.d/work.toml",
        "[service_network]\nmembers = [\"office\", \"home\"]\nsettle = \"300ms\"\n",
    );
    stage.ip(&format!("link set {AP0} up"));
    let is_settled = || Ok(stage.lab.machine().is_settled(AP0)?.then_some(()));
    stage.lab.machine().wait_until("carrier", DEADLINE, is_settled).expect("there is a cable");
    stage.remember();
    stage
}

/// Sessions of the service network on home, which another session has brought up; and one more that decides for itself.
struct AtHome {
    manager: Manager,
    home: Watched,
    forced: [Watched; 2],
    deciding: Watched,
    roaming: Option<Roaming>,
}

impl AtHome {
    fn open(stage: &Stage) -> Self {
        let manager = stage.manager();
        let mut home = Watched::on(&manager, "home");
        home.bring_up();
        let forced = [(); 2].map(|()| Watched::on(&manager, "work"));
        let deciding = Watched::on(&manager, "work");
        let roaming = deciding.session.roaming().expect("it can roam");
        let mut at_home = Self { manager, home, forced, deciding, roaming: Some(roaming) };
        for session in at_home.of_network() {
            session.open();
            session.expect(&["Opened"]);
        }
        at_home
    }

    fn of_network(&mut self) -> impl Iterator<Item = &mut Watched> {
        self.forced.iter_mut().chain([&mut self.deciding])
    }

    fn office(&self) -> String {
        configuration(&self.manager, "office").identifier.to_string()
    }

    /// Nobody is moved to what is better, and it is not offered.
    fn expect_to_stay(&mut self) {
        let offered = self.roaming.as_mut().and_then(|roaming| roaming.next_within(A_WHILE));
        assert!(offered.is_none(), "no trial of it is possible");
        let home = configuration(&self.manager, "home").identifier;
        for session in self.of_network() {
            session.expect_silence();
            assert_eq!(session.active_configuration(), home.as_str());
            session.connect();
        }
    }

    /// All sessions of the service network are on office, and nothing of home is left.
    fn assert_at_office(&mut self, stage: &Stage) {
        let office = self.office();
        assert_eq!(stage.address_of(AP0), Some(own_address(stage)), "and no other");
        for session in self.of_network() {
            assert_eq!(session.session.state(), SessionState::Connected);
            assert_eq!(session.active_configuration(), office);
            session.connect();
            session.expect_silence();
        }
    }

    fn close(mut self, stage: &Stage) {
        for session in self.of_network() {
            session.close();
            session.expect_last("Closed");
        }
        self.deciding.expect_last("Disconnected");
        drop(self);
        stage.assert_as_before();
    }
}

/// All of them are on their way before any of them is there.
fn expect_move_together<'a>(sessions: impl IntoIterator<Item = &'a mut Watched>, office: &str) {
    let mut sessions: Vec<&mut Watched> = sessions.into_iter().collect();
    let (first, others) = sessions.split_first_mut().expect("there are some");
    first.expect(&["Roaming", "Connected"]);
    for other in others {
        assert_eq!(other.try_next().as_deref(), Some("Roaming"));
        other.expect(&["Connected"]);
    }
    for session in sessions {
        session.expect(&[&format!("ActiveConfigurationChanged({office})")]);
    }
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

/// Scenario 47, of a loss that another access point of the device survives: its cable is as good as before.
#[test]
fn after_a_loss_all_sessions_of_a_service_network_go_on_by_another_one_of_the_device() {
    let stage = with_network(short_leases(LEASE_TIME));
    let mut at_home = AtHome::open(&stage);
    let office = at_home.office();
    let mut conversations: Vec<Conversation> = at_home.of_network().map(|session| session.connect()).collect();
    at_home.expect_to_stay();
    at_home.home.expect_silence();
    conversations.iter_mut().for_each(assert_alive);

    server(&stage).fail(Fault::Silent);
    at_home.home.expect(&["Disconnected", "Error(SessionAborted)", "Closed"]);
    expect_move_together(&mut at_home.forced, &office);
    at_home.deciding.expect(&["Roaming", &format!("PreferredConfigurationChanged({office}, replacement)")]);
    conversations.iter_mut().for_each(assert_aborted);
    let offer = at_home.roaming.as_mut().and_then(|roaming| roaming.next_within(DEADLINE)).expect("it is offered");
    assert!(offer.replacement && offer.configuration.as_str() == office, "{offer:?}");
    offer.migrate().expect("it is up").accept().expect("the trial is on");
    at_home.deciding.expect(&[&format!("NewConfigurationActivated({office})"), "Connected"]);
    at_home.assert_at_office(&stage);
    at_home.close(&stage);
}

/// Scenario 47, of an upgrade: the link is broken once all who hold it would leave it for the better one, and not before.
#[test]
fn a_better_one_of_the_device_is_moved_to_once_all_sessions_go_with_it() {
    let stage = with_network(Stage::with_dnsmasq());
    let mut at_home = AtHome::open(&stage);
    let office = at_home.office();
    let mut conversations: Vec<Conversation> = at_home.of_network().map(|session| session.connect()).collect();
    at_home.home.close();
    at_home.home.expect(&["Closed"]);
    // One of them decides for itself.
    at_home.expect_to_stay();
    conversations.iter_mut().for_each(assert_alive);
    drop(at_home.roaming.take());
    expect_move_together(at_home.of_network(), &office);
    conversations.iter_mut().for_each(assert_aborted);
    at_home.assert_at_office(&stage);
    at_home.close(&stage);
}

/// Scenario 47, with processes.
#[test]
fn processes_of_a_device_are_refused_what_is_busy_and_go_on_together_after_a_loss() {
    if only_served() {
        return;
    }
    let stage = with_network(short_leases(LEASE_TIME));
    let manager = stage.manager();
    let mut home = Holder::opened_on(&stage, &manager, "home");
    home.give(Order::Connect(0)).expect("the server is reached");
    let mut office = Holder::start(&stage, &manager);
    office.session("office");
    let (kind, sentence) = office.give(Order::Open(0)).expect_err("home has the device");
    assert!(kind == "Busy" && sentence.starts_with("busy: office cannot be opened"), "{kind}: {sentence}");
    office.expect(0, &["Error(InvalidConfiguration)"]);
    home.give(Order::Echo(0)).expect("its connection lives");
    let mut forced = [(); 2].map(|()| Holder::opened_on(&stage, &manager, "work"));

    server(&stage).fail(Fault::Silent);
    home.expect(0, &["Disconnected", "Error(SessionAborted)", "Closed"]);
    for session in &mut forced {
        session.expect(0, &["Roaming", "Connected", "ActiveConfigurationChanged"]);
        session.give(Order::Connect(0)).expect("the server is reached");
        session.expect_silence(0);
    }
    office.expect_last(0, "Connected");
    office.open(0);
    office.expect(0, &["Opened"]);
    home.expect_silence(0);
    assert_eq!(stage.address_of(AP0), Some(own_address(&stage)), "and no other");
    forced.into_iter().chain([home, office]).for_each(Holder::end);
    drop(manager);
    stage.assert_as_before();
}
