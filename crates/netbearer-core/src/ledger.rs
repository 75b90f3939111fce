use std::collections::{BTreeMap, BTreeSet};

use netbearer_types::Identifier;

use crate::SessionId;

/// Who holds which access point. The one place where holds are counted (semantics §4).
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    holders: BTreeMap<Identifier, BTreeSet<SessionId>>,
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
        Released::Last
    }

    pub(crate) fn holders(&self, access_point: &Identifier) -> Vec<SessionId> {
        self.iter(access_point).collect()
    }

    pub(crate) fn iter(&self, access_point: &Identifier) -> impl Iterator<Item = SessionId> {
        self.holders.get(access_point).into_iter().flatten().copied()
    }

    pub(crate) fn count(&self, access_point: &Identifier) -> usize {
        self.holders.get(access_point).map_or(0, BTreeSet::len)
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
