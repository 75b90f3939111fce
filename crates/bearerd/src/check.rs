//! `bearerd --check`: whether a daemon could do its work here.

use std::{
    io,
    path::{Path, PathBuf},
};

use netbearer_clock::BootClock;
use netbearer_dbus::BUS_NAME;
use netbearer_engine_native::owner_of_namespace;
use netbearer_kernel::{UnboundPacketSocket, Watcher, missing_privileges};
use netbearer_profiles::ProfileStore;
use netbearer_service::read_steering_plan;
use rustix::fs::{Access, access};
use serde::Serialize;

use crate::{Instance, Options, with_causes};

/// Where buses look for policies (`dbus-daemon(1)`).
const POLICY_DIRECTORIES: [&str; 2] = ["/usr/share/dbus-1/system.d", "/etc/dbus-1/system.d"];

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub subject: String,
    /// False if the daemon cannot do its work like that.
    pub good: bool,
    /// What was found, and what to do.
    pub remark: String,
}

impl Finding {
    fn good(subject: impl Into<String>, remark: impl Into<String>) -> Self {
        Self { subject: subject.into(), good: true, remark: remark.into() }
    }

    fn bad(subject: impl Into<String>, remark: impl Into<String>) -> Self {
        Self { subject: subject.into(), good: false, remark: remark.into() }
    }
}

/// Looks at everything that a daemon needs, and changes nothing.
///
/// # Panics
/// Outside a tokio runtime with I/O enabled.
pub async fn check(options: &Options) -> Vec<Finding> {
    let mut findings = profiles(&options.directories.configuration);
    findings.push(steering(&options.directories.configuration));
    findings.push(privileges());
    for (subject, directory) in
        [("runtime directory", &options.directories.runtime), ("state directory", &options.directories.state)]
    {
        findings.push(directory_to_be_written(subject, directory));
    }
    findings.push(network().await);
    findings.push(packet_sockets());
    findings.push(other_daemons(&options.directories.runtime));
    findings.push(other_owners(&options.directories.runtime));
    findings.push(group(options));
    findings.push(bus(options));
    findings
}

fn profiles(directory: &Path) -> Vec<Finding> {
    let reading = ProfileStore::new(directory).read();
    if reading.mistakes.is_empty() {
        return vec![Finding::good("profiles", format!("no mistakes in {}", directory.display()))];
    }
    reading.mistakes.iter().map(|mistake| Finding::bad("profiles", mistake.to_string())).collect()
}

fn steering(directory: &Path) -> Finding {
    match read_steering_plan(directory) {
        Ok(_) => Finding::good("steering.toml", "it is as it should be, or not there"),
        Err(error) => Finding::bad("steering.toml", with_causes(&error)),
    }
}

fn privileges() -> Finding {
    match missing_privileges() {
        Ok(missing) if missing.is_empty() => Finding::good("privileges", "all that are needed"),
        Ok(missing) => Finding::bad("privileges", format!("{} missing; start as root", missing.join(", "))),
        Err(error) => Finding::bad("privileges", format!("the kernel does not tell: {error}")),
    }
}

fn directory_to_be_written(subject: &str, directory: &Path) -> Finding {
    let there = directory.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(directory);
    let remark = if there == directory { "is writable" } else { "can be made" };
    match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if there.is_dir() => Finding::good(subject, format!("{} {remark}", directory.display())),
        Ok(()) => Finding::bad(subject, format!("{} is no directory", there.display())),
        Err(error) => Finding::bad(subject, format!("{}: {error}; start as root, or name another", there.display())),
    }
}

/// All that is dumped, routing rules too, which a kernel may be without (`CONFIG_IP_MULTIPLE_TABLES`).
async fn network() -> Finding {
    let looked = match BootClock::start() {
        Ok(clock) => Watcher::open(clock).await,
        Err(error) => return Finding::bad("clock", error.to_string()),
    };
    match looked {
        Ok(watcher) => {
            let (links, rules) = (watcher.cache().links().len(), watcher.cache().rules().count());
            Finding::good("network", format!("{links} interfaces and {rules} routing rules can be seen"))
        }
        Err(error) => Finding::bad("network", with_causes(&error)),
    }
}

fn packet_sockets() -> Finding {
    match UnboundPacketSocket::open() {
        Ok(_) => Finding::good("packet sockets", "they can be opened, for DHCP"),
        Err(error) => Finding::bad(
            "packet sockets",
            format!("{error}; start as root, with a kernel that has packet sockets (CONFIG_PACKET)"),
        ),
    }
}

fn other_daemons(runtime: &Path) -> Finding {
    match Instance::running(runtime) {
        Ok(None) => Finding::good("daemon", format!("none runs with {}", runtime.display())),
        Ok(Some(process)) => Finding::good("daemon", format!("one runs already (process {process})")),
        Err(error) => Finding::bad("daemon", unreadable(runtime, &error)),
    }
}

fn other_owners(runtime: &Path) -> Finding {
    match (owner_of_namespace(runtime), Instance::running(runtime)) {
        (Ok(None), _) => Finding::good("network namespace", "nobody changes it at the moment"),
        (Ok(Some(owner)), Ok(Some(daemon))) if owner == daemon => {
            Finding::good("network namespace", format!("the daemon (process {owner}) changes it"))
        }
        (Ok(Some(owner)), _) => {
            let remark = format!("a program with a service of its own (process {owner}) has sessions in it; end that");
            Finding::bad("network namespace", remark)
        }
        (Err(error), _) => Finding::bad("network namespace", unreadable(runtime, &error)),
    }
}

fn unreadable(directory: &Path, error: &io::Error) -> String {
    format!("locks in {} cannot be looked at: {error}", directory.display())
}

fn group(options: &Options) -> Finding {
    let name = options.rules.group();
    match options.rules.number() {
        Ok(Some(number)) => Finding::good("group", format!("members of {name} ({number}) may open sessions")),
        Ok(None) => Finding::good(
            "group",
            format!("there is no group {name}, so only root may open sessions; groupadd --system {name} makes it"),
        ),
        Err(error) => Finding::bad("group", format!("groups cannot be read: {error}")),
    }
}

fn bus(options: &Options) -> Finding {
    let Some(bus) = &options.bus else { return Finding::good("bus", "only the private socket is served, as told") };
    let Some(socket) = bus.socket() else {
        return Finding::bad("bus", format!("{} is no socket with a path", bus.address()));
    };
    if !socket.exists() {
        let remark =
            format!("there is none at {}; the private socket is served, and the bus when it comes", socket.display());
        return Finding::good("bus", remark);
    }
    match policy() {
        Some(policy) => Finding::good("bus", format!("its policy is {}", policy.display())),
        None => Finding::bad(
            "bus",
            format!(
                "there is no policy for it; install {BUS_NAME}.conf in {}, or give --no-bus",
                POLICY_DIRECTORIES[0]
            ),
        ),
    }
}

fn policy() -> Option<PathBuf> {
    let files = POLICY_DIRECTORIES.map(|directory| Path::new(directory).join(format!("{BUS_NAME}.conf")));
    files.into_iter().find(|file| file.is_file())
}
