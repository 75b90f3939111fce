//! The daemon and its clients: the real daemon in a process of its own, and its clients in others, all of them this program
//! once more, so that one command measures everything.
//!
//! Who waits for the daemon takes the time itself; the clock is the same for all processes.

mod client;
mod crowd;
mod crowd_driver;
mod descriptors;
mod echo;
mod figures;
mod machine;
mod under_test;
mod usage;
mod wire;

use crate::{arguments::DaemonOptions, error::BenchError, figure::Figure};

pub(crate) use self::crowd::{COMMAND as CROWD_COMMAND, run as be_crowd};
pub(crate) use self::echo::{COMMAND as ECHO_COMMAND, run as be_echo};
pub(crate) use self::machine::DaemonMachine;
pub(crate) use self::under_test::{COMMAND as DAEMON_COMMAND, run as be_daemon};

/// Measures what is wanted.
pub(crate) fn measure(options: &DaemonOptions) -> Result<Vec<Figure>, BenchError> {
    figures::measure(options)
}
