use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::{fs::symlink, process::ExitStatusExt},
    path::Path,
    process::{Command, ExitStatus},
    sync::Arc,
};

use netbearer::Directories;
use netbearer_lab::{Card, INTERNET, Lab, SERVER_NAME, Sandbox};
use rustix::process::{Pid, WaitOptions, wait};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};

use super::{around, build, control};
use crate::{
    arguments::LabStart,
    child,
    command::Context,
    error::Error,
    exit_code::ExitCode,
    output::BOLD,
    service::SERVICE,
    signals::{Signal, Signals},
};

/// What a shell's prompt shows on Debian and its kin.
const PROMPT: (&str, &str) = ("debian_chroot", "lab");
/// Says that a program is in a sandbox, and where its directory is.
const SANDBOX: &str = "NETBEARER_LAB";

/// Runs a shell or the command on a new lab's machine, and obeys `lab cut` and the like meanwhile.
pub(super) async fn run(context: &Context, start: &LabStart) -> Result<ExitCode, Error> {
    // From here on the one who is asked to end is the shell or the command.
    let mut signals = Signals::catch_with(&[Signal::Continue]).map_err(Error::Runtime)?;
    let card = if start.card_like { Card::CardLike } else { Card::Ordinary };
    let (lab, _) = build(start, |_| card)?;
    let lab = Arc::new(lab);
    let server: JoinHandle<()> = control::serve(Arc::clone(&lab))?;
    let is_shell = start.command.is_empty();
    if is_shell {
        welcome(context, &lab);
    }
    let (program, arguments) = program(start);
    let mut command = Command::new(&program);
    command.args(arguments);
    set_environment(&mut command, &context.lab_directories).map_err(Error::Runtime)?;
    around::take_terminal();
    let mut ended = signal(SignalKind::child()).map_err(Error::Runtime)?;
    let running = command.spawn().map_err(|source| Error::Command(program.to_string_lossy().into_owned(), source))?;
    let running = Pid::from_child(&running);
    let code = loop {
        tokio::select! {
            Some(()) = ended.recv() => if let Some(code) = reap(running) {
                break code;
            },
            received = signals.next() => match received.signal {
                // A shell at a terminal takes no notice of a wish to end.
                Signal::Terminate if is_shell => child::send(running, Signal::Hangup),
                _ => child::pass_on(Some(running), received),
            },
        }
    };
    server.abort();
    Ok(code)
}

/// Waits for programs that have ended, until it was `running`: then its code. If it was suspended, so is who waits for the
/// sandbox. The others are those whose parents have ended;
/// they are the children of the sandbox's first process, and nobody else waits for them.
fn reap(running: Pid) -> Option<ExitCode> {
    while let Ok(Some((ended, status))) = wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
        if ended == running && status.stopped() {
            around::tell_suspended(status.stopping_signal());
        } else if ended == running {
            return Some(child::exit_code(ExitStatus::from_raw(status.as_raw())));
        }
    }
    None
}

fn program(start: &LabStart) -> (OsString, &[OsString]) {
    match start.command.split_first() {
        Some((program, arguments)) => (program.clone(), arguments),
        None => (env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into()), &[]),
    }
}

/// NetBearer's directories are the sandbox's own, and its programs are found there.
fn set_environment(command: &mut Command, directories: &Directories) -> std::io::Result<()> {
    let programs = Path::new(Sandbox::DIRECTORY).join("bin");
    fs::create_dir_all(&programs)?;
    let program = env::current_exe()?;
    // Where it is installed or built beside this program.
    let service = program.with_file_name(SERVICE);
    if service.exists() {
        symlink(service, programs.join(SERVICE))?;
    }
    symlink(program, programs.join("bearerctl"))?;
    let path = env::var_os("PATH").unwrap_or_default();
    // An ordinary user's often lacks what only root used to need.
    let usual = ["/usr/sbin", "/sbin"].map(Into::into);
    let path = env::join_paths([programs].into_iter().chain(env::split_paths(&path)).chain(usual))
        .map_err(std::io::Error::other)?;
    for directory in [&directories.configuration, &directories.runtime, &directories.state] {
        fs::create_dir_all(directory)?;
    }
    Sandbox::clear_environment(command);
    around::clear_environment(command);
    command
        .env("PATH", path)
        .env("NETBEARER_CONFIG_DIR", &directories.configuration)
        .env("NETBEARER_RUNTIME_DIR", &directories.runtime)
        .env("NETBEARER_STATE_DIR", &directories.state)
        .env(SANDBOX, Sandbox::DIRECTORY)
        .env(PROMPT.0, PROMPT.1);
    Ok(())
}

fn welcome(context: &Context, lab: &Lab) {
    let names: Vec<&str> = lab.access_points().iter().map(netbearer_lab::AccessPoint::name).collect();
    let first = names.first().copied().unwrap_or_default();
    context.output.hint(&format!(
        "A sandbox: a machine with the network card{} {}, all down, each with an access point at its other end (DHCP, IPv6 \
         routing, DNS).\nBehind every access point is the server {SERVER_NAME}, {INTERNET}. Nothing outside is touched.\n",
        if names.len() == 1 { "" } else { "s" },
        names.join(", ")
    ));
    for (command, meaning) in [
        ("bearerctl list".to_owned(), "what sessions can be opened on"),
        (format!("bearerctl open {first} &"), "a session, and what happens to it"),
        (format!("curl http://{INTERNET}/"), "which access point it is reached by"),
        (format!("bearerctl lab cut {first}"), "pull its cable; lab restore plugs it in again"),
        (format!("bearerctl lab slow {first} --rate 1mbit"), "make it slow"),
        ("bearerctl lab status".to_owned(), "what there is; works from other terminals, too"),
        ("exit".to_owned(), "all of it is gone"),
    ] {
        context.output.hint(&format!("  {BOLD}{command:<38}{BOLD:#} {meaning}"));
    }
    context.output.hint("");
}
