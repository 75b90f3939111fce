use std::{fmt, fs, future::poll_fn, io, task::Poll};

use tokio::signal::unix::{self, SignalKind};

use crate::sender;

/// A request of the user or the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// The polite way to end a program.
    Terminate,
    /// The terminal is gone.
    Hangup,
    /// Ctrl-\.
    Quit,
    /// What was suspended is to go on.
    Continue,
}

/// Those that end a program.
const ENDING: [Signal; 3] = [Signal::Interrupt, Signal::Terminate, Signal::Hangup];

impl Signal {
    pub(crate) const fn to_rustix(self) -> rustix::process::Signal {
        match self {
            Self::Interrupt => rustix::process::Signal::INT,
            Self::Terminate => rustix::process::Signal::TERM,
            Self::Hangup => rustix::process::Signal::HUP,
            Self::Quit => rustix::process::Signal::QUIT,
            Self::Continue => rustix::process::Signal::CONT,
        }
    }

    pub(crate) const fn number(self) -> i32 {
        self.to_rustix().as_raw()
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
            Self::Quit => "SIGQUIT",
            Self::Continue => "SIGCONT",
        })
    }
}

/// A signal that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) signal: Signal,
    pub(crate) sender: Sender,
}

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The kernel, on behalf of a terminal: our whole process group has it.
    Terminal,
    /// A program, perhaps to us only.
    Program,
}

/// The signals that end the program in order, instead of at once, and others that it deals with itself.
#[derive(Debug)]
pub(crate) struct Signals {
    caught: Vec<(Signal, unix::Signal)>,
}

impl Signals {
    /// From now on the signals that end a program are told by [`Self::next`]. One that was ignored when the program was
    /// started stays so: that is what `nohup` and a shell's background jobs rely on.
    pub(crate) fn catch() -> io::Result<Self> {
        Self::catch_with(&[])
    }

    /// The same, and these signals too.
    pub(crate) fn catch_with(others: &[Signal]) -> io::Result<Self> {
        let ignored = ignored_signals();
        let wanted = ENDING.iter().chain(others).filter(|signal| ignored & (1 << (signal.number() - 1)) == 0);
        let catch = |signal: &Signal| {
            sender::note(signal.number())?;
            Ok((*signal, unix::signal(SignalKind::from_raw(signal.number()))?))
        };
        Ok(Self { caught: wanted.map(catch).collect::<io::Result<_>>()? })
    }

    /// The next signal. May be dropped while waiting.
    pub(crate) async fn next(&mut self) -> Received {
        let signal = poll_fn(|context| {
            for (signal, told) in &mut self.caught {
                if told.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await;
        let sender = if sender::was_program(signal.number()) { Sender::Program } else { Sender::Terminal };
        Received { signal, sender }
    }
}

/// `SigIgn` of `proc_pid_status(5)`: a bit for each signal, the first for signal 1.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
