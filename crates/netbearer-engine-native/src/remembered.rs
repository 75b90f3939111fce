//! Leases worth asking for again, a file for each access point.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use netbearer_dhcp::RememberedLease;
use netbearer_types::Identifier;

/// The remembered leases. Without a place to write to they are remembered as long as the process lives.
#[derive(Clone, Debug)]
pub(crate) struct RememberedLeases {
    directory: PathBuf,
    known: Arc<Mutex<BTreeMap<Identifier, RememberedLease>>>,
}

impl RememberedLeases {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, known: Arc::default() }
    }

    /// The lease last had on this access point, if it has not ended.
    pub(crate) fn get(&self, identifier: &Identifier) -> Option<RememberedLease> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(identifier).cloned();
        known.or_else(|| read(&self.path(identifier))).filter(|lease| lease.is_valid(SystemTime::now()))
    }

    /// Keeps a lease. The file is written on another thread: nobody waits for a disk.
    pub(crate) fn put(&self, identifier: &Identifier, lease: RememberedLease) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(identifier.clone(), lease.clone());
        let path = self.path(identifier);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = write(&path, &lease) {
                tracing::debug!("the lease could not be written to {}: {error}", path.display());
            }
        });
    }

    pub(crate) fn forget(&self, identifier: &Identifier) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(identifier);
        // There may be none.
        let _ = fs::remove_file(self.path(identifier));
    }

    fn path(&self, identifier: &Identifier) -> PathBuf {
        self.directory.join(format!("{identifier}.json"))
    }
}

fn read(path: &Path) -> Option<RememberedLease> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write(path: &Path, lease: &RememberedLease) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(lease)?)?;
    fs::rename(new, path)
}
