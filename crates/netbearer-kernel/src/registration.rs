//! Unsafe because the runtime's poll set trusts its members to keep their descriptor.
#![allow(unsafe_code)]

use std::{io, os::fd::AsRawFd};

use tokio::io::unix::AsyncFd;

/// Types that have one open descriptor, always the same, until they are dropped. No others may be added.
pub(crate) trait OwnsDescriptor: AsRawFd {}

impl OwnsDescriptor for socket2::Socket {}
impl OwnsDescriptor for rtnetlink::sys::Socket {}

/// Has the current runtime watch a descriptor, which must be non-blocking.
///
/// # Panics
/// Outside a tokio runtime with I/O enabled.
pub(crate) fn register<T: OwnsDescriptor>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: `OwnsDescriptor` promises that the descriptor stays the same and open while `AsyncFd` has the owner.
    unsafe { AsyncFd::register(owner) }.map_err(|refused| refused.into_parts().1)
}
