use std::io;

use socket2::SockFilter;

use crate::{
    ReceivedPacket, filter_code,
    link_layer_socket::{LinkLayerSocket, UnboundLinkLayerSocket},
};

const ETHERNET_IPV4: u16 = 0x0800;
const EVERYBODY: [u8; 6] = [0xff; 6];
const DHCP_CLIENT_PORT: u32 = 68;

/// A packet socket on one interface that hears IPv4 UDP to port 68 and broadcasts IPv4 packets (`packet(7)`): DHCP
/// before there is an address. Needs `CAP_NET_RAW`. It takes some microseconds to open.
#[derive(Debug)]
pub struct PacketSocket(LinkLayerSocket);

/// A packet socket that belongs to no interface yet, and hears nothing: the larger part of opening one, done in advance.
#[derive(Debug)]
pub struct UnboundPacketSocket(UnboundLinkLayerSocket);

impl UnboundPacketSocket {
    /// Opens a socket in the network namespace of the calling thread. Needs no runtime.
    ///
    /// # Errors
    /// When `CAP_NET_RAW` is missing.
    pub fn open() -> io::Result<Self> {
        UnboundLinkLayerSocket::open(ETHERNET_IPV4, &dhcp_filter()).map(Self)
    }

    /// Gives the socket to an interface; from now on it hears.
    ///
    /// # Errors
    /// When the interface does not exist or is down.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn bind(self, interface: u32) -> io::Result<PacketSocket> {
        self.0.bind(interface).map(PacketSocket)
    }
}

impl PacketSocket {
    /// Opens a socket on an interface.
    ///
    /// # Errors
    /// When the interface does not exist or is down, or `CAP_NET_RAW` is missing.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn open(interface: u32) -> io::Result<Self> {
        UnboundPacketSocket::open()?.bind(interface)
    }

    /// Waits for a packet and reads it into `buffer`, from the IP header on. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the interface goes down or away (`ENETDOWN`), once.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<ReceivedPacket> {
        self.0.receive(buffer).await
    }

    /// Sends an IPv4 packet, from its header on, to everybody on the link.
    ///
    /// # Errors
    /// When the interface is down or gone, or the packet is longer than its MTU.
    pub async fn send_broadcast(&self, packet: &[u8]) -> io::Result<()> {
        self.0.send(packet, &EVERYBODY).await
    }

    /// Closes the socket on another thread, as the kernel takes milliseconds for it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn close_in_background(self) {
        self.0.close_in_background();
    }
}

/// IPv4, UDP, no fragment, to port 68. Written for packets that begin with the IP header.
fn dhcp_filter() -> [SockFilter; 9] {
    use filter_code::{
        JUMP_IF_ANY_BIT, JUMP_IF_EQUAL, LOAD_BYTE, LOAD_HALF, LOAD_HALF_INDEXED, LOAD_HEADER_LENGTH, RETURN,
    };
    [
        SockFilter::new(LOAD_BYTE, 0, 0, 9),
        SockFilter::new(JUMP_IF_EQUAL, 0, 6, 17),
        SockFilter::new(LOAD_HALF, 0, 0, 6),
        // More fragments, or not the first one.
        SockFilter::new(JUMP_IF_ANY_BIT, 4, 0, 0x3fff),
        SockFilter::new(LOAD_HEADER_LENGTH, 0, 0, 0),
        SockFilter::new(LOAD_HALF_INDEXED, 0, 0, 2),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, DHCP_CLIENT_PORT),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
