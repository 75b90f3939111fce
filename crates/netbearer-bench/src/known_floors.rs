//! The floors as this benchmark measures them on a machine of the kind the targets were set for (Linux 6.18, two cores,
//! dnsmasq 2.90): the median of seven runs of `open --rounds 100 --figure NAME`, optimised, each the median of its rounds,
//! ours and the floor's taking turns. The machine had other work, a load of one to three, so a quiet one does better: the
//! best of the seven were 0.48, 0.42, 0.43 and 0.11 ms. A floor far above them says that the machine is busy, and a ratio
//! to it says nothing.

use std::time::Duration;

/// Link up → carrier → four DHCP messages → address → routes → rules.
pub(crate) const COLD_OPEN: Duration = Duration::from_micros(601);

/// The same with two messages: rapid commit.
pub(crate) const COLD_OPEN_RAPID_COMMIT: Duration = Duration::from_micros(494);

/// The same with two messages: the address of the lease before.
pub(crate) const COLD_OPEN_REMEMBERED_LEASE: Duration = Duration::from_micros(523);

/// Carrier loss on an ordinary virtual cable, until a netlink listener hears of it.
pub(crate) const CARRIER_LOSS: Duration = Duration::from_micros(128);

/// A call of another process over zbus without a bus, and its reply: the median of sixteen runs of `daemon`, alone on the
/// machine; they were between 0.07 and 0.21 ms.
pub(crate) const ECHO: Duration = Duration::from_micros(152);

/// How many times the known one a floor may be for its run to count.
pub(crate) const TOLERANCE: f64 = 1.5;
