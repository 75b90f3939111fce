//! Each thing the lab offers, shown once against the real kernel and the real programs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod address_resolution;
mod cables;
mod daemons;
mod dhcp;
mod dhcp_client;
mod dhcp_faults;
mod namespaces;
mod neighbours;
mod oracle;
mod our_client;
mod sudden_death;
mod witnesses;

use std::time::Duration;

use netbearer_lab::{AccessPoint, Lab};

/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Brings the machine's interface up by hand: the `host`th address of the subnet, and routes in a table of its own with
/// the rules that lead there: one for sockets bound to the interface, one for the reverse-path filter.
fn configure(lab: &Lab, access_point: &AccessPoint, host: u8, table: &str) {
    let (name, subnet) = (access_point.name(), access_point.subnet());
    let (gateway, address) =
        (subnet.gateway().to_string(), format!("{}/{}", subnet.host(host), subnet.prefix_length()));
    for arguments in [
        &["address", "add", &address, "dev", name][..],
        &["link", "set", name, "up"],
        &["route", "add", "default", "via", &gateway, "dev", name, "table", table],
        &["rule", "add", "oif", name, "lookup", table],
        &["rule", "add", "from", &subnet.host(host).to_string(), "lookup", table],
    ] {
        lab.machine().ip_lines(arguments).expect("ip configures the machine's interface");
    }
}
