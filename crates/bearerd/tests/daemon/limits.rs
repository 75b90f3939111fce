//! How much one user may have.

use std::process::Stdio;

use netbearer_lab::Signal;
use netbearer_types::FailureReason;

use crate::{
    client::{Attached, Client, descriptor},
    rights::as_user,
    stage::{AP0, DEADLINE, Stage},
};

#[test]
fn beyond_a_limit_there_is_an_error_and_others_notice_nothing() {
    let stage = Stage::new();
    let daemon = stage.start_with(["--no-bus", "--max-sessions", "1", "--max-watchers", "2"]);
    let mut client = stage.connect();
    let (first, _) = client.create(AP0);
    let (second, _) = client.create(AP0);
    let refused = client.manage::<_, Attached>("CreateSession", &AP0).unwrap_err();
    assert_eq!((refused.short(), refused.failure.as_ref()), ("LimitsExceeded", None));
    let _hold = client.open_and_wait(&first);
    let refused = client.open(&second).unwrap_err();
    assert_eq!(refused.short(), "LimitsExceeded");
    assert_eq!(refused.failure.map(|failure| failure.reason), Some(FailureReason::LimitReached(1)));
    assert_eq!(std::fs::read_dir(stage.runtime().join("holds")).unwrap().count(), 1);
    // Somebody else's limits are his own.
    as_user(1000, 100, || {
        let mut other = Client::connect(&stage.socket());
        other.create(AP0);
    });
    daemon.end();
}

#[test]
fn beyond_so_many_descriptors_to_pass_on_there_is_an_error_until_one_is_closed() {
    let stage = Stage::new();
    let daemon = stage.start_with(["--no-bus", "--max-descriptors", "1"]);
    let mut client = stage.connect();
    let (session, _) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    let passed_on = client.ask(&session, "HoldFd").unwrap();
    let refused = client.ask(&session, "HoldFd").unwrap_err();
    assert_eq!(refused.short(), "LimitsExceeded", "{refused:?}");
    assert_eq!(std::fs::read_dir(stage.runtime().join("holds")).unwrap().count(), 2, "what was refused left nothing");
    drop(passed_on);
    // Closing is told by the kernel, and the daemon may hear of the call first.
    let asked_again = || Ok(client.ask(&session, "HoldFd").ok());
    let again = stage.lab.machine().wait_until("another descriptor", DEADLINE, asked_again).unwrap();
    drop((again, hold));
    daemon.end();
}

#[test]
fn a_daemon_with_fewer_descriptors_than_there_are_holds_goes_on_with_all_of_them() {
    const HOLDS: usize = 100;
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, token) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    let passed_on: Vec<_> = (0..HOLDS).map(|_| descriptor(&client.ask(&session, "HoldFd").unwrap())).collect();
    daemon.kill();
    let script = format!("ulimit -n {HOLDS} && exec \"$0\" \"$@\"");
    let mut daemon = stage.started_by(&script, ["--no-bus"]).stderr(Stdio::piped()).spawn().unwrap();
    let log = daemon.stderr_lines().unwrap();
    log.wait_for_text("count as held until that is possible", DEADLINE).unwrap();
    log.wait_for_text("ready: ", DEADLINE).unwrap();
    let mut client = stage.connect();
    client.manage::<_, Attached>("AttachSession", &token).unwrap();
    assert_eq!(client.sessions()[0]["descriptors"], HOLDS + 1);
    drop(passed_on);
    drop(hold);
    client.wait_for(&session, "Closed");
    stage.wait_until_untouched();
    daemon.signal(Signal::TERM).unwrap();
    assert!(daemon.wait(DEADLINE).unwrap().success());
    assert!(!stage.runtime().join("holds").exists(), "none of them is left");
}

#[test]
fn identifiers_that_are_longer_than_any_there_can_be_are_refused() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (fits, too_long) = ("x".repeat(255), "x".repeat(256));
    let (session, _) = client.create(&fits);
    assert_eq!(client.properties(&session).unwrap().state, Some(0), "there is no such configuration");
    for method in
        ["CreateSession", "GetConfiguration", "ResolveName", "GetInterface", "GetExclusive", "DescribeSteering"]
    {
        let refused = client.manage::<_, ()>(method, &too_long).unwrap_err();
        assert_eq!(refused.short(), "LimitsExceeded", "{method}: {refused:?}");
    }
    daemon.end();
}

#[test]
fn a_user_has_so_many_connections_and_nobody_else_is_kept_out() {
    let stage = Stage::new();
    let daemon = stage.start_with(["--no-bus", "--max-connections", "2"]);
    as_user(1000, 100, || {
        let first = Client::connect(&stage.socket());
        let mut second = Client::connect(&stage.socket());
        let refused = Client::try_connect(&stage.socket()).err().expect("it is one too many");
        assert!(refused.to_string().contains("this user has 2 connections"), "{refused}");
        second.ping();
        first.leave();
        Client::connect(&stage.socket()).ping();
    });
    let mut many: Vec<Client> = (0..4).map(|_| stage.connect()).collect();
    many.iter_mut().for_each(Client::ping);
    daemon.end();
}
