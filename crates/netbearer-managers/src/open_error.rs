use std::io;

/// Why other managers cannot be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Directories cannot be watched.
    #[error("the directories of other network managers cannot be watched; raise fs.inotify.max_user_instances")]
    Watch {
        /// Why not.
        source: io::Error,
    },
    /// The names of interfaces cannot be looked up.
    #[error("no socket to look up the names of interfaces")]
    Socket {
        /// Why not.
        source: io::Error,
    },
}
