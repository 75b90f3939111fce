//! Unsafe because packet sockets have no safe face in the crates we use.
#![allow(unsafe_code)]

use std::{io, mem, os::fd::AsRawFd};

use socket2::{Domain, SockAddr, SockAddrStorage, SockFilter, Socket, Type};
use tokio::io::{Interest, unix::AsyncFd};

use crate::{HardwareAddress, registration::register};

const ETHERNET_IPV4: u16 = 0x0800;
/// `PACKET_AUXDATA` of `linux/if_packet.h`.
const PACKET_AUXDATA: libc::c_int = 8;
/// `TP_STATUS_CSUMNOTREADY` of `linux/if_packet.h`.
const CHECKSUM_NOT_READY: u32 = 1 << 3;
const DHCP_CLIENT_PORT: u32 = 68;
/// Room for one `struct tpacket_auxdata` as a control message, and aligned as one.
const CONTROL_WORDS: usize = 8;

/// A packet socket on one interface that hears IPv4 UDP to port 68 and broadcasts IPv4 packets (`packet(7)`): DHCP
/// before there is an address. Needs `CAP_NET_RAW`.
///
/// It takes some microseconds to open, as it is bound to a protocol only after it has its filter: one created with the
/// protocol waits milliseconds for every processor.
#[derive(Debug)]
pub struct PacketSocket {
    socket: AsyncFd<Socket>,
    broadcast: SockAddr,
}

/// A packet socket that belongs to no interface yet, and hears nothing: the larger part of opening one, done in advance.
#[derive(Debug)]
pub struct UnboundPacketSocket {
    socket: Socket,
}

impl UnboundPacketSocket {
    /// Opens a socket in the network namespace of the calling thread. Needs no runtime.
    ///
    /// # Errors
    /// When `CAP_NET_RAW` is missing.
    pub fn open() -> io::Result<Self> {
        // Without a protocol nothing is received before the filter is there.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking().cloexec(), None)?;
        socket.attach_filter(&dhcp_filter())?;
        set_auxiliary_data(&socket)?;
        Ok(Self { socket })
    }

    /// Gives the socket to an interface; from now on it hears.
    ///
    /// # Errors
    /// When the interface does not exist or is down.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn bind(self, interface: u32) -> io::Result<PacketSocket> {
        self.socket.bind(&link_address(interface, &[])?)?;
        Ok(PacketSocket { socket: register(self.socket)?, broadcast: link_address(interface, &[0xff; 6])? })
    }
}

/// What came in with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedPacket {
    /// Length of the IP packet, in bytes. More than the buffer holds if it was cut off.
    pub length: usize,
    /// Who sent it on the link.
    pub source: HardwareAddress,
    /// Its UDP checksum is still to be written by a card that never will: it comes from this machine, for instance from
    /// another network namespace, and must not be checked (`TP_STATUS_CSUMNOTREADY`).
    pub checksum_unfinished: bool,
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
        // An interface going down is an error to wait for, and makes nothing readable.
        self.socket.async_io(Interest::READABLE | Interest::ERROR, |socket| receive(socket, buffer)).await
    }

    /// Sends an IPv4 packet, from its header on, to everybody on the link.
    ///
    /// # Errors
    /// When the interface is down or gone, or the packet is longer than its MTU.
    pub async fn send_broadcast(&self, packet: &[u8]) -> io::Result<()> {
        let sent = self.socket.async_io(Interest::WRITABLE, |socket| socket.send_to(packet, &self.broadcast)).await?;
        if sent == packet.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Closes the socket on another thread, as the kernel takes milliseconds for it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn close_in_background(self) {
        let socket = self.socket.into_inner();
        tokio::task::spawn_blocking(move || drop(socket));
    }
}

/// IPv4, UDP, no fragment, to port 68. Written for packets that begin with the IP header (`bpf(4)` instructions).
fn dhcp_filter() -> [SockFilter; 9] {
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_HALF: u16 = 0x28;
    const LOAD_HALF_INDEXED: u16 = 0x48;
    const LOAD_HEADER_LENGTH: u16 = 0xb1;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
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

fn link_address(interface: u32, address: &[u8]) -> io::Result<SockAddr> {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is a socket address, smaller than the storage, and valid when all zero.
    let link: &mut libc::sockaddr_ll = unsafe { storage.view_as() };
    link.sll_family = libc::AF_PACKET as libc::sa_family_t;
    link.sll_protocol = ETHERNET_IPV4.to_be();
    link.sll_ifindex = i32::try_from(interface).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    for (place, byte) in link.sll_addr.iter_mut().zip(address) {
        *place = *byte;
        link.sll_halen += 1;
    }
    // SAFETY: the storage holds a `sockaddr_ll` of this length.
    Ok(unsafe { SockAddr::new(storage, mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t) })
}

fn set_auxiliary_data(socket: &Socket) -> io::Result<()> {
    let enabled: libc::c_int = 1;
    // SAFETY: the pointer and the length are those of an integer, which the kernel reads before the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_AUXDATA,
            (&raw const enabled).cast(),
            mem::size_of_val(&enabled) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<ReceivedPacket> {
    // SAFETY: plain integers, valid when all zero.
    let mut source: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let mut control = [0_u64; CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: integers and null pointers, valid when all zero.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = (&raw mut source).cast();
    message.msg_namelen = mem::size_of_val(&source) as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of_val(&control);
    // SAFETY: every pointer in `message` is to a live variable above, with its true length.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_TRUNC) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let mut status = 0;
    // SAFETY: `message` was filled in by recvmsg, and its control buffer is alive and aligned.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: the macros give a pointer to a complete header within the control buffer, or null.
    while let Some(&libc::cmsghdr { cmsg_level, cmsg_type, cmsg_len, .. }) = unsafe { header.as_ref() } {
        if (cmsg_level, cmsg_type) == (libc::SOL_PACKET, PACKET_AUXDATA)
            && cmsg_len > mem::size_of::<libc::cmsghdr>() + 4
        {
            // SAFETY: the first field of `tpacket_auxdata`, a u32, lies within this control message.
            status = unsafe { libc::CMSG_DATA(header).cast::<u32>().read_unaligned() };
        }
        // SAFETY: as for the first header.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    let address = source.sll_addr.get(..usize::from(source.sll_halen)).unwrap_or(&source.sll_addr);
    Ok(ReceivedPacket {
        length,
        source: HardwareAddress::new(address),
        checksum_unfinished: status & CHECKSUM_NOT_READY != 0,
    })
}
