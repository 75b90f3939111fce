//! Where a round's daemon runs, and what it leaves behind.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use netbearer::{Daemon, Directories, ManagerError, blocking::Manager};
use netbearer_holder::Way;
use netbearer_lab::{Program, Signal, Snapshot};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tempfile::TempDir;

use super::stage::Stage;
use crate::{error::SoakError, pulse::Pulse};

/// For the daemon to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The directories of a round, and the daemon on the lab's machine that has them.
pub(crate) struct Site<'a> {
    stage: &'a Stage,
    daemon: Option<Program>,
    directory: TempDir,
}

impl<'a> Site<'a> {
    /// The daemon does not run yet.
    pub(crate) fn build(stage: &'a Stage) -> Result<Self, SoakError> {
        // In memory, as /run is on a machine, and open to all.
        let directory = TempDir::new_in("/dev/shm")?;
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        let Directories { configuration, runtime, .. } = Directories::below(directory.path());
        fs::create_dir_all(directory.path().join("root"))?;
        fs::create_dir_all(configuration.join("profiles.d"))?;
        let holds = runtime.join("holds");
        fs::create_dir_all(runtime)?;
        DirBuilder::new().mode(0o700).create(&holds)?;
        watch(&holds, &stage.pulse)?;
        Ok(Self { stage, daemon: None, directory })
    }

    /// What is below it is open to all.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn holds(&self) -> PathBuf {
        Directories::below(self.directory.path()).runtime.join("holds")
    }

    /// What the daemons of this round have logged.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.path().join("daemon.log")
    }

    /// How its clients reach the daemon.
    pub(crate) fn way(&self) -> Way {
        Way::Socket { directory: self.directory.path().to_owned() }
    }

    /// A client in this process.
    pub(crate) fn manager(&self) -> Result<Manager, ManagerError> {
        Manager::with_daemon(Daemon::default().directories(Directories::below(self.directory.path())).names(None))
    }

    /// Writes a profile, or another one in its place; nobody ever sees half of it.
    pub(crate) fn write_profile(&self, name: &str, text: &str) -> Result<(), SoakError> {
        let new = self.directory.path().join("profile");
        fs::write(&new, text)?;
        let profiles = Directories::below(self.directory.path()).configuration.join("profiles.d");
        Ok(fs::rename(new, profiles.join(format!("{name}.toml")))?)
    }

    /// The process that the daemon is, if it runs.
    pub(crate) fn daemon(&self) -> Option<u32> {
        self.daemon.as_ref().map(Program::id)
    }

    pub(crate) fn start_daemon(&mut self) -> Result<(), SoakError> {
        let Directories { configuration, runtime, state } = Directories::below(self.directory.path());
        let root = self.directory.path().join("root");
        let nowhere = format!("unix:path={}", root.join("no-bus").display());
        let log = File::options().create(true).append(true).open(self.log())?;
        let command = self.stage.daemon().arg("--root").arg(root).env("NETBEARER_CONFIG_DIR", configuration);
        let command = command.env("NETBEARER_RUNTIME_DIR", runtime).env("NETBEARER_STATE_DIR", state);
        // Never the bus of the machine that the lab is on.
        let command = command.env("DBUS_SYSTEM_BUS_ADDRESS", nowhere).stderr(Stdio::from(log));
        let daemon = command.spawn()?;
        self.stage.pulse.note(format!("the daemon is process {}", daemon.id()));
        self.daemon = Some(daemon);
        Ok(())
    }

    pub(crate) fn end_daemon(&mut self) -> Result<(), SoakError> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        daemon.signal(Signal::TERM)?;
        let status = daemon.wait(PATIENCE)?;
        self.stage.pulse.note(format!("the daemon has ended: {status}"));
        // Before it has begun to listen for signals, it ends by them.
        Ok(())
    }

    pub(crate) fn kill_daemon(&mut self) -> Result<(), SoakError> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        daemon.signal(Signal::KILL)?;
        daemon.wait(PATIENCE)?;
        Ok(())
    }

    /// After the daemon has ended: nothing is held, and nothing is left.
    pub(crate) fn check_what_is_left(&self) -> Result<(), SoakError> {
        let left = self.left()?;
        if !left.is_empty() {
            return Err(SoakError::Wrong(format!("left behind: {left:?}")));
        }
        let now = Snapshot::take(self.stage.lab.machine())?;
        let difference = self.stage.before.difference(&now);
        if difference.is_empty() {
            Ok(())
        } else {
            Err(SoakError::Wrong(format!("the machine is not as before:\n{difference}")))
        }
    }

    /// What of ours is in the runtime directory, but for locks.
    fn left(&self) -> Result<Vec<PathBuf>, SoakError> {
        let mut left = Vec::new();
        for entry in fs::read_dir(Directories::below(self.directory.path()).runtime)? {
            let path = entry?.path();
            if path.is_dir() {
                let within = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
                left.extend(within.collect::<Result<Vec<_>, _>>()?);
            } else if path.extension().is_none_or(|extension| extension != "lock") {
                left.push(path);
            }
        }
        Ok(left)
    }
}

/// Beats at each FIFO that comes or goes, as long as the directory is there.
fn watch(directory: &Path, pulse: &Pulse) -> Result<(), SoakError> {
    let watch = inotify::init(CreateFlags::CLOEXEC).map_err(io::Error::from)?;
    let events = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::ONLYDIR;
    inotify::add_watch(&watch, directory, events).map_err(io::Error::from)?;
    let pulse = pulse.clone();
    thread::spawn(move || {
        let mut room = [std::mem::MaybeUninit::uninit(); 4_096];
        let mut reader = inotify::Reader::new(watch, &mut room);
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::IGNORED) {
                return;
            }
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let what = if event.events().contains(ReadFlags::DELETE) { "has gone" } else { "has come" };
            pulse.beat(format!("FIFO {name} {what}"));
        }
    });
    Ok(())
}
