use std::{borrow::Cow, collections::VecDeque, fmt};

use netbearer_types::{Identifier, Moment};
use serde::{Deserialize, Serialize};

use crate::{RoamCause, SessionId};

/// Decisions kept before the oldest are forgotten.
const CAPACITY: usize = 1024;

/// What a decision is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// An access point.
    AccessPoint(Identifier),
    /// A service network or a user choice.
    Configuration(Identifier),
    /// A session.
    Session(SessionId, Identifier),
    /// An interface that is no access point.
    Interface(String),
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing is done to the access point: what the kernel says alone decides what it is.
    Observe,
    /// An open waits for the end of the first enumeration.
    AwaitEnumeration,
    /// An open waits until another access point of the same device is down.
    AwaitDevice,
    /// The access point is brought up.
    Start,
    /// The access point is up and ours.
    Up,
    /// The lease was lost; it may be regained.
    Regain,
    /// Nobody holds the access point any more; it is kept up for a while.
    Linger,
    /// The access point is taken down.
    Close,
    /// What is left of a lost link or a failed start is removed.
    Retreat,
    /// The link is kept ready for sessions that wait for it.
    Wait,
    /// The link is kept up without addresses, to see its carrier for a service network that is open on another member.
    Sense,
    /// A session on a service network or user choice takes this member.
    Member,
    /// A user choice has come to this.
    Resolved,
    /// The user is asked.
    Asked,
    /// Its profile was changed.
    Edited,
    /// A hold was taken.
    Hold,
    /// A hold was given back.
    Release,
    /// A session is open.
    Opened,
    /// The owner of a session has gone, but descriptors hold it.
    Orphan,
    /// A session was closed whose descriptors had been passed on: this one goes on for them.
    Inherit,
    /// A client is back for its session.
    Attach,
    /// A link that was up and ours before the service was started anew is gone on with.
    Resume,
    /// A session roams, or does not.
    Roam(RoamCause),
    /// A better member is there, and a session is not moved to it, or offered it, yet.
    HoldBack,
    /// A session failed or a call was refused; the text is the failure's message.
    Failed(String),
    /// An interface is no access point.
    NotAnAccessPoint,
    /// The access point became Active without us: the machine itself holds it.
    Adopt,
    /// The configuration is gone.
    Remove,
    /// A full-tunnel VPN is up beside the access point.
    Tunnel,
    /// It is gone.
    NoTunnel,
    /// Programs ask its name servers.
    Named,
    /// Something does not work as usual; the text says what, why, and what to do.
    Warning(String),
}

/// One thing that a decision was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// What it is.
    pub name: Cow<'static, str>,
    /// What it was.
    pub value: String,
}

/// One decision with its inputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Counts up from zero; gaps mean that older decisions were forgotten.
    pub number: u64,
    /// When.
    pub time: Moment,
    /// About what.
    pub subject: Subject,
    /// What was decided.
    pub verdict: Verdict,
    /// From what.
    pub inputs: Vec<Input>,
}

/// The newest decisions, bounded.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    decisions: VecDeque<Decision>,
    next: u64,
}

impl Journal {
    pub(crate) fn record(&mut self, time: Moment, subject: Subject, verdict: Verdict, inputs: Vec<Input>) {
        if self.decisions.len() == CAPACITY {
            self.decisions.pop_front();
        }
        self.decisions.push_back(Decision { number: self.next, time, subject, verdict, inputs });
        self.next += 1;
    }

    pub(crate) fn since(&self, number: u64) -> impl Iterator<Item = &Decision> {
        let first = self.decisions.partition_point(|decision| decision.number < number);
        self.decisions.range(first..)
    }
}

impl Input {
    pub(crate) fn new(name: &'static str, value: impl fmt::Display) -> Self {
        Self { name: name.into(), value: value.to_string() }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessPoint(identifier) => write!(formatter, "access point {identifier}"),
            Self::Configuration(identifier) => write!(formatter, "configuration {identifier}"),
            Self::Session(session, identifier) => write!(formatter, "session {session} on {identifier}"),
            Self::Interface(name) => write!(formatter, "interface {name}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Observe => "only observed",
            Self::AwaitEnumeration => "waits for the first enumeration",
            Self::AwaitDevice => "waits until another access point of its device is down",
            Self::Start => "is brought up",
            Self::Up => "is up, and ours to take down",
            Self::Regain => "lost its lease, asks for another",
            Self::Linger => "lingers",
            Self::Close => "is taken down",
            Self::Retreat => "is cleared away",
            Self::Wait => "is waited for",
            Self::Sense => "is kept up without addresses, to see its carrier",
            Self::Member => "takes a member",
            Self::Resolved => "is resolved",
            Self::Asked => "asks its user",
            Self::Edited => "has another profile",
            Self::Hold => "holds",
            Self::Release => "holds no longer",
            Self::Opened => "is open",
            Self::Orphan => "goes on without its program, as descriptors hold it",
            Self::Inherit => "goes on for descriptors that were passed on",
            Self::Attach => "has its program back",
            Self::Resume => "was up and ours before the service was started anew, and stays so",
            Self::Roam(cause) => return write!(formatter, "{cause}"),
            Self::HoldBack => "does not go to a better access point yet",
            Self::Failed(message) => return write!(formatter, "failed: {message}"),
            Self::NotAnAccessPoint => "is no access point",
            Self::Adopt => "is adopted: the machine itself holds it",
            Self::Remove => "is removed",
            Self::Tunnel => "has a full-tunnel VPN beside it",
            Self::NoTunnel => "has no full-tunnel VPN beside it any more",
            Self::Named => "has its name servers asked by programs",
            Self::Warning(message) => return write!(formatter, "warns: {message}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_decisions_are_forgotten_and_numbers_go_on() {
        let mut journal = Journal::default();
        for _ in 0..CAPACITY + 5 {
            journal.record(Moment::ZERO, Subject::Interface("lo".into()), Verdict::NotAnAccessPoint, Vec::new());
        }
        assert_eq!(journal.since(0).count(), CAPACITY);
        assert_eq!(journal.since(0).next().map(|decision| decision.number), Some(5));
        assert_eq!(journal.since(CAPACITY as u64 + 4).count(), 1);
    }
}
