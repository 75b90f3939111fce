use std::{
    fs, io,
    os::unix::fs::{chown, symlink},
    path::Path,
    process::Stdio,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    LabError, Namespace, NamespaceCommand, Program, Record,
    requirement::{require, require_file},
};

/// For a daemon to start or to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where the machine's system bus is, as by default.
const BUS_SOCKET: &str = "/run/dbus/system_bus_socket";
/// Where the [way to it](Daemon::bus_relay) for those who are not on the machine is.
pub const BUS_RELAY: &str = "/run/lab/bus";
const BUS_CONFIGURATION: &str = "/run/lab/bus.conf";
/// The rules of dbus-daemon's own `system.conf`.
const SYSTEM_POLICY: &str = r#"
    <policy context="default">
        <allow user="*"/>
        <deny own="*"/>
        <deny send_type="method_call"/>
        <allow send_type="signal"/>
        <allow send_requested_reply="true" send_type="method_return"/>
        <allow send_requested_reply="true" send_type="error"/>
        <allow receive_type="method_call"/>
        <allow receive_type="method_return"/>
        <allow receive_type="error"/>
        <allow receive_type="signal"/>
        <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
        <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
        <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
        <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"
              send_member="UpdateActivationEnvironment"/>
        <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Debug.Stats"/>
    </policy>
"#;
/// Services the bus can start.
const SERVICES: &str = "/run/lab/services";
/// What systemd-resolved writes for the C library (`systemd-resolved.service(8)`).
const RESOLVED_STUB: &str = "../run/systemd/resolve/stub-resolv.conf";
const RESOLVED_STATE: &str = "/run/systemd/resolve";
const RESOLVED_USER: u32 = 990;
const NETWORKD: [&str; 2] = ["/usr/lib/systemd/systemd-networkd", "/lib/systemd/systemd-networkd"];

/// Somebody else's network software, or the bus it talks over, running on a machine with
/// [files of its own](Namespace::with_own_files). Dropping it kills it; what it started ends with the machine.
#[derive(Debug)]
pub struct Daemon {
    program: Program,
    log: Record<String>,
}

impl Daemon {
    /// A system bus (`dbus-daemon`) that lets everybody do everything, and starts services that are described in
    /// `/run/lab/services`. Returns when it listens.
    ///
    /// # Errors
    /// [`LabError::ProgramMissing`]; [`LabError::NotSeen`], with its words, if it does not start.
    pub fn system_bus(namespace: &Namespace) -> Result<Self, LabError> {
        require("dbus-daemon", "dbus")?;
        let open = r#"<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/>
            <allow send_type="signal"/><allow receive_sender="*"/></policy>"#;
        let configuration = format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
                "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
            <busconfig><type>system</type><listen>unix:path={BUS_SOCKET}</listen><auth>EXTERNAL</auth>
            <servicedir>{SERVICES}</servicedir>{open}</busconfig>"#
        );
        namespace.write_file(BUS_CONFIGURATION, &configuration)?;
        namespace.write_file("/run/dbus/README", "The machine's system bus.\n")?;
        let mut program = namespace
            .command("dbus-daemon")
            .args(["--nofork", "--nopidfile", "--nosyslog", "--print-address=1"])
            .arg(format!("--config-file={BUS_CONFIGURATION}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let log = program.stdout_lines().unwrap_or_else(Record::new);
        log.wait_for_text("unix:path=", PATIENCE)?;
        Ok(Self { program, log })
    }

    /// A bus of its own that is policed as system buses are: nobody may own a name, and nobody be called, but as the policy
    /// files say which are given beside the usual rules. Listens at this socket, which must be in a directory that the
    /// machine shares. Returns when it does.
    ///
    /// # Errors
    /// [`LabError::ProgramMissing`]; [`LabError::NotSeen`], with its words, if it does not start.
    pub fn policed_bus(namespace: &Namespace, socket: &Path, policies: &[&Path]) -> Result<Self, LabError> {
        require("dbus-daemon", "dbus")?;
        let included: String = policies.iter().map(|file| format!("<include>{}</include>\n", file.display())).collect();
        let configuration = format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
                "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
            <busconfig><type>system</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>
            {SYSTEM_POLICY}{included}</busconfig>"#,
            socket.display()
        );
        let file = socket.with_extension("conf");
        let unable = LabError::unable_to(format!("write {}", file.display()));
        fs::write(&file, configuration).map_err(unable)?;
        let command = namespace.command("dbus-daemon").args(["--nofork", "--nopidfile", "--nosyslog"]);
        let command = command.arg("--print-address=1").arg(format!("--config-file={}", file.display()));
        let mut program = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let log = program.stdout_lines().unwrap_or_else(Record::new);
        log.wait_for_text("unix:path=", PATIENCE)?;
        Ok(Self { program, log })
    }

    /// Another way to the machine's [system bus](Self::system_bus), at [`BUS_RELAY`], for programs that are not on the machine:
    /// who comes by it has a process number there. systemd-resolved 252 does not survive a question from one without
    /// (`sd_bus_creds_get_pid`).
    ///
    /// # Errors
    /// [`LabError::ProgramMissing`]; [`LabError::NotSeen`], with its words, if it does not start.
    pub fn bus_relay(namespace: &Namespace) -> Result<Self, LabError> {
        let proxy = require_file("lib/systemd/systemd-socket-proxyd", "systemd")?;
        let command = namespace.command(require("systemd-socket-activate", "systemd")?);
        let command = command.arg(format!("--listen={BUS_RELAY}")).arg(proxy).arg(BUS_SOCKET);
        Self::start(command.stderr(Stdio::piped()), "Listening on")
    }

    /// NetworkManager, for the interfaces of these names only. It needs a [system bus](Self::system_bus). Its DHCP client
    /// is its own, it writes `/etc/resolv.conf`, and it makes no profile that nobody asked for. Returns when it has looked
    /// at all interfaces.
    ///
    /// # Errors
    /// [`LabError::ProgramMissing`]; [`LabError::NotSeen`], with its log.
    pub fn network_manager(namespace: &Namespace, interfaces: &[&str]) -> Result<Self, LabError> {
        require("NetworkManager", "network-manager")?;
        let matching = |sign: &str| -> String {
            interfaces.iter().map(|interface| format!("{sign}interface-name:{interface};")).collect()
        };
        let configuration = format!(
            "[main]\nplugins=keyfile\nauth-polkit=false\ndhcp=internal\ndns=default\nrc-manager=file\n\
             no-auto-default=*\nsystemd-resolved=false\n\
             [logging]\nlevel=INFO\n[connectivity]\nenabled=false\n\
             [keyfile]\nunmanaged-devices=*;{}\n[device-lab]\nmatch-device={}\nmanaged=1\n",
            matching("except:"),
            matching("")
        );
        namespace.write_file("/etc/NetworkManager/NetworkManager.conf", &configuration)?;
        let command = namespace.command("NetworkManager").arg("--debug").stderr(Stdio::piped());
        Self::start(command, "startup complete")
    }

    /// ConnMan, for interfaces whose names begin so only. It needs a [system bus](Self::system_bus), and access points
    /// [without checksum offload](crate::AccessPointPlan::without_checksum_offload). Returns when it looks at the
    /// interfaces.
    ///
    /// # Errors
    /// [`LabError::ProgramMissing`]; [`LabError::NotSeen`], with its log.
    pub fn connman(namespace: &Namespace, prefix: &str) -> Result<Self, LabError> {
        require("connmand", "connman")?;
        let configuration = "[General]\nEnableOnlineCheck=false\nNetworkInterfaceBlacklist=lo\n";
        namespace.write_file("/etc/connman/main.conf", configuration)?;
        let command = namespace
            .command("connmand")
            .args(["--nodaemon", "--nobacktrace", "--nodnsproxy", "--config=/etc/connman/main.conf"])
            .arg(format!("--device={prefix}*"))
            .stderr(Stdio::piped());
        Self::start(command, "Connection Manager version")
    }

    /// systemd-networkd, with the `.network` files below `/etc/systemd/network` of the namespace. Returns when it has
    /// enumerated the interfaces.
    ///
    /// # Errors
    /// [`LabError::ProgramMissing`]; [`LabError::NotSeen`], with its log.
    pub fn networkd(namespace: &Namespace) -> Result<Self, LabError> {
        let [usual, merged] = NETWORKD;
        let program = if Path::new(usual).is_file() { usual } else { merged };
        require(program, "systemd")?;
        // Its unit would make this for it, with the directory in which it makes its own as another user.
        namespace.write_file("/run/systemd/README", "systemd's state.\n")?;
        let command = namespace.command(program).env("SYSTEMD_LOG_LEVEL", "info").stderr(Stdio::piped());
        Self::start(command, "Enumeration completed")
    }

    /// systemd-resolved, which programs of the machine ask by its stub: `/etc/resolv.conf` becomes a link to its file. It needs a
    /// [system bus](Self::system_bus). Returns when it answers there.
    ///
    /// # Errors
    /// [`LabError::ProgramMissing`]; [`LabError::NotSeen`], with its log.
    pub fn resolved(namespace: &Namespace) -> Result<Self, LabError> {
        let program = require_file("lib/systemd/systemd-resolved", "systemd-resolved")?;
        let unable = || LabError::unable_to("prepare the machine for systemd-resolved");
        // It gives up being root for a user that its package makes.
        let entries = [
            ("passwd", format!("systemd-resolve:x:{RESOLVED_USER}:{RESOLVED_USER}::/:/usr/sbin/nologin\n")),
            ("group", format!("systemd-resolve:x:{RESOLVED_USER}:\n")),
        ];
        for (file, entry) in entries {
            let own = namespace.path(format!("/etc/{file}"));
            let text = fs::read_to_string(Path::new("/etc").join(file)).map_err(unable())?;
            remove(&own).map_err(unable())?;
            fs::write(&own, text + &entry).map_err(unable())?;
        }
        let configuration = "[Resolve]\nLLMNR=no\nMulticastDNS=no\nDNSSEC=no\nFallbackDNS=\n";
        namespace.write_file("/etc/systemd/resolved.conf", configuration)?;
        // Its unit would make the first for it, and it makes the second itself when it has something to keep.
        for directory in [RESOLVED_STATE, &format!("{RESOLVED_STATE}/netif")].map(|path| namespace.path(path)) {
            let owner = Some(RESOLVED_USER);
            fs::create_dir_all(&directory).and_then(|()| chown(directory, owner, owner)).map_err(unable())?;
        }
        let resolv_conf = namespace.path("/etc/resolv.conf");
        remove(&resolv_conf).and_then(|()| symlink(RESOLVED_STUB, &resolv_conf)).map_err(unable())?;
        let command = namespace.command(program).env("SYSTEMD_LOG_LEVEL", "debug").stderr(Stdio::piped());
        Self::start(command, "Successfully acquired requested service name")
    }

    /// dhcpcd for one interface, or for all that its configuration `/etc/dhcpcd.conf` allows. Returns when it has started.
    ///
    /// dhcpcd 9.4.1 does not always end when [asked](Self::stop) right after it got a lease: its processes wait for each
    /// other.
    ///
    /// # Errors
    /// [`LabError::ProgramMissing`]; [`LabError::NotSeen`], with its log.
    pub fn dhcpcd(namespace: &Namespace, interface: Option<&str>) -> Result<Self, LabError> {
        require("dhcpcd", "dhcpcd-base")?;
        let options = ["--nobackground", "--noarp", "--ipv4only", "--nodev"];
        let command = namespace.command("dhcpcd").args(options).args(interface);
        Self::start(command.stderr(Stdio::piped()), "starting")
    }

    fn start(command: NamespaceCommand<'_>, ready: &str) -> Result<Self, LabError> {
        let mut program = command.spawn()?;
        let log = program.stderr_lines().unwrap_or_else(Record::new);
        log.wait_for_text(ready, PATIENCE)?;
        Ok(Self { program, log })
    }

    /// What it has written to its log.
    #[must_use]
    pub fn log(&self) -> &Record<String> {
        &self.log
    }

    /// Kills it (SIGKILL), but not what it started.
    pub fn kill(self) {
        drop(self);
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    ///
    /// # Errors
    /// [`LabError::NotSeen`] if it does not.
    pub fn stop(mut self) -> Result<(), LabError> {
        self.program.signal(Signal::TERM)?;
        self.program.wait(PATIENCE)?;
        Ok(())
    }
}

/// Also what is not there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
