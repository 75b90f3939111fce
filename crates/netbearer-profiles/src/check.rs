//! What a file means, and what is wrong with it as far as it alone can tell.

use std::{
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
};

use netbearer_core::MatchedProfile;
use netbearer_types::{
    Addressing, Family, Matching, NetworkAddress, Profile, ServiceNetworkProfile, SteeringPlan, UserChoiceProfile,
};
use serde::de::DeserializeOwned;
use toml::Value;

use crate::{
    document::{Document, Table},
    mistake::{MistakeKind, Place, ProfileMistake, nearest},
    words::{DEFAULT, REQUIRE, Section, Word},
};

/// The smallest MTU of IPv4 (RFC 791 §3.2), and the largest that a link can have, in bytes.
const MTUS: RangeInclusive<i64> = 68..=65_535;
/// The smallest MTU of IPv6 (RFC 8200 §5), below which the kernel forgets all IPv6 settings of the interface.
const SMALLEST_IPV6_MTU: i64 = 1_280;
/// `IFNAMSIZ` of `linux/if.h` without the final zero.
const LONGEST_INTERFACE_NAME: usize = 15;
pub(crate) const PROXIES: [(&str, &str); 2] =
    [("proxy", "Manual"), ("proxy_auto_configuration", "AutoConfigurationUrl")];

/// What a file is about.
#[derive(Clone, Debug)]
pub(crate) enum Contents {
    AccessPoint(Box<MatchedProfile>),
    ServiceNetwork(ServiceNetworkProfile),
    UserChoice(UserChoiceProfile),
}

/// What a file says, and where it says of what.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) contents: Contents,
    /// The line on which it says what it is about.
    pub(crate) subject: Place,
    /// The line of members or choices.
    pub(crate) list: Place,
}

type Wrong = (MistakeKind, String, String);

/// Complains of each word that is none, and of each value that does not fit its word.
pub(crate) fn check_words(document: &Document, mistakes: &mut Vec<ProfileMistake>) {
    for (key, entry) in &document.outside {
        let (problem, suggestion) = outside(key);
        mistakes.push(entry.place.mistake(MistakeKind::UnknownKey, problem, suggestion));
    }
    for (name, table) in &document.tables {
        match Section::named(name) {
            Some(section) => check_table(section, table, mistakes),
            None => {
                let suggestion = match nearest(name, Section::ALL.map(Section::name)) {
                    Some(meant) => format!("did you mean [{meant}]?"),
                    None => format!("there are {}", list(Section::ALL.map(|section| format!("[{}]", section.name())))),
                };
                mistakes.push(table.place.mistake(
                    MistakeKind::UnknownKey,
                    format!("there is no section [{name}]"),
                    suggestion,
                ));
            }
        }
    }
}

/// Complains of each word of a file without sections that is none of these, and of each value that does not fit its word.
pub(crate) fn check_plain_words(document: &Document, words: &[Word], mistakes: &mut Vec<ProfileMistake>) {
    let file = document.place.file.file_name().unwrap_or_default().display().to_string();
    let find = |key: &str| words.iter().find(|word| word.key == key);
    let wrong_type = |word: &Word, found: &str| {
        let Word { key, example, .. } = word;
        let expected = match example.chars().next() {
            Some('[') => "a list",
            Some('"') => "a string",
            _ => "a number",
        };
        (
            MistakeKind::WrongType,
            format!("`{key}` has the wrong type: {found}, expected {expected}"),
            format!("write it as in `{key} = {example}`"),
        )
    };
    let unknown = |key: &str| {
        let suggestion = match (nearest(key, words.iter().map(|word| word.key)), words) {
            (Some(meant), _) => format!("did you mean `{meant}`?"),
            (None, [only]) => format!("the only one is `{}`; profiles are files of profiles.d", only.key),
            (None, words) => format!("there are {}", list(words.iter().map(|word| format!("`{}`", word.key)))),
        };
        (MistakeKind::UnknownKey, format!("there is no key `{key}` in {file}"), suggestion)
    };
    for (name, table) in &document.tables {
        let (kind, problem, suggestion) = find(name).map_or_else(|| unknown(name), |word| wrong_type(word, "table"));
        mistakes.push(table.place.mistake(kind, problem, suggestion));
    }
    for (key, entry) in &document.outside {
        let alone = || toml::Table::from_iter([(key.clone(), entry.value.clone())]);
        let wrong = match find(key) {
            None => Some(unknown(key)),
            Some(word) if !is_like_example(word, &entry.value) => Some(wrong_type(word, entry.value.type_str())),
            Some(word) if word.key == DEFAULT => None,
            Some(word) => convert::<SteeringPlan>(alone()).err().map(|message| {
                let (problem, suggestion) = match message.split_once("; ") {
                    Some((problem, suggestion)) => (problem, suggestion.to_owned()),
                    None => (message.as_str(), format!("write it as in `{key} = {}`", word.example)),
                };
                (MistakeKind::WrongValue, format!("`{key}`: {problem}"), suggestion)
            }),
        };
        mistakes.extend(wrong.map(|(kind, problem, suggestion)| entry.place.mistake(kind, problem, suggestion)));
    }
}

fn is_like_example(word: &Word, value: &Value) -> bool {
    word.example.parse::<Value>().is_ok_and(|example| example.same_type(value))
}

fn outside(key: &str) -> (String, String) {
    let homes: Vec<Section> = Section::ALL.into_iter().filter(|section| section.word(key).is_some()).collect();
    if Section::named(key).is_some() {
        return (format!("`{key}` is a section, not a key"), format!("write [{key}], and its keys below"));
    }
    if homes.is_empty() {
        return (format!("there is no key `{key}`"), "remove it; all keys stand below a section".to_owned());
    }
    let homes = homes.into_iter().map(|section| format!("[{}]", section.name())).collect::<Vec<_>>().join(" or ");
    (format!("`{key}` stands outside of every section"), format!("move it below {homes}"))
}

fn check_table(section: Section, table: &Table, mistakes: &mut Vec<ProfileMistake>) {
    for (key, entry) in &table.entries {
        let wrong = match section.word(key) {
            Some(word) => check_value(section, word, &entry.value).err(),
            None if key == REQUIRE && section == Section::AccessPoint => Some((
                MistakeKind::NotYet,
                "`require` asks for reachability checks, and there are none yet".to_owned(),
                "remove it; without it an address and a route are enough".to_owned(),
            )),
            None => Some(unknown_key(section, key)),
        };
        mistakes.extend(wrong.map(|(kind, problem, suggestion)| entry.place.mistake(kind, problem, suggestion)));
    }
}

fn unknown_key(section: Section, key: &str) -> Wrong {
    let keys = || section.words().iter().map(|word| word.key);
    let elsewhere = Section::ALL.into_iter().find(|section| section.word(key).is_some());
    let suggestion = match (nearest(key, keys()), elsewhere) {
        (_, Some(home)) => format!("it belongs to [{}]", home.name()),
        (Some(meant), None) => format!("did you mean `{meant}`?"),
        (None, None) => format!("there are {}", list(keys().map(|key| format!("`{key}`")))),
    };
    (MistakeKind::UnknownKey, format!("there is no key `{key}` in [{}]", section.name()), suggestion)
}

fn check_value(section: Section, word: &Word, value: &Value) -> Result<(), Wrong> {
    let key = word.key;
    let example = || format!("write it as in `{key} = {}`", word.example);
    let wrong = |reason: &str| (MistakeKind::WrongValue, format!("`{key}`: {reason}"), example());
    let is_proxy = PROXIES.iter().any(|(proxy, _)| *proxy == key);
    if section == Section::Match || is_proxy || !word.values.is_empty() {
        let Value::String(text) = value else {
            let found = value.type_str();
            return Err((
                MistakeKind::WrongType,
                format!("`{key}` has the wrong type: {found}, expected a string"),
                example(),
            ));
        };
        if is_proxy {
            return check_url(text).map_err(wrong);
        }
        if section == Section::Match {
            return check_match(key, text).map_err(wrong);
        }
        if word.values.contains(&text.as_str()) {
            return Ok(());
        }
        let suggestion = match nearest(text, word.values.iter().copied()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("it can be {}", list(word.values.iter().map(|value| format!("\"{value}\"")))),
        };
        return Err((MistakeKind::WrongValue, format!("`{key}` cannot be \"{text}\""), suggestion));
    }
    if let Some(reason) = impossible(key, value) {
        return Err(wrong(&reason));
    }
    let alone = toml::Table::from_iter([(key.to_owned(), value.clone())]);
    let refused = match section {
        Section::ServiceNetwork => convert::<ServiceNetworkProfile>(alone).err(),
        Section::UserChoice => convert::<UserChoiceProfile>(alone).err(),
        Section::AccessPoint | Section::Match => convert::<Profile>(alone).err(),
    };
    let Some(message) = refused else { return Ok(()) };
    // Rust's words for numbers are not everybody's.
    let message = message.replace("expected u32", "expected a number").replace("expected i32", "expected a number");
    if let Some(types) = message.strip_prefix("invalid type: ") {
        let types = types.replace("a sequence", "a list");
        return Err((MistakeKind::WrongType, format!("`{key}` has the wrong type: {types}"), example()));
    }
    let kind = match key {
        "addresses" | "gateways" => MistakeKind::ImpossibleAddress,
        _ => MistakeKind::WrongValue,
    };
    let message = message.replace("expected a number", "expected a smaller number");
    let (problem, suggestion) = match message.split_once("; ") {
        Some((problem, suggestion)) => (problem, suggestion.to_owned()),
        None => (message.as_str(), example()),
    };
    Err((kind, format!("`{key}`: {problem}"), suggestion))
}

/// Why a value that is fit for its type makes no sense.
fn impossible(key: &str, value: &Value) -> Option<String> {
    match (key, value) {
        ("mtu", Value::Integer(number)) if !MTUS.contains(number) => {
            Some(format!("no link has an MTU of {number} bytes"))
        }
        ("mtu", Value::Integer(number)) if *number < SMALLEST_IPV6_MTU => {
            Some(format!("IPv6 needs {SMALLEST_IPV6_MTU} bytes, and would be off on this link"))
        }
        ("name", Value::String(name)) if name.trim().is_empty() => Some("nothing can be called so".to_owned()),
        ("name", Value::String(name)) if name.contains(char::is_control) => {
            Some("a name is one line of text".to_owned())
        }
        ("connect_timeout" | "carrier_timeout", Value::String(span))
            if span.starts_with('0') && !span.contains(|digit: char| ('1'..='9').contains(&digit)) =>
        {
            Some("it would be over before anything can happen".to_owned())
        }
        ("name_servers", Value::Array(servers)) => {
            let addresses = servers.iter().filter_map(|server| server.as_str()?.parse().ok());
            let none = addresses.filter(|address: &IpAddr| {
                let is_broadcast = *address == IpAddr::V4(Ipv4Addr::BROADCAST);
                address.is_unspecified() || address.is_multicast() || is_broadcast
            });
            none.map(|address| format!("no name server has the address {address}")).next()
        }
        _ => None,
    }
}

fn convert<T: DeserializeOwned>(table: toml::Table) -> Result<T, String> {
    let refused = |error: toml::de::Error| error.message().lines().next().unwrap_or_default().to_owned();
    Value::Table(table).try_into().map_err(refused)
}

/// A proxy is told to applications, so it need not be one that we know; but it must be one. The reason says nothing of it, as
/// there may be a password in it.
fn check_url(text: &str) -> Result<(), &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("this is no URL")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if !is_scheme || host.is_empty() || text.contains(char::is_whitespace) {
        return Err("this is no URL");
    }
    Ok(())
}

fn check_match(key: &str, text: &str) -> Result<(), &'static str> {
    // `dev_valid_name` of the kernel.
    let is_interface_name = text.len() <= LONGEST_INTERFACE_NAME
        && ![".", ".."].contains(&text)
        && !text.contains(|character: char| "/:".contains(character) || character.is_whitespace());
    match key {
        _ if text.is_empty() || text.contains(char::is_control) => Err("nothing is called so"),
        _ if text.contains(['*', '?', '[']) => Err("patterns are not supported: the whole name is needed"),
        "interface" if !is_interface_name => Err("no interface can be called so"),
        "mac" if !is_hardware_address(text) => Err("this is no hardware address"),
        _ => Ok(()),
    }
}

/// As `ip link` writes it. Other links than Ethernet have longer ones.
fn is_hardware_address(text: &str) -> bool {
    let octets: Vec<&str> = text.split([':', '-']).collect();
    octets.len() >= 6
        && octets.iter().all(|octet| octet.len() == 2 && octet.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// What a file says together with its drop-ins. To be asked only if all its words are right.
pub(crate) fn understand(document: &Document, mistakes: &mut Vec<ProfileMistake>) -> Option<Checked> {
    let table = |section: Section| document.tables.get(section.name());
    let subjects = [Section::AccessPoint, Section::ServiceNetwork, Section::UserChoice];
    let mut present = subjects.into_iter().filter(|section| table(*section).is_some());
    let section = present.next();
    if let Some(other) = present.next().and_then(table) {
        mistakes.push(other.place.mistake(
            MistakeKind::Incomplete,
            "the file is about several things",
            "put each of them into a file of its own",
        ));
        return None;
    }
    match (section, table(Section::Match)) {
        (None | Some(Section::AccessPoint | Section::Match), Some(matching)) => {
            access_point(matching, table(Section::AccessPoint), mistakes)
        }
        (Some(Section::ServiceNetwork | Section::UserChoice), Some(matching)) => {
            mistakes.push(matching.place.mistake(
                MistakeKind::Incomplete,
                "only access points are matched to interfaces",
                "remove [match], or put the profile of the access point into a file of its own",
            ));
            None
        }
        (Some(section), None) => network(section, table(section)?, mistakes),
        (None, None) => {
            mistakes.push(document.place.mistake(
                MistakeKind::Incomplete,
                "the file says nothing",
                "write [match] and [access_point], or [service_network], or [user_choice], or remove it",
            ));
            None
        }
    }
}

fn network(section: Section, table: &Table, mistakes: &mut Vec<ProfileMistake>) -> Option<Checked> {
    let (list, contents) = match section {
        Section::ServiceNetwork => ("members", Contents::ServiceNetwork(converted(table, mistakes)?)),
        Section::UserChoice => ("choices", Contents::UserChoice(converted(table, mistakes)?)),
        Section::Match | Section::AccessPoint => {
            mistakes.push(table.place.mistake(
                MistakeKind::Incomplete,
                "nothing tells which access point this is for",
                "add a section [match], for instance with `interface = \"eth0\"`",
            ));
            return None;
        }
    };
    let list = table.entries.get(list).map_or_else(|| table.place.clone(), |entry| entry.place.clone());
    Some(Checked { contents, subject: table.place.clone(), list })
}

fn access_point(matching: &Table, table: Option<&Table>, mistakes: &mut Vec<ProfileMistake>) -> Option<Checked> {
    let text = |key: &str| matching.entries.get(key).and_then(|entry| entry.value.as_str()).map(str::to_owned);
    let first = matching.entries.values().map(|entry| &entry.place).min_by_key(|place| place.line);
    let Some(subject) = first.cloned() else {
        mistakes.push(matching.place.mistake(
            MistakeKind::Incomplete,
            "[match] is empty, so this is for no access point",
            "add what it is to be known by, for instance `interface = \"eth0\"`",
        ));
        return None;
    };
    let profile = match table {
        Some(table) => {
            let profile: Profile = converted(table, mistakes)?;
            let before = mistakes.len();
            check_addresses(table, &profile, mistakes);
            if mistakes.len() > before {
                return None;
            }
            profile
        }
        None => Profile::default(),
    };
    let matching = Matching {
        interface: text("interface"),
        mac: text("mac").map(|address| address.to_lowercase().replace('-', ":")),
        driver: text("driver"),
        path: text("path"),
    };
    let contents = Contents::AccessPoint(Box::new(MatchedProfile { matching, profile }));
    Some(Checked { contents, list: subject.clone(), subject })
}

/// All keys of a table as one value.
fn converted<T: DeserializeOwned>(table: &Table, mistakes: &mut Vec<ProfileMistake>) -> Option<T> {
    let mut values = toml::Table::new();
    for (key, entry) in &table.entries {
        match PROXIES.iter().find(|(proxy, _)| proxy == key) {
            Some((_, variant)) => {
                let url = toml::Table::from_iter([((*variant).to_owned(), entry.value.clone())]);
                if values.insert("proxy".to_owned(), Value::Table(url)).is_some() {
                    mistakes.push(entry.place.mistake(
                        MistakeKind::Contradiction,
                        "`proxy` and `proxy_auto_configuration` exclude each other",
                        "remove one of both",
                    ));
                    return None;
                }
            }
            None => {
                values.insert(key.clone(), entry.value.clone());
            }
        }
    }
    let refused = |message: String| {
        mistakes.push(table.place.mistake(
            MistakeKind::WrongValue,
            message,
            "see `bearerctl profile new` for what there is",
        ));
    };
    convert(values).map_err(refused).ok()
}

fn check_addresses(table: &Table, profile: &Profile, mistakes: &mut Vec<ProfileMistake>) {
    let place = |key: &str| table.entries.get(key).map_or(&table.place, |entry| &entry.place);
    let mut complain = |key: &str, problem: String, suggestion: &str| {
        mistakes.push(place(key).mistake(MistakeKind::ImpossibleAddress, problem, suggestion));
    };
    let Profile { addresses, gateways, .. } = profile;
    if profile.addressing == Addressing::Dhcp {
        for key in ["addresses", "gateways"].into_iter().filter(|key| table.entries.contains_key(*key)) {
            let problem = format!("`{key}` are those of static addressing, and this is by DHCP");
            complain(key, problem, "add `addressing = \"static\"`, or remove them");
        }
        return;
    }
    if addresses.is_empty() {
        let problem = "static addressing has no addresses".to_owned();
        return complain("addressing", problem, "add them, for instance `addresses = [\"192.0.2.10/24\"]`");
    }
    if addresses.iter().all(|address| is_link_local(address.address())) {
        let problem = "a link-local address alone leads nowhere, so this would never be open".to_owned();
        complain("addresses", problem, "add an address of the network, for instance \"2001:db8::10/64\"");
    }
    for (position, address) in addresses.iter().enumerate() {
        if addresses.iter().take(position).any(|before| before.address() == address.address()) {
            complain("addresses", format!("{} is there twice", address.address()), "remove one of both");
        }
    }
    for (position, gateway) in gateways.iter().enumerate() {
        let family = Family::of(*gateway);
        if gateways.iter().take(position).any(|before| Family::of(*before) == family) {
            let problem = format!("{gateway} is the second gateway for {family}");
            complain("gateways", problem, "keep one of each family");
        } else if addresses.iter().any(|address| address.address() == *gateway) {
            let problem = format!("the gateway {gateway} is an address of this host's own");
            complain("gateways", problem, "name the router's address");
        } else if addresses.iter().any(|address| address.is_without_host(*gateway)) {
            let problem = format!("the gateway {gateway} is its network's own or its broadcast address");
            complain("gateways", problem, "name the router's address");
        } else if !is_within_reach(*gateway, addresses) {
            let networks = list(addresses.iter().filter(|address| Family::of(address.address()) == family));
            let problem = match networks.as_str() {
                "" => format!("the gateway {gateway} has no address of its family beside it"),
                networks => format!("the gateway {gateway} is not in the network of {networks}"),
            };
            complain("gateways", problem, "correct it, or the address or its prefix length");
        }
    }
}

/// A link-local address is in reach on every link.
fn is_within_reach(gateway: IpAddr, addresses: &[NetworkAddress]) -> bool {
    let is_on_every_link = gateway.is_ipv6() && is_link_local(gateway);
    is_on_every_link || addresses.iter().any(|address| address.contains(gateway))
}

const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn list(items: impl IntoIterator<Item = impl ToString>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
