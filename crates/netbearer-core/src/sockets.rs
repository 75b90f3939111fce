use std::collections::{BTreeMap, BTreeSet, VecDeque};

use netbearer_types::{Identifier, Moment, SocketCookie, SocketEnd, Traffic};
use serde::{Deserialize, Serialize};

use crate::{
    Action, Core, Refusal, SessionId, UserId,
    session::{Interest, Session},
};

/// How many sockets of one session are known. Who opens more may have to wait for the ends of some that stay behind.
const MOST_SOCKETS: usize = 4_096;
const ROOT: UserId = UserId(0);
/// Ends of sockets that nobody has told of yet are remembered, as the word of a short-lived one may come after its end.
const REMEMBERED_ENDS: usize = 1_024;

/// The sockets of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sockets {
    /// Those that have not ended, with the access point that each is bound to; none for those that are being aborted, of which the end
    /// is still to be told.
    open: BTreeMap<SocketCookie, Option<Identifier>>,
    /// What those have carried that have ended.
    carried: Traffic,
}

impl Sockets {
    /// One has ended.
    fn count(&mut self, carried: Option<Traffic>) {
        self.carried = [self.carried, carried.unwrap_or_default()].into_iter().sum();
    }

    pub(crate) fn are_none(&self) -> bool {
        *self == Self::default()
    }

    fn are_on(&self, access_point: &Identifier) -> bool {
        self.open.values().any(|bound| bound.as_ref() == Some(access_point))
    }
}

/// The sockets of sessions: what is left behind on a link that a session does not hold any more ends at once (§5), and what all of
/// them have carried is the session's own (§7).
impl Core {
    /// A socket of the session's has been bound to this access point. If the session has left that meanwhile, it is aborted. One
    /// of another user's is never.
    ///
    /// # Errors
    /// [`Refusal::TooManySockets`], [`Refusal::UnknownSession`].
    pub fn add_socket(
        &mut self,
        id: SessionId,
        socket: SocketCookie,
        access_point: Identifier,
        now: Moment,
    ) -> Result<(), Refusal> {
        let session = self.sessions.get_mut(&id).ok_or(Refusal::UnknownSession)?;
        if session.sockets.open.len() >= MOST_SOCKETS {
            return Err(Refusal::TooManySockets(MOST_SOCKETS));
        }
        if let Some(position) = self.unknown_ends.iter().position(|end| end.socket == socket) {
            let end = self.unknown_ends.remove(position);
            session.sockets.count(end.and_then(|end| end.carried));
            self.mark_unsaved(id);
            return Ok(());
        }
        let is_first = self.socket_owners.is_empty();
        // Whoever binds it again moves it.
        let former = self.socket_owners.insert(socket, id).unwrap_or(id);
        let left = self.sessions.get_mut(&former).and_then(|session| session.sockets.open.remove(&socket)).flatten();
        if let Some(session) = self.sessions.get_mut(&id) {
            session.sockets.open.insert(socket, Some(access_point));
        }
        if is_first {
            self.watch_sockets();
        }
        for id in [former, id] {
            self.mark_unsaved(id);
        }
        self.abort_left_sockets(id);
        if let Some(left) = left
            && self.leave_to_none(former, &left, now)
        {
            self.publish(now);
        }
        Ok(())
    }

    /// Sockets have ended, some of sessions perhaps.
    pub fn handle_sockets_ended(&mut self, ends: &[SocketEnd], now: Moment) {
        let mut has_left = false;
        for end in ends {
            let Some(id) = self.socket_owners.remove(&end.socket) else {
                if self.unknown_ends.len() == REMEMBERED_ENDS {
                    self.unknown_ends.pop_front();
                }
                self.unknown_ends.push_back(*end);
                continue;
            };
            let mut left = None;
            if let Some(session) = self.sessions.get_mut(&id) {
                left = session.sockets.open.remove(&end.socket).flatten();
                session.sockets.count(end.carried);
            }
            self.mark_unsaved(id);
            self.stop_watching_sockets();
            has_left |= left.is_some_and(|left| self.leave_to_none(id, &left, now));
        }
        if has_left {
            self.publish(now);
        }
    }

    /// A socket of the session's is not on this access point any more. True if the session kept that for its sockets alone, and
    /// keeps it no more, as this was the last one.
    fn leave_to_none(&mut self, id: SessionId, access_point: &Identifier, now: Moment) -> bool {
        let is_needed = self.sessions.get(&id).is_some_and(|session| session.sockets.are_on(access_point));
        !is_needed && self.end_lingering_on(id, access_point, "none of its sockets is left there", now)
    }

    /// Ends may have been missed.
    pub fn handle_socket_ends_missed(&mut self) {
        if !self.socket_owners.is_empty() {
            self.actions.push_back(Action::CheckSockets(self.socket_owners.keys().copied().collect()));
        }
    }

    /// What the sockets of a session have carried (§7): those that have ended, and those that have not, as they were `read`
    /// just now. UDP is not counted.
    #[must_use]
    pub fn session_traffic(&self, id: SessionId, read: &BTreeMap<SocketCookie, Traffic>) -> Traffic {
        let Some(Session { sockets, .. }) = self.sessions.get(&id) else { return Traffic::default() };
        let open = sockets.open.keys().filter_map(|socket| read.get(socket));
        open.copied().chain([sockets.carried]).sum()
    }

    /// True if some socket of the session may carry something still.
    #[must_use]
    pub fn has_sockets(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| !session.sockets.open.is_empty())
    }

    /// Ends what is on links that the session does not hold any more.
    pub(crate) fn abort_left_sockets(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id).filter(|session| !session.sockets.open.is_empty()) else { return };
        let is_left = |access_point: &Option<Identifier>| {
            access_point.as_ref().is_some_and(|access_point| !session.holds_link(access_point))
        };
        let left = session.sockets.open.iter().filter(|(_, access_point)| is_left(access_point));
        let left: BTreeSet<SocketCookie> = left.map(|(socket, _)| *socket).collect();
        if left.is_empty() {
            return;
        }
        // A number is easily made up.
        let owner = Some(session.user).filter(|user| *user != ROOT);
        if let Some(session) = self.sessions.get_mut(&id) {
            for socket in &left {
                session.sockets.open.insert(*socket, None);
            }
        }
        self.mark_unsaved(id);
        self.actions.push_back(Action::AbortSockets { sockets: left, owner });
    }

    /// The session was closed by who has it: what becomes of its sockets is left to them, and they are counted as before.
    pub(crate) fn leave_sockets(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.sockets.open.values_mut().for_each(|access_point| *access_point = None);
        }
    }

    /// The session is no more.
    pub(crate) fn forget_sockets(&mut self, session: &Session) {
        for socket in session.sockets.open.keys() {
            self.socket_owners.remove(socket);
        }
        if !session.sockets.open.is_empty() {
            self.stop_watching_sockets();
        }
    }

    /// The sockets of a session from before the service was started anew. Some may have ended meanwhile.
    pub(crate) fn restore_sockets(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        self.socket_owners.extend(session.sockets.open.keys().map(|socket| (*socket, id)));
    }

    /// From now on ends are told; some may have ended before.
    pub(crate) fn watch_sockets(&mut self) {
        if !self.socket_owners.is_empty() {
            self.actions.push_back(Action::WatchSockets(true));
            self.handle_socket_ends_missed();
        }
    }

    fn stop_watching_sockets(&mut self) {
        if self.socket_owners.is_empty() {
            self.unknown_ends = VecDeque::new();
            self.actions.push_back(Action::WatchSockets(false));
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
