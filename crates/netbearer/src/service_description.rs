use std::fmt;

/// Which service a manager talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceDescription {
    /// Where it is.
    pub kind: ServiceKind,
    /// The version of its package.
    pub version: String,
    /// The process that it runs in; zero if it does not tell.
    pub process: u32,
    /// What it can do beyond the first version of the daemon's interface, by name.
    pub features: Vec<String>,
}

/// Where a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServiceKind {
    /// In this process.
    Embedded,
    /// The daemon, on its private socket.
    PrivateSocket,
    /// The daemon, by way of a message bus.
    SystemBus,
}

impl fmt::Display for ServiceKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Embedded => "in this process",
            Self::PrivateSocket => "bearerd, on its socket",
            Self::SystemBus => "bearerd, on the system bus",
        })
    }
}
