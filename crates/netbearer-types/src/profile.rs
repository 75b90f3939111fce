use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{ClientIdentifier, HostName, Proxy, Purpose, VendorClass};

/// Who decides how long an access point stays up (semantics §1, "adopted link").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Lifetime {
    /// What was up without us stays up; what we brought up goes down with its last hold.
    #[default]
    Adopt,
    /// The last hold takes the link down, whoever brought it up.
    OnDemand,
}

/// Where the classless routes that a DHCP server announces (option 121, RFC 3442) go. The default one is not meant: that is
/// [`Profile::default_route`]'s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AnnouncedRoutes {
    /// To the access point's own table only, so that a network cannot pull other programs' traffic to it.
    #[default]
    Own,
    /// To the main table as well, with the metric of the access point's other routes there.
    Main,
}

/// What may leave by the access point while a full-tunnel VPN is up ([`FullTunnel`](crate::FullTunnel)), which otherwise takes
/// everything (docs/decisions.md). Without such a tunnel the three differ in nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BypassVpn {
    /// Nothing. Sockets bound to the access point reach only what the tunnel itself leaves outside; the rest is unreachable
    /// for them. Marked sockets, and those that only have the access point's address, go through the tunnel.
    Never,
    /// Who asked for the access point: sockets bound to it, and marked ones. Those that only have its address go through the
    /// tunnel.
    #[default]
    Group,
    /// Those, and whatever has the access point's address.
    All,
}

impl BypassVpn {
    /// What it means for the traffic of a session, as a sentence without its full stop.
    #[must_use]
    pub const fn effect(self) -> &'static str {
        match self {
            Self::Never => {
                "sockets bound to the access point reach only what the tunnel leaves outside, all others go through the tunnel"
            }
            Self::Group => {
                "sockets bound to the access point and marked ones leave by it, outside the tunnel; those that only have its address go through the tunnel"
            }
            Self::All => {
                "sockets bound to the access point, marked ones, and those that have its address leave by it, outside the tunnel"
            }
        }
    }
}

impl fmt::Display for BypassVpn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Never => "never",
            Self::Group => "group",
            Self::All => "all",
        })
    }
}

/// Where an access point has its IPv4 address from. IPv6 is the kernel's: what routers announce (RFC 4862).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Addressing {
    /// A DHCP server (RFC 2131).
    #[default]
    Dhcp,
    /// [`Profile::addresses`].
    Static,
}

/// An address and the length of its network's prefix, written as in `192.0.2.10/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct NetworkAddress {
    address: IpAddr,
    prefix_length: u8,
}

/// This text is no address that an interface could have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address for an interface: {reason}; write it as in 192.0.2.10/24")]
pub struct NetworkAddressError {
    /// The text.
    pub text: String,
    /// What is wrong, as a clause.
    pub reason: &'static str,
}

impl NetworkAddress {
    /// The address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The length of the prefix, in bits.
    #[must_use]
    pub const fn prefix_length(&self) -> u8 {
        self.prefix_length
    }

    /// The network's own address: the bits beyond the prefix are zero.
    #[must_use]
    pub fn network(&self) -> IpAddr {
        masked(self.address, self.prefix_length)
    }

    /// True if `address` lies in the same network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix_length) == self.network()
    }

    /// True if `address` is the network's own or its broadcast address, which no host has. Networks of two have neither
    /// (RFC 3021), nor have those of IPv6.
    #[must_use]
    pub fn is_without_host(&self, address: IpAddr) -> bool {
        let IpAddr::V4(host) = address else { return false };
        let hosts = u32::MAX.checked_shr(self.prefix_length.into()).unwrap_or(0);
        hosts > 1 && self.contains(address) && [0, hosts].contains(&(host.to_bits() & hosts))
    }
}

fn masked(address: IpAddr, prefix_length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix_length.min(32))).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix_length.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl FromStr for NetworkAddress {
    type Err = NetworkAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |reason| NetworkAddressError { text: text.to_owned(), reason };
        let (address, length) = text.split_once('/').ok_or_else(|| wrong("the length of the prefix is missing"))?;
        let address: IpAddr = address.parse().map_err(|_| wrong("what stands before the slash is no IP address"))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix_length: u8 = length.parse().map_err(|_| wrong("the length of the prefix is no number"))?;
        if !(1..=longest).contains(&prefix_length) {
            return Err(wrong("no prefix is that long"));
        }
        let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
        if address.is_unspecified() || address.is_loopback() || address.is_multicast() || is_broadcast {
            return Err(wrong("no host may have it"));
        }
        let parsed = Self { address, prefix_length };
        if parsed.is_without_host(address) {
            return Err(wrong("it is the network's own or its broadcast address"));
        }
        Ok(parsed)
    }
}

impl TryFrom<String> for NetworkAddress {
    type Error = NetworkAddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for NetworkAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix_length)
    }
}

impl From<NetworkAddress> for String {
    fn from(address: NetworkAddress) -> Self {
        address.to_string()
    }
}

/// How an access point is brought up and kept. All times are counted on `CLOCK_BOOTTIME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct Profile {
    /// For people; the interface name if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the network is for.
    pub purpose: Purpose,
    /// Traffic costs money or counts against an allowance.
    pub metered: bool,
    /// The proxy to use on this network; told to applications without the user information of its URL, not used by us.
    pub proxy: Proxy,
    /// Whether it leads to the Internet, where the default route does not tell (semantics §9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// Where it has its IPv4 address from.
    pub addressing: Addressing,
    /// The addresses of static addressing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NetworkAddress>,
    /// The gateways of static addressing, at most one of each family.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// Name servers, instead of those the network tells.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub name_servers: Vec<IpAddr>,
    /// Search domains, instead of those the network tells.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search_domains: Vec<HostName>,
    /// Maximum transmission unit in octets, instead of what the network tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Who decides how long the access point stays up.
    pub lifetime: Lifetime,
    /// How long the link stays up after its last hold has gone.
    #[serde(with = "duration_text")]
    pub linger: Duration,
    /// How long bringing the link up may take altogether.
    #[serde(with = "duration_text")]
    pub connect_timeout: Duration,
    /// How long a link that was set up may go without carrier.
    #[serde(with = "duration_text")]
    pub carrier_timeout: Duration,
    /// Higher is preferred; the same number leaves it to the bearer type.
    pub preference: i32,
    /// A configuration of its own on each device that its file is for, beside the others there; one of them is up at a time
    /// (semantics §3, "Exclusive"). Only for profiles of files, which give these configurations their names.
    pub exclusive: bool,
    /// Tell the DHCP server when the lease is no longer needed, instead of remembering it (RFC 2131 §4.4.6).
    pub dhcp_release: bool,
    /// Install a default route in the main table, for sockets of programs that know nothing of sessions.
    pub default_route: bool,
    /// Where announced routes go.
    pub announced_routes: AnnouncedRoutes,
    /// What of the access point's traffic may leave outside a full-tunnel VPN.
    pub bypass_vpn: BypassVpn,
    /// By what DHCP servers shall know this host; by its hardware address if left out (option 61).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_identifier: Option<ClientIdentifier>,
    /// The name told to DHCP servers; none is told if left out (option 12; RFC 7844 §3.7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<HostName>,
    /// The kind of host told to DHCP servers; none if left out (option 60).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_class: Option<VendorClass>,
    /// Take a lease in two messages from DHCP servers that can (RFC 4039).
    pub rapid_commit: bool,
    /// Do without IPv4 on networks that want it so (option 108, RFC 8925). Only for hosts that can live on IPv6 alone.
    pub ipv6_only: bool,
    /// Ask the interface for its carrier every 20 ms while it is up. The kernel holds back the loss of an ordinary card's for
    /// up to a second if links in other network namespaces change, and nothing else shows it. Costs fifty wake-ups a second.
    pub carrier_watch: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: None,
            purpose: Purpose::Unknown,
            metered: false,
            proxy: Proxy::None,
            online: None,
            addressing: Addressing::Dhcp,
            addresses: Vec::new(),
            gateways: Vec::new(),
            name_servers: Vec::new(),
            search_domains: Vec::new(),
            mtu: None,
            lifetime: Lifetime::Adopt,
            linger: Duration::ZERO,
            connect_timeout: Duration::from_secs(20),
            carrier_timeout: Duration::from_secs(5),
            preference: 0,
            exclusive: false,
            dhcp_release: false,
            default_route: true,
            announced_routes: AnnouncedRoutes::default(),
            bypass_vpn: BypassVpn::default(),
            client_identifier: None,
            hostname: None,
            vendor_class: None,
            rapid_commit: true,
            ipv6_only: false,
            carrier_watch: false,
        }
    }
}

/// How a service network chooses among its members. Times are counted on `CLOCK_BOOTTIME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct ServiceNetworkProfile {
    /// For people; the name of its file if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the network is for.
    pub purpose: Purpose,
    /// The proxy to use on it.
    pub proxy: Proxy,
    /// Its access points, the most preferred first: each by the name of its profile's file, its identifier, or its interface
    /// name.
    pub members: Vec<String>,
    /// How long a better member must have been usable before it is offered (semantics §5).
    #[serde(with = "duration_text")]
    pub settle: Duration,
    /// How long the link that was left is kept after a forced roam, unless the last of the session's sockets on it ends before.
    #[serde(with = "duration_text")]
    pub roam_linger: Duration,
}

impl Default for ServiceNetworkProfile {
    fn default() -> Self {
        Self {
            name: None,
            purpose: Purpose::Unknown,
            proxy: Proxy::None,
            members: Vec::new(),
            settle: Duration::from_secs(2),
            roam_linger: Duration::from_secs(30),
        }
    }
}

/// What is chosen from when a session is opened on a user choice (semantics §6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct UserChoiceProfile {
    /// For people; the name of its file if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it may resolve to: access points and service networks, each by the name of its file, its identifier, or its
    /// interface name; everything there is if empty.
    pub choices: Vec<String>,
}

/// Spans of time as people write them: a number and a unit (`"500ms"`, `"20s"`, `"2m"`).
mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}ms", duration.as_millis()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "\"{text}\" is no span of time; write a number and a unit, as in \"500ms\", \"20s\", \"2m\""
            ))
        })
    }

    fn parse(text: &str) -> Option<Duration> {
        let digits = text.find(|character: char| !character.is_ascii_digit())?;
        let number: u64 = text[..digits].parse().ok()?;
        let (_, milliseconds) = UNITS.into_iter().find(|(unit, _)| *unit == text[digits..].trim_start())?;
        number.checked_mul(milliseconds).map(Duration::from_millis)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn numbers_with_units_are_read_and_nothing_else() {
            assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
            assert_eq!(parse("20 s"), Some(Duration::from_secs(20)));
            assert_eq!(parse("2m"), Some(Duration::from_secs(120)));
            for wrong in ["", "5", "s", "-1s", "5 seconds", "99999999999999999999s", "18446744073709551615h"] {
                assert_eq!(parse(wrong), None, "{wrong}");
            }
        }
    }
}
