//! Holds that are descriptors (semantics §4): each is a FIFO in the runtime directory.
//!
//! We keep the reading end, and hand out the writing end. The kernel hangs the reading end up when the last copy of the
//! writing end is closed, however its owner ended. All reading ends hang on one epoll, so ten thousand holds cost one
//! registration with the runtime and no task.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use netbearer_core::HoldId;
use netbearer_watch::register;
use rustix::{
    buffer::spare_capacity,
    event::{
        PollFd, PollFlags,
        epoll::{self, CreateFlags, EventData, EventFlags},
        poll,
    },
    fs::{CWD, FileType, Mode, OFlags, mknodat},
    io::{Errno, fcntl_dupfd_cloexec},
    process::{Resource, getrlimit},
    time::{ClockId, Timespec, clock_gettime},
};
use tokio::{io::unix::AsyncFd, sync::Notify};

/// How many hang-ups are taken at once.
const BATCH: usize = 64;
/// Descriptors that the holds of a service that has ended leave to everything else, unless that is a great part of all.
const SPARE: u64 = 64;
/// Does not wait.
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The FIFOs there are. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fifos(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    /// Level by level, each once: who is told looks again, and arms it again.
    epoll: AsyncFd<OwnedFd>,
    ends: Mutex<Ends>,
    /// A descriptor is free again, for a hold that has none.
    freed: Notify,
}

#[derive(Debug)]
struct Ends {
    next: u64,
    reading: BTreeMap<HoldId, File>,
    /// Held as far as is known: there was no descriptor to look with.
    unopened: BTreeSet<HoldId>,
}

/// What became of a hold of a service that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reopened {
    Held,
    Gone,
    /// It cannot be looked at.
    Unknown,
}

impl Fifos {
    /// FIFOs in this directory, which is made if it is not there.
    ///
    /// # Errors
    /// When the directory cannot be made, or descriptors are used up.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn open(directory: &Path) -> io::Result<Self> {
        if let Err(error) = DirBuilder::new().mode(0o700).recursive(true).create(directory) {
            return Err(io::Error::new(error.kind(), format!("{}: {error}", directory.display())));
        }
        let epoll = register(epoll::create(CreateFlags::CLOEXEC)?)?;
        // Numbers are never used again within a boot, whatever became of the process that gave them.
        let now = clock_gettime(ClockId::Boottime);
        let next = u64::try_from(now.tv_sec).unwrap_or_default() * 1_000_000_000
            + u64::try_from(now.tv_nsec).unwrap_or_default();
        let ends = Mutex::new(Ends { next, reading: BTreeMap::new(), unopened: BTreeSet::new() });
        Ok(Self(Arc::new(Inner { directory: directory.to_owned(), epoll, ends, freed: Notify::new() })))
    }

    /// A new hold: its number, and the end that holds.
    ///
    /// # Errors
    /// When the FIFO cannot be made or watched.
    pub fn mint(&self) -> io::Result<(HoldId, OwnedFd)> {
        let mut ends = self.ends();
        let hold = HoldId(ends.next);
        ends.next += 1;
        let path = self.path(hold);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        let made = open_reading(&path).and_then(|reading| {
            let writing = open_writing(&path)?;
            self.watch(hold, &reading)?;
            Ok((reading, writing))
        });
        match made {
            Ok((reading, writing)) => {
                ends.reading.insert(hold, reading);
                Ok((hold, writing))
            }
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Another end that holds.
    ///
    /// # Errors
    /// When there is no such hold any more, or descriptors are used up.
    pub fn another(&self, hold: HoldId) -> io::Result<OwnedFd> {
        let mut ends = self.ends();
        if ends.unopened.contains(&hold) && self.reopen_one(&mut ends, hold) == Reopened::Gone {
            // To be told by [`Self::hung_up`].
            ends.unopened.insert(hold);
            self.0.freed.notify_one();
        }
        if !ends.reading.contains_key(&hold) {
            return Err(io::ErrorKind::NotFound.into());
        }
        open_writing(&self.path(hold))
    }

    /// The hold is over: whoever has it sees POLLERR.
    pub fn revoke(&self, hold: HoldId) {
        let mut ends = self.ends();
        if ends.reading.remove(&hold).is_some() || ends.unopened.remove(&hold) {
            self.unlink(hold);
            self.tell_freed(&ends);
        }
    }

    /// Opens the holds of a service that has ended again. Returns those that are gone; FIFOs that are none of these are
    /// removed. What cannot be opened, for want of descriptors most likely, counts as held, as somebody may rely on it; it is looked
    /// at again when descriptors are free.
    pub fn reopen(&self, holds: impl IntoIterator<Item = HoldId>) -> Vec<HoldId> {
        let epoll = self.0.epoll.get_ref();
        let spare: Vec<OwnedFd> = (0..spare()).map_while(|_| fcntl_dupfd_cloexec(epoll, 0).ok()).collect();
        let mut gone = Vec::new();
        let mut ends = self.ends();
        for hold in holds {
            ends.next = ends.next.max(hold.0.saturating_add(1));
            match self.reopen_one(&mut ends, hold) {
                Reopened::Gone => gone.push(hold),
                Reopened::Held | Reopened::Unknown => {}
            }
        }
        drop(spare);
        if !ends.unopened.is_empty() {
            tracing::warn!(
                "{} holds cannot be looked at, and count as held until that is possible; raise the limit of open files",
                ends.unopened.len()
            );
        }
        if let Err(error) = self.tidy(&ends) {
            tracing::warn!("what is left in {} cannot be removed: {error}", self.0.directory.display());
        }
        gone
    }

    fn reopen_one(&self, ends: &mut Ends, hold: HoldId) -> Reopened {
        let opened = open_reading(&self.path(hold)).and_then(|mut reading| {
            let is_held = is_held(&mut reading)?;
            if is_held {
                self.watch(hold, &reading)?;
            }
            Ok(is_held.then_some(reading))
        });
        match opened {
            Ok(Some(reading)) => {
                ends.reading.insert(hold, reading);
                ends.unopened.remove(&hold);
                Reopened::Held
            }
            Ok(None) => {
                ends.unopened.remove(&hold);
                Reopened::Gone
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                ends.unopened.remove(&hold);
                Reopened::Gone
            }
            Err(error) => {
                if ends.unopened.insert(hold) {
                    tracing::debug!("hold {} cannot be looked at: {error}", hold.0);
                }
                Reopened::Unknown
            }
        }
    }

    /// Removes FIFOs that are no holds.
    fn tidy(&self, ends: &Ends) -> io::Result<()> {
        for entry in fs::read_dir(&self.0.directory)? {
            let path = entry?.path();
            let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).map(HoldId);
            let is_hold = |hold| ends.reading.contains_key(&hold) || ends.unopened.contains(&hold);
            if !number.is_some_and(is_hold) {
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }

    /// Waits for holds that may be gone; [`Self::has_gone`] has the last word on each. May be dropped while waiting.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn hung_up(&self) -> io::Result<Vec<HoldId>> {
        loop {
            let mut ready = tokio::select! {
                ready = self.0.epoll.readable() => ready?,
                () = self.0.freed.notified() => {
                    // As many as there may be descriptors for: one for each that has become free.
                    let next = self.ends().unopened.first().copied();
                    match next {
                        Some(hold) => return Ok(vec![hold]),
                        None => continue,
                    }
                }
            };
            let mut events = Vec::with_capacity(BATCH);
            epoll::wait(ready.get_inner(), spare_capacity(&mut events), Some(&NOW))?;
            if events.is_empty() {
                ready.clear_ready();
                continue;
            }
            // What is left keeps the epoll readable.
            ready.retain_ready();
            return Ok(events.iter().map(|event| HoldId(event.data.u64())).collect());
        }
    }

    /// True if nobody has this hold any more, and it was not known before: then its FIFO is removed. Who took it meanwhile
    /// keeps it.
    #[must_use]
    pub fn has_gone(&self, hold: HoldId) -> bool {
        let mut ends = self.ends();
        if ends.unopened.contains(&hold) {
            let reopened = self.reopen_one(&mut ends, hold);
            // Where one descriptor has become free, others may have.
            if reopened != Reopened::Unknown {
                self.tell_freed(&ends);
            }
            if reopened == Reopened::Gone {
                self.unlink(hold);
            }
            return reopened == Reopened::Gone;
        }
        let Some(reading) = ends.reading.get_mut(&hold) else { return false };
        // In doubt it is held.
        if is_held(reading).unwrap_or(true) {
            if let Err(error) = self.arm(hold, reading) {
                tracing::warn!("the end of hold {} will not be noticed: {error}", hold.0);
            }
            return false;
        }
        ends.reading.remove(&hold);
        self.unlink(hold);
        self.tell_freed(&ends);
        true
    }

    fn tell_freed(&self, ends: &Ends) {
        if !ends.unopened.is_empty() {
            self.0.freed.notify_one();
        }
    }

    /// All holds that nobody has any more, and that were not known to be gone; their FIFOs are removed.
    #[must_use]
    pub fn gone(&self) -> Vec<HoldId> {
        let ends = self.ends();
        let holds: Vec<HoldId> = ends.reading.keys().chain(&ends.unopened).copied().collect();
        drop(ends);
        holds.into_iter().filter(|hold| self.has_gone(*hold)).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let ends = self.ends();
        ends.reading.len() + ends.unopened.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hang-ups are told whether they are asked for or not; what somebody writes into a FIFO is not asked for, so that it
    /// wakes nobody.
    fn watch(&self, hold: HoldId, reading: &File) -> io::Result<()> {
        Ok(epoll::add(self.0.epoll.get_ref(), reading.as_fd(), EventData::new_u64(hold.0), EventFlags::ONESHOT)?)
    }

    fn arm(&self, hold: HoldId, reading: &File) -> io::Result<()> {
        Ok(epoll::modify(self.0.epoll.get_ref(), reading.as_fd(), EventData::new_u64(hold.0), EventFlags::ONESHOT)?)
    }

    fn path(&self, hold: HoldId) -> PathBuf {
        self.0.directory.join(hold.0.to_string())
    }

    fn unlink(&self, hold: HoldId) {
        if let Err(error) = fs::remove_file(self.path(hold)) {
            tracing::debug!("a FIFO could not be removed: {error}");
        }
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl netbearer_service::Holds for Fifos {
    fn revoke(&mut self, hold: HoldId) {
        Fifos::revoke(self, hold);
    }
}

fn open_reading(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed()).open(path)
}

/// Fails at once if there is no reading end.
fn open_writing(path: &Path) -> io::Result<OwnedFd> {
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
    OpenOptions::new().write(true).custom_flags(flags).open(path).map(OwnedFd::from)
}

/// How many descriptors are left to everything else.
fn spare() -> u64 {
    getrlimit(Resource::Nofile).current.map_or(SPARE, |limit| SPARE.min(limit / 4))
}

/// Whether somebody has the writing end. What was written into it means nothing, and no more of it is read than once: somebody
/// may write without end.
fn is_held(reading: &mut File) -> io::Result<bool> {
    let mut octets = [0; 4096];
    // An end of reading that was opened when nobody had the other shows no hang-up; it has nothing to read either.
    match reading.read(&mut octets) {
        Ok(0) => Ok(false),
        Ok(_) => Ok(!is_hung_up(reading)?),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether nobody has the writing end any more, whatever is left to be read.
fn is_hung_up(reading: &File) -> io::Result<bool> {
    let mut polled = [PollFd::new(reading, PollFlags::empty())];
    loop {
        match poll(&mut polled, Some(&NOW)) {
            Ok(_) => return Ok(polled[0].revents().contains(PollFlags::HUP)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, time::Duration};

    use tokio::time::timeout;

    use super::*;

    /// Much longer than the kernel takes.
    const PATIENCE: Duration = Duration::from_secs(10);

    async fn gone(fifos: &Fifos) -> Vec<HoldId> {
        let hung_up = timeout(PATIENCE, fifos.hung_up()).await.expect("a hang-up is told").unwrap();
        hung_up.into_iter().filter(|hold| fifos.has_gone(*hold)).collect()
    }

    async fn is_quiet(fifos: &Fifos) -> bool {
        for _ in 0..8 {
            tokio::select! {
                biased;
                _ = fifos.hung_up() => return false,
                () = tokio::task::yield_now() => {}
            }
        }
        true
    }

    #[tokio::test]
    async fn a_hold_lasts_until_its_last_copy_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let fifos = Fifos::open(&directory.path().join("holds")).unwrap();
        let (hold, first) = fifos.mint().unwrap();
        let (other, _kept) = fifos.mint().unwrap();
        let copy = first.try_clone().unwrap();
        let another = fifos.another(hold).unwrap();
        drop(first);
        drop(another);
        assert!(is_quiet(&fifos).await);
        drop(copy);
        assert_eq!(gone(&fifos).await, [hold]);
        assert!(is_quiet(&fifos).await);
        assert!(fifos.another(hold).is_err() && !fifos.has_gone(hold));
        assert!(fifos.another(other).is_ok());
        assert_eq!(fs::read_dir(directory.path().join("holds")).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn whoever_takes_it_meanwhile_keeps_it() {
        let directory = tempfile::tempdir().unwrap();
        let fifos = Fifos::open(directory.path()).unwrap();
        let (hold, first) = fifos.mint().unwrap();
        drop(first);
        let hung_up = timeout(PATIENCE, fifos.hung_up()).await.unwrap().unwrap();
        assert_eq!(hung_up, [hold]);
        let again = fifos.another(hold).unwrap();
        assert!(!fifos.has_gone(hold));
        drop(again);
        assert_eq!(gone(&fifos).await, [hold]);
    }

    #[tokio::test]
    async fn what_is_written_into_it_wakes_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let fifos = Fifos::open(directory.path()).unwrap();
        let (hold, writing) = fifos.mint().unwrap();
        let mut writing = File::from(writing);
        writing.write_all(&[7; 10_000]).unwrap();
        assert!(is_quiet(&fifos).await);
        drop(writing);
        assert_eq!(gone(&fifos).await, [hold]);
    }

    #[tokio::test]
    async fn of_what_somebody_writes_without_end_no_more_than_a_part_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let fifos = Fifos::open(directory.path()).unwrap();
        let (hold, writing) = fifos.mint().unwrap();
        let mut writing = File::from(writing);
        while writing.write(&[7; 4096]).is_ok() {}
        let before = rustix::io::ioctl_fionread(&writing).unwrap();
        assert!(!fifos.has_gone(hold));
        let left = rustix::io::ioctl_fionread(&writing).unwrap();
        assert!(left >= before - 4096 && left > 0, "{left} of {before} octets are left");
        assert!(is_quiet(&fifos).await);
        drop(writing);
        assert_eq!(gone(&fifos).await, [hold], "whatever is left to be read");
    }

    #[tokio::test]
    async fn a_revoked_one_is_seen_as_such_and_told_to_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let fifos = Fifos::open(directory.path()).unwrap();
        let (hold, writing) = fifos.mint().unwrap();
        fifos.revoke(hold);
        let mut polled = [rustix::event::PollFd::new(&writing, rustix::event::PollFlags::empty())];
        rustix::event::poll(&mut polled, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
        assert!(polled[0].revents().contains(rustix::event::PollFlags::ERR));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        drop(writing);
        assert!(is_quiet(&fifos).await);
        fifos.revoke(hold);
    }

    #[tokio::test]
    async fn the_next_service_finds_what_is_held_and_what_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let before = Fifos::open(directory.path()).unwrap();
        let (held, writing) = before.mint().unwrap();
        let (scribbled, mut scribbling) = before.mint().map(|(hold, writing)| (hold, File::from(writing))).unwrap();
        scribbling.write_all(b"x").unwrap();
        let (closed, closing) = before.mint().unwrap();
        let (forgotten, _forgotten) = before.mint().unwrap();
        let missing = HoldId(7);
        drop(before);
        drop(closing);
        let after = Fifos::open(directory.path()).unwrap();
        assert_eq!(after.reopen([held, scribbled, closed, missing]), [closed, missing]);
        assert_eq!(after.len(), 2);
        assert!(!directory.path().join(forgotten.0.to_string()).exists());
        assert!(is_quiet(&after).await);
        let (new, _new) = after.mint().unwrap();
        assert!(new > forgotten, "numbers are never used again");
        drop(writing);
        assert_eq!(gone(&after).await, [held]);
    }
}
