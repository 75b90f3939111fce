//! `.network` files of systemd-networkd: systemd.network(5).

use std::net::IpAddr;

use super::{Draft, key_file::Setting};

/// Says whether it is about a link of ours, and what holds for all of it.
pub(super) fn begin(settings: &[Setting<'_>], draft: &mut Draft) -> Result<(), String> {
    if !settings.iter().any(|setting| setting.section == "Match") {
        return Err("it has no section [Match]".to_owned());
    }
    let dhcp = settings.iter().rev().find(|setting| (setting.section, setting.key) == ("Network", "DHCP"));
    // Without a word about it there is none (systemd.network(5)).
    if !dhcp.is_some_and(|setting| ["yes", "true", "ipv4", "both", "1"].contains(&setting.value)) {
        draft.set("addressing", "static");
    }
    Ok(())
}

pub(super) fn carry_over(setting: &Setting<'_>, draft: &mut Draft) {
    let Setting { section, key, value, .. } = *setting;
    match (section, key) {
        ("Match", "Name" | "MACAddress" | "PermanentMACAddress" | "Driver" | "Path") => matching(setting, draft),
        ("Link", "MTUBytes") => match value.parse::<i64>() {
            Ok(mtu) => draft.set("mtu", mtu),
            Err(_) => draft.leave_behind(setting, "write it in bytes"),
        },
        ("Network", "Description") => draft.set("name", value),
        ("Network", "Address") | ("Address", "Address") => draft.add("addresses", value),
        ("Network", "Gateway") => gateway(setting, draft),
        ("Route", "Gateway") if value.parse::<IpAddr>().is_ok() => gateway(setting, draft),
        ("Network", "DNS") => draft.add_servers(setting, value.split_whitespace()),
        ("Network", "Domains") => draft.add_domains(setting, value.split_whitespace()),
        ("Network", "DHCP") | ("Network", "IPv6AcceptRA") => {}
        ("DHCPv4" | "DHCP", "Hostname") => draft.set("hostname", value),
        ("DHCPv4" | "DHCP", "VendorClassIdentifier") => draft.set("vendor_class", value),
        ("DHCPv4" | "DHCP", "SendRelease") => draft.set("dhcp_release", ["yes", "true", "1"].contains(&value)),
        ("DHCPv4" | "DHCP", "UseGateway") => draft.set("default_route", ["yes", "true", "1"].contains(&value)),
        ("DHCPv4" | "DHCP", "RapidCommit") => draft.set("rapid_commit", ["yes", "true", "1"].contains(&value)),
        ("Route", _) => draft.leave_behind(setting, "routes beside the default one are not part of a profile"),
        _ => draft.leave_behind(setting, "there is nothing like it"),
    }
}

fn matching(setting: &Setting<'_>, draft: &mut Draft) {
    let Setting { key, value, .. } = *setting;
    if value.contains(['*', '?', '[', '!']) || value.split_whitespace().count() != 1 {
        return draft.leave_behind(setting, "a profile names one of each, without patterns");
    }
    let ours = match key {
        "Name" => "interface",
        "Driver" => "driver",
        "Path" => "path",
        _ => "mac",
    };
    draft.matches(ours, value);
}

fn gateway(setting: &Setting<'_>, draft: &mut Draft) {
    if setting.value.parse::<IpAddr>().is_ok() {
        draft.add("gateways", setting.value);
    } else {
        draft.leave_behind(setting, "a gateway is an address here");
    }
}
