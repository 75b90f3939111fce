use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use rustix::fs::{AtFlags, CWD, StatxFlags, major, minor, statx};

/// Which locks are held, by whom (`proc_locks(5)`).
const LOCKS: &str = "/proc/locks";
/// What is mounted, from which device (`proc_pid_mountinfo(5)`).
const MOUNTS: &str = "/proc/self/mountinfo";

/// The process that has locked this file, as far as it has a number in this process namespace; none too if there is no such file.
/// Only looks, and needs no right to the file: to try the lock would have it for a moment, and whoever comes for it in that moment
/// would be refused.
///
/// # Errors
/// When the file's directory may not be searched, or `/proc` is not mounted.
pub fn holder(path: &Path) -> io::Result<Option<u32>> {
    let file = match fs::metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let of_file = device_name(major(file.dev()), minor(file.dev()));
    let locks = fs::read_to_string(LOCKS)?;
    // Some file systems call their device otherwise for each of their files (btrfs), but not where they are mounted.
    let of_mount = mount(path).and_then(|mount| device_of(&fs::read_to_string(MOUNTS).ok()?, mount));
    Ok(find(&locks, [Some(of_file), of_mount.map(|(major, minor)| device_name(major, minor))], file.ino()))
}

/// As the kernel writes it among the locks.
fn device_name(major: u32, minor: u32) -> String {
    format!("{major:02x}:{minor:02x}")
}

/// The number of the mount that the file is in, if the kernel tells (since Linux 5.8).
fn mount(path: &Path) -> Option<u64> {
    let told = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
    StatxFlags::from_bits_retain(told.stx_mask).contains(StatxFlags::MNT_ID).then_some(told.stx_mnt_id)
}

/// The device, major and minor, that is mounted there.
fn device_of(mounts: &str, mount: u64) -> Option<(u32, u32)> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let is_meant = fields.next()?.parse() == Ok(mount);
        let (major, minor) = fields.nth(1)?.split_once(':')?;
        is_meant.then_some((major.parse().ok()?, minor.parse().ok()?))
    })
}

/// The process that has a `flock(2)` of the file with this number on one of these devices.
fn find(locks: &str, devices: [Option<String>; 2], inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        // Who waits for a lock has an arrow there.
        if fields.next()? != "FLOCK" {
            return None;
        }
        let process: u32 = fields.nth(2)?.parse().ok()?;
        let (device, number) = fields.next()?.rsplit_once(':')?;
        let is_meant = number.parse() == Ok(inode) && devices.iter().flatten().any(|one| one == device);
        is_meant.then_some(process)
    })
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{File, Permissions},
        os::unix::fs::PermissionsExt,
    };

    use rustix::fs::{FlockOperation, flock};

    use super::*;

    const LOCKS: &str = "\
1: POSIX  ADVISORY  WRITE 10 00:17:1207 0 EOF
2: FLOCK  ADVISORY  WRITE 11 00:17:1207 0 EOF
2: -> FLOCK  ADVISORY  WRITE 12 00:17:1208 0 EOF
3: FLOCK  ADVISORY  READ 13 fe:00:1209 0 EOF
";
    const MOUNTS: &str = "\
24 1 0:23 / /run rw,nosuid - tmpfs tmpfs rw
31 1 254:0 /@ / rw,relatime shared:1 - btrfs /dev/vda rw
garbage
";

    #[test]
    fn the_holder_is_known_by_the_file_on_its_device_or_on_that_of_its_mount() {
        let tmpfs = || Some(device_name(0, 0x17));
        for (devices, inode, expected) in [
            ([tmpfs(), None], 1207, Some(11)),
            ([tmpfs(), None], 1208, None),
            ([tmpfs(), None], 1209, None),
            ([tmpfs(), Some(device_name(254, 0))], 1209, Some(13)),
        ] {
            assert_eq!(find(LOCKS, devices.clone(), inode), expected, "{devices:?} {inode}");
        }
        assert_eq!([24, 31, 7].map(|mount| device_of(MOUNTS, mount)), [Some((0, 23)), Some((254, 0)), None]);
    }

    #[test]
    fn the_kernel_tells_of_a_mount_what_it_tells_of_its_locks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let file = File::create(&path).unwrap();
        flock(&file, FlockOperation::LockExclusive).unwrap();
        let (major, minor) = device_of(&fs::read_to_string(super::MOUNTS).unwrap(), mount(&path).unwrap()).unwrap();
        let (locks, inode) = (fs::read_to_string(super::LOCKS).unwrap(), file.metadata().unwrap().ino());
        assert_eq!(find(&locks, [None, Some(device_name(major, minor))], inode), Some(std::process::id()));
    }

    #[test]
    fn who_looks_does_not_even_open_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        // A socket cannot be opened, by nobody.
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(File::open(&path).is_err());
        assert_eq!(holder(&path).unwrap(), None);
    }

    #[test]
    fn a_lock_is_seen_while_it_is_held_also_by_who_may_not_open_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        assert_eq!(holder(&path).unwrap(), None);
        let file = File::create(&path).unwrap();
        file.set_permissions(Permissions::from_mode(0o000)).unwrap();
        assert_eq!(holder(&path).unwrap(), None);
        flock(&file, FlockOperation::LockExclusive).unwrap();
        assert_eq!(holder(&path).unwrap(), Some(std::process::id()));
        flock(&file, FlockOperation::Unlock).unwrap();
        assert_eq!(holder(&path).unwrap(), None);
    }
}
