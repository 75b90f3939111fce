use std::net::Ipv4Addr;

/// Why a packet was ignored. Nothing has changed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Not the size of a DHCP message.
    #[error("{0} octets are no DHCP message")]
    Size(usize),
    /// Not a reply (`op`), or not for an Ethernet client (`htype`, `hlen`).
    #[error("not a reply to an Ethernet client")]
    NotForEthernetClients,
    /// Options do not begin with the magic cookie of RFC 2131 §3.
    #[error("the magic cookie is missing")]
    Magic,
    /// Answers somebody else's, or an earlier, question (`xid`).
    #[error("it belongs to another transaction")]
    Transaction,
    /// Answers another client (`chaddr`).
    #[error("it is for another hardware address")]
    HardwareAddress,
    /// Answers another client (option 61, RFC 6842).
    #[error("it is for another client identifier")]
    ClientIdentifier,
    /// No message type (option 53) that a server sends to a client, or none that answers what was asked.
    #[error("its message type is not expected now")]
    MessageType,
    /// Nothing was asked.
    #[error("no reply is expected now")]
    NotExpected,
    /// No server identifier (option 54), or one that cannot be an address of a server.
    #[error("it does not say which server it is from")]
    NoServer,
    /// From a server that was not asked.
    #[error("it is from {0}, which was not asked")]
    Server(Ipv4Addr),
    /// The leased address cannot be used by a host.
    #[error("{0} cannot be the address of a host")]
    Address(Ipv4Addr),
    /// Not the address that was asked for.
    #[error("it grants {0}, which was not asked for")]
    OtherAddress(Ipv4Addr),
    /// The subnet mask is none (option 1).
    #[error("{0} is no subnet mask")]
    SubnetMask(Ipv4Addr),
    /// The subnet mask (option 1) would make more of the world on-link than any network is: fewer than 8 bits.
    #[error("the subnet mask {0} is shorter than 8 bits")]
    ShortSubnetMask(Ipv4Addr),
    /// An address that was declined, as another host uses it.
    #[error("{0} is in use by another host")]
    Declined(Ipv4Addr),
    /// A lease in answer to DISCOVER, without the option that says it is meant so (option 80, RFC 4039 §3.1).
    #[error("it grants a lease that was not requested yet")]
    NotCommitted,
    /// No lease time (option 51), a lease time of zero, or one that has already passed.
    #[error("it grants no time")]
    NoTime,
}

impl PacketError {
    /// True if a server did answer this client and its question, but with something that cannot be accepted.
    #[must_use]
    pub const fn is_unacceptable_answer(&self) -> bool {
        match self {
            Self::Address(_)
            | Self::OtherAddress(_)
            | Self::SubnetMask(_)
            | Self::ShortSubnetMask(_)
            | Self::Declined(_)
            | Self::NotCommitted
            | Self::NoTime => true,
            Self::Size(_)
            | Self::NotForEthernetClients
            | Self::Magic
            | Self::Transaction
            | Self::HardwareAddress
            | Self::ClientIdentifier
            | Self::MessageType
            | Self::NotExpected
            | Self::NoServer
            | Self::Server(_) => false,
        }
    }
}
