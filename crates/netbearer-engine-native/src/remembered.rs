//! Leases worth asking for again, a file for each access point.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use netbearer_dhcp::RememberedLease;
use netbearer_types::{ClientIdentifier, Identifier};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

/// By what servers know whose a lease is (RFC 2131 §2): with another one, the lease is another client's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LeaseOwner {
    /// Who sends no identifier is known by its Ethernet address.
    HardwareAddress([u8; 6]),
    Identifier(ClientIdentifier),
}

/// A lease as it is kept. Files that do not tell the owner are passed over.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    owner: LeaseOwner,
    #[serde(flatten)]
    lease: RememberedLease,
}

/// The remembered leases. Without a place to write to they are remembered as long as the process lives.
#[derive(Clone, Debug)]
pub(crate) struct RememberedLeases {
    directory: PathBuf,
    /// None for what was forgotten, whatever the file may still say.
    known: Arc<Mutex<BTreeMap<Identifier, Option<Kept>>>>,
    writing: Arc<Mutex<()>>,
}

impl RememberedLeases {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, known: Arc::default(), writing: Arc::default() }
    }

    /// The lease last had on this access point, if it is this owner's and has not ended.
    pub(crate) fn get(&self, identifier: &Identifier, owner: &LeaseOwner) -> Option<RememberedLease> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(identifier).cloned();
        let kept = known.unwrap_or_else(|| read(&self.path(identifier))).filter(|kept| kept.owner == *owner);
        kept.map(|kept| kept.lease).filter(|lease| lease.is_valid(SystemTime::now()))
    }

    /// Keeps a lease. The file is written on another thread: nobody waits for a disk.
    pub(crate) fn put(&self, identifier: &Identifier, owner: LeaseOwner, lease: RememberedLease) {
        let kept = Some(Kept { owner, lease });
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(identifier.clone(), kept);
        let (leases, identifier) = (self.clone(), identifier.clone());
        tokio::task::spawn_blocking(move || leases.write_down(&identifier));
    }

    /// Nothing is remembered of this access point when this returns, and no other process finds anything when the task has
    /// ended.
    pub(crate) fn forget(&self, identifier: &Identifier) -> JoinHandle<()> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(identifier.clone(), None);
        let (leases, identifier) = (self.clone(), identifier.clone());
        tokio::task::spawn_blocking(move || leases.write_down(&identifier))
    }

    /// Makes the file say what is known by now: threads that write for older leases may come later.
    fn write_down(&self, identifier: &Identifier) {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(identifier).cloned();
        let path = self.path(identifier);
        let written = match known {
            Some(Some(kept)) => write(&path, &kept),
            Some(None) => remove(&path),
            None => return,
        };
        if let Err(error) = written {
            tracing::debug!("what is known of the lease could not be put to {}: {error}", path.display());
        }
    }

    fn path(&self, identifier: &Identifier) -> PathBuf {
        self.directory.join(format!("{identifier}.json"))
    }
}

/// Where the lease of one access point is remembered.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    leases: RememberedLeases,
    identifier: Identifier,
    owner: LeaseOwner,
}

impl Memory {
    pub(crate) const fn new(leases: RememberedLeases, identifier: Identifier, owner: LeaseOwner) -> Self {
        Self { leases, identifier, owner }
    }

    pub(crate) fn put(&self, lease: RememberedLease) {
        self.leases.put(&self.identifier, self.owner.clone(), lease);
    }

    pub(crate) fn forget(&self) {
        drop(self.leases.forget(&self.identifier));
    }
}

fn read(path: &Path) -> Option<Kept> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(kept)?)?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const OWNER: LeaseOwner = LeaseOwner::HardwareAddress([2, 0, 0, 0, 0, 1]);

    fn lease() -> RememberedLease {
        RememberedLease { address: Ipv4Addr::new(192, 0, 2, 7), expires_at: None, network: None }
    }

    #[tokio::test]
    async fn a_slow_disk_keeps_nobody_from_forgetting() {
        let directory = tempfile::tempdir().unwrap();
        let leases = RememberedLeases::new(directory.path().join("leases"));
        let identifier = Identifier::new("ap0".to_owned());
        let slow_disk = leases.writing.lock().unwrap();
        leases.put(&identifier, OWNER, lease());
        assert_eq!(leases.get(&identifier, &OWNER), Some(lease()));
        let forgetting = leases.forget(&identifier);
        assert_eq!(leases.get(&identifier, &OWNER), None);
        drop(slow_disk);
        forgetting.await.unwrap();
        assert!(!leases.path(&identifier).exists());
    }

    #[tokio::test]
    async fn a_lease_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let identifier = Identifier::new("ap0".to_owned());
        let leases = RememberedLeases::new(directory.path().to_owned());
        leases.put(&identifier, OWNER, lease());
        let others = [
            LeaseOwner::HardwareAddress([2, 0, 0, 0, 0, 2]),
            LeaseOwner::Identifier("02:00:00:00:00:01".parse().unwrap()),
        ];
        for other in others {
            assert_eq!(leases.get(&identifier, &other), None, "{other:?}");
        }
        leases.write_down(&identifier);
        let read_anew = RememberedLeases::new(directory.path().to_owned());
        assert_eq!(read_anew.get(&identifier, &OWNER), Some(lease()));
        let of_an_older_version = RememberedLeases::new(directory.path().join("older"));
        fs::create_dir(&of_an_older_version.directory).unwrap();
        fs::write(of_an_older_version.path(&identifier), r#"{"address":"192.0.2.7","expires_at":null}"#).unwrap();
        assert_eq!(of_an_older_version.get(&identifier, &OWNER), None);
    }
}
