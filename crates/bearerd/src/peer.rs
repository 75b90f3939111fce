//! Who is at the other end of a private connection, as the kernel knows it.
#![allow(unsafe_code)]

use std::{
    fs, io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use netbearer_core::{Program, UserId};
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

/// A process, its user and its groups, as they were when it connected.
#[derive(Debug)]
pub struct Peer {
    /// The effective user.
    pub user: UserId,
    /// The effective group and all others.
    pub groups: Vec<u32>,
    /// The number of the process here; none if it lives where it has none.
    pub process: Option<u32>,
    /// The process itself, whose number may be another's by now.
    handle: Option<OwnedFd>,
}

impl Peer {
    /// Whoever has connected this socket.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn of_socket(socket: impl AsFd) -> io::Result<Self> {
        let socket = socket.as_fd();
        // Zero stands for a process that has no number in our process namespace, and is none that the types know.
        let credentials = raw_credentials(socket)?;
        let process = u32::try_from(credentials.pid).ok().filter(|process| *process != 0);
        let mut groups = peer_groups(socket)?;
        groups.push(credentials.gid);
        let handle = match peer_handle(socket) {
            Ok(handle) => Some(handle),
            Err(_) => process.and_then(open_process),
        };
        Ok(Self { user: UserId(credentials.uid), groups, process, handle })
    }

    /// A peer that a bus knows.
    #[must_use]
    pub fn of_bus(user: UserId, groups: Vec<u32>, process: Option<u32>) -> Self {
        Self { user, groups, process, handle: process.and_then(open_process) }
    }

    /// What runs there, for people.
    #[must_use]
    pub fn program(&self) -> Program {
        let name = self.process.and_then(program_name).filter(|_| self.is_there()).unwrap_or_default();
        Program { process: self.process, name }
    }

    /// False if the process has ended, so that its number may be another's.
    fn is_there(&self) -> bool {
        let Some(handle) = &self.handle else { return self.process.is_some() };
        let mut polled = [rustix::event::PollFd::new(handle, rustix::event::PollFlags::IN)];
        let at_once = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut polled, Some(&at_once)), Ok(0))
    }
}

fn open_process(process: u32) -> Option<OwnedFd> {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw)?;
    pidfd_open(process, PidfdFlags::empty()).ok()
}

/// The kernel cuts names off after fifteen octets; the command line has it whole, but says what it likes.
fn program_name(process: u32) -> Option<String> {
    let directory = format!("/proc/{process}");
    let short = fs::read(format!("{directory}/comm")).ok()?;
    let short = String::from_utf8_lossy(short.strip_suffix(b"\n").unwrap_or(&short)).into_owned();
    let line = fs::read(format!("{directory}/cmdline")).unwrap_or_default();
    let first = line.split(|octet| *octet == 0).next().unwrap_or_default();
    let whole = first.rsplit(|octet| *octet == b'/').next().map(String::from_utf8_lossy).unwrap_or_default();
    let name = if whole.starts_with(&short) { whole.into_owned() } else { short };
    Some(name.chars().take(64).map(|character| if character.is_control() { '?' } else { character }).collect())
}

fn raw_credentials(socket: BorrowedFd<'_>) -> io::Result<libc::ucred> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = socket_length::<libc::ucred>();
    // SAFETY: the kernel writes at most `length` octets, which `credentials` has.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(credentials) } else { Err(io::Error::last_os_error()) }
}

/// `SO_PEERGROUPS` (`socket(7)`): as they were when it connected, whatever the process has executed since.
fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 32];
    loop {
        let mut length = libc::socklen_t::try_from(mem::size_of_val(groups.as_slice())).unwrap_or(libc::socklen_t::MAX);
        // SAFETY: the kernel writes at most `length` octets, which `groups` has; if it has more, it says how many.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = usize::try_from(length).unwrap_or_default() / mem::size_of::<libc::gid_t>();
        match (result, Errno::from_io_error(&io::Error::last_os_error())) {
            (0, _) => {
                groups.truncate(count);
                return Ok(groups);
            }
            (_, Some(Errno::RANGE)) if count > groups.len() => groups.resize(count, 0),
            (_, error) => return Err(error.map_or_else(|| io::ErrorKind::Other.into(), io::Error::from)),
        }
    }
}

/// `SO_PEERPIDFD`, from Linux 6.5 on.
fn peer_handle(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut descriptor: libc::c_int = -1;
    let mut length = socket_length::<libc::c_int>();
    // SAFETY: the kernel writes at most `length` octets, which `descriptor` has.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut descriptor).cast(),
            &raw mut length,
        )
    };
    if result != 0 || descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn socket_length<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(mem::size_of::<T>()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        io::{Read, Write},
        os::unix::net::UnixStream,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn the_other_end_of_a_pair_is_ourselves() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of_socket(&one).unwrap();
        assert_eq!(peer.user, UserId(rustix::process::geteuid().as_raw()));
        assert_eq!(peer.process, Some(std::process::id()));
        let ours: BTreeSet<u32> = rustix::process::getgroups().unwrap().iter().map(|group| group.as_raw()).collect();
        assert!(ours.iter().all(|group| peer.groups.contains(group)));
        assert!(peer.groups.contains(&rustix::process::getegid().as_raw()));
        let program = peer.program();
        assert!(program.name.starts_with("bearerd"), "{}", program.name);
    }

    #[test]
    fn a_process_that_has_ended_has_no_name() {
        let (stdin, stdout) = (Stdio::piped(), Stdio::piped());
        let mut child = Command::new("cat").stdin(stdin).stdout(stdout).spawn().unwrap();
        // It is another program only from some moment on.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let peer = Peer::of_bus(UserId(0), vec![], Some(child.id()));
        assert_eq!(peer.program().name, "cat");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(peer.program().name, "");
    }
}
