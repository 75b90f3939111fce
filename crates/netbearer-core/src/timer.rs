use std::{collections::BTreeMap, time::Duration};

use netbearer_types::Moment;

/// The timers of one access point, by name. A timeout that fires tells its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The first enumeration takes too long for an open that waits for it.
    Enumeration,
    /// A link that was set up has no carrier.
    Carrier,
    /// Bringing the link up takes too long altogether.
    Connect,
    /// A lost lease was not regained.
    Regain,
    /// Lingering ends.
    Linger,
    /// A failed start may be tried again.
    Retry,
    /// An engine takes too long for a removal.
    Removal,
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    armed: BTreeMap<Timer, Moment>,
}

impl Timers {
    pub(crate) fn arm(&mut self, timer: Timer, deadline: Moment) {
        self.armed.insert(timer, deadline);
    }

    pub(crate) fn disarm(&mut self, timer: Timer) {
        self.armed.remove(&timer);
    }

    pub(crate) fn disarm_all(&mut self) {
        self.armed.clear();
    }

    /// An armed timer that was to take `before` shall take `after`.
    pub(crate) fn shift(&mut self, timer: Timer, before: Duration, after: Duration) {
        if let Some(deadline) = self.armed.get_mut(&timer) {
            *deadline = Moment::ZERO + (*deadline - Moment::ZERO).saturating_sub(before) + after;
        }
    }

    pub(crate) fn is_armed(&self, timer: Timer) -> bool {
        self.armed.contains_key(&timer)
    }

    pub(crate) fn earliest(&self) -> Option<Moment> {
        self.armed.values().copied().min()
    }

    /// Takes one timer that is due, the earliest first.
    pub(crate) fn take_due(&mut self, now: Moment) -> Option<Timer> {
        let (&timer, _) =
            self.armed.iter().filter(|(_, deadline)| **deadline <= now).min_by_key(|(_, deadline)| **deadline)?;
        self.armed.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn due_timers_come_in_the_order_of_their_deadlines() {
        let at = |seconds| Moment::ZERO + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        timers.arm(Timer::Connect, at(2));
        timers.arm(Timer::Carrier, at(3));
        timers.arm(Timer::Linger, at(9));
        assert_eq!(timers.earliest(), Some(at(2)));
        assert_eq!(timers.take_due(at(1)), None);
        assert_eq!(timers.take_due(at(3)), Some(Timer::Connect));
        assert_eq!(timers.take_due(at(3)), Some(Timer::Carrier));
        assert_eq!(timers.take_due(at(3)), None);
        assert!(timers.is_armed(Timer::Linger));
    }
}
