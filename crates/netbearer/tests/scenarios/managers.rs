//! Interfaces that other network managers look after.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use netbearer::{CallError, Capabilities, FailureReason, ManagerEvent, SessionError, SessionState, blocking::Events};
use netbearer_lab::{AccessPointPlan, Conversation, Daemon, Dhcp, Snapshot};

use crate::{
    stage::{AP0, DEADLINE, Manager, Stage, Watched, assert_alive, server},
    tunnel::{answered_by, socket},
    uplink::{bound_to, converse, expect_abort, identifier, reached_by},
};

const AP1: &str = "ap1";
/// Much longer than a better one has to be there.
const A_WHILE: Duration = Duration::from_millis(1_200);

/// A machine of two cards, with a system bus.
struct Machine {
    stage: Stage,
    _bus: Daemon,
}

impl Machine {
    fn new() -> Self {
        let plan = |name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq).without_checksum_offload();
        let stage = Stage::with_own_files([plan(AP0), plan(AP1)]);
        let bus = Daemon::system_bus(stage.lab.machine()).unwrap();
        Self { stage, _bus: bus }
    }

    fn network_manager(&self) -> Daemon {
        Daemon::network_manager(self.stage.lab.machine(), &[AP0, AP1]).unwrap()
    }

    /// Has NetworkManager bring both cards up, the first one preferred. That is the last to come up: its name servers are
    /// where they are after it was brought up anew.
    fn bring_up(&self) {
        for (name, metric) in [(AP1, "200"), (AP0, "100")] {
            let profile = format!(
                "connection add type ethernet ifname {name} con-name {name} ipv4.route-metric {metric} \
                 ipv6.method disabled connection.autoconnect no"
            );
            self.nmcli(&profile);
            self.nmcli(&format!("--wait 20 connection up {name}"));
        }
    }

    fn nmcli(&self, arguments: &str) -> String {
        let arguments = arguments.split(' ').filter(|argument| !argument.is_empty());
        self.stage.lab.machine().command("nmcli").args(arguments).output().unwrap()
    }

    fn others(&self) -> Snapshot {
        Snapshot::of_others(self.stage.lab.machine()).unwrap()
    }

    fn assert_untouched(&self, before: &Snapshot) {
        let now = self.others();
        assert!(*before == now, "{}", before.difference(&now));
    }
}

/// The manager, with what it tells.
struct Known {
    manager: Manager,
    events: Events<ManagerEvent>,
}

impl Known {
    fn start(machine: &Machine) -> Self {
        let manager = machine.stage.manager();
        let events = manager.events();
        Self { manager, events }
    }

    fn can_start_and_stop(&self, name: &str) -> bool {
        let capabilities = self.manager.find(Some(name)).unwrap().capabilities;
        capabilities.contains(Capabilities::CanStartAndStopInterfaces)
    }

    /// Waits until it is told that the access point can, or cannot, be started and stopped.
    fn wait_for_start_and_stop(&mut self, name: &str, expected: bool) {
        let end = Instant::now() + DEADLINE;
        while self.can_start_and_stop(name) != expected {
            let left = end.saturating_duration_since(Instant::now());
            assert!(self.events.next_within(left).is_some(), "{name}: {expected} should be told in time");
        }
    }
}

fn assert_managed_elsewhere(session: &Watched) {
    let failure = session.session.error().unwrap();
    assert_eq!(failure.error, SessionError::OperationNotSupported);
    assert_eq!(failure.reason, FailureReason::ManagedElsewhere("NetworkManager".to_owned()));
    assert!(failure.message.contains("nmcli device set") && failure.message.contains("managed no"), "{failure}");
}

/// Scenario 45, sessions.
#[test]
fn sessions_work_over_links_that_network_manager_keeps_up_and_nothing_of_them_changes() {
    let machine = Machine::new();
    let _network_manager = machine.network_manager();
    machine.bring_up();
    let before = machine.others();
    let known = Known::start(&machine);
    // The first word is the truth already.
    assert!(!known.can_start_and_stop(AP0) && !known.can_start_and_stop(AP1));
    let mut sessions = [AP0, AP1].map(|name| Watched::on(&known.manager, name));
    for session in &mut sessions {
        assert_eq!(session.session.state(), SessionState::Connected);
        session.open();
        session.expect(&["Opened"]);
    }
    machine.assert_untouched(&before);
    // There are two ways, so each has a table and rules of its own beside NetworkManager's.
    assert_eq!(machine.stage.rules_of_ours(), 8, "{}", machine.stage.rules());
    for (session, name) in sessions.iter().zip([AP0, AP1]) {
        let interface = session.session.interface().unwrap();
        assert_eq!(interface.name, name);
        let stream = session.session.connect_tcp(server()).unwrap();
        assert_eq!(Conversation::over(stream, DEADLINE).unwrap().access_point(), name);
        let own = interface.addresses.iter().find(|address| address.is_usable()).unwrap().address;
        assert_eq!(answered_by(&socket(own)), name, "what has only the address");
    }
    for session in &mut sessions {
        session.close();
        session.expect(&["Closed"]);
        session.expect_silence();
        assert_eq!(session.session.state(), SessionState::Connected);
    }
    assert_eq!(machine.stage.rules_of_ours(), 0, "{}", machine.stage.rules());
    machine.assert_untouched(&before);
    known.manager.shutdown();
    machine.assert_untouched(&before);
}

/// Scenario 45, roaming.
#[test]
fn a_session_roams_between_links_that_network_manager_keeps_up_and_nothing_of_them_changes() {
    let machine = Machine::new();
    let network = "[service_network]\nmembers = [\"ap0\", \"ap1\"]\nsettle = \"300ms\"\n";
    machine.stage.write_configuration("profiles.d/uplink.toml", network);
    let _network_manager = machine.network_manager();
    machine.bring_up();
    let both_up = machine.others();
    machine.nmcli("--wait 20 device disconnect ap0");
    let one_up = machine.others();
    let known = Known::start(&machine);
    let better = identifier(&known.manager, AP0);
    let mut session = Watched::on(&known.manager, "uplink");
    let mut roaming = session.session.roaming().unwrap();
    session.open();
    session.expect(&["Opened"]);
    let mut other = Watched::opened_on(&known.manager, AP1);
    let mut of_others = [converse(&other), bound_to(AP1)];
    let mut old = converse(&session);
    assert_eq!(old.access_point(), AP1);
    assert!(roaming.next_within(A_WHILE).is_none(), "what NetworkManager has not brought up is no candidate");
    machine.assert_untouched(&one_up);

    let mut on_trial = |session: &mut Watched, old: &mut Conversation| {
        machine.nmcli("--wait 20 connection up ap0");
        session.expect(&[&format!("PreferredConfigurationChanged({better})")]);
        let trial = roaming.next_within(DEADLINE).unwrap().migrate().unwrap();
        session.expect(&["Roaming", &format!("NewConfigurationActivated({better})")]);
        let new = converse(session);
        assert_eq!((new.access_point(), bound_socket_answered_by(session).as_str()), (AP0, AP0));
        assert_alive(old);
        machine.assert_untouched(&both_up);
        (trial, new)
    };
    let (trial, new) = on_trial(&mut session, &mut old);
    trial.reject().unwrap();
    session.expect(&["Connected"]);
    expect_abort(&new);
    assert_alive(&mut old);
    assert_eq!((reached_by(&session).as_str(), bound_socket_answered_by(&session).as_str()), (AP1, AP1));
    machine.assert_untouched(&both_up);

    machine.nmcli("--wait 20 device disconnect ap0");
    machine.assert_untouched(&one_up);
    let (trial, mut new) = on_trial(&mut session, &mut old);
    trial.accept().unwrap();
    session.expect(&["Connected"]);
    expect_abort(&old);
    of_others.iter_mut().chain([&mut new]).for_each(assert_alive);
    assert_eq!((session.active_configuration(), reached_by(&session)), (better, AP0.to_owned()));
    machine.assert_untouched(&both_up);

    assert!(matches!(session.session.stop(), Err(CallError::NotSupported(_))));
    session.expect(&["Error(OperationNotSupported)"]);
    assert_managed_elsewhere(&session);
    assert_alive(&mut new);
    for session in [&mut session, &mut other] {
        session.close();
        session.expect(&["Closed"]);
        session.expect_silence();
        assert_eq!(session.session.state(), SessionState::Connected);
    }
    assert_eq!(machine.stage.rules_of_ours(), 0, "{}", machine.stage.rules());
    machine.assert_untouched(&both_up);
    known.manager.shutdown();
    machine.assert_untouched(&both_up);
}

/// Where a socket comes out that is bound to the session.
fn bound_socket_answered_by(session: &Watched) -> String {
    let bound = socket(Ipv4Addr::UNSPECIFIED.into());
    session.session.bind(&bound).unwrap();
    answered_by(&bound)
}

/// Scenario 45, what is refused.
#[test]
fn a_link_of_network_managers_is_neither_started_nor_stopped() {
    let machine = Machine::new();
    let _network_manager = machine.network_manager();
    machine.bring_up();
    machine.nmcli("--wait 20 device disconnect ap1");
    let before = machine.others();
    let known = Known::start(&machine);

    let mut up = Watched::on(&known.manager, AP0);
    up.open();
    up.expect(&["Opened"]);
    assert!(matches!(up.session.stop(), Err(CallError::NotSupported(_))));
    up.expect(&["Error(OperationNotSupported)"]);
    assert_managed_elsewhere(&up);
    assert!(up.session.is_open());

    let mut down = Watched::on(&known.manager, AP1);
    assert_eq!(down.session.state(), SessionState::Disconnected);
    assert!(matches!(down.session.open(), Err(CallError::NotSupported(_))));
    down.expect(&["Error(OperationNotSupported)"]);
    assert_managed_elsewhere(&down);
    down.expect_silence();
    machine.assert_untouched(&before);
}

/// The capability goes and comes with the manager.
#[test]
fn a_link_that_network_manager_lets_go_of_can_be_started() {
    let machine = Machine::new();
    let network_manager = machine.network_manager();
    let mut known = Known::start(&machine);
    known.wait_for_start_and_stop(AP0, false);

    machine.nmcli("device set ap0 managed no");
    known.wait_for_start_and_stop(AP0, true);
    let mut session = Watched::on(&known.manager, AP0);
    session.open();
    session.expect_last("Opened");
    session.assert_up();
    session.close();
    session.expect_last("Disconnected");

    machine.nmcli("device set ap0 managed yes");
    known.wait_for_start_and_stop(AP0, false);
    network_manager.stop().unwrap();
    known.wait_for_start_and_stop(AP0, true);
    session.open();
    session.expect_last("Opened");
}

/// Who has it first, has it, until the last close.
#[test]
fn a_network_manager_that_starts_later_does_not_take_a_link_of_ours() {
    let machine = Machine::new();
    let mut known = Known::start(&machine);
    let mut session = Watched::opened(&known.manager);
    let mut conversation = session.assert_up();
    let _network_manager = machine.network_manager();
    known.wait_for_start_and_stop(AP1, false);
    assert!(!machine.nmcli("--terse --fields DEVICE,STATE device").contains("ap0:unmanaged"));
    assert!(known.can_start_and_stop(AP0));
    assert_alive(&mut conversation);
    session.expect_silence();

    session.close();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    known.wait_for_start_and_stop(AP0, false);
    assert_eq!((machine.stage.rules_of_ours(), machine.stage.address_of(AP0)), (0, None));
    assert!(matches!(session.session.open(), Err(CallError::NotSupported(_))));
    assert_managed_elsewhere(&session);
}
