use std::net::Ipv4Addr;

/// A DHCP message to be sent from port 68 to port 67.
///
/// From 0.0.0.0 it needs a packet socket ([`crate::frame::encode`]); from the leased address an ordinary socket will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// 0.0.0.0 while there is no lease, else the leased address.
    pub source: Ipv4Addr,
    /// 255.255.255.255, or the server while renewing and when releasing.
    pub destination: Ipv4Addr,
    /// The message, without UDP and IP headers.
    pub payload: Vec<u8>,
}

impl Transmit {
    /// True if everybody on the link is addressed.
    #[must_use]
    pub const fn is_broadcast(&self) -> bool {
        self.destination.is_broadcast()
    }
}
