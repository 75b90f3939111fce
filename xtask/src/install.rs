//! What the tests need and a bare machine does not have.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::command::{TaskError, answers, cargo, program, root, run};

/// A program of Debian's, where it may be, and the package it comes in.
const PROGRAMS: [(&str, &str); 20] = [
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("dnsmasq", "dnsmasq-base"),
    ("tcpdump", "tcpdump"),
    ("ethtool", "ethtool"),
    ("strace", "strace"),
    ("setpriv", "util-linux"),
    ("script", "bsdutils"),
    ("man", "man-db"),
    ("dbus-daemon", "dbus"),
    ("dbus-send", "dbus-bin"),
    ("gdbus", "libglib2.0-bin"),
    ("busctl", "systemd"),
    ("NetworkManager", "network-manager"),
    ("connmand", "connman"),
    ("systemd-networkd", "systemd"),
    ("dhcpcd", "dhcpcd-base"),
    ("ifup", "ifupdown"),
    ("nsenter", "util-linux"),
    ("getent", "libc-bin"),
];
const DIRECTORIES: [&str; 7] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/usr/lib/systemd", "/lib/systemd"];

/// Packages of Debian's that are only unpacked, below `target/debian`, and a file of each. Installed, they would have the
/// machine's programs ask others for names, and each would remove the other.
const UNPACKED: [(&str, &str); 2] =
    [("systemd-resolved", "lib/systemd/systemd-resolved"), ("openresolv", "sbin/resolvconf")];

/// Packages that come with services, and those services. The lab runs the programs in namespaces of its own; on the
/// machine itself they are not to run, now or after the next start.
const SERVICES: [(&str, &[&str]); 2] = [
    ("network-manager", &["NetworkManager", "NetworkManager-dispatcher", "NetworkManager-wait-online"]),
    ("connman", &["connman", "connman-wait-online"]),
];
/// Says to Debian's packages whether their services may start (`invoke-rc.d(8)`).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Tools of cargo's.
const CARGO_TOOLS: [&str; 2] = ["deny", "fuzz"];

/// Installs what is missing. No service starts on the machine.
pub(crate) fn everything() -> Result<(), TaskError> {
    if !rustix::process::geteuid().is_root() {
        let wrong = "the tests make network namespaces and need root: sudo -E env PATH=\"$PATH\" cargo xtask test";
        return Err(TaskError::Wrong(wrong.to_owned()));
    }
    debian_packages()?;
    unpacked_packages()?;
    for tool in CARGO_TOOLS {
        if !answers("cargo", &[tool, "--version"]) {
            println!("== installing cargo-{tool}");
            run(&mut cargo(&["install", "--locked", &format!("cargo-{tool}")]))?;
        }
    }
    for component in ["clippy", "rustfmt"] {
        if !answers("cargo", &[if component == "rustfmt" { "fmt" } else { component }, "--version"]) {
            run(&mut program("rustup", &["component", "add", component]))?;
        }
    }
    Ok(())
}

fn debian_packages() -> Result<(), TaskError> {
    let mut missing: Vec<&str> =
        PROGRAMS.into_iter().filter(|(name, _)| !is_installed(name)).map(|(_, package)| package).collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    println!("== installing {}", missing.join(", "));
    let mut update = program("apt-get", &["update", "--quiet"]);
    run(&mut update)?;
    let mut install = program("apt-get", &["install", "--quiet", "--yes", "--no-install-recommends"]);
    without_services(&missing, || run(install.args(&missing).env("DEBIAN_FRONTEND", "noninteractive")))?;
    let still: Vec<&str> = PROGRAMS.into_iter().filter(|(name, _)| !is_installed(name)).map(|(name, _)| name).collect();
    if still.is_empty() {
        Ok(())
    } else {
        Err(TaskError::Wrong(format!("{} still missing after the installation", still.join(", "))))
    }
}

fn unpacked_packages() -> Result<(), TaskError> {
    let below = root().join("target").join("debian");
    let is_missing = |(package, file): &(&str, &str)| !below.join(package).join(file).exists();
    for (package, file) in UNPACKED.into_iter().filter(is_missing) {
        println!("== unpacking {package}");
        let archives = below.join("archives");
        let system = |source| TaskError::System { what: format!("{} cannot be made", archives.display()), source };
        fs::create_dir_all(&archives).map_err(system)?;
        let archive = |name: &str| name.starts_with(&format!("{package}_")) && name.ends_with(".deb");
        let find = || -> Option<PathBuf> {
            let entries = fs::read_dir(&archives).ok()?.flatten();
            entries
                .map(|entry| entry.path())
                .find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(archive))
        };
        if find().is_none() {
            run(&mut program("apt-get", &["update", "--quiet"]))?;
            // As root, who may write there.
            let options = ["download", "--quiet", "--option=APT::Sandbox::User=root"];
            run(program("apt-get", &options).arg(package).current_dir(&archives))?;
        }
        let found = find().ok_or_else(|| TaskError::Wrong(format!("apt-get has not downloaded {package}")))?;
        run(program("dpkg-deb", &["--extract"]).arg(found).arg(below.join(package)))?;
        if is_missing(&(package, file)) {
            return Err(TaskError::Wrong(format!("{file} is not in {package} any more")));
        }
    }
    Ok(())
}

/// Forbids services to start while packages are installed, and those of these packages to start later.
fn without_services(packages: &[&str], install: impl FnOnce() -> Result<(), TaskError>) -> Result<(), TaskError> {
    let system = |source| TaskError::System { what: format!("{POLICY} cannot be written"), source };
    let foreign = Path::new(POLICY).exists();
    if !foreign {
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").map_err(system)?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)).map_err(system)?;
    }
    let installed = install();
    if !foreign {
        fs::remove_file(POLICY).map_err(system)?;
    }
    installed?;
    for (_, services) in SERVICES.into_iter().filter(|(package, _)| packages.contains(package)) {
        if is_installed("systemctl") {
            run(program("systemctl", &["disable", "--quiet"]).args(services))?;
        }
    }
    Ok(())
}

fn is_installed(program: &str) -> bool {
    DIRECTORIES.iter().any(|directory| Path::new(directory).join(program).exists())
}
