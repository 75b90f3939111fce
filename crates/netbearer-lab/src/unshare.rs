#![allow(unsafe_code)]

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves the calling thread into a new network namespace (`unshare(2)`).
pub(crate) fn unshare_network() -> rustix::io::Result<()> {
    // SAFETY: only `CLONE_FILES` is dangerous, as it parts the thread from the descriptors of the others; it is not given.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
}

/// Moves the calling thread into new namespaces for mounts and the host name, and its children to come into one for
/// processes (`unshare(2)`).
pub(crate) fn unshare_machine() -> rustix::io::Result<()> {
    // SAFETY: as above. A new mount namespace also parts the thread's current directory and umask from the others', which
    // nothing relies on.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWUTS | UnshareFlags::NEWPID) }
}
