use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{LabError, Namespace, requirement::require_file};

/// The package's scripts: a program, and what it has make `/etc/resolv.conf`.
const SCRIPTS: [&str; 2] = ["sbin/resolvconf", "lib/resolvconf/libc"];

/// openresolv for a machine with [files of its own](Namespace::with_own_files), put into `directory`, which the machine must
/// share. Returns the path of a program `resolvconf` that does for the machine what it is told, whoever starts it.
///
/// # Errors
/// [`LabError::ProgramMissing`]; [`LabError::System`] if it cannot be put there.
pub fn openresolv(namespace: &Namespace, directory: &Path) -> Result<PathBuf, LabError> {
    let unable = || LabError::unable_to("install openresolv for a machine of the lab");
    for script in SCRIPTS {
        let text = fs::read_to_string(require_file(script, "openresolv")?).map_err(unable())?;
        // As its Makefile does for another prefix.
        let moved = ["/sbin/resolvconf", "/lib/resolvconf"]
            .iter()
            .fold(text, |text, path| text.replace(path, &format!("{}{path}", directory.display())));
        write_program(&directory.join(script), &moved).map_err(unable())?;
    }
    let program = directory.join("resolvconf");
    // Beside the root directory of the thread whose mount namespace is to be entered.
    let root = namespace.path("/");
    let files = root.parent().unwrap_or(&root).join("ns/mnt");
    let script =
        format!("#!/bin/sh\nexec nsenter --mount={} {}/sbin/resolvconf \"$@\"\n", files.display(), directory.display());
    write_program(&program, &script).map_err(unable())?;
    Ok(program)
}

fn write_program(path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
