use std::{
    fmt::Write,
    io::{BufRead, BufReader},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use netbearer_lab::{Namespace, Program};

use crate::error::SoakError;

/// Longer than anything takes that is waited for by a line; waiting ends with the line, not with this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes down what happens and wakes who waits for something to happen. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    beats: mpsc::Sender<()>,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug)]
struct Log {
    start: Instant,
    lines: Vec<(Duration, String)>,
    wrong: Vec<String>,
}

/// Who waits.
#[derive(Debug)]
pub(crate) struct Listener(mpsc::Receiver<()>);

impl Pulse {
    pub(crate) fn new() -> (Self, Listener) {
        let (beats, listener) = mpsc::channel();
        let log = Log { start: Instant::now(), lines: Vec::new(), wrong: Vec::new() };
        (Self { beats, log: Arc::new(Mutex::new(log)) }, Listener(listener))
    }

    /// Writes this down, and wakes the listener.
    pub(crate) fn beat(&self, line: String) {
        self.note(line);
        // Without a listener nobody has to be woken.
        let _ = self.beats.send(());
    }

    /// Writes this down.
    pub(crate) fn note(&self, line: String) {
        let mut log = self.log();
        let after = log.start.elapsed();
        log.lines.push((after, line));
    }

    /// Something else begins, and what was written down so far is forgotten.
    pub(crate) fn begin_anew(&self) {
        let mut log = self.log();
        *log = Log { start: Instant::now(), lines: Vec::new(), wrong: Vec::new() };
    }

    /// Something that must never happen has happened.
    pub(crate) fn complain(&self, line: String) {
        self.log().wrong.push(line.clone());
        self.beat(format!("WRONG: {line}"));
    }

    /// All complaints.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.log().wrong.clone()
    }

    /// How many lines contain this.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.log().lines.iter().filter(|(_, line)| line.contains(text)).count()
    }

    /// How much is written down.
    pub(crate) fn mark(&self) -> usize {
        self.log().lines.len()
    }

    /// What was written down since then.
    pub(crate) fn since(&self, mark: usize) -> Vec<String> {
        self.log().lines.iter().skip(mark).map(|(_, line)| line.clone()).collect()
    }

    /// Everything written down, a line each, with milliseconds since the beginning.
    pub(crate) fn transcript(&self) -> String {
        self.log().lines.iter().fold(String::new(), |mut text, (after, line)| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:>10.3}  {line}", after.as_secs_f64() * 1e3);
            text
        })
    }

    /// Beats at each change of links, addresses, routes and rules that `ip` tells of.
    pub(crate) fn of_kernel(&self, machine: &Namespace) -> Result<Program, SoakError> {
        let arguments = ["-oneline", "monitor", "link", "address", "route", "rule"];
        let mut monitor = machine.command("ip").args(arguments).stdout(Stdio::piped()).spawn()?;
        if let Some(output) = monitor.take_stdout() {
            let beats = self.beats.clone();
            thread::spawn(move || {
                for _ in BufReader::new(output).lines().map_while(Result::ok) {
                    if beats.send(()).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(monitor)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// Waits for a beat, but not longer than this. False if there was none.
    pub(crate) fn wait(&self, within: Duration) -> bool {
        let heard = self.0.recv_timeout(within).is_ok();
        self.drain();
        heard
    }

    /// Waits for a beat that comes from now on, but not longer than this.
    pub(crate) fn wait_for_next(&self, within: Duration) {
        self.drain();
        self.wait(within);
    }

    /// Forgets the beats so far.
    pub(crate) fn drain(&self) {
        while self.0.try_recv().is_ok() {}
    }
}

/// Waits until this many lines since then contain the text.
pub(crate) fn wait_for(
    pulse: &Pulse,
    listener: &Listener,
    mark: usize,
    text: &str,
    wanted: usize,
) -> Result<(), SoakError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        listener.drain();
        let lines = pulse.since(mark).iter().filter(|line| line.contains(text)).count();
        if lines >= wanted {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(SoakError::Wrong(format!("{lines} lines instead of {wanted} told {text}")));
        }
        listener.wait(left);
    }
}
