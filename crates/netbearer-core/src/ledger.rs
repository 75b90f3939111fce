use std::collections::{BTreeMap, BTreeSet};

use netbearer_types::Identifier;

use crate::SessionId;

/// Who holds which access point. The one place where holds are counted (semantics §4).
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    holders: BTreeMap<Identifier, BTreeSet<SessionId>>,
    /// Who keeps an access point up beside the one in use: as a candidate, or for a while after it was left (semantics §5).
    guests: BTreeMap<Identifier, BTreeSet<SessionId>>,
}

/// What giving a hold back meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    /// The session held nothing here.
    Nothing,
    /// Others still hold.
    OthersHold,
    /// That was the last hold.
    Last,
}

impl Ledger {
    /// Takes a hold; one per session, however often it is taken.
    pub(crate) fn take(&mut self, access_point: &Identifier, session: SessionId) {
        self.holders.entry(access_point.clone()).or_default().insert(session);
    }

    pub(crate) fn release(&mut self, access_point: &Identifier, session: SessionId) -> Released {
        let Some(holders) = self.holders.get_mut(access_point) else { return Released::Nothing };
        if !holders.remove(&session) {
            return Released::Nothing;
        }
        if !holders.is_empty() {
            return Released::OthersHold;
        }
        self.holders.remove(access_point);
        if self.guests.contains_key(access_point) { Released::OthersHold } else { Released::Last }
    }

    /// Takes a hold beside the one on the access point in use.
    pub(crate) fn take_beside(&mut self, access_point: &Identifier, session: SessionId) {
        self.guests.entry(access_point.clone()).or_default().insert(session);
    }

    /// Gives it back; true if that was the last hold of any kind.
    pub(crate) fn release_beside(&mut self, access_point: &Identifier, session: SessionId) -> bool {
        let Some(guests) = self.guests.get_mut(access_point) else { return false };
        if !guests.remove(&session) {
            return false;
        }
        if guests.is_empty() {
            self.guests.remove(access_point);
        }
        self.count(access_point) == 0
    }

    /// Those who hold it beside the one they use.
    pub(crate) fn guests(&self, access_point: &Identifier) -> Vec<SessionId> {
        self.guests.get(access_point).into_iter().flatten().copied().collect()
    }

    /// Those who use it, or want to.
    pub(crate) fn holders(&self, access_point: &Identifier) -> Vec<SessionId> {
        self.iter(access_point).collect()
    }

    pub(crate) fn iter(&self, access_point: &Identifier) -> impl Iterator<Item = SessionId> {
        self.holders.get(access_point).into_iter().flatten().copied()
    }

    /// All holds, of either kind.
    pub(crate) fn count(&self, access_point: &Identifier) -> usize {
        let count =
            |holds: &BTreeMap<Identifier, BTreeSet<SessionId>>| holds.get(access_point).map_or(0, BTreeSet::len);
        count(&self.holders) + count(&self.guests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_holds_once_however_often_it_takes() {
        let (mut ledger, here, session) = (Ledger::default(), Identifier::new("ap0"), SessionId(1));
        ledger.take(&here, session);
        ledger.take(&here, session);
        assert_eq!(ledger.count(&here), 1);
        assert_eq!(ledger.release(&here, session), Released::Last);
        assert_eq!(ledger.release(&here, session), Released::Nothing);
        assert_eq!(ledger.count(&here), 0);
    }

    #[test]
    fn what_is_held_beside_is_held_all_the_same() {
        let (mut ledger, here) = (Ledger::default(), Identifier::new("ap0"));
        ledger.take(&here, SessionId(1));
        ledger.take_beside(&here, SessionId(2));
        assert_eq!((ledger.count(&here), ledger.holders(&here)), (2, vec![SessionId(1)]));
        assert_eq!(ledger.release(&here, SessionId(2)), Released::Nothing, "it is no holder");
        assert_eq!(ledger.release(&here, SessionId(1)), Released::OthersHold);
        assert!(!ledger.release_beside(&here, SessionId(1)), "it is no guest");
        assert_eq!(ledger.guests(&here), [SessionId(2)]);
        assert!(ledger.release_beside(&here, SessionId(2)));
        assert_eq!((ledger.count(&here), ledger.guests(&here)), (0, vec![]));
        ledger.take(&here, SessionId(1));
        ledger.take_beside(&here, SessionId(2));
        assert!(!ledger.release_beside(&here, SessionId(2)), "the other one holds");
    }

    #[test]
    fn only_the_last_of_several_is_the_last() {
        let (mut ledger, here) = (Ledger::default(), Identifier::new("ap0"));
        ledger.take(&here, SessionId(1));
        ledger.take(&here, SessionId(2));
        assert_eq!(ledger.release(&here, SessionId(3)), Released::Nothing);
        assert_eq!(ledger.release(&here, SessionId(1)), Released::OthersHold);
        assert_eq!(ledger.holders(&here), [SessionId(2)]);
        assert_eq!(ledger.release(&here, SessionId(2)), Released::Last);
    }
}
