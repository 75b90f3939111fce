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
    file: PathBuf,
    stays: bool,
}

impl<'a> Candidate<'a> {
    pub(crate) fn new(store: &'a ProfileStore, name: &str, text: &str) -> Result<Self, Error> {
        let candidate = Self::beside(store, name)?;
        fs::write(&candidate.file, text).map_err(|source| Error::Profile(candidate.file.clone(), source))?;
        Ok(candidate)
    }

    /// A copy of the profile, as its owner's and no more readable.
    pub(crate) fn copy(store: &'a ProfileStore, name: &str) -> Result<Self, Error> {
        let candidate = Self::beside(store, name)?;
        let original = store.file(name);
        let copy = || {
            fs::copy(&original, &candidate.file)?;
            let metadata = fs::metadata(&original)?;
            chown(&candidate.file, Some(metadata.uid()), Some(metadata.gid()))
        };
        copy().map_err(|source| Error::Profile(candidate.file.clone(), source))?;
        Ok(candidate)
    }

    fn beside(store: &'a ProfileStore, name: &str) -> Result<Self, Error> {
        let directory = store.profile_directory();
        fs::create_dir_all(&directory).map_err(|source| Error::Profile(directory.clone(), source))?;
        let file = directory.join(format!(".{name}.{}.toml", std::process::id()));
        Ok(Self { store, name: name.to_owned(), file, stays: false })
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// What would be wrong with it in its place.
    pub(crate) fn mistakes(&self) -> Vec<ProfileMistake> {
        self.store.check(&[(self.file.clone(), Some(self.name.clone()))])
    }

    /// Puts it where nothing is yet.
    pub(crate) fn place(self) -> Result<(), Error> {
        let place = self.store.file(&self.name);
        match fs::hard_link(&self.file, &place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::ProfileExists { file: place, name: self.name.clone() })
            }
            linked => linked.map_err(|source| Error::Profile(place, source)),
        }
    }

    /// Puts it into the place of the profile there is.
    pub(crate) fn replace(mut self) -> Result<(), Error> {
        let place = self.store.file(&self.name);
        fs::rename(&self.file, &place).map_err(|source| Error::Profile(place, source))?;
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
