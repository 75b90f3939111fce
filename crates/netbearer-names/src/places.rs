use std::{
    fs,
    path::{Path, PathBuf},
};

use netbearer_managers::Places;

/// Where programs of Debian's and others' are that come with systems, in the order of `PATH` of a system service.
const PROGRAM_DIRECTORIES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

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
    #[must_use]
    pub fn of_this_machine() -> Option<Self> {
        let same = |kind: &str| {
            let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{kind}")).ok();
            Some(of("1")? == of("thread-self")?)
        };
        let belongs = same("net")? || !same("mnt")?;
        let program = |directory: &str| Path::new(directory).join("resolvconf");
        belongs.then(|| Self {
            resolvconf: PROGRAM_DIRECTORIES.map(program).into(),
            bus_address: Places::of_this_machine().bus_address,
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
            bus_address: Places::below(root).bus_address,
        }
    }
}
