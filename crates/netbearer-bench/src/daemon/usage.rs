//! What a process uses, as the kernel tells it to others.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::PathBuf};

use crate::error::BenchError;

/// The octets it has in memory, those it shares with others included (`proc_pid_smaps_rollup(5)`; `VmRSS` is the same, but
/// counted on each processor by itself, and not to the page).
pub(super) fn resident(process: u32) -> Result<u64, BenchError> {
    let text = fs::read_to_string(directory(process).join("smaps_rollup"))?;
    let kilobytes = number_after(&text, "Rss:").ok_or(BenchError::NoReading)?;
    Ok(kilobytes * 1_024)
}

/// How often each of its threads has begun to wait (`proc_pid_status(5)`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waits(BTreeMap<String, u64>);

impl Waits {
    pub(super) fn of(process: u32) -> Result<Self, BenchError> {
        let mut waits = BTreeMap::new();
        for task in fs::read_dir(directory(process).join("task"))? {
            let task = task?;
            let status = match fs::read_to_string(task.path().join("status")) {
                // It has ended since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => {
                    continue;
                }
                status => status?,
            };
            let count = number_after(&status, "voluntary_ctxt_switches:").ok_or(BenchError::NoReading)?;
            waits.insert(task.file_name().to_string_lossy().into_owned(), count);
        }
        Ok(Self(waits))
    }

    /// How many came since then. A thread that has ended was awake for it, and one that has begun, too.
    pub(super) fn since(&self, before: &Self) -> u64 {
        let of_these = self.0.iter().map(|(thread, count)| match before.0.get(thread) {
            Some(before) => count.saturating_sub(*before),
            None => count + 1,
        });
        let ended = before.0.keys().filter(|thread| !self.0.contains_key(*thread)).map(|_| 1);
        of_these.chain(ended).sum()
    }
}

fn directory(process: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{process}"))
}

/// The number on the line that begins with `name`.
fn number_after(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{process, sync::mpsc, time::Duration};

    use super::*;

    fn waits<const N: usize>(counts: [(&str, u64); N]) -> Waits {
        Waits(counts.into_iter().map(|(thread, count)| (thread.to_owned(), count)).collect())
    }

    #[test]
    fn whoever_waited_began_or_ended_was_awake() {
        let before = waits([("1", 10), ("2", 20)]);
        assert_eq!(before.since(&before), 0);
        assert_eq!(waits([("1", 13), ("2", 20)]).since(&before), 3);
        assert_eq!(waits([("1", 10)]).since(&before), 1);
        assert_eq!(waits([("1", 10), ("2", 20), ("3", 0)]).since(&before), 1);
    }

    #[test]
    fn a_thread_that_waits_is_counted_by_the_kernel() {
        let before = Waits::of(process::id()).unwrap();
        let (_sender, receiver) = mpsc::channel::<()>();
        receiver.recv_timeout(Duration::from_millis(1)).unwrap_err();
        assert!(Waits::of(process::id()).unwrap().since(&before) > 0);
    }

    #[test]
    fn pages_that_are_written_are_in_memory() {
        const MORE: usize = 64 << 20;
        let before = resident(process::id()).unwrap();
        let pages = std::hint::black_box(vec![1_u8; MORE]);
        assert!(resident(process::id()).unwrap() >= before + u64::try_from(pages.len() / 2).unwrap());
    }
}
