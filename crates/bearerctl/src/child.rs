//! Programs that this one starts and is to look as if it were.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use rustix::process::{Pid, kill_process};
use tokio::process::Child;

use crate::{exit_code::ExitCode, signals::Signal};

/// The code a shell would tell of a program that ended so.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitCode::of_command(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, Some(signal)) => ExitCode::of_signal(signal),
        (None, None) => ExitCode::FAILURE,
    }
}

/// A program's process number, until it has been waited for.
pub(crate) fn number(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?))
}

/// Passes a signal on. A terminal sends its signals to the whole foreground process group, so the program has had them;
/// others send theirs to this program only.
pub(crate) fn pass_on(child: Option<Pid>, signal: Signal) {
    if let Some(child) = child.filter(|_| signal == Signal::Terminate || !is_in_foreground()) {
        send(child, signal);
    }
}

/// Sends a signal.
pub(crate) fn send(child: Pid, signal: Signal) {
    // It fails only if the program has ended just now.
    let _ = kill_process(child, signal.to_rustix());
}

/// True if the terminal's foreground process group is the one of this program and its child.
fn is_in_foreground() -> bool {
    let terminal = std::fs::File::open("/dev/tty");
    terminal.is_ok_and(|terminal| rustix::termios::tcgetpgrp(terminal) == Ok(rustix::process::getpgrp()))
}
