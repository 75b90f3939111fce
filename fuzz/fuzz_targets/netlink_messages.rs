#![no_main]

#[path = "../../crates/netbearer-kernel/tests/parsing/targets.rs"]
#[allow(dead_code, reason = "each target is one of them")]
mod targets;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| targets::netlink_messages(octets));
