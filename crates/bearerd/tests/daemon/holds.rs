//! A hold is a descriptor: it lasts as long as somebody has a copy.

use std::{
    os::fd::{AsFd, OwnedFd},
    process::Stdio,
};

use netbearer_lab::{Program, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    client::{Client, descriptor},
    stage::{AP0, DEADLINE, Stage},
};

/// Whether a hold holds nothing any more, as its owner sees it.
pub(crate) fn is_revoked(hold: impl AsFd) -> bool {
    let hold = hold.as_fd();
    let mut polled = [PollFd::new(&hold, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
    polled[0].revents().contains(PollFlags::ERR)
}

/// A process that does nothing but have a descriptor.
fn keeper(stage: &Stage, hold: OwnedFd) -> Program {
    stage.lab.machine().command("sleep").arg("1000").stdout(Stdio::from(hold)).spawn().unwrap()
}

fn is_held(client: &mut Client) -> bool {
    client.sessions().iter().any(|session| session["is_open"] == true)
}

#[test]
fn closing_the_last_copy_closes_the_session_and_no_earlier() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, _) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    let copy = hold.try_clone().unwrap();
    // Opening again gives the same hold, so both have to go.
    let again = client.open(&session).unwrap();
    drop(hold);
    drop(again);
    client.ping();
    assert!(client.properties(&session).unwrap().is_open.unwrap());
    drop(copy);
    client.wait_for(&session, "Closed");
    client.wait_for_state(&session, 5);
    stage.wait_until_untouched();
    daemon.end();
}

#[test]
fn a_hold_that_another_process_has_outlives_the_client_that_opened_it() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, _) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    let keeper = keeper(&stage, hold);
    client.leave();
    let mut other = stage.connect();
    let sessions = other.sessions();
    let told = ["owned", "is_open", "descriptors"].map(|name| sessions[0][name].clone());
    assert_eq!(serde_json::Value::from(told.to_vec()), serde_json::json!([false, true, 1]), "{sessions:?}");
    keeper.signal(Signal::KILL).unwrap();
    drop(keeper);
    stage.wait_until_untouched();
    assert!(other.sessions().is_empty());
    daemon.end();
}

#[test]
fn a_hold_that_was_passed_on_outlives_the_close_of_its_session() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, _) = client.create(AP0);
    assert_eq!(client.ask(&session, "HoldFd").unwrap_err().short(), "NotHeld");
    let hold = client.open_and_wait(&session);
    let passed_on = descriptor(&client.ask(&session, "HoldFd").unwrap());
    let keeper = keeper(&stage, passed_on);
    client.ask(&session, "Close").unwrap();
    assert!(is_revoked(&hold), "the object's own does not count any more");
    let properties = client.properties(&session).unwrap();
    assert_eq!((properties.is_open, properties.state), (Some(false), Some(3)), "the other one does");
    assert!(is_held(&mut client));
    drop(keeper);
    client.wait_for_state(&session, 5);
    stage.wait_until_untouched();
    daemon.end();
}

#[test]
fn what_is_stopped_is_seen_by_whoever_has_a_copy() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, _) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    let copy = hold.try_clone().unwrap();
    assert!(!is_revoked(&copy));
    client.ask(&session, "Stop").unwrap();
    assert!(is_revoked(&copy) && is_revoked(&hold));
    assert_eq!(std::fs::read_dir(stage.runtime().join("holds")).unwrap().count(), 0);
    stage.wait_until_untouched();
    daemon.end();
}

#[test]
fn a_client_that_is_killed_is_gone_at_once() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut watching = stage.connect();
    let (watched, _) = watching.create(AP0);
    // A process that has both the connection and the hold.
    let mut client = stage.connect();
    let (session, _) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    watching.wait_for_state(&watched, 3);
    let mut keeper = keeper(&stage, hold);
    drop(client);
    keeper.signal(Signal::KILL).unwrap();
    keeper.wait(DEADLINE).unwrap();
    watching.wait_for_state(&watched, 4);
    watching.wait_for_state(&watched, 5);
    stage.wait_until_untouched();
    daemon.end();
}
