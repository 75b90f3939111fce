//! What cannot be tagged in the kernel is noted before it is changed, so that the next start or a reset can put it back.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// How an interface was found. Only what we change and the kernel cannot tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Note {
    /// The boot it was written in; interface indexes mean nothing in another.
    pub(crate) boot: String,
    /// Interface index.
    pub(crate) index: u32,
    /// Interface name, for people.
    pub(crate) name: String,
    /// Link-layer address: another interface may have the index by the time the note is read.
    pub(crate) hardware_address: String,
    /// It was administratively up.
    pub(crate) administratively_up: bool,
}

/// The notes of one network namespace, a file for each interface.
#[derive(Clone, Debug)]
pub(crate) struct Notes {
    directory: PathBuf,
}

impl Notes {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Writes a note, unless there is one already: the first one tells how the interface was found.
    pub(crate) fn write(&self, note: &Note) -> io::Result<()> {
        let path = self.path(note.index);
        let text = serde_json::to_vec(note)?;
        // Written in one piece, and before anything is changed: a process killed on the way leaves a note of nothing.
        match File::create_new(&path).and_then(|mut file| file.write_all(&text)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let same = |old: &Note| old.boot == note.boot && old.hardware_address == note.hardware_address;
                if read(&path).as_ref().is_some_and(same) { Ok(()) } else { fs::write(&path, &text) }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.directory)?;
                fs::write(&path, &text)
            }
            written => written,
        }
    }

    pub(crate) fn remove(&self, index: u32) {
        match fs::remove_file(self.path(index)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("the note about interface {index} could not be removed: {error}");
            }
            _ => {}
        }
        // Only succeeds when it was the last one.
        let _ = fs::remove_dir(&self.directory);
    }

    /// Every note that can be read.
    pub(crate) fn all(&self) -> Vec<Note> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        entries.filter_map(|entry| read(&entry.ok()?.path())).collect()
    }

    fn path(&self, index: u32) -> PathBuf {
        self.directory.join(format!("interface-{index}.json"))
    }
}

fn read(path: &Path) -> Option<Note> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(index: u32, administratively_up: bool) -> Note {
        Note {
            boot: "one".into(),
            index,
            name: "ap0".into(),
            hardware_address: "02:00:00:00:00:01".into(),
            administratively_up,
        }
    }

    #[test]
    fn the_first_note_stays_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let notes = Notes::new(directory.path().join("notes"));
        notes.write(&note(3, false)).unwrap();
        notes.write(&note(3, true)).unwrap();
        assert_eq!(notes.all(), [note(3, false)]);
        notes.remove(3);
        assert!(notes.all().is_empty());
        assert!(!directory.path().join("notes").exists());
    }

    #[test]
    fn a_note_of_another_boot_is_replaced_and_a_broken_one_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let notes = Notes::new(directory.path().to_owned());
        notes.write(&Note { boot: "zero".into(), ..note(3, true) }).unwrap();
        notes.write(&note(3, false)).unwrap();
        fs::write(directory.path().join("interface-4.json"), "{").unwrap();
        assert_eq!(notes.all(), [note(3, false)]);
    }
}
