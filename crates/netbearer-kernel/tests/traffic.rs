//! Counters of interfaces.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::UdpSocket;

use netbearer_kernel::{TrafficMeter, missing_privileges, traffic_in};
use netbearer_types::Traffic;
use rustix::thread::{CapabilitySet, CapabilitySets};
use support::{in_namespace, ip_json};

const LOOPBACK: u32 = 1;

/// As `ip` tells it.
fn witnessed(interface: &str) -> Traffic {
    let told = &ip_json(&format!("-s link show {interface}"))[0]["stats64"];
    let octets = |direction: &str| told[direction]["bytes"].as_u64().expect("a number");
    Traffic { received: octets("rx"), written: octets("tx") }
}

#[test]
fn counters_are_those_of_the_kernel_and_grow_by_what_was_sent() {
    in_namespace(|| async {
        let mut meter = TrafficMeter::open().expect("a meter");
        let before = meter.read(LOOPBACK).expect("read");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        for _ in 0..10 {
            socket.send_to(&[0; 1000], socket.local_addr().expect("an address")).expect("sent");
        }
        let carried = meter.read(LOOPBACK).expect("read");
        assert_eq!(carried, witnessed("lo"));
        // With the headers of IP and UDP, 20 and 8 octets.
        let sent = Traffic { received: 10 * 1028, written: 10 * 1028 };
        assert_eq!(carried.since(before), sent);
    });
}

#[test]
fn an_interface_that_is_not_there_is_said_so_and_the_next_answer_is_none_of_it() {
    in_namespace(|| async {
        let mut meter = TrafficMeter::open().expect("a meter");
        let error = meter.read(4711).expect_err("there is none");
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{error}");
        assert_eq!(meter.read(LOOPBACK).expect("read"), witnessed("lo"));
    });
}

#[test]
fn everybody_may_read_counters() {
    in_namespace(|| async {
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, none).expect("privileges are given up");
        assert!(!missing_privileges().expect("they can be read").is_empty());
        let mut meter = TrafficMeter::open().expect("a meter");
        assert_eq!(meter.read(LOOPBACK).expect("read"), witnessed("lo"));
    });
}

/// A real answer of the kernel's, as it is in the corpus.
const ANSWER: &[u8] = include_bytes!("../../../fuzz/corpus/netlink_messages/counters");

#[test]
fn an_answer_that_is_cut_off_says_nothing() {
    let expected = Traffic { received: 10_280, written: 10_280 };
    assert_eq!(traffic_in(ANSWER), [(LOOPBACK, expected)]);
    for length in 0..ANSWER.len() {
        assert_eq!(traffic_in(&ANSWER[..length]), [], "the first {length} octets");
    }
}
