//! Interfaces that are renamed, unplugged or enslaved while a session uses them.

use netbearer::SessionState;
use netbearer_lab::{Direction, Exchange, MessageType, Namespace, Program};

use crate::{
    leases::{server, short_leases, wait_for_renewal},
    stage::{AP0, DEADLINE, Stage, Watched},
};

/// Part of scenario 43: unplugged under an open session and plugged in again with another index, again and again.
#[test]
fn an_interface_that_was_unplugged_in_use_leaves_nothing_and_can_be_opened_again() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    for round in 0..20 {
        session.open();
        session.expect_last("Opened");
        stage.ap0().unplug().unwrap();
        // The kernel sets down what it removes, and that may be seen before it is gone.
        let lost = session.next();
        session.expect(&["Error(SessionAborted)", "Closed"]);
        if lost == "Disconnected" {
            session.expect(&["NotAvailable"]);
        }
        stage.ap0().plug_with_index(600 + round).unwrap();
        session.expect(&["Disconnected"]);
    }
    stage.ap0().unplug().unwrap();
    session.expect(&["NotAvailable"]);
    // Everything that was on the interface went with it; what is left to see are rules and routes elsewhere.
    let no_rules = || Ok((stage.rules_of_ours() == 0).then_some(()));
    stage.lab.machine().wait_until("no rule of ours", DEADLINE, no_rules).unwrap();
    drop(session);
    manager.shutdown();
    stage.ap0().plug_with_index(700).unwrap();
    assert!(!stage.lab.machine().is_administratively_up(AP0).unwrap());
}

/// Part of scenario 43: its rules and its lease go with the interface, whatever it is called.
#[test]
fn an_interface_that_is_renamed_in_use_keeps_its_rules_and_its_lease() {
    let stage = short_leases(std::time::Duration::from_secs(2));
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let mut conversation = session.assert_up();
    stage.ip(&format!("link set {AP0} name uplink0"));
    let event = session.next();
    assert!(event.contains("InterfaceChanged") && event.contains("uplink0"), "{event}");
    let named = || Ok(stage.rules().contains("oif uplink0 ").then_some(()));
    stage.lab.machine().wait_until("a rule of the new name", DEADLINE, named).unwrap();
    assert!(!stage.rules().contains("detached"), "{}", stage.rules());
    for _ in 0..2 {
        wait_for_renewal(server(&stage));
    }
    let before = server(&stage).exchanges().mark();
    let is_ack = |exchange: &Exchange| exchange.kind == MessageType::Ack;
    server(&stage).exchanges().wait_for_since(before, "a renewed lease", DEADLINE, is_ack).unwrap();
    session.expect_silence();
    crate::stage::assert_alive(&mut conversation);
    stage.ip(&format!("link set uplink0 name {AP0}"));
    session.next();
    session.close();
    session.expect_last("Disconnected");
    drop(session);
    manager.shutdown();
    stage.assert_as_before();
}

/// What we put on an interface goes when it becomes a port, also if we end right after.
#[test]
fn an_interface_that_becomes_a_port_in_use_is_cleared_before_the_end() {
    let stage = Stage::with_dnsmasq();
    stage.ip("link add br0 type bridge");
    for _ in 0..10 {
        let manager = stage.manager();
        let mut session = Watched::opened(&manager);
        stage.ip(&format!("link set {AP0} master br0"));
        session.expect(&["Invalid", "Error(InvalidConfiguration)", "Closed"]);
        manager.shutdown();
        assert_eq!((stage.rules_of_ours(), stage.address_of(AP0)), (0, None));
        assert!(!stage.lab.machine().is_administratively_up(AP0).unwrap());
        stage.ip(&format!("link set {AP0} nomaster"));
    }
    stage.ip("link delete br0");
    stage.assert_as_before();
}

/// Part of scenario 43: the session goes on, as does its lease; who opens anew asks with the new address, and to servers is
/// another client than the one that had the remembered lease.
#[test]
fn an_interface_whose_hardware_address_changes_in_use_keeps_its_session() {
    let stage = short_leases(std::time::Duration::from_secs(2));
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let identifier = session.session.configuration().identifier.clone();
    stage.ip(&format!("link set {AP0} address 02:00:5e:10:00:99"));
    let event = session.next();
    assert!(event.contains("InterfaceChanged") && event.contains("02:00:5e:10:00:99"), "{event}");
    // As a switch would, the far end forgets where the address was.
    let forget = ["neigh", "flush", "dev", "port0"];
    stage.ap0().namespace().command("ip").args(forget).output().unwrap();
    for _ in 0..2 {
        wait_for_renewal(server(&stage));
    }
    session.expect_silence();
    session.assert_up();
    assert_eq!(session.session.interface().unwrap().hardware_address, "02:00:5e:10:00:99");
    session.close();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    let before = server(&stage).exchanges().mark();
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    let is_first = |exchange: &Exchange| exchange.direction == Direction::Received;
    let first = server(&stage).exchanges().wait_for_since(before, "a message", DEADLINE, is_first).unwrap();
    assert_eq!((first.kind, first.message.chaddr()), (MessageType::Discover, &[2, 0, 0x5e, 0x10, 0, 0x99][..]));
    let mut conversation = session.assert_up();
    wait_for_renewal(server(&stage));
    crate::stage::assert_alive(&mut conversation);
    session.expect_silence();
    assert_eq!(manager.find(Some(AP0)).unwrap().identifier, identifier);
}

/// As of a Wi-Fi card that takes a random address for each network.
#[test]
fn a_hardware_address_that_changes_before_the_carrier_comes_is_the_one_to_ask_with() {
    const ADDRESS: &str = "02:00:5e:10:00:99";
    let stage = short_leases(std::time::Duration::from_secs(600));
    stage.ap0().cut().unwrap();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    session.open();
    session.expect(&["Connecting"]);
    let is_up = || Ok(stage.lab.machine().is_administratively_up(AP0)?.then_some(()));
    stage.lab.machine().wait_until("the link set up", DEADLINE, is_up).unwrap();
    assert!(!stage.notes().contains(ADDRESS));
    stage.ip(&format!("link set {AP0} address {ADDRESS}"));
    stage.ap0().restore().unwrap();
    session.expect(&["Connected", "Opened"]);
    let is_first = |exchange: &Exchange| exchange.direction == Direction::Received;
    let first = server(&stage).exchanges().wait_for("a message", DEADLINE, is_first).unwrap();
    assert_eq!(first.message.chaddr(), [2, 0, 0x5e, 0x10, 0, 0x99]);
    session.assert_up();
    assert!(stage.notes().contains(ADDRESS), "{}", stage.notes());
    session.close();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    assert_eq!(stage.notes(), "");
}

/// Part of scenario 43: to this machine it is unplugged, whatever becomes of it, and plugged in when it comes back.
#[test]
fn an_interface_that_is_moved_to_another_namespace_in_use_is_lost_until_it_comes_back() {
    let stage = Stage::with_dnsmasq();
    let elsewhere = Namespace::new("elsewhere").unwrap();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    let [here, there] = [stage.lab.machine(), &elsewhere].map(resident);
    for _ in 0..3 {
        session.open();
        session.expect_last("Opened");
        session.assert_up();
        move_to(stage.lab.machine(), &there);
        let lost = session.next();
        session.expect(&["Error(SessionAborted)", "Closed"]);
        if lost == "Disconnected" {
            session.expect(&["NotAvailable"]);
        }
        assert_eq!(session.session.state(), SessionState::NotAvailable);
        move_to(&elsewhere, &here);
        session.expect(&["Disconnected"]);
    }
    drop(session);
    manager.shutdown();
    stage.assert_as_before();
}

/// A program that does nothing but live in the namespace.
fn resident(namespace: &Namespace) -> Program {
    namespace.command("sleep").arg("infinity").spawn().unwrap()
}

fn move_to(from: &Namespace, program: &Program) {
    let target = program.id().to_string();
    from.command("ip").args(["link", "set", AP0, "netns", &target]).output().unwrap();
}
