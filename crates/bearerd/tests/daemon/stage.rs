//! A sandbox machine and the daemon on it.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use netbearer_lab::{
    AccessPoint, AccessPointPlan, Daemon, Dhcp, Lab, LabBuilder, NamespaceCommand, Program, Record, Signal, Snapshot,
};
use tempfile::TempDir;

use crate::client::Client;

/// Longer than anything here takes on a busy machine; waiting ends with the event, not with this.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The access point, as the daemon calls it.
pub(crate) const AP0: &str = "native-ap0";

pub(crate) const BEARERD: &str = env!("CARGO_BIN_EXE_bearerd");

/// What our package puts where buses look for policies.
const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dbus/org.netbearer.Bearer1.conf");

pub(crate) struct Stage {
    pub(crate) lab: Lab,
    directory: TempDir,
    before: Snapshot,
}

/// A daemon while it runs. Dropping it kills it.
pub(crate) struct Running {
    program: Program,
    log: Record<String>,
}

impl Stage {
    /// One access point, with dnsmasq.
    pub(crate) fn new() -> Self {
        Self::with([AccessPointPlan::new("ap0").dhcp(Dhcp::Dnsmasq)])
    }

    /// These access points.
    pub(crate) fn with(plans: impl IntoIterator<Item = AccessPointPlan>) -> Self {
        let lab = plans.into_iter().fold(Lab::builder(), LabBuilder::access_point).build();
        let lab = lab.expect("the lab is built");
        let before = Snapshot::take(lab.machine()).expect("the machine can be looked at");
        let directory = TempDir::new().expect("a temporary directory");
        // Other users are to get at the socket.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        Self { lab, directory, before }
    }

    /// Has files make a service network of these interfaces' access points, `service-uplink`.
    pub(crate) fn write_service_network(&self, members: &[&str]) {
        let profiles = self.directory.path().join("configuration").join("profiles.d");
        fs::create_dir_all(&profiles).unwrap();
        let text = format!("[service_network]\nmembers = {members:?}\nsettle = \"200ms\"\n");
        fs::write(profiles.join("uplink.toml"), text).unwrap();
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn runtime(&self) -> PathBuf {
        self.directory.path().join("runtime")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.runtime().join("bus")
    }

    pub(crate) fn access_point(&self) -> &AccessPoint {
        self.lab.access_point("ap0").unwrap()
    }

    /// The daemon's command line.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> NamespaceCommand<'_> {
        self.with_places(self.lab.machine().command(BEARERD), arguments)
    }

    /// The same, run by a shell as `"$0" "$@"`.
    pub(crate) fn started_by<S: AsRef<OsStr>>(
        &self,
        script: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> NamespaceCommand<'_> {
        self.with_places(self.lab.machine().command("sh").args(["-c", script, BEARERD]), arguments)
    }

    fn with_places<'a, S: AsRef<OsStr>>(
        &self,
        command: NamespaceCommand<'a>,
        arguments: impl IntoIterator<Item = S>,
    ) -> NamespaceCommand<'a> {
        let directory = |name| self.directory.path().join(name);
        command
            .args(arguments)
            .arg("--root")
            .arg(directory("root"))
            .env("NETBEARER_CONFIG_DIR", directory("configuration"))
            .env("NETBEARER_RUNTIME_DIR", self.runtime())
            .env("NETBEARER_STATE_DIR", directory("state"))
    }

    /// The daemon without a bus, when it is ready.
    pub(crate) fn start(&self) -> Running {
        self.start_with(["--no-bus"])
    }

    pub(crate) fn start_with<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Running {
        Self::ready(self.command(arguments))
    }

    /// The same without a bus, run by a shell as `"$0" "$@"`.
    pub(crate) fn start_by(&self, script: &str) -> Running {
        Self::ready(self.started_by(script, ["--no-bus"]))
    }

    fn ready(command: NamespaceCommand<'_>) -> Running {
        let mut program = command.stderr(Stdio::piped()).spawn().expect("the daemon starts");
        let log = program.stderr_lines().unwrap();
        log.wait_for_text("ready: ", DEADLINE).expect("the daemon gets ready");
        Running { program, log }
    }

    /// A bus with our policy.
    pub(crate) fn bus(&self) -> Daemon {
        let policies = [Path::new(POLICY)];
        Daemon::policed_bus(self.lab.machine(), &self.bus_socket(), &policies).expect("a bus with our policy")
    }

    pub(crate) fn bus_socket(&self) -> PathBuf {
        self.directory.path().join("system-bus")
    }

    pub(crate) fn bus_address(&self) -> String {
        format!("unix:path={}", self.bus_socket().display())
    }

    /// A client on the private socket.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.socket())
    }

    /// Waits until the machine is as it was before the daemon was there.
    pub(crate) fn wait_until_untouched(&self) {
        let machine = self.lab.machine();
        let untouched = || Ok((Snapshot::take(machine)? == self.before).then_some(()));
        machine.wait_until("the machine as it was before", DEADLINE, untouched).unwrap();
    }

    /// The token and the hold of a session that was open when its daemon was killed, and whose client is gone.
    pub(crate) fn left_by_a_killed_daemon(&self) -> (String, OwnedFd) {
        let daemon = self.start();
        let mut client = self.connect();
        let (session, token) = client.create(AP0);
        let hold = client.open_and_wait(&session);
        daemon.kill();
        (token, hold)
    }

    /// Waits until the link has a leased address.
    pub(crate) fn wait_until_up(&self) {
        let has_address = || {
            let lines = self.lab.machine().ip_lines(&["address", "show", "dev", "ap0"])?;
            Ok(lines.iter().any(|line| line.contains("inet ")).then_some(()))
        };
        self.lab.machine().wait_until("an address", DEADLINE, has_address).unwrap();
    }
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.program.id()
    }

    pub(crate) const fn log(&self) -> &Record<String> {
        &self.log
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.program.signal(signal).unwrap();
    }

    /// SIGKILL. Returns when it is gone.
    pub(crate) fn kill(mut self) {
        self.program.signal(Signal::KILL).unwrap();
        self.program.wait(DEADLINE).unwrap();
    }

    /// Has it end in good order, and returns what it has logged.
    pub(crate) fn end(mut self) -> Vec<String> {
        self.program.signal(Signal::TERM).unwrap();
        let status = self.program.wait(DEADLINE).expect("it ends");
        assert!(status.success(), "{status}");
        self.log.until_end()
    }
}
