use std::collections::BTreeMap;

use crate::{Refusal, UserId};

/// How much one user may have (semantics §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions that hold.
    pub sessions: u32,
    /// Session objects that only watch.
    pub watchers: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sessions: 256, watchers: 1024 }
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
        if let Some(count) = self.users.get_mut(&user) {
            count.watching = count.watching.saturating_sub(1);
            if count.watching == 0 && count.holding == 0 {
                self.users.remove(&user);
            }
        }
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
