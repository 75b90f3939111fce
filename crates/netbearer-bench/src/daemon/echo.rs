//! The floor of the daemon's figures: a process that answers calls over zbus and does nothing else, and a client of it.

use std::{
    fs,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use netbearer_lab::{Namespace, Program};
use tokio::runtime::LocalRuntime;
use zbus::{Connection, Guid, Message, MessageStream, connection::Builder, message};

use super::client::{connect, runtime};
use crate::{error::BenchError, our_machine::DEADLINE};

/// The command of this program that is the process.
pub(crate) const COMMAND: &str = "echo";

/// Says that it listens.
const READY: &str = "ready";
const PATH: &str = "/echo";
const INTERFACE: &str = "org.netbearer.Echo";

/// The process itself: answers one client until that is gone.
pub(crate) fn run(socket: &Path) -> Result<(), BenchError> {
    let listener = UnixListener::bind(socket)?;
    println!("{READY}");
    let (stream, _) = listener.accept()?;
    fs::remove_file(socket)?;
    runtime()?.block_on(async {
        let connection = Builder::unix_stream(stream).server(Guid::generate()).p2p().build().await?;
        let mut messages = MessageStream::from(&connection);
        while let Some(Ok(call)) = messages.next().await {
            if call.message_type() == message::Type::MethodCall {
                connection.send(&Message::method_return(&call.header()).build(&())?).await?;
            }
        }
        Ok(())
    })
}

/// A client of such a process.
pub(super) struct Echo {
    connection: Connection,
    runtime: LocalRuntime,
    _program: Program,
}

impl Echo {
    /// The process on this machine, with a socket in this directory.
    pub(super) fn start(machine: &Namespace, directory: &Path) -> Result<Self, BenchError> {
        let socket: PathBuf = directory.join(COMMAND);
        let command = machine.command(std::env::current_exe()?).arg(COMMAND).arg(&socket);
        let mut program = command.stdout(Stdio::piped()).spawn()?;
        if let Some(lines) = program.stdout_lines() {
            lines.wait_for_text(READY, DEADLINE)?;
        }
        let runtime = runtime()?;
        let connection = connect(&runtime, UnixStream::connect(socket)?)?;
        Ok(Self { connection, runtime, _program: program })
    }

    /// How long a call and its reply take.
    pub(super) fn round_trip(&self) -> Result<Duration, BenchError> {
        let start = Instant::now();
        let call = self.connection.call_method(None::<&str>, PATH, Some(INTERFACE), "Echo", &());
        self.runtime.block_on(call)?;
        Ok(start.elapsed())
    }
}
