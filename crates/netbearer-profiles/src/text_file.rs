use std::{
    fs::{self, File, FileType},
    io::{self, Read},
    os::unix::fs::FileTypeExt,
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

/// The longest file that is read, in bytes. None that people write comes near it.
const LONGEST: u64 = 1024 * 1024;

/// Why there is no text to be had of a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextFileError {
    /// It is not there, or may not be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// Something else is there, which might never end.
    #[error("this is {0}, and no file")]
    NoFile(&'static str),
    /// It is longer than a megabyte.
    #[error("the file is longer than a megabyte")]
    TooLong,
    /// It is no UTF-8.
    #[error("the file is no text in UTF-8")]
    NoText,
}

impl TextFileError {
    /// What to do, as a clause.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "look at it with `ls -l`",
            Self::NoFile(_) => "remove it, or give it another name",
            Self::TooLong => "remove it, or give it another name, if it is not meant for NetBearer",
            Self::NoText => "save it as UTF-8",
        }
    }
}

/// Reads a text file that others may have put there. Never waits for anybody, as reading a FIFO or a device would.
///
/// # Errors
/// When it is no file, cannot be read, or has something else in it than a text of at most a megabyte.
pub fn read_text(path: &Path) -> Result<String, TextFileError> {
    // Opening a device may already do something.
    expect_file(fs::metadata(path)?.file_type())?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NXIO) => return Err(TextFileError::NoFile("a socket")),
        Err(error) => return Err(io::Error::from(error).into()),
    };
    // It may be another one by now.
    expect_file(file.metadata()?.file_type())?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(TextFileError::TooLong);
    }
    String::from_utf8(bytes).map_err(|_| TextFileError::NoText)
}

fn expect_file(kind: FileType) -> Result<(), TextFileError> {
    let other = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(TextFileError::NoFile(other))
}
