use std::os::unix::process::ExitStatusExt;

use netbearer::SessionEvent;
use rustix::process::{Pid, kill_process};
use tokio::process::{Child, Command};

use crate::{
    arguments::Run,
    command::Context,
    error::Error,
    exit_code::ExitCode,
    holder::{Happening, Holder},
    signals::Signal,
    timeline::Place,
};

pub(crate) async fn run(context: &Context, arguments: &Run) -> Result<ExitCode, Error> {
    let mut holder = Holder::new(context, arguments.id.as_deref(), Place::Aside).await?;
    let ended = hold(context, &mut holder, arguments).await;
    let closed = holder.close().await;
    let code = ended?;
    closed.map(|()| code)
}

async fn hold(context: &Context, holder: &mut Holder<'_>, arguments: &Run) -> Result<ExitCode, Error> {
    holder.open(arguments.timeout).await?;
    // clap requires one.
    let Some((program, rest)) = arguments.command.split_first() else { return Ok(ExitCode::OK) };
    let mut child = Command::new(program)
        .args(rest)
        .spawn()
        .map_err(|source| Error::Command(program.to_string_lossy().into_owned(), source))?;
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(Error::Runtime)?;
                return Ok(match (status.code(), status.signal()) {
                    (Some(code), _) => ExitCode::of_command(u8::try_from(code).unwrap_or(u8::MAX)),
                    (None, Some(signal)) => ExitCode::of_signal(signal),
                    (None, None) => ExitCode::FAILURE,
                });
            }
            happening = holder.next() => match happening? {
                Happening::Signal(signal) => pass_on(&child, signal),
                // The command may have no more need of the network, or its own way to deal with the loss.
                Happening::Event(SessionEvent::Closed) => context.output.error(&holder.end()),
                Happening::Event(_) => {}
            },
        }
    }
}

/// A terminal sends its signals to the whole foreground process group, so the command has had them; others send theirs
/// to this program only.
fn pass_on(child: &Child, signal: Signal) {
    if signal != Signal::Terminate && is_in_foreground() {
        return;
    }
    let child = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    if let Some(child) = child {
        // It fails only if the command has ended just now.
        let _ = kill_process(child, signal.to_rustix());
    }
}

/// True if the terminal's foreground process group is the one of this program and its command.
fn is_in_foreground() -> bool {
    let terminal = std::fs::File::open("/dev/tty");
    terminal.is_ok_and(|terminal| rustix::termios::tcgetpgrp(terminal) == Ok(rustix::process::getpgrp()))
}
