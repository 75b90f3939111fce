use std::path::PathBuf;

use clap::Subcommand;
use netbearer::{Daemon, Directories, Embedded, ManagerError, blocking::Manager};

/// How the process reaches a service.
#[derive(Clone, Debug, Subcommand)]
pub enum Way {
    /// It has one of its own.
    Embedded {
        /// Where configuration, locks and leases are.
        directory: PathBuf,
    },
    /// By the daemon's own socket.
    Socket {
        /// Where configuration, locks and leases are.
        directory: PathBuf,
    },
    /// By a bus.
    Bus {
        /// Its D-Bus address.
        address: String,
    },
}

impl Way {
    /// A manager by this way.
    ///
    /// # Errors
    /// As [`Embedded::start`] and [`Daemon::connect`] have.
    pub fn manager(&self) -> Result<Manager, ManagerError> {
        match self {
            Self::Embedded { directory } => {
                Manager::start(Embedded::default().directories(Directories::below(directory)))
            }
            Self::Socket { directory } => {
                Manager::with_daemon(Daemon::default().directories(Directories::below(directory)).names(None))
            }
            Self::Bus { address } => {
                Manager::with_daemon(Daemon::default().system_bus(Some(address.clone())).names(None))
            }
        }
    }

    /// The arguments that say so.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        match self {
            Self::Embedded { directory } => vec!["embedded".to_owned(), directory.display().to_string()],
            Self::Socket { directory } => vec!["socket".to_owned(), directory.display().to_string()],
            Self::Bus { address } => vec!["bus".to_owned(), address.clone()],
        }
    }
}
