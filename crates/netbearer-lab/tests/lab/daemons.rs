use std::{fs, net::IpAddr};

use netbearer_lab::{AccessPointPlan, Daemon, Dhcp, Lab, LabError, Namespace, Snapshot};

use crate::{PATIENCE, configure};

fn lab() -> Lab {
    // ConnMan and dhcpcd drop packets whose checksums are left to the card.
    let plan = |name: &str| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq).without_checksum_offload();
    Lab::builder().own_files().access_point(plan("ap0")).access_point(plan("ap1")).build().expect("a lab")
}

/// Waits for an IPv4 address of ap0.
fn address(machine: &Namespace) -> IpAddr {
    let found = || Ok(machine.addresses("ap0")?.into_iter().find(|(address, _)| address.is_ipv4()));
    machine.wait_until("an address", PATIENCE, found).expect("the daemon has configured ap0").0
}

#[test]
fn network_manager_leases_an_address_for_its_interface_only_and_writes_the_machines_files_only() {
    let ours = fs::read_to_string("/etc/resolv.conf").ok();
    let lab = lab();
    let machine = lab.machine();
    let _bus = Daemon::system_bus(machine).expect("a bus");
    let manager = Daemon::network_manager(machine, &["ap0"]).expect("NetworkManager");
    let profile = ["connection", "add", "type", "ethernet", "ifname", "ap0", "con-name", "cable"];
    machine.command("nmcli").args(profile).output().expect("a profile");
    let ap0 = lab.access_point("ap0").expect("planned");
    assert!(ap0.subnet().contains(match address(machine) {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("asked for IPv4: {address}"),
    }));
    manager.log().wait_for_text("CONNECTED_GLOBAL", PATIENCE).expect("it is content");
    let devices = machine.command("nmcli").args(["-t", "-f", "device,state", "device"]).output().expect("nmcli");
    assert!(devices.contains("ap0:connected") && devices.contains("ap1:unmanaged"), "{devices}");
    let resolver = fs::read_to_string(machine.path("/etc/resolv.conf")).expect("written");
    assert!(resolver.contains(&ap0.subnet().gateway().to_string()), "{resolver}");
    assert_eq!(fs::read_to_string("/etc/resolv.conf").ok(), ours);
    manager.stop().expect("it ends when asked");
}

#[test]
fn networkd_leases_an_address() {
    let lab = lab();
    let network = "[Match]\nName=ap0\n[Network]\nDHCP=ipv4\n";
    lab.machine().write_file("/etc/systemd/network/ap0.network", network).expect("a file");
    let daemon = Daemon::networkd(lab.machine()).expect("networkd");
    address(lab.machine());
    daemon.stop().expect("it ends when asked");
}

#[test]
fn dhcpcd_leases_an_address_for_one_interface_or_for_all() {
    for interface in [Some("ap0"), None] {
        let lab = lab();
        let _daemon = Daemon::dhcpcd(lab.machine(), interface).expect("dhcpcd");
        address(lab.machine());
    }
}

#[test]
fn connman_leases_an_address() {
    let lab = lab();
    let _bus = Daemon::system_bus(lab.machine()).expect("a bus");
    let daemon = Daemon::connman(lab.machine(), "ap0").expect("ConnMan");
    address(lab.machine());
    daemon.stop().expect("it ends when asked");
}

#[test]
fn ifupdown_sets_an_address() {
    let lab = lab();
    let interfaces = "iface ap0 inet static\n  address 10.10.0.55/24\n";
    lab.machine().write_file("/etc/network/interfaces", interfaces).expect("a file");
    lab.machine().command("ifup").arg("ap0").output().expect("ifup obeys");
    assert_eq!(address(lab.machine()).to_string(), "10.10.0.55");
}

#[test]
fn only_a_machine_with_files_of_its_own_is_written_to() {
    let namespace = Namespace::new("shared files").expect("a namespace");
    let error = namespace.write_file("/run/netbearer-lab-test", "").expect_err("it would be the machine's");
    assert!(matches!(error, LabError::System { .. }), "{error}");
    assert!(!fs::exists("/run/netbearer-lab-test").expect("known"));
}

#[test]
fn a_snapshot_of_others_sees_their_changes_and_not_what_is_tagged_as_ours() {
    let lab = lab();
    let machine = lab.machine();
    let _bus = Daemon::system_bus(machine).expect("a bus");
    let _manager = Daemon::network_manager(machine, &["ap1"]).expect("NetworkManager");
    configure(&lab, lab.access_point("ap0").expect("planned"), 50, "700");
    let before = Snapshot::of_others(machine).expect("a snapshot");
    for arguments in [
        &["route", "add", "default", "via", "10.10.0.1", "table", "21000", "protocol", "110"][..],
        &["rule", "add", "fwmark", "7", "lookup", "21000", "priority", "70", "protocol", "110"],
    ] {
        machine.ip_lines(arguments).expect("ip obeys");
    }
    assert_eq!(before.difference(&Snapshot::of_others(machine).expect("a snapshot")), "");

    machine.ip_lines(&["route", "add", "10.99.0.0/16", "via", "10.10.0.1"]).expect("ip obeys");
    machine.write_file("/etc/resolv.conf", "nameserver 10.99.0.1\n").expect("a file");
    let profile =
        ["connection", "add", "type", "ethernet", "ifname", "ap1", "con-name", "a-profile", "autoconnect", "no"];
    machine.command("nmcli").args(profile).output().expect("a profile");
    let difference = before.difference(&Snapshot::of_others(machine).expect("a snapshot"));
    for fact in ["10.99.0.0/16", "nameserver 10.99.0.1", "a-profile"] {
        assert!(difference.lines().any(|line| line.starts_with("+ ") && line.contains(fact)), "{fact}: {difference}");
    }
}
