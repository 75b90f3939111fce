#![no_main]
#![allow(dead_code, reason = "the modules serve the crate's tests too")]

#[path = "../../crates/netbearer-dhcp/tests/client/history.rs"]
mod history;
#[path = "../../crates/netbearer-dhcp/tests/client/operation.rs"]
mod operation;
#[path = "../../crates/netbearer-dhcp/tests/client/server.rs"]
mod server;
#[path = "../../crates/netbearer-dhcp/tests/client/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| targets::arp(octets));
