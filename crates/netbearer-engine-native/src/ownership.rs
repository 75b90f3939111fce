//! One owner for each network namespace: a lock, taken before the first change to the kernel (semantics §4).

use std::{
    fs::{self, File, OpenOptions},
    hash::{BuildHasher, Hasher, RandomState},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::fs::{FlockOperation, OFlags, flock};

/// How often a lock is taken again whose file was removed in that moment.
const ATTEMPTS: u32 = 8;

/// Why this process may not change the namespace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnershipError {
    /// Another process changes this network namespace.
    #[error("another NetBearer process{} keeps the sessions of this network namespace; use that one, or end it", owner(*process))]
    Owned {
        /// Its process number, if it could be read.
        process: Option<u32>,
    },
    /// The lock file cannot be written.
    #[error("the lock {path} cannot be taken; make its directory writable, or name another with NETBEARER_RUNTIME_DIR", path = path.display())]
    Unwritable {
        /// The lock file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn owner(process: Option<u32>) -> String {
    process.map(|process| format!(" (process {process})")).unwrap_or_default()
}

/// The lock of one network namespace. Held while at least one [`Claim`] lives; the kernel lets go of it when the process
/// dies.
#[derive(Clone, Debug)]
pub(crate) struct Ownership {
    path: PathBuf,
    /// What this one writes into the lock, unlike any other.
    signature: String,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    /// Stays open once it was: opening it again takes longer than locking it.
    file: Option<File>,
    claims: usize,
    /// How often this process has taken the lock from another.
    takes: u64,
}

/// The right to change the namespace, while it lives.
#[derive(Debug)]
#[must_use = "the lock is given back at once"]
pub(crate) struct Claim {
    held: Arc<Mutex<Held>>,
    took_the_lock: bool,
    takes: u64,
}

impl Claim {
    /// True if the lock was free before, and somebody else may have had it last: whatever of ours is in the kernel was left
    /// by a process that is gone.
    pub(crate) const fn took_the_lock(&self) -> bool {
        self.took_the_lock
    }

    /// How often this process had taken the lock from others by then: what was seen with another number, somebody else may
    /// have changed since.
    pub(crate) const fn takes(&self) -> u64 {
        self.takes
    }
}

impl Ownership {
    pub(crate) fn new(path: PathBuf) -> Self {
        // The process number, for whoever is refused, so that it can name us. Process numbers are taken again, and are not
        // the same for everybody.
        let signature = format!("{:<11}{:020}\n", std::process::id(), RandomState::new().build_hasher().finish());
        Self { path, signature, held: Arc::default() }
    }

    /// Takes the lock, unless this process has it already.
    pub(crate) fn claim(&self) -> Result<Claim, OwnershipError> {
        let mut held = lock(&self.held);
        let mut took_the_lock = false;
        if held.claims == 0 {
            let file = self.take(held.file.take())?;
            took_the_lock = !self.is_signed(&file);
            // Always the same length: cutting a file off takes some disks a third of a millisecond.
            if took_the_lock && let Err(error) = file.write_all_at(self.signature.as_bytes(), 0) {
                tracing::debug!("the lock could not be signed: {error}");
            }
            held.file = Some(file);
            held.takes += u64::from(took_the_lock);
        }
        held.claims += 1;
        Ok(Claim { held: Arc::clone(&self.held), took_the_lock, takes: held.takes })
    }

    /// True if nobody else can have had the lock since this process took it first: whatever of ours is in the kernel is its
    /// own.
    pub(crate) fn is_undisputed(&self) -> bool {
        let held = lock(&self.held);
        held.claims > 0 || held.file.as_ref().is_some_and(|file| self.is_signed(file))
    }

    /// True if this one was the last to sign the lock, and it is still there: where somebody has removed it, whoever comes
    /// next takes another one.
    fn is_signed(&self, file: &File) -> bool {
        let mut found = vec![0; self.signature.len()];
        file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
            && file.read_exact_at(&mut found, 0).is_ok()
            && found == self.signature.as_bytes()
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // The runtime directory may be writable by others, who must not choose which file we write to.
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        match (options.open(&self.path), self.path.parent()) {
            (Err(error), Some(directory)) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(directory)?;
                options.open(&self.path)
            }
            (opened, _) => opened,
        }
    }

    fn take(&self, mut opened: Option<File>) -> Result<File, OwnershipError> {
        let unwritable = |source| OwnershipError::Unwritable { path: self.path.clone(), source };
        for _ in 0..ATTEMPTS {
            let file = opened.take().map_or_else(|| self.open(), Ok).map_err(unwritable)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if self.is_in_place(&file).map_err(unwritable)? => return Ok(file),
                // Somebody has removed it meanwhile, and whoever comes next takes another one.
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(OwnershipError::Owned { process: read_process(&file) });
                }
                Err(error) => return Err(unwritable(error.into())),
            }
        }
        Err(unwritable(io::Error::other("somebody keeps removing it")))
    }

    /// True if it is this file that others find there.
    fn is_in_place(&self, file: &File) -> io::Result<bool> {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match fs::symlink_metadata(&self.path) {
            Ok(there) => Ok(identity(there) == identity(file.metadata()?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut held = lock(&self.held);
        held.claims = held.claims.saturating_sub(1);
        if held.claims > 0 {
            return;
        }
        if let Some(file) = &held.file {
            // Closing it would not do either: a child that was forked just now has it open until it executes its program.
            if let Err(error) = flock(file, FlockOperation::Unlock) {
                tracing::warn!("the lock of the network namespace could not be given back: {error}");
            }
        }
    }
}

fn read_process(file: &File) -> Option<u32> {
    let mut text = [0; 11];
    file.read_exact_at(&mut text, 0).ok()?;
    str::from_utf8(&text).ok()?.trim().parse().ok()
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_told_who_the_first_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("runtime").join("netns-1.lock");
        let (first, second) = (Ownership::new(path.clone()), Ownership::new(path));
        let claims = [first.claim().unwrap(), first.claim().unwrap()];
        let refused = second.claim().unwrap_err();
        assert!(matches!(refused, OwnershipError::Owned { process: Some(process) } if process == std::process::id()));
        drop(claims);
        assert!(second.claim().is_ok());
    }

    #[test]
    fn a_copy_of_the_descriptor_does_not_keep_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("netns-1.lock");
        let (first, second) = (Ownership::new(path.clone()), Ownership::new(path));
        let claim = first.claim().unwrap();
        let copy = lock(&first.held).file.as_ref().unwrap().try_clone().unwrap();
        drop(claim);
        assert!(second.claim().is_ok());
        drop(copy);
    }

    #[test]
    fn only_the_claim_that_takes_the_lock_from_others_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("netns-1.lock");
        let (ownership, other) = (Ownership::new(path.clone()), Ownership::new(path.clone()));
        assert!(!ownership.is_undisputed());
        let claims = [ownership.claim().unwrap(), ownership.claim().unwrap()];
        assert_eq!(
            [claims[0].took_the_lock(), claims[1].took_the_lock(), ownership.is_undisputed()],
            [true, false, true]
        );
        assert_eq!([claims[0].takes(), claims[1].takes()], [1, 1]);
        drop(claims);
        assert!(ownership.is_undisputed(), "nobody else has had it since");
        assert!(!ownership.claim().unwrap().took_the_lock());
        assert!(other.claim().unwrap().took_the_lock());
        assert!(!ownership.is_undisputed());
        let claim = ownership.claim().unwrap();
        assert_eq!((claim.took_the_lock(), claim.takes()), (true, 2));
        drop(claim);
        fs::remove_file(path).unwrap();
        assert!(!ownership.is_undisputed(), "the next one takes another file");
        assert!(ownership.claim().unwrap().took_the_lock());
    }

    #[test]
    fn a_file_that_is_not_in_its_place_any_more_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("netns-1.lock");
        let (first, second) = (Ownership::new(path.clone()), Ownership::new(path.clone()));
        drop(first.claim().unwrap());
        // It keeps its name for whoever looks at the file alone.
        fs::rename(&path, directory.path().join("elsewhere")).unwrap();
        let _claims = [second.claim().unwrap()];
        assert!(matches!(first.claim(), Err(OwnershipError::Owned { .. })), "two would have it");
    }

    #[test]
    fn a_symbolic_link_in_its_place_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (victim, path) = (directory.path().join("victim"), directory.path().join("netns-1.lock"));
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(matches!(Ownership::new(path).claim(), Err(OwnershipError::Unwritable { .. })));
        assert_eq!(fs::read_to_string(victim).unwrap(), "precious");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let refused = Ownership::new(PathBuf::from("/proc/nowhere/netns-1.lock")).claim().unwrap_err();
        assert!(refused.to_string().contains("/proc/nowhere/netns-1.lock"), "{refused}");
        assert!(refused.to_string().contains("NETBEARER_RUNTIME_DIR"), "{refused}");
    }
}
