use std::net::IpAddr;

use netbearer_types::Family;
use rtnetlink::{
    packet_core::Parseable,
    packet_route::{
        AddressFamily,
        route::RouteProtocol,
        rule::{RuleAction as PacketAction, RuleAttribute, RuleFlags, RuleHeader, RuleMessage},
    },
};

use crate::{OUR_PROTOCOL, address::packet_family, attributes::attributes};

const HEADER_LENGTH: usize = 12;

/// What a rule does with the packets it selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleAction {
    /// Looks the route up in this table.
    Table(u32),
    /// Drops them silently.
    Blackhole,
    /// Drops them and says "network unreachable".
    Unreachable,
    /// Drops them and says "prohibited".
    Prohibit,
    /// Another `FR_ACT_*` of `linux/fib_rules.h`.
    Other(u8),
}

/// A policy rule, as the kernel describes it (`ip-rule(8)`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Its address family.
    pub family: Family,
    /// Lower is looked at first.
    pub priority: u32,
    /// Selects sources in this network: address and prefix length in bits.
    pub source: Option<(IpAddr, u8)>,
    /// Selects destinations in this network: address and prefix length in bits.
    pub destination: Option<(IpAddr, u8)>,
    /// Selects packets with this firewall mark.
    pub mark: Option<u32>,
    /// The bits of the mark that count.
    pub mark_mask: Option<u32>,
    /// Selects packets of sockets bound to this interface.
    pub output_interface: Option<String>,
    /// Selects packets that came in by this interface.
    pub input_interface: Option<String>,
    /// It selects by something else too, which is not kept here: ports, user, type of service …
    pub selects_further: bool,
    /// It selects what all of this does not (`not` of `ip-rule(8)`).
    pub inverted: bool,
    /// Routes with a prefix of this length or less are passed over (`suppress_prefixlength`).
    pub suppressed_prefix_length: Option<u32>,
    /// What it does.
    pub action: RuleAction,
    /// Who made it (`RTPROT_*`); 0 if nobody said.
    pub protocol: u8,
}

impl Rule {
    /// A rule that selects everything, and that nobody says is his.
    #[must_use]
    pub const fn new(family: Family, priority: u32, action: RuleAction) -> Self {
        Self {
            family,
            priority,
            source: None,
            destination: None,
            mark: None,
            mark_mask: None,
            output_interface: None,
            input_interface: None,
            selects_further: false,
            inverted: false,
            suppressed_prefix_length: None,
            action,
            protocol: 0,
        }
    }

    /// True if it carries our tag.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.protocol == OUR_PROTOCOL
    }

    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let header = RuleHeader::parse(payload).ok()?;
        let family = match header.family {
            AddressFamily::Inet => Family::V4,
            AddressFamily::Inet6 => Family::V6,
            _ => return None,
        };
        let mut table = u32::from(header.table);
        let mut rule = Self {
            selects_further: header.tos != 0,
            inverted: header.flags.contains(RuleFlags::Invert),
            ..Self::new(family, 0, RuleAction::Other(0))
        };
        for attribute in attributes(payload.get(HEADER_LENGTH..)?, RuleAttribute::parse) {
            match attribute {
                RuleAttribute::Table(value) => table = value,
                RuleAttribute::Priority(value) => rule.priority = value,
                RuleAttribute::Source(address) => rule.source = Some((address, header.src_len)),
                RuleAttribute::Destination(address) => rule.destination = Some((address, header.dst_len)),
                RuleAttribute::FwMark(value) => rule.mark = Some(value),
                RuleAttribute::FwMask(value) => rule.mark_mask = Some(value),
                RuleAttribute::Oifname(name) => rule.output_interface = Some(name),
                RuleAttribute::Iifname(name) => rule.input_interface = Some(name),
                RuleAttribute::Protocol(value) => rule.protocol = u8::from(value),
                // Sent with every rule; all bits set means that it suppresses nothing.
                RuleAttribute::SuppressPrefixLen(u32::MAX) | RuleAttribute::SuppressIfGroup(u32::MAX) => {}
                RuleAttribute::SuppressPrefixLen(length) => rule.suppressed_prefix_length = Some(length),
                _ => rule.selects_further = true,
            }
        }
        rule.action = match header.action {
            PacketAction::ToTable => RuleAction::Table(table),
            PacketAction::Blackhole => RuleAction::Blackhole,
            PacketAction::Unreachable => RuleAction::Unreachable,
            PacketAction::Prohibit => RuleAction::Prohibit,
            other => RuleAction::Other(u8::from(other)),
        };
        Some(rule)
    }
}

/// A rule to be made or removed. It is tagged as ours, and only rules so tagged are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// Its address family.
    pub family: Family,
    /// Lower is looked at first.
    pub priority: u32,
    /// Selects sources in this network: address and prefix length in bits.
    pub source: Option<(IpAddr, u8)>,
    /// Selects packets with this firewall mark: value and the bits that count.
    pub mark: Option<(u32, u32)>,
    /// Selects packets of sockets bound to this interface.
    pub output_interface: Option<String>,
    /// Passes routes over that have a prefix of this length or less.
    pub suppressed_prefix_length: Option<u32>,
    /// What it does.
    pub action: RuleAction,
}

impl RuleSpec {
    /// A rule for everything.
    #[must_use]
    pub const fn new(family: Family, priority: u32, action: RuleAction) -> Self {
        Self {
            family,
            priority,
            source: None,
            mark: None,
            output_interface: None,
            suppressed_prefix_length: None,
            action,
        }
    }

    pub(crate) fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        let (action, table) = match self.action {
            RuleAction::Table(table) => (PacketAction::ToTable, Some(table)),
            RuleAction::Blackhole => (PacketAction::Blackhole, None),
            RuleAction::Unreachable => (PacketAction::Unreachable, None),
            RuleAction::Prohibit => (PacketAction::Prohibit, None),
            RuleAction::Other(number) => (PacketAction::from(number), None),
        };
        message.header = RuleHeader {
            family: packet_family(self.family),
            src_len: self.source.map_or(0, |(_, length)| length),
            action,
            ..RuleHeader::default()
        };
        let attributes = &mut message.attributes;
        attributes.push(RuleAttribute::Priority(self.priority));
        attributes.extend(table.map(RuleAttribute::Table));
        attributes.extend(self.source.map(|(address, _)| RuleAttribute::Source(address)));
        if let Some((mark, mask)) = self.mark {
            attributes.extend([RuleAttribute::FwMark(mark), RuleAttribute::FwMask(mask)]);
        }
        attributes.extend(self.output_interface.clone().map(RuleAttribute::Oifname));
        attributes.extend(self.suppressed_prefix_length.map(RuleAttribute::SuppressPrefixLen));
        attributes.push(RuleAttribute::Protocol(RouteProtocol::from(OUR_PROTOCOL)));
        message
    }
}

/// The specification that removes a rule found in the cache.
impl From<&Rule> for RuleSpec {
    fn from(rule: &Rule) -> Self {
        Self {
            family: rule.family,
            priority: rule.priority,
            source: rule.source,
            mark: rule.mark.map(|mark| (mark, rule.mark_mask.unwrap_or(u32::MAX))),
            output_interface: rule.output_interface.clone(),
            suppressed_prefix_length: rule.suppressed_prefix_length,
            action: rule.action,
        }
    }
}
