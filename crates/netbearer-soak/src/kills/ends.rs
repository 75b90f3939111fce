//! Who has which end of the FIFOs that holds are, by `/proc`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

/// The right to write, as the links in `/proc/PROCESS/fd` show it.
const WRITING: u32 = 0o200;
const READING: u32 = 0o400;

/// The ends of all FIFOs that have not been unlinked, by the names of their files.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// The processes that have a writing end.
    pub(crate) writing: BTreeMap<String, BTreeSet<u32>>,
    /// The processes that have a reading end.
    pub(crate) reading: BTreeMap<String, BTreeSet<u32>>,
}

impl Ends {
    /// Looks at all processes that there are.
    pub(crate) fn read(holds: &Path) -> io::Result<Self> {
        let mut ends = Self::default();
        for process in fs::read_dir("/proc")? {
            let process = process?;
            if let Some(number) = process.file_name().to_str().and_then(|name| name.parse().ok()) {
                ends.add(holds, number, &process.path().join("fd"));
            }
        }
        Ok(ends)
    }

    /// Descriptors, and processes, may go while they are looked at.
    fn add(&mut self, holds: &Path, process: u32, descriptors: &Path) {
        use std::os::unix::fs::PermissionsExt;

        for descriptor in fs::read_dir(descriptors).into_iter().flatten().flatten() {
            let link = descriptor.path();
            let Ok(file) = fs::read_link(&link) else { continue };
            let Some(name) = file.strip_prefix(holds).ok().and_then(Path::to_str) else { continue };
            // Of one that was unlinked the kernel says so, after a blank.
            if name.is_empty() || name.contains(' ') {
                continue;
            }
            let Ok(mode) = fs::symlink_metadata(&link).map(|link| link.permissions().mode()) else { continue };
            for (right, ends) in [(WRITING, &mut self.writing), (READING, &mut self.reading)] {
                if mode & right != 0 {
                    ends.entry(name.to_owned()).or_default().insert(process);
                }
            }
        }
    }

    /// A FIFO of these that nobody holds, or that somebody else than the daemon looks after.
    pub(crate) fn wrong(&self, files: &BTreeSet<String>, daemon: Option<u32>) -> Option<String> {
        let held: BTreeSet<String> = self.writing.keys().cloned().collect();
        if held != *files {
            return Some(format!("there are FIFOs {files:?}, and those that somebody holds are {:?}", self.writing));
        }
        let read: BTreeSet<String> = self.reading.keys().cloned().collect();
        let readers: BTreeSet<u32> = self.reading.values().flatten().copied().collect();
        (read != *files || readers.iter().any(|process| Some(*process) != daemon))
            .then(|| format!("there are FIFOs {files:?}, and the daemon has {:?}", self.reading))
    }

    /// Those of which a process has the writing end.
    pub(crate) fn written_by(&self, process: u32) -> BTreeSet<&str> {
        let of_it = self.writing.iter().filter(|(_, processes)| processes.contains(&process));
        of_it.map(|(name, _)| name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn each_end_is_seen_as_long_as_somebody_has_it_and_the_fifo_is_there() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["1", "2"] {
            mknodat(CWD, directory.path().join(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        }
        let here = BTreeSet::from([std::process::id()]);
        let read = || Ends::read(directory.path()).unwrap();
        assert!(read().writing.is_empty() && read().reading.is_empty());
        let first = directory.path().join("1");
        let both = OpenOptions::new().read(true).write(true).open(&first).unwrap();
        let writing = File::options().write(true).open(&first).unwrap();
        drop(both);
        assert_eq!(read().writing, BTreeMap::from([("1".to_owned(), here)]));
        assert_eq!(read().written_by(std::process::id()), BTreeSet::from(["1"]));
        assert!(read().reading.is_empty() && read().written_by(1).is_empty());
        fs::remove_file(first).unwrap();
        assert!(read().writing.is_empty());
        drop(writing);
    }
}
