//! `.network` files of systemd-networkd: systemd.network(5).

use std::net::IpAddr;

use super::{Draft, boolean, key_file::Setting};

/// The main table, as `Table=` may name it.
const MAIN_TABLE: [&str; 2] = ["main", "254"];
const ONLY_DEFAULT: &str = "routes beside the default one are not part of a profile";

pub(super) fn translate(settings: &[Setting<'_>], draft: &mut Draft) -> Result<(), String> {
    if !settings.iter().any(|setting| setting.section == "Match") {
        return Err("it has no section [Match]".to_owned());
    }
    let dhcp = settings.iter().rev().find(|setting| (setting.section, setting.key) == ("Network", "DHCP"));
    // Without a word about it there is none.
    if !dhcp.is_some_and(|setting| ["ipv4", "both"].contains(&&*setting.value) || boolean(&setting.value) == Some(true))
    {
        draft.set("addressing", "static");
    }
    // What is said of one route, or of one address, is said of that only.
    for section in settings.chunk_by(|one, other| one.section_line == other.section_line) {
        match section.first().map(|setting| setting.section) {
            Some("Route") => route(section, draft),
            _ => section.iter().for_each(|setting| carry_over(setting, draft)),
        }
    }
    Ok(())
}

fn carry_over(setting: &Setting<'_>, draft: &mut Draft) {
    let Setting { section, key, value, .. } = setting;
    match (*section, *key) {
        // An empty one takes back what stands before it.
        ("Network", "Address") if value.is_empty() => draft.unset("addresses"),
        ("Network", "Gateway") if value.is_empty() => draft.unset("gateways"),
        ("Network", "DNS") if value.is_empty() => draft.unset("name_servers"),
        ("Network", "Domains") if value.is_empty() => draft.unset("search_domains"),
        (_, _) if value.is_empty() => {}
        ("Match", "Name") => draft.matches_one(setting, "interface", value),
        ("Match", "MACAddress" | "PermanentMACAddress") => draft.matches_one(setting, "mac", value),
        ("Match", "Driver") => draft.matches_one(setting, "driver", value),
        ("Match", "Path") => draft.matches_one(setting, "path", value),
        ("Link", "MTUBytes") => match value.parse::<i64>() {
            Ok(mtu) => draft.set("mtu", mtu),
            Err(_) => draft.leave_behind(setting, "write it in bytes"),
        },
        ("Network", "Description") => draft.set_name(value),
        ("Network", "Address") | ("Address", "Address") => draft.add("addresses", value),
        ("Network", "Gateway") => draft.add_gateway(setting, value),
        ("Network", "DNS") => draft.add_servers(setting, value.split_whitespace()),
        ("Network", "Domains") => draft.add_domains(setting, value.split_whitespace()),
        ("Network", "DHCP") => {}
        ("Network", "IPv6AcceptRA") if boolean(value) != Some(false) => {}
        ("Network", "IPv6AcceptRA") => draft.leave_behind(setting, "IPv6 routers are always listened to"),
        ("DHCPv4" | "DHCP", "Hostname") => draft.set("hostname", value.as_str()),
        ("DHCPv4" | "DHCP", "VendorClassIdentifier") => draft.set("vendor_class", value.as_str()),
        ("DHCPv4" | "DHCP", "SendRelease") => draft.set_boolean(setting, "dhcp_release"),
        ("DHCPv4" | "DHCP", "UseGateway") => draft.set_boolean(setting, "default_route"),
        ("DHCPv4" | "DHCP", "RapidCommit") => draft.set_boolean(setting, "rapid_commit"),
        _ => draft.leave_behind(setting, "there is nothing like it"),
    }
}

/// A section `[Route]`: the gateway of the default route, or nothing.
fn route(section: &[Setting<'_>], draft: &mut Draft) {
    let find = |key: &str| section.iter().rev().find(|setting| setting.key == key && !setting.value.is_empty());
    let destination = find("Destination").filter(|setting| !is_default(&setting.value));
    let other_table = find("Table").filter(|setting| !MAIN_TABLE.contains(&&*setting.value));
    let limited = destination.or(other_table).or_else(|| find("Source")).or_else(|| find("Type"));
    match (limited, find("Gateway")) {
        (Some(limit), _) => {
            draft.leave_behind(limit, &format!("the whole section stays behind: {ONLY_DEFAULT}"));
        }
        (None, Some(gateway)) => {
            draft.add_gateway(gateway, &gateway.value);
            for setting in section.iter().filter(|setting| !["Gateway", "Destination", "Table"].contains(&setting.key))
            {
                draft.leave_behind(setting, "there is nothing like it");
            }
        }
        (None, None) => {
            section.iter().for_each(|setting| draft.leave_behind(setting, ONLY_DEFAULT));
        }
    }
}

fn is_default(destination: &str) -> bool {
    let is_everything = |(address, length): (&str, &str)| address.parse::<IpAddr>().is_ok() && length == "0";
    destination == "default" || destination.split_once('/').is_some_and(is_everything)
}
