use std::{
    fs, io,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
};

use netbearer_profiles::{ProfileMistake, ProfileStore};

use crate::error::Error;

/// A text that may become a profile. It lies beside its place under a name that nobody reads, so that it gets there in one
/// step; unless it does, or is kept, it goes again.
pub(crate) struct Candidate<'a> {
    store: &'a ProfileStore,
    name: String,
    /// Where a link in the place of the profile leads.
    place: PathBuf,
    file: PathBuf,
    stays: bool,
}

impl<'a> Candidate<'a> {
    pub(crate) fn new(store: &'a ProfileStore, name: &str, text: &str) -> Result<Self, Error> {
        let directory = store.profile_directory();
        fs::create_dir_all(&directory).map_err(|source| Error::Profile(directory, source))?;
        let candidate = Self::beside(store, name, store.file(name));
        fs::write(&candidate.file, text).map_err(|source| Error::Profile(candidate.file.clone(), source))?;
        Ok(candidate)
    }

    /// A copy of the profile, as its owner's and no more readable.
    pub(crate) fn copy(store: &'a ProfileStore, name: &str) -> Result<Self, Error> {
        let link = store.file(name);
        let original = fs::canonicalize(&link).map_err(|source| Error::Profile(link, source))?;
        let candidate = Self::beside(store, name, original.clone());
        let copy = || {
            fs::copy(&original, &candidate.file)?;
            let metadata = fs::metadata(&original)?;
            chown(&candidate.file, Some(metadata.uid()), Some(metadata.gid()))
        };
        copy().map_err(|source| Error::Profile(candidate.file.clone(), source))?;
        Ok(candidate)
    }

    fn beside(store: &'a ProfileStore, name: &str, place: PathBuf) -> Self {
        let file = place.with_file_name(format!(".{name}.{}.toml", std::process::id()));
        Self { store, name: name.to_owned(), place, file, stays: false }
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// What would be wrong with it in its place, and with others because of it.
    pub(crate) fn mistakes(&self) -> Vec<ProfileMistake> {
        self.store.check(&self.proposed())
    }

    /// Those of them that there are not already.
    pub(crate) fn added_mistakes(&self) -> Vec<ProfileMistake> {
        self.store.added_mistakes(&self.proposed())
    }

    fn proposed(&self) -> [(PathBuf, Option<String>); 1] {
        [(self.file.clone(), Some(self.name.clone()))]
    }

    /// Puts it where nothing is yet.
    pub(crate) fn place(self) -> Result<(), Error> {
        match fs::hard_link(&self.file, &self.place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::ProfileExists { file: self.place.clone(), name: self.name.clone() })
            }
            linked => linked.map_err(|source| Error::Profile(self.place.clone(), source)),
        }
    }

    /// Puts it into the place of the profile there is.
    pub(crate) fn replace(mut self) -> Result<(), Error> {
        fs::rename(&self.file, &self.place).map_err(|source| Error::Profile(self.place.clone(), source))?;
        self.stays = true;
        Ok(())
    }

    /// Leaves it where it is, for its writer to go on with.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.stays = true;
        self.file.clone()
    }
}

impl Drop for Candidate<'_> {
    fn drop(&mut self) {
        if !self.stays {
            // It may never have been written.
            let _ = fs::remove_file(&self.file);
        }
    }
}
