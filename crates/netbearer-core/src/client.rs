use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{ChooserId, ClientId, Core, Refusal, Rights, SessionId, UserId};

/// A program that has sessions, as people know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Program {
    /// Its process number; none if it is in another process namespace, or was not told.
    pub process: Option<u32>,
    /// What its file is called.
    pub name: String,
}

/// Who a client is, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Whom its sessions are charged to.
    pub user: UserId,
    /// What it may do.
    pub rights: Rights,
    /// What program it is, if that is known.
    pub program: Option<Program>,
}

impl Client {
    /// Some program of a user that may do everything.
    #[must_use]
    pub const fn of_user(user: UserId) -> Self {
        Self { user, rights: Rights { may_open: true, may_control: true }, program: None }
    }
}

/// A client that is there.
#[derive(Debug)]
pub(crate) struct Attendance {
    pub(crate) user: UserId,
    pub(crate) rights: Rights,
    /// Shared by all its sessions.
    pub(crate) program: Option<Arc<Program>>,
    pub(crate) sessions: BTreeSet<SessionId>,
    pub(crate) choosers: BTreeSet<ChooserId>,
}

/// Those who have sessions.
impl Core {
    /// A client has come, or is described anew.
    pub fn handle_client(&mut self, client: ClientId, description: Client) {
        let Client { user, rights, program } = description;
        let program = program.map(Arc::new);
        match self.clients.get_mut(&client) {
            Some(known) => (known.user, known.rights, known.program) = (user, rights, program),
            None => {
                let (sessions, choosers) = (BTreeSet::new(), BTreeSet::new());
                self.clients.insert(client, Attendance { user, rights, program, sessions, choosers });
            }
        }
    }

    /// Who is told of a session; none if it goes on without an owner, as descriptors hold it.
    #[must_use]
    pub fn owner(&self, session: SessionId) -> Option<ClientId> {
        self.sessions.get(&session)?.client
    }

    pub(crate) fn attendance(&self, client: ClientId) -> Result<&Attendance, Refusal> {
        self.clients.get(&client).ok_or(Refusal::UnknownClient)
    }

    /// What the owner of a session may do. Nobody asks for anything on behalf of one without an owner.
    pub(crate) fn rights_of(&self, session: SessionId) -> Rights {
        let owner = self.owner(session).and_then(|client| self.clients.get(&client));
        owner.map_or(Rights { may_open: false, may_control: false }, |owner| owner.rights)
    }
}
