//! Which files there are.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    mistake::{MistakeKind, Place, ProfileMistake},
    text_file::{TextFileError, read_text},
};

const EXTENSION: &str = "toml";

/// One profile's file, and the drop-ins that are merged into it in the order of their names.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) file: PathBuf,
    /// What is to be taken for the file's text.
    pub(crate) text: Option<String>,
    pub(crate) drop_ins: Vec<PathBuf>,
}

impl Source {
    /// Without drop-ins.
    pub(crate) fn alone(file: &Path) -> Self {
        Self { file: file.to_owned(), text: None, drop_ins: Vec::new() }
    }
}

/// The files of a directory by their names without `.toml`; none if it cannot be read. No directory means no files.
pub(crate) fn find(directory: &Path, mistakes: &mut Vec<ProfileMistake>) -> Option<BTreeMap<String, Source>> {
    let files = entries(directory, mistakes)?;
    let mut sources = BTreeMap::new();
    for file in &files {
        if let Some(stem) = stem(file) {
            let drop_ins = drop_ins(file, mistakes);
            sources.insert(stem, Source { file: file.clone(), text: None, drop_ins });
        }
    }
    for path in files.iter().filter(|path| path.extension() == Some(OsStr::new("d"))) {
        let file = path.with_extension("");
        if stem(&file).is_some() && !files.contains(&file) && path.is_dir() {
            mistakes.push(Place::whole(path).mistake(
                MistakeKind::Incomplete,
                format!("these are drop-ins to {}, which does not exist", file.display()),
                "make that file, rename the directory after the one that was meant, or remove it",
            ));
        }
    }
    Some(sources)
}

/// Where the drop-ins of a file are.
pub(crate) fn drop_in_directory(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".d");
    name.into()
}

/// The file that a drop-in is of, if it is one.
pub(crate) fn whole(file: &Path) -> PathBuf {
    let directory = file.parent().filter(|directory| directory.extension() == Some(OsStr::new("d")));
    let whole = directory.map(|directory| directory.with_extension("")).filter(|whole| stem(whole).is_some());
    whole.unwrap_or_else(|| file.to_owned())
}

pub(crate) fn drop_ins(file: &Path, mistakes: &mut Vec<ProfileMistake>) -> Vec<PathBuf> {
    let entries = entries(&drop_in_directory(file), mistakes).unwrap_or_default();
    entries.into_iter().filter(|path| stem(path).is_some()).collect()
}

pub(crate) fn stem(file: &Path) -> Option<String> {
    let stem = file.file_stem().filter(|_| file.extension() == Some(OsStr::new(EXTENSION)))?;
    // Such are the half-written files of editors.
    stem.to_str().filter(|stem| !stem.starts_with('.')).map(str::to_owned)
}

/// The text of a file.
pub(crate) fn read(file: &Path, mistakes: &mut Vec<ProfileMistake>) -> Option<String> {
    let complain = |error: TextFileError| {
        mistakes.push(Place::whole(file).mistake(MistakeKind::Unreadable, error.to_string(), error.remedy()));
    };
    read_text(file).map_err(complain).ok()
}

fn entries(directory: &Path, mistakes: &mut Vec<ProfileMistake>) -> Option<Vec<PathBuf>> {
    let read = fs::read_dir(directory).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    match read {
        Ok(paths) => {
            let mut paths: Vec<PathBuf> = paths;
            paths.sort();
            Some(paths)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Vec::new()),
        Err(error) => {
            let place = Place::whole(directory);
            let problem = format!("the directory cannot be read: {error}");
            mistakes.push(place.mistake(MistakeKind::Unreadable, problem, "look at it with `ls -ld`"));
            None
        }
    }
}
