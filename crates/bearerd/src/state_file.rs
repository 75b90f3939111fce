//! What outlives the daemon within a boot: a snapshot of the core's ledger, and a log of what has become of it since.
//!
//! Each generation is two files in the runtime directory, `ledger-N.json` and `ledger-N.log`. The snapshot appears whole or
//! not at all. The log has a line for each record; a batch of them is one write, made before anybody is answered or told, so
//! a process may be killed at any moment. When the log has grown, the next generation begins: its log at once, its snapshot as
//! soon as a thread has written it. The generation before is kept, for as long as there is no newer snapshot, and should that be
//! damaged: the older snapshot, its log and the newer log come to the same, as records may be repeated.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use netbearer_core::{Record, SavedState};
use serde::{Deserialize, Serialize};

/// Of the files. Another one means that fields of them have another meaning.
const FORMAT: u32 = 1;
const SNAPSHOT: &str = ".json";
const LOG: &str = ".log";
/// Of a snapshot that is being written, or was when the process was killed.
const NEW_SNAPSHOT: &str = ".new";
const SUFFIXES: [&str; 3] = [SNAPSHOT, LOG, NEW_SNAPSHOT];
/// A log that is shorter is not worth a snapshot.
const SHORT_LOG: u64 = 256 * 1024;

/// What the files are good for: one boot of the machine, and one network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Realm {
    format: u32,
    /// `boot_id` of `random(4)`.
    boot: String,
    /// The inode of the network namespace.
    namespace: u64,
}

impl Realm {
    /// The realm of this boot and this network namespace.
    #[must_use]
    pub fn new(boot: &str, namespace: u64) -> Self {
        Self { format: FORMAT, boot: boot.to_owned(), namespace }
    }

    /// Why files of another realm mean nothing here; none if they do.
    fn difference(&self, other: &Self) -> Option<String> {
        if other.format > self.format {
            return Some(format!("it is of format {}, and this version knows {}", other.format, self.format));
        }
        if other.format < self.format {
            return Some(format!("it is of the former format {}", other.format));
        }
        if other.boot != self.boot {
            return Some("it is of another boot".to_owned());
        }
        (other.namespace != self.namespace).then(|| "it is of another network namespace".to_owned())
    }
}

/// What is in a snapshot beside its realm.
#[derive(Deserialize)]
struct Snapshot {
    state: SavedState,
}

/// A snapshot, to be written.
#[derive(Serialize)]
struct NewSnapshot<'a> {
    #[serde(flatten)]
    realm: &'a Realm,
    state: &'a SavedState,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// What another daemon has left; none if there is nothing that could be gone on from.
    pub state: Option<SavedState>,
    /// What was wrong with it, for people.
    pub remarks: Vec<String>,
    /// It is of a newer version, which may have links up that this one knows nothing of.
    pub is_newer: bool,
    /// The newest generation there is.
    generation: u64,
    /// The one whose snapshot the state is from.
    good: Option<u64>,
}

/// The files, as one daemon at a time writes them.
#[derive(Debug)]
pub struct StateFile {
    directory: PathBuf,
    realm: Realm,
    generation: u64,
    /// The newest generation that has a snapshot.
    snapshot: u64,
    log: File,
    log_length: u64,
    snapshot_length: u64,
    /// The last line of the log may have no end.
    is_torn: bool,
}

/// What is read of one generation.
enum Reading<T> {
    Nothing,
    Damaged(String),
    /// Of another realm.
    Foreign {
        reason: String,
        /// Of a newer version.
        is_newer: bool,
    },
    Good(T),
}

impl<T> Reading<T> {
    fn foreign(path: &Path, difference: &str, is_newer: bool) -> Self {
        Self::Foreign { reason: format!("{} is not used: {difference}", path.display()), is_newer }
    }
}

impl StateFile {
    /// Looks for what another daemon has left. What this one cannot go on from is set aside.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn find(directory: &Path, realm: &Realm) -> io::Result<Found> {
        let mut generations = generations(directory)?;
        generations.sort_unstable();
        let mut found = Found { generation: generations.last().copied().unwrap_or_default(), ..Found::default() };
        let mut snapshots = generations.iter().rev().copied();
        let state = loop {
            let Some(generation) = snapshots.next() else { break None };
            match read_snapshot(&snapshot_path(directory, generation), realm) {
                Reading::Good(state) => break Some((generation, state)),
                // A log alone is of a daemon that was killed at its very start.
                Reading::Nothing => {}
                Reading::Damaged(reason) => found.remarks.push(reason),
                Reading::Foreign { reason, is_newer } => {
                    found.remarks.push(reason);
                    found.is_newer = is_newer;
                    set_aside(directory, &generations, &mut found.remarks);
                    return Ok(found);
                }
            }
        };
        let Some((generation, mut state)) = state else {
            // What is left of a daemon that was killed before it had a ledger goes by and by.
            if !found.remarks.is_empty() {
                set_aside(directory, &generations, &mut found.remarks);
            }
            return Ok(found);
        };
        for later in generations.into_iter().filter(|one| *one >= generation) {
            match read_log(&log_path(directory, later), realm) {
                Reading::Good((records, remarks)) => {
                    found.remarks.extend(remarks);
                    records.into_iter().for_each(|record| state.apply(record));
                }
                Reading::Nothing => {}
                Reading::Damaged(reason) | Reading::Foreign { reason, .. } => found.remarks.push(reason),
            }
        }
        (found.state, found.good) = (Some(state), Some(generation));
        Ok(found)
    }

    /// Begins the next generation after what was found.
    ///
    /// # Errors
    /// When the directory is not writable.
    pub fn begin(directory: &Path, realm: Realm, found: &Found, state: &SavedState) -> io::Result<Self> {
        let generation = found.generation + 1;
        let (log, log_length) = begin_log(directory, &realm, generation)?;
        let snapshot = Snapshotting { directory: directory.to_owned(), realm: realm.clone(), generation };
        let snapshot_length = snapshot.write(state)?;
        let directory = directory.to_owned();
        let file = Self {
            directory,
            realm,
            generation,
            snapshot: generation,
            log,
            log_length,
            snapshot_length,
            is_torn: false,
        };
        // What could not be read is no good when the new snapshot cannot be either.
        file.remove_before(found.good.unwrap_or(found.generation))?;
        Ok(file)
    }

    /// Adds to the log what has become of something.
    ///
    /// # Errors
    /// When the disk is full. Then the next daemon will not know of it.
    pub fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let mut lines = Vec::new();
        if self.is_torn {
            lines.push(b'\n');
        }
        for record in records {
            serde_json::to_writer(&mut lines, record)?;
            lines.push(b'\n');
        }
        self.is_torn = true;
        self.log.write_all(&lines)?;
        self.is_torn = false;
        self.log_length += u64::try_from(lines.len()).unwrap_or_default();
        Ok(())
    }

    /// True if the log is much longer than a snapshot.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.log_length > SHORT_LOG.max(2 * self.snapshot_length)
    }

    /// Begins the next generation, whose snapshot is to be of what the ledger is now.
    ///
    /// # Errors
    /// When the disk is full; then this generation goes on.
    pub fn compact(&mut self) -> io::Result<Snapshotting> {
        let generation = self.generation + 1;
        (self.log, self.log_length) = begin_log(&self.directory, &self.realm, generation)?;
        self.generation = generation;
        self.is_torn = false;
        Ok(Snapshotting { directory: self.directory.clone(), realm: self.realm.clone(), generation })
    }

    /// The snapshot of the newest generation has been written, and is so long. What is older than the one before is removed.
    ///
    /// # Errors
    /// When the directory is not writable.
    pub fn compacted(&mut self, length: u64) -> io::Result<()> {
        self.remove_before(self.snapshot)?;
        self.snapshot = self.generation;
        self.snapshot_length = length;
        Ok(())
    }

    fn remove_before(&self, generation: u64) -> io::Result<()> {
        let old = generations(&self.directory)?.into_iter().filter(|one| *one < generation);
        old.into_iter().try_for_each(|one| remove(&self.directory, one))
    }

    /// Removes all of it, as nothing is left that another daemon could go on from.
    ///
    /// # Errors
    /// When the directory is not writable.
    pub fn remove(self) -> io::Result<()> {
        for generation in generations(&self.directory)? {
            remove(&self.directory, generation)?;
        }
        Ok(())
    }
}

/// A snapshot that is to be written.
#[derive(Debug)]
#[must_use = "the ledger is not kept whole without it"]
pub struct Snapshotting {
    directory: PathBuf,
    realm: Realm,
    generation: u64,
}

impl Snapshotting {
    /// Writes it, and returns its length.
    ///
    /// # Errors
    /// When the disk is full. Then the generations before are still good.
    pub fn write(self, state: &SavedState) -> io::Result<u64> {
        let path = snapshot_path(&self.directory, self.generation);
        let new = self::path(&self.directory, self.generation, NEW_SNAPSHOT);
        let mut writer = BufWriter::new(create(&new)?);
        serde_json::to_writer(&mut writer, &NewSnapshot { realm: &self.realm, state })?;
        let length = writer.into_inner()?.metadata()?.len();
        fs::rename(&new, &path)?;
        Ok(length)
    }
}

fn begin_log(directory: &Path, realm: &Realm, generation: u64) -> io::Result<(File, u64)> {
    let mut line = serde_json::to_vec(realm)?;
    line.push(b'\n');
    let mut log = create(&log_path(directory, generation))?;
    log.write_all(&line)?;
    Ok((log, u64::try_from(line.len()).unwrap_or_default()))
}

/// The tokens are in it, so nobody else may read it.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn snapshot_path(directory: &Path, generation: u64) -> PathBuf {
    path(directory, generation, SNAPSHOT)
}

fn log_path(directory: &Path, generation: u64) -> PathBuf {
    path(directory, generation, LOG)
}

fn path(directory: &Path, generation: u64, suffix: &str) -> PathBuf {
    directory.join(format!("ledger-{generation}{suffix}"))
}

/// The numbers of the generations that there is a file of.
fn generations(directory: &Path) -> io::Result<Vec<u64>> {
    let mut generations = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("ledger-"));
        let number = number.and_then(|name| SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)));
        generations.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    generations.sort_unstable();
    generations.dedup();
    Ok(generations)
}

fn remove(directory: &Path, generation: u64) -> io::Result<()> {
    for suffix in SUFFIXES {
        match fs::remove_file(path(directory, generation, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Somebody may want to look at it.
fn set_aside(directory: &Path, generations: &[u64], remarks: &mut Vec<String>) {
    for generation in generations {
        for path in [snapshot_path(directory, *generation), log_path(directory, *generation)] {
            let mut aside = path.clone().into_os_string();
            aside.push(".set-aside");
            match fs::rename(&path, aside) {
                Ok(()) => remarks.push(format!("{} was set aside", path.display())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => remarks.push(format!("{} cannot be set aside: {error}", path.display())),
            }
        }
    }
}

fn read_snapshot(path: &Path, realm: &Realm) -> Reading<SavedState> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Reading::Nothing,
        Err(error) => return Reading::Damaged(format!("{} cannot be read: {error}", path.display())),
    };
    // What a newer version has written may have another shape.
    match serde_json::from_slice::<Realm>(&text).map(|found| (realm.difference(&found), found.format > realm.format)) {
        Ok((Some(difference), is_newer)) => return Reading::foreign(path, &difference, is_newer),
        Ok((None, _)) => {}
        Err(error) => return Reading::Damaged(format!("{} is damaged: {error}", path.display())),
    }
    match serde_json::from_slice::<Snapshot>(&text) {
        Ok(snapshot) => Reading::Good(snapshot.state),
        Err(error) => Reading::Damaged(format!("{} is damaged: {error}", path.display())),
    }
}

/// The records of a log, and what was wrong with it. A last line without an end was being written, and nobody was told.
fn read_log(path: &Path, realm: &Realm) -> Reading<(Vec<Record>, Vec<String>)> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Reading::Nothing,
        Err(error) => return Reading::Damaged(format!("{} cannot be read: {error}", path.display())),
    };
    let ended = text.iter().rposition(|octet| *octet == b'\n').map_or(0, |end| end + 1);
    let mut lines = text[..ended].ended_lines();
    let Some(first) = lines.next() else { return Reading::Nothing };
    match serde_json::from_slice::<Realm>(first).map(|found| (realm.difference(&found), found.format > realm.format)) {
        Ok((None, _)) => {}
        Ok((Some(difference), is_newer)) => return Reading::foreign(path, &difference, is_newer),
        Err(error) => return Reading::Damaged(format!("{} is damaged: {error}", path.display())),
    }
    let (mut records, mut remarks) = (Vec::new(), Vec::new());
    for (number, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(record) => records.push(record),
            Err(error) => remarks.push(format!("{}, line {}, is passed over: {error}", path.display(), number + 2)),
        }
    }
    Reading::Good((records, remarks))
}

/// Lines, each of which has an end.
trait Lines {
    fn ended_lines(&self) -> impl Iterator<Item = &[u8]>;
}

impl Lines for [u8] {
    fn ended_lines(&self) -> impl Iterator<Item = &[u8]> {
        self.split_inclusive(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line))
    }
}

#[cfg(test)]
mod tests {
    use netbearer_core::{Client, ClientId, Core, Settings, Token, UserId};
    use netbearer_types::Identifier;
    use tempfile::TempDir;

    use super::*;

    const CLIENT: ClientId = ClientId(1);

    /// A ledger and the files it is kept in.
    struct Kept {
        directory: TempDir,
        core: Core,
        file: StateFile,
        tokens: u128,
    }

    fn realm() -> Realm {
        Realm::new("boot", 7)
    }

    impl Kept {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let mut core = Core::new(Settings { serves_all_processes: true, ..Settings::default() });
            core.handle_client(CLIENT, Client::of_user(UserId(0)));
            let file = StateFile::begin(directory.path(), realm(), &Found::default(), &SavedState::default()).unwrap();
            Self { directory, core, file, tokens: 0 }
        }

        /// Something has happened in each of three generations, of which two are kept.
        fn of_three_generations() -> Self {
            let mut kept = Self::new();
            for _ in 0..2 {
                kept.change();
                kept.compact();
            }
            kept.change();
            kept
        }

        /// Something happens, and is kept.
        fn change(&mut self) {
            let session = self.core.create_session(CLIENT, &Identifier::new("ap0")).unwrap();
            self.tokens += 1;
            self.core.give_token(session, Token(self.tokens));
            self.file.append(&self.core.take_unsaved()).unwrap();
        }

        fn compact(&mut self) {
            let snapshot = self.file.compact().unwrap();
            let length = snapshot.write(&self.core.saved()).unwrap();
            self.file.compacted(length).unwrap();
        }

        fn find(&self) -> Found {
            StateFile::find(self.directory.path(), &realm()).unwrap()
        }

        /// What is found is what there is, and these are the remarks on it.
        fn assert_found(&self, remarks: &[&str]) {
            let found = self.find();
            assert_eq!(found.state, Some(self.core.saved()));
            assert_eq!(found.remarks.len(), remarks.len(), "{:?}", found.remarks);
            for (found, expected) in found.remarks.iter().zip(remarks) {
                assert!(found.contains(expected), "{found}");
            }
        }

        fn files(&self) -> Vec<String> {
            let entries = fs::read_dir(self.directory.path()).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }

        fn edit(&self, name: &str, edit: impl FnOnce(Vec<u8>) -> Vec<u8>) {
            let path = self.directory.path().join(name);
            fs::write(&path, edit(fs::read(&path).unwrap())).unwrap();
        }
    }

    #[test]
    fn where_nothing_is_nothing_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let found = StateFile::find(directory.path(), &realm()).unwrap();
        assert!(found.state.is_none() && found.remarks.is_empty());
    }

    #[test]
    fn what_was_kept_is_found_whether_in_the_snapshot_or_in_the_log() {
        let mut kept = Kept::new();
        kept.assert_found(&[]);
        kept.change();
        kept.change();
        kept.assert_found(&[]);
        kept.compact();
        kept.assert_found(&[]);
        kept.change();
        kept.assert_found(&[]);
        assert_eq!(kept.files(), ["ledger-1.json", "ledger-1.log", "ledger-2.json", "ledger-2.log"]);
        kept.compact();
        assert_eq!(kept.files(), ["ledger-2.json", "ledger-2.log", "ledger-3.json", "ledger-3.log"]);
        kept.assert_found(&[]);
    }

    #[test]
    fn the_next_daemon_begins_another_generation_and_keeps_the_last() {
        let mut kept = Kept::new();
        kept.change();
        let found = kept.find();
        kept.file = StateFile::begin(kept.directory.path(), realm(), &found, &kept.core.saved()).unwrap();
        assert_eq!(kept.files(), ["ledger-1.json", "ledger-1.log", "ledger-2.json", "ledger-2.log"]);
        kept.change();
        kept.assert_found(&[]);
        kept.file.remove().unwrap();
        assert!(fs::read_dir(kept.directory.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_line_that_was_being_written_is_passed_over() {
        let mut kept = Kept::new();
        kept.change();
        kept.edit("ledger-1.log", |mut log| {
            log.extend_from_slice(b"{\"no_session\":1}");
            log
        });
        kept.assert_found(&[]);
        // Whatever it was, what comes after it counts.
        kept.file.is_torn = true;
        kept.edit("ledger-1.log", |log| log[..log.len() - 7].to_vec());
        kept.file.log = OpenOptions::new().append(true).open(kept.directory.path().join("ledger-1.log")).unwrap();
        kept.change();
        kept.assert_found(&["ledger-1.log, line 4, is passed over"]);
    }

    #[test]
    fn one_that_was_killed_before_it_had_a_ledger_leaves_nothing_to_be_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let _log = begin_log(directory.path(), &realm(), 1).unwrap();
        let found = StateFile::find(directory.path(), &realm()).unwrap();
        assert!(found.state.is_none() && found.remarks.is_empty());
        let file = StateFile::begin(directory.path(), realm(), &found, &SavedState::default()).unwrap();
        file.remove().unwrap();
        assert!(fs::read_dir(directory.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_process_that_was_killed_between_two_system_calls_has_lost_nothing() {
        let mut kept = Kept::new();
        kept.change();
        // Before the next log had a word in it.
        fs::write(kept.directory.path().join("ledger-2.log"), "").unwrap();
        kept.assert_found(&[]);
        // Before the next snapshot got its name, and the log has gone on.
        let snapshot = kept.file.compact().unwrap();
        let state = kept.core.saved();
        kept.change();
        fs::write(kept.directory.path().join("ledger-2.new"), "{").unwrap();
        kept.assert_found(&[]);
        // Before the oldest was removed.
        let length = snapshot.write(&state).unwrap();
        kept.assert_found(&[]);
        kept.file.compacted(length).unwrap();
        kept.assert_found(&[]);
        assert_eq!(kept.files(), ["ledger-1.json", "ledger-1.log", "ledger-2.json", "ledger-2.log"]);
    }

    #[test]
    fn what_was_being_written_when_a_process_was_killed_is_removed_in_the_end() {
        let mut kept = Kept::new();
        fs::write(kept.directory.path().join("ledger-2.new"), "{").unwrap();
        kept.assert_found(&[]);
        let found = kept.find();
        kept.file = StateFile::begin(kept.directory.path(), realm(), &found, &kept.core.saved()).unwrap();
        assert!(kept.files().contains(&"ledger-3.json".to_owned()), "{:?}", kept.files());
        kept.compact();
        kept.compact();
        assert_eq!(kept.files(), ["ledger-4.json", "ledger-4.log", "ledger-5.json", "ledger-5.log"]);
        fs::write(kept.directory.path().join("ledger-6.new"), "{").unwrap();
        kept.file.remove().unwrap();
        assert!(fs::read_dir(kept.directory.path()).unwrap().next().is_none());
    }

    #[test]
    fn what_is_the_last_good_snapshot_is_kept_however_many_fail() {
        let mut kept = Kept::new();
        for _ in 0..3 {
            kept.change();
            let _unwritten = kept.file.compact().unwrap();
            kept.assert_found(&[]);
        }
        kept.compact();
        assert!(kept.files().contains(&"ledger-1.json".to_owned()));
        kept.edit("ledger-5.json", |_| Vec::new());
        kept.assert_found(&["ledger-5.json is damaged"]);
        kept.edit("ledger-5.json", |_| Vec::new());
        kept.compact();
        kept.compact();
        assert_eq!(kept.files(), ["ledger-6.json", "ledger-6.log", "ledger-7.json", "ledger-7.log"]);
    }

    #[test]
    fn a_damaged_snapshot_is_made_good_by_the_generation_before_and_both_logs() {
        let kept = Kept::of_three_generations();
        kept.edit("ledger-3.json", |snapshot| snapshot[..snapshot.len() / 2].to_vec());
        kept.assert_found(&["ledger-3.json is damaged"]);
        kept.edit("ledger-3.json", |_| b"\0\0\0\0".to_vec());
        kept.assert_found(&["ledger-3.json is damaged"]);
    }

    #[test]
    fn the_next_daemon_keeps_the_last_good_generation_and_not_a_damaged_one_in_its_place() {
        let mut kept = Kept::of_three_generations();
        kept.edit("ledger-3.json", |_| b"{}".to_vec());
        let found = kept.find();
        kept.file = StateFile::begin(kept.directory.path(), realm(), &found, &kept.core.saved()).unwrap();
        assert!(kept.files().contains(&"ledger-2.json".to_owned()), "{:?}", kept.files());
        kept.change();
        kept.edit("ledger-4.json", |_| b"{}".to_vec());
        kept.assert_found(&["ledger-4.json is damaged", "ledger-3.json is damaged"]);
        kept.compact();
        kept.compact();
        assert_eq!(kept.files(), ["ledger-5.json", "ledger-5.log", "ledger-6.json", "ledger-6.log"]);
    }

    #[test]
    fn when_all_is_damaged_it_is_set_aside() {
        let mut kept = Kept::new();
        kept.change();
        kept.compact();
        for name in ["ledger-1.json", "ledger-2.json"] {
            kept.edit(name, |_| b"{}".to_vec());
        }
        let found = kept.find();
        assert!(found.state.is_none());
        assert_eq!(found.remarks.len(), 6, "{:?}", found.remarks);
        assert!(kept.files().iter().all(|name| name.ends_with(".set-aside")), "{:?}", kept.files());
        // The next one does not take a name that was in use.
        StateFile::begin(kept.directory.path(), realm(), &found, &SavedState::default()).unwrap();
        assert!(kept.files().contains(&"ledger-3.json".to_owned()));
    }

    #[test]
    fn what_is_of_another_format_boot_or_namespace_is_set_aside() {
        for (from, to, reason) in [
            ("\"format\":1", "\"format\":2,\"new\":[1]", "it is of format 2, and this version knows 1"),
            ("\"format\":1", "\"format\":0", "it is of the former format 0"),
            ("\"boot\"", "\"boot\":\"other\",\"was\"", "it is of another boot"),
            ("\"namespace\":7", "\"namespace\":8", "it is of another network namespace"),
        ] {
            let mut kept = Kept::new();
            kept.change();
            kept.edit("ledger-1.json", |text| String::from_utf8(text).unwrap().replacen(from, to, 1).into_bytes());
            let found = kept.find();
            assert!(found.state.is_none());
            assert!(found.remarks[0].contains(reason), "{:?}", found.remarks);
            assert_eq!(found.is_newer, reason.contains("this version knows"));
            assert_eq!(kept.files(), ["ledger-1.json.set-aside", "ledger-1.log.set-aside"]);
        }
    }

    #[test]
    fn a_log_that_has_grown_is_worth_a_snapshot_and_a_full_disk_is_told() {
        let mut kept = Kept::new();
        let mut changes = 0;
        while !kept.file.has_grown() {
            kept.change();
            changes += 1;
        }
        assert!(kept.file.log_length > SHORT_LOG && changes > 100);
        kept.compact();
        assert!(!kept.file.has_grown());
        kept.file.log = OpenOptions::new().write(true).open("/dev/full").unwrap();
        kept.core.create_session(CLIENT, &Identifier::new("ap0")).unwrap();
        assert!(kept.file.append(&kept.core.take_unsaved()).is_err());
        kept.compact();
        kept.change();
        kept.assert_found(&[]);
    }

    #[test]
    fn only_root_can_read_the_tokens() {
        use std::os::unix::fs::PermissionsExt;

        let mut kept = Kept::new();
        kept.change();
        kept.compact();
        for name in kept.files() {
            let mode = fs::metadata(kept.directory.path().join(&name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
