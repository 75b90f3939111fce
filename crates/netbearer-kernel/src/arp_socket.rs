use std::{io, net::Ipv4Addr};

use socket2::SockFilter;

use crate::{
    HardwareAddress, filter_code,
    link_layer_socket::{LinkLayerSocket, UnboundLinkLayerSocket},
};

const ETHERNET_ARP: u16 = 0x0806;
/// Where a packet has its sender's address.
const SENDER: u32 = 14;

/// A packet socket on one interface that hears and sends ARP for IPv4 over Ethernet (RFC 826; `packet(7)`): conflict
/// detection (RFC 5227) and announcements. Needs `CAP_NET_RAW`. It takes some microseconds to open.
#[derive(Debug)]
pub struct ArpSocket(LinkLayerSocket);

/// An ARP socket that belongs to no interface yet, and hears nothing: the larger part of opening one, done in advance.
#[derive(Debug)]
pub struct UnboundArpSocket(UnboundLinkLayerSocket);

/// An ARP packet as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedArpPacket {
    /// The packet, from the hardware type on.
    pub packet: [u8; ArpSocket::PACKET_LENGTH],
    /// Who sent it on the link; the sender named within may be another one.
    pub source: HardwareAddress,
}

impl UnboundArpSocket {
    /// Opens a socket in the network namespace of the calling thread. Needs no runtime.
    ///
    /// # Errors
    /// When `CAP_NET_RAW` is missing.
    pub fn open() -> io::Result<Self> {
        UnboundLinkLayerSocket::open(ETHERNET_ARP, &arp_filter(None)).map(Self)
    }

    /// Gives the socket to an interface; from now on it hears.
    ///
    /// # Errors
    /// When the interface does not exist or is down.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn bind(self, interface: u32) -> io::Result<ArpSocket> {
        self.0.bind(interface).map(ArpSocket)
    }
}

impl ArpSocket {
    /// Length of an ARP packet for IPv4 over Ethernet, in bytes.
    pub const PACKET_LENGTH: usize = 28;
    /// The hardware address of everybody on the link.
    pub const EVERYBODY: [u8; 6] = [0xff; 6];

    /// Opens a socket on an interface.
    ///
    /// # Errors
    /// When the interface does not exist or is down, or `CAP_NET_RAW` is missing.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn open(interface: u32) -> io::Result<Self> {
        UnboundArpSocket::open()?.bind(interface)
    }

    /// Waits for an ARP packet of another host; what this one sends is not heard. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the interface goes down or away (`ENETDOWN`), once.
    pub async fn receive(&self) -> io::Result<ReceivedArpPacket> {
        let mut packet = [0; Self::PACKET_LENGTH];
        // What is longer was filled up to the least length of a frame.
        let received = self.0.receive(&mut packet).await?;
        Ok(ReceivedArpPacket { packet, source: received.source })
    }

    /// From now on hears only packets whose sender calls one of these few addresses its own; the kernel lets all others pass
    /// by without waking anybody. What came in before is still received.
    ///
    /// # Errors
    /// When the kernel has no memory for the filter; then it hears as before.
    pub fn hear_only(&self, senders: &[Ipv4Addr]) -> io::Result<()> {
        self.0.replace_filter(&arp_filter(Some(senders)))
    }

    /// Sends an ARP packet, from its hardware type on, to a host of the link or to [`ArpSocket::EVERYBODY`].
    ///
    /// # Errors
    /// When the interface is down or gone.
    pub async fn send(&self, packet: &[u8; Self::PACKET_LENGTH], destination: [u8; 6]) -> io::Result<()> {
        self.0.send(packet, &destination).await
    }

    /// The same without ever waiting, for who must not be interrupted between deciding and sending.
    ///
    /// # Errors
    /// When the interface is down or gone, or too much waits to be sent already (`WouldBlock`).
    pub fn try_send(&self, packet: &[u8; Self::PACKET_LENGTH], destination: [u8; 6]) -> io::Result<()> {
        self.0.try_send(packet, &destination)
    }

    /// Closes the socket on another thread, as the kernel takes milliseconds for it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn close_in_background(self) {
        self.0.close_in_background();
    }
}

/// Ethernet, IPv4, addresses of six and four octets, and complete; from everybody, or from these senders only.
fn arp_filter(senders: Option<&[Ipv4Addr]>) -> Vec<SockFilter> {
    use filter_code::{JUMP_IF_EQUAL, LOAD_HALF, LOAD_WORD, RETURN};
    let accept = || SockFilter::new(RETURN, 0, 0, u32::MAX);
    let refuse = || SockFilter::new(RETURN, 0, 0, 0);
    let mut code = Vec::new();
    for (place, value) in [(0, 1), (2, 0x0800), (4, 0x0604)] {
        code.extend([SockFilter::new(LOAD_HALF, 0, 0, place), SockFilter::new(JUMP_IF_EQUAL, 1, 0, value), refuse()]);
    }
    // The last half word of the packet: there, or the packet is refused.
    code.push(SockFilter::new(LOAD_HALF, 0, 0, 26));
    let Some(senders) = senders else {
        code.push(accept());
        return code;
    };
    code.push(SockFilter::new(LOAD_WORD, 0, 0, SENDER));
    for sender in senders {
        code.extend([SockFilter::new(JUMP_IF_EQUAL, 0, 1, sender.to_bits()), accept()]);
    }
    code.push(refuse());
    code
}
