//! The right to change whom programs ask, among processes of ours: a lock on a file, which the kernel takes back when its
//! holder dies.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::NamesError;

pub(crate) const LOCK: &str = "name-servers.lock";

/// Held as long as anything of ours stands.
#[derive(Debug)]
pub(crate) struct Keep {
    file: File,
    path: PathBuf,
}

impl Keep {
    pub(crate) fn take(state_directory: &Path) -> Result<Self, NamesError> {
        let path = state_directory.join(LOCK);
        // Not for writing: who waits for the lock must not be woken by those who find it taken, himself among them.
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(state_directory).map_err(NamesError::file("made", state_directory))?;
                netbearer_locks::open(&path)
            }
            // Another user's: that is the reason only if nobody has it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && is_taken(&path) => {
                return Err(NamesError::KeptElsewhere);
            }
            opened => opened.and_then(|file| netbearer_locks::narrow(&file).map(|()| file)),
        };
        let file = file.map_err(NamesError::file("opened", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { file, path }),
            Err(Errno::WOULDBLOCK) => Err(NamesError::KeptElsewhere),
            Err(error) => Err(NamesError::file("locked", &path)(error.into())),
        }
    }
}

fn is_taken(path: &Path) -> bool {
    netbearer_locks::holder(path).is_ok_and(|process| process.is_some())
}

impl Drop for Keep {
    fn drop(&mut self) {
        // Fails for none that was taken.
        let _ = flock(&self.file, FlockOperation::Unlock);
        // Wakes who waits for the lock, by closing a file that could have been written.
        drop(OpenOptions::new().write(true).open(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn only_its_owner_can_lock_it_whoever_could_before() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let path = state.join(LOCK);
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        drop(Keep::take(&state).unwrap());
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(Keep::take(&state).unwrap());
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn who_may_not_open_the_lock_is_told_that_another_process_has_it_if_one_has() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(LOCK);
        let keep = Keep::take(directory.path()).unwrap();
        for path in [directory.path(), &path] {
            let mode = if path.is_dir() { 0o755 } else { 0o000 };
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        let refused = || std::thread::scope(|scope| scope.spawn(|| as_ordinary_user(directory.path())).join().unwrap());
        assert!(matches!(refused(), NamesError::KeptElsewhere));
        flock(&keep.file, FlockOperation::Unlock).unwrap();
        assert!(matches!(refused(), NamesError::File { .. }));
    }

    /// Takes the lock, and fails, on a thread that is nobody's any more.
    fn as_ordinary_user(state: &Path) -> NamesError {
        if rustix::process::geteuid().is_root() {
            let user = rustix::process::Uid::from_raw(65_534);
            // The system call itself changes one thread only (`setresuid(2)`).
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        }
        Keep::take(state).unwrap_err()
    }
}
