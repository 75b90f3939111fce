use netbearer_lab::Daemon;
use netbearer_managers::ManagerName::{Dhcpcd, Ifupdown, Networkd};

use crate::{lab, run, wait_for_address, watched::Watched};

#[test]
fn networkd_has_the_links_it_has_a_network_file_for_until_it_is_stopped() {
    let lab = lab();
    let machine = lab.machine();
    // For networkctl.
    let _bus = Daemon::system_bus(machine).expect("a bus");
    let mut watched = Watched::start(machine);
    machine
        .write_file("/etc/systemd/network/ap0.network", "[Match]\nName=ap0\n[Network]\nDHCP=ipv4\n")
        .expect("a file");
    let manager = Daemon::networkd(machine).expect("networkd");
    watched.wait_for("ap0", Some(Networkd));
    wait_for_address(machine);
    assert_eq!(watched.owner("ap1"), None);
    let links = run(machine, "networkctl --no-legend --no-pager list");
    let is_unmanaged =
        |name: &str| links.lines().find(|line| line.contains(name)).is_some_and(|line| line.contains("unmanaged"));
    assert!(!is_unmanaged("ap0") && is_unmanaged("ap1"), "{links}");
    manager.stop().expect("it ends");
    watched.wait_for("ap0", None);
}

#[test]
fn dhcpcd_has_its_interface_until_it_is_gone_even_if_its_files_stay() {
    let lab = lab();
    let machine = lab.machine();
    let mut watched = Watched::start(machine);
    let manager = Daemon::dhcpcd(machine, Some("ap0")).expect("dhcpcd");
    watched.wait_for("ap0", Some(Dhcpcd));
    assert_eq!(watched.owner("ap1"), None);
    wait_for_address(machine);
    manager.kill();
    watched.wait_for("ap0", None);
    let files = run(machine, "ls /run/dhcpcd");
    assert!(files.contains("ap0-4.pid") || files.contains("ap0.pid"), "nothing tells but the process: {files}");
}

#[test]
fn dhcpcd_for_all_interfaces_has_those_its_configuration_allows() {
    let lab = lab();
    let machine = lab.machine();
    machine.write_file("/etc/dhcpcd.conf", "denyinterfaces ap1 wlan*\n").expect("a file");
    let mut watched = Watched::start(machine);
    let manager = Daemon::dhcpcd(machine, None).expect("dhcpcd");
    watched.wait_for("ap0", Some(Dhcpcd));
    wait_for_address(machine);
    assert!(watched.owner("ap1").is_none() && watched.owner("wlan0").is_none() && watched.owner("lo").is_none());
    assert_eq!(watched.owner("eth7"), Some(Dhcpcd), "it would take one that is plugged in");
    manager.kill();
    watched.wait_for("ap0", None);
}

#[test]
fn ifupdown_has_an_interface_from_ifup_to_ifdown() {
    let lab = lab();
    let machine = lab.machine();
    let interfaces = "iface ap0 inet static\n  address 10.10.0.55/24\niface ap1 inet manual\n";
    machine.write_file("/etc/network/interfaces", interfaces).expect("a file");
    let mut watched = Watched::start(machine);
    for _ in 0..3 {
        run(machine, "ifup ap0");
        watched.wait_for("ap0", Some(Ifupdown));
        assert!(run(machine, "ifquery --state").contains("ap0"));
        run(machine, "ifdown ap0");
        watched.wait_for("ap0", None);
    }
    assert_eq!(watched.owner("ap1"), None);
}

#[test]
fn hostile_files_are_passed_over() {
    let lab = lab();
    let machine = lab.machine();
    machine.write_file("/run/network/ifstate", "../../etc=x\n\0\nap1=ap1\n=\n").expect("a file");
    machine.write_file("/run/systemd/netif/links/501", &"ADMIN_STATE=".repeat(200_000)).expect("a file");
    machine.write_file("/run/systemd/netif/links/99999", "ADMIN_STATE=configured\n").expect("a file");
    machine.write_file("/run/dhcpcd/ap0.pid", "1\n").expect("a file of nobody's");
    machine.write_file("/run/dhcpcd/hook-state/a", "").expect("a directory");
    // Who opens it to read waits for ever, unless he says that he will not.
    run(machine, "mkfifo /run/systemd/netif/links/500 /run/dhcpcd/ap1.pid");
    let watched = Watched::start(machine);
    let named = watched.now().named();
    assert_eq!(named.keys().copied().collect::<Vec<_>>(), ["ap1"], "{named:?}");
    assert_eq!(watched.owner("ap1"), Some(Ifupdown));
}
