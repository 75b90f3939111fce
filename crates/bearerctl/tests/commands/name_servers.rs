//! What programs ask for names by, after a process that had changed it was killed.

use std::{fs, os::unix::fs::MetadataExt};

use netbearer_lab::{Daemon, HERE, Signal};

use crate::stage::{DEADLINE, Stage};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Nobody is there.
const BEFORE: &str = "# by hand\nnameserver 192.0.2.53\noptions timeout:1 attempts:1\n";

/// A machine whose programs read a file that somebody has written.
fn stage() -> Stage {
    let stage = Stage::with_own_files();
    stage.lab.machine().write_file(RESOLV_CONF, BEFORE).unwrap();
    stage
}

fn text(stage: &Stage) -> String {
    fs::read_to_string(stage.lab.machine().path(RESOLV_CONF)).unwrap()
}

fn identity(stage: &Stage) -> (u64, u32, u32, u32) {
    let metadata = fs::metadata(stage.lab.machine().path(RESOLV_CONF)).unwrap();
    (metadata.ino(), metadata.mode(), metadata.uid(), metadata.gid())
}

/// Opens a session, and kills its process once programs ask the server of its access point.
fn kill_with_names(stage: &Stage, file: &str, fact: &str) {
    let open = stage.opened();
    let has_fact = |text: Option<&str>| text.is_some_and(|text| text.contains(fact));
    stage.lab.machine().wait_for_file(file, DEADLINE, has_fact).unwrap();
    let answer = stage.lab.machine().command("getent").args(["ahostsv4", HERE]).output().unwrap();
    assert!(answer.starts_with("10.10.0.1 "), "{answer}");
    assert_eq!(open.end_by(Signal::KILL).code, 137);
}

/// Scenario 18, after a crash.
#[test]
fn reset_puts_the_file_back_that_a_killed_process_has_written() {
    let stage = stage();
    let before = identity(&stage);
    kill_with_names(&stage, RESOLV_CONF, "nameserver 10.10.0.1\n");
    assert_ne!(text(&stage), BEFORE);
    let ended = stage.run(&["reset"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.output.contains(&"restored: name servers in /etc/resolv.conf".to_owned()), "{ended:?}");
    assert_eq!((text(&stage).as_str(), identity(&stage)), (BEFORE, before));
    stage.assert_as_before();
    assert_eq!(stage.run(&["reset"]).output, ["nothing of ours was left here"]);
}

/// Scenario 18, after a crash.
#[test]
fn the_next_start_puts_the_file_back_that_a_killed_process_has_written() {
    let stage = stage();
    let before = identity(&stage);
    kill_with_names(&stage, RESOLV_CONF, "nameserver 10.10.0.1\n");
    let ended = stage.run(&["list"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.errors.iter().any(|line| line.contains("put back what a killed process had left")), "{ended:?}");
    assert_eq!((text(&stage).as_str(), identity(&stage)), (BEFORE, before));
}

#[test]
fn a_file_that_others_have_written_since_the_crash_is_left_and_that_is_said() {
    const THEIRS: &str = "nameserver 198.51.100.1\n";
    let stage = stage();
    kill_with_names(&stage, RESOLV_CONF, "nameserver 10.10.0.1\n");
    stage.lab.machine().write_file(RESOLV_CONF, THEIRS).unwrap();
    let ended = stage.run(&["reset"]);
    assert_ne!(ended.code, 0, "{ended:?}");
    let errors = ended.errors.join("\n");
    assert!(errors.contains("/etc/resolv.conf was changed by another program"), "{errors}");
    assert_eq!(text(&stage), THEIRS);
}

/// Scenario 18, after a crash: systemd-resolved.
#[test]
fn reset_takes_back_what_a_killed_process_has_told_systemd_resolved() {
    const KNOWN: &str = "/run/systemd/resolve/netif/500";
    let stage = Stage::with_own_files();
    let _bus = Daemon::system_bus(stage.lab.machine()).unwrap();
    let _resolved = Daemon::resolved(stage.lab.machine()).unwrap();
    kill_with_names(&stage, KNOWN, "DEFAULT_ROUTE=yes");
    let ended = stage.run(&["reset"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.output.contains(&"restored: name servers in systemd-resolved of ap0".to_owned()), "{ended:?}");
    stage.lab.machine().wait_for_file(KNOWN, DEADLINE, |text| text.is_none()).unwrap();
}

/// Such a program may not look which namespaces the first process of the machine is in.
#[test]
fn a_program_with_the_least_privileges_tells_of_name_servers_too() {
    let stage = stage();
    let open = stage.start_with_least_privileges(&["open", "ap0"]);
    open.wait_for("Opened");
    let has_server = |text: Option<&str>| text.is_some_and(|text| text.contains("nameserver 10.10.0.1\n"));
    stage.lab.machine().wait_for_file(RESOLV_CONF, DEADLINE, has_server).unwrap();
    assert_eq!(open.end_by(Signal::INT).code, 0);
    assert_eq!(text(&stage), BEFORE);
}

#[test]
fn a_broken_record_is_set_aside_and_said() {
    let stage = stage();
    stage.write_state("resolv.conf.json", "{");
    let open = stage.opened();
    let has_server = |text: Option<&str>| text.is_some_and(|text| text.contains("nameserver 10.10.0.1\n"));
    stage.lab.machine().wait_for_file(RESOLV_CONF, DEADLINE, has_server).unwrap();
    let ended = open.end_by(Signal::INT);
    let errors = ended.errors.join("\n");
    assert!(errors.contains("set aside as") && errors.contains("resolv.conf.json.broken"), "{errors}");
    assert_eq!(text(&stage), BEFORE);
}
