use std::{error::Error, fmt, io, process::ExitStatus, time::Duration};

/// Why the lab could not do what was asked.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The operating system refused something.
    #[error("cannot {action}")]
    System {
        /// What was attempted, as an infinitive.
        action: String,
        /// The refusal.
        source: io::Error,
    },
    /// A program the lab needs is not installed.
    #[error("the lab needs the program {program}: install the Debian package {package}")]
    ProgramMissing {
        /// Name of the program.
        program: &'static str,
        /// The Debian package that holds it.
        package: &'static str,
    },
    /// A program of this tree is not there.
    #[error("{program} is not built: cargo build --package {program}")]
    NotBuilt {
        /// Its name, and that of its package.
        program: String,
    },
    /// This process may not create network namespaces.
    #[error("the lab must be root, of the machine or of a user namespace (`unshare --map-root-user --net --mount`)")]
    PrivilegeMissing {
        /// The refusal of `unshare(2)`.
        source: io::Error,
    },
    /// The kernel lets this user make no namespaces.
    #[error("{obstacle}; {remedy}")]
    NamespacesForbidden {
        /// What is in the way.
        obstacle: String,
        /// What can be done about it.
        remedy: String,
        /// The refusal of `unshare(2)`.
        source: io::Error,
    },
    /// The kernel cannot delay packets.
    #[error("this kernel has no netem (module sch_netem), which delays packets; a rate alone needs none")]
    NoDelays {
        /// The refusal of the kernel.
        source: io::Error,
    },
    /// A program ended without success.
    #[error("`{command}` failed ({status}): {message}")]
    CommandFailed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to its standard error.
        message: String,
    },
    /// A witness did not answer in JSON.
    #[error("the answer of `{command}` is not JSON")]
    NotJson {
        /// The command line.
        command: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Something that was waited for did not happen.
    #[error("{what}: not seen within {within:?}; seen instead:\n{seen}")]
    NotSeen {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// What happened instead, one item a line.
        seen: String,
    },
    /// Something that was waited for is so, but nothing that is listened to has told of it: the wait would have gone on for
    /// ever.
    #[error("{what}: so after {within:?}, but nothing that was listened to has told of it; wait for what does")]
    Untold {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
    },
    /// A subnet is not written as `a.b.c.d/n`, or has no room for the lab's addresses.
    #[error("`{0}` is not an IPv4 subnet of at most 24 bits, such as 10.10.0.0/24")]
    NotASubnet(String),
    /// There is no access point of that name.
    #[error("the lab has no access point {name}; it has: {known}")]
    UnknownAccessPoint {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The access point was planned with another kind of DHCP server.
    #[error("access point {access_point} was not planned with {wanted}")]
    OtherDhcp {
        /// The access point.
        access_point: String,
        /// The kind that was asked for.
        wanted: &'static str,
    },
}

impl LabError {
    /// For `map_err`: names what was attempted.
    pub(crate) fn unable_to<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |source| Self::System { action, source: source.into() }
    }
}

/// For people, as this is what a failed test prints: the message, then its causes.
impl fmt::Debug for LabError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl From<io::Error> for LabError {
    fn from(source: io::Error) -> Self {
        Self::System { action: "work inside the namespace".to_owned(), source }
    }
}
