use std::io;

use netbearer_types::{SocketCookie, Traffic};
use rtnetlink::sys::protocols::NETLINK_SOCK_DIAG;

use crate::{
    asking_socket::{ACKNOWLEDGE, AskingSocket, DONE, DUMP, ERROR, Messages, refusal},
    attributes::attributes,
};

/// `SOCK_DIAG_BY_FAMILY` and `SOCK_DESTROY` of `linux/sock_diag.h`.
const LIST: u16 = 20;
const DESTROY: u16 = 21;
/// `struct inet_diag_sockid` of `linux/inet_diag.h`: ports, addresses, interface and cookie of one socket.
const IDENTITY_LENGTH: usize = 48;
/// What stands before the identity in `struct inet_diag_msg`: family, state, timer, retransmissions.
const BEFORE_IDENTITY: usize = 4;
/// Where an identity has the local address, of 16 octets.
const LOCAL_ADDRESS: usize = 4;
/// Where it has the interface that the socket is bound to, of four octets; behind the peer's address.
const INTERFACE: usize = 36;
/// Where it has the cookie: the lower four octets first.
const COOKIE: usize = 40;
/// All states with a peer, as bits (`net/tcp_states.h`): not `TIME_WAIT`, `CLOSE` and `LISTEN`.
pub(crate) const STATES_WITH_PEER: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
/// All but `TIME_WAIT`, which is nobody's any more. A UDP socket without a peer is `CLOSE`.
pub(crate) const STATES_OF_OWNERS: u32 = STATES_WITH_PEER | 1 << 7 | 1 << 10;

/// `struct inet_diag_msg`: the identity, and behind it the time, both queues, the user and the inode.
const MESSAGE_LENGTH: usize = BEFORE_IDENTITY + IDENTITY_LENGTH + 5 * 4;
/// Where it has the user, of four octets.
const OWNER: usize = BEFORE_IDENTITY + IDENTITY_LENGTH + 3 * 4;
/// `INET_DIAG_INFO`, and the bit that asks for it.
const INFORMATION: u16 = 2;
const TCP_INFORMATION: u8 = 1 << (INFORMATION - 1);
/// Where `struct tcp_info` of `linux/tcp.h` has `tcpi_bytes_received`, `tcpi_bytes_sent`, and how many of these were sent again,
/// `tcpi_bytes_retrans`, each of eight octets.
const BYTES_RECEIVED: usize = 128;
const BYTES_SENT: usize = 200;
const BYTES_SENT_AGAIN: usize = 208;

/// The families of the sockets that there may be.
pub(crate) const FAMILIES: [u8; 2] = [libc::AF_INET as u8, libc::AF_INET6 as u8];

/// What a `struct inet_diag_msg` says of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) identity: SocketIdentity,
    /// The number of the user that it belongs to; not told at its end.
    pub(crate) owner: u32,
    /// None of UDP, and of what the kernel keeps of a socket that has ended.
    pub(crate) carried: Option<Traffic>,
}

impl Listed {
    pub(crate) fn decode(message: &[u8]) -> Option<Self> {
        let identity = message.get(BEFORE_IDENTITY..)?.first_chunk().copied().map(SocketIdentity)?;
        let owner = message.get(OWNER..)?.first_chunk().copied().map(u32::from_ne_bytes)?;
        let attributes = attributes(message.get(MESSAGE_LENGTH..).unwrap_or_default(), |attribute| {
            let number = |from: usize| {
                attribute.value().get(from..).and_then(<[u8]>::first_chunk).copied().map(u64::from_ne_bytes)
            };
            let is_information = attribute.kind() == INFORMATION;
            let traffic = || {
                let [received, sent, again] = [BYTES_RECEIVED, BYTES_SENT, BYTES_SENT_AGAIN].map(number);
                Some(Traffic { received: received?, written: sent?.saturating_sub(again?) })
            };
            Ok(is_information.then(traffic).flatten())
        });
        let carried = attributes.flatten().next();
        Some(Self { identity, owner, carried })
    }
}

/// What the kernel finds a socket by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketIdentity([u8; IDENTITY_LENGTH]);

impl SocketIdentity {
    /// Any socket.
    const ANY: Self = Self([0; IDENTITY_LENGTH]);

    /// True for one that is bound to these octets of an address.
    pub(crate) fn has_local_address(&self, address: &[u8]) -> bool {
        self.0.get(LOCAL_ADDRESS..LOCAL_ADDRESS + address.len()) == Some(address)
    }

    /// The interface that it is bound to; 0 for none.
    pub(crate) fn interface(&self) -> u32 {
        u32::from_ne_bytes(self.four(INTERFACE))
    }

    pub(crate) fn cookie(&self) -> SocketCookie {
        let (lower, upper) = (u32::from_ne_bytes(self.four(COOKIE)), u32::from_ne_bytes(self.four(COOKIE + 4)));
        SocketCookie(u64::from(upper) << 32 | u64::from(lower))
    }

    fn four(&self, from: usize) -> [u8; 4] {
        self.0.get(from..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default()
    }
}

/// Lists and destroys sockets, in the network namespace of the thread that opens it.
pub(crate) struct DiagnosticSocket(AskingSocket);

impl DiagnosticSocket {
    pub(crate) fn open() -> io::Result<Self> {
        AskingSocket::open(NETLINK_SOCK_DIAG).map(Self)
    }

    /// The sockets of this family and protocol (`IPPROTO_TCP`, `IPPROTO_UDP`) that are in one of these states.
    pub(crate) fn list(&mut self, family: u8, protocol: i32, states: u32) -> io::Result<Vec<Listed>> {
        self.send(LIST, DUMP, family, protocol, states, &SocketIdentity::ANY)?;
        let mut all = Vec::new();
        loop {
            let part = self.0.receive()?;
            for (kind, content) in Messages(part) {
                match kind {
                    DONE => return Ok(all),
                    ERROR => refusal(content)?,
                    LIST => all.extend(Listed::decode(content)),
                    _ => {}
                }
            }
        }
    }

    /// False if the socket is gone.
    pub(crate) fn destroy(&mut self, family: u8, protocol: i32, identity: &SocketIdentity) -> io::Result<bool> {
        self.send(DESTROY, ACKNOWLEDGE, family, protocol, STATES_OF_OWNERS, identity)?;
        let answer = self.0.receive()?;
        let refused = Messages(answer).filter(|(kind, _)| *kind == ERROR).try_for_each(|(_, content)| refusal(content));
        match refused {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a `struct inet_diag_req_v2`, which asks for what TCP sockets have carried, too.
    fn send(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        protocol: i32,
        states: u32,
        identity: &SocketIdentity,
    ) -> io::Result<()> {
        let mut content = vec![family, protocol as u8, TCP_INFORMATION, 0];
        content.extend(states.to_ne_bytes());
        content.extend(identity.0);
        self.0.send(kind, flags, &content)
    }
}
