use netbearer_lab::Daemon;
use netbearer_managers::ManagerName::{ConnMan, NetworkManager};

use crate::{PATIENCE, lab, run, wait_for_address, watched::Watched};

/// Where the lab's bus looks for programs to start.
const SERVICES: &str = "/run/lab/services";

#[test]
fn network_manager_is_noticed_when_it_comes_lets_go_takes_again_and_goes() {
    let lab = lab();
    let machine = lab.machine();
    // Before there is a bus at all.
    let mut watched = Watched::start(machine);
    assert!(watched.now().named().is_empty(), "{:?}", watched.now());
    let _bus = Daemon::system_bus(machine).expect("a bus");
    let manager = Daemon::network_manager(machine, &["ap0"]).expect("NetworkManager");
    watched.wait_for("ap0", Some(NetworkManager));
    assert_eq!(watched.owner("ap1"), None);
    let state = || run(machine, "nmcli -t -f device,state device");
    assert!(!state().contains("ap0:unmanaged") && state().contains("ap1:unmanaged"), "{}", state());

    run(machine, "nmcli device set ap0 managed no");
    watched.wait_for("ap0", None);
    assert!(state().contains("ap0:unmanaged"), "{}", state());

    run(machine, "nmcli device set ap0 managed yes");
    watched.wait_for("ap0", Some(NetworkManager));
    assert!(!state().contains("ap0:unmanaged"), "{}", state());

    manager.stop().expect("it ends");
    watched.wait_for("ap0", None);
}

#[test]
fn a_card_that_is_plugged_out_and_in_again_is_told_as_network_manager_sees_it() {
    let lab = lab();
    let _bus = Daemon::system_bus(lab.machine()).expect("a bus");
    let _manager = Daemon::network_manager(lab.machine(), &["ap0"]).expect("NetworkManager");
    // The first answer is the whole truth already.
    let mut watched = Watched::start(lab.machine());
    assert_eq!(watched.owner("ap0"), Some(NetworkManager));
    let ap0 = lab.access_point("ap0").expect("planned");
    for _ in 0..3 {
        ap0.unplug().expect("plugged");
        watched.wait_for("ap0", None);
        ap0.plug().expect("unplugged");
        watched.wait_for("ap0", Some(NetworkManager));
    }
}

#[test]
fn a_manager_that_is_killed_and_comes_again_is_told_so_and_a_bus_too() {
    let lab = lab();
    let machine = lab.machine();
    let mut watched = Watched::start(machine);
    for _ in 0..2 {
        let bus = Daemon::system_bus(machine).expect("a bus");
        for _ in 0..2 {
            let manager = Daemon::network_manager(machine, &["ap0"]).expect("NetworkManager");
            watched.wait_for("ap0", Some(NetworkManager));
            manager.kill();
            watched.wait_for("ap0", None);
        }
        let _manager = Daemon::network_manager(machine, &["ap0"]).expect("NetworkManager");
        watched.wait_for("ap0", Some(NetworkManager));
        bus.kill();
        watched.wait_for("ap0", None);
    }
}

#[test]
fn connman_keeps_a_card_whose_cable_is_out_until_it_is_switched_off_or_ends() {
    let lab = lab();
    let machine = lab.machine();
    let mut watched = Watched::start(machine);
    let _bus = Daemon::system_bus(machine).expect("a bus");
    let manager = Daemon::connman(machine, "ap0").expect("ConnMan");
    watched.wait_for("ap0", Some(ConnMan));
    wait_for_address(machine);
    assert!(run(machine, "connmanctl services").contains("_cable"));

    let ap0 = lab.access_point("ap0").expect("planned");
    ap0.cut().expect("plugged");
    let gone = || Ok(run(machine, "connmanctl services").trim().is_empty().then_some(()));
    machine.wait_until("no service", PATIENCE, gone).expect("ConnMan sees it");
    assert_eq!(watched.owner("ap0"), Some(ConnMan));

    ap0.restore().expect("plugged");
    wait_for_address(machine);
    run(machine, "connmanctl disable ethernet");
    watched.wait_for("ap0", None);
    run(machine, "connmanctl enable ethernet");
    watched.wait_for("ap0", Some(ConnMan));
    manager.stop().expect("it ends");
    watched.wait_for("ap0", None);
}

#[test]
fn nobody_is_started_by_being_asked() {
    let lab = lab();
    let machine = lab.machine();
    for name in ["net.connman", "org.freedesktop.NetworkManager"] {
        let start = format!("/usr/bin/sh -c 'touch /run/started-{name}; exit 1'");
        let service = format!("[D-BUS Service]\nName={name}\nExec={start}\nUser=root\n");
        machine.write_file(&format!("{SERVICES}/{name}.service"), &service).expect("a file");
    }
    let _bus = Daemon::system_bus(machine).expect("a bus");
    let started = || run(machine, "ls /run").lines().filter(|name| name.starts_with("started-")).count();
    let _watched = Watched::start(machine);
    assert_eq!(started(), 0);

    // That the bus would have started it, had we asked like this:
    let question = ["--system", "--print-reply", "--dest=net.connman", "/", "net.connman.Manager.GetServices"];
    machine.command("dbus-send").args(question).output().expect_err("what is started is no manager");
    assert_eq!(started(), 1);
}
