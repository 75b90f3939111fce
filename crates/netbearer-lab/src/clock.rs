use netbearer_types::Moment;
use rustix::time::{ClockId, clock_gettime};

/// The moment now, by `CLOCK_BOOTTIME`, the clock NetBearer stamps its events with.
#[must_use]
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    Moment::from_nanoseconds(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
}
