//! Keyfiles of NetworkManager: nm-settings-keyfile(5), and nm-settings-nmcli(5) for what the keys mean.

use std::net::IpAddr;

use super::{Draft, boolean, key_file::Setting};

/// Sections of what is no link of ours.
const SUITABLE: [&str; 5] = ["ethernet", "802-3-ethernet", "wifi", "802-11-wireless", "gsm"];
/// Keys that say nothing a profile would have to say.
const SILENT: [&str; 6] = ["uuid", "type", "timestamp", "permissions", "method", "addr-gen-mode"];
/// Methods of a family that is not there at all.
const OFF: [&str; 2] = ["disabled", "ignore"];

pub(super) fn translate(settings: &[Setting<'_>], draft: &mut Draft) -> Result<(), String> {
    let find =
        |section: &str, key: &str| settings.iter().rfind(|setting| (setting.section, setting.key) == (section, key));
    let value = |section: &str, key: &str| find(section, key).map(|setting| setting.value.as_str());
    let kind = value("connection", "type").unwrap_or("ethernet");
    if !SUITABLE.contains(&kind) {
        return Err(format!("it is of the type {kind}, and profiles are for wired, wireless and mobile links"));
    }
    let method = |family: &str| value(family, "method");
    let is_off = |family: &str| method(family).is_some_and(|method| OFF.contains(&method));
    if method("ipv4") == Some("manual") || (is_off("ipv4") && method("ipv6") == Some("manual")) {
        draft.set("addressing", "static");
    }
    for setting in settings.iter().filter(|setting| !is_addresses(setting) || !is_off(setting.section)) {
        carry_over(setting, draft);
    }
    let never = |family: &str| find(family, "never-default").filter(|never| boolean(&never.value) == Some(true));
    match (never("ipv4"), never("ipv6")) {
        (None, None) => {}
        (Some(one), other) | (other, Some(one)) => {
            draft.set("default_route", false);
            let other_family = if one.section == "ipv4" { "ipv6" } else { "ipv4" };
            if other.is_none() && !is_off(other_family) {
                draft.leave_behind(one, "a profile has one `default_route` for both families: neither has one now");
            }
        }
    }
    Ok(())
}

fn carry_over(setting: &Setting<'_>, draft: &mut Draft) {
    let Setting { section, key, value, .. } = setting;
    match (*section, *key) {
        ("connection", "id") => draft.set_name(value),
        ("connection", "interface-name") => draft.matches_one(setting, "interface", value),
        ("connection", "metered") => draft.set("metered", matches!(value.as_str(), "1" | "true" | "yes")),
        ("connection", "autoconnect" | "autoconnect-priority") => priority(setting, draft),
        ("ethernet" | "802-3-ethernet" | "wifi" | "802-11-wireless", "mac-address") => {
            draft.matches_one(setting, "mac", value);
        }
        ("wifi" | "802-11-wireless", "mode") if value == "infrastructure" => {}
        ("wifi" | "802-11-wireless", "ssid") => {
            draft.leave_behind(setting, "which wireless network is joined is not part of a profile");
        }
        (_, "mtu") => match value.parse::<i64>() {
            Ok(0) => {}
            Ok(mtu) => draft.set("mtu", mtu),
            Err(_) => draft.leave_behind(setting, "this is no number"),
        },
        ("match", "driver") => draft.matches_one(setting, "driver", value.trim_end_matches(';')),
        ("match", "path") => draft.matches_one(setting, "path", value.trim_end_matches(';')),
        ("match", "interface-name") => draft.matches_one(setting, "interface", value.trim_end_matches(';')),
        ("ipv4" | "ipv6", "dns") => draft.add_servers(setting, listed(value)),
        ("ipv4" | "ipv6", "dns-search") => draft.add_domains(setting, listed(value)),
        ("ipv4" | "ipv6", "gateway") => draft.add_gateway(setting, value),
        // It is about both families, so it is carried over at the end.
        ("ipv4" | "ipv6", "never-default") if boolean(value).is_some() => {}
        ("ipv4", "dhcp-hostname") => draft.set("hostname", value.as_str()),
        ("ipv4", "dhcp-vendor-class-identifier") => draft.set("vendor_class", value.as_str()),
        ("ipv4", "method") if !["auto", "manual", "disabled"].contains(&&**value) => {
            draft.leave_behind(setting, "addresses come by DHCP or are static");
        }
        ("ipv6", "method") if !["auto", "manual", "ignore"].contains(&&**value) => {
            draft.leave_behind(setting, "IPv6 routers are always listened to");
        }
        ("proxy", "pac-url") => draft.set("proxy_auto_configuration", value.as_str()),
        ("proxy", "method") if value == "1" => {}
        _ if is_addresses(setting) => {
            // Older files have the gateway beside it.
            let mut parts = value.split(',').map(str::trim);
            parts.next().into_iter().for_each(|address| draft.add("addresses", address));
            let gateway =
                parts.next().filter(|gateway| gateway.parse::<IpAddr>().is_ok_and(|gateway| !gateway.is_unspecified()));
            gateway.into_iter().for_each(|gateway| draft.add_gateway(setting, gateway));
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

/// Addresses of a family, or its gateway.
fn is_addresses(setting: &Setting<'_>) -> bool {
    ["ipv4", "ipv6"].contains(&setting.section)
        && (is_numbered(setting.key, "address") || is_numbered(setting.key, "addresses") || setting.key == "gateway")
}

fn is_numbered(key: &str, name: &str) -> bool {
    key.strip_prefix(name).is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit()))
}
