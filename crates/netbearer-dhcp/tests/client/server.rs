use std::net::Ipv4Addr;

use dhcproto::{
    Decodable, Encodable,
    v4::{DhcpOption, Message, MessageType, Opcode, OptionCode},
};

/// A DHCP server without I/O that leases one address.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) identifier: Ipv4Addr,
    /// The address it leases; requests for others are refused.
    pub(crate) address: Ipv4Addr,
    /// Offers, but refuses all requests.
    pub(crate) refuses: bool,
    /// Grants a lease at once to those who ask for that (RFC 4039).
    pub(crate) rapid_commit: bool,
    /// Options of its offers and acknowledgements.
    pub(crate) options: Vec<DhcpOption>,
    /// Addresses that were given back.
    pub(crate) released: Vec<Ipv4Addr>,
    /// Addresses that were declined.
    pub(crate) declined: Vec<Ipv4Addr>,
}

impl Server {
    pub(crate) const IDENTIFIER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

    /// A well-behaved one.
    pub(crate) fn new(lease_seconds: u32) -> Self {
        Self {
            identifier: Self::IDENTIFIER,
            address: Self::ADDRESS,
            refuses: false,
            rapid_commit: false,
            options: vec![
                DhcpOption::AddressLeaseTime(lease_seconds),
                DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
                DhcpOption::Router(vec![Self::IDENTIFIER]),
            ],
            released: Vec::new(),
            declined: Vec::new(),
        }
    }

    /// Sets an option, replacing one of the same code.
    pub(crate) fn set(&mut self, option: DhcpOption) {
        self.remove(OptionCode::from(&option));
        self.options.push(option);
    }

    pub(crate) fn remove(&mut self, code: OptionCode) {
        self.options.retain(|option| OptionCode::from(option) != code);
    }

    /// What it answers to a message of a client, if anything (RFC 2131 §4.3).
    pub(crate) fn answer(&mut self, request: &Message) -> Option<Message> {
        match request.opts().msg_type()? {
            MessageType::Discover if self.rapid_commit && request.opts().contains(OptionCode::RapidCommit) => {
                let mut acknowledgement = self.reply(request, MessageType::Ack);
                acknowledgement.opts_mut().insert(DhcpOption::RapidCommit);
                Some(acknowledgement)
            }
            MessageType::Discover => Some(self.reply(request, MessageType::Offer)),
            MessageType::Request => {
                let for_us = server_identifier(request).is_none_or(|server| server == self.identifier);
                let wanted = requested_address(request).unwrap_or(request.ciaddr());
                let kind = if self.refuses || wanted != self.address { MessageType::Nak } else { MessageType::Ack };
                for_us.then(|| self.reply(request, kind))
            }
            MessageType::Decline => {
                self.declined.extend(requested_address(request));
                // The next address of the same network.
                let [.., host] = self.address.octets();
                self.address = (self.address.to_bits() - u32::from(host) + u32::from(host) % 250 + 1).into();
                None
            }
            MessageType::Release => {
                self.released.push(request.ciaddr());
                None
            }
            _ => None,
        }
    }

    pub(crate) fn reply(&self, request: &Message, kind: MessageType) -> Message {
        let mut reply = request.clone();
        reply.clear_addrs().set_opcode(Opcode::BootReply).set_secs(0);
        let options = reply.opts_mut();
        // RFC 6842: the client identifier comes back.
        options.retain(|code, _| *code == OptionCode::ClientIdentifier);
        options.insert(DhcpOption::MessageType(kind));
        options.insert(DhcpOption::ServerIdentifier(self.identifier));
        if kind != MessageType::Nak {
            for option in &self.options {
                options.insert(option.clone());
            }
            reply.set_yiaddr(self.address);
        }
        reply
    }
}

pub(crate) fn decode(octets: &[u8]) -> Message {
    Message::from_bytes(octets).expect("the client's own messages are well-formed")
}

pub(crate) fn encode(message: &Message) -> Vec<u8> {
    message.to_vec().expect("the messages of tests can be encoded")
}

pub(crate) fn requested_address(message: &Message) -> Option<Ipv4Addr> {
    match message.opts().get(OptionCode::RequestedIpAddress) {
        Some(DhcpOption::RequestedIpAddress(address)) => Some(*address),
        _ => None,
    }
}

pub(crate) fn server_identifier(message: &Message) -> Option<Ipv4Addr> {
    match message.opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(address)) => Some(*address),
        _ => None,
    }
}
