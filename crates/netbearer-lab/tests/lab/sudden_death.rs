use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

use netbearer_lab::{AccessPointPlan, Capture, Daemon, Dhcp, Lab, LabBuilder};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use crate::PATIENCE;

/// Tells a test that it is the process that is going to die.
const VICTIM: &str = "NETBEARER_LAB_TEST_VICTIM";
const PREFIX: &str = "namespaces: ";

#[test]
fn a_process_killed_at_once_leaves_no_program_and_no_namespace_behind() {
    if env::var_os(VICTIM).is_some() {
        let lab = lab(Lab::builder());
        let _sleep = lab.machine().command("sleep").arg("600").spawn().expect("a program on the machine");
        let _capture = Capture::start(lab.machine(), "lo", "").expect("a capture");
        return hold(&lab);
    }
    let residents = kill_a_victim("a_process_killed_at_once_leaves_no_program_and_no_namespace_behind");
    assert!(residents.iter().any(|(_, name)| name == "dnsmasq"), "{residents:?}");
    let processes: BTreeSet<i32> = residents.iter().map(|(id, _)| *id).collect();
    assert_eq!(processes.len(), 4, "the victim, dnsmasq, tcpdump and another program: {residents:?}");
}

#[test]
fn network_managers_and_what_they_started_end_with_a_process_killed_at_once() {
    if env::var_os(VICTIM).is_some() {
        let lab = lab(Lab::builder().own_files());
        let _bus = Daemon::system_bus(lab.machine()).expect("a bus");
        let _manager = Daemon::network_manager(lab.machine(), &[]).expect("NetworkManager");
        let _client = Daemon::dhcpcd(lab.machine(), Some("ap0")).expect("dhcpcd");
        let address = || Ok(lab.machine().addresses("ap0")?.into_iter().find(|(address, _)| address.is_ipv4()));
        lab.machine().wait_until("dhcpcd's address", PATIENCE, address).expect("dnsmasq leases");
        return hold(&lab);
    }
    let residents = kill_a_victim("network_managers_and_what_they_started_end_with_a_process_killed_at_once");
    let clients = residents.iter().filter(|(_, name)| name == "dhcpcd").count();
    assert!(clients > 1, "dhcpcd has children: {residents:?}");
    assert!(residents.iter().any(|(_, name)| name == "NetworkManager"), "{residents:?}");
}

fn lab(builder: LabBuilder) -> Lab {
    let plan = AccessPointPlan::new("ap0").dhcp(Dhcp::Dnsmasq).without_checksum_offload();
    builder.access_point(plan).build().expect("a lab")
}

/// Runs a test of this module again as a process that holds a lab, kills that, and returns who lived in the lab.
fn kill_a_victim(test: &str) -> BTreeSet<(i32, String)> {
    let mut victim = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", &format!("sudden_death::{test}"), "--nocapture"])
        .env(VICTIM, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program again");
    let output = BufReader::new(victim.stdout.take().expect("a pipe"));
    let line = output
        .lines()
        .find_map(|line| line.expect("text").split_once(PREFIX).map(|(_, rest)| rest.to_owned()))
        .expect("the victim names its namespaces");
    let namespaces: BTreeSet<String> = line.split_whitespace().map(str::to_owned).collect();
    assert_eq!(namespaces.len(), 2, "a machine and an access point: {line}");

    // While they are open, no namespace of another test gets their numbers.
    let _open: Vec<File> = numbered(format!("/proc/{}/task", victim.id()).into())
        .into_iter()
        .map(|thread| thread.join("ns/net"))
        .filter(|namespace| fs::read_link(namespace).is_ok_and(|name| namespaces.contains(&*name.to_string_lossy())))
        .map(|namespace| File::open(namespace).expect("it is there"))
        .collect();
    let residents = residents(&namespaces);
    let processes: BTreeSet<i32> = residents.iter().map(|(id, _)| *id).collect();
    let processes = processes.into_iter().map(|id| Pid::from_raw(id).expect("an id"));
    // What a manager has started for a moment may have ended by now.
    let alive = |id| match pidfd_open(id, PidfdFlags::empty()) {
        Err(Errno::SRCH) => None,
        opened => Some(opened.expect("it is alive")),
    };
    let processes: Vec<_> = processes.filter_map(alive).collect();

    victim.kill().expect("it is ours");
    victim.wait().expect("it is ours");
    let mut survivors = 0;
    for process in &processes {
        let patience = Timespec::try_from(PATIENCE).expect("short");
        if poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&patience)).expect("a descriptor") == 0 {
            // It is ours, and must not outlive this test too.
            pidfd_send_signal(process, Signal::KILL).expect("it is alive");
            survivors += 1;
        }
    }
    assert_eq!(survivors, 0, "programs outlived the lab: {residents:?}");
    assert_eq!(self::residents(&namespaces), BTreeSet::new());
    residents
}

fn hold(lab: &Lab) {
    let access_point = lab.access_point("ap0").expect("planned").namespace();
    let [machine, access_point] = [lab.machine(), access_point].map(|namespace| namespace.inode().expect("known"));
    writeln!(io::stdout(), "\n{PREFIX}net:[{machine}] net:[{access_point}]").expect("the test listens");
    // Until the end of the input, which is the end of the test if it fails early.
    io::stdin().read_to_end(&mut Vec::new()).expect("a pipe");
}

/// Processes with a thread in one of the namespaces, and the names of these threads.
fn residents(namespaces: &BTreeSet<String>) -> BTreeSet<(i32, String)> {
    let mut residents = BTreeSet::new();
    for process in numbered("/proc".into()) {
        for thread in numbered(process.join("task")) {
            // What ends while we look is no resident.
            let Ok(namespace) = fs::read_link(thread.join("ns/net")) else { continue };
            let Ok(name) = fs::read_to_string(thread.join("comm")) else { continue };
            if namespaces.contains(&*namespace.to_string_lossy()) {
                let id = process.file_name().and_then(|id| id.to_str()?.parse().ok()).expect("a number");
                residents.insert((id, name.trim_end().to_owned()));
            }
        }
    }
    residents
}

fn numbered(directory: PathBuf) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .map(|entry| entry.path())
        .collect()
}
