use std::{
    fmt,
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::{LabError, deadline::Deadline};

/// Everything of one kind that happened so far, in order: lines of a log, messages of a server. Clones share it.
#[derive(Clone, Debug)]
pub struct Record<T> {
    shared: Arc<Shared<T>>,
}

/// A place in a [`Record`]: all that came before it, nothing that comes after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(usize);

#[derive(Debug)]
struct Shared<T> {
    written: Mutex<Written<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Written<T> {
    entries: Vec<T>,
    ended: bool,
}

impl<T> Record<T> {
    pub(crate) fn new() -> Self {
        let written = Mutex::new(Written { entries: Vec::new(), ended: false });
        Self { shared: Arc::new(Shared { written, changed: Condvar::new() }) }
    }

    pub(crate) fn push(&self, entry: T) {
        self.written().entries.push(entry);
        self.shared.changed.notify_all();
    }

    /// Nothing more will come, so nobody need wait until a deadline.
    fn end(&self) {
        self.written().ended = true;
        self.shared.changed.notify_all();
    }

    /// The end of the record as it is now; what comes later is "since" this mark.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.written().entries.len())
    }

    fn written(&self) -> MutexGuard<'_, Written<T>> {
        self.shared.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone + fmt::Display> Record<T> {
    /// All entries so far.
    #[must_use]
    pub fn entries(&self) -> Vec<T> {
        self.entries_since(Mark::default())
    }

    /// The entries after `mark`.
    #[must_use]
    pub fn entries_since(&self, mark: Mark) -> Vec<T> {
        self.written().entries.iter().skip(mark.0).cloned().collect()
    }

    /// The entries after `mark`, which moves to behind them.
    #[must_use]
    pub fn read_on(&self, mark: &mut Mark) -> Vec<T> {
        let read = self.entries_since(*mark);
        mark.0 += read.len();
        read
    }

    /// The first entry that is `wanted`, whether it came already or comes `within` that time. `what` names it in the error.
    ///
    /// # Errors
    /// [`LabError::NotSeen`], with the whole record, once the time has passed or nothing more can come.
    pub fn wait_for(&self, what: &str, within: Duration, wanted: impl FnMut(&T) -> bool) -> Result<T, LabError> {
        self.wait_for_since(Mark::default(), what, within, wanted)
    }

    /// As [`Self::wait_for`], among the entries after `mark`.
    ///
    /// # Errors
    /// [`LabError::NotSeen`], with the entries since `mark`.
    pub fn wait_for_since(
        &self,
        mark: Mark,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&T) -> bool,
    ) -> Result<T, LabError> {
        let deadline = Deadline::after(within);
        let mut examined = mark.0;
        let mut written = self.written();
        loop {
            if let Some(entry) = written.entries.iter().skip(examined).find(|entry| wanted(entry)) {
                return Ok(entry.clone());
            }
            examined = examined.max(written.entries.len());
            if written.ended || deadline.has_passed() {
                let seen: Vec<String> = written.entries.iter().skip(mark.0).map(ToString::to_string).collect();
                return Err(LabError::NotSeen { what: what.to_owned(), within, seen: seen.join("\n") });
            }
            let changed = &self.shared.changed;
            written = match deadline.left() {
                Some(left) => changed.wait_timeout(written, left).unwrap_or_else(PoisonError::into_inner).0,
                None => changed.wait(written).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl<T: Clone> Record<T> {
    /// All entries, once nothing more will come.
    #[must_use]
    pub fn until_end(&self) -> Vec<T> {
        let written = self.shared.changed.wait_while(self.written(), |written| !written.ended);
        written.unwrap_or_else(PoisonError::into_inner).entries.clone()
    }
}

impl Record<String> {
    /// The lines that come out of `reader`, read by a thread of its own until the end.
    pub(crate) fn of_lines(reader: impl Read + Send + 'static) -> Self {
        let record = Self::new();
        let writer = record.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                writer.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
            writer.end();
        });
        record
    }

    /// The first line that contains `text`, whether it came already or comes `within` that time.
    ///
    /// # Errors
    /// [`LabError::NotSeen`], with all lines.
    pub fn wait_for_text(&self, text: &str, within: Duration) -> Result<String, LabError> {
        self.wait_for_text_since(Mark::default(), text, within)
    }

    /// As [`Self::wait_for_text`], among the lines after `mark`.
    ///
    /// # Errors
    /// [`LabError::NotSeen`], with the lines since `mark`.
    pub fn wait_for_text_since(&self, mark: Mark, text: &str, within: Duration) -> Result<String, LabError> {
        self.wait_for_since(mark, &format!("a line with `{text}`"), within, |line| line.contains(text))
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, time::Instant};

    use super::*;

    #[test]
    fn a_line_that_came_before_the_mark_is_not_found_after_it() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let record = Record::of_lines(reader);
        writer.write_all(b"one\n").expect("room in the pipe");
        record.wait_for_text("one", Duration::from_secs(5)).expect("the first line");
        let mark = record.mark();
        writer.write_all(b"two\n").expect("room in the pipe");
        record.wait_for_text_since(mark, "two", Duration::from_secs(5)).expect("the second line");
        assert_eq!(record.entries_since(mark), ["two"]);
        record.wait_for_text_since(mark, "one", Duration::from_millis(1)).expect_err("it came before the mark");
    }

    #[test]
    fn nobody_waits_for_a_record_that_has_ended() {
        let record = Record::of_lines(&b"only line"[..]);
        let begin = Instant::now();
        let error = record.wait_for_text("other", Duration::from_secs(60)).expect_err("there is no such line");
        assert!(begin.elapsed() < Duration::from_secs(30), "waited in spite of the end");
        assert!(error.to_string().contains("only line"), "the error shows what was seen: {error}");
    }
}
