use std::time::Duration;

use netbearer_types::Moment;

use crate::random::Random;

/// The delays before repetitions of DISCOVER and of REQUEST without a lease double from the first to the last.
/// The first one is short: a port that has just come up often drops what comes first.
const FIRST_DELAY: Duration = Duration::from_micros(62_500);
const LAST_DELAY: Duration = Duration::from_secs(16);

/// The floors between repetitions of REQUEST with a lease.
const SHORTEST_FLOOR: Duration = Duration::from_secs(1);
const LONGEST_FLOOR: Duration = Duration::from_secs(60);

/// A question put to servers, and put again until it is answered or given up. One for each state that waits for an
/// answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub(crate) transaction_identifier: u32,
    pub(crate) seconds: u16,
    pub(crate) tries: u32,
    pub(crate) sent_at: Moment,
    pub(crate) next_try_at: Moment,
}

impl Exchange {
    /// Nothing is sent yet.
    pub(crate) const fn new(transaction_identifier: u32, now: Moment) -> Self {
        Self { transaction_identifier, seconds: 0, tries: 0, sent_at: now, next_try_at: now }
    }

    /// `xid`: the number that replies must carry.
    #[must_use]
    pub const fn transaction_identifier(&self) -> u32 {
        self.transaction_identifier
    }

    /// How often the question was put so far.
    #[must_use]
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// When it was put last.
    #[must_use]
    pub const fn sent_at(&self) -> Moment {
        self.sent_at
    }

    /// When it is put again or given up, unless the lease's times come first.
    #[must_use]
    pub const fn next_try_at(&self) -> Moment {
        self.next_try_at
    }

    /// The question is put now, and again after `delay`.
    pub(crate) fn sent(&mut self, now: Moment, delay: Duration) {
        self.tries = self.tries.saturating_add(1);
        self.sent_at = now;
        self.next_try_at = now + delay;
    }
}

/// How long to wait for an answer without a lease, after `repetitions` repetitions that had none.
pub(crate) fn delay_without_lease(repetitions: u32, random: &mut Random) -> Duration {
    let doubled = 2_u32.checked_pow(repetitions).and_then(|factor| FIRST_DELAY.checked_mul(factor));
    random.spread(doubled.map_or(LAST_DELAY, |delay| delay.min(LAST_DELAY)))
}

/// How long to wait for an answer with a lease: half of what `remains` until rebinding or expiry, but not less than 60 s
/// (RFC 2131 §4.4.5), or 1/16 of a lease shorter than 16 minutes, or 1 s.
pub(crate) fn delay_with_lease(remains: Duration, whole_lease: Duration) -> Duration {
    (remains / 2).max((whole_lease / 16).clamp(SHORTEST_FLOOR, LONGEST_FLOOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_without_a_lease_double_to_sixteen_seconds() {
        let mut random = Random::new(7);
        for (repetitions, expected) in
            [(0, 0.0625), (1, 0.125), (2, 0.25), (7, 8.0), (8, 16.0), (9, 16.0), (u32::MAX, 16.0)]
        {
            let delay = delay_without_lease(repetitions, &mut random).as_secs_f64() / expected;
            assert!((0.75..1.25).contains(&delay), "{repetitions}: {delay} × {expected}");
        }
    }

    #[test]
    fn delays_with_a_lease_are_half_of_what_remains_but_not_too_short() {
        for (remains, whole, expected) in
            [(1_000, 4_000, 500), (100, 4_000, 60), (30, 120, 15), (4, 160, 10), (2, 8, 1), (1, 2, 1)]
        {
            let delay = delay_with_lease(Duration::from_secs(remains), Duration::from_secs(whole));
            assert_eq!(delay, Duration::from_secs(expected), "{remains} of {whole}");
        }
    }
}
