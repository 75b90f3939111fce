use std::{process::Stdio, time::Duration};

use crate::{INTERNET, LabError, Namespace, Program, Record, Subnet};

/// The name that dnsmasq of each access point resolves to its own address: who was asked shows in the answer.
pub const HERE: &str = "here.test";
/// The name that no dnsmasq knows.
pub const NOWHERE: &str = "nowhere.test";
/// The domain that dnsmasq has names without a dot looked for in. Each name there is resolved as [`HERE`].
const SEARCH_DOMAIN: &str = "inside.test";
/// For dnsmasq to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// The real DHCP and name server behind an access point. Every name resolves to [`INTERNET`], but [`HERE`] to the server
/// itself, and [`NOWHERE`] not at all.
#[derive(Debug)]
pub(crate) struct Dnsmasq {
    log: Record<String>,
    _program: Program,
}

impl Dnsmasq {
    /// Starts it. Returns when it answers.
    pub(crate) fn start(namespace: &Namespace, subnet: Subnet, rapid_commit: bool) -> Result<Self, LabError> {
        let mut addresses = subnet.leasable();
        let (first, last) = (addresses.next(), addresses.last());
        let [first, last] = [first, last].map(|address| address.unwrap_or(subnet.gateway()));
        let mut program = namespace
            .command("dnsmasq")
            // In the foreground, as the user it is, its log on its standard error, without files.
            .args(["--no-daemon", "--leasefile-ro"])
            .args(["--conf-file=/dev/null", "--user=root", "--group=root", "--no-hosts", "--no-resolv"])
            .arg(format!("--address=/#/{INTERNET}"))
            .arg(format!("--address=/{HERE}/{SEARCH_DOMAIN}/{}", subnet.gateway()))
            .arg(format!("--address=/{NOWHERE}/"))
            .arg(format!("--dhcp-option=option:domain-search,{SEARCH_DOMAIN}"))
            // It would ping each address for three seconds before it offers it first.
            .args(["--no-ping", "--dhcp-authoritative"])
            .args(rapid_commit.then_some("--dhcp-rapid-commit"))
            .arg(format!("--dhcp-range={first},{last},{},120", subnet.mask()))
            .stderr(Stdio::piped())
            .spawn()?;
        let log = program.stderr_lines().unwrap_or_else(Record::new);
        log.wait_for_text("DHCP, IP range", PATIENCE)?;
        Ok(Self { log, _program: program })
    }

    pub(crate) fn log(&self) -> &Record<String> {
        &self.log
    }
}
