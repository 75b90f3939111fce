use std::{
    env,
    path::{Path, PathBuf},
};

/// Where NetBearer reads its configuration, and keeps what must outlive a process or a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    /// Profiles, written by administrators (`NETBEARER_CONFIG_DIR`).
    pub configuration: PathBuf,
    /// Locks and notes; gone at the next boot (`NETBEARER_RUNTIME_DIR`).
    pub runtime: PathBuf,
    /// Remembered leases (`NETBEARER_STATE_DIR`).
    pub state: PathBuf,
}

impl Directories {
    /// The environment's directories, else the system's: `/etc/netbearer`, `/run/netbearer`, `/var/lib/netbearer`.
    ///
    /// They are the same for every user, so that a lock in the runtime directory is seen by all.
    #[must_use]
    pub fn from_environment() -> Self {
        let directory =
            |variable, system| env::var_os(variable).map_or_else(|| Path::new(system).into(), PathBuf::from);
        Self {
            configuration: directory("NETBEARER_CONFIG_DIR", "/etc/netbearer"),
            runtime: directory("NETBEARER_RUNTIME_DIR", "/run/netbearer"),
            state: directory("NETBEARER_STATE_DIR", "/var/lib/netbearer"),
        }
    }

    /// All three below one directory, for tests and sandboxes.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self { configuration: root.join("configuration"), runtime: root.join("runtime"), state: root.join("state") }
    }
}
