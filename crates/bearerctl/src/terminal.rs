use std::{
    io::{self, BufRead},
    sync::mpsc,
    thread,
};

use nix::{
    sys::signal::{SigSet, SigmaskHow, Signal},
    unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp},
};
use rustix::{
    io::ioctl_fionread,
    stdio::stdin,
    termios::{QueueSelector, isatty, tcflush},
};
use tokio::sync::mpsc as channel;

/// What a person is told who has typed something that is no answer.
pub(crate) const NOTHING_ASKED: &str = "Nothing was asked, so what was typed is dropped.\n";

/// The terminal of a person who can answer (`tty(4)`).
#[derive(Debug)]
pub(crate) struct Terminal {
    wanted: mpsc::Sender<()>,
    lines: channel::UnboundedReceiver<Option<String>>,
    is_reading: bool,
}

impl Terminal {
    /// None if nobody would see a question on standard error, or could answer it: a job in the background would be stopped by
    /// reading (SIGTTIN, `termios(3)`).
    pub(crate) fn of_a_person() -> Option<Self> {
        let is_seen = isatty(stdin()) && isatty(rustix::stdio::stderr());
        if !is_seen || !is_in_foreground() {
            return None;
        }
        let (wanted, wishes) = mpsc::channel();
        let (told, lines) = channel::unbounded_channel();
        // It ends with the program: nothing wakes somebody who reads a terminal, and to make it non-blocking would concern
        // whoever else has it. A line is read only when it is wanted, so that the rest is for who comes after.
        let thread = thread::Builder::new().name("terminal".to_owned()).spawn(move || {
            while let Ok(()) = wishes.recv() {
                if told.send(read_line()).is_err() {
                    return;
                }
            }
        });
        thread.ok().map(|_| Self { wanted, lines, is_reading: false })
    }

    /// A question begins: what was typed before is no answer to it. Returns whether anything was.
    pub(crate) fn begin_question(&mut self) -> bool {
        let mut was_typed = false;
        while self.lines.try_recv().is_ok() {
            (self.is_reading, was_typed) = (false, true);
        }
        // In the background this would stop the program, and what is typed there is the shell's.
        if is_in_foreground() {
            was_typed |= ioctl_fionread(stdin()).is_ok_and(|count| count > 0);
            // What was typed of a line that has no end yet goes as well.
            let _ = tcflush(stdin(), QueueSelector::IFlush);
        }
        was_typed
    }

    /// A line that is typed though nothing is asked any more: nobody can be kept from reading once he does. Never comes if
    /// nobody reads. May be dropped while waiting.
    pub(crate) async fn stray_line(&mut self) {
        if self.is_reading {
            let line = self.lines.recv().await;
            self.is_reading = false;
            if line.is_some() {
                return;
            }
        }
        std::future::pending().await
    }

    /// The next line without its end; none at the end of input (Ctrl-D), or if the terminal is gone. May be dropped while
    /// waiting.
    pub(crate) async fn next_line(&mut self) -> Option<String> {
        if !self.is_reading {
            self.wanted.send(()).ok()?;
            self.is_reading = true;
        }
        let line = self.lines.recv().await;
        self.is_reading = false;
        line.flatten()
    }
}

/// Whether this process is in the foreground of the terminal that is its standard input.
///
/// Not by rustix, whose groups have a number: those of outside have none in a process namespace. Which of them is in the
/// foreground cannot be told there, but a namespace's first program usually has its starter's.
pub(crate) fn is_in_foreground() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
}

/// Puts a process group into the foreground of the terminal that is the standard input, from the background too.
pub(crate) fn put_in_foreground(group: Pid) -> nix::Result<()> {
    // From there it would stop us, unless we do not want to know (`tcsetpgrp(3)`).
    let blocked: SigSet = [Signal::SIGTTOU].into_iter().collect();
    let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let done = tcsetpgrp(stdin(), group);
    before.thread_set_mask()?;
    done
}

fn read_line() -> Option<String> {
    let mut line = Vec::new();
    match io::stdin().lock().read_until(b'\n', &mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned()),
    }
}
