use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::RangeInclusive,
};

use netbearer_types::{SocketCookie, SocketEnd, Traffic};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use rustix::net::sockopt;
use tokio::io::unix::AsyncFd;

use crate::{
    asking_socket::Messages,
    diagnostic_socket::{DiagnosticSocket, FAMILIES, Listed, STATES_OF_OWNERS},
    registration::register,
};

/// `SKNLGRP_INET_TCP_DESTROY` and those for UDP and for IPv6 (`linux/sock_diag.h`).
const GROUPS: RangeInclusive<u32> = 1..=4;
/// Room for thousands of ends at once.
const BUFFER_SIZE: usize = 1 << 20;
/// Each end is a message of some hundred octets.
const DATAGRAM_CAPACITY: usize = 8 * 1024;

/// Hears of every TCP and UDP socket of this network namespace that ends, whoever it belongs to (`sock_diag(7)`). As long as it is there,
/// the kernel composes a message for each, so it is opened only while some socket is of interest.
#[derive(Debug)]
pub struct SocketEnds {
    socket: AsyncFd<Socket>,
    buffer: Box<[u8]>,
}

impl SocketEnds {
    /// Begins to listen, in the network namespace of the calling thread. Needs no privilege.
    ///
    /// # Errors
    /// When the kernel cannot tell (`CONFIG_INET_DIAG`), or there are too many descriptors.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.set_non_blocking(true)?;
        if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_SIZE).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, BUFFER_SIZE)?;
        }
        socket.bind(&SocketAddr::new(0, GROUPS.fold(0, |mask, group| mask | 1 << (group - 1))))?;
        Ok(Self { socket: register(socket)?, buffer: vec![0; DATAGRAM_CAPACITY].into_boxed_slice() })
    }

    /// Waits for the next ends. None if some were missed: then those that are still there are to be listed
    /// ([`living_sockets`]). Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the socket can no longer be read.
    pub async fn next(&mut self) -> io::Result<Option<Vec<SocketEnd>>> {
        loop {
            let mut guard = self.socket.readable().await?;
            match guard.get_inner().recv_from(&mut &mut self.buffer[..], 0) {
                Ok((length, sender)) if sender.port_number() == 0 => {
                    let datagram = self.buffer.get(..length).unwrap_or_default();
                    return Ok(Some(socket_ends_in(datagram)));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The ends that a datagram of the kernel tells of. Never fails, whatever the octets.
#[must_use]
pub fn socket_ends_in(datagram: &[u8]) -> Vec<SocketEnd> {
    Messages(datagram)
        .filter_map(|(_, content)| Listed::decode(content))
        .map(|ended| SocketEnd { socket: ended.identity.cookie(), carried: ended.carried })
        .collect()
}

/// What the TCP sockets of this network namespace that are there now have carried, counted as in [`SocketEnd::carried`].
/// Takes as long as the kernel needs to list its sockets.
///
/// # Errors
/// When the kernel cannot list its sockets.
pub fn socket_traffic() -> io::Result<BTreeMap<SocketCookie, Traffic>> {
    let mut socket = DiagnosticSocket::open()?;
    let mut all = BTreeMap::new();
    for family in FAMILIES {
        let listed = socket.list(family, libc::IPPROTO_TCP, STATES_OF_OWNERS)?.into_iter();
        all.extend(listed.filter_map(|socket| Some((socket.identity.cookie(), socket.carried?))));
    }
    Ok(all)
}

/// The TCP and UDP sockets of this network namespace that are there now, but for those that were never bound nor connected. Takes as
/// long as the kernel needs to list its sockets.
///
/// # Errors
/// When the kernel cannot list its sockets.
pub fn living_sockets() -> io::Result<BTreeSet<SocketCookie>> {
    let mut socket = DiagnosticSocket::open()?;
    let mut all = BTreeSet::new();
    for protocol in [libc::IPPROTO_TCP, libc::IPPROTO_UDP] {
        for family in FAMILIES {
            let found = socket.list(family, protocol, STATES_OF_OWNERS)?;
            all.extend(found.iter().map(|socket| socket.identity.cookie()));
        }
    }
    Ok(all)
}
