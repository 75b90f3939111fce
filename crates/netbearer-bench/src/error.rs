use std::{io, time::Duration};

use netbearer::{CallError, Failure, FindError, ManagerError};
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
    #[error("the session could not be opened: {0}")]
    Session(Failure),
    #[error("the DHCP server was to send {expected}, but its log has {offers} OFFER(s)")]
    OtherMessages { expected: &'static str, offers: usize },
    #[error("{what} was not told within {within:?}")]
    NotTold { what: &'static str, within: Duration },
}
