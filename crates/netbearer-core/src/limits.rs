use std::collections::BTreeMap;

use crate::{Refusal, UserId};

/// How much one user may have (semantics §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions that hold.
    pub sessions: u32,
    /// Session objects that only watch.
    pub watchers: u32,
    /// Descriptors that hold and were asked for to be passed on, of all sessions together.
    pub descriptors: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sessions: 256, watchers: 1024, descriptors: 1024 }
    }
}

/// Who has how much.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    limits: Limits,
    users: BTreeMap<UserId, Count>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    holding: u32,
    watching: u32,
    passed_on: u32,
}

impl Count {
    const fn is_nothing(self) -> bool {
        self.holding == 0 && self.watching == 0 && self.passed_on == 0
    }
}

impl Usage {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, users: BTreeMap::new() }
    }

    pub(crate) const fn session_limit(&self) -> u32 {
        self.limits.sessions
    }

    pub(crate) fn may_hold(&self, user: UserId) -> bool {
        self.count(user).holding < self.limits.sessions
    }

    /// A new session object, which watches.
    pub(crate) fn add_watcher(&mut self, user: UserId) -> Result<(), Refusal> {
        if self.count(user).watching >= self.limits.watchers {
            return Err(Refusal::TooManyWatchers(self.limits.watchers));
        }
        self.users.entry(user).or_default().watching += 1;
        Ok(())
    }

    pub(crate) fn remove_watcher(&mut self, user: UserId) {
        self.take(user, |count| count.watching = count.watching.saturating_sub(1));
    }

    /// A further descriptor that is to be passed on.
    pub(crate) fn add_descriptor(&mut self, user: UserId) -> Result<(), Refusal> {
        if self.count(user).passed_on >= self.limits.descriptors {
            return Err(Refusal::TooManyDescriptors(self.limits.descriptors));
        }
        self.users.entry(user).or_default().passed_on += 1;
        Ok(())
    }

    pub(crate) fn remove_descriptors(&mut self, user: UserId, number: usize) {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.take(user, |count| count.passed_on = count.passed_on.saturating_sub(number));
    }

    /// Those that were there before the service was started anew.
    pub(crate) fn restore_descriptors(&mut self, user: UserId, number: usize) {
        let count = self.users.entry(user).or_default();
        count.passed_on = count.passed_on.saturating_add(u32::try_from(number).unwrap_or(u32::MAX));
    }

    /// Who has nothing any more is forgotten.
    fn take(&mut self, user: UserId, take: impl FnOnce(&mut Count)) {
        if let Some(count) = self.users.get_mut(&user) {
            take(count);
            if count.is_nothing() {
                self.users.remove(&user);
            }
        }
    }

    /// A new session object that holds. It takes over from another one, so no limit stops it.
    pub(crate) fn add_holder(&mut self, user: UserId) {
        self.users.entry(user).or_default().holding += 1;
    }

    /// One that was there before the service was started anew.
    pub(crate) fn restore_watcher(&mut self, user: UserId) {
        self.users.entry(user).or_default().watching += 1;
    }

    pub(crate) fn watcher_holds(&mut self, user: UserId) {
        let count = self.users.entry(user).or_default();
        count.watching = count.watching.saturating_sub(1);
        count.holding += 1;
    }

    pub(crate) fn holder_watches(&mut self, user: UserId) {
        let count = self.users.entry(user).or_default();
        count.holding = count.holding.saturating_sub(1);
        count.watching += 1;
    }

    fn count(&self, user: UserId) -> Count {
        self.users.get(&user).copied().unwrap_or_default()
    }
}
