//! The edge to the managers that write files.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    os::fd::OwnedFd,
    path::Path,
};

use futures_util::future::select_all;
use netbearer_watch::{DirectoryWatch, WatchedEntries, register};
use rustix::{
    fs::{Mode, OFlags, fstat, major, minor, open},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, netdevice::index_to_name, socket_with},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::{io::unix::AsyncFd, sync::watch};

use crate::{
    ManagerName, Owners, Places,
    dhcpcd::{self, LockedFile, Scope},
    ifupdown, networkd,
    owners::Claims,
};

/// Who locked which file, with process numbers as this process sees them.
const LOCKS: &str = "/proc/locks";
/// No file of theirs is nearly as long.
const MAX_LENGTH: u64 = 256 * 1024;
/// More entries than a machine has interfaces.
const MAX_ENTRIES: usize = 65_536;

/// Reads what networkd, dhcpcd and ifupdown write.
#[derive(Debug)]
pub(crate) struct RunFiles {
    places: Places,
    watch: DirectoryWatch,
    /// Belongs to the network namespace it was opened in.
    names: OwnedFd,
}

impl RunFiles {
    pub(crate) fn watch(places: &Places) -> io::Result<DirectoryWatch> {
        DirectoryWatch::open(vec![
            (places.networkd(), WatchedEntries::All),
            (places.dhcpcd(), WatchedEntries::All),
            (places.ifupdown(), WatchedEntries::only(ifupdown::STATE_FILE.as_ref())),
        ])
    }

    /// A socket to look up the names of interfaces with, in the network namespace of the calling thread.
    pub(crate) fn names() -> io::Result<OwnedFd> {
        Ok(socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
    }

    pub(crate) fn new(places: Places, watch: DirectoryWatch, names: OwnedFd) -> Self {
        Self { places, watch, names }
    }

    /// Keeps `owners` equal to what the files say, for ever.
    pub(crate) async fn follow(mut self, owners: watch::Sender<Owners>) {
        loop {
            self.watch.arm();
            let (dhcpcd, processes) = self.dhcpcd();
            for (manager, claims) in [
                (ManagerName::Networkd, self.networkd()),
                (ManagerName::Dhcpcd, dhcpcd),
                (ManagerName::Ifupdown, self.ifupdown()),
            ] {
                owners.send_if_modified(|owners| owners.set(manager, claims));
            }
            let changed = tokio::select! {
                changed = self.watch.changed() => changed,
                () = any_end(&processes) => Ok(()),
            };
            if let Err(error) = changed {
                tracing::error!("the files of other network managers cannot be watched any more: {error}");
                return;
            }
        }
    }

    fn networkd(&self) -> Claims {
        let links = entries(&self.places.networkd()).into_iter().filter_map(|(file, index)| {
            // None in this network namespace, or gone by now.
            let name = index_to_name(&self.names, networkd::index(&index)?).ok()?;
            networkd::claim(&name, &read(&file)?)
        });
        Claims { interfaces: links.collect(), selection: None }
    }

    fn ifupdown(&self) -> Claims {
        let text = read(&self.places.ifupdown().join(ifupdown::STATE_FILE)).unwrap_or_default();
        Claims { interfaces: ifupdown::claims(&text), selection: None }
    }

    /// What dhcpcd serves, and its processes.
    fn dhcpcd(&self) -> (Claims, Vec<AsyncFd<OwnedFd>>) {
        let (mut claims, mut processes) = (Claims::default(), Vec::new());
        let files: Vec<_> = entries(&self.places.dhcpcd())
            .into_iter()
            .filter_map(|(file, name)| Some((file, dhcpcd::scope(&name)?)))
            .collect();
        if files.is_empty() {
            return (claims, processes);
        }
        let locks = fs::read_to_string(LOCKS).unwrap_or_default();
        for (file, scope) in files {
            let Some((number, process)) = holder(&file, &locks) else { continue };
            processes.push(process);
            match scope {
                Scope::Interface(name) => drop(claims.interfaces.insert(name, format!("process {number} serves it"))),
                Scope::All => {
                    let configuration = read(&self.places.dhcpcd_configuration()).unwrap_or_default();
                    claims.selection = Some(dhcpcd::selection(&configuration));
                }
            }
        }
        (claims, processes)
    }
}

/// The living process that has locked `file`.
fn holder(file: &Path, locks: &str) -> Option<(i32, AsyncFd<OwnedFd>)> {
    let status = fstat(open_regular(file).ok()?).ok()?;
    let device = status.st_dev;
    let place = LockedFile { major: major(device), minor: minor(device), inode: status.st_ino };
    let number = dhcpcd::lock_holder(locks, place)?;
    let process = pidfd_open(Pid::from_raw(number)?, PidfdFlags::NONBLOCK).ok()?;
    Some((number, register(process).ok()?))
}

/// Waits for the end of any of these processes.
async fn any_end(processes: &[AsyncFd<OwnedFd>]) {
    if processes.is_empty() {
        return std::future::pending().await;
    }
    // An error says that the process cannot be watched; then looking again is all one can do.
    let _ = select_all(processes.iter().map(|process| Box::pin(process.readable()))).await;
}

/// The entries of a directory with their names, by name; none if it is not there.
fn entries(directory: &Path) -> BTreeMap<std::path::PathBuf, String> {
    let Ok(entries) = fs::read_dir(directory) else { return BTreeMap::new() };
    entries
        .flatten()
        .take(MAX_ENTRIES)
        .filter_map(|entry| Some((entry.path(), entry.file_name().into_string().ok()?)))
        .collect()
}

/// The text of an ordinary file of ordinary length; what is not text in it is replaced.
fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    open_regular(path).ok()?.take(MAX_LENGTH).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Never waits, as a pipe would make one.
fn open_regular(path: &Path) -> io::Result<File> {
    let file = File::from(open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(Errno::INVAL.into()) }
}
