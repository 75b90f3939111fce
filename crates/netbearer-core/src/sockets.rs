use std::collections::{BTreeMap, BTreeSet, VecDeque};

use netbearer_types::{Identifier, Moment, SocketCookie, SocketEnd, Traffic};
use serde::{Deserialize, Serialize};

use crate::{
    Action, Core, Refusal, SessionId, UserId,
    session::{Interest, Session},
};

/// How many sockets of one session are known.
const MOST_SOCKETS: usize = 4_096;
/// And of all sessions of one user, unless that is root: numbers are easily made up, and each is remembered.
const MOST_SOCKETS_OF_USER: usize = 16_384;
/// Each time a session has so many more, it is looked whether all of them are there still.
const LOOKED_FOR_EACH: usize = 256;
const ROOT: UserId = UserId(0);
/// Ends of sockets that nobody has told of yet are remembered, as the word of a short-lived one may come after its end.
const REMEMBERED_ENDS: usize = 1_024;

/// The sockets of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sockets {
    /// Those that have not ended, with the access point that each is bound to; none for those that it does not matter of any more.
    open: BTreeMap<SocketCookie, Option<Identifier>>,
    /// Those that are being aborted: their ends are still to be told.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    aborting: BTreeSet<SocketCookie>,
    /// Those that were looked for and not found, though nobody had told of their ends: they may have ended unheard, or may not be
    /// connected yet. Those that are not found again have ended.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    missing: BTreeSet<SocketCookie>,
    /// What those have carried that have ended.
    carried: Traffic,
}

impl Sockets {
    fn put(&mut self, socket: SocketCookie, access_point: Identifier) {
        self.remove(socket);
        self.open.insert(socket, Some(access_point));
    }

    /// What it was bound to, if that mattered.
    fn remove(&mut self, socket: SocketCookie) -> Option<Identifier> {
        self.aborting.remove(&socket);
        self.missing.remove(&socket);
        self.open.remove(&socket).flatten()
    }

    /// Some have ended.
    fn count(&mut self, carried: Option<Traffic>) {
        self.carried = [self.carried, carried.unwrap_or_default()].into_iter().sum();
    }

    pub(crate) fn are_none(&self) -> bool {
        *self == Self::default()
    }

    fn are_on(&self, access_point: &Identifier) -> bool {
        self.open.values().any(|bound| bound.as_ref() == Some(access_point))
    }

    /// What has become of these.
    fn changes_of(&self, sockets: BTreeSet<SocketCookie>) -> SocketChanges {
        let (open, gone): (BTreeSet<_>, BTreeSet<_>) =
            sockets.into_iter().partition(|socket| self.open.contains_key(socket));
        SocketChanges {
            open: open.iter().filter_map(|socket| Some((*socket, self.open.get(socket)?.clone()))).collect(),
            aborting: open.intersection(&self.aborting).copied().collect(),
            missing: open.intersection(&self.missing).copied().collect(),
            gone,
            carried: self.carried,
        }
    }

    pub(crate) fn apply(&mut self, changes: SocketChanges) {
        for socket in changes.gone.iter().chain(changes.open.keys()) {
            self.remove(*socket);
        }
        self.open.extend(changes.open);
        self.aborting.extend(changes.aborting);
        self.missing.extend(changes.missing);
        self.carried = changes.carried;
    }
}

/// What has become of some sockets of a session; of the others nothing has. All are not written anew for each that comes or goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SocketChanges {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    open: BTreeMap<SocketCookie, Option<Identifier>>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    aborting: BTreeSet<SocketCookie>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    missing: BTreeSet<SocketCookie>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    gone: BTreeSet<SocketCookie>,
    carried: Traffic,
}

/// The sockets of sessions: what is left behind on a link that a session does not hold any more ends at once (§5), and what all of
/// them have carried is the session's own (§7).
///
/// Whose a socket is, nobody knows but the kernel: it is asked to abort only those of the session's user. What users claim of the
/// sockets of others is therefore kept apart, and changes nothing for them.
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
        let user = session.user;
        let of_user = self.socket_owners.get(&user).map_or(0, BTreeMap::len);
        let limit = match session.sockets.open.len() {
            _ if session.sockets.open.contains_key(&socket) => None,
            MOST_SOCKETS.. => Some(MOST_SOCKETS),
            _ if user != ROOT && of_user >= MOST_SOCKETS_OF_USER => Some(MOST_SOCKETS_OF_USER),
            _ => None,
        };
        if let Some(limit) = limit {
            // Some may have ended unheard.
            self.handle_socket_ends_missed();
            return Err(Refusal::TooManySockets(limit));
        }
        if let Some(position) = self.unknown_ends.iter().position(|end| end.socket == socket) {
            let end = self.unknown_ends.remove(position);
            session.sockets.count(end.and_then(|end| end.carried));
            self.mark_socket_unsaved(id, socket);
            return Ok(());
        }
        let is_first = self.socket_owners.is_empty();
        // Whoever binds it again moves it.
        let former = self.socket_owners.entry(user).or_default().insert(socket, id).unwrap_or(id);
        let left = self.sessions.get_mut(&former).and_then(|session| session.sockets.remove(socket));
        self.mark_socket_unsaved(former, socket);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.sockets.put(socket, access_point.clone());
            self.mark_socket_unsaved(id, socket);
        }
        if is_first {
            self.watch_sockets();
        } else if self
            .sessions
            .get(&id)
            .is_some_and(|session| session.sockets.open.len().is_multiple_of(LOOKED_FOR_EACH))
        {
            self.handle_socket_ends_missed();
        }
        if self.sessions.get(&id).is_some_and(|session| !session.holds_link(&access_point)) {
            self.abort_sockets(id, [socket].into());
        }
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
            let ids: Vec<SessionId> =
                self.socket_owners.values_mut().filter_map(|sockets| sockets.remove(&end.socket)).collect();
            if ids.is_empty() {
                if self.unknown_ends.len() == REMEMBERED_ENDS {
                    self.unknown_ends.pop_front();
                }
                self.unknown_ends.push_back(*end);
            }
            for id in ids {
                has_left |= self.socket_has_ended(id, end, now);
            }
        }
        self.stop_watching_sockets();
        if has_left {
            self.publish(now);
        }
    }

    /// True if the session has given a link back by that.
    fn socket_has_ended(&mut self, id: SessionId, end: &SocketEnd, now: Moment) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let left = session.sockets.remove(end.socket);
        session.sockets.count(end.carried);
        self.mark_socket_unsaved(id, end.socket);
        left.is_some_and(|left| self.leave_to_none(id, &left, now))
    }

    /// These were looked for and not found. The kernel does not list what is not connected yet, so once is not enough.
    pub fn handle_sockets_missing(&mut self, sockets: &[SocketCookie], now: Moment) {
        let mut has_left = false;
        for socket in sockets {
            let owners = self.socket_owners.iter().filter_map(|(user, sockets)| Some((*user, *sockets.get(socket)?)));
            for (user, id) in owners.collect::<Vec<_>>() {
                let Some(session) = self.sessions.get_mut(&id) else { continue };
                if session.sockets.missing.insert(*socket) {
                    self.mark_socket_unsaved(id, *socket);
                    continue;
                }
                if let Some(sockets) = self.socket_owners.get_mut(&user) {
                    sockets.remove(socket);
                }
                has_left |= self.socket_has_ended(id, &SocketEnd { socket: *socket, carried: None }, now);
            }
        }
        self.stop_watching_sockets();
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
        let known: BTreeSet<SocketCookie> = self.socket_owners.values().flat_map(BTreeMap::keys).copied().collect();
        if !known.is_empty() {
            self.actions.push_back(Action::CheckSockets(known));
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
        let left = left.map(|(socket, _)| *socket).collect();
        self.abort_sockets(id, left);
    }

    fn abort_sockets(&mut self, id: SessionId, sockets: BTreeSet<SocketCookie>) {
        let Some(session) = self.sessions.get_mut(&id).filter(|_| !sockets.is_empty()) else { return };
        // A number is easily made up.
        let owner = Some(session.user).filter(|user| *user != ROOT);
        for socket in &sockets {
            session.sockets.open.insert(*socket, None);
            session.sockets.aborting.insert(*socket);
        }
        for socket in &sockets {
            self.mark_socket_unsaved(id, *socket);
        }
        self.left_sockets.entry(owner).or_default().extend(sockets);
    }

    /// What is to be aborted, of all sessions at once, as the kernel looks at all sockets each time.
    pub(crate) fn next_abort(&mut self) -> Option<Action> {
        let (owner, sockets) = self.left_sockets.pop_first()?;
        Some(Action::AbortSockets { sockets, owner })
    }

    /// The session was closed by who has it: what becomes of its sockets is left to them, and they are counted as before.
    pub(crate) fn leave_sockets(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.sockets.open.values_mut().for_each(|access_point| *access_point = None);
            self.mark_unsaved(id);
        }
    }

    /// The session is no more.
    pub(crate) fn forget_sockets(&mut self, session: &Session) {
        if let Some(sockets) = self.socket_owners.get_mut(&session.user) {
            sockets.retain(|socket, _| !session.sockets.open.contains_key(socket));
        }
        self.stop_watching_sockets();
    }

    /// The sockets of a session from before the service was started anew. Some may have ended meanwhile: what is not found now is not
    /// looked for again. What was to be aborted may not have been.
    pub(crate) fn restore_sockets(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.sockets.open.is_empty()) else {
            return;
        };
        let sockets = &mut session.sockets;
        sockets.missing.extend(sockets.open.keys());
        let aborting = std::mem::take(&mut sockets.aborting);
        let known = sockets.open.keys().map(|socket| (*socket, id));
        self.socket_owners.entry(session.user).or_default().extend(known);
        self.abort_sockets(id, aborting);
    }

    /// From now on ends are told; some may have ended before.
    pub(crate) fn watch_sockets(&mut self) {
        if !self.socket_owners.is_empty() {
            self.actions.push_back(Action::WatchSockets(true));
            self.handle_socket_ends_missed();
        }
    }

    fn stop_watching_sockets(&mut self) {
        let was_watching = !self.socket_owners.is_empty();
        self.socket_owners.retain(|_, sockets| !sockets.is_empty());
        if was_watching && self.socket_owners.is_empty() {
            self.unknown_ends = VecDeque::new();
            self.actions.push_back(Action::WatchSockets(false));
        }
    }

    /// Something has become of one socket of a session.
    fn mark_socket_unsaved(&mut self, id: SessionId, socket: SocketCookie) {
        if self.settings.serves_all_processes {
            self.unsaved_sockets.entry(id).or_default().insert(socket);
        }
    }

    /// What has become of sockets, but of sessions that are saved anyway.
    pub(crate) fn unsaved_sockets(&mut self) -> Vec<(SessionId, SocketChanges)> {
        let changed = std::mem::take(&mut self.unsaved_sockets).into_iter();
        changed.filter_map(|(id, sockets)| Some((id, self.sessions.get(&id)?.sockets.changes_of(sockets)))).collect()
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
