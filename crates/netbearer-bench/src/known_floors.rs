//! The floors as they were measured on a quiet machine of the kind the targets were set for (Linux 6.18, two cores,
//! dnsmasq 2.90). A floor far above them says that the machine is busy, and a ratio to it says nothing.

use std::time::Duration;

/// Link up → carrier → address → route: 0.31 ms, and four DHCP messages: 0.64 ms.
pub(crate) const COLD_OPEN: Duration = Duration::from_micros(310 + 640);

/// Carrier loss on an ordinary virtual cable, until a netlink listener hears of it: 0.1 to 0.3 ms.
pub(crate) const CARRIER_LOSS: Duration = Duration::from_micros(300);

/// How many times the known one a floor may be for its run to count.
pub(crate) const TOLERANCE: f64 = 1.5;
