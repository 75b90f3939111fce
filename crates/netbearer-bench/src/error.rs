use std::{io, time::Duration};

use netbearer::{CallError, Failure, FindError, ManagerError, MigrateError, SocketError};
use netbearer_lab::LabError;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error(
        "measuring needs network namespaces with links in them, hence CAP_SYS_ADMIN and CAP_NET_ADMIN: run it as root"
    )]
    NotRoot,
    #[error("the lab failed")]
    Lab(#[from] LabError),
    #[error("a system call of the floor failed")]
    Floor(#[from] io::Error),
    #[error("no session manager could be had")]
    Manager(#[from] ManagerError),
    #[error("the lab's access point was not found")]
    Find(#[from] FindError),
    #[error("a call to the service was refused")]
    Call(#[from] CallError),
    #[error("a socket of the session could not be had")]
    Socket(#[from] SocketError),
    #[error("the session could not migrate")]
    Migrate(#[from] MigrateError),
    #[error("the session could not be opened: {0}")]
    Session(Failure),
    #[error("the DHCP server was to send {expected}, but its log has {offers} OFFER(s)")]
    OtherMessages { expected: &'static str, offers: usize },
    #[error("a network manager, or the bus it is on, did not answer as its documents say")]
    Bus(#[from] zbus::Error),
    #[error("{program} cannot take part; `cargo xtask test` installs what is missing, and lets no service start")]
    Missing { program: &'static str, source: LabError },
    #[error("{program} told of a loss before it was made")]
    ToldBefore { program: &'static str },
    #[error("{program} could not bring the network up")]
    PeerFailed { program: &'static str },
    #[error("{program} tells that the network is up, but `ip` shows no address")]
    NoAddress { program: &'static str },
    #[error("{program} opened {opens} times, but its DHCP server has confirmed {leases} lease(s)")]
    TooFewLeases { program: &'static str, opens: u32, leases: usize },
    #[error("the crowd of clients cannot go on: {0}")]
    Crowd(String),
    #[error("the daemon has failed")]
    Daemon(#[from] bearerd::DaemonError),
    #[error("the daemon has closed a connection")]
    DaemonGone,
    #[error("the daemon has other memory than processes have")]
    NoReading,
    #[error("{what} was not told within {within:?}")]
    NotTold { what: &'static str, within: Duration },
}
