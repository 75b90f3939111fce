use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

use crate::secrets::without_passwords;

/// What kind of mistake a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub enum MistakeKind {
    /// The file or directory cannot be read.
    Unreadable,
    /// It is not TOML.
    Syntax,
    /// There is no such key or section.
    UnknownKey,
    /// A value of another type is wanted.
    WrongType,
    /// The type is right and the value is not.
    WrongValue,
    /// The key is reserved for what is not built yet.
    NotYet,
    /// The file says too little, or of too many things, to be a profile.
    Incomplete,
    /// Two keys exclude each other.
    Contradiction,
    /// Two files are about one thing, or one thing is there twice.
    Duplicate,
    /// A service network or user choice has one as its member that it cannot have.
    Cycle,
    /// A member, or the default, is nowhere to be found.
    Unknown,
    /// An address or gateway that the interface cannot have.
    ImpossibleAddress,
    /// Others than its owner may read a secret in it.
    ReadableSecret,
}

/// One mistake in a configuration file, for people. Displayed as `FILE:LINE: what is wrong; what to do`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProfileMistake {
    /// In which file.
    pub file: PathBuf,
    /// On which line, the first one being 1; none if it is about the file as a whole.
    pub line: Option<usize>,
    /// What kind of mistake.
    pub kind: MistakeKind,
    /// What is wrong, as a clause. Never says a secret.
    pub problem: String,
    /// What to do about it, as a clause.
    pub suggestion: String,
    /// True if the file is out of force because of it. Then its last good version counts, if there is one.
    pub breaks_file: bool,
}

impl fmt::Display for ProfileMistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, problem, suggestion, .. } = self;
        write!(formatter, "{}", file.display())?;
        if let Some(line) = line {
            write!(formatter, ":{line}")?;
        }
        write!(formatter, ": {problem}; {suggestion}")
    }
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: Arc<Path>,
    pub(crate) line: Option<usize>,
}

impl Place {
    pub(crate) fn whole(file: &Path) -> Self {
        Self { file: file.into(), line: None }
    }

    pub(crate) fn mistake(
        &self,
        kind: MistakeKind,
        problem: impl Into<String>,
        suggestion: impl Into<String>,
    ) -> ProfileMistake {
        ProfileMistake {
            file: self.file.to_path_buf(),
            line: self.line,
            kind,
            // It may be read by more people than the file.
            problem: without_passwords(&problem.into()),
            suggestion: suggestion.into(),
            breaks_file: true,
        }
    }
}

/// The one of them that was perhaps meant, whatever its case.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_lowercase();
    let distance = |known: &str| strsim::damerau_levenshtein(&lower, &known.to_lowercase());
    let distances = known.into_iter().map(|known| (distance(known), known));
    // Of a short word any other is a few letters away.
    let limit = (written.chars().count() / 2).min(3);
    distances.filter(|(distance, _)| *distance <= limit).min().map(|(_, known)| known)
}
