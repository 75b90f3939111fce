//! One daemon for each runtime directory.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use netbearer_dbus::service_lock_path;
use netbearer_locks::{holder, open};
use rustix::fs::{FlockOperation, flock};

/// Why this process may not be the daemon.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Another daemon is.
    #[error("another bearerd{} serves {}; end that one, or name another directory with --runtime-dir", number(*process), directory.display())]
    Running {
        /// Its process number, if it could be read.
        process: Option<u32>,
        /// What it serves.
        directory: PathBuf,
    },
    /// The lock cannot be taken.
    #[error("the lock {} cannot be taken; start as root, or name another directory with --runtime-dir", path.display())]
    Unwritable {
        /// The lock's file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn number(process: Option<u32>) -> String {
    process.map(|process| format!(" (process {process})")).unwrap_or_default()
}

/// The right to be the daemon, for as long as it lives.
#[derive(Debug)]
#[must_use = "another daemon may start at once"]
pub struct Instance {
    _lock: File,
}

impl Instance {
    /// Takes the lock of a runtime directory.
    ///
    /// # Errors
    /// When another daemon has it, or the directory is not writable.
    pub fn claim(runtime_directory: &Path) -> Result<Self, InstanceError> {
        let path = service_lock_path(runtime_directory);
        let unwritable = |source| InstanceError::Unwritable { path: path.clone(), source };
        loop {
            let mut lock = open(&path).map_err(unwritable)?;
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let directory = runtime_directory.to_owned();
                    return Err(InstanceError::Running { process: read_process(&mut lock), directory });
                }
                Err(error) => return Err(unwritable(error.into())),
            }
            // Somebody may have removed it meanwhile, and the next one would take another.
            if is_in_place(&path, &lock).map_err(unwritable)? {
                let written = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
                written.map_err(unwritable)?;
                return Ok(Self { _lock: lock });
            }
        }
    }

    /// The process that is the daemon for a runtime directory, if there is one. The lock is not touched.
    ///
    /// # Errors
    /// When the lock cannot be looked at.
    pub fn running(runtime_directory: &Path) -> io::Result<Option<u32>> {
        holder(&service_lock_path(runtime_directory))
    }
}

fn is_in_place(path: &Path, lock: &File) -> io::Result<bool> {
    let ours = lock.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn read_process(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::{fs::PermissionsExt, net::UnixListener},
    };

    use super::*;

    #[test]
    fn a_second_daemon_is_told_which_process_the_first_is() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Instance::running(directory.path()).unwrap(), None);
        let first = Instance::claim(directory.path()).unwrap();
        let refused = Instance::claim(directory.path()).unwrap_err();
        assert!(
            matches!(refused, InstanceError::Running { process: Some(process), .. } if process == std::process::id())
        );
        assert_eq!(Instance::running(directory.path()).unwrap(), Some(std::process::id()));
        drop(first);
        assert_eq!(Instance::running(directory.path()).unwrap(), None);
        assert!(Instance::claim(directory.path()).is_ok());
    }

    #[test]
    fn only_root_can_lock_it_whoever_could_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = service_lock_path(directory.path());
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let _instance = Instance::claim(directory.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn to_look_who_it_is_does_not_touch_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        // This one cannot be opened, by nobody.
        let _listener = UnixListener::bind(service_lock_path(directory.path())).unwrap();
        assert_eq!(Instance::running(directory.path()).unwrap(), None);
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let refused = Instance::claim(Path::new("/proc/nowhere")).unwrap_err();
        assert!(refused.to_string().contains("/proc/nowhere/bearerd.lock"), "{refused}");
    }
}
