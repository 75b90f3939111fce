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

/// Moves the calling thread, the only one of its process, into new namespaces for networks and mounts, and its children to
/// come into one for processes; with `user` all of these belong to a new namespace for users (`unshare(2)`).
pub(crate) fn unshare_sandbox(user: bool) -> rustix::io::Result<()> {
    let mut flags = UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::NEWPID;
    flags.set(UnshareFlags::NEWUSER, user);
    // SAFETY: as above.
    unsafe { unshare_unsafe(flags) }
}
