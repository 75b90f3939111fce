use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use netbearer_types::Moment;
use serde::{Deserialize, Serialize};

use crate::SessionId;

/// The timers of one access point, by name. A timeout that fires tells its reason. The names are kept in files
/// ([`crate::SavedState`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

    pub(crate) fn armed(&self) -> impl Iterator<Item = Timer> {
        self.armed.keys().copied()
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

/// When something is due for which session. The earliest is known without a search.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    by_session: BTreeMap<SessionId, Moment>,
    by_time: BTreeSet<(Moment, SessionId)>,
}

impl Deadlines {
    /// A session has one deadline at most; a newer one is in force.
    pub(crate) fn insert(&mut self, session: SessionId, deadline: Moment) {
        self.remove(session);
        self.by_session.insert(session, deadline);
        self.by_time.insert((deadline, session));
    }

    pub(crate) fn remove(&mut self, session: SessionId) {
        if let Some(deadline) = self.by_session.remove(&session) {
            self.by_time.remove(&(deadline, session));
        }
    }

    pub(crate) fn get(&self, session: SessionId) -> Option<Moment> {
        self.by_session.get(&session).copied()
    }

    pub(crate) fn earliest(&self) -> Option<Moment> {
        self.by_time.first().map(|(deadline, _)| *deadline)
    }

    /// Takes those that are due, by number.
    pub(crate) fn take_due(&mut self, now: Moment) -> BTreeSet<SessionId> {
        let mut due = BTreeSet::new();
        while let Some((_, session)) = self.by_time.first().filter(|(deadline, _)| *deadline <= now).copied() {
            self.remove(session);
            due.insert(session);
        }
        due
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

    #[test]
    fn a_session_has_one_deadline_and_the_earliest_is_the_first() {
        let at = |seconds| Moment::ZERO + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::default();
        for (session, deadline) in [(1, 5), (2, 3), (3, 7), (1, 4), (2, 9)] {
            deadlines.insert(SessionId(session), at(deadline));
        }
        assert_eq!((deadlines.earliest(), deadlines.get(SessionId(2))), (Some(at(4)), Some(at(9))));
        deadlines.remove(SessionId(3));
        assert_eq!(deadlines.take_due(at(3)), BTreeSet::new());
        assert_eq!(deadlines.take_due(at(9)), [SessionId(1), SessionId(2)].into());
        assert_eq!((deadlines.earliest(), deadlines.get(SessionId(1))), (None, None));
    }
}
