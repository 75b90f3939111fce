use std::{
    fs,
    io::{self, BufRead, BufReader},
    os::{fd::AsFd, unix::fs::symlink},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount},
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::{deadline::Deadline, requirement::require, unshare::unshare_machine};

/// Directories that are empty at first.
const DIRECTORIES: [&str; 5] = ["/run", "/var/lib", "/var/log", "/var/cache", "/usr/lib/NetworkManager/conf.d"];
/// What network managers and a system bus keep in `/etc`: empty at first too.
const ETC_DIRECTORIES: [&str; 8] = [
    "NetworkManager",
    "connman",
    "dbus-1",
    "network/if-down.d",
    "network/if-post-down.d",
    "network/if-pre-up.d",
    "network/if-up.d",
    "systemd/network",
];
const ETC_FILES: [&str; 2] = ["resolv.conf", "dhcpcd.conf"];
/// Where the rest of the machine's `/etc` is, to be read only.
const MACHINE_ETC: &str = "/run/lab/etc";
/// The first process of the machine: shows the others their process numbers, and inherits and reaps the orphans while it
/// waits for the end of its input. The kernel kills all of them when it ends.
const INIT: &str = "mount -t proc proc /proc && echo ready && cat; exit 0";
/// For the kernel to end all of them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Files and processes of a machine in the lab. Dropping it ends the processes.
#[derive(Debug)]
pub(crate) struct OwnFiles {
    init: Child,
}

impl OwnFiles {
    /// Gives the calling thread, and the programs it starts from now on, files and process numbers of their own. The
    /// thread cannot start threads any more.
    pub(crate) fn set_up() -> io::Result<Self> {
        let shell = require("sh", "dash").map_err(io::Error::other)?;
        unshare_machine()?;
        mount_files()?;
        let init = Command::new(shell).args(["-c", INIT]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut machine = Self { init };
        let mut answer = String::new();
        if let Some(output) = machine.init.stdout.take() {
            BufReader::new(output).read_line(&mut answer)?;
        }
        if answer.trim() == "ready" {
            Ok(machine)
        } else {
            Err(io::Error::other("the machine's /proc was not mounted"))
        }
    }
}

impl Drop for OwnFiles {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let _ = self.init.kill();
        // It does not end before programs that somebody still has to wait for: they might be waited for after this.
        let ended = pidfd_open(Pid::from_child(&self.init), PidfdFlags::empty())
            .map_err(io::Error::from)
            .and_then(|init| Deadline::after(PATIENCE).wait_readable([init.as_fd()]));
        if ended.is_ok_and(|[ended]| ended) {
            let _ = self.init.wait();
        }
    }
}

fn mount_files() -> io::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let usual = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // A read-only one also tells network managers that there is no udev to wait for.
    mount("sysfs", "/sys", "sysfs", usual | MountFlags::RDONLY, None)?;
    for directory in DIRECTORIES.map(Path::new) {
        // What a program needs is there once its package is installed.
        if directory.is_dir() {
            mount("tmpfs", directory, "tmpfs", usual, Some(c"mode=755"))?;
        }
    }
    fs::create_dir_all(MACHINE_ETC)?;
    mount_bind("/etc", MACHINE_ETC)?;
    mount_remount(MACHINE_ETC, MountFlags::BIND | MountFlags::RDONLY, "")?;
    mount("tmpfs", "/etc", "tmpfs", usual, Some(c"mode=755"))?;
    fill_etc(Path::new("/etc"))
}

/// Links to the machine's files, but for those network managers write to. Their names can be replaced, as some do.
fn fill_etc(etc: &Path) -> io::Result<()> {
    for entry in fs::read_dir(MACHINE_ETC)? {
        let entry = entry?;
        if ETC_DIRECTORIES.into_iter().chain(ETC_FILES).any(|own| Path::new(own).starts_with(entry.file_name())) {
            continue;
        }
        // A relative link leads elsewhere from another directory.
        let target = if entry.file_type()?.is_symlink() { fs::read_link(entry.path())? } else { entry.path() };
        symlink(target, etc.join(entry.file_name()))?;
    }
    ETC_DIRECTORIES.iter().try_for_each(|name| fs::create_dir_all(etc.join(name)))?;
    ETC_FILES.iter().try_for_each(|name| fs::write(etc.join(name), ""))
}
