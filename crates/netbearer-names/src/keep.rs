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
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)
            }
            opened => opened,
        };
        let file = file.map_err(NamesError::file("opened", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { file, path }),
            Err(Errno::WOULDBLOCK) => Err(NamesError::KeptElsewhere),
            Err(error) => Err(NamesError::file("locked", &path)(error.into())),
        }
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        // Fails for none that was taken.
        let _ = flock(&self.file, FlockOperation::Unlock);
        // Wakes who waits for the lock, by closing a file that could have been written.
        drop(OpenOptions::new().write(true).open(&self.path));
    }
}
