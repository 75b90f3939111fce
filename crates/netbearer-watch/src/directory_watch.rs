use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use tokio::io::unix::AsyncFd;

use crate::register;

/// What happens to the entries of a directory and to itself. Opening and reading are left out: we do so ourselves.
/// Attributes are in, as a socket gets its permissions once it listens.
const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);
/// How often a directory is tried to be watched that appears and disappears meanwhile.
const ATTEMPTS: usize = 8;

/// Tells when directories change, whether they are there yet or not.
#[derive(Debug)]
pub struct DirectoryWatch {
    inotify: AsyncFd<OwnedFd>,
    wanted: Vec<(PathBuf, WatchedEntries)>,
    watched: BTreeMap<i32, WatchedEntries>,
}

/// Which entries of a directory matter.
#[derive(Clone, Debug)]
pub enum WatchedEntries {
    /// All of them.
    All,
    /// Those of these names, there or not.
    Only(BTreeSet<OsString>),
}

impl WatchedEntries {
    /// The one of this name.
    #[must_use]
    pub fn only(name: &OsStr) -> Self {
        Self::Only(BTreeSet::from([name.to_owned()]))
    }

    fn join(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::All, _) => {}
            (_, Self::All) => *self = Self::All,
            (Self::Only(names), Self::Only(others)) => names.extend(others),
        }
    }

    fn covers(&self, name: Option<&OsStr>) -> bool {
        match (self, name) {
            // What happens to the directory itself always matters.
            (Self::All, _) | (_, None) => true,
            (Self::Only(names), Some(name)) => names.contains(name),
        }
    }
}

impl DirectoryWatch {
    /// Nothing is watched before [`Self::arm`].
    ///
    /// # Errors
    /// When the user has too many inotify instances.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn open(wanted: Vec<(PathBuf, WatchedEntries)>) -> io::Result<Self> {
        let inotify = register(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?)?;
        Ok(Self { inotify, wanted, watched: BTreeMap::new() })
    }

    /// Watches other directories from the next [`Self::arm`] on; what happens in the former ones may still be told.
    pub fn want(&mut self, wanted: Vec<(PathBuf, WatchedEntries)>) {
        self.wanted = wanted;
    }

    /// Watches what is there now: what happens from now on is told by [`Self::changed`]. To be called before the
    /// directories are read, each time.
    pub fn arm(&mut self) {
        for (directory, interest) in self.wanted.clone() {
            self.watch(&directory, &interest);
        }
    }

    /// Waits for a change. May be dropped while waiting.
    ///
    /// # Errors
    /// When the kernel's events cannot be read.
    pub async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let events = read_events(ready.get_inner())?;
            ready.clear_ready();
            let mut matters = false;
            for (watch, flags, name) in events {
                let covered = self.watched.get(&watch).is_none_or(|interest| interest.covers(name.as_deref()));
                matters |= covered;
                if flags.contains(ReadFlags::IGNORED) {
                    self.watched.remove(&watch);
                }
            }
            if matters {
                return Ok(());
            }
        }
    }

    /// Watches `directory`, or while it is missing the nearest directory above it that is there.
    fn watch(&mut self, directory: &Path, interest: &WatchedEntries) {
        for _ in 0..ATTEMPTS {
            if self.add(directory, interest.clone()) {
                return;
            }
            let mut missing = directory;
            for above in directory.ancestors().skip(1) {
                if missing.file_name().is_some_and(|name| self.add(above, WatchedEntries::only(name))) {
                    break;
                }
                missing = above;
            }
            // It may have come before the directory above it was watched.
            if !missing.exists() {
                return;
            }
        }
        tracing::debug!("{} is no directory that can be watched", directory.display());
    }

    fn add(&mut self, directory: &Path, interest: WatchedEntries) -> bool {
        match inotify::add_watch(self.inotify.get_ref(), directory, EVENTS) {
            Ok(watch) => {
                self.watched.entry(watch).and_modify(|known| known.join(interest.clone())).or_insert(interest);
                true
            }
            Err(Errno::NOENT | Errno::NOTDIR) => false,
            Err(error) => {
                tracing::warn!("{} cannot be watched: {error}", directory.display());
                false
            }
        }
    }
}

/// All events there are: the watch, what happened, and to which entry.
fn read_events(inotify: &OwnedFd) -> io::Result<Vec<(i32, ReadFlags, Option<OsString>)>> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(inotify, &mut buffer);
    let mut events = Vec::new();
    loop {
        match reader.next() {
            Ok(event) => {
                let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
                events.push((event.wd(), event.events(), name));
            }
            Err(Errno::WOULDBLOCK) => return Ok(events),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use tokio::time::timeout;

    use super::*;

    /// Much longer than the kernel takes.
    const PATIENCE: Duration = Duration::from_secs(10);

    async fn wait(watch: &mut DirectoryWatch) {
        timeout(PATIENCE, watch.changed()).await.expect("a change is told").unwrap();
    }

    /// Whether anything is to be told already.
    async fn is_quiet(watch: &mut DirectoryWatch) -> bool {
        tokio::select! {
            biased;
            _ = watch.changed() => false,
            () = tokio::task::yield_now() => true,
        }
    }

    #[tokio::test]
    async fn a_directory_is_watched_from_before_it_is_made_until_after_it_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("run/network");
        let mut watch = DirectoryWatch::open(vec![(directory.clone(), WatchedEntries::All)]).unwrap();
        for _ in 0..2 {
            watch.arm();
            fs::create_dir_all(&directory).unwrap();
            wait(&mut watch).await;
            watch.arm();
            fs::write(directory.join("ifstate"), "").unwrap();
            wait(&mut watch).await;
            watch.arm();
            fs::remove_dir_all(root.path().join("run")).unwrap();
            wait(&mut watch).await;
        }
    }

    #[tokio::test]
    async fn what_happens_to_other_entries_is_not_told() {
        let root = tempfile::tempdir().unwrap();
        let wanted = (root.path().to_owned(), WatchedEntries::only(OsStr::new("socket")));
        let mut watch = DirectoryWatch::open(vec![wanted]).unwrap();
        watch.arm();
        fs::write(root.path().join("another"), "").unwrap();
        assert!(is_quiet(&mut watch).await);
        fs::write(root.path().join("socket"), "").unwrap();
        wait(&mut watch).await;
    }

    #[tokio::test]
    async fn reading_is_no_change() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "text").unwrap();
        let mut watch = DirectoryWatch::open(vec![(root.path().to_owned(), WatchedEntries::All)]).unwrap();
        watch.arm();
        assert_eq!(fs::read_to_string(&file).unwrap(), "text");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        assert!(is_quiet(&mut watch).await);
    }
}
