//! The time: `CLOCK_BOOTTIME`, suspend included, on one timer for all sleepers.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod boot_clock;
mod suspend_meter;

pub use boot_clock::{BootClock, InjectedSuspends, Resumptions, boot_time};
