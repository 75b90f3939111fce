//! The program of that name, openresolv's or Debian's (`resolvconf(8)`): it makes one file of what many say.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use netbearer_types::LinkNames;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::{NamesError, note::Note, resolv_conf};

/// Ends the name under which the program knows what we say of an interface; `netbearer` stands for nobody else's program.
const SUFFIX: &str = ".netbearer";
/// openresolv prefers what has the lower number. Below what others have without saying so would be too forward.
const FIRST_METRIC: usize = 100;
/// For the program to end, with all it starts.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the program was told, by the names it knows it under.
#[derive(Debug)]
pub(crate) struct Resolvconf {
    program: PathBuf,
    /// With its metric and its entries; none of what a process told that is gone.
    told: BTreeMap<String, Option<(usize, String)>>,
}

impl Resolvconf {
    /// With the names under which a process has told something that is gone.
    pub(crate) fn new(program: PathBuf, inherited: Vec<String>) -> Self {
        Self { program, told: inherited.into_iter().map(|name| (name, None)).collect() }
    }

    pub(crate) fn apply(&mut self, links: &[&LinkNames], note: &mut Note) -> Result<(), NamesError> {
        let wanted: BTreeMap<String, (usize, String)> = (FIRST_METRIC..)
            .zip(links)
            .map(|(metric, link)| (record_name(&link.interface_name), (metric, resolv_conf::entries(&[link]))))
            .collect();
        for gone in self.told.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect::<Vec<_>>() {
            self.remove(&gone, note)?;
        }
        for (name, (metric, entries)) in wanted {
            let told = self.told.get(&name).and_then(Option::as_ref);
            if told.is_some_and(|told| *told == (metric, entries.clone())) {
                continue;
            }
            note.add_resolvconf(&name)?;
            run(&self.program, &["-a", &name], metric, &entries)?;
            self.told.insert(name, Some((metric, entries)));
        }
        Ok(())
    }

    /// Removes all that was told, whatever fails; the first failure is returned.
    pub(crate) fn release(&mut self, note: &mut Note) -> Result<(), NamesError> {
        let told: Vec<String> = self.told.keys().cloned().collect();
        told.iter().map(|name| self.remove(name, note)).fold(Ok(()), Result::and)
    }

    fn remove(&mut self, name: &str, note: &mut Note) -> Result<(), NamesError> {
        remove(&self.program, name)?;
        self.told.remove(name);
        note.remove_resolvconf(name)
    }
}

pub(crate) fn remove(program: &Path, name: &str) -> Result<(), NamesError> {
    run(program, &["-d", name], FIRST_METRIC, "")
}

fn record_name(interface: &str) -> String {
    format!("{interface}{SUFFIX}")
}

/// Runs the program to its end, which takes it some ten milliseconds.
fn run(program: &Path, arguments: &[&str], metric: usize, input: &str) -> Result<(), NamesError> {
    let failed = |message: String| NamesError::Resolvconf {
        program: program.to_owned(),
        arguments: arguments.join(" "),
        message,
    };
    let start = || {
        let mut child = Command::new(program)
            .args(arguments)
            // openresolv's; Debian's has an order of its own.
            .env("IF_METRIC", metric.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        if let Some(mut pipe) = child.stdin.take() {
            // Less than a pipe holds. A program that does not read it says why by its end.
            let _ = pipe.write_all(input.as_bytes());
        }
        let timeout = Timespec::try_from(PATIENCE).ok();
        let ended = poll(&mut [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)], timeout.as_ref())? > 0;
        if !ended {
            child.kill()?;
        }
        let status = child.wait()?;
        Ok::<_, std::io::Error>((ended, status, child.stderr.take()))
    };
    let (ended, status, errors) = start().map_err(|error| failed(error.to_string()))?;
    if !ended {
        return Err(failed(format!("it did not end within {PATIENCE:?}")));
    }
    if status.success() {
        return Ok(());
    }
    // What it started may still have the pipe: only what is there is read.
    let mut message = vec![0; 4096];
    let length = errors.and_then(|mut pipe| pipe.read(&mut message).ok()).unwrap_or_default();
    message.truncate(length);
    Err(failed(format!("{status}: {}", String::from_utf8_lossy(&message).trim())))
}
