//! The daemon of NetBearer: one ledger of sessions for all processes and users of a machine.
//!
//! It is the service that programs may also have for themselves, behind D-Bus: on a [private socket](PrivateSocket), for which
//! no bus daemon is needed, and on the [system bus](SystemBus). One [`Dispatcher`] carries out the calls of both. A hold is a
//! descriptor ([`Fifos`]), so it lasts exactly as long as somebody has it, whatever becomes of the daemon, and what the daemon
//! must know when it comes back is in its [state file](StateFile).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod background;
mod call;
mod causes;
mod check;
mod client;
mod daemon;
mod dispatcher;
mod fault;
mod handshake;
mod holds;
mod instance;
mod keeping;
mod letter;
mod outbox;
mod peer;
mod private_socket;
mod readiness;
mod rights;
mod roster;
mod signals;
mod socket_file;
mod state_file;
mod system_bus;
mod transport;
mod turns;

pub use causes::with_causes;
pub use check::{Finding, check};
pub use client::{Client, Common, Topics};
pub use daemon::{DaemonError, Ending, Options, Staging, run};
pub use dispatcher::Dispatcher;
pub use handshake::HandshakeError;
pub use holds::Fifos;
pub use instance::{Instance, InstanceError};
pub use letter::{Letter, Repeated};
pub use outbox::{Lag, Level, Mail, Outbox};
pub use peer::Peer;
pub use private_socket::PrivateSocket;
pub use rights::{GROUP, Rules};
pub use roster::Roster;
pub use state_file::{Found, Realm, Snapshotting, StateFile};
pub use system_bus::SystemBus;
