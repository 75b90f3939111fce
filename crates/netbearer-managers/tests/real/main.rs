//! The real managers, each in a lab: what they look after is told, and witnessed by their own tools.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bus;
mod run_files;
mod watched;

use std::time::Duration;

use netbearer_lab::{AccessPointPlan, Dhcp, Lab, Namespace};

/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A machine with files of its own and two cards.
fn lab() -> Lab {
    let plan = |name: &str| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq).without_checksum_offload();
    Lab::builder().own_files().access_point(plan("ap0")).access_point(plan("ap1")).build().expect("a lab")
}

/// Runs a program on the machine and returns what it prints.
fn run(machine: &Namespace, line: &str) -> String {
    let mut words = line.split(' ');
    let command = machine.command(words.next().expect("a program"));
    command.args(words).output().expect("it does as it is told")
}

/// Waits until ap0 has an IPv4 address.
fn wait_for_address(machine: &Namespace) {
    let address = || Ok(machine.addresses("ap0")?.into_iter().find(|(address, _)| address.is_ipv4()));
    machine.wait_until("an address of ap0", PATIENCE, address).expect("the manager configures it");
}
