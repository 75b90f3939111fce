use std::{
    fs::{File, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rustix::{fs::OFlags, process::geteuid};

/// For its owner.
const MODE: u32 = 0o600;
const PERMISSIONS: u32 = 0o7777;

/// Opens the file of a lock for reading and writing, and makes it if it is not there. From then on only its owner, and root, can
/// open it. A symbolic link is not followed: the directory may be writable by others, who must not choose which file is written
/// to.
///
/// # Errors
/// When it cannot be opened or made, or its mode cannot be set.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(MODE);
    let file = options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)?;
    narrow(&file)?;
    Ok(file)
}

/// Takes from everybody but the owner what a former version has given to all, if this process is the owner's. Nothing is changed
/// of another user's file: whoever has put it there can lock it, whatever its mode.
///
/// # Errors
/// When the mode cannot be set.
pub fn narrow(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    if found.mode() & PERMISSIONS == MODE || found.uid() != geteuid().as_raw() {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(MODE))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & PERMISSIONS
    }

    #[test]
    fn only_the_owner_can_open_it_whoever_could_before() {
        let directory = tempfile::tempdir().unwrap();
        let (new, old) = (directory.path().join("new"), directory.path().join("old"));
        open(&new).unwrap();
        assert_eq!(mode(&new), 0o600);
        fs::write(&old, "1\n").unwrap();
        fs::set_permissions(&old, Permissions::from_mode(0o666)).unwrap();
        open(&old).unwrap();
        assert_eq!((mode(&old), fs::read_to_string(&old).unwrap().as_str()), (0o600, "1\n"));
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (victim, path) = (directory.path().join("victim"), directory.path().join("lock"));
        fs::write(&victim, "precious").unwrap();
        fs::set_permissions(&victim, Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(open(&path).is_err());
        assert_eq!(mode(&victim), 0o644);
    }
}
