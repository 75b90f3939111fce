//! Files that a process of NetBearer locks (`flock(2)`) to be the only one that does something.
//!
//! Whoever can open such a file, even for reading only, can lock it and keep everybody else out. So it is its owner's alone, and
//! who only wants to know who has the lock does not even open it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod holder;
mod lock_file;

pub use holder::holder;
pub use lock_file::{narrow, open};
