//! What happens elsewhere on the machine is nobody's business here.

use std::{io::Write, process::Stdio, thread, time::Duration};

use netbearer::ManagerEvent;
use netbearer_lab::Tunnel;

use crate::stage::{AP0, DEADLINE, Stage, Watched};

const FLAPS: usize = 1_000;
/// So many at a time are witnessed, as a witness that falls behind is told no more.
const AT_A_TIME: usize = 250;
const ADDRESSES: usize = 3_000;
/// The kernel is waited for at most a second; the machine is busy besides.
const IN_SPITE_OF_IT: Duration = Duration::from_secs(4);

/// Scenario 39: no event about anything but the tunnel, and nothing is done about it.
#[test]
fn a_tunnel_whose_address_flaps_a_thousand_times_is_nothing_to_tell_a_session() {
    let stage = Stage::with_dnsmasq();
    let machine = stage.lab.machine();
    // The access point's own addresses come at a time of their own.
    machine.set_sysctl("net/ipv6/conf/all/disable_ipv6", "1").unwrap();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let mut conversation = session.assert_up();
    let _tunnel = Tunnel::open(machine, "tun7").unwrap();
    let mut events = manager.events();
    let mut monitor = machine.command("ip").args(["monitor", "all"]).stdout(Stdio::piped()).spawn().unwrap();
    let changes = monitor.stdout_lines().unwrap();

    let directory = tempfile::tempdir().unwrap();
    let batch = directory.path().join("flaps");
    let flap = "address add 10.77.0.1/24 dev tun7\naddress delete 10.77.0.1/24 dev tun7\n";
    std::fs::write(&batch, flap.repeat(AT_A_TIME)).unwrap();
    for last in 0..FLAPS / AT_A_TIME {
        machine.command("ip").arg("-batch").arg(&batch).output().unwrap();
        // Whoever reads in order has read all of the rest by then.
        let address = format!("10.77.1.{last}");
        stage.ip(&format!("address add {address}/32 dev tun7"));
        changes.wait_for_text(&address, DEADLINE).unwrap();
    }
    manager.wait_for(async |manager| manager.update_configurations().await).unwrap();

    session.expect_silence();
    crate::stage::assert_alive(&mut conversation);
    let mut told = 0;
    loop {
        match events.next_within(DEADLINE).expect("the update ends") {
            ManagerEvent::UpdateCompleted => break,
            ManagerEvent::ConfigurationAdded { configuration }
            | ManagerEvent::ConfigurationChanged { configuration } => {
                assert_eq!(configuration.interface_name.as_deref(), Some("tun7"));
                told += 1;
            }
            ManagerEvent::ConfigurationRemoved { .. } | ManagerEvent::Lagged => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(told <= 2 * FLAPS + FLAPS / AT_A_TIME + 1, "{told}: each change is told once at most");
    session.expect_silence();
    // As the kernel tells it, nothing but the tunnel's addresses was changed by anybody.
    let changed = changes.entries();
    assert!(changed.iter().filter(|line| line.contains("10.77.0.1/24")).count() >= FLAPS, "{} lines", changed.len());
    let ours = changed.iter().find(|line| line.contains("RULE") || line.contains(AP0) || line.contains("2100"));
    assert_eq!(ours, None);
}

/// Addresses that take so long to read that they have always changed meanwhile: the kernel can never be heard out.
#[test]
fn addresses_that_others_change_without_end_hold_up_neither_updates_nor_sessions() {
    let stage = Stage::with_dnsmasq();
    let machine = stage.lab.machine();
    let directory = tempfile::tempdir().unwrap();
    let batch = directory.path().join("addresses");
    let address = |number| format!("address add 10.9.{}.{}/32 dev lo\n", number / 250, number % 250);
    std::fs::write(&batch, (0..ADDRESSES).map(address).collect::<String>()).unwrap();
    machine.command("ip").arg("-batch").arg(&batch).output().unwrap();
    stage.ip("link add busy0 up type veth peer name busy1");

    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    let mut changer = machine.command("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut orders = changer.take_stdin().unwrap();
    let change = "address add 10.8.0.1/32 dev busy0\naddress delete 10.8.0.1/32 dev busy0\n";
    // Ends when the program that reads it has been ended. No faster than what comes of it can be read; far faster than all
    // addresses can be.
    let writer = thread::spawn(move || {
        while orders.write_all(change.as_bytes()).is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
    });
    for _ in 0..3 {
        let mut events = manager.events();
        manager.wait_for(async |manager| manager.update_configurations().await).unwrap();
        while events.next_within(IN_SPITE_OF_IT).expect("the update ends") != ManagerEvent::UpdateCompleted {}
    }
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    session.close();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    drop(changer);
    writer.join().unwrap();
}
