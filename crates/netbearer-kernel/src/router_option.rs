use std::{net::Ipv6Addr, time::Duration};

/// Options come in units of this many octets (RFC 4861 §4.6).
const UNIT: usize = 8;
const SECONDS_FOR_EVER: u32 = u32::MAX;
/// The longest label and the longest name, in octets (RFC 1035 §2.3.4).
const LONGEST_LABEL: usize = 63;
const LONGEST_NAME: usize = 255;

/// Types of the neighbour discovery options that are understood, by IANA's registry.
mod option_type {
    pub(super) const RECURSIVE_SERVERS: u8 = 25;
    pub(super) const SEARCH_LIST: u8 = 31;
    pub(super) const CAPTIVE_PORTAL: u8 = 37;
    pub(super) const NAT64_PREFIX: u8 = 38;
}

/// One thing that a router announces beside addresses and routes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouterOption {
    /// A recursive DNS server (RFC 8106 §5.1). A link-local one is reached by the interface that heard of it.
    RecursiveServer(Ipv6Addr),
    /// A domain to complete short names with (RFC 8106 §5.2): letters, digits, hyphens and underscores, in lower case,
    /// without the final dot.
    SearchDomain(String),
    /// The API of a captive portal (RFC 8910 §2.3): a URI of printable ASCII; `urn:ietf:params:capport:unrestricted`
    /// says that there is no captivity.
    CaptivePortal(String),
    /// Where the IPv4 addresses stand in the IPv6 Internet (PREF64, RFC 8781 §4).
    Nat64Prefix {
        /// The network; the bits behind the prefix are zero.
        prefix: Ipv6Addr,
        /// Its length in bits: 96, 64, 56, 48, 40 or 32 (RFC 6052 §2.2).
        length: u8,
    },
}

/// An option as it stands in a router advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedOption {
    /// What is announced.
    pub option: RouterOption,
    /// How long it holds, counted from its receipt; zero takes it back, none is for ever. Captive portals have none: they
    /// hold until the router announces another one.
    pub lifetime: Option<Duration>,
}

impl RouterOption {
    /// Reads the options of a router advertisement (RFC 4861 §4.6), in their order. What is unknown, malformed or
    /// impossible is left out; after an option without a length nothing more can be told.
    #[must_use]
    pub fn parse_all(octets: &[u8]) -> Vec<AnnouncedOption> {
        let mut announced = Vec::new();
        let mut rest = octets;
        while let [kind, units, ..] = rest {
            let length = usize::from(*units) * UNIT;
            let Some((option, next)) = rest.split_at_checked(length).filter(|_| length > 0) else { break };
            announced.extend(parse(*kind, option).unwrap_or_default());
            rest = next;
        }
        announced
    }
}

/// None for what is not understood. The option begins with its type and length, and is as long as it says.
fn parse(kind: u8, option: &[u8]) -> Option<Vec<AnnouncedOption>> {
    let content = option.get(2..)?;
    match kind {
        option_type::RECURSIVE_SERVERS => recursive_servers(content),
        option_type::SEARCH_LIST => search_list(content),
        option_type::CAPTIVE_PORTAL => captive_portal(content),
        option_type::NAT64_PREFIX => nat64_prefix(content),
        _ => None,
    }
}

fn recursive_servers(content: &[u8]) -> Option<Vec<AnnouncedOption>> {
    let (lifetime, addresses) = after_lifetime(content)?;
    let (addresses, []) = addresses.as_chunks::<16>() else { return None };
    let usable = |address: &Ipv6Addr| {
        !address.is_unspecified()
            && !address.is_loopback()
            && !address.is_multicast()
            && address.to_ipv4_mapped().is_none()
    };
    let addresses = addresses.iter().copied().map(Ipv6Addr::from).filter(usable);
    Some(announce(addresses.map(RouterOption::RecursiveServer), lifetime))
}

fn search_list(content: &[u8]) -> Option<Vec<AnnouncedOption>> {
    let (lifetime, mut names) = after_lifetime(content)?;
    let mut domains = Vec::new();
    // Behind the last name everything is zero.
    while names.first().is_some_and(|length| *length != 0) {
        let (name, rest) = domain(names)?;
        domains.extend(name);
        names = rest;
    }
    Some(announce(domains.into_iter().map(RouterOption::SearchDomain), lifetime))
}

/// Cuts off a name in the form of RFC 1035 §3.1. None if it has no end or a pointer, which has nothing to point at here;
/// no name if it has characters that would mean something else where names are written down.
fn domain(octets: &[u8]) -> Option<(Option<String>, &[u8])> {
    let mut name = String::new();
    let mut harmless = true;
    let mut rest = octets;
    loop {
        let (length, behind) = rest.split_first()?;
        let length = usize::from(*length);
        if length == 0 {
            let fits = name.len() + 2 <= LONGEST_NAME;
            return Some(((harmless && fits).then_some(name), behind));
        }
        let (label, behind) = behind.split_at_checked(length).filter(|_| length <= LONGEST_LABEL)?;
        harmless &= label.iter().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'));
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|octet| char::from(octet.to_ascii_lowercase())));
        rest = behind;
    }
}

fn captive_portal(content: &[u8]) -> Option<Vec<AnnouncedOption>> {
    let end = content.iter().rposition(|octet| *octet != 0)?;
    let uri = std::str::from_utf8(content.get(..=end)?).ok()?;
    let has_scheme = uri.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|other| other.is_ascii_alphanumeric() || matches!(other, '+' | '-' | '.'))
    });
    (has_scheme && uri.bytes().all(|octet| octet.is_ascii_graphic()))
        .then(|| vec![AnnouncedOption { option: RouterOption::CaptivePortal(uri.to_owned()), lifetime: None }])
}

fn nat64_prefix(content: &[u8]) -> Option<Vec<AnnouncedOption>> {
    let (scaled, highest) = content.split_first_chunk::<2>()?;
    let highest: &[u8; 12] = highest.try_into().ok()?;
    let scaled = u16::from_be_bytes(*scaled);
    // Thirteen bits of a lifetime in units of eight seconds, then three for the length.
    let lifetime = Duration::from_secs(u64::from(scaled & !0b111));
    let length = *[96_u8, 64, 56, 48, 40, 32].get(usize::from(scaled & 0b111))?;
    let mut octets = [0; 16];
    octets.iter_mut().zip(highest).for_each(|(octet, announced)| *octet = *announced);
    let prefix = Ipv6Addr::from(u128::from(Ipv6Addr::from(octets)) & (u128::MAX << (128 - u32::from(length))));
    Some(announce([RouterOption::Nat64Prefix { prefix, length }], Some(lifetime)))
}

/// Two reserved octets, then a lifetime in seconds.
fn after_lifetime(content: &[u8]) -> Option<(Option<Duration>, &[u8])> {
    let (seconds, rest) = content.get(2..)?.split_first_chunk()?;
    let seconds = u32::from_be_bytes(*seconds);
    // An option that announces nothing is malformed.
    (!rest.is_empty()).then_some(((seconds != SECONDS_FOR_EVER).then(|| Duration::from_secs(seconds.into())), rest))
}

fn announce(options: impl IntoIterator<Item = RouterOption>, lifetime: Option<Duration>) -> Vec<AnnouncedOption> {
    options.into_iter().map(|option| AnnouncedOption { option, lifetime }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An option of this type with this content behind type and length, filled up with zeros.
    fn option(kind: u8, content: &[u8]) -> Vec<u8> {
        let length = (content.len() + 2).next_multiple_of(UNIT);
        let mut octets = vec![kind, u8::try_from(length / UNIT).expect("short")];
        octets.extend(content);
        octets.resize(length, 0);
        octets
    }

    fn with_lifetime(kind: u8, seconds: u32, rest: &[u8]) -> Vec<u8> {
        option(kind, &[&[0, 0][..], &seconds.to_be_bytes(), rest].concat())
    }

    fn servers(seconds: u32, addresses: &[&str]) -> Vec<u8> {
        let addresses = addresses.iter().map(|text| text.parse::<Ipv6Addr>().expect("an address").octets());
        with_lifetime(25, seconds, &addresses.collect::<Vec<_>>().concat())
    }

    fn options(octets: &[u8]) -> Vec<RouterOption> {
        RouterOption::parse_all(octets).into_iter().map(|announced| announced.option).collect()
    }

    fn search(names: &[&str]) -> Vec<RouterOption> {
        names.iter().map(|name| RouterOption::SearchDomain((*name).to_owned())).collect()
    }

    #[test]
    fn servers_keep_their_order_and_share_their_lifetime() {
        let octets = servers(600, &["2001:db8::53", "fe80::1"]);
        let announced = RouterOption::parse_all(&octets);
        let expected = ["2001:db8::53", "fe80::1"].map(|text| RouterOption::RecursiveServer(text.parse().unwrap()));
        assert_eq!(options(&octets), expected);
        assert!(announced.iter().all(|one| one.lifetime == Some(Duration::from_secs(600))));
        assert_eq!(RouterOption::parse_all(&servers(0, &["fe80::1"]))[0].lifetime, Some(Duration::ZERO));
        assert_eq!(RouterOption::parse_all(&servers(u32::MAX, &["fe80::1"]))[0].lifetime, None, "for ever");
    }

    #[test]
    fn impossible_servers_are_left_out_and_a_wrong_length_costs_the_option() {
        let octets = servers(600, &["::", "::1", "ff02::fb", "::ffff:10.0.0.1", "2001:db8::53"]);
        assert_eq!(options(&octets), [RouterOption::RecursiveServer("2001:db8::53".parse().unwrap())]);
        assert!(options(&servers(600, &[])).is_empty(), "no server");
        assert!(options(&with_lifetime(25, 600, &[0x20; 24])).is_empty(), "one and a half");
    }

    #[test]
    fn search_domains_are_read_in_lower_case_and_dangerous_ones_are_left_out() {
        let names = b"\x07Example\x03ORG\x00\x05a\nb c\x00\x04_srv\x02de\x00";
        assert_eq!(options(&with_lifetime(31, 60, names)), search(&["example.org", "_srv.de"]));
        for malformed in [&b"\x07example\xc0\x00"[..], b"\x07example\x40", b"\x7fexample"] {
            assert!(options(&with_lifetime(31, 60, malformed)).is_empty(), "{malformed:?}");
        }
        let longest =
            [&[63][..], &[b'a'; 63], &[63], &[b'a'; 63], &[63], &[b'a'; 63], &[61], &[b'a'; 61], &[0]].concat();
        assert_eq!(longest.len(), LONGEST_NAME);
        assert_eq!(options(&with_lifetime(31, 60, &longest)).len(), 1);
        let longer = [&[1, b'a'][..], &longest].concat();
        assert!(options(&with_lifetime(31, 60, &longer)).is_empty());
    }

    #[test]
    fn a_captive_portal_is_a_printable_uri() {
        let uri = "https://portal.example/api";
        assert_eq!(options(&option(37, uri.as_bytes())), [RouterOption::CaptivePortal(uri.to_owned())]);
        for refused in ["", "portal", "://portal", "https://a b", "https://a\nb", "https://a\0b", "https://\u{e4}"] {
            assert!(options(&option(37, refused.as_bytes())).is_empty(), "{refused:?}");
        }
    }

    #[test]
    fn nat64_prefixes_have_the_six_lengths_of_the_standard() {
        let highest = [0x20, 0x01, 0x0d, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8];
        for (code, length, prefix) in [
            (0_u16, 96, "2001:db8:102:304:506:708::"),
            (1, 64, "2001:db8:102:304::"),
            (2, 56, "2001:db8:102:300::"),
            (3, 48, "2001:db8:102::"),
            (4, 40, "2001:db8:100::"),
            (5, 32, "2001:db8::"),
        ] {
            let octets = option(38, &[&(0x0258 | code).to_be_bytes()[..], &highest].concat());
            let announced = RouterOption::parse_all(&octets);
            let prefix = prefix.parse().expect("an address");
            assert_eq!(announced[0].option, RouterOption::Nat64Prefix { prefix, length });
            assert_eq!(announced[0].lifetime, Some(Duration::from_secs(600)));
        }
        for refused in [6_u16, 7] {
            assert!(options(&option(38, &[&refused.to_be_bytes()[..], &highest].concat())).is_empty());
        }
        assert!(options(&option(38, &[0; 22])).is_empty(), "too long");
    }

    #[test]
    fn unknown_options_are_passed_over_and_one_without_length_ends_the_list() {
        let server = servers(600, &["2001:db8::53"]);
        let prefix = option(3, &[7; 30]);
        assert_eq!(options(&[&prefix[..], &server].concat()).len(), 1);
        assert!(options(&[&[3, 0][..], &server].concat()).is_empty());
        assert!(options(&server[..server.len() - 1]).is_empty(), "cut off");
    }

    proptest! {
        #[test]
        fn nothing_a_router_sends_is_more_than_it_says(
            options in prop::collection::vec((prop::sample::select(vec![3_u8, 25, 31, 37, 38]), prop::collection::vec(any::<u8>(), 0..80)), 0..5),
            cut in 0_usize..400,
        ) {
            let mut octets: Vec<u8> = options.iter().flat_map(|(kind, content)| option(*kind, content)).collect();
            octets.truncate(cut);
            for AnnouncedOption { option, lifetime } in RouterOption::parse_all(&octets) {
                match option {
                    RouterOption::RecursiveServer(address) => prop_assert!(!address.is_multicast()),
                    RouterOption::SearchDomain(name) => {
                        prop_assert!(!name.is_empty() && name.len() <= 253 && name.split('.').all(|label| !label.is_empty()));
                    }
                    RouterOption::CaptivePortal(uri) => prop_assert!(lifetime.is_none() && uri.is_ascii()),
                    RouterOption::Nat64Prefix { prefix, length } => {
                        prop_assert_eq!(u128::from(prefix).checked_shl(length.into()).unwrap_or(0), 0);
                    }
                }
            }
        }
    }
}
