use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Traffic;

/// Names a socket for as long as the machine runs; the kernel gives none twice (`SO_COOKIE`, `socket(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SocketCookie(pub u64);

/// A socket has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketEnd {
    /// Which one.
    pub socket: SocketCookie,
    /// The octets of payload it has carried, those sent again counted once; none for UDP, of which the kernel keeps no count. The kernel
    /// counts the end of what the other side sends as an octet, too, if it comes before the own end (`tcp_fin` of
    /// `net/ipv4/tcp_input.c`).
    pub carried: Option<Traffic>,
}

impl fmt::Display for SocketCookie {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}
