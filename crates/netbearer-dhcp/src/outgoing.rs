use std::net::Ipv4Addr;

use dhcproto::{
    Encodable,
    v4::{DhcpOption, Flags, MIN_PACKET_SIZE, Message, MessageType, OptionCode},
};

use crate::{
    ClientConfiguration,
    reply::{IPV6_ONLY_PREFERRED, LARGEST_MESSAGE},
};

/// What is asked of servers. Classless routes come before routers, as RFC 3442 requires.
const PARAMETERS: [OptionCode; 13] = [
    OptionCode::SubnetMask,
    OptionCode::ClasslessStaticRoute,
    OptionCode::Router,
    OptionCode::DomainNameServer,
    OptionCode::DomainName,
    OptionCode::InterfaceMtu,
    OptionCode::BroadcastAddr,
    OptionCode::AddressLeaseTime,
    OptionCode::ServerIdentifier,
    OptionCode::Renewal,
    OptionCode::Rebinding,
    OptionCode::DomainSearch,
    OptionCode::CaptivePortal,
];

/// A message to servers. Which fields each type carries: RFC 2131 §4.4.1, table 5.
pub(crate) struct Outgoing {
    pub(crate) message_type: MessageType,
    pub(crate) transaction_identifier: u32,
    pub(crate) seconds: u16,
    /// `ciaddr`: the leased address, 0.0.0.0 without a lease.
    pub(crate) client_address: Ipv4Addr,
    pub(crate) requested_address: Option<Ipv4Addr>,
    pub(crate) server_identifier: Option<Ipv4Addr>,
}

impl Outgoing {
    /// The message in its octets; none if it cannot be encoded, which only a client identifier beyond all bounds could
    /// bring about.
    pub(crate) fn encode(&self, configuration: &ClientConfiguration) -> Option<Vec<u8>> {
        const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(
            self.transaction_identifier,
            self.client_address,
            NOBODY,
            NOBODY,
            NOBODY,
            &configuration.hardware_address,
        );
        message.set_secs(self.seconds);
        if configuration.broadcast && self.client_address.is_unspecified() {
            message.set_flags(Flags::default().set_broadcast());
        }
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(self.message_type));
        if let Some(identifier) = &configuration.client_identifier {
            options.insert(DhcpOption::ClientIdentifier(identifier.octets().to_vec()));
        }
        if let Some(address) = self.requested_address {
            options.insert(DhcpOption::RequestedIpAddress(address));
        }
        if let Some(server) = self.server_identifier {
            options.insert(DhcpOption::ServerIdentifier(server));
        }
        if matches!(self.message_type, MessageType::Discover | MessageType::Request) {
            let mut parameters = PARAMETERS.to_vec();
            if configuration.ipv6_only {
                parameters.push(IPV6_ONLY_PREFERRED);
            }
            options.insert(DhcpOption::ParameterRequestList(parameters));
            options.insert(DhcpOption::MaxMessageSize(LARGEST_MESSAGE));
            if let Some(name) = &configuration.host_name {
                options.insert(DhcpOption::Hostname(name.as_str().to_owned()));
            }
            if let Some(class) = &configuration.vendor_class {
                options.insert(DhcpOption::ClassIdentifier(class.octets().to_vec()));
            }
        }
        if self.message_type == MessageType::Discover && configuration.rapid_commit {
            options.insert(DhcpOption::RapidCommit);
        }
        let mut octets = message.to_vec().ok()?;
        // Some servers and relays drop what is shorter than a BOOTP message (RFC 1542 §2.1).
        octets.resize(octets.len().max(MIN_PACKET_SIZE), 0);
        Some(octets)
    }
}
