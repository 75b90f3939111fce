//! How a daemon starts beside others, and ends.

use std::{
    fs, io,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    process::Stdio,
};

use netbearer_lab::{LabError, Program, Record, Signal, uninterrupted};

use crate::{
    client::{Attached, Client},
    holds::is_revoked,
    raw,
    rights::as_user,
    stage::{AP0, DEADLINE, Stage},
};

#[test]
fn one_that_nobody_holds_anything_of_leaves_nothing() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, _) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    drop(hold);
    client.wait_for_state(&session, 5);
    let log = daemon.end();
    assert!(log.iter().any(|line| line.contains("nothing of ours is left")), "{log:?}");
    stage.wait_until_untouched();
    let left: Vec<String> = fs::read_dir(stage.runtime())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.ends_with(".lock") && !name.starts_with("netns-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_second_one_is_told_which_process_the_first_is() {
    let stage = Stage::new();
    let daemon = stage.start();
    let refused = stage.command(["--no-bus"]).output().unwrap_err();
    let LabError::CommandFailed { status, message, .. } = &refused else { panic!("{refused}") };
    assert_eq!(status.code(), Some(1));
    assert!(message.contains(&format!("another bearerd (process {})", daemon.id())), "{message}");
    stage.connect().ping();
    daemon.end();
}

#[test]
fn the_socket_that_a_killed_one_has_left_is_replaced() {
    let stage = Stage::new();
    stage.start().kill();
    assert!(stage.socket().exists());
    let daemon = stage.start();
    stage.connect().ping();
    daemon.end();
    assert!(!stage.socket().exists());
    // Nor does one matter that was never ours.
    fs::create_dir_all(stage.runtime()).unwrap();
    drop(UnixListener::bind(stage.runtime().join("bus.new")).unwrap());
    let daemon = stage.start();
    stage.connect().ping();
    daemon.end();
}

#[test]
fn a_socket_that_others_have_removed_is_bound_again_and_disturbs_nobody() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, _) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    let remove = || fs::remove_file(stage.socket());
    // What is there then is no socket, or one that nobody serves any more.
    let replace = || fs::write(stage.directory().join("file"), "").and_then(|()| put_in_place(&stage, "file"));
    let bury =
        || UnixListener::bind(stage.directory().join("dead")).map(drop).and_then(|()| put_in_place(&stage, "dead"));
    let ways: [&dyn Fn() -> io::Result<()>; 3] = [&remove, &replace, &bury];
    for way in ways {
        let before = daemon.log().mark();
        way().unwrap();
        daemon.log().wait_for_text_since(before, "was removed by others; it is bound again", DEADLINE).unwrap();
        stage.connect().ping();
        as_user(1000, 65_534, || Client::connect(&stage.socket()).ping());
        assert!(!is_revoked(&hold));
        assert_eq!(client.properties(&session).unwrap().is_open, Some(true));
    }
    drop(hold);
    client.wait_for_state(&session, 5);
    let log = daemon.end();
    let told = log.iter().filter(|line| line.contains("removed by others")).count();
    assert_eq!(told, ways.len(), "{log:?}");
    assert!(!stage.socket().exists(), "it does not bind what it removes itself");
}

fn put_in_place(stage: &Stage, name: &str) -> io::Result<()> {
    fs::rename(stage.directory().join(name), stage.socket())
}

#[test]
fn who_has_connected_to_a_socket_before_it_was_removed_is_served() {
    let stage = Stage::new();
    let daemon = stage.start();
    // It serves, and looks at its directory by now.
    stage.connect().ping();
    daemon.signal(Signal::STOP);
    let waiting: Vec<UnixStream> = (0..16).map(|_| raw::connect(&stage.socket())).collect();
    fs::remove_file(stage.socket()).unwrap();
    daemon.signal(Signal::CONT);
    daemon.log().wait_for_text("it is bound again", DEADLINE).unwrap();
    for stream in waiting {
        raw::authenticate(stream);
    }
    daemon.end();
}

#[test]
fn a_socket_whose_place_others_have_taken_is_left_to_them_until_they_are_gone() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let another = UnixListener::bind(stage.directory().join("another")).unwrap();
    put_in_place(&stage, "another").unwrap();
    daemon.log().wait_for_text("another process listens there", DEADLINE).unwrap();
    client.ping();
    drop(another);
    fs::remove_file(stage.socket()).unwrap();
    daemon.log().wait_for_text("it is bound again", DEADLINE).unwrap();
    stage.connect().ping();
    client.ping();
    daemon.end();
}

#[test]
fn a_daemon_whose_directory_is_gone_says_so_once_and_serves_who_is_connected() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let elsewhere = stage.directory().join("elsewhere");
    fs::rename(stage.runtime(), &elsewhere).unwrap();
    daemon.log().wait_for_text("its directory was removed", DEADLINE).unwrap();
    client.ping();
    // It is not for this daemon that others have made one.
    fs::create_dir(stage.runtime()).unwrap();
    fs::write(stage.runtime().join("bus"), "").unwrap();
    client.ping();
    fs::remove_dir_all(stage.runtime()).unwrap();
    fs::rename(elsewhere, stage.runtime()).unwrap();
    stage.connect().ping();
    fs::remove_file(stage.socket()).unwrap();
    daemon.log().wait_for_text("it is bound again", DEADLINE).unwrap();
    stage.connect().ping();
    let log = daemon.end();
    let told = log.iter().filter(|line| line.contains("its directory was removed")).count();
    assert_eq!(told, 1, "{log:?}");
}

#[test]
fn who_started_it_is_told_when_it_is_ready() {
    let stage = Stage::new();
    let notices = std::os::unix::net::UnixDatagram::bind(stage.directory().join("notices")).unwrap();
    notices.set_read_timeout(Some(DEADLINE)).unwrap();
    let command = stage.command(["--no-bus"]).env("NOTIFY_SOCKET", stage.directory().join("notices"));
    let daemon = command.spawn().unwrap();
    let mut notice = [0; 64];
    let length = uninterrupted(|| notices.recv(&mut notice)).unwrap();
    assert_eq!(&notice[..length], b"READY=1");
    stage.connect().ping();
    drop(daemon);
}

#[test]
fn everybody_gets_at_the_socket_whatever_root_has_made_its_habit() {
    let stage = Stage::new();
    let mut daemon =
        stage.started_by("umask 077 && exec \"$0\" \"$@\"", ["--no-bus"]).stderr(Stdio::piped()).spawn().unwrap();
    daemon.stderr_lines().unwrap().wait_for_text("ready: ", DEADLINE).unwrap();
    as_user(1000, 65_534, || Client::connect(&stage.socket()).ping());
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        [mode(stage.runtime()), mode(stage.socket()), mode(stage.runtime().join("holds"))],
        [0o755, 0o666, 0o700]
    );
}

#[test]
fn no_ordinary_user_can_take_a_lock_and_each_can_see_who_has_it() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, _) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    let paths = fs::read_dir(stage.runtime()).unwrap().map(|entry| entry.unwrap().path());
    let locks: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "lock")).collect();
    assert_eq!(locks.len(), 2, "{locks:?}");
    as_user(1000, 65_534, || {
        for lock in &locks {
            let refused = fs::File::open(lock).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{}", lock.display());
            assert_eq!(netbearer_locks::holder(lock).unwrap(), Some(daemon.id()), "{}", lock.display());
        }
    });
    drop(hold);
    client.wait_for_state(&session, 5);
    daemon.end();
}

/// A daemon whose start lasts as long as one without an answer from the bus does, when it has begun.
fn starting(stage: &Stage) -> (Program, Record<String>, UnixStream) {
    let socket = stage.directory().join("root/run/dbus/system_bus_socket");
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let bus = UnixListener::bind(&socket).unwrap();
    let mut program = stage.command(["--no-bus"]).stderr(Stdio::piped()).spawn().unwrap();
    let log = program.stderr_lines().unwrap();
    let (unanswered, _) = bus.accept().unwrap();
    fs::remove_file(socket).unwrap();
    (program, log, unanswered)
}

#[test]
fn one_that_is_told_to_end_while_it_starts_ends_and_never_gets_ready() {
    let stage = Stage::new();
    let (mut program, log, _bus) = starting(&stage);
    program.signal(Signal::TERM).unwrap();
    assert!(program.wait(DEADLINE).unwrap().success());
    let told = log.until_end();
    assert!(!told.iter().any(|line| line.contains("ready: ")), "{told:?}");
    assert!(told.iter().any(|line| line.contains("nothing of ours is left")), "{told:?}");
    assert!(!stage.socket().exists() && !stage.runtime().join("holds").exists());
    stage.wait_until_untouched();
}

#[test]
fn one_that_is_told_to_end_while_it_starts_leaves_what_it_was_to_go_on_with() {
    let stage = Stage::new();
    let (token, hold) = stage.left_by_a_killed_daemon();
    let (mut program, log, _bus) = starting(&stage);
    program.signal(Signal::TERM).unwrap();
    assert!(program.wait(DEADLINE).unwrap().success());
    let told = log.until_end();
    assert!(!told.iter().any(|line| line.contains("ready: ")), "{told:?}");
    let daemon = stage.start();
    let mut client = stage.connect();
    let (path, ..): Attached = client.manage("AttachSession", &token).unwrap();
    assert_eq!(client.properties(path.as_str()).unwrap().is_open, Some(true));
    drop(hold);
    client.wait_for(path.as_str(), "Closed");
    stage.wait_until_untouched();
    daemon.end();
}

#[test]
fn one_that_can_do_a_part_of_its_work_no_more_ends_and_names_it() {
    let stage = Stage::new();
    // The directory of no file can be watched.
    let refused = stage.command(["--bus", "unix:path=/"]).output().unwrap_err();
    let LabError::CommandFailed { status, message, .. } = &refused else { panic!("{refused}") };
    assert_eq!(status.code(), Some(1));
    assert!(message.contains("cannot go on without the bus"), "{message}");
}

#[test]
fn a_directory_that_cannot_be_made_is_named_with_the_cause() {
    let stage = Stage::new();
    let refused = stage.command(["--no-bus", "--runtime-dir", "/proc/nowhere"]).output().unwrap_err();
    let LabError::CommandFailed { message, .. } = &refused else { panic!("{refused}") };
    assert!(message.contains("/proc/nowhere") && message.contains("caused by: "), "{message}");
}
