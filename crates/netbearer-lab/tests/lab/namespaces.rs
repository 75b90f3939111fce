use std::{
    io,
    net::{TcpListener, TcpStream},
    process::Stdio,
    thread,
};

use netbearer_lab::{LabError, Namespace, Signal, requirements};

use crate::PATIENCE;

#[test]
fn everything_the_lab_needs_is_here() {
    requirements().expect("a lab can be built");
}

#[test]
fn a_namespace_is_alone_with_a_loopback_interface_that_is_up() {
    let (one, other) = (Namespace::new("one").expect("a namespace"), Namespace::new("other").expect("another"));
    assert_ne!(one.inode().expect("known"), other.inode().expect("known"));
    assert!(one.is_administratively_up("lo").expect("lo is there"));
    let links = one.ip_json(&["link", "show"]).expect("a list");
    assert!(links.as_array().expect("a list").iter().all(|link| link["ifname"] != "eth0"), "{links}");

    let listener = one.run(|| TcpListener::bind("127.0.0.1:80")).expect("the port is free in a new namespace");
    let server = listener.local_addr().expect("bound");
    one.run(|| TcpStream::connect(server)).expect("the listener is in the same namespace");
    let error = other.run(|| TcpStream::connect(server)).expect_err("the listener is in another namespace");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn reverse_paths_are_filtered_as_systemd_does() {
    let namespace = Namespace::new("filtered").expect("a namespace");
    for (interface, value) in [("all", "0"), ("default", "2"), ("lo", "2")] {
        let sysctl = format!("net/ipv4/conf/{interface}/rp_filter");
        assert_eq!(namespace.sysctl(&sysctl).expect("a sysctl"), value, "{interface}");
    }
}

#[test]
fn threads_started_by_a_thread_that_entered_are_inside_too() {
    let namespace = Namespace::new("entered").expect("a namespace");
    let inside = thread::scope(|scope| {
        let entered = scope.spawn(|| {
            namespace.enter().expect("the right to enter");
            thread::spawn(|| std::fs::read_link("/proc/thread-self/ns/net").expect("a link")).join().expect("no panic")
        });
        entered.join().expect("no panic")
    });
    assert_eq!(inside.to_str(), Some(format!("net:[{}]", namespace.inode().expect("known")).as_str()));
}

#[test]
fn programs_run_inside_and_say_why_they_failed() {
    let namespace = Namespace::new("programs").expect("a namespace");
    let link = namespace.command("readlink").arg("/proc/self/ns/net").output().expect("readlink runs");
    assert_eq!(link.trim_end(), format!("net:[{}]", namespace.inode().expect("known")));

    let error = namespace.ip_lines(&["link", "show", "absent"]).expect_err("there is no such interface");
    let LabError::CommandFailed { command, message, .. } = &error else { panic!("another error: {error}") };
    assert_eq!(command, "ip link show absent");
    assert!(message.contains("absent"), "{message}");
}

#[test]
fn a_program_is_heard_signalled_and_waited_for() {
    let namespace = Namespace::new("programs").expect("a namespace");
    let script = "trap 'echo bye; exit 3' TERM; echo ready; while read -r line; do echo $line; done";
    let command = namespace.command("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut program = command.spawn().expect("a shell");
    let input = program.take_stdin().expect("a pipe");
    let lines = program.stdout_lines().expect("a pipe");
    lines.wait_for_text("ready", PATIENCE).expect("it has started");
    program.signal(Signal::TERM).expect("it is there");
    drop(input);
    assert_eq!(program.wait(PATIENCE).expect("it ends").code(), Some(3));
    lines.wait_for_text("bye", PATIENCE).expect("its last word");
}

#[test]
fn a_wait_ends_with_the_change_it_waits_for() {
    let namespace = Namespace::new("waiting").expect("a namespace");
    let ask = || Ok(namespace.addresses("lo")?.into_iter().find(|(_, length)| *length == 31));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| namespace.wait_until("the address", PATIENCE, ask));
        namespace.ip_lines(&["address", "add", "10.0.0.2/31", "dev", "lo"]).expect("lo takes it");
        let (address, _) = waiting.join().expect("no panic").expect("seen");
        assert_eq!(address.to_string(), "10.0.0.2");
    });
    let never = namespace.wait_until("a miracle", std::time::Duration::from_millis(10), || Ok(None::<()>));
    let error = never.expect_err("miracles are rare").to_string();
    assert!(error.contains("a miracle") && error.contains("10.0.0.2/31"), "{error}");
}

/// It would be found after the whole time only, or by luck.
#[test]
fn a_wait_for_what_no_change_tells_of_fails_though_it_comes_true() {
    let namespace = Namespace::new("waiting").expect("a namespace");
    let mut asked = 0;
    let untold = namespace.wait_until("the second time", std::time::Duration::from_millis(10), || {
        asked += 1;
        Ok((asked == 2).then_some(()))
    });
    assert!(matches!(untold, Err(LabError::Untold { .. })), "{untold:?}");
}

#[test]
fn a_wait_for_a_sysctl_ends_when_it_is_written() {
    const NAME: &str = "net/ipv4/conf/lo/arp_ignore";
    let namespace = Namespace::new("waiting").expect("a namespace");
    namespace.wait_for_sysctl(NAME, "0", PATIENCE).expect("it is so already");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| namespace.wait_for_sysctl(NAME, "2", PATIENCE));
        for value in ["1", "2"] {
            namespace.set_sysctl(NAME, value).expect("the kernel takes it");
        }
        waiting.join().expect("no panic").expect("seen");
    });
    let absent = namespace.wait_for_sysctl("net/ipv4/conf/no/arp_ignore", "2", PATIENCE);
    assert!(matches!(absent, Err(LabError::System { .. })), "{absent:?}");
}

#[test]
fn what_a_namespace_contains_is_the_same_again_when_a_change_is_undone() {
    let namespace = Namespace::new("machine").expect("a namespace");
    let before = namespace.contents().expect("the kernel tells");
    for (change, undo) in [
        (["address", "add", "192.0.2.7/32", "dev", "lo"], ["address", "del", "192.0.2.7/32", "dev", "lo"]),
        (["-6", "route", "add", "2001:db8::/64", "dev=lo"], ["-6", "route", "del", "2001:db8::/64", "dev=lo"]),
        (["rule", "add", "fwmark", "7", "table=7"], ["rule", "del", "fwmark", "7", "table=7"]),
    ] {
        let words = |words: [&'static str; 5]| words.into_iter().flat_map(|word| word.split('=')).collect::<Vec<_>>();
        namespace.ip_lines(&words(change)).expect("ip obeys");
        assert_ne!(namespace.contents().expect("the kernel tells"), before, "{change:?}");
        namespace.ip_lines(&words(undo)).expect("ip obeys");
        assert_eq!(namespace.contents().expect("the kernel tells"), before, "{undo:?}");
    }
}
