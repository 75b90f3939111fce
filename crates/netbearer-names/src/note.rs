//! What others were told by us, noted before, so that it can be taken back when we are killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::NamesError;

/// In the runtime directory: those it is about forget with the boot, too.
const FILE: &str = "name-servers.json";

#[derive(Debug)]
pub(crate) struct Note {
    path: PathBuf,
    told: Told,
}

/// Whom we told what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Told {
    /// The program resolvconf, and under which names.
    resolvconf: BTreeSet<String>,
    /// systemd-resolved, about which interfaces: by index, with their names.
    resolved: BTreeMap<u32, String>,
}

impl Note {
    pub(crate) fn path(runtime_directory: &Path) -> PathBuf {
        runtime_directory.join(FILE)
    }

    /// What is noted there. Half a note is none: nothing had been told then.
    pub(crate) fn read(runtime_directory: &Path) -> Self {
        let path = Self::path(runtime_directory);
        let told = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { path, told }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.told == Told::default()
    }

    pub(crate) fn resolvconf(&self) -> Vec<String> {
        self.told.resolvconf.iter().cloned().collect()
    }

    pub(crate) fn resolved(&self) -> Vec<(u32, String)> {
        self.told.resolved.iter().map(|(index, name)| (*index, name.clone())).collect()
    }

    pub(crate) fn add_resolvconf(&mut self, name: &str) -> Result<(), NamesError> {
        self.change(|told| told.resolvconf.insert(name.to_owned()))
    }

    pub(crate) fn remove_resolvconf(&mut self, name: &str) -> Result<(), NamesError> {
        self.change(|told| told.resolvconf.remove(name))
    }

    pub(crate) fn add_resolved(&mut self, index: u32, name: &str) -> Result<(), NamesError> {
        self.change(|told| told.resolved.insert(index, name.to_owned()).as_deref() != Some(name))
    }

    pub(crate) fn remove_resolved(&mut self, index: u32) -> Result<(), NamesError> {
        self.change(|told| told.resolved.remove(&index).is_some())
    }

    pub(crate) fn forget_resolved(&mut self) -> Result<(), NamesError> {
        self.change(|told| !std::mem::take(&mut told.resolved).is_empty())
    }

    /// Writes it if it has changed; no note at all if there is nothing to note.
    fn change(&mut self, change: impl FnOnce(&mut Told) -> bool) -> Result<(), NamesError> {
        if !change(&mut self.told) {
            return Ok(());
        }
        self.write().map_err(NamesError::file("written", &self.path))
    }

    fn write(&self) -> io::Result<()> {
        if self.is_empty() {
            return fs::remove_file(&self.path);
        }
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        let new = self.path.with_extension("new");
        fs::write(&new, serde_json::to_vec(&self.told)?)?;
        fs::rename(new, &self.path)
    }
}
