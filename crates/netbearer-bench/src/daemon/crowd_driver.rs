use std::{
    io::Write,
    path::Path,
    process::{ChildStdin, Stdio},
    time::Duration,
};

use netbearer::Moment;
use netbearer_lab::{Mark, Namespace, Program, Record, Signal};

use super::crowd::{COMMAND, DONE, Order, READY};
use crate::{error::BenchError, our_machine::DEADLINE};

/// Ten thousand sessions of a daemon that is not optimised take their time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A crowd as the benchmark drives it. It ends with this value.
pub(super) struct Crowd {
    program: Program,
    input: ChildStdin,
    lines: Record<String>,
}

/// An order that is being carried out.
#[must_use]
pub(super) struct Pending {
    from: Mark,
}

impl Crowd {
    /// On this machine, of the daemon with this socket.
    pub(super) fn start(machine: &Namespace, socket: &Path) -> Result<Self, BenchError> {
        let command = machine.command(std::env::current_exe()?).arg(COMMAND).arg(socket);
        let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, lines) = (program.take_stdin(), program.stdout_lines());
        let (Some(input), Some(lines)) = (input, lines) else { return Err(BenchError::DaemonGone) };
        Ok(Self { program, input, lines })
    }

    /// So many connections with so many sessions each, all of them open.
    pub(super) fn holding(
        machine: &Namespace,
        socket: &Path,
        connections: usize,
        sessions: usize,
        name: &str,
    ) -> Result<Self, BenchError> {
        let mut crowd = Self::watching(machine, socket, connections, sessions, name)?;
        crowd.carry_out(&Order::Open)?;
        Ok(crowd)
    }

    /// The same, none of them open.
    pub(super) fn watching(
        machine: &Namespace,
        socket: &Path,
        connections: usize,
        sessions: usize,
        name: &str,
    ) -> Result<Self, BenchError> {
        let mut crowd = Self::start(machine, socket)?;
        crowd.carry_out(&Order::Connect(connections))?;
        crowd.carry_out(&Order::Create(sessions, name.to_owned()))?;
        Ok(crowd)
    }

    /// Has it do this, and waits until it is done.
    pub(super) fn carry_out(&mut self, order: &Order) -> Result<Moment, BenchError> {
        let pending = self.give(order)?;
        self.finish(&pending)
    }

    /// Has it begin to wait for something.
    pub(super) fn begin(&mut self, order: &Order) -> Result<Pending, BenchError> {
        let pending = self.give(order)?;
        self.lines.wait_for_text_since(pending.from, READY, DEADLINE)?;
        Ok(pending)
    }

    /// Waits until that is done. When it was.
    pub(super) fn finish(&self, pending: &Pending) -> Result<Moment, BenchError> {
        let line = self.lines.wait_for_text_since(pending.from, DONE, PATIENCE)?;
        let moment = line.strip_prefix(DONE).and_then(|moment| moment.trim().parse().ok());
        moment.map(Moment::from_nanoseconds).ok_or_else(|| BenchError::Crowd(format!("it says: {line}")))
    }

    fn give(&mut self, order: &Order) -> Result<Pending, BenchError> {
        let from = self.lines.mark();
        writeln!(self.input, "{}", order.line())?;
        Ok(Pending { from })
    }

    /// Kills it, and waits until it is gone.
    pub(super) fn kill(&mut self) -> Result<(), BenchError> {
        self.program.signal(Signal::KILL)?;
        self.program.wait(DEADLINE)?;
        Ok(())
    }
}
