use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, HType, MAGIC, MessageType, Opcode, OptionCode, borrowed};
use netbearer_types::Moment;

use crate::{ClientConfiguration, Lease, PacketError, Route, Term, captive_portal, domain_name, random::Random};

/// The largest message we take and tell servers to send (option 57), in octets: what fits an Ethernet frame.
pub(crate) const LARGEST_MESSAGE: u16 = 1_472;

/// RFC 8925 §3.1. The codec knows the option by a number that belongs to another.
pub(crate) const IPV6_ONLY_PREFERRED: OptionCode = OptionCode::Unknown(108);

/// Servers that ignore option 57 exist; beyond this nothing is looked at.
const LARGEST_PACKET: usize = 1_500;

/// Entries of any list that are kept.
const LONGEST_LIST: usize = 16;

/// The smallest datagram that every host must take (RFC 791 §3.1); the option itself would allow 68.
const SMALLEST_MTU: u16 = 576;

/// The largest networks there ever were, class A, in bits of their prefix (RFC 791 §3.2).
const SHORTEST_PREFIX: u8 = 8;

/// Characters of a server's explanation that are kept.
const LONGEST_TEXT: usize = 255;

const HARDWARE_ADDRESS_LENGTH: u8 = 6;
const FILE_NAME: std::ops::Range<usize> = 108..236;
const SERVER_NAME: std::ops::Range<usize> = 44..108;
const COOKIE: std::ops::Range<usize> = 236..240;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyKind {
    Offer,
    Acknowledgement,
    Refusal,
}

/// A message from a server to this client, in this transaction. Its terms are not looked at yet.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) kind: ReplyKind,
    pub(crate) server_identifier: Ipv4Addr,
    pub(crate) address: Ipv4Addr,
    options: Options,
}

impl Reply {
    pub(crate) fn parse(
        packet: &[u8],
        transaction_identifier: u32,
        configuration: &ClientConfiguration,
    ) -> Result<Self, PacketError> {
        if packet.len() > LARGEST_PACKET {
            return Err(PacketError::Size(packet.len()));
        }
        let message = borrowed::Message::new(packet).map_err(|_| PacketError::Size(packet.len()))?;
        // Before `chaddr` is touched: its accessor trusts `hlen`.
        if message.opcode() != Opcode::BootReply
            || message.htype() != HType::Eth
            || message.hlen() != HARDWARE_ADDRESS_LENGTH
        {
            return Err(PacketError::NotForEthernetClients);
        }
        if packet.get(COOKIE) != Some(&MAGIC) {
            return Err(PacketError::Magic);
        }
        if message.xid() != transaction_identifier {
            return Err(PacketError::Transaction);
        }
        if message.chaddr() != configuration.hardware_address {
            return Err(PacketError::HardwareAddress);
        }
        let options = Options::parse(packet, &message);
        if let (Some(ours), Some(theirs)) = (&configuration.client_identifier, &options.client_identifier)
            && ours.octets() != theirs
        {
            return Err(PacketError::ClientIdentifier);
        }
        let kind = match options.message_type {
            Some(MessageType::Offer) => ReplyKind::Offer,
            Some(MessageType::Ack) => ReplyKind::Acknowledgement,
            Some(MessageType::Nak) => ReplyKind::Refusal,
            _ => return Err(PacketError::MessageType),
        };
        let server_identifier =
            options.server_identifier.filter(|server| is_host(*server)).ok_or(PacketError::NoServer)?;
        Ok(Self { kind, server_identifier, address: message.yiaddr(), options })
    }

    /// True if a lease is granted without having been requested (RFC 4039).
    pub(crate) const fn is_rapid_commit(&self) -> bool {
        self.options.rapid_commit
    }

    /// How long a client that can live on IPv6 alone is to do without IPv4, in seconds.
    pub(crate) const fn ipv6_only_seconds(&self) -> Option<u32> {
        self.options.ipv6_only_seconds
    }

    /// Why the server refuses, for people.
    pub(crate) fn text(&self) -> String {
        self.options.text.clone().unwrap_or_default()
    }

    /// The lease that the reply offers or grants, counted from the moment when it was asked for.
    pub(crate) fn lease(&self, asked_at: Moment, random: &mut Random) -> Result<Lease, PacketError> {
        let options = &self.options;
        let address = self.address;
        if !is_host(address) {
            return Err(PacketError::Address(address));
        }
        let prefix_length = match options.subnet_mask {
            Some(mask) => match prefix_length(mask).ok_or(PacketError::SubnetMask(mask))? {
                length if length < SHORTEST_PREFIX => return Err(PacketError::ShortSubnetMask(mask)),
                length => length,
            },
            None => prefix_length_by_class(address),
        };
        check_address(address, prefix_length)?;
        let term = options
            .lease_seconds
            .and_then(|seconds| {
                Term::granted(asked_at, seconds, options.renewal_seconds, options.rebinding_seconds, random)
            })
            .ok_or(PacketError::NoTime)?;
        Ok(without_the_impossible(Lease {
            address,
            prefix_length,
            server_identifier: self.server_identifier,
            routers: options.routers.clone(),
            classless_routes: options.routes.clone(),
            name_servers: options.name_servers.clone(),
            search_domains: options.search_domains.clone(),
            domain_name: options.domain_name.clone(),
            mtu: options.mtu,
            captive_portal: options.captive_portal.clone(),
            broadcast: options.broadcast,
            acquired_at: asked_at,
            term,
        }))
    }
}

/// Refuses addresses that a host in such a network cannot have.
pub(crate) fn check_address(address: Ipv4Addr, prefix_length: u8) -> Result<(), PacketError> {
    let is_possible = is_host(address)
        && (SHORTEST_PREFIX..=32).contains(&prefix_length)
        && !is_network_or_broadcast(address, prefix_length);
    if is_possible { Ok(()) } else { Err(PacketError::Address(address)) }
}

/// The lease less what comes with it and cannot be. Its lists become short.
pub(crate) fn without_the_impossible(lease: Lease) -> Lease {
    let (address, prefix_length) = (lease.address, lease.prefix_length);
    let is_router = |router: &Ipv4Addr| is_host(*router) && *router != address;
    let is_route = |route: &Route| {
        !route.destination.is_loopback()
            && route.prefix_length <= 32
            && route.gateway.is_none_or(|gateway| is_router(&gateway))
    };
    Lease {
        routers: bounded(lease.routers.into_iter().filter(is_router)),
        classless_routes: bounded(lease.classless_routes.into_iter().filter(is_route)),
        name_servers: bounded(lease.name_servers.into_iter().filter(|server| is_host(*server))),
        search_domains: bounded(lease.search_domains.into_iter()),
        mtu: lease.mtu.filter(|mtu| *mtu >= SMALLEST_MTU),
        broadcast: lease.broadcast.filter(|broadcast| {
            *broadcast != address && network(*broadcast, prefix_length) == network(address, prefix_length)
        }),
        ..lease
    }
}

/// The options we know. The first one of each code counts; broken ones count as missing, and do not spoil the others.
#[derive(Debug, Default)]
struct Options {
    message_type: Option<MessageType>,
    server_identifier: Option<Ipv4Addr>,
    client_identifier: Option<Vec<u8>>,
    lease_seconds: Option<u32>,
    renewal_seconds: Option<u32>,
    rebinding_seconds: Option<u32>,
    subnet_mask: Option<Ipv4Addr>,
    routers: Vec<Ipv4Addr>,
    routes: Vec<Route>,
    name_servers: Vec<Ipv4Addr>,
    search_domains: Vec<String>,
    domain_name: Option<String>,
    mtu: Option<u16>,
    broadcast: Option<Ipv4Addr>,
    captive_portal: Option<String>,
    rapid_commit: bool,
    ipv6_only_seconds: Option<u32>,
    text: Option<String>,
}

impl Options {
    fn parse(packet: &[u8], message: &borrowed::Message<'_>) -> Self {
        let mut options = Self::default();
        let mut overload = 0;
        for option in message.opts() {
            match (option.code(), option.data()) {
                (OptionCode::OptionOverload, [fields]) => overload = *fields,
                _ => options.take(option),
            }
        }
        // Server and file name may carry options too (RFC 2132 §9.3).
        for (bit, field) in [(1, FILE_NAME), (2, SERVER_NAME)] {
            if overload & bit != 0
                && let Some(octets) = packet.get(field)
            {
                borrowed::DhcpOptionIterator::new(octets).for_each(|option| options.take(option));
            }
        }
        options
    }

    fn take(&mut self, option: borrowed::DhcpOption<'_>) {
        let text = || String::from_utf8_lossy(option.data());
        match option.code() {
            OptionCode::DomainName => keep(&mut self.domain_name, domain_name::parse(&text())),
            OptionCode::Message => keep(&mut self.text, Some(for_people(&text()))),
            OptionCode::ClientIdentifier => keep(&mut self.client_identifier, Some(option.data().to_vec())),
            OptionCode::CaptivePortal => keep(&mut self.captive_portal, captive_portal::parse(option.data())),
            OptionCode::RapidCommit => self.rapid_commit |= option.is_empty(),
            IPV6_ONLY_PREFERRED => {
                keep(&mut self.ipv6_only_seconds, option.data().try_into().ok().map(u32::from_be_bytes));
            }
            // The codec's decoder asserts lengths of some other codes, so it only sees the codes we need.
            OptionCode::MessageType
            | OptionCode::ServerIdentifier
            | OptionCode::AddressLeaseTime
            | OptionCode::Renewal
            | OptionCode::Rebinding
            | OptionCode::SubnetMask
            | OptionCode::Router
            | OptionCode::ClasslessStaticRoute
            | OptionCode::DomainNameServer
            | OptionCode::DomainSearch
            | OptionCode::InterfaceMtu
            | OptionCode::BroadcastAddr => {
                if let Ok(option) = option.into_option() {
                    self.take_decoded(option);
                }
            }
            _ => {}
        }
    }

    fn take_decoded(&mut self, option: DhcpOption) {
        match option {
            DhcpOption::MessageType(kind) => keep(&mut self.message_type, Some(kind)),
            DhcpOption::ServerIdentifier(address) => keep(&mut self.server_identifier, Some(address)),
            DhcpOption::AddressLeaseTime(seconds) => keep(&mut self.lease_seconds, Some(seconds)),
            DhcpOption::Renewal(seconds) => keep(&mut self.renewal_seconds, Some(seconds)),
            DhcpOption::Rebinding(seconds) => keep(&mut self.rebinding_seconds, Some(seconds)),
            DhcpOption::SubnetMask(mask) => keep(&mut self.subnet_mask, Some(mask)),
            DhcpOption::InterfaceMtu(mtu) => keep(&mut self.mtu, Some(mtu)),
            DhcpOption::BroadcastAddr(address) => keep(&mut self.broadcast, Some(address)),
            DhcpOption::Router(routers) if self.routers.is_empty() => self.routers = routers,
            DhcpOption::DomainNameServer(servers) if self.name_servers.is_empty() => self.name_servers = servers,
            DhcpOption::ClasslessStaticRoute(routes) if self.routes.is_empty() => {
                self.routes = routes
                    .into_iter()
                    .map(|(destination, gateway)| Route {
                        destination: destination.network(),
                        prefix_length: destination.prefix_len(),
                        gateway: (!gateway.is_unspecified()).then_some(gateway),
                    })
                    .collect();
            }
            DhcpOption::DomainSearch(names) if self.search_domains.is_empty() => {
                self.search_domains = bounded(names.iter().filter_map(|name| domain_name::parse(&name.to_ascii())));
            }
            _ => {}
        }
    }
}

fn keep<Value>(slot: &mut Option<Value>, value: Option<Value>) {
    if slot.is_none() {
        *slot = value;
    }
}

/// The first entries of a list, without repetitions.
fn bounded<Entry: PartialEq>(entries: impl Iterator<Item = Entry>) -> Vec<Entry> {
    let mut list = Vec::new();
    for entry in entries {
        if list.len() == LONGEST_LIST {
            break;
        }
        if !list.contains(&entry) {
            list.push(entry);
        }
    }
    list
}

fn for_people(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(LONGEST_TEXT).collect()
}

/// True for the addresses that a host on a network can have: not 0.0.0.0/8, loopback, multicast, 240.0.0.0/4 or broadcast.
pub(crate) const fn is_host(address: Ipv4Addr) -> bool {
    !address.is_loopback() && matches!(address.octets(), [1..=223, ..])
}

fn prefix_length(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let is_contiguous = bits.leading_ones() + bits.trailing_zeros() == u32::BITS;
    (bits != 0 && is_contiguous).then(|| u8::try_from(bits.leading_ones()).ok()).flatten()
}

const fn prefix_length_by_class(address: Ipv4Addr) -> u8 {
    match address.octets() {
        [0..=127, ..] => 8,
        [128..=191, ..] => 16,
        _ => 24,
    }
}

fn host_bits(prefix_length: u8) -> u32 {
    u32::MAX.checked_shr(u32::from(prefix_length)).unwrap_or(0)
}

fn network(address: Ipv4Addr, prefix_length: u8) -> u32 {
    address.to_bits() & !host_bits(prefix_length)
}

fn is_network_or_broadcast(address: Ipv4Addr, prefix_length: u8) -> bool {
    let host_bits = host_bits(prefix_length);
    let host = address.to_bits() & host_bits;
    // A /31 has neither (RFC 3021), nor has a /32.
    prefix_length < 31 && (host == 0 || host == host_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_contiguous_and_not_empty() {
        for (mask, length) in [
            ([255, 255, 255, 255], Some(32)),
            ([255, 255, 255, 0], Some(24)),
            ([128, 0, 0, 0], Some(1)),
            ([0, 0, 0, 0], None),
            ([255, 0, 255, 0], None),
            ([0, 255, 255, 255], None),
        ] {
            assert_eq!(prefix_length(mask.into()), length, "{mask:?}");
        }
    }

    #[test]
    fn network_and_broadcast_addresses_are_no_hosts() {
        for (address, length, expected) in [
            ([10, 0, 0, 0], 8, true),
            ([10, 255, 255, 255], 8, true),
            ([10, 0, 0, 255], 8, false),
            ([10, 0, 0, 0], 31, false),
            ([10, 0, 0, 3], 30, true),
            ([10, 0, 0, 3], 32, false),
        ] {
            assert_eq!(is_network_or_broadcast(address.into(), length), expected, "{address:?}/{length}");
        }
    }

    #[test]
    fn explanations_are_short_and_printable() {
        let text = format!("no\u{1b}[31m\n{}", "x".repeat(1_000));
        let cleaned = for_people(&text);
        assert!(cleaned.starts_with("no[31mx"), "{cleaned}");
        assert_eq!(cleaned.len(), LONGEST_TEXT);
    }
}
