use std::{fmt, fs, io};

use tokio::signal::unix::{self, SignalKind};

/// A request of the user or the system to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// The polite way to end a program.
    Terminate,
    /// The terminal is gone.
    Hangup,
}

impl Signal {
    const fn kind(self) -> SignalKind {
        match self {
            Self::Interrupt => SignalKind::interrupt(),
            Self::Terminate => SignalKind::terminate(),
            Self::Hangup => SignalKind::hangup(),
        }
    }

    pub(crate) const fn number(self) -> i32 {
        self.kind().as_raw_value()
    }

    pub(crate) const fn to_rustix(self) -> rustix::process::Signal {
        match self {
            Self::Interrupt => rustix::process::Signal::INT,
            Self::Terminate => rustix::process::Signal::TERM,
            Self::Hangup => rustix::process::Signal::HUP,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
        })
    }
}

/// The signals that end the program in order, instead of at once.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Option<unix::Signal>,
    terminate: Option<unix::Signal>,
    hangup: Option<unix::Signal>,
}

impl Signals {
    /// From now on these signals are told by [`Self::next`]. One that was ignored when the program was started stays
    /// so: that is what `nohup` and a shell's background jobs rely on.
    pub(crate) fn catch() -> io::Result<Self> {
        let ignored = ignored_signals();
        let listen = |signal: Signal| {
            let is_ignored = ignored & (1 << (signal.number() - 1)) != 0;
            (!is_ignored).then(|| unix::signal(signal.kind())).transpose()
        };
        Ok(Self {
            interrupt: listen(Signal::Interrupt)?,
            terminate: listen(Signal::Terminate)?,
            hangup: listen(Signal::Hangup)?,
        })
    }

    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            () = received(&mut self.interrupt) => Signal::Interrupt,
            () = received(&mut self.terminate) => Signal::Terminate,
            () = received(&mut self.hangup) => Signal::Hangup,
        }
    }
}

async fn received(signal: &mut Option<unix::Signal>) {
    let told = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if told.is_none() {
        std::future::pending::<()>().await;
    }
}

/// `SigIgn` of `proc_pid_status(5)`: a bit for each signal, the first for signal 1.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
