use netbearer_types::{Failure, FailureReason, SessionError};

/// What a client's user may do beyond looking (semantics §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Opening sessions.
    pub may_open: bool,
    /// Stopping access points for everybody.
    pub may_control: bool,
}

impl Default for Rights {
    /// All of them: who runs a service of its own may do with it what it likes.
    fn default() -> Self {
        Self { may_open: true, may_control: true }
    }
}

/// What one has to be allowed to stop access points for everybody.
const CONTROL: &str = "org.netbearer.control";

/// Members of this group may open.
pub(crate) fn may_not_open(name: &str, group: &str) -> Failure {
    let right = format!("group {group}");
    Failure {
        error: SessionError::OperationNotSupported,
        message: format!("{name} was not opened: this user may only watch; have it added to {right}, and log in anew"),
        reason: FailureReason::MissingRight(right),
    }
}

pub(crate) fn may_not_stop(name: &str) -> Failure {
    Failure {
        error: SessionError::OperationNotSupported,
        reason: FailureReason::MissingRight(CONTROL.to_owned()),
        message: format!(
            "{name} was not stopped for everybody, but this session is closed: stopping needs the right {CONTROL}; ask an administrator for it, or to do it"
        ),
    }
}
