//! The file itself (`resolv.conf(5)`), for machines where nobody else looks after it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use netbearer_types::LinkNames;
use serde::{Deserialize, Serialize};

use crate::NamesError;

/// What it was and what we made of it, kept on the disk before it is changed.
const RECORD: &str = "resolv.conf.json";
/// How what we write begins.
const OUR_FIRST_LINE: &str = "# The name servers of ";
/// More than any resolver reads.
const MAX_LENGTH: u64 = 1 << 20;
/// Of a file that was not there before.
const MODE: u32 = 0o644;
/// What a file says of how to ask, not whom: kept.
const KEPT: [&str; 2] = ["options", "sortlist"];

/// The file that programs read, and what is kept of it.
#[derive(Debug)]
pub(crate) struct ResolvConfFile {
    path: PathBuf,
    record: PathBuf,
    /// Somebody else has written it while it was ours: it stays theirs until the last link has gone.
    yielded: bool,
}

/// How the file was found, and what we may have left in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// The file.
    path: PathBuf,
    /// Its text; none if there was no file.
    original: Option<String>,
    /// Every text that may be found there if it is ours still, word for word.
    left: Vec<String>,
}

impl ResolvConfFile {
    pub(crate) fn new(path: &Path, state_directory: &Path) -> Self {
        Self { path: path.to_owned(), record: state_directory.join(RECORD), yielded: false }
    }

    /// True if a process has written the file and not put it back yet.
    pub(crate) fn is_ours(&self) -> bool {
        self.record.exists()
    }

    /// Names these servers in it, and the original's nowhere.
    pub(crate) fn apply(&mut self, links: &[&LinkNames]) -> Result<(), NamesError> {
        if self.yielded {
            return Err(NamesError::ChangedByOthers { path: self.path.clone() });
        }
        let current = self.read()?;
        let known = self.record()?;
        let original = match &known {
            Some(record) if record.is_known(current.as_deref()) => record.original.clone(),
            Some(_) => return self.give_up(),
            None => current.clone(),
        };
        let text = compose(links, original.as_deref().unwrap_or_default());
        if known.is_some() && current.as_deref() == Some(text.as_str()) {
            return Ok(());
        }
        // Killed while it is written or put back, it may have the old text, the new one, or that with the end of the other.
        let torn_when_put_back = original.as_deref().map(|original| torn(original, &text));
        let mut left = vec![text.clone()];
        left.extend(current.as_deref().map(|old| torn(&text, old)));
        left.extend(torn_when_put_back);
        left.extend(known.is_some().then(|| current.clone()).flatten());
        self.keep(&Record { path: self.path.clone(), original, left })?;
        // The disk takes its time, in which somebody else may have written.
        if self.read()? != current {
            return self.give_up();
        }
        match current {
            Some(_) => self.write(&text).map(|_| ()),
            None => self.create(&text),
        }
    }

    /// It is somebody else's from now on.
    fn give_up(&mut self) -> Result<(), NamesError> {
        self.yielded = true;
        self.forget()?;
        Err(NamesError::ChangedByOthers { path: self.path.clone() })
    }

    /// Puts the original back, if the file is still as we left it. True if there was anything to put back.
    pub(crate) fn release(&mut self) -> Result<bool, NamesError> {
        self.yielded = false;
        let Some(record) = self.record()? else { return Ok(false) };
        // Another file may be meant by now.
        let here = std::mem::replace(&mut self.path, record.path.clone());
        let outcome = self.put_back(&record);
        self.path = here;
        outcome.map(|()| true)
    }

    fn put_back(&self, record: &Record) -> Result<(), NamesError> {
        let current = self.read()?;
        if !record.is_known(current.as_deref()) {
            self.forget()?;
            return Err(NamesError::ChangedByOthers { path: self.path.clone() });
        }
        match (&record.original, &current) {
            (Some(original), Some(current)) if original != current => {
                // On the disk before the record of it goes.
                self.write(original)?.sync_all().map_err(NamesError::file("written", &self.path))?;
            }
            (None, Some(_)) => fs::remove_file(&self.path).map_err(NamesError::file("removed", &self.path))?,
            _ => {}
        }
        self.forget()
    }

    /// Its text; none if there is no file.
    fn read(&self) -> Result<Option<String>, NamesError> {
        let length = match fs::metadata(&self.path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(NamesError::file("read", &self.path)(error)),
        };
        if length > MAX_LENGTH {
            return Err(NamesError::NoText { path: self.path.clone() });
        }
        let bytes = fs::read(&self.path).map_err(NamesError::file("read", &self.path))?;
        String::from_utf8(bytes).map(Some).map_err(|_| NamesError::NoText { path: self.path.clone() })
    }

    /// In place: the file keeps its owner, mode, labels and mounts. In one piece, as far as readers can see, if it grows.
    fn write(&self, text: &str) -> Result<File, NamesError> {
        let unable = || NamesError::file("written", &self.path);
        let file = OpenOptions::new().write(true).open(&self.path).map_err(unable())?;
        file.write_all_at(text.as_bytes(), 0).map_err(unable())?;
        // A shorter one was begun anew by somebody else meanwhile.
        if file.metadata().map_err(unable())?.len() > text.len() as u64 {
            file.set_len(text.len() as u64).map_err(unable())?;
        }
        Ok(file)
    }

    fn create(&self, text: &str) -> Result<(), NamesError> {
        let unable = || NamesError::file("made", &self.path);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&self.path).map_err(unable())?;
        file.write_all(text.as_bytes()).map_err(unable())
    }

    fn record(&self) -> Result<Option<Record>, NamesError> {
        let bytes = match fs::read(&self.record) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(NamesError::file("read", &self.record)(error)),
        };
        match serde_json::from_slice(&bytes) {
            Ok(record) => Ok(Some(record)),
            Err(error) => self.set_aside(&error).map(|()| None),
        }
    }

    /// A disk or a person has made something else of the record. What stands in the file now is all that is known then.
    fn set_aside(&self, error: &serde_json::Error) -> Result<(), NamesError> {
        let aside = self.record.with_extension("json.broken");
        fs::rename(&self.record, &aside).map_err(NamesError::file("set aside", &self.record))?;
        let has_servers = self.read()?.is_some_and(|text| text.starts_with(OUR_FIRST_LINE));
        let remedy = if has_servers { "; there are servers of access points in it: correct it by hand" } else { "" };
        tracing::warn!(
            "what {path} was cannot be understood any more ({error}), and is set aside as {aside}: {path} counts as it is{remedy}",
            path = self.path.display(),
            aside = aside.display(),
        );
        Ok(())
    }

    /// On the disk before it returns: whatever happens to the machine, the original is there.
    fn keep(&self, record: &Record) -> Result<(), NamesError> {
        let unable = || NamesError::file("written", &self.record);
        let new = self.record.with_extension("new");
        let text = serde_json::to_vec(record).map_err(io::Error::from).map_err(unable())?;
        let mut file = File::create(&new).map_err(unable())?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(unable())?;
        fs::rename(&new, &self.record).map_err(unable())?;
        let directory = self.record.parent().unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(unable())
    }

    fn forget(&self) -> Result<(), NamesError> {
        match fs::remove_file(&self.record) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(NamesError::file("removed", &self.record)(error))
            }
            _ => Ok(()),
        }
    }
}

impl Record {
    /// A text that only we can have left there, or that was there before.
    fn is_known(&self, current: Option<&str>) -> bool {
        current == self.original.as_deref() || current.is_some_and(|text| self.left.iter().any(|left| left == text))
    }
}

/// What is found if the writing of `new` over `old` ends before the rest is cut off.
fn torn(new: &str, old: &str) -> String {
    let rest = old.as_bytes().get(new.len()..).unwrap_or_default();
    let bytes = [new.as_bytes(), rest].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The servers of these links, each once; the search domains; and how the original has servers asked.
fn compose(links: &[&LinkNames], original: &str) -> String {
    let names: Vec<&str> = links.iter().map(|link| link.interface_name.as_str()).collect();
    let mut text =
        format!("{OUR_FIRST_LINE}{}, by NetBearer. Its former text returns when they go down.\n", names.join(", "));
    text.push_str(&entries(links));
    for line in original.lines().filter(|line| line.split_whitespace().next().is_some_and(|word| KEPT.contains(&word)))
    {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// `nameserver` and `search` lines.
pub(crate) fn entries(links: &[&LinkNames]) -> String {
    let mut servers: Vec<String> = Vec::new();
    let mut domains: Vec<&str> = Vec::new();
    for link in links {
        for server in link.name_servers.iter().map(|server| written(*server, &link.interface_name)) {
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        for domain in link.search_domains.iter().map(String::as_str).filter(|domain| is_domain(domain)) {
            if !domains.contains(&domain) {
                domains.push(domain);
            }
        }
    }
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    if !domains.is_empty() {
        text.push_str(&format!("search {}\n", domains.join(" ")));
    }
    text
}

/// A link-local address means something on its link only (RFC 4007 §11).
fn written(server: IpAddr, interface: &str) -> String {
    match server {
        IpAddr::V6(address) if address.is_unicast_link_local() => format!("{address}%{interface}"),
        _ => server.to_string(),
    }
}

/// Networks tell them: nothing that would be another entry.
fn is_domain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|character| character.is_ascii_graphic() && !matches!(character, '#' | ';'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use tempfile::TempDir;

    use super::*;

    const BEFORE: &str = "# by hand\nnameserver 192.0.2.53\noptions timeout:1\n";

    fn link(interface: &str, servers: &[&str], domains: &[&str]) -> LinkNames {
        LinkNames {
            interface_name: interface.to_owned(),
            index: 1,
            name_servers: servers.iter().map(|server| server.parse().unwrap()).collect(),
            search_domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            default_route: true,
        }
    }

    /// A machine's file, and where we keep what it was.
    struct Machine {
        directory: TempDir,
    }

    impl Machine {
        fn new(text: Option<&str>) -> Self {
            let directory = TempDir::new().unwrap();
            fs::create_dir(directory.path().join("state")).unwrap();
            let machine = Self { directory };
            if let Some(text) = text {
                fs::write(machine.path(), text).unwrap();
            }
            machine
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("resolv.conf")
        }

        /// What a process has of it; another one knows nothing of what this one did.
        fn file(&self) -> ResolvConfFile {
            ResolvConfFile::new(&self.path(), &self.directory.path().join("state"))
        }

        fn text(&self) -> Option<String> {
            fs::read_to_string(self.path()).ok()
        }
    }

    #[test]
    fn what_a_network_tells_is_written_once_and_nothing_else_can_be_told() {
        let links = [
            link("ap0", &["10.0.0.1", "fe80::1"], &["example.org", "evil\nnameserver 6.6.6.6", ""]),
            link("ap1", &["10.0.0.1", "10.0.1.1"], &["example.net", "example.org"]),
        ];
        let text = compose(&links.iter().collect::<Vec<_>>(), BEFORE);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "nameserver 10.0.0.1",
                "nameserver fe80::1%ap0",
                "nameserver 10.0.1.1",
                "search example.org example.net",
                "options timeout:1"
            ]
        );
    }

    #[test]
    fn a_file_is_the_same_one_as_before_when_it_is_put_back() {
        let machine = Machine::new(Some(BEFORE));
        fs::set_permissions(machine.path(), fs::Permissions::from_mode(0o640)).unwrap();
        let identity = |metadata: fs::Metadata| (metadata.ino(), metadata.mode(), metadata.uid(), metadata.gid());
        let before = identity(fs::metadata(machine.path()).unwrap());
        let mut file = machine.file();
        let (one, other) = (link("ap0", &["10.0.0.1"], &[]), link("ap1", &["10.0.1.1"], &["example.org"]));
        file.apply(&[&one]).unwrap();
        assert!(machine.text().unwrap().contains("nameserver 10.0.0.1\n"));
        file.apply(&[&other, &one]).unwrap();
        let text = machine.text().unwrap();
        assert!(text.find("10.0.1.1") < text.find("10.0.0.1") && !text.contains("192.0.2.53"), "{text}");
        assert!(file.release().unwrap());
        assert_eq!((machine.text().as_deref(), file.is_ours()), (Some(BEFORE), false));
        assert_eq!(identity(fs::metadata(machine.path()).unwrap()), before);
        assert!(!file.release().unwrap(), "once");
    }

    #[test]
    fn a_file_that_was_not_there_is_not_there_afterwards() {
        let machine = Machine::new(None);
        let mut file = machine.file();
        file.apply(&[&link("ap0", &["10.0.0.1"], &[])]).unwrap();
        assert!(machine.text().is_some());
        file.release().unwrap();
        assert_eq!(machine.text(), None);
    }

    #[test]
    fn what_a_killed_process_left_is_put_back_by_another_wherever_it_was_killed() {
        let (one, other) = (link("ap0", &["10.0.0.1"], &["example.org"]), link("ap1", &["10.0.1.1"], &[]));
        let machine = Machine::new(Some(BEFORE));
        machine.file().apply(&[&one, &other]).unwrap();
        let both = machine.text().unwrap();
        // The next text is shorter: killed before its rest was cut off.
        machine.file().apply(&[&one]).unwrap();
        let shorter = machine.text().unwrap();
        let cut_short = [torn(&shorter, &both), torn(BEFORE, &shorter)];
        for found in [both, shorter, BEFORE.to_owned()].into_iter().chain(cut_short) {
            let record = fs::read(machine.file().record).unwrap();
            fs::write(machine.path(), &found).unwrap();
            machine.file().release().unwrap();
            assert_eq!(machine.text().as_deref(), Some(BEFORE), "from {found}");
            fs::write(machine.file().record, record).unwrap();
        }
    }

    #[test]
    fn what_somebody_else_has_written_stays_and_is_said() {
        const THEIRS: &str = "nameserver 198.51.100.1\n";
        let machine = Machine::new(Some(BEFORE));
        let mut file = machine.file();
        let link = link("ap0", &["10.0.0.1"], &[]);
        file.apply(&[&link]).unwrap();
        fs::write(machine.path(), THEIRS).unwrap();
        for _ in 0..2 {
            assert!(matches!(file.apply(&[&link]), Err(NamesError::ChangedByOthers { .. })));
        }
        file.release().unwrap();
        assert_eq!(machine.text().as_deref(), Some(THEIRS));
        // From now on it is the original.
        file.apply(&[&link]).unwrap();
        file.release().unwrap();
        assert_eq!(machine.text().as_deref(), Some(THEIRS));

        file.apply(&[&link]).unwrap();
        fs::write(machine.path(), BEFORE.to_owned() + "# and more\n").unwrap();
        assert!(matches!(file.release(), Err(NamesError::ChangedByOthers { .. })));
        assert_eq!(machine.text(), Some(BEFORE.to_owned() + "# and more\n"));
        assert!(!file.is_ours());
    }

    /// Nothing would work again before somebody removed it by hand.
    #[test]
    fn a_record_that_is_none_is_set_aside_and_the_file_counts_as_it_is() {
        for broken in ["", "{\"path\":\"/etc", "{\"version\":2}"] {
            let machine = Machine::new(Some(BEFORE));
            let mut file = machine.file();
            fs::write(&file.record, broken).unwrap();
            assert!(!file.release().unwrap(), "there is nothing to put back");
            fs::write(&file.record, broken).unwrap();
            file.apply(&[&link("ap0", &["10.0.0.1"], &[])]).unwrap();
            assert!(machine.text().unwrap().contains("10.0.0.1"));
            let aside = machine.directory.path().join("state/resolv.conf.json.broken");
            assert_eq!(fs::read_to_string(aside).unwrap(), broken);
            assert!(file.release().unwrap());
            assert_eq!((machine.text().as_deref(), file.is_ours()), (Some(BEFORE), false));
        }
    }

    #[test]
    fn what_is_no_text_is_left() {
        let machine = Machine::new(None);
        fs::write(machine.path(), [0xff, 0xfe]).unwrap();
        let applied = machine.file().apply(&[&link("ap0", &["10.0.0.1"], &[])]);
        assert!(matches!(applied, Err(NamesError::NoText { .. })));
        assert_eq!(fs::read(machine.path()).unwrap(), [0xff, 0xfe]);
    }
}
