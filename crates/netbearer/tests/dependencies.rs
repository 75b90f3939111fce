//! What a program compiles that only talks to the daemon.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

/// What the library needs with these features, one crate a line.
fn dependencies(features: &[&str]) -> String {
    let tree = ["tree", "--offline", "--package", "netbearer", "--edges", "normal", "--prefix", "none"];
    let output = Command::new(env!("CARGO")).args(tree).args(features).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("names of crates are text")
}

#[test]
fn a_client_of_the_daemon_compiles_no_netlink_and_no_dhcp() {
    /// The codecs, and what of ours stands on them.
    const OF_THE_SERVICE: [&str; 5] =
        ["rtnetlink ", "netlink-packet-route ", "dhcproto ", "netbearer-kernel ", "netbearer-engine-native "];
    let (client, embedded) = (dependencies(&["--no-default-features"]), dependencies(&["--features", "embedded"]));
    for name in OF_THE_SERVICE {
        let is_there = |tree: &str| tree.lines().any(|line| line.starts_with(name));
        assert!(is_there(&embedded), "{name}is not there with the service either:\n{embedded}");
        assert!(!is_there(&client), "{name}is there:\n{client}");
    }
}
