use netbearer_types::{Identifier, StateFlags};

use crate::{Action, Core, SessionId};

/// Whose traffic counts for whom (§7). What was carried is the engines' to tell.
impl Core {
    /// The access points whose counters are a session's: those that it is about and that are Active now, whoever uses them.
    #[must_use]
    pub fn counted(&self, session: SessionId) -> Vec<Identifier> {
        let identifier = self.sessions.get(&session).and_then(|session| session.access_point());
        let access_point = identifier.and_then(|identifier| self.access_points.get(identifier));
        access_point
            .filter(|access_point| access_point.is_counted)
            .map(|found| found.identifier().clone())
            .into_iter()
            .collect()
    }

    /// Has an access point's traffic counted from when it becomes Active until it is not any more. To be decided before a
    /// session is told of it, so that nothing is missed of what follows.
    pub(crate) fn count(&mut self, identifier: &Identifier) {
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        let counting = access_point.flags() == StateFlags::Active;
        if access_point.is_counted != counting {
            access_point.is_counted = counting;
            self.actions.push_back(Action::Count { identifier: identifier.clone(), counting });
        }
    }
}
