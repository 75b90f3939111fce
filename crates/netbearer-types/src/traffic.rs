use std::iter::Sum;

use serde::{Deserialize, Serialize};

/// What interfaces have carried, in octets of whole frames, as their drivers count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Traffic {
    /// Octets that came in.
    pub received: u64,
    /// Octets that went out.
    pub written: u64,
}

impl Traffic {
    /// What has been carried since the counters stood at `start`. Some drivers begin anew when they are started again; then
    /// all there is has come since.
    #[must_use]
    pub fn since(self, start: Self) -> Self {
        let since = |now: u64, start| now.checked_sub(start).unwrap_or(now);
        Self { received: since(self.received, start.received), written: since(self.written, start.written) }
    }
}

impl Sum for Traffic {
    fn sum<I: Iterator<Item = Self>>(each: I) -> Self {
        each.fold(Self::default(), |sum, one| Self {
            received: sum.received.saturating_add(one.received),
            written: sum.written.saturating_add(one.written),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn traffic(received: u64, written: u64) -> Traffic {
        Traffic { received, written }
    }

    #[test]
    fn what_came_since_a_start_never_wraps() {
        assert_eq!(traffic(u64::MAX, 7).since(traffic(1 << 40, 7)), traffic(u64::MAX - (1 << 40), 0));
        assert_eq!(traffic(5, 9).since(traffic(100, 4)), traffic(5, 5), "a counter that began anew");
    }

    #[test]
    fn a_sum_is_of_both_directions() {
        assert_eq!([traffic(1, 2), traffic(30, 40)].into_iter().sum::<Traffic>(), traffic(31, 42));
        assert_eq!([].into_iter().sum::<Traffic>(), Traffic::default());
    }
}
