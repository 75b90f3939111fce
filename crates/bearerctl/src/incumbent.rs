use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use netbearer_locks::holder;
use serde::Serialize;

/// The process that has a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Incumbent {
    pub(crate) process: u32,
    /// What its file is called; empty if it has ended just now.
    pub(crate) name: String,
}

impl Incumbent {
    /// Who has the lock of this file, if anybody.
    ///
    /// # Errors
    /// When nothing tells.
    pub(crate) fn of(path: &Path) -> io::Result<Option<Self>> {
        Ok(holder(path)?.map(Self::named))
    }

    /// The process of this number.
    pub(crate) fn named(process: u32) -> Self {
        Self { process, name: name(process) }
    }
}

impl fmt::Display for Incumbent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => write!(formatter, "process {}", self.process),
            name => write!(formatter, "{name} (process {})", self.process),
        }
    }
}

fn name(process: u32) -> String {
    let path: PathBuf = ["/proc", &process.to_string(), "comm"].iter().collect();
    fs::read_to_string(path).unwrap_or_default().trim_end().to_owned()
}
