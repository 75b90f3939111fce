use std::{io, path::PathBuf};

/// Why programs do not learn of name servers, or do not ask others again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamesError {
    /// A file could not be read or written.
    #[error("{} cannot be {action}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody else has written what programs read.
    #[error(
        "{} was changed by another program, and is left as that wrote it; it is taken up again when the next access point comes up after the last has gone",
        path.display()
    )]
    ChangedByOthers {
        /// The file.
        path: PathBuf,
    },
    /// The file has something in it that is no text.
    #[error("{} is no text, and left alone", path.display())]
    NoText {
        /// The file.
        path: PathBuf,
    },
    /// Another process of ours has written it.
    #[error("another process of NetBearer keeps the name servers; close its sessions first")]
    KeptElsewhere,
    /// The program resolvconf failed.
    #[error("{} {arguments} failed: {message}", program.display())]
    Resolvconf {
        /// The program.
        program: PathBuf,
        /// What it was told.
        arguments: String,
        /// What it said.
        message: String,
    },
    /// systemd-resolved refused, or could not be reached.
    #[error("systemd-resolved does not take the name servers of {interface}")]
    Resolved {
        /// Of which interface.
        interface: String,
        /// Why not.
        source: zbus::Error,
    },
    /// The system bus could not be asked.
    #[error("the system bus cannot be asked")]
    Bus {
        /// Why not.
        source: zbus::Error,
    },
    /// Programs are told by nobody.
    #[error("{0}")]
    Nobody(String),
}

impl NamesError {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// With what caused it.
    pub(crate) fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(&format!(", caused by: {cause}"));
            source = cause.source();
        }
        text
    }
}
