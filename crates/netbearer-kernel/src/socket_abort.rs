use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
};

use rtnetlink::sys::protocols::NETLINK_SOCK_DIAG;

use crate::asking_socket::{ACKNOWLEDGE, AskingSocket, DONE, DUMP, ERROR, Messages, refusal};

/// `SOCK_DIAG_BY_FAMILY` and `SOCK_DESTROY` of `linux/sock_diag.h`.
const LIST: u16 = 20;
const DESTROY: u16 = 21;
/// `struct inet_diag_sockid` of `linux/inet_diag.h`: ports, addresses, interface and cookie of one socket.
const IDENTITY_LENGTH: usize = 48;
/// Where an identity has the local address, of 16 octets.
const LOCAL_ADDRESS: usize = 4;
/// Where it has the interface that the socket is bound to, of four octets; behind the peer's address.
const INTERFACE: usize = 36;
/// What stands before the identity in `struct inet_diag_msg`: family, state, timer, retransmissions.
const BEFORE_IDENTITY: usize = 4;
/// All states with a peer, as bits (`net/tcp_states.h`): not `TIME_WAIT`, `CLOSE` and `LISTEN`.
const STATES_WITH_PEER: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;

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
    let is_bound = |identity: &SocketIdentity| {
        identity.get(INTERFACE..).and_then(<[u8]>::first_chunk) == Some(&interface.to_ne_bytes())
    };
    abort(Ipv4Addr::UNSPECIFIED, is_bound, || true)
}

fn abort(
    address: Ipv4Addr,
    is_meant: impl Fn(&SocketIdentity) -> bool,
    may_go_on: impl Fn() -> bool,
) -> io::Result<usize> {
    let mut socket = DiagnosticSocket::open()?;
    let mut aborted = 0;
    for family in [libc::AF_INET, libc::AF_INET6].map(|family| family as u8) {
        let wanted = local_address(family, address);
        for identity in socket.list(family)? {
            let has_address = identity.get(LOCAL_ADDRESS..LOCAL_ADDRESS + wanted.len()) == Some(wanted.as_slice());
            if has_address && is_meant(&identity) {
                if !may_go_on() {
                    return Ok(aborted);
                }
                aborted += usize::from(socket.destroy(family, &identity)?);
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

type SocketIdentity = [u8; IDENTITY_LENGTH];

/// In the network namespace of the thread that opens it.
struct DiagnosticSocket(AskingSocket);

impl DiagnosticSocket {
    fn open() -> io::Result<Self> {
        AskingSocket::open(NETLINK_SOCK_DIAG).map(Self)
    }

    fn list(&mut self, family: u8) -> io::Result<Vec<SocketIdentity>> {
        self.send(LIST, DUMP, family, &[0; IDENTITY_LENGTH])?;
        let mut identities = Vec::new();
        loop {
            let part = self.0.receive()?;
            for (kind, content) in Messages(part) {
                match kind {
                    DONE => return Ok(identities),
                    ERROR => refusal(content)?,
                    LIST => identities.extend(content.get(BEFORE_IDENTITY..).and_then(|rest| rest.first_chunk())),
                    _ => {}
                }
            }
        }
    }

    /// False if the socket is gone.
    fn destroy(&mut self, family: u8, identity: &SocketIdentity) -> io::Result<bool> {
        self.send(DESTROY, ACKNOWLEDGE, family, identity)?;
        let answer = self.0.receive()?;
        let refused = Messages(answer).filter(|(kind, _)| *kind == ERROR).try_for_each(|(_, content)| refusal(content));
        match refused {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a `struct inet_diag_req_v2`.
    fn send(&mut self, kind: u16, flags: u16, family: u8, identity: &SocketIdentity) -> io::Result<()> {
        let mut content = vec![family, libc::IPPROTO_TCP as u8, 0, 0];
        content.extend(STATES_WITH_PEER.to_ne_bytes());
        content.extend(identity);
        self.0.send(kind, flags, &content)
    }
}
