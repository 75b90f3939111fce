use std::time::Duration;

use netbearer_types::Moment;

/// One look at both clocks, the suspend-blind one before and after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) running_before: Moment,
    pub(crate) boot: Moment,
    pub(crate) running_after: Moment,
}

/// Tells how long the machine was suspended: only then does `CLOCK_BOOTTIME` get ahead of `CLOCK_MONOTONIC`
/// (`clock_gettime(2)`). Pure.
#[derive(Debug)]
pub(crate) struct SuspendMeter {
    /// What the distance between the clocks is known to be at most.
    most: Duration,
}

impl SuspendMeter {
    pub(crate) fn new(reading: Reading) -> Self {
        Self { most: reading.boot - reading.running_before }
    }

    /// How long the machine was suspended since the last reading, none if it was not. However long it took to read the
    /// clocks, that is never taken for a suspend.
    pub(crate) fn suspended(&mut self, reading: Reading) -> Option<Duration> {
        let least = reading.boot - reading.running_after;
        let most = reading.boot - reading.running_before;
        let suspended = least.checked_sub(self.most).filter(|ahead| !ahead.is_zero());
        self.most = if suspended.is_some() { most } else { most.min(self.most) };
        suspended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(running_before: u64, boot: u64, running_after: u64) -> Reading {
        let moment = |milliseconds| Moment::from_nanoseconds(milliseconds * 1_000_000);
        Reading { running_before: moment(running_before), boot: moment(boot), running_after: moment(running_after) }
    }

    #[test]
    fn only_a_suspend_makes_the_clocks_differ_more() {
        let mut meter = SuspendMeter::new(reading(1_000, 1_500, 1_000));
        assert_eq!(meter.suspended(reading(2_000, 2_500, 2_000)), None);
        // The task was held up while it read the clocks, here and there.
        assert_eq!(meter.suspended(reading(3_000, 3_570, 3_070)), None);
        assert_eq!(meter.suspended(reading(4_000, 4_500, 4_090)), None);
        assert_eq!(meter.suspended(reading(5_000, 8_500, 5_000)), Some(Duration::from_secs(3)));
        assert_eq!(meter.suspended(reading(6_000, 9_500, 6_000)), None, "told once");
        assert_eq!(meter.suspended(reading(7_000, 10_501, 7_000)), Some(Duration::from_millis(1)));
    }

    #[test]
    fn a_first_reading_that_was_held_up_is_made_good_by_a_later_one() {
        let mut meter = SuspendMeter::new(reading(1_000, 1_600, 1_100));
        assert_eq!(meter.suspended(reading(2_000, 2_500, 2_000)), None);
        assert_eq!(meter.suspended(reading(3_000, 3_550, 3_000)), Some(Duration::from_millis(50)));
    }
}
