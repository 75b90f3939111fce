use std::{
    env,
    path::{Path, PathBuf},
    thread,
};

use crate::{LabError, unshare::unshare_network};

/// Programs, and the Debian packages that hold them.
const PROGRAMS: [(&str, &str); 5] = [
    ("ip", "iproute2"),
    ("dnsmasq", "dnsmasq-base"),
    ("setpriv", "util-linux"),
    ("sh", "dash"),
    ("tcpdump", "tcpdump"),
];

/// Checks that a lab can be built here.
///
/// Call it from a test that would otherwise be skipped: a test that cannot run must fail and say why.
///
/// # Errors
/// [`LabError::ProgramMissing`] names the package to install, [`LabError::PrivilegeMissing`] the right that is missing.
pub fn requirements() -> Result<(), LabError> {
    for (program, package) in PROGRAMS {
        require(program, package)?;
    }
    // In a thread of its own, as there may be no way back from the new namespace.
    thread::scope(|scope| match scope.spawn(unshare_network).join() {
        Ok(outcome) => outcome.map_err(|source| LabError::PrivilegeMissing { source: source.into() }),
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// The path of a program that has to be there.
pub(crate) fn require(program: &'static str, package: &'static str) -> Result<PathBuf, LabError> {
    locate(program).ok_or(LabError::ProgramMissing { program, package })
}

/// The path of a program of this tree, whose package has the same name: where this one was built, or is installed.
///
/// # Errors
/// [`LabError::NotBuilt`] if it is not there.
pub fn own_program(name: &str) -> Result<PathBuf, LabError> {
    let here = env::current_exe().map_err(LabError::unable_to(format!("look for {name}")))?;
    // Tests and examples are built one level deeper.
    let directories = here.ancestors().skip(1).take(2);
    let built = directories.map(|directory| directory.join(name)).find(|program| program.is_file());
    built.ok_or_else(|| LabError::NotBuilt { program: name.to_owned() })
}

/// A file of a Debian package that has to be there: installed, or only unpacked by `cargo xtask test`. Some packages change
/// the machine when they are installed, or cannot be beside each other.
pub(crate) fn require_file(file: &'static str, package: &'static str) -> Result<PathBuf, LabError> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debian").join(package);
    let roots = [PathBuf::from("/usr"), PathBuf::from("/"), unpacked.join("usr"), unpacked];
    roots
        .into_iter()
        .map(|root| root.join(file))
        .find(|candidate| candidate.is_file())
        .ok_or(LabError::ProgramMissing { program: file, package })
}

/// Where `program` is. An ordinary user's `PATH` often lacks the directories that hold `ip` and `dnsmasq`.
pub(crate) fn locate(program: impl AsRef<Path>) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(&program))
        .find(|candidate| candidate.is_file())
}
