use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use netbearer_dbus::{system_bus_address, system_bus_address_below};

/// Where programs of Debian's and others' are that come with systems, in the order of `PATH` of a system service.
const PROGRAM_DIRECTORIES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// systemd's program for those who would call resolvconf: without systemd-resolved it does nothing.
const RESOLVECTL: &str = "resolvectl";

/// Where the machine's resolver is to be found. A parameter for tests, which must not touch the machine's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePlaces {
    /// What the C library reads (`resolv.conf(5)`).
    pub resolv_conf: PathBuf,
    /// Where the program `resolvconf` may be; the first that is there is taken.
    pub resolvconf: Vec<PathBuf>,
    /// The D-Bus address of the system bus, on which systemd-resolved would be.
    pub bus_address: String,
}

impl NamePlaces {
    /// Those of this machine; none in a network namespace that the machine's files do not belong to: names that can be
    /// asked for there mean nothing to the programs that read them.
    ///
    /// A namespace is the machine's if the first process lives in it, too, or if the calling thread has a mount namespace
    /// of its own beside it, as `ip netns exec` makes one.
    /// Where `/proc` does not show the first process, as under `hidepid`, that cannot be told: it is none then, which is
    /// logged.
    #[must_use]
    pub fn of_this_machine() -> Option<Self> {
        let belongs = belongs(Path::new("/proc")).unwrap_or_else(|error| {
            tracing::warn!(
                "programs are not told of name servers: whether this network namespace is the machine's cannot be told, as the \
                 first process is hidden in /proc ({error}); mount /proc without hidepid, or start in the group that may see it"
            );
            false
        });
        let program = |directory: &str| Path::new(directory).join("resolvconf");
        belongs.then(|| Self {
            resolvconf: PROGRAM_DIRECTORIES.map(program).into(),
            bus_address: system_bus_address(),
            ..Self::below("/")
        })
    }

    /// The usual files of a machine whose root directory is `root`. No programs, as those we start see our files.
    #[must_use]
    pub fn below(root: impl AsRef<Path>) -> Self {
        let root = root.as_ref();
        Self {
            resolv_conf: root.join("etc/resolv.conf"),
            resolvconf: Vec::new(),
            bus_address: system_bus_address_below(root),
        }
    }

    /// The program `resolvconf`, unless it is systemd's under that name.
    #[must_use]
    pub fn find_resolvconf(&self) -> Option<PathBuf> {
        let is_own = |path: &&PathBuf| {
            let target = fs::canonicalize(path);
            target.is_ok_and(|target| target.is_file() && target.file_name().is_none_or(|name| name != RESOLVECTL))
        };
        self.resolvconf.iter().find(is_own).cloned()
    }
}

/// Whether the calling thread is in the machine's network namespace, or has files of its own.
///
/// `/proc/1/ns` tells which namespaces the first process is in only to who may trace it (`ptrace(2)`, "access mode checking"),
/// which few programs may. What they are to look at, everybody may see.
fn belongs(proc: &Path) -> io::Result<bool> {
    Ok(network(proc, "1")? == network(proc, "thread-self")?
        || mounts(proc, "1")?.is_disjoint(&mounts(proc, "thread-self")?))
}

/// Each network namespace has its own files in `/proc` (`proc_pid_net(5)`), and so its own inode.
fn network(proc: &Path, process: &str) -> io::Result<(u64, u64)> {
    let entry = fs::metadata(proc.join(process).join("net/dev"))?;
    Ok((entry.dev(), entry.ino()))
}

/// The numbers of mounts that a process sees, which are unique among all mount namespaces (`proc_pid_mountinfo(5)`).
fn mounts(proc: &Path, process: &str) -> io::Result<BTreeSet<u64>> {
    let text = fs::read(proc.join(process).join("mountinfo"))?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn where_the_first_process_is_hidden_nothing_is_believed() {
        let proc = tempfile::tempdir().unwrap();
        symlink("/proc/thread-self", proc.path().join("thread-self")).unwrap();
        assert!(belongs(proc.path()).is_err());
    }
}
