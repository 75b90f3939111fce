use netbearer_types::{Identifier, StateFlags};

use crate::{Action, Core, SessionId};

/// Whose traffic counts for whom (§7). What was carried is the engines' to tell.
impl Core {
    /// What engines call the access points whose counters are a session's: those that it is about and that are Active now, whoever uses them.
    /// Of a service network these are all its members, of a user choice all it could come to, or those of what it has come to.
    #[must_use]
    pub fn counted(&self, session: SessionId) -> Vec<Identifier> {
        let mut about = match self.sessions.get(&session) {
            Some(found) if found.way.is_some() => self.ways_of(session),
            Some(found) => found.access_point().cloned().into_iter().collect(),
            None => Vec::new(),
        };
        about.retain_mut(|identifier| {
            let counted = self.access_points.get(identifier).filter(|found| found.is_counted);
            counted.inspect(|found| identifier.clone_from(&found.device)).is_some()
        });
        about
    }

    /// Has an access point's traffic counted from when it becomes Active until it is not any more. To be decided before a
    /// session is told of it, so that nothing is missed of what follows.
    pub(crate) fn count(&mut self, identifier: &Identifier) {
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        let counting = access_point.flags() == StateFlags::Active;
        if access_point.is_counted != counting {
            access_point.is_counted = counting;
            self.actions.push_back(Action::Count { identifier: access_point.device.clone(), counting });
        }
    }
}
