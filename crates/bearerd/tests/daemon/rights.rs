//! Who may do what.

use netbearer_types::FailureReason;
use rustix::{
    process::{Gid, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use crate::{
    client::Client,
    stage::{AP0, Stage},
};

/// The group of the daemon here: one that every Debian has.
const GROUP: [&str; 3] = ["--no-bus", "--group", "users"];
const USERS: u32 = 100;
const NOBODY: u32 = 65_534;

/// Does something as another user, who is in one group.
pub(crate) fn as_user<T: Send>(user: u32, group: u32, work: impl FnOnce() -> T + Send) -> T {
    let changed = || {
        // The system calls themselves change one thread only (`setresuid(2)`).
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        set_thread_groups(&[group]).unwrap();
        set_thread_res_gid(group, group, group).unwrap();
        set_thread_res_uid(user, user, user).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(changed).join().expect("it was done"))
}

#[test]
fn who_is_nobody_may_watch_and_nothing_else() {
    let stage = Stage::new();
    let daemon = stage.start_with(GROUP);
    let mut root = stage.connect();
    as_user(1000, NOBODY, || {
        let mut client = Client::connect(&stage.socket());
        let (session, _) = client.create(AP0);
        let refused = client.open(&session).unwrap_err();
        assert_eq!(refused.short(), "AccessDenied", "{refused:?}");
        let failure = refused.failure.expect("it is told which right");
        assert_eq!(failure.reason, FailureReason::MissingRight("group users".to_owned()));
        assert!(failure.message.contains("have it added to group users"), "{failure:?}");
        // The events tell it, too.
        let error: (netbearer_dbus::FailureValue,) = client.wait_for(&session, "Error").body().deserialize().unwrap();
        assert_eq!(error.0.0, 3);
        let properties = client.properties(&session).unwrap();
        assert_eq!((properties.state, properties.is_opening), (Some(5), Some(false)), "nothing was changed");

        // Root opens it, and this one sees it.
        let (of_root, _) = root.create(AP0);
        let hold = root.open_and_wait(&of_root);
        client.wait_for_state(&session, 3);
        let refused = client.ask(&session, "Stop").unwrap_err();
        assert_eq!(refused.short(), "AccessDenied");
        assert_eq!(client.properties(&session).unwrap().state, Some(3));
        drop(hold);
        client.wait_for_state(&session, 5);
    });
    daemon.end();
}

#[test]
fn members_of_the_group_may_open_but_stop_only_what_is_theirs() {
    let stage = Stage::new();
    let daemon = stage.start_with(GROUP);
    let mut root = stage.connect();
    let (of_root, _) = root.create(AP0);
    let _hold = root.open_and_wait(&of_root);
    as_user(1000, USERS, || {
        let mut client = Client::connect(&stage.socket());
        let (session, _) = client.create(AP0);
        let _hold = client.open_and_wait(&session);
        let refused = client.ask(&session, "Stop").unwrap_err();
        assert_eq!(refused.short(), "AccessDenied");
        client.wait_for(&session, "Closed");
        let properties = client.properties(&session).unwrap();
        assert_eq!((properties.is_open, properties.state), (Some(false), Some(3)));
    });
    assert_eq!(root.properties(&of_root).unwrap().is_open, Some(true));
    root.ask(&of_root, "Stop").unwrap();
    stage.wait_until_untouched();
    daemon.end();
}
