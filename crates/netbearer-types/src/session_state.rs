use std::fmt;

use serde::{Deserialize, Serialize};

/// The connectivity state of a session; the numbers are Qt's (semantics §1, §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SessionState {
    /// The configuration is invalid or was removed.
    Invalid = 0,
    /// The configuration is defined, but cannot be opened now.
    NotAvailable = 1,
    /// The link is being brought up, by whomever.
    Connecting = 2,
    /// The link is up.
    Connected = 3,
    /// The link is being taken down.
    Closing = 4,
    /// The link is down and could be brought up.
    Disconnected = 5,
    /// An open session is moving from one access point to another.
    Roaming = 6,
}

impl SessionState {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Invalid,
        Self::NotAvailable,
        Self::Connecting,
        Self::Connected,
        Self::Closing,
        Self::Disconnected,
        Self::Roaming,
    ];
}

impl fmt::Display for SessionState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Invalid => "Invalid",
            Self::NotAvailable => "NotAvailable",
            Self::Connecting => "Connecting",
            Self::Connected => "Connected",
            Self::Closing => "Closing",
            Self::Disconnected => "Disconnected",
            Self::Roaming => "Roaming",
        })
    }
}
