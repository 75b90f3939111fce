use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, UdpSocket},
};

use netbearer_types::{SocketCookie, SocketEnd};

use crate::diagnostic_socket::{
    DiagnosticSocket, FAMILIES, Listed, STATES_OF_OWNERS, STATES_WITH_PEER, SocketIdentity,
};

/// Aborts the TCP sockets of this network namespace that have this local address and a peer, whoever they belong to: the
/// calls that wait in them return `ECONNABORTED` at once, instead of after a quarter of an hour of repetitions
/// (`sock_diag(7)`, `SOCK_DESTROY`). As long as an interface has the address, nothing is done, and nothing more once one has it again. Listening sockets
/// stay.
///
/// The number of sockets that were aborted. Takes as long as the kernel needs to list its sockets. Needs `CAP_NET_ADMIN`.
///
/// # Errors
/// When the kernel cannot list or abort sockets (`CONFIG_INET_DIAG_DESTROY`), or the privilege is missing.
pub fn abort_tcp_sockets(address: Ipv4Addr) -> io::Result<usize> {
    if is_local(address) {
        return Ok(0);
    }
    // It may come back meanwhile; then the rest lives on.
    abort(address, |_| true, || !is_local(address))
}

/// The same for sockets that are bound to this interface and began to connect by IPv4 while it had no address: the kernel
/// takes no answer to be theirs, whatever address comes later, so they would wait for two minutes.
///
/// # Errors
/// As [`abort_tcp_sockets`].
pub fn abort_tcp_sockets_without_address(interface: u32) -> io::Result<usize> {
    abort(Ipv4Addr::UNSPECIFIED, |identity| identity.interface() == interface, || true)
}

/// Aborts these sockets, TCP and UDP, whatever they are bound to, and no others: a cookie is never another socket's, and the
/// kernel compares it again. What waits in them returns `ECONNABORTED`. Sockets that are gone, were never connected nor bound
/// to a port, or belong to another user than `owner` (by its number; none for anybody's), are passed over.
///
/// The sockets that were aborted, with what they have carried: the kernel tells no more of them before their programs close them.
/// Takes as long as the kernel needs to list its sockets. Needs `CAP_NET_ADMIN`.
///
/// # Errors
/// As [`abort_tcp_sockets`].
pub fn abort_sockets(cookies: &BTreeSet<SocketCookie>, owner: Option<u32>) -> io::Result<Vec<SocketEnd>> {
    let mut socket = DiagnosticSocket::open()?;
    let (mut aborted, mut refused) = (Vec::new(), None);
    // TCP first: there somebody waits.
    for protocol in [libc::IPPROTO_TCP, libc::IPPROTO_UDP] {
        for family in FAMILIES {
            if aborted.len() == cookies.len() {
                return Ok(aborted);
            }
            for listed in socket.list(family, protocol, STATES_OF_OWNERS)? {
                let cookie = listed.identity.cookie();
                let is_meant = cookies.contains(&cookie) && owner.is_none_or(|owner| owner == listed.owner);
                if !is_meant {
                    continue;
                }
                match socket.destroy(family, protocol, &listed.identity) {
                    Ok(true) => aborted.push(SocketEnd { socket: cookie, carried: listed.carried }),
                    Ok(false) => {}
                    // One that has just changed its state, perhaps; the others are to end all the same.
                    Err(error) => refused = Some(error),
                }
            }
        }
    }
    match refused {
        Some(error) if aborted.is_empty() => Err(error),
        _ => Ok(aborted),
    }
}

fn abort(
    address: Ipv4Addr,
    is_meant: impl Fn(&SocketIdentity) -> bool,
    may_go_on: impl Fn() -> bool,
) -> io::Result<usize> {
    let mut socket = DiagnosticSocket::open()?;
    let mut aborted = 0;
    for family in FAMILIES {
        let wanted = local_address(family, address);
        for Listed { identity, .. } in socket.list(family, libc::IPPROTO_TCP, STATES_WITH_PEER)? {
            if identity.has_local_address(&wanted) && is_meant(&identity) {
                if !may_go_on() {
                    return Ok(aborted);
                }
                aborted += usize::from(socket.destroy(family, libc::IPPROTO_TCP, &identity)?);
            }
        }
    }
    Ok(aborted)
}

/// The kernel's own word; it says yes to everything with `net.ipv4.ip_nonlocal_bind`, and then nothing is aborted.
fn is_local(address: Ipv4Addr) -> bool {
    !UdpSocket::bind((address, 0)).is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

/// The octets of the address in an identity: a socket for IPv6 that speaks IPv4 has it mapped (RFC 4291 §2.5.5.2).
fn local_address(family: u8, address: Ipv4Addr) -> Vec<u8> {
    if i32::from(family) == libc::AF_INET {
        address.octets().to_vec()
    } else {
        address.to_ipv6_mapped().octets().to_vec()
    }
}
