use std::collections::{BTreeMap, BTreeSet};

use netbearer_types::{Identifier, SocketCookie};

use crate::{
    Action, Core, Refusal, SessionId,
    session::{Interest, Session},
};

/// How many sockets of one session are known. Who opens more may have to wait for the ends of some that stay behind.
const MOST_SOCKETS: usize = 4_096;

/// The sockets of sessions: what is left behind on a link that a session does not hold any more ends at once (§5).
impl Core {
    /// A socket of the session's has been bound to this access point. If the session has left that meanwhile, it is aborted.
    ///
    /// # Errors
    /// [`Refusal::TooManySockets`], [`Refusal::UnknownSession`].
    pub fn add_socket(&mut self, id: SessionId, socket: SocketCookie, access_point: Identifier) -> Result<(), Refusal> {
        let session = self.sessions.get_mut(&id).ok_or(Refusal::UnknownSession)?;
        if session.sockets.len() >= MOST_SOCKETS {
            return Err(Refusal::TooManySockets(MOST_SOCKETS));
        }
        session.sockets.insert(socket, access_point);
        self.mark_unsaved(id);
        self.abort_left_sockets(id);
        Ok(())
    }

    /// A socket has ended by itself.
    pub fn handle_socket_gone(&mut self, id: SessionId, socket: SocketCookie) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.sockets.remove(&socket).is_some()
        {
            self.mark_unsaved(id);
        }
    }

    /// Ends what is on links that the session does not hold any more.
    pub(crate) fn abort_left_sockets(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id).filter(|session| !session.sockets.is_empty()) else { return };
        let sockets: BTreeSet<SocketCookie> = session
            .sockets
            .iter()
            .filter(|(_, access_point)| !session.holds_link(access_point))
            .map(|(socket, _)| *socket)
            .collect();
        if sockets.is_empty() {
            return;
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.sockets.retain(|socket, _| !sockets.contains(socket));
        }
        self.mark_unsaved(id);
        self.actions.push_back(Action::AbortSockets(sockets));
    }

    /// The session was closed by who has it, and what becomes of its sockets is left to them.
    pub(crate) fn forget_sockets(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.sockets = BTreeMap::new();
        }
    }
}

impl Session {
    /// It uses this access point, tries it, or keeps it for a while after it has left it.
    fn holds_link(&self, access_point: &Identifier) -> bool {
        let is_beside = self.way.as_ref().is_some_and(|way| {
            way.roam.course.held_candidate() == Some(access_point) || way.roam.lingering.contains_key(access_point)
        });
        matches!(self.interest, Interest::Open { .. }) && (self.access_point() == Some(access_point) || is_beside)
    }
}
