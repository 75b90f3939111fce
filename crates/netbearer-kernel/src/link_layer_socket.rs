//! Unsafe because packet sockets have no safe face in the crates we use.
#![allow(unsafe_code)]

use std::{io, mem, os::fd::AsRawFd};

use socket2::{Domain, SockAddr, SockAddrStorage, SockFilter, Socket, Type};
use tokio::io::{Interest, unix::AsyncFd};

use crate::{HardwareAddress, registration::register};

/// `PACKET_AUXDATA` of `linux/if_packet.h`.
const PACKET_AUXDATA: libc::c_int = 8;
/// `TP_STATUS_CSUMNOTREADY` of `linux/if_packet.h`.
const CHECKSUM_NOT_READY: u32 = 1 << 3;
/// Room for one `struct tpacket_auxdata` as a control message, and aligned as one.
const CONTROL_WORDS: usize = 8;

/// A packet socket of one protocol on one interface (`packet(7)`), which sees what stands behind the link-layer header.
///
/// It takes some microseconds to open, as it is bound to its protocol only after it has its filter: one created with the
/// protocol waits milliseconds for every processor.
#[derive(Debug)]
pub(crate) struct LinkLayerSocket {
    socket: AsyncFd<Socket>,
    interface: u32,
    protocol: u16,
}

/// One that belongs to no interface yet, and hears nothing.
#[derive(Debug)]
pub(crate) struct UnboundLinkLayerSocket {
    socket: Socket,
    protocol: u16,
}

impl UnboundLinkLayerSocket {
    /// Opens a socket for a protocol (`ETH_P_*` of `linux/if_ether.h`), in the network namespace of the calling thread.
    pub(crate) fn open(protocol: u16, filter: &[SockFilter]) -> io::Result<Self> {
        // Without a protocol nothing is received before the filter is there.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking().cloexec(), None)?;
        socket.attach_filter(filter)?;
        set_auxiliary_data(&socket)?;
        Ok(Self { socket, protocol })
    }

    /// Gives the socket to an interface; from now on it hears.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub(crate) fn bind(self, interface: u32) -> io::Result<LinkLayerSocket> {
        self.socket.bind(&link_address(interface, self.protocol, &[])?)?;
        Ok(LinkLayerSocket { socket: register(self.socket)?, interface, protocol: self.protocol })
    }
}

/// What came in with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedPacket {
    /// Length of the packet behind the link-layer header, in bytes. More than the buffer holds if it was cut off.
    pub length: usize,
    /// Who sent it on the link.
    pub source: HardwareAddress,
    /// Its UDP checksum is still to be written by a card that never will: it comes from this machine, for instance from
    /// another network namespace, and must not be checked (`TP_STATUS_CSUMNOTREADY`).
    pub checksum_unfinished: bool,
}

impl LinkLayerSocket {
    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> io::Result<ReceivedPacket> {
        // An interface going down is an error to wait for, and makes nothing readable.
        self.socket.async_io(Interest::READABLE | Interest::ERROR, |socket| receive(socket, buffer)).await
    }

    pub(crate) async fn send(&self, packet: &[u8], destination: &[u8; 6]) -> io::Result<()> {
        let address = link_address(self.interface, self.protocol, destination)?;
        let sent = self.socket.async_io(Interest::WRITABLE, |socket| socket.send_to(packet, &address)).await?;
        if sent == packet.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Sends if that is possible without waiting.
    pub(crate) fn try_send(&self, packet: &[u8], destination: &[u8; 6]) -> io::Result<()> {
        let address = link_address(self.interface, self.protocol, destination)?;
        let sent = self.socket.get_ref().send_to(packet, &address)?;
        if sent == packet.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Puts another filter in the place of the one there is, in one step; what has come in already stays.
    pub(crate) fn replace_filter(&self, filter: &[SockFilter]) -> io::Result<()> {
        self.socket.get_ref().attach_filter(filter)
    }

    /// Closes the socket on another thread, as the kernel takes milliseconds for it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn close_in_background(self) {
        let socket = self.socket.into_inner();
        tokio::task::spawn_blocking(move || drop(socket));
    }
}

fn link_address(interface: u32, protocol: u16, address: &[u8]) -> io::Result<SockAddr> {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is a socket address, smaller than the storage, and valid when all zero.
    let link: &mut libc::sockaddr_ll = unsafe { storage.view_as() };
    link.sll_family = libc::AF_PACKET as libc::sa_family_t;
    link.sll_protocol = protocol.to_be();
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
