//! Scenario 39: a process that nothing happens to does nothing.

use std::{collections::BTreeMap, fs, path::Path, process::Stdio, thread, time::Duration};

use netbearer::Directories;
use netbearer_lab::{AccessPointPlan, Dhcp, Lab, Record, Script};
use tempfile::TempDir;

use crate::{
    error::SoakError,
    holder::Holder,
    pulse::{Pulse, wait_for},
    world::{FLOODED, flood},
};

const ACCESS_POINT: &str = "ap0";
const SESSIONS: u32 = 100;
/// One line from each.
const WANTED: usize = SESSIONS as usize;
/// Of an unrelated interface: each comes and goes.
const ADDRESS_FLAPS: u32 = 1_000;
/// What is put on the access point in the end.
const ADDRESS: &str = "172.20.0.7";
/// T1 lies an hour away.
const LEASE_TIME: Duration = Duration::from_secs(2 * 3_600);
/// What opening started has ended by then: the runtime keeps threads for another ten seconds, the kernel checks and
/// announces its link-local address.
const SETTLING: Duration = Duration::from_secs(15);

/// Watches for so long, from outside.
pub(crate) fn run(window: Duration) -> Result<(), SoakError> {
    let dhcp = Dhcp::Scripted(Script::default().lease_time(LEASE_TIME));
    let lab = Lab::builder().access_point(AccessPointPlan::new(ACCESS_POINT).dhcp(dhcp)).build()?;
    let machine = lab.machine();
    let veth = ["link", "add", FLOODED, "type", "veth", "peer", "name", "flood1"];
    machine.command("ip").args(veth).output()?;
    let directory = TempDir::new_in("/dev/shm")?;
    fs::create_dir_all(Directories::below(directory.path()).configuration)?;
    let mut monitor = machine.command("ip").args(["-oneline", "monitor", "all"]).stdout(Stdio::piped()).spawn()?;
    let kernel = monitor.stdout_lines().ok_or_else(|| SoakError::Wrong("ip has no output".to_owned()))?;
    let (pulse, listener) = Pulse::new();
    let holder = Holder::start(machine, directory.path(), ACCESS_POINT, SESSIONS, &pulse)?;
    wait_for(&pulse, &listener, 0, "\"open\":true", WANTED)?;
    thread::sleep(SETTLING);
    watch(holder.process(), &pulse, &kernel, window)?;
    println!("{SESSIONS} sessions, {window:?}: no thread woke up, no netlink message");

    let before = pulse.mark();
    flood(machine, directory.path(), 2 * ADDRESS_FLAPS)?;
    // Told after everything that was said before.
    machine.command("ip").args(["address", "add", &format!("{ADDRESS}/24"), "dev", ACCESS_POINT]).output()?;
    wait_for(&pulse, &listener, before, ADDRESS, WANTED)?;
    let told = pulse.since(before);
    if let Some(stray) = told.iter().find(|line| !line.contains(ADDRESS)) {
        return Err(SoakError::Wrong(format!("address flaps on another interface were told: {stray}")));
    }
    println!("{SESSIONS} sessions, {ADDRESS_FLAPS} address flaps on another interface: no event");
    machine.command("ip").args(["address", "delete", &format!("{ADDRESS}/24"), "dev", ACCESS_POINT]).output()?;
    holder.end()
}

fn watch(process: u32, pulse: &Pulse, kernel: &Record<String>, window: Duration) -> Result<(), SoakError> {
    let (before, mark, said) = (Activity::of(process)?, pulse.mark(), kernel.mark());
    thread::sleep(window);
    let after = Activity::of(process)?;
    if after != before {
        return Err(SoakError::Wrong(format!("not idle: {before:?}, and {window:?} later {after:?}")));
    }
    // Otherwise it was not idle for want of anything to hear, and the count is worth nothing.
    let said = kernel.entries_since(said);
    if !said.is_empty() {
        return Err(SoakError::Wrong(format!("the kernel had something to say: {said:?}")));
    }
    let told = pulse.since(mark);
    if told.is_empty() { Ok(()) } else { Err(SoakError::Wrong(format!("told without a cause: {told:?}"))) }
}

/// What a process has done so far, as the kernel counts it.
#[derive(Debug, PartialEq, Eq)]
struct Activity {
    /// How often each thread has begun to wait, or was made to (`proc_pid_status(5)`).
    switches: BTreeMap<String, Vec<String>>,
    /// What waits to be read from its netlink sockets, and how much of it was lost.
    unread: Vec<String>,
}

impl Activity {
    fn of(process: u32) -> Result<Self, SoakError> {
        let root = Path::new("/proc").join(process.to_string());
        let mut switches = BTreeMap::new();
        for task in fs::read_dir(root.join("task"))? {
            let task = task?;
            let status = fs::read_to_string(task.path().join("status"))?;
            let counts = status.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned);
            switches.insert(task.file_name().to_string_lossy().into_owned(), counts.collect());
        }
        if switches.is_empty() {
            return Err(SoakError::Wrong("the process has no threads".to_owned()));
        }
        // Columns: address, protocol, port (the process, for its first socket), groups, received, sent, dump, locks, drops.
        let netlink = fs::read_to_string(root.join("net/netlink"))?;
        let unread = netlink.lines().filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (received, drops) = (columns.get(4)?, columns.get(8)?);
            (columns.get(2) != Some(&"Pid")).then(|| format!("{received} unread, {drops} lost"))
        });
        Ok(Self { switches, unread: unread.collect() })
    }
}
