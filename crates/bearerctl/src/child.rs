//! Programs that this one starts and is to look as if it were.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use nix::unistd::{self, getpgid, getpgrp};
use rustix::process::{Pid, kill_process};
use tokio::process::Child;

use crate::{
    exit_code::ExitCode,
    signals::{Received, Sender, Signal},
};

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

/// Passes a signal on, unless the program has had it: a terminal sends its signals to the whole foreground process group.
pub(crate) fn pass_on(child: Option<Pid>, received: Received) {
    if let Some(child) = child.filter(|child| received.sender == Sender::Program || !is_in_our_group(*child)) {
        send(child, received.signal);
    }
}

/// Sends a signal.
pub(crate) fn send(child: Pid, signal: Signal) {
    // It fails only if the program has ended just now.
    let _ = kill_process(child, signal.to_rustix());
}

/// Not by rustix, whose groups have a number: one that came with us from outside of our process namespace has none here.
fn is_in_our_group(child: Pid) -> bool {
    getpgid(Some(unistd::Pid::from_raw(child.as_raw_nonzero().get()))).is_ok_and(|group| group == getpgrp())
}
