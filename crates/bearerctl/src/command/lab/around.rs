//! The process around a sandbox, which is what its user's shell knows of it.

use std::{env, path::PathBuf};

use netbearer_lab::Sandbox;
use nix::unistd::{Pid, getpgrp, getpid, tcgetpgrp};
use rustix::{
    process::{self, kill_current_process_group, kill_process_group},
    stdio::{stdin, stdout},
    termios::isatty,
};
use tokio::{
    net::UnixDatagram,
    process::{Child, Command},
};

use crate::{
    child,
    error::Error,
    exit_code::ExitCode,
    signals::{Signal, Signals},
    terminal::{is_in_foreground, put_in_foreground},
};

/// Says that the sandbox's first process may take the terminal.
const FOREGROUND: &str = "NETBEARER_LAB_FOREGROUND";

/// Waits for the sandbox's first process, which is the program proper: with this one it would end at once.
///
/// What runs in the sandbox may read the terminal (`is_interactive`). If nobody else does, it gets a process group of its
/// own, so that all groups of the terminal's foreground have a number inside: shells there need it. In a pipeline it stays
/// in the group it was started in.
pub(super) async fn run(sandbox: &Sandbox, is_interactive: bool) -> Result<ExitCode, Error> {
    let mut signals = Signals::catch_with(&[Signal::Continue]).map_err(Error::Runtime)?;
    let suspensions = UnixDatagram::bind(suspensions()).map_err(Error::Runtime)?;
    let mut command = Command::from(sandbox.command());
    let is_job = is_interactive && isatty(stdin()) && isatty(stdout());
    let is_lent = is_job && is_in_foreground();
    if is_job {
        command.process_group(0);
    }
    if is_lent {
        command.env(FOREGROUND, "");
    }
    let mut inside = command.spawn().map_err(Error::Runtime)?;
    let mut job = if is_job { Job::of(&inside, is_lent) } else { None };
    let mut word = [0];
    loop {
        tokio::select! {
            biased;
            received = signals.next() => match (received.signal, &mut job) {
                (Signal::Continue, Some(job)) => {
                    // What was told before is past.
                    while suspensions.try_recv(&mut word).is_ok() {}
                    job.resume();
                }
                (Signal::Continue, None) => {}
                _ => child::pass_on(child::number(&inside), received),
            },
            Ok(_) = suspensions.recv(&mut word) => if let Some(job) = &mut job {
                job.follow(word == WANTS_TERMINAL);
            },
            status = inside.wait() => return Ok(child::exit_code(status.map_err(Error::Runtime)?)),
        }
    }
}

/// Where the sandbox's first process, which nothing can suspend, tells that its command was.
fn suspensions() -> PathBuf {
    PathBuf::from(Sandbox::DIRECTORY).join("suspensions")
}

/// Takes the terminal, if the process around has it to give. To be called by the sandbox's first process, before it starts
/// what may read.
pub(super) fn take_terminal() {
    if env::var_os(FOREGROUND).is_some() {
        // Without it, whoever reads is suspended, and gets the terminal when he goes on.
        let _ = put_in_foreground(getpgrp());
    }
}

/// Removes what only this module uses from the environment of a program to be started inside.
pub(super) fn clear_environment(command: &mut std::process::Command) {
    command.env_remove(FOREGROUND);
}

/// What a command was suspended for, as told to the process around.
const WANTS_TERMINAL: [u8; 1] = *b"t";
const ANY_OTHER: [u8; 1] = *b"z";

/// Has the process around suspend itself, too, as this signal suspended the command. Where it shares its process group with those inside, the terminal has done so.
pub(super) fn tell_suspended(by: Option<i32>) {
    let wants_terminal =
        [process::Signal::TTIN, process::Signal::TTOU].iter().any(|signal| by == Some(signal.as_raw()));
    if getpgrp() == getpid()
        && let Ok(socket) = std::os::unix::net::UnixDatagram::unbound()
    {
        // Nobody listens: then it ends just now.
        let word = if wants_terminal { WANTS_TERMINAL } else { ANY_OTHER };
        let _ = socket.send_to(&word, suspensions());
    }
}

/// What is in the sandbox, as a job of the shell outside (`termios(3)`, "job control"). Dropping it takes the terminal back.
struct Job {
    /// The first process, and its group.
    first: Pid,
    /// Which of the groups inside is in the foreground, or was last.
    foreground: Pid,
    /// Whether the terminal is lent to it.
    is_lent: bool,
}

impl Job {
    fn of(inside: &Child, is_lent: bool) -> Option<Self> {
        let first = Pid::from_raw(child::number(inside)?.as_raw_nonzero().get());
        Some(Self { first, foreground: first, is_lent })
    }

    /// Those inside were suspended. Who wanted to read, and has the terminal by now, only has to go on.
    fn follow(&mut self, wants_terminal: bool) {
        if wants_terminal && (self.is_lent || is_in_foreground()) {
            self.resume();
        } else {
            self.suspend();
        }
    }

    /// Suspends the calling process and whoever was started with it, as the terminal has done with those inside. Returns
    /// when that is over, or at once if nobody could end it: then the kernel suspends nobody.
    fn suspend(&mut self) {
        self.take_back();
        // It cannot fail: this process is in its group.
        let _ = kill_current_process_group(process::Signal::TSTP);
        if is_in_foreground() {
            self.resume();
        }
    }

    /// Has those inside go on, with the terminal if it is ours again.
    fn resume(&mut self) {
        if is_in_foreground() {
            let lent = put_in_foreground(self.foreground).or_else(|_| put_in_foreground(self.first));
            self.is_lent = lent.is_ok();
        }
        if let Some(first) = process::Pid::from_raw(self.first.as_raw()) {
            // It fails only if all of them have ended.
            let _ = kill_process_group(first, process::Signal::CONT);
        }
    }

    fn take_back(&mut self) {
        if !self.is_lent {
            return;
        }
        self.is_lent = false;
        if let Ok(foreground) = tcgetpgrp(stdin()).map(|group| if group == getpgrp() { self.first } else { group }) {
            self.foreground = foreground;
            // It fails only if the terminal is gone.
            let _ = put_in_foreground(getpgrp());
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.take_back();
    }
}
