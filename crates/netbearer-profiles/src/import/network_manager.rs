//! Keyfiles of NetworkManager: nm-settings-keyfile(5), and nm-settings-nmcli(5) for what the keys mean.

use std::net::IpAddr;

use super::{Draft, key_file::Setting};

/// Sections of what is no link of ours.
const SUITABLE: [&str; 5] = ["ethernet", "802-3-ethernet", "wifi", "802-11-wireless", "gsm"];
/// Keys that say nothing a profile would have to say.
const SILENT: [&str; 8] = ["uuid", "type", "timestamp", "permissions", "method", "addr-gen-mode", "mode", "ssid"];

/// Says whether it is about a link of ours, and what holds for all of it.
pub(super) fn begin(settings: &[Setting<'_>], draft: &mut Draft) -> Result<(), String> {
    let find = |section: &str, key: &str| {
        settings.iter().find(|setting| setting.section == section && setting.key == key).map(|setting| setting.value)
    };
    let kind = find("connection", "type").unwrap_or("ethernet");
    if !SUITABLE.contains(&kind) {
        return Err(format!("it is of the type {kind}, and profiles are for wired, wireless and mobile links"));
    }
    if find("ipv4", "method").is_some_and(|method| method == "manual") {
        draft.set("addressing", "static");
    }
    Ok(())
}

pub(super) fn carry_over(setting: &Setting<'_>, draft: &mut Draft) {
    let Setting { section, key, value, .. } = *setting;
    match (section, key) {
        ("connection", "id") => draft.set("name", value),
        ("connection", "interface-name") => draft.matches("interface", value),
        ("connection", "metered") => draft.set("metered", matches!(value, "1" | "true" | "yes")),
        ("connection", "autoconnect" | "autoconnect-priority") => priority(setting, draft),
        ("ethernet" | "802-3-ethernet" | "wifi" | "802-11-wireless", "mac-address") => draft.matches("mac", value),
        (_, "mtu") => match value.parse::<i64>() {
            Ok(0) => {}
            Ok(mtu) => draft.set("mtu", mtu),
            Err(_) => draft.leave_behind(setting, "this is no number"),
        },
        ("match", "driver") => draft.matches("driver", value.trim_end_matches(';')),
        ("match", "path") => draft.matches("path", value.trim_end_matches(';')),
        ("match", "interface-name") => draft.matches("interface", value.trim_end_matches(';')),
        ("ipv4" | "ipv6", "dns") => draft.add_servers(setting, listed(value)),
        ("ipv4" | "ipv6", "dns-search") => draft.add_domains(setting, listed(value)),
        ("ipv4" | "ipv6", "gateway") => draft.add("gateways", value),
        ("ipv4" | "ipv6", "never-default") => draft.set("default_route", !matches!(value, "1" | "true" | "yes")),
        ("ipv4", "dhcp-hostname") => draft.set("hostname", value),
        ("ipv4", "dhcp-vendor-class-identifier") => draft.set("vendor_class", value),
        ("ipv4", "method") if !["auto", "manual"].contains(&value) => {
            draft.leave_behind(setting, "addresses come by DHCP or are static");
        }
        ("ipv6", "method") if !["auto", "manual", "ignore"].contains(&value) => {
            draft.leave_behind(setting, "IPv6 routers are always listened to");
        }
        ("proxy", "pac-url") => draft.set("proxy_auto_configuration", value),
        ("proxy", "method") if value == "1" => {}
        ("ipv4" | "ipv6", _) if is_numbered(key, "address") || is_numbered(key, "addresses") => {
            // Older files have the gateway beside it.
            let mut parts = value.split(',').map(str::trim);
            parts.next().into_iter().for_each(|address| draft.add("addresses", address));
            let gateway =
                parts.next().filter(|gateway| gateway.parse::<IpAddr>().is_ok_and(|gateway| !gateway.is_unspecified()));
            gateway.into_iter().for_each(|gateway| draft.add("gateways", gateway));
        }
        (_, key) if SILENT.contains(&key) => {}
        ("wifi-security" | "802-11-wireless-security" | "802-1x", _) => {
            draft.leave_behind(setting, "keys of wireless networks are not part of a profile");
        }
        ("ipv4" | "ipv6", _) if is_numbered(key, "route") => {
            draft.leave_behind(setting, "routes beside the default one are not part of a profile");
        }
        _ => draft.leave_behind(setting, "there is nothing like it"),
    }
}

/// Whether it comes up by itself is told by sessions.
fn priority(setting: &Setting<'_>, draft: &mut Draft) {
    match (setting.key, setting.value.parse::<i32>()) {
        ("autoconnect-priority", Ok(priority)) => draft.set("preference", i64::from(priority)),
        _ => draft.leave_behind(setting, "an access point comes up when a session is opened on it"),
    }
}

fn listed(value: &str) -> impl Iterator<Item = &str> {
    value.split([';', ',']).map(str::trim).filter(|item| !item.is_empty())
}

fn is_numbered(key: &str, name: &str) -> bool {
    key.strip_prefix(name).is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit()))
}
