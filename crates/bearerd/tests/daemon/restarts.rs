//! A daemon that is killed, and the one after it.

use std::{fs, os::fd::OwnedFd};

use netbearer_dbus::SessionProperties;
use netbearer_lab::Signal;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::{
    client::{Attached, Client},
    holds::is_revoked,
    stage::{AP0, DEADLINE, Running, Stage},
};

#[test]
fn the_next_daemon_goes_on_with_what_is_held_and_clients_find_their_sessions() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, token) = client.create(AP0);
    let (watching, watching_token) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    let before = client.properties(&session).unwrap();
    let addresses = stage.lab.machine().ip_lines(&["-oneline", "-4", "address", "show", "dev", "ap0"]).unwrap();
    daemon.kill();
    drop(client);
    assert!(is_revoked(&hold), "nobody has the other end at the moment");

    let daemon = stage.start();
    assert!(!is_revoked(&hold));
    let mut client = stage.connect();
    let (path, configuration, properties): Attached = client.manage("AttachSession", &token).unwrap();
    assert_eq!((path.as_str(), configuration.identifier.as_deref()), (session.as_str(), Some(AP0)));
    assert_eq!((properties.state, properties.is_open), (Some(3), Some(true)));
    assert_eq!(properties.active_since, before.active_since);
    // Link-local addresses come when they like.
    let leased = |properties: SessionProperties| {
        let addresses = properties.interface.and_then(|interface| interface.addresses).unwrap_or_default();
        addresses.into_iter().find(|(address, ..)| address.starts_with("10.10."))
    };
    assert!(leased(properties.clone()).is_some() && leased(properties) == leased(before));
    let (path, _, properties): Attached = client.manage("AttachSession", &watching_token).unwrap();
    assert_eq!((path.as_str(), properties.state), (watching.as_str(), Some(3)));
    let addresses_now = stage.lab.machine().ip_lines(&["-oneline", "-4", "address", "show", "dev", "ap0"]).unwrap();
    let without_lifetimes = |lines: &[String]| -> Vec<String> {
        lines.iter().map(|line| line.split('\\').next().unwrap().to_owned()).collect()
    };
    assert_eq!(without_lifetimes(&addresses_now), without_lifetimes(&addresses));

    drop(hold);
    client.wait_for(&session, "Closed");
    client.wait_for_state(&session, 5);
    stage.wait_until_untouched();
    daemon.end();
}

#[test]
fn a_hold_that_went_while_there_was_no_daemon_is_gone_for_the_next() {
    let stage = Stage::new();
    let (token, hold) = stage.left_by_a_killed_daemon();
    drop(hold);
    let daemon = stage.start();
    stage.wait_until_untouched();
    let mut client = stage.connect();
    let unknown = client.manage::<_, Attached>("AttachSession", &token).map(|attached| attached.2.is_open);
    assert!(unknown.as_ref().is_ok_and(|is_open| *is_open == Some(false)) || unknown.is_err(), "{unknown:?}");
    assert_eq!(fs::read_dir(stage.runtime().join("holds")).unwrap().count(), 0);
    daemon.end();
}

#[test]
fn a_daemon_that_ends_with_sessions_leaves_them_to_the_next() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, token) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    let log = daemon.end();
    assert!(log.iter().any(|line| line.contains("1 session(s) hold")), "{log:?}");
    assert!(stage.socket().exists(), "who finds it knows that there is something to wait for");
    stage.wait_until_up();

    let daemon = stage.start();
    let mut client = stage.connect();
    let (path, _, properties): Attached = client.manage("AttachSession", &token).unwrap();
    assert_eq!((path.as_str(), properties.is_open), (session.as_str(), Some(true)));
    drop(hold);
    client.wait_for_state(&session, 5);
    stage.wait_until_untouched();
    drop(client);
    daemon.end();
}

#[test]
fn a_client_that_is_back_before_the_end_of_its_connection_was_seen_has_its_session_alone() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut former = stage.connect();
    let (session, token) = former.create(AP0);
    let hold = former.open_and_wait(&session);
    let mut client = stage.connect();
    let (path, _, properties): Attached = client.manage("AttachSession", &token).unwrap();
    assert_eq!((path.as_str(), properties.is_open), (session.as_str(), Some(true)));
    assert_eq!(former.properties(&session).unwrap_err().short(), "UnknownObject");
    // Also once more, and the end of the former connection is nothing to it.
    let _: Attached = client.manage("AttachSession", &token).unwrap();
    former.ping();
    former.take_signals();
    assert_eq!(client.properties(&session).unwrap().is_open, Some(true));
    drop(hold);
    client.wait_for_state(&session, 5);
    former.ping();
    assert!(former.take_signals().is_empty());
    former.leave();
    assert_eq!(client.properties(&session).unwrap().is_open, Some(false));
    daemon.end();
}

/// A daemon that has two sessions, of which it could not write down the second one.
fn unwritten(stage: &Stage) -> (Running, Client, [OwnedFd; 2], String) {
    let daemon = stage.start_by("trap '' XFSZ; exec \"$0\" \"$@\"");
    let mut client = stage.connect();
    let (first, _) = client.create(AP0);
    let first_hold = client.open_and_wait(&first);
    set_writable(&daemon, Some(0));
    let (session, token) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    daemon.log().wait_for_text("cannot be written down", DEADLINE).unwrap();
    (daemon, client, [first_hold, hold], token)
}

/// Lets a daemon write files of so many octets at most.
fn set_writable(daemon: &Running, length: Option<u64>) {
    let process = Pid::from_raw(daemon.id().try_into().unwrap());
    prlimit(process, Resource::Fsize, Rlimit { current: length, maximum: None }).unwrap();
}

/// The next daemon knows of it.
fn assert_known(stage: &Stage, client: Client, holds: [OwnedFd; 2], token: &str) {
    drop(client);
    let daemon = stage.start();
    let mut client = stage.connect();
    let (_, _, properties): Attached = client.manage("AttachSession", &token).unwrap();
    assert_eq!(properties.is_open, Some(true));
    drop(holds);
    daemon.kill();
}

#[test]
fn what_could_not_be_written_down_is_once_it_can_be_again() {
    let stage = Stage::new();
    let (daemon, client, holds, token) = unwritten(&stage);
    set_writable(&daemon, None);
    // Nobody asks for anything meanwhile.
    daemon.log().wait_for_text("all is written down again", DEADLINE).unwrap();
    daemon.kill();
    assert_known(&stage, client, holds, &token);
}

#[test]
fn what_could_not_be_written_down_is_when_the_daemon_ends() {
    let stage = Stage::new();
    let (daemon, client, holds, token) = unwritten(&stage);
    set_writable(&daemon, None);
    let told = daemon.end();
    assert!(!told.iter().any(|line| line.contains("will not know of all")), "{told:?}");
    assert_known(&stage, client, holds, &token);
}

#[test]
fn what_cannot_be_written_down_when_the_daemon_ends_is_told() {
    let stage = Stage::new();
    let (daemon, client, holds, _) = unwritten(&stage);
    let told = daemon.end();
    assert!(told.iter().any(|line| line.contains("will not know of all")), "{told:?}");
    drop((client, holds));
}

fn edit_ledger(stage: &Stage, from: &str, to: &str) {
    for entry in fs::read_dir(stage.runtime()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("ledger-") {
            let text = fs::read_to_string(entry.path()).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(entry.path(), text.replace(from, to)).unwrap();
        }
    }
}

#[test]
fn links_of_a_newer_daemon_are_left_up_as_if_others_had_set_them_up() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, _) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    let addresses = || stage.lab.machine().ip_lines(&["-oneline", "-4", "address", "show", "dev", "ap0"]).unwrap();
    let routes = || stage.lab.machine().ip_lines(&["-4", "route", "show", "dev", "ap0"]).unwrap();
    let before = (addresses().len(), routes());
    daemon.kill();
    drop((client, hold));
    edit_ledger(&stage, "\"format\":1", "\"format\":2");
    for _ in 0..2 {
        // Also for the daemon after this one, and whoever else has used it.
        let daemon = stage.start();
        let mut client = stage.connect();
        let (session, _) = client.create(AP0);
        let properties = client.properties(&session).unwrap();
        assert_eq!(properties.state, Some(3));
        let hold = client.open_and_wait(&session);
        drop(hold);
        client.wait_for(&session, "Closed");
        let path = netbearer_dbus::configuration_path(AP0);
        let asked = (netbearer_dbus::CONFIGURATION_INTERFACE, netbearer_dbus::ADOPTED);
        let adopted = client.call(&path, "org.freedesktop.DBus.Properties", "Get", &asked).unwrap();
        assert_eq!(bool::try_from(adopted.body().deserialize::<zbus::OwnedVariant>().unwrap()), Ok(true));
        assert_eq!((addresses().len(), routes()), before);
        drop(client);
        daemon.end();
    }
}

#[test]
fn what_another_boot_has_left_is_set_aside() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, token) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    daemon.kill();
    drop(client);
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    edit_ledger(&stage, boot.trim(), "00000000-0000-0000-0000-000000000000");
    let daemon = stage.start();
    let log = daemon.log().entries();
    assert!(log.iter().any(|line| line.contains("it is of another boot")), "{log:?}");
    assert!(
        fs::read_dir(stage.runtime())
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().ends_with(".set-aside") })
    );
    let mut client = stage.connect();
    assert_eq!(client.manage::<_, Attached>("AttachSession", &token).unwrap_err().short(), "UnknownToken");
    assert!(is_revoked(&hold));
    daemon.end();
}

#[test]
fn kills_in_the_middle_of_openings_leave_nothing_that_is_not_held() {
    let stage = Stage::new();
    for _ in 0..5 {
        let daemon = stage.start();
        let mut client = stage.connect();
        let (session, _) = client.create(AP0);
        let hold = client.open(&session).unwrap();
        daemon.kill();
        drop(client);
        let daemon = stage.start();
        drop(hold);
        stage.wait_until_untouched();
        assert!(stage.connect().sessions().iter().all(|session| session["is_open"] == false));
        daemon.end();
    }
}

#[test]
fn a_daemon_that_is_stopped_leaves_its_clients_what_they_have() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, _) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    daemon.signal(Signal::STOP);
    assert!(!is_revoked(&hold));
    daemon.signal(Signal::CONT);
    client.ping();
    assert_eq!(client.properties(&session).unwrap().is_open, Some(true));
    drop(hold);
    client.wait_for_state(&session, 5);
    daemon.end();
}
