//! The configuration files of NetBearer.
//!
//! [`ProfileStore`] reads `netbearer.toml` and `profiles.d` and names every mistake ([`ProfileMistake`]); what is right keeps
//! working, and of a broken file the last good version. [`ProfileWatch`] does so again whenever they change.
//! [`template`] writes a file to begin with, [`import_file`] makes one of another network manager's, and [`writing`] one of a
//! profile.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod check;
mod document;
mod import;
mod mistake;
mod secrets;
mod sources;
mod store;
pub mod template;
mod text_file;
mod watch;
mod words;
pub mod writing;

pub use import::{ImportError, Imported, import_file};
pub use mistake::{MistakeKind, ProfileMistake};
pub use store::{ProfileStore, Reading, Shared};
pub use text_file::{TextFileError, read_text};
pub use watch::ProfileWatch;
