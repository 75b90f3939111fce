use std::time::Duration;

use netbearer_types::Moment;

/// Lifetimes of addresses and routes that are for ever (RFC 4861 §4.6.2).
const FOR_EVER: u32 = u32::MAX;
/// The kernel counts addresses' lifetimes down in whole seconds, and each side rounds.
const TOLERANCE: Duration = Duration::from_secs(2);

/// When something ends that lasts so many seconds from now; none if it never does.
pub(crate) fn end(now: Moment, seconds: u32) -> Option<Moment> {
    (seconds != FOR_EVER).then(|| now + Duration::from_secs(seconds.into()))
}

/// True if an end was put off or brought forward, and not only told a little differently.
pub(crate) fn has_moved(former: Option<Moment>, end: Option<Moment>) -> bool {
    match (former, end) {
        (Some(former), Some(end)) => former.max(end) - former.min(end) > TOLERANCE,
        _ => former != end,
    }
}
