//! Neighbours that were asked for in vain.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::{Ipv4Addr, UdpSocket};

use netbearer_kernel::forget_unresolved_neighbours;
use netbearer_lab::uninterrupted;
use support::{Elsewhere, Veth, in_namespace, ip, wait_until, watcher};

const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const NOBODY: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 77), Ipv4Addr::new(10, 0, 0, 78)];

fn neighbours() -> String {
    let output = std::process::Command::new("ip").args(["neighbour", "show"]).output().expect("ip runs");
    String::from_utf8(output.stdout).expect("ip prints text")
}

#[test]
fn those_who_do_not_answer_are_forgotten_and_no_others() {
    in_namespace(|| async {
        let elsewhere = Elsewhere::new();
        Veth::Ordinary.make(&elsewhere);
        elsewhere.ip(&format!("addr add {PEER}/24 dev p0"));
        ip(&format!("addr add {OURS}/24 dev ap0"));
        let (_clock, mut watcher) = watcher().await;
        wait_until(&mut watcher, |watcher| watcher.cache().link(support::AP0).is_some_and(|link| link.carrier)).await;
        let server = elsewhere.run(|| UdpSocket::bind((PEER, 9)).expect("a server"));
        let socket = UdpSocket::bind((OURS, 0)).expect("our address");
        socket.send_to(b"hello", (PEER, 9)).expect("it is sent");
        uninterrupted(|| server.recv(&mut [0; 8])).expect("the neighbour has answered");
        for nobody in NOBODY {
            socket.send_to(b"hello", (nobody, 9)).expect("it waits for an answer");
        }
        assert_eq!(forget_unresolved_neighbours(support::AP0 + 1).expect("another interface"), 0);
        assert_eq!(forget_unresolved_neighbours(support::AP0).expect("forgotten"), NOBODY.len());
        let left = neighbours();
        assert!(left.contains(&PEER.to_string()), "{left}");
        assert!(NOBODY.iter().all(|nobody| !left.contains(&format!("{nobody} dev ap0  INCOMPLETE"))), "{left}");
        assert_eq!(forget_unresolved_neighbours(support::AP0).expect("none is left"), 0);
    });
}
