//! Unsafe because the runtime's poll set trusts its members to keep their descriptor.
#![allow(unsafe_code)]

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Has the current runtime tell when a descriptor is readable.
///
/// # Errors
/// When the runtime cannot watch it.
///
/// # Panics
/// Outside a tokio runtime with I/O enabled.
pub fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` has the same open descriptor until it is dropped, which is by the `AsyncFd`, after it was
    // taken from the runtime.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    registered.map_err(|refused| refused.into_parts().1)
}
