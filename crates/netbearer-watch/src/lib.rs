//! Waiting for what happens outside of the process, without asking again and again: [`DirectoryWatch`] tells when files come,
//! change and go, from before their directories are there; [`register`] has a runtime watch any other descriptor.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod directory_watch;
mod registration;

pub use directory_watch::{DirectoryWatch, WatchedEntries};
pub use registration::register;
