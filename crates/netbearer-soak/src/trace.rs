//! Packet sockets are opened and closed beside the way of an opening, not on it: the kernel takes milliseconds for that.

use std::{collections::BTreeSet, fs};

use netbearer::Directories;
use netbearer_lab::{AccessPointPlan, Dhcp, Lab, Script};
use tempfile::TempDir;

use crate::{
    error::SoakError,
    holder::Holder,
    pulse::{Pulse, wait_for},
};

const ACCESS_POINT: &str = "ap0";
/// The service's thread, as `strace` writes it before each of its calls.
const SERVICE: &str = "<netbearer>";

/// An opening right after the start of a process may come before the other thread has the spare socket ready, and opens one
/// itself; on a busy machine it does.
const ATTEMPTS: u32 = 5;

/// Opens a session of a process under `strace`, with the server's answers in four messages, in two, and to a remembered
/// lease.
pub(crate) fn run() -> Result<(), SoakError> {
    let directory = TempDir::new_in("/dev/shm")?;
    fs::create_dir_all(Directories::below(directory.path()).configuration)?;
    for (what, script) in [
        ("four messages", Script::default()),
        ("a remembered lease", Script::default()),
        ("rapid commit", Script::default().rapid_commit(true)),
    ] {
        if what != "a remembered lease" {
            // Otherwise the lease of the former opening is asked for again.
            let state = Directories::below(directory.path()).state;
            if state.exists() {
                fs::remove_dir_all(state)?;
            }
        }
        let mut attempts = 0;
        loop {
            attempts += 1;
            let calls = calls(&directory, script.clone())?;
            let sockets = packet_sockets(&calls);
            let calls = of_opening(&calls)?;
            match judge(calls, &sockets) {
                Ok(()) => break,
                Err(_) if attempts < ATTEMPTS => {}
                Err(reason) => return Err(SoakError::Wrong(format!("{what}: {reason}:\n{}", calls.join("\n")))),
            }
        }
        println!("{what}: no packet socket opened or closed by the service's thread on the way to Opened");
    }
    Ok(())
}

/// All system calls of a process that opens a session and closes it.
fn calls(directory: &TempDir, script: Script) -> Result<Vec<String>, SoakError> {
    let plan = AccessPointPlan::new(ACCESS_POINT).dhcp(Dhcp::Scripted(script));
    let lab = Lab::builder().access_point(plan).build()?;
    let trace = directory.path().join("trace");
    let strace = lab.machine().command("strace").args(["--follow-forks", "--decode-fds=all", "--decode-pids=comm"]);
    let strace = strace.args(["--string-limit=4096", "--trace=socket,bind,close,sendto,write", "--output"]).arg(&trace);
    let (pulse, listener) = Pulse::new();
    let strace = strace.arg(std::env::current_exe()?);
    let holder = Holder::start_as(strace, directory.path(), ACCESS_POINT, 1, &pulse)?;
    wait_for(&pulse, &listener, 0, "\"open\":true", 1)?;
    holder.end()?;
    let calls = fs::read_to_string(trace)?;
    Ok(calls.lines().map(str::to_owned).collect())
}

/// From before the call of open() to after Opened.
fn of_opening(calls: &[String]) -> Result<&[String], SoakError> {
    // The first line is printed right before open() is called, and the first open one as soon as Opened is delivered.
    let told = |text: &str| calls.iter().position(|call| call.contains("write(1<") && call.contains(text));
    let (begin, end) = (told("Disconnected"), told("\\\"open\\\":true"));
    let between = begin.zip(end).and_then(|(begin, end)| calls.get(begin..=end));
    between.ok_or_else(|| SoakError::Wrong("the trace does not show what was printed".to_owned()))
}

/// The packet sockets of the process, by what `strace` writes after their descriptors.
fn packet_sockets(calls: &[String]) -> BTreeSet<&str> {
    let of_packets = calls.iter().filter(|call| call.contains("AF_PACKET"));
    of_packets
        .filter_map(|call| match call.split_once("socket(AF_PACKET") {
            Some((_, rest)) => named(rest.split_once(" = ")?.1),
            None => named(call.split_once("bind(")?.1),
        })
        .collect()
}

/// What a descriptor at the beginning of the text is: `13<socket:[4711]>`.
fn named(text: &str) -> Option<&str> {
    Some(text.split_once('<')?.1.split_once('>')?.0)
}

fn judge(calls: &[String], packet_sockets: &BTreeSet<&str>) -> Result<(), &'static str> {
    let of_service = || calls.iter().filter(|call| call.contains(SERVICE));
    let on_packet_socket = |call: &str, name: &str| {
        let descriptor = call.split_once(name).and_then(|(_, rest)| named(rest));
        descriptor.is_some_and(|descriptor| packet_sockets.contains(descriptor))
    };
    if !of_service().any(|call| on_packet_socket(call, " sendto(")) {
        return Err("the service's thread sent nothing through a packet socket, so the trace shows nothing");
    }
    if of_service().any(|call| call.contains(" socket(AF_PACKET")) {
        return Err("the service's thread opened a packet socket");
    }
    if of_service().any(|call| on_packet_socket(call, " close(")) {
        return Err("the service's thread closed a packet socket");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "8<tokio-rt-worker> socket(AF_PACKET, SOCK_DGRAM, htons(0)) = 9<socket:[1]>";
    const SENT: &str = "7<netbearer> sendto(9<socket:[1]>, \"\", 0) = 0";

    fn judged(call: &str) -> Result<(), &'static str> {
        let calls = [BEFORE, SENT, call].map(str::to_owned);
        judge(&calls[1..], &packet_sockets(&calls))
    }

    #[test]
    fn what_other_threads_do_is_off_the_way() {
        judged("8<tokio-rt-worker> socket(AF_PACKET, SOCK_DGRAM, htons(0)) = 11<socket:[2]>").unwrap();
        judged("8<tokio-rt-worker> close(9<socket:[1]>) = 0").unwrap();
        judged("7<netbearer> close(12<UDP:[3]>) = 0").unwrap();
    }

    #[test]
    fn opening_and_closing_by_the_service_are_wrong() {
        judged("7<netbearer> socket(AF_PACKET, SOCK_DGRAM, htons(0)) = 11<socket:[2]>").unwrap_err();
        judged("7<netbearer> close(9<socket:[1]>) = 0").unwrap_err();
        judged("7<netbearer> close(9<socket:[1]> <unfinished ...>").unwrap_err();
    }

    #[test]
    fn a_trace_without_packets_shows_nothing() {
        judge(&[], &BTreeSet::new()).unwrap_err();
    }
}
