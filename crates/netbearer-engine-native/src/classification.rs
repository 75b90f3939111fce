//! Which interfaces are access points, and of what bearer type. Pure.

use netbearer_kernel::Link;
use netbearer_types::BearerType;

/// `ARPHRD_ETHER` of `linux/if_arp.h`.
const ETHERNET: u16 = 1;
/// `ARPHRD_PPP`.
const PPP: u16 = 512;
/// `ARPHRD_RAWIP`.
const RAW_IP: u16 = 519;
/// `ARPHRD_NONE`: no link-layer header at all, as of tun and WireGuard.
const NONE: u16 = 0xfffe;

/// What an interface is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Classification {
    /// An access point that this engine can start and stop.
    AccessPoint(BearerType),
    /// An access point that only its own program can start; up, so it is adopted.
    Tunnel,
    /// No access point, and why, as a clause.
    Not(String),
}

/// Names of bridges that container and virtualisation software makes for itself.
const PRIVATE_BRIDGES: [&str; 9] = ["docker", "br-", "virbr", "cni", "podman", "lxcbr", "lxdbr", "incusbr", "vmbr"];

/// `device_type` is what the driver calls the device (`DEVTYPE` in its uevent): `wlan`, `wwan`, `bluetooth` …
pub(crate) fn classify(link: &Link, device_type: Option<&str>) -> Classification {
    let not = |reason: &str| Classification::Not(reason.to_owned());
    if link.loopback {
        return not("it is a loopback");
    }
    if let Some(controller) = link.controller {
        return Classification::Not(format!("it is a port of interface {controller}"));
    }
    match (link.kind.as_deref(), link.link_layer) {
        (Some("ifb" | "dummy" | "nlmon" | "vcan" | "vxcan" | "vrf" | "netdevsim"), _) => {
            not("it carries no traffic of its own")
        }
        (Some("bridge"), _) if is_private_bridge(&link.name) => {
            not("it is a bridge of container or virtualisation software")
        }
        (Some("tun" | "wireguard" | "xfrm" | "vti" | "vti6"), NONE) | (Some("wireguard"), _) => tunnel(link),
        (Some("ppp"), _) | (_, PPP) => tunnel(link),
        (Some("wwan"), _) | (_, RAW_IP) => Classification::AccessPoint(BearerType::Unknown),
        (_, ETHERNET) => Classification::AccessPoint(ethernet_like(device_type)),
        _ => not("it is a tunnel without a profile, or of a kind that is not known"),
    }
}

fn tunnel(link: &Link) -> Classification {
    if link.administratively_up && link.carrier {
        Classification::Tunnel
    } else {
        Classification::Not("it is a tunnel, and down".to_owned())
    }
}

fn ethernet_like(device_type: Option<&str>) -> BearerType {
    match device_type {
        Some("wlan") => BearerType::Wlan,
        Some("wwan") => BearerType::Unknown,
        Some("bluetooth") => BearerType::Bluetooth,
        Some("wimax") => BearerType::Wimax,
        _ => BearerType::Ethernet,
    }
}

fn is_private_bridge(name: &str) -> bool {
    // "br-" alone is also what people call their own bridges; containers add twelve hexadecimal digits.
    PRIVATE_BRIDGES.iter().any(|prefix| match (*prefix, name.strip_prefix(prefix)) {
        ("br-", Some(rest)) => rest.len() == 12 && rest.chars().all(|digit| digit.is_ascii_hexdigit()),
        (_, rest) => rest.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use netbearer_kernel::HardwareAddress;

    use super::*;

    fn link(name: &str, kind: Option<&str>, link_layer: u16) -> Link {
        Link {
            index: 7,
            name: name.to_owned(),
            kind: kind.map(str::to_owned),
            link_layer,
            hardware_address: HardwareAddress::new([2, 0, 0, 0, 0, 1]),
            permanent_hardware_address: HardwareAddress::default(),
            administratively_up: true,
            carrier: true,
            running: true,
            loopback: false,
            point_to_point: false,
            carrier_losses: 0,
            mtu: 1500,
            controller: None,
            peer: None,
        }
    }

    #[test]
    fn cards_radios_and_virtual_cards_are_access_points() {
        assert_eq!(classify(&link("eth0", None, ETHERNET), None), Classification::AccessPoint(BearerType::Ethernet));
        assert_eq!(
            classify(&link("wlan0", None, ETHERNET), Some("wlan")),
            Classification::AccessPoint(BearerType::Wlan)
        );
        assert_eq!(
            classify(&link("ap0", Some("veth"), ETHERNET), None),
            Classification::AccessPoint(BearerType::Ethernet)
        );
        assert_eq!(
            classify(&link("tap0", Some("tun"), ETHERNET), None),
            Classification::AccessPoint(BearerType::Ethernet)
        );
        assert_eq!(
            classify(&link("br-lan", Some("bridge"), ETHERNET), None),
            Classification::AccessPoint(BearerType::Ethernet)
        );
    }

    #[test]
    fn a_tunnel_counts_while_it_is_up() {
        let mut tunnel = link("wg0", Some("wireguard"), NONE);
        assert_eq!(classify(&tunnel, None), Classification::Tunnel);
        tunnel.administratively_up = false;
        assert!(matches!(classify(&tunnel, None), Classification::Not(_)));
    }

    #[test]
    fn ports_loopback_and_other_peoples_bridges_do_not_count() {
        let mut port = link("eth1", None, ETHERNET);
        port.controller = Some(9);
        let mut loopback = link("lo", None, 772);
        loopback.loopback = true;
        for none in [
            port,
            loopback,
            link("docker0", Some("bridge"), ETHERNET),
            link("br-0123456789ab", Some("bridge"), ETHERNET),
            link("virbr0", Some("bridge"), ETHERNET),
            link("ifb0", Some("ifb"), ETHERNET),
            link("sit0", Some("sit"), 776),
        ] {
            assert!(matches!(classify(&none, None), Classification::Not(_)), "{}", none.name);
        }
    }
}
