use std::collections::{BTreeMap, BTreeSet};

use netbearer_types::{
    AccessPointCommand, BypassVpn, Identifier, LinkNames, ManagerEvent, SessionEvent, SessionSnapshot, SocketCookie,
};

use crate::{ChooserId, ClientId, HoldId, Question, QuestionNumber, SessionId, UserId};

/// What the core wants done. To be carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give an engine a command.
    Command(AccessPointCommand),
    /// Have engines give these access points, which others keep up, a table and rules of ours beside theirs, and all others
    /// none.
    Steer(BTreeMap<Identifier, BypassVpn>),
    /// Have an engine count from now on what an access point carries, or count it no more.
    Count {
        /// The access point.
        identifier: Identifier,
        /// It has become Active; else it is not any more.
        counting: bool,
    },
    /// Have programs ask the name servers of these links, those of the most preferred one first, and no others of ours.
    Names(Vec<LinkNames>),
    /// Let the engines look at everything anew.
    Refresh,
    /// Tell the engines that an absent access point is of no interest any more.
    Forget(Identifier),
    /// A descriptor holds nothing any more, though there may be copies of it: its session was closed, stopped or aborted.
    Revoke(HoldId),
    /// Have these sockets end at once, and no others: their session does not hold their link any more.
    AbortSockets {
        /// Which ones.
        sockets: BTreeSet<SocketCookie>,
        /// Whose they have to be; none for anybody's, as root has said so.
        owner: Option<UserId>,
    },
    /// Have an engine tell of sockets that end, or not any more.
    WatchSockets(bool),
    /// Have an engine tell which of these are not to be found.
    CheckSockets(BTreeSet<SocketCookie>),
    /// Deliver an event to a session's owner.
    Tell {
        /// Whose session it is.
        client: ClientId,
        /// The session.
        session: SessionId,
        /// The event.
        event: SessionEvent,
        /// The session right after it; later events may have been decided already.
        snapshot: Box<SessionSnapshot>,
    },
    /// Have a chooser of this client ask its user.
    Ask {
        /// The client whose chooser it is.
        client: ClientId,
        /// The chooser.
        chooser: ChooserId,
        /// The question.
        question: Box<Question>,
    },
    /// Nobody wants an answer any more.
    Withdraw {
        /// The client whose chooser was asked.
        client: ClientId,
        /// The chooser.
        chooser: ChooserId,
        /// The question.
        number: QuestionNumber,
    },
    /// Deliver a manager's event to one client.
    Answer {
        /// The client that asked.
        client: ClientId,
        /// The event.
        event: ManagerEvent,
    },
    /// Deliver a manager's event to every client.
    Announce(ManagerEvent),
}

impl Action {
    /// True if it is to be delivered to this client alone.
    pub(crate) fn is_for(&self, client: ClientId) -> bool {
        match self {
            Self::Tell { client: told, .. }
            | Self::Answer { client: told, .. }
            | Self::Ask { client: told, .. }
            | Self::Withdraw { client: told, .. } => *told == client,
            _ => false,
        }
    }
}
