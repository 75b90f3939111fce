//! What the tests need and a bare machine does not have.

use std::path::Path;

use crate::command::{TaskError, answers, cargo, program, run};

/// A program of Debian's, where it may be, and the package it comes in.
const PROGRAMS: [(&str, &str); 6] = [
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("dnsmasq", "dnsmasq-base"),
    ("tcpdump", "tcpdump"),
    ("ethtool", "ethtool"),
    ("setpriv", "util-linux"),
];
const DIRECTORIES: [&str; 5] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin"];

/// Tools of cargo's.
const CARGO_TOOLS: [&str; 2] = ["deny", "fuzz"];

/// Installs what is missing. dnsmasq-base has the program without the service, so nothing starts on the machine.
pub(crate) fn everything() -> Result<(), TaskError> {
    if !rustix::process::geteuid().is_root() {
        let wrong = "the tests make network namespaces and need root: sudo -E env PATH=\"$PATH\" cargo xtask test";
        return Err(TaskError::Wrong(wrong.to_owned()));
    }
    debian_packages()?;
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
    run(install.args(&missing).env("DEBIAN_FRONTEND", "noninteractive"))?;
    let still: Vec<&str> = PROGRAMS.into_iter().filter(|(name, _)| !is_installed(name)).map(|(name, _)| name).collect();
    if still.is_empty() {
        Ok(())
    } else {
        Err(TaskError::Wrong(format!("{} still missing after the installation", still.join(", "))))
    }
}

fn is_installed(program: &str) -> bool {
    DIRECTORIES.iter().any(|directory| Path::new(directory).join(program).exists())
}
