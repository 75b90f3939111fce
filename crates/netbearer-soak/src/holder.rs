//! Another process that holds a session: this program once more.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{ChildStdin, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use netbearer_holder::{Line, Order, Told, Way};
use netbearer_lab::{Namespace, NamespaceCommand, Program, Signal};

use crate::{error::SoakError, pulse::Pulse};

/// For a holder to close and end.
const PATIENCE: Duration = Duration::from_secs(20);

/// The process, as the soak sees it.
pub(crate) struct Holder {
    input: Option<ChildStdin>,
    program: Program,
    told: Arc<Mutex<Option<Told>>>,
}

impl Holder {
    /// Starts it with that many sessions.
    pub(crate) fn start(
        machine: &Namespace,
        directory: &Path,
        interface: &str,
        sessions: u32,
        pulse: &Pulse,
    ) -> Result<Self, SoakError> {
        Self::start_as(machine.command(std::env::current_exe()?), directory, interface, sessions, pulse)
    }

    /// Starts it by a command that takes this program's arguments.
    pub(crate) fn start_as(
        command: NamespaceCommand<'_>,
        directory: &Path,
        interface: &str,
        sessions: u32,
        pulse: &Pulse,
    ) -> Result<Self, SoakError> {
        let way = Way::Embedded { directory: directory.to_owned() };
        let program = command.arg("hold").args(way.arguments());
        let mut program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut input = program.take_stdin();
        let told = Arc::new(Mutex::new(None));
        if let Some(output) = program.take_stdout() {
            let (told, pulse) = (Arc::clone(&told), pulse.clone());
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Some(now) = parse(&line) {
                        *lock(&told) = Some(now);
                    }
                    pulse.beat(format!("holder: {line}"));
                }
                pulse.beat("holder has ended".to_owned());
            });
        }
        if let Some(input) = &mut input {
            // At the moment there may be no such access point; then all of it is refused, and there is nothing to tell.
            for session in 0..usize::try_from(sessions).unwrap_or(usize::MAX) {
                let made = Order::Session(interface.to_owned());
                for order in [made, Order::Reconnect(session), Order::Open(session)] {
                    writeln!(input, "{order}")?;
                }
            }
        }
        Ok(Self { input, program, told })
    }

    pub(crate) fn process(&self) -> u32 {
        self.program.id()
    }

    /// None before it has told anything.
    pub(crate) fn told(&self) -> Option<Told> {
        lock(&self.told).clone()
    }

    /// Lets it close its session and end.
    pub(crate) fn end(mut self) -> Result<(), SoakError> {
        drop(self.input.take());
        let status = self.program.wait(PATIENCE)?;
        if status.success() { Ok(()) } else { Err(SoakError::Wrong(format!("the holder failed: {status}"))) }
    }

    pub(crate) fn kill(mut self) -> Result<(), SoakError> {
        self.program.signal(Signal::KILL)?;
        self.program.wait(PATIENCE)?;
        Ok(())
    }

    /// Does `work` while the process is stopped.
    pub(crate) fn while_stopped<T>(&self, work: impl FnOnce() -> T) -> Result<T, SoakError> {
        self.program.signal(Signal::STOP)?;
        let done = work();
        self.program.signal(Signal::CONT)?;
        Ok(done)
    }
}

fn parse(line: &str) -> Option<Told> {
    match serde_json::from_str(line).ok()? {
        Line::Event { now, .. } => Some(now),
        Line::Done { now, .. } => now,
        Line::Decided { now, .. } => Some(now),
        Line::Held { .. } | Line::Listening | Line::Received { .. } | Line::Reached { .. } => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
