//! One owner for each network namespace: a lock, taken before the first change to the kernel (semantics §4).

use std::{
    fs::{self, File},
    hash::{BuildHasher, Hasher, RandomState},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::fs::{FlockOperation, flock};

/// A process number of eleven octets, a random number of twenty, the end of a line.
const SIGNATURE_LENGTH: usize = 32;
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

/// The process that changes the calling thread's network namespace with this runtime directory at the moment, if there is any.
/// For people; whoever wants to change something has to take the lock, which is not touched here.
///
/// # Errors
/// When the lock cannot be looked at, or `/proc` is not mounted.
pub fn owner_of_namespace(runtime_directory: &Path) -> io::Result<Option<u32>> {
    netbearer_locks::holder(&namespace_lock(runtime_directory)?)
}

/// The file that is locked by whoever changes the calling thread's network namespace with this runtime directory. It begins with
/// its process number.
///
/// # Errors
/// If `/proc` is not mounted.
pub fn namespace_lock(runtime_directory: &Path) -> io::Result<PathBuf> {
    netbearer_kernel::network_namespace_inode().map(|inode| lock_path(runtime_directory, inode))
}

/// Where the lock of the network namespace with this inode is.
pub(crate) fn lock_path(runtime_directory: &Path, inode: u64) -> PathBuf {
    runtime_directory.join(format!("netns-{inode}.lock"))
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
    file: Option<LockFile>,
    claims: usize,
    /// How often this process has taken the lock from another.
    takes: u64,
    /// Which of these times what others had left was cleared last.
    cleared: u64,
}

/// The lock's file, which others may remove or put another in the place of.
#[derive(Debug)]
struct LockFile {
    file: File,
    identity: (u64, u64),
}

impl LockFile {
    /// True if whoever has this signature was the last to sign it.
    fn is_signed(&self, signature: &str) -> bool {
        let mut found = [0; SIGNATURE_LENGTH];
        self.file.read_exact_at(&mut found, 0).is_ok() && found == *signature.as_bytes()
    }
}

/// The right to change the namespace, while it lives.
#[derive(Debug)]
#[must_use = "the lock is given back at once"]
pub(crate) struct Claim {
    held: Arc<Mutex<Held>>,
    takes: u64,
}

impl Claim {
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
        if held.claims == 0 {
            let lock = self.take(held.file.take())?;
            if !lock.is_signed(&self.signature) {
                held.takes += 1;
                // Always the same length: cutting a file off takes some disks a third of a millisecond.
                if let Err(error) = lock.file.write_all_at(self.signature.as_bytes(), 0) {
                    tracing::debug!("the lock could not be signed: {error}");
                }
            }
            held.file = Some(lock);
        }
        held.claims += 1;
        Ok(Claim { held: Arc::clone(&self.held), takes: held.takes })
    }

    /// True if somebody else may have had the lock before this process took it, and nobody has [cleared](Self::cleared) since
    /// what carries our tag: it was left by a process that is gone. For who has a claim.
    pub(crate) fn owes_clearing(&self) -> bool {
        let held = lock(&self.held);
        held.cleared != held.takes
    }

    /// What others had left has been cleared. For who has a claim.
    pub(crate) fn cleared(&self) {
        let mut held = lock(&self.held);
        held.cleared = held.takes;
    }

    fn open(&self) -> io::Result<LockFile> {
        let file = match (netbearer_locks::open(&self.path), self.path.parent()) {
            (Err(error), Some(directory)) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(directory)?;
                netbearer_locks::open(&self.path)
            }
            (opened, _) => opened,
        }?;
        let identity = identity(&file.metadata()?);
        Ok(LockFile { file, identity })
    }

    fn take(&self, mut opened: Option<LockFile>) -> Result<LockFile, OwnershipError> {
        let unwritable = |source| OwnershipError::Unwritable { path: self.path.clone(), source };
        for _ in 0..ATTEMPTS {
            let lock = opened.take().map_or_else(|| self.open(), Ok).map_err(unwritable)?;
            match flock(&lock.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if self.is_in_place(&lock).map_err(unwritable)? => return Ok(lock),
                // Somebody has removed it meanwhile, and whoever comes next takes another one.
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(OwnershipError::Owned { process: read_process(&lock.file) });
                }
                Err(error) => return Err(unwritable(error.into())),
            }
        }
        Err(unwritable(io::Error::other("somebody keeps removing it")))
    }

    /// True if it is this file that others find there.
    fn is_in_place(&self, lock: &LockFile) -> io::Result<bool> {
        match fs::symlink_metadata(&self.path) {
            Ok(there) => Ok(identity(&there) == lock.identity),
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
        if let Some(lock) = &held.file {
            // Closing it would not do either: a child that was forked just now has it open until it executes its program.
            if let Err(error) = flock(&lock.file, FlockOperation::Unlock) {
                tracing::warn!("the lock of the network namespace could not be given back: {error}");
            }
        }
    }
}

/// Device and file: what a file is known by, whatever its name.
fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
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
        let copy = lock(&first.held).file.as_ref().unwrap().file.try_clone().unwrap();
        drop(claim);
        assert!(second.claim().is_ok());
        drop(copy);
    }

    #[test]
    fn whoever_takes_the_lock_from_others_owes_clearing_until_it_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("netns-1.lock");
        let (ownership, other) = (Ownership::new(path.clone()), Ownership::new(path.clone()));
        let claims = [ownership.claim().unwrap(), ownership.claim().unwrap()];
        assert_eq!([claims[0].takes(), claims[1].takes()], [1, 1]);
        drop(claims);
        drop(ownership.claim().unwrap());
        assert!(ownership.owes_clearing(), "whoever began it may have been overtaken");
        ownership.cleared();
        drop(ownership.claim().unwrap());
        assert!(!ownership.owes_clearing(), "nobody else has had it since");
        drop(other.claim().unwrap());
        let claim = ownership.claim().unwrap();
        assert!(ownership.owes_clearing() && claim.takes() == 2);
        ownership.cleared();
        drop(claim);
        fs::remove_file(path).unwrap();
        drop(ownership.claim().unwrap());
        assert!(ownership.owes_clearing(), "whoever came meanwhile had another file");
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
    fn to_look_whose_the_namespace_is_does_not_touch_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = namespace_lock(directory.path()).unwrap();
        assert_eq!(owner_of_namespace(directory.path()).unwrap(), None);
        let owner = Ownership::new(path.clone());
        let claim = owner.claim().unwrap();
        assert_eq!(owner_of_namespace(directory.path()).unwrap(), Some(std::process::id()));
        drop(claim);
        fs::remove_file(&path).unwrap();
        // This one cannot be opened, by nobody.
        let _listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        assert_eq!(owner_of_namespace(directory.path()).unwrap(), None);
    }

    #[test]
    fn only_its_owner_can_lock_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("netns-1.lock");
        let _claim = Ownership::new(path.clone()).claim().unwrap();
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let refused = Ownership::new(PathBuf::from("/proc/nowhere/netns-1.lock")).claim().unwrap_err();
        assert!(refused.to_string().contains("/proc/nowhere/netns-1.lock"), "{refused}");
        assert!(refused.to_string().contains("NETBEARER_RUNTIME_DIR"), "{refused}");
    }
}
