use std::fmt;

use serde::{Deserialize, Serialize};

/// Names a socket for as long as the machine runs; the kernel gives none twice (`SO_COOKIE`, `socket(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SocketCookie(pub u64);

impl fmt::Display for SocketCookie {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}
