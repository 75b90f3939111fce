use std::{
    io,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// The moment a wait gives up. A wait too long to be counted never does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) const NEVER: Self = Self(None);

    pub(crate) fn after(wait: Duration) -> Self {
        Self(Instant::now().checked_add(wait))
    }

    /// Time left, zero once passed; `None` when it never passes.
    pub(crate) fn left(self) -> Option<Duration> {
        self.0.map(|end| end.saturating_duration_since(Instant::now()))
    }

    pub(crate) fn has_passed(self) -> bool {
        self.left() == Some(Duration::ZERO)
    }

    /// Waits until one of `descriptors` is readable or hung up, and says which are; none once the deadline has passed.
    pub(crate) fn wait_readable<const N: usize>(self, descriptors: [BorrowedFd<'_>; N]) -> io::Result<[bool; N]> {
        let mut entries = descriptors.map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
        loop {
            let left = self.left().and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut entries, left.as_ref()) {
                Ok(_) => return Ok(entries.map(|entry| !entry.revents().is_empty())),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl From<Instant> for Deadline {
    fn from(end: Instant) -> Self {
        Self(Some(end))
    }
}
