//! The words that files may have. One truth for checking them, for examples in messages, and for what is written to begin
//! with; a test compares it with what profiles are made of.

/// A key, and how it is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    pub(crate) key: &'static str,
    /// As it may be written.
    pub(crate) example: &'static str,
    /// All there may be, where that is a closed list.
    pub(crate) values: &'static [&'static str],
    /// A sentence.
    pub(crate) meaning: &'static str,
}

const fn word(key: &'static str, example: &'static str, meaning: &'static str) -> Word {
    Word { key, example, values: &[], meaning }
}

const fn one_of(
    key: &'static str,
    values: &'static [&'static str],
    example: &'static str,
    meaning: &'static str,
) -> Word {
    Word { key, example, values, meaning }
}

/// A table of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    Match,
    AccessPoint,
    ServiceNetwork,
    UserChoice,
}

pub(crate) const PURPOSES: &[&str] = &["unknown", "public", "private", "service-specific"];
/// What is planned, so that nobody believes it works.
pub(crate) const REQUIRE: &str = "require";

const MATCH: &[Word] = &[
    word("interface", "\"eth0\"", "The interface name."),
    word("mac", "\"02:00:5e:10:00:01\"", "The hardware address that the card came with."),
    word("driver", "\"e1000e\"", "The kernel's driver, as `ethtool -i` tells it."),
    word("path", "\"pci-0000:02:00.0\"", "Where it is plugged in, as udev's ID_PATH."),
];

const NAME: Word = word("name", "\"Office\"", "A name for people.");
const PURPOSE: Word = one_of("purpose", PURPOSES, "\"private\"", "What the network is for.");
const PROXY: Word = word("proxy", "\"http://proxy.example:3128\"", "The proxy of this network, told to applications.");
const PROXY_AUTO_CONFIGURATION: Word = word(
    "proxy_auto_configuration",
    "\"http://proxy.example/wpad.dat\"",
    "Where applications find how to use proxies.",
);

const ACCESS_POINT: &[Word] = &[
    NAME,
    PURPOSE,
    word("metered", "true", "Traffic costs money, or counts against an allowance."),
    PROXY,
    PROXY_AUTO_CONFIGURATION,
    word("online", "true", "Whether it leads to the Internet, where the default route does not tell."),
    one_of(
        "addressing",
        &["dhcp", "static"],
        "\"static\"",
        "Where the IPv4 address comes from. IPv6 routers are always listened to.",
    ),
    word("addresses", "[\"192.0.2.10/24\"]", "The addresses of static addressing, IPv6 ones too."),
    word("gateways", "[\"192.0.2.1\"]", "The gateways of static addressing, at most one of each family."),
    word("name_servers", "[\"192.0.2.53\"]", "Name servers, instead of those the network tells."),
    word("search_domains", "[\"office.example\"]", "Search domains, instead of those the network tells."),
    word("mtu", "1400", "The maximum transmission unit in bytes."),
    one_of(
        "lifetime",
        &["adopt", "on-demand"],
        "\"on-demand\"",
        "adopt: what was up before stays up. on-demand: the last session takes it down in any case.",
    ),
    word("linger", "\"30s\"", "How long it stays up after the last session."),
    word("connect_timeout", "\"20s\"", "How long bringing it up may take."),
    word("carrier_timeout", "\"5s\"", "How long it may be without carrier meanwhile."),
    word("preference", "10", "Higher is preferred; with equal ones wired is, then wireless, then mobile."),
    word("exclusive", "true", "One of several for the same device, of which one is up at a time."),
    word("dhcp_release", "true", "Give the lease back at the end, instead of remembering it."),
    word("default_route", "false", "Whether programs that know nothing of sessions may use it."),
    one_of(
        "announced_routes",
        &["own", "main"],
        "\"main\"",
        "Where routes go that a DHCP server announces: to this access point's table, or to everybody's.",
    ),
    one_of(
        "bypass_vpn",
        &["never", "group", "all"],
        "\"never\"",
        "What may leave outside a full-tunnel VPN: nothing, who asks for it, all that has its address.",
    ),
    word("client_identifier", "\"01:02:00:5e:10:00:01\"", "What DHCP servers know this host by (option 61)."),
    word("hostname", "\"gateway-7\"", "The name told to DHCP servers (option 12)."),
    word("vendor_class", "\"netbearer\"", "The kind of host told to DHCP servers (option 60)."),
    word("rapid_commit", "false", "Take leases in two messages where that is possible."),
    word("ipv6_only", "true", "Do without IPv4 where the network wants that."),
    word("carrier_watch", "true", "Ask for the carrier every 20 ms, for machines that hold back its loss."),
];

const SERVICE_NETWORK: &[Word] = &[
    NAME,
    PURPOSE,
    PROXY,
    PROXY_AUTO_CONFIGURATION,
    word(
        "members",
        "[\"office\", \"wlan0\"]",
        "Access points, the most preferred first: names of files, identifiers or interfaces.",
    ),
    word("settle", "\"2s\"", "How long a better member must have been usable before it is offered."),
    word("roam_linger", "\"30s\"", "How long the link that was left is kept, at most."),
];

const USER_CHOICE: &[Word] = &[
    NAME,
    word(
        "choices",
        "[\"office\", \"home\"]",
        "What may be chosen: names of files, identifiers or interfaces; everything if left out.",
    ),
];

pub(crate) const DEFAULT: &str = "default";

/// The keys of `netbearer.toml`, which has no sections.
pub(crate) const MAIN: &[Word] = &[word(
    DEFAULT,
    "\"office\"",
    "What is opened if nothing is named: the name of a file, an identifier or an interface.",
)];

/// The keys of `steering.toml`, which has no sections.
pub(crate) const STEERING: &[Word] = &[
    word("first_table", "21000", "The routing table before that of the first access point; 127 more follow."),
    word("mark_fields", "[\"0x7f000000\"]", "Bits of the firewall mark that may be used, the preferred ones first."),
];

impl Section {
    pub(crate) const ALL: [Self; 4] = [Self::Match, Self::AccessPoint, Self::ServiceNetwork, Self::UserChoice];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::AccessPoint => "access_point",
            Self::ServiceNetwork => "service_network",
            Self::UserChoice => "user_choice",
        }
    }

    pub(crate) const fn words(self) -> &'static [Word] {
        match self {
            Self::Match => MATCH,
            Self::AccessPoint => ACCESS_POINT,
            Self::ServiceNetwork => SERVICE_NETWORK,
            Self::UserChoice => USER_CHOICE,
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|section| section.name() == name)
    }

    pub(crate) fn word(self, key: &str) -> Option<&'static Word> {
        self.words().iter().find(|word| word.key == key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use netbearer_types::{Profile, ServiceNetworkProfile, SteeringPlan, UserChoiceProfile};
    use serde::de::DeserializeOwned;

    use super::*;

    /// The fields that a type says it has, when it is given another one.
    fn fields<T: DeserializeOwned + std::fmt::Debug>() -> BTreeSet<String> {
        let message = toml::from_str::<T>("no_such_field = 1").unwrap_err().message().to_owned();
        message.split('`').skip(1).step_by(2).skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn every_field_of_a_profile_has_its_word_and_no_word_is_idle() {
        let known = [
            (Section::AccessPoint, fields::<Profile>()),
            (Section::ServiceNetwork, fields::<ServiceNetworkProfile>()),
            (Section::UserChoice, fields::<UserChoiceProfile>()),
        ];
        for (section, fields) in known {
            let words = section.words().iter().map(|word| word.key.to_owned());
            let words: BTreeSet<String> = words.filter(|key| key != "proxy_auto_configuration").collect();
            assert_eq!(words, fields, "{section:?}");
        }
        assert_eq!(STEERING.iter().map(|word| word.key.to_owned()).collect::<BTreeSet<_>>(), fields::<SteeringPlan>());
    }
}
