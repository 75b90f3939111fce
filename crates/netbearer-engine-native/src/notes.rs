//! What cannot be tagged in the kernel is noted before it is changed, so that the next start or a reset can put it back.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use netbearer_dhcp::Lease;
use netbearer_kernel::{Cache, Link};
use netbearer_types::{Profile, Proxy};
use rustix::fs::{AtFlags, CWD, OFlags, linkat};
use serde::{Deserialize, Serialize};

use crate::settings::{self, ChangedSetting};

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
    /// Settings that we have changed, or are about to; absent in older notes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) settings: Vec<ChangedSetting>,
    /// The MTU, if we have changed it or are about to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mtu: Option<ChangedMtu>,
    /// The routing table of the access point; none as long as it needs none, and in older notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<u32>,
    /// The link is kept up by others, and only has a table and rules of ours beside theirs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) beside: bool,
    /// What it was configured with when its target was reached last, for whoever goes on with it after we were killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reached: Option<Box<Reached>>,
}

/// What the kernel does not tell of an access point that is configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reached {
    /// Its profile, as far as the engine has use for it.
    pub(crate) profile: Profile,
    /// The lease; its moments mean something in this boot only.
    pub(crate) lease: Option<Lease>,
}

impl Reached {
    pub(crate) fn new(profile: &Profile, lease: Option<Lease>) -> Self {
        // A proxy's address may have a password in it, and everybody may read a note.
        Self { profile: Profile { proxy: Proxy::None, ..profile.clone() }, lease }
    }
}

impl Note {
    /// The note may outlive its boot or its interface; another one may have the index now.
    pub(crate) fn is_true(&self, cache: &Cache, boot: &str) -> bool {
        self.boot == boot && cache.link(self.index).is_some_and(|link| self.is_about_device(link))
    }

    pub(crate) fn is_about_device(&self, link: &Link) -> bool {
        self.index == link.index && self.hardware_address == link.hardware_address.to_string()
    }
}

/// A file among the notes.
#[derive(Debug)]
pub(crate) struct NoteFile {
    path: PathBuf,
    /// None if it cannot be read.
    pub(crate) note: Option<Note>,
}

impl NoteFile {
    /// The interface it is about, by its name if it cannot be read.
    pub(crate) fn index(&self) -> Option<u32> {
        let named = || self.path.file_stem()?.to_str()?.strip_prefix(PREFIX)?.parse().ok();
        self.note.as_ref().map(|note| note.index).or_else(named)
    }

    /// It was to take the place of another one.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == UNFINISHED)
    }
}

/// Files are called that and the interface's index.
const PREFIX: &str = "interface-";
const UNFINISHED: &str = "new";

/// A maximum transmission unit as it was and as the profile wants it, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangedMtu {
    pub(crate) old: u32,
    pub(crate) new: u32,
}

/// The notes of one network namespace, a file for each interface.
#[derive(Clone, Debug)]
pub(crate) struct Notes {
    directory: PathBuf,
    draft: Arc<Mutex<Draft>>,
}

/// The note that was begun last, written once more before it is wanted: who opens an access point often waits for a name
/// only, not for a file. It has no name until then (`O_TMPFILE` of `open(2)`), so nobody finds it.
#[derive(Debug, Default)]
struct Draft {
    text: Vec<u8>,
    file: Option<File>,
}

impl Draft {
    /// Gives it its name if it says this; false if that cannot be had.
    fn name(&mut self, path: &Path, text: &[u8]) -> bool {
        let file = self.file.take_if(|_| self.text == text);
        file.is_some_and(|file| linkat(file, "", CWD, path, AtFlags::EMPTY_PATH).is_ok())
    }

    fn write(&mut self, directory: &Path) {
        let open = || {
            let unnamed = OFlags::TMPFILE.bits().cast_signed();
            let mut file = File::options().write(true).custom_flags(unnamed).open(directory)?;
            file.write_all(&self.text).map(|()| file)
        };
        if self.file.is_none() && !self.text.is_empty() {
            // Not every file system can; then the next one is written when it is wanted.
            self.file = open().ok();
        }
    }
}

impl Notes {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, draft: Arc::default() }
    }

    /// Writes a note, unless there is one already: the first one tells how the interface was found, and only settings are
    /// added to it. Returns the note as it is then.
    pub(crate) fn write(&self, note: Note) -> io::Result<Note> {
        let path = self.path(note.index);
        let text = serde_json::to_vec(&note)?;
        let mut draft = self.draft.lock().unwrap_or_else(PoisonError::into_inner);
        if draft.name(&path, &text) {
            return Ok(note);
        }
        draft.file = None;
        draft.text.clone_from(&text);
        drop(draft);
        // Written in one piece, and before anything is changed: a process killed on the way leaves a note of nothing.
        let write = |mut file: File| {
            // Half a note is none.
            file.write_all(&text).inspect_err(|_| drop(fs::remove_file(&path)))
        };
        match File::create_new(&path).and_then(write) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let is_same = |old: &Note| old.boot == note.boot && old.hardware_address == note.hardware_address;
                let Some(first) = read(&path).filter(is_same) else { return fs::write(&path, &text).map(|()| note) };
                let mut more = first.clone();
                settings::merge(&mut more.settings, &note.settings);
                more.table = note.table.or(more.table);
                if more != first {
                    self.rewrite(&more)?;
                }
                Ok(more)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.directory)?;
                fs::write(&path, &text).map(|()| note)
            }
            written => written.map(|()| note),
        }
    }

    /// Writes a note in the place of the one there is, in one piece.
    pub(crate) fn rewrite(&self, note: &Note) -> io::Result<()> {
        let path = self.path(note.index);
        let new = path.with_extension(UNFINISHED);
        fs::write(&new, serde_json::to_vec(note)?)?;
        fs::rename(new, path)
    }

    /// Their directory stays: the next one is written sooner.
    pub(crate) fn remove(&self, index: u32) {
        remove_file(&self.path(index));
        self.draft.lock().unwrap_or_else(PoisonError::into_inner).write(&self.directory);
    }

    /// Removes files told by [`Notes::all`], and their directory.
    pub(crate) fn remove_files<'a>(&self, files: impl IntoIterator<Item = &'a NoteFile>) {
        files.into_iter().for_each(|file| remove_file(&file.path));
        // Only succeeds when it was the last one.
        let _ = fs::remove_dir(&self.directory);
    }

    /// Every note's file, and what it says if it can be read.
    pub(crate) fn all(&self) -> Vec<NoteFile> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort_unstable();
        paths.into_iter().map(|path| NoteFile { note: read(&path), path }).collect()
    }

    /// The file of a note that was written by another process.
    pub(crate) fn file(&self, note: Note) -> NoteFile {
        NoteFile { path: self.path(note.index), note: Some(note) }
    }

    fn path(&self, index: u32) -> PathBuf {
        self.directory.join(format!("{PREFIX}{index}.json"))
    }
}

fn remove_file(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("the note {} could not be removed: {error}", path.display());
        }
        _ => {}
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
            settings: Vec::new(),
            mtu: None,
            table: None,
            beside: false,
            reached: None,
        }
    }

    #[test]
    fn the_first_note_stays_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let notes = Notes::new(directory.path().join("notes"));
        assert_eq!(notes.write(note(3, false)).unwrap(), note(3, false));
        let settings =
            |old| serde_json::from_value(serde_json::json!([{ "name": "ipv4 rp_filter", "old": old, "new": 2 }]));
        let changed = Note { settings: settings(1).unwrap(), ..note(3, true) };
        let first = Note { settings: settings(1).unwrap(), ..note(3, false) };
        assert_eq!(notes.write(changed).unwrap(), first, "what is changed next is in it");
        let changed_again = Note { settings: settings(0).unwrap(), ..note(3, true) };
        assert_eq!(notes.write(changed_again).unwrap(), first);
        assert_eq!(read_all(&notes), [Some(first)]);
        notes.remove(3);
        assert!(notes.all().is_empty());
    }

    #[test]
    fn a_note_that_is_written_again_is_as_new() {
        let directory = tempfile::tempdir().unwrap();
        let notes = Notes::new(directory.path().to_owned());
        for _ in 0..3 {
            notes.write(note(3, false)).unwrap();
            assert_eq!(read_all(&notes), [Some(note(3, false))]);
            notes.rewrite(&note(3, true)).unwrap();
            notes.remove(3);
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "what is written in advance has no name");
        }
        notes.write(note(4, false)).unwrap();
        assert_eq!(read_all(&notes), [Some(note(4, false))]);
        notes.remove(4);
        fs::write(notes.path(4), "{").unwrap();
        notes.write(note(4, false)).unwrap();
        assert_eq!(read_all(&notes), [Some(note(4, false))], "its place was taken");
    }

    #[test]
    fn a_note_is_rewritten_with_more_and_an_older_one_is_still_read() {
        let directory = tempfile::tempdir().unwrap();
        let notes = Notes::new(directory.path().to_owned());
        notes.write(note(3, false)).unwrap();
        let text = fs::read_to_string(notes.path(3)).unwrap();
        assert!(!text.contains("settings"), "{text}");
        assert_eq!(read_all(&notes), [Some(note(3, false))]);
        let settings = serde_json::from_str(r#"[{"name":"ipv4 rp_filter","old":1,"new":2}]"#).unwrap();
        let more = Note { settings, ..note(3, false) };
        notes.rewrite(&more).unwrap();
        assert_eq!(read_all(&notes), [Some(more)]);
    }

    fn read_all(notes: &Notes) -> Vec<Option<Note>> {
        notes.all().into_iter().map(|file| file.note).collect()
    }

    #[test]
    fn a_note_of_another_boot_is_replaced_and_a_broken_one_is_told_of_to_be_removed() {
        let directory = tempfile::tempdir().unwrap();
        let notes = Notes::new(directory.path().to_owned());
        notes.write(Note { boot: "zero".into(), ..note(3, true) }).unwrap();
        notes.write(note(3, false)).unwrap();
        fs::write(directory.path().join("interface-4.json"), "{").unwrap();
        assert_eq!(read_all(&notes), [Some(note(3, false)), None]);
        let files = notes.all();
        assert_eq!(files.iter().map(NoteFile::index).collect::<Vec<_>>(), [Some(3), Some(4)]);
        notes.remove_files(&files);
        assert!(!directory.path().exists());
    }

    #[test]
    fn what_was_reached_is_noted_without_what_not_everybody_may_read() {
        let proxy = Proxy::Manual("http://user:secret@192.0.2.1:3128".to_owned());
        let profile = Profile { proxy, preference: 3, ..Profile::default() };
        let reached = Reached::new(&profile, None);
        let text = serde_json::to_string(&Note { reached: Some(Box::new(reached)), ..note(3, false) }).unwrap();
        assert!(text.contains("\"preference\":3") && !text.contains("secret"), "{text}");
    }
}
