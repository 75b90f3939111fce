use netbearer_core::{ChooserId, Question, QuestionNumber, SessionId};
use netbearer_types::{ManagerEvent, SessionEvent, SessionSnapshot};

/// Whom a client's events are delivered to. Called on the service's own task: an audience queues and returns, it never
/// blocks and never calls back.
pub trait Audience: Send + Sync {
    /// A session was told something; `snapshot` is the session right after it.
    fn session_event(&self, session: SessionId, event: SessionEvent, snapshot: SessionSnapshot);

    /// The manager tells something.
    fn manager_event(&self, event: ManagerEvent);

    /// A chooser of the client shall ask its user.
    fn question(&self, chooser: ChooserId, question: Question);

    /// A question of a chooser is not to be answered any more.
    fn withdrawal(&self, chooser: ChooserId, number: QuestionNumber);
}
