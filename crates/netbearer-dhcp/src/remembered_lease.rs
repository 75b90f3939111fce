use std::{
    net::Ipv4Addr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use netbearer_types::Moment;
use serde::{Deserialize, Serialize};

use crate::Lease;

/// What is worth keeping of a lease in a file, to ask for the same address after a restart or reboot (RFC 2131 §3.2).
///
/// Its end is told by the wall clock, because moments mean nothing after a reboot. The wall clock may be wrong; as the
/// server is always asked before the address is used, that costs a round trip at worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedLease {
    /// The address that was leased.
    pub address: Ipv4Addr,
    /// The end of the lease in seconds since 1970 (Unix time); none if it has no end.
    pub expires_at: Option<u64>,
}

impl RememberedLease {
    /// What to keep of `lease`; `now` and `wall_clock` are the same instant on both clocks.
    #[must_use]
    pub fn new(lease: &Lease, now: Moment, wall_clock: SystemTime) -> Self {
        let expires_at = lease
            .term
            .expires_at()
            .map(|expires_at| (since_1970(wall_clock) + expires_at.saturating_since(now)).as_secs());
        Self { address: lease.address, expires_at }
    }

    /// True if the lease has not ended by this wall clock.
    #[must_use]
    pub fn is_valid(&self, wall_clock: SystemTime) -> bool {
        self.expires_at.is_none_or(|expires_at| since_1970(wall_clock).as_secs() < expires_at)
    }
}

fn since_1970(wall_clock: SystemTime) -> Duration {
    wall_clock.duration_since(UNIX_EPOCH).unwrap_or_default()
}
