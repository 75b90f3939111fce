//! What a daemon that has ended has left to the next one.

use std::{fs, os::unix::net::UnixStream, path::Path};

use netbearer_dbus::{holds_path, socket_path};
use netbearer_engine_native::namespace_lock;
use rustix::{
    fs::{Mode, OFlags, open},
    io::{Errno, read},
};

/// How many descriptors that somebody has keep up what is in the network namespace of the calling thread, though the daemon that
/// gave them out has ended. It goes on with that when it is started again, and a service that is started meanwhile would take it
/// for what nobody needs any more. None for who may not look: such a one cannot take anything down either.
pub(super) fn holds_left(runtime_directory: &Path) -> usize {
    let Ok(lock) = namespace_lock(runtime_directory) else { return 0 };
    let notes = lock.with_extension("");
    let has_something_up = fs::read_dir(notes).is_ok_and(|mut notes| notes.next().is_some());
    if !has_something_up {
        return 0;
    }
    let Ok(holds) = fs::read_dir(holds_path(runtime_directory)) else { return 0 };
    let held = holds.flatten().filter(|hold| is_held(&hold.path())).count();
    // With the daemon there, they are its own, and so is the namespace's lock.
    let is_left = held > 0 && UnixStream::connect(socket_path(runtime_directory)).is_err();
    if is_left { held } else { 0 }
}

/// A FIFO that nobody has the writing end of is at its end.
fn is_held(hold: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(fifo) = open(hold, flags, Mode::empty()) else { return false };
    match read(&fifo, &mut [0; 1]) {
        Ok(length) => length > 0,
        Err(error) => error == Errno::AGAIN,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, os::unix::net::UnixListener};

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    #[test]
    fn only_what_is_held_and_up_is_left_and_only_while_the_daemon_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = directory.path();
        let holds = holds_path(runtime);
        fs::create_dir_all(&holds).unwrap();
        for name in ["1", "2"] {
            mknodat(CWD, holds.join(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        }
        // Both ends, as to open the writing end alone waits for a reader.
        let held = OpenOptions::new().read(true).write(true).open(holds.join("1")).unwrap();
        assert_eq!(holds_left(runtime), 0, "nothing of it is up");
        let notes = namespace_lock(runtime).unwrap().with_extension("");
        fs::create_dir(&notes).unwrap();
        fs::write(notes.join("2.json"), "{}").unwrap();
        assert_eq!(holds_left(runtime), 1);
        let daemon = UnixListener::bind(socket_path(runtime)).unwrap();
        assert_eq!(holds_left(runtime), 0);
        drop(daemon);
        assert_eq!(holds_left(runtime), 1);
        drop(held);
        assert_eq!(holds_left(runtime), 0);
    }
}
