//! Calls of many callers on one connection, taken in turn: who calls more waits longer, and nobody else does.

use std::collections::{BTreeMap, VecDeque};

/// Calls of one caller that wait. A bus that is policed as system buses are lets nobody wait for more answers at a time
/// (`dbus-daemon(1)`, `max_replies_per_connection`).
const CALLS: usize = 128;
/// The same in octets; one call alone may be longer.
const OCTETS: usize = 256 * 1024;

/// What waits of each caller `K`, in the order of its calls `C`.
#[derive(Debug)]
pub(crate) struct Turns<K, C> {
    waiting: BTreeMap<K, Waiting<C>>,
    /// Those of whom something waits, whose turn it is first.
    order: VecDeque<K>,
}

#[derive(Debug)]
struct Waiting<C> {
    calls: VecDeque<(C, usize)>,
    octets: usize,
}

impl<K, C> Default for Turns<K, C> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<K: Ord + Clone, C> Turns<K, C> {
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Adds a call of so many octets behind the caller's others.
    ///
    /// # Errors
    /// With the call, if too much of this caller's waits already.
    pub(crate) fn add(&mut self, caller: &K, call: C, octets: usize) -> Result<(), C> {
        if !self.waiting.contains_key(caller) {
            self.order.push_back(caller.clone());
        }
        let nothing = || Waiting { calls: VecDeque::new(), octets: 0 };
        let waiting = self.waiting.entry(caller.clone()).or_insert_with(nothing);
        if waiting.calls.len() >= CALLS || waiting.octets >= OCTETS {
            return Err(call);
        }
        waiting.octets += octets;
        waiting.calls.push_back((call, octets));
        Ok(())
    }

    /// The next call of whose turn it is, who then comes after all others.
    pub(crate) fn next(&mut self) -> Option<C> {
        let caller = self.order.pop_front()?;
        let waiting = self.waiting.get_mut(&caller)?;
        let (call, octets) = waiting.calls.pop_front()?;
        waiting.octets -= octets;
        if waiting.calls.is_empty() {
            self.waiting.remove(&caller);
        } else {
            self.order.push_back(caller);
        }
        Some(call)
    }

    /// The caller has gone, and what it has asked for is not wanted any more.
    pub(crate) fn forget(&mut self, caller: &K) {
        if self.waiting.remove(caller).is_some() {
            self.order.retain(|waiting| waiting != caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(turns: &mut Turns<&'static str, u32>) -> Vec<u32> {
        std::iter::from_fn(|| turns.next()).collect()
    }

    #[test]
    fn whoever_calls_once_waits_for_one_call_of_each_other_and_each_ones_calls_stay_in_order() {
        let mut turns = Turns::default();
        for call in 0..100 {
            turns.add(&"flood", call, 100).unwrap();
        }
        turns.add(&"one", 200, 100).unwrap();
        assert_eq!((turns.next(), turns.next()), (Some(0), Some(200)));
        // Whoever calls again comes after all who wait.
        turns.add(&"one", 201, 100).unwrap();
        turns.add(&"two", 300, 100).unwrap();
        assert_eq!([(); 3].map(|()| turns.next().unwrap()), [1, 201, 300]);
        assert_eq!(all(&mut turns), (2..100).collect::<Vec<_>>());
        assert!(turns.is_empty());
    }

    #[test]
    fn so_much_of_one_caller_waits_and_others_do_not_notice() {
        let mut turns = Turns::default();
        for call in 0..128 {
            turns.add(&"many", call, 1).unwrap();
        }
        assert_eq!(turns.add(&"many", 128, 1), Err(128));
        // However long one call is, it is taken.
        turns.add(&"long", 200, 1024 * 1024).unwrap();
        assert_eq!(turns.add(&"long", 201, 1), Err(201));
        turns.add(&"other", 300, 1).unwrap();
        turns.forget(&"many");
        assert_eq!(all(&mut turns), [200, 300]);
        turns.add(&"long", 202, 1).unwrap();
        assert_eq!(all(&mut turns), [202]);
    }
}
