#![allow(unsafe_code)]

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves the calling thread into a new network namespace (`unshare(2)`).
pub(crate) fn unshare_network() -> rustix::io::Result<()> {
    // SAFETY: only `CLONE_FILES` is dangerous, as it parts the thread from the descriptors of the others; it is not given.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
}
