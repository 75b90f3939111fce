//! The address resolution protocol for IPv4 on Ethernet (RFC 826), without the Ethernet header, as a packet socket of
//! protocol `ETH_P_ARP` gives and takes it (`AF_PACKET`, `SOCK_DGRAM`; packet(7)).

use std::net::Ipv4Addr;

use crate::reply::is_host;

/// The hardware address of everybody on the link.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// A hardware address that is not known, or nobody's.
pub const UNKNOWN: [u8; 6] = [0; 6];

/// Octets of a message.
pub const LENGTH: usize = 28;

/// Hardware type 1 (Ethernet) and protocol type 0x0800 (IPv4) with the lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// What fits an Ethernet frame: a message and the padding that follows it.
const LARGEST_PACKET: usize = 1_500;

/// Whether a message asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Asks who has the target's address; the sender says its own in passing.
    Request,
    /// Says where the sender's address is.
    Reply,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whether it asks or answers.
    pub operation: Operation,
    /// The sender's Ethernet address: of one host, and not [`UNKNOWN`].
    pub sender_hardware: [u8; 6],
    /// The sender's address; 0.0.0.0 in a probe (RFC 5227 §1.1).
    pub sender: Ipv4Addr,
    /// The target's Ethernet address; without meaning in a request.
    pub target_hardware: [u8; 6],
    /// The address that is asked for, or of the one who asked.
    pub target: Ipv4Addr,
}

/// A message to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// To whom on the link: one host's Ethernet address, or [`BROADCAST`].
    pub destination: [u8; 6],
    /// What.
    pub message: Message,
}

/// Why octets are no message of address resolution for IPv4 on Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArpError {
    /// Shorter than a message, or longer than a frame.
    #[error("{0} octets are no ARP message")]
    Size(usize),
    /// For other hardware or another protocol, or with addresses of another length.
    #[error("it is not for IPv4 on Ethernet")]
    NotForEthernetIpv4,
    /// Neither a request nor a reply.
    #[error("it neither asks nor answers, but does {0}")]
    Operation(u16),
    /// From a hardware address that no host can have.
    #[error("its sender has no hardware address of a host")]
    SenderHardware,
    /// From an address that no host can have, and no probe.
    #[error("its sender is {0}, which no host can be")]
    Sender(Ipv4Addr),
}

impl Message {
    /// A question whether anybody uses `address`, which says nothing of who asks (RFC 5227 §2.1.1).
    #[must_use]
    pub const fn probe(hardware_address: [u8; 6], address: Ipv4Addr) -> Self {
        Self::request(hardware_address, Ipv4Addr::UNSPECIFIED, address)
    }

    /// A statement that `address` is in use here (RFC 5227 §2.3).
    #[must_use]
    pub const fn announcement(hardware_address: [u8; 6], address: Ipv4Addr) -> Self {
        Self::request(hardware_address, address, address)
    }

    /// A question for the hardware address of `target`.
    #[must_use]
    pub const fn request(sender_hardware: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self { operation: Operation::Request, sender_hardware, sender, target_hardware: UNKNOWN, target }
    }

    /// The message in its octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let operation: u16 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        [
            ETHERNET_IPV4.as_slice(),
            &operation.to_be_bytes(),
            &self.sender_hardware,
            &self.sender.octets(),
            &self.target_hardware,
            &self.target.octets(),
        ]
        .concat()
    }

    /// The message in a packet. What follows it is padding of the link, and left out.
    ///
    /// # Errors
    /// Why there is none.
    pub fn decode(packet: &[u8]) -> Result<Self, ArpError> {
        let too_short = ArpError::Size(packet.len());
        if packet.len() > LARGEST_PACKET {
            return Err(too_short);
        }
        let (kind, rest) = packet.split_first_chunk().ok_or(too_short)?;
        let (operation, rest) = rest.split_first_chunk().ok_or(too_short)?;
        let (&sender_hardware, rest) = rest.split_first_chunk().ok_or(too_short)?;
        let (&sender, rest) = rest.split_first_chunk::<4>().ok_or(too_short)?;
        let (&target_hardware, rest) = rest.split_first_chunk().ok_or(too_short)?;
        let (&target, _) = rest.split_first_chunk::<4>().ok_or(too_short)?;
        if *kind != ETHERNET_IPV4 {
            return Err(ArpError::NotForEthernetIpv4);
        }
        let operation = match u16::from_be_bytes(*operation) {
            1 => Operation::Request,
            2 => Operation::Reply,
            other => return Err(ArpError::Operation(other)),
        };
        if !is_hardware_address_of_host(sender_hardware) {
            return Err(ArpError::SenderHardware);
        }
        let sender = Ipv4Addr::from(sender);
        let is_probe = operation == Operation::Request && sender.is_unspecified();
        if !is_probe && !is_host(sender) {
            return Err(ArpError::Sender(sender));
        }
        Ok(Self { operation, sender_hardware, sender, target_hardware, target: target.into() })
    }
}

/// True for Ethernet addresses of one host: neither of a group (IEEE 802, the lowest bit of the first octet) nor unknown.
pub(crate) const fn is_hardware_address_of_host(hardware_address: [u8; 6]) -> bool {
    let [first, ..] = hardware_address;
    first & 1 == 0 && !matches!(hardware_address, UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: [u8; 6] = [2, 0, 0, 0, 0, 7];
    const SENDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
    const TARGET: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn request() -> Vec<u8> {
        Message::request(HOST, SENDER, TARGET).encode()
    }

    fn decoded_after(change: impl FnOnce(&mut Vec<u8>)) -> Result<Message, ArpError> {
        let mut octets = request();
        change(&mut octets);
        Message::decode(&octets)
    }

    #[test]
    fn a_request_has_the_octets_of_rfc_826() {
        let expected = [
            0, 1, 8, 0, 6, 4, 0, 1, // Ethernet, IPv4, their lengths, request
            2, 0, 0, 0, 0, 7, 192, 0, 2, 77, // sender
            0, 0, 0, 0, 0, 0, 192, 0, 2, 1, // target
        ];
        assert_eq!(request(), expected);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let reply = Message { operation: Operation::Reply, ..Message::request(HOST, SENDER, TARGET) };
        for message in [
            Message::probe(HOST, TARGET),
            Message::announcement(HOST, SENDER),
            reply,
            Message::request(HOST, SENDER, TARGET),
        ] {
            assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn padding_of_the_link_is_left_out() {
        let message = Message::decode(&request());
        for length in [46, 60, 1_500] {
            assert_eq!(decoded_after(|octets| octets.resize(length, 0xee)), message, "{length}");
        }
        assert_eq!(decoded_after(|octets| octets.resize(1_501, 0)), Err(ArpError::Size(1_501)));
    }

    #[test]
    fn every_truncation_is_refused() {
        for length in 0..LENGTH {
            assert_eq!(decoded_after(|octets| octets.truncate(length)), Err(ArpError::Size(length)));
        }
    }

    #[test]
    fn other_hardware_protocols_lengths_and_operations_are_refused() {
        for octet in 0..6 {
            assert_eq!(decoded_after(|octets| octets[octet] ^= 2), Err(ArpError::NotForEthernetIpv4), "octet {octet}");
        }
        for operation in [0_u16, 3, 8, 257, u16::MAX] {
            let decoded = decoded_after(|octets| octets[6..8].copy_from_slice(&operation.to_be_bytes()));
            assert_eq!(decoded, Err(ArpError::Operation(operation)));
        }
    }

    #[test]
    fn senders_that_cannot_be_are_refused() {
        for hardware in [UNKNOWN, BROADCAST, [1, 0, 0x5e, 0, 0, 1]] {
            let decoded = decoded_after(|octets| octets[8..14].copy_from_slice(&hardware));
            assert_eq!(decoded, Err(ArpError::SenderHardware), "{hardware:?}");
        }
        for sender in [[0, 0, 0, 1], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]] {
            let decoded = decoded_after(|octets| octets[14..18].copy_from_slice(&sender));
            assert_eq!(decoded, Err(ArpError::Sender(sender.into())));
        }
        let nobody_answers = decoded_after(|octets| {
            octets[7] = 2;
            octets[14..18].fill(0);
        });
        assert_eq!(nobody_answers, Err(ArpError::Sender(Ipv4Addr::UNSPECIFIED)), "only a question can be a probe");
    }
}
