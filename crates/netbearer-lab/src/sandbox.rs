use std::{
    env,
    ffi::CString,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{self, Command},
};

use rustix::{
    fs::CWD,
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change, move_mount, open_tree,
    },
    process::{Signal, getgid, getuid, set_parent_process_death_signal},
    thread::{CapabilitySet, capabilities},
};

use crate::{LabError, unshare::unshare_sandbox};

/// Tells the sandbox's first process who started it.
const PARENT: &str = "NETBEARER_LAB_PARENT";
/// Where daemons keep what others find them by. In a sandbox it is empty at first, so that none is found.
const RUN: &str = "/run";
/// Nothing in these file systems is a program or a device.
const UNTRUSTED: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const ETC: &str = "/etc";
const RESOLVER: &str = "/etc/resolv.conf";
/// The servers' address, which every access point leads to.
const RESOLVER_TEXT: &str = "# The sandbox's name server, as far as an access point is up.\nnameserver 198.51.100.1\n";

/// What the kernel may be set to that forbids namespaces to ordinary users: where it says so, what it says then, and what
/// that means. Debian's and Ubuntu's kernels have the first two.
const OBSTACLES: [(&str, &str, &str, &str); 3] = [
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "this kernel lets only root make user namespaces (kernel.unprivileged_userns_clone is 0)",
        "run it as root, or allow them: sudo sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor lets only programs with a profile of their own use user namespaces \
         (kernel.apparmor_restrict_unprivileged_userns is 1)",
        "run it as root, or allow them: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "this kernel is set to have no user namespaces (user.max_user_namespaces is 0)",
        "run it as root, or allow some: sudo sysctl user.max_user_namespaces=1000",
    ),
];
/// How many of what a sandbox needs a user may have (`namespaces(7)`).
const LIMITS: [&str; 4] = ["max_net_namespaces", "max_user_namespaces", "max_mnt_namespaces", "max_pid_namespaces"];
const UNKNOWN_OBSTACLE: (&str, &str) = (
    "this user may not make namespaces here, as in most containers",
    "run it outside of the container, or let the container do so (Docker: --privileged)",
);

/// A sandbox for a whole program: networks, mounts and processes of its own, and for an ordinary user a user namespace in
/// which he is root. Nothing in it is known to the file system outside, so all of it is gone with its first process, and
/// that one ends with the process that made the sandbox, however that ends.
///
/// A program makes one of itself: [`Self::enclose`], then start [`Self::command`], which is the same program with the same
/// arguments, in which [`Self::enter`] tells it that it is inside.
#[derive(Debug)]
pub struct Sandbox {
    nameless: Option<io::Error>,
}

impl Sandbox {
    /// The directory that is the sandbox's own.
    pub const DIRECTORY: &str = "/run/netbearer-lab";
    /// Holds the number of the process that made the sandbox, as those outside see it.
    pub const PROCESS_FILE: &str = "/run/netbearer-lab/process";

    /// Moves the calling process, which must have one thread only, into a new sandbox, but for its process number.
    ///
    /// # Errors
    /// [`LabError::NamespacesForbidden`], or [`LabError::System`].
    pub fn enclose() -> Result<Self, LabError> {
        let (user, group) = (getuid().as_raw(), getgid().as_raw());
        let is_root = may_make_namespaces();
        unshare_sandbox(!is_root).map_err(|refusal| forbidden(refusal.into()))?;
        if !is_root {
            become_root(user, group).map_err(forbidden)?;
        }
        let nameless = prepare_files().map_err(|refusal| match refusal.kind() {
            // AppArmor lets the namespaces be made, and nothing be done in them.
            io::ErrorKind::PermissionDenied if !is_root => forbidden(refusal),
            _ => LabError::unable_to("give the sandbox files of its own")(refusal),
        })?;
        Ok(Self { nameless })
    }

    /// Why programs inside find no name server, if `/etc/resolv.conf` could not be made the sandbox's own.
    #[must_use]
    pub fn nameless(&self) -> Option<&io::Error> {
        self.nameless.as_ref()
    }

    /// This program again, with the same arguments, as the sandbox's first process.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args(env::args_os().skip(1)).env(PARENT, process::id().to_string());
        command
    }

    /// Whether the calling process is a sandbox's first one. If it is, it has from here on what belongs to that: it ends with
    /// the process that made the sandbox, and `/proc` shows the sandbox's processes, as far as that is allowed.
    ///
    /// # Errors
    /// [`LabError::System`] if it cannot be bound to that process.
    pub fn enter() -> Result<bool, LabError> {
        let Some(parent) = env::var_os(PARENT) else { return Ok(false) };
        if process::id() != 1 {
            return Ok(false);
        }
        let unable = || LabError::unable_to("bind the sandbox to the process that made it");
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from).map_err(unable())?;
        // It may have ended before. Its number is one of outside, which only the outer /proc knows.
        let status = fs::read_to_string("/proc/self/status").map_err(unable())?;
        let is_child = |line: &str| line.strip_prefix("PPid:").is_some_and(|number| number.trim() == parent);
        if !status.lines().any(is_child) {
            return Err(unable()(io::Error::from(Errno::SRCH)));
        }
        show("proc", "/proc", MountFlags::empty());
        Ok(true)
    }

    /// Has `/sys` show the network interfaces that the calling thread sees, as far as that is allowed.
    pub fn show_interfaces() {
        show("sysfs", "/sys", MountFlags::RDONLY);
    }

    /// Removes what only this module uses from the environment of a program to be started inside.
    pub fn clear_environment(command: &mut Command) {
        command.env_remove(PARENT);
    }
}

/// Mounts a file system that shows what the calling thread sees. In a container that hides parts of it nobody may; it then
/// shows what is outside, which is only less to look at.
fn show(kind: &str, directory: &str, flags: MountFlags) {
    let _ = mount(kind, directory, kind, flags | UNTRUSTED, None);
}

/// Whether namespaces can be made without one for users.
fn may_make_namespaces() -> bool {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

fn forbidden(source: io::Error) -> LabError {
    let is_set = |file: &str, value: &str| fs::read_to_string(file).is_ok_and(|text| text.trim() == value);
    let obstacle = OBSTACLES.into_iter().find(|(file, value, ..)| is_set(file, value));
    if obstacle.is_none() && is_limit(&source) {
        let value =
            |limit: &&str| fs::read_to_string(format!("/proc/sys/user/{limit}")).ok()?.trim().parse::<u64>().ok();
        // The kernel does not say which one it was.
        let lowest = LIMITS.iter().filter_map(|limit| Some((value(limit)?, *limit))).min();
        let (value, limit) = lowest.unwrap_or((0, LIMITS[0]));
        return too_few(limit, &format!("user.{limit} is {value}"), source);
    }
    let (obstacle, remedy) = obstacle.map_or(UNKNOWN_OBSTACLE, |(_, _, obstacle, remedy)| (obstacle, remedy));
    LabError::NamespacesForbidden { obstacle: obstacle.to_owned(), remedy: remedy.to_owned(), source }
}

/// Whether a namespace was refused as there are as many as may be (`namespaces(7)`).
pub(crate) fn is_limit(refusal: &io::Error) -> bool {
    refusal.raw_os_error() == Some(Errno::NOSPC.raw_os_error())
}

/// The refusal of a network namespace, inside of a user namespace perhaps, where the limit outside cannot be read.
pub(crate) fn too_few_network_namespaces(source: io::Error) -> LabError {
    let limit = "max_net_namespaces";
    too_few(limit, &format!("user.{limit}"), source)
}

fn too_few(limit: &str, setting: &str, source: io::Error) -> LabError {
    let obstacle = format!("this kernel is set to have too few namespaces for this user ({setting})");
    LabError::NamespacesForbidden { obstacle, remedy: format!("allow more: sudo sysctl user.{limit}=1000"), source }
}

/// The user and his group are root in the new namespace (`user_namespaces(7)`).
fn become_root(user: u32, group: u32) -> io::Result<()> {
    let write = |file: &str, text: &str| OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes());
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("0 {user} 1"))?;
    write("/proc/self/gid_map", &format!("0 {group} 1"))
}

/// What it returns is no failure: the sandbox is of use without names, too.
fn prepare_files() -> io::Result<Option<io::Error>> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // Some distributions find all of their programs by links in there.
    let links: Vec<(PathBuf, PathBuf)> = fs::read_dir(RUN)?
        .flatten()
        .filter_map(|entry| Some((entry.path(), fs::read_link(entry.path()).ok()?)))
        .collect();
    mount("tmpfs", RUN, "tmpfs", UNTRUSTED, Some(c"mode=755"))?;
    for (link, target) in links {
        symlink(target, link)?;
    }
    fs::DirBuilder::new().mode(0o700).create(Sandbox::DIRECTORY)?;
    fs::write(Sandbox::PROCESS_FILE, process::id().to_string())?;
    Ok(prepare_resolver().err())
}

/// A file of the sandbox's own in the place of whatever is there: a file, a link to somewhere or nowhere, or nothing.
fn prepare_resolver() -> io::Result<()> {
    let own = Path::new(Sandbox::DIRECTORY).join("resolv.conf");
    fs::write(&own, RESOLVER_TEXT)?;
    match cover(&own, RESOLVER) {
        Ok(()) => Ok(()),
        // Nothing to be covered. Who is root here only may make no file among those of the real one.
        Err(_) => put_into_etc(&own),
    }
}

/// Mounts a file over another one. Unlike `mount(2)`, which follows links, this covers a link itself (`move_mount(2)`,
/// since Linux 5.2).
fn cover(own: &Path, place: &str) -> io::Result<()> {
    let own = open_tree(CWD, own, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    Ok(move_mount(own, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Lays a directory with the file over `/etc`, whose other files show through (overlayfs; in user namespaces since Linux
/// 5.11).
fn put_into_etc(own: &Path) -> io::Result<()> {
    let directory = Path::new(Sandbox::DIRECTORY);
    let (upper, work) = (directory.join("etc"), directory.join("etc.work"));
    for new in [&upper, &work] {
        fs::create_dir(new)?;
        fs::set_permissions(new, fs::Permissions::from_mode(0o755))?;
    }
    fs::copy(own, upper.join("resolv.conf"))?;
    let options = format!("userxattr,lowerdir={ETC},upperdir={},workdir={}", upper.display(), work.display());
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount("overlay", ETC, "overlay", flags, Some(&*CString::new(options)?))?)
}
