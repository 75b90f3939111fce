//! Another process that holds a session: this program once more.

use std::{
    io::{self, BufRead, BufReader, Read},
    path::Path,
    process::{ChildStdin, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use netbearer::{
    Directories, Embedded, Interface, PropertyKey, PropertyValue, SessionState,
    blocking::{Manager, Session},
};
use netbearer_lab::{Namespace, NamespaceCommand, Program, Signal};
use serde_json::{Value, json};

use crate::{error::SoakError, pulse::Pulse};

/// For a holder to close and end.
const PATIENCE: Duration = Duration::from_secs(20);

/// The process, as the soak sees it.
pub(crate) struct Holder {
    input: Option<ChildStdin>,
    program: Program,
    told: Arc<Mutex<Option<Told>>>,
}

/// What the holder's session was told last.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) state: SessionState,
    pub(crate) interface: Option<Interface>,
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
        let program = command.arg("hold").arg(directory).arg(interface);
        let program = program.args(["--sessions", &sessions.to_string()]);
        let mut program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = program.take_stdin();
        let told = Arc::new(Mutex::new(None));
        if let Some(output) = program.take_stdout() {
            let (told, pulse) = (Arc::clone(&told), pulse.clone());
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    *lock(&told) = parse(&line);
                    pulse.beat(format!("holder: {line}"));
                }
                pulse.beat("holder has ended".to_owned());
            });
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

/// The process itself: holds sessions until its standard input ends, and prints what they tell, a line each time.
pub(crate) fn hold(directory: &Path, interface: &str, sessions: u32) -> Result<(), SoakError> {
    let manager = Manager::start(Embedded::default().directories(Directories::below(directory)))?;
    let mut held = Vec::new();
    // At the moment there may be no such access point; then there is nothing to tell.
    if let Ok(configuration) = manager.find(Some(interface)) {
        for _ in 0..sessions {
            let session = Arc::new(manager.session(&configuration)?);
            session.set_property(PropertyKey::Reconnect, Some(PropertyValue::Boolean(true)))?;
            let events = session.events();
            tell(&session);
            let teller = Arc::clone(&session);
            thread::spawn(move || events.for_each(|_| tell(&teller)));
            session.open()?;
            held.push(session);
        }
    }
    wait_for_end_of_input()?;
    for session in held {
        session.close()?;
    }
    manager.shutdown();
    Ok(())
}

fn wait_for_end_of_input() -> io::Result<()> {
    io::stdin().read_to_end(&mut Vec::new()).map(|_| ())
}

fn tell(session: &Session) {
    let snapshot = session.snapshot();
    let (state, opening, open, interface) = (snapshot.state, snapshot.is_opening, snapshot.is_open, snapshot.interface);
    println!("{}", json!({ "state": state, "opening": opening, "open": open, "interface": interface }));
}

fn parse(line: &str) -> Option<Told> {
    let told: Value = serde_json::from_str(line).ok()?;
    let field = |name| told.get(name).cloned().unwrap_or_default();
    let state = serde_json::from_value(field("state")).ok()?;
    Some(Told { state, interface: serde_json::from_value(field("interface")).ok()? })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
