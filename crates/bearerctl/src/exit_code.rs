use netbearer::FailureReason;

/// How the program ends. The numbers are documented in `--help`; they never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExitCode(u8);

impl ExitCode {
    pub(crate) const OK: Self = Self(0);
    pub(crate) const FAILURE: Self = Self(1);
    pub(crate) const USAGE: Self = Self(2);
    pub(crate) const NO_SUCH_CONFIGURATION: Self = Self(3);
    pub(crate) const NOT_AVAILABLE: Self = Self(4);
    pub(crate) const NOT_SUPPORTED: Self = Self(5);
    pub(crate) const TIMED_OUT: Self = Self(6);
    pub(crate) const SESSION_ENDED: Self = Self(7);
    pub(crate) const OWNED: Self = Self(8);
    pub(crate) const NOT_CHOSEN: Self = Self(9);
    pub(crate) const NOT_ALLOWED: Self = Self(10);
    pub(crate) const COMMAND_NOT_STARTED: Self = Self(126);
    pub(crate) const COMMAND_NOT_FOUND: Self = Self(127);

    /// What a command that ran returns itself.
    pub(crate) const fn of_command(code: u8) -> Self {
        Self(code)
    }

    /// As shells tell that a signal ended a program.
    pub(crate) fn of_signal(number: i32) -> Self {
        Self(u8::try_from(128 + number).unwrap_or(u8::MAX))
    }

    /// What a session's failure means to a script.
    pub(crate) const fn of_failure(reason: &FailureReason) -> Self {
        match reason {
            FailureReason::ConfigurationInvalid => Self::NO_SUCH_CONFIGURATION,
            FailureReason::NotAvailable
            | FailureReason::NoCarrier
            | FailureReason::AllMembersFailed
            | FailureReason::Busy(_) => Self::NOT_AVAILABLE,
            FailureReason::MissingPrivilege(_)
            | FailureReason::ManagedElsewhere(_)
            | FailureReason::StrictReversePathFilter
            | FailureReason::OnlyWithDaemon
            | FailureReason::CannotRoam => Self::NOT_SUPPORTED,
            FailureReason::NoLease | FailureReason::ConnectTimeout => Self::TIMED_OUT,
            FailureReason::LinkLost | FailureReason::Stopped => Self::SESSION_ENDED,
            FailureReason::OwnedByAnotherProcess(_) => Self::OWNED,
            FailureReason::NotChosen => Self::NOT_CHOSEN,
            FailureReason::MissingRight(_) => Self::NOT_ALLOWED,
            _ => Self::FAILURE,
        }
    }

    pub(crate) fn exit(self) -> ! {
        std::process::exit(self.0.into())
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.0)
    }
}
