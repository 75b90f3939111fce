use std::fmt;

use crate::Lease;

/// What happened to the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// There was no lease, and now there is one.
    Acquired(Lease),
    /// The lease was prolonged.
    Renewed {
        /// The lease as it is now.
        lease: Lease,
        /// Whether anything besides its times differs from before: routers, name servers, the prefix length …
        changed: bool,
    },
    /// The address must not be used any more. The client already asks for another.
    Lost(LossReason),
}

/// Why a lease ended before it was released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// Nobody prolonged it in time.
    Expired,
    /// A server refused to prolong it, with its reason (option 56, cleaned of control characters; may be empty).
    RefusedByServer(String),
}

impl fmt::Display for LossReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => formatter.write_str("the lease expired"),
            Self::RefusedByServer(text) if text.is_empty() => formatter.write_str("the server refused to prolong it"),
            Self::RefusedByServer(text) => write!(formatter, "the server refused to prolong it: {text}"),
        }
    }
}
