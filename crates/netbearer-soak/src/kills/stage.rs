use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use netbearer_holder::Way;
use netbearer_lab::{
    AccessPoint, AccessPointPlan, Dhcp, Lab, LabBuilder, NamespaceCommand, Program, Script, Snapshot, own_program,
};
use tempfile::TempDir;

use super::{
    name_of,
    plan::{PLACES, Place},
};
use crate::{
    error::SoakError,
    pulse::{Listener, Pulse},
};

/// Who may open sessions without being root. Every machine has this group.
const GROUP: (&str, u32) = ("users", 100);
/// A user of no other use, as every machine has him.
const USER: u32 = 65_534;

/// What all rounds share.
pub(crate) struct Stage {
    // In the order of their end.
    _monitor: Program,
    pub(crate) pulse: Pulse,
    pub(crate) listener: Listener,
    pub(crate) before: Snapshot,
    pub(crate) lab: Lab,
    daemon: PathBuf,
    /// This program, where everybody may execute it.
    holder: PathBuf,
    _programs: TempDir,
}

impl Stage {
    pub(crate) fn build() -> Result<Self, SoakError> {
        let daemon = own_program("bearerd")?;
        let plans = (0..PLACES).map(|place| {
            let dhcp = if place == 1 { Dhcp::Dnsmasq } else { Dhcp::Scripted(Script::default()) };
            AccessPointPlan::new(name_of(place)).dhcp(dhcp)
        });
        let lab = plans.fold(Lab::builder(), LabBuilder::access_point).build()?;
        let programs = TempDir::new()?;
        fs::set_permissions(programs.path(), Permissions::from_mode(0o755))?;
        // By a program of its own: a file that is open for writing cannot be executed, and what other threads start at that
        // moment would have it open.
        let holder = programs.path().join("holder");
        lab.machine().command("cp").arg(std::env::current_exe()?).arg(&holder).output()?;
        let before = Snapshot::take(lab.machine())?;
        let (pulse, listener) = Pulse::new();
        let monitor = pulse.of_kernel(lab.machine())?;
        Ok(Self { _monitor: monitor, pulse, listener, before, lab, daemon, holder, _programs: programs })
    }

    /// The daemon, without its directories.
    pub(crate) fn daemon(&self) -> NamespaceCommand<'_> {
        self.lab.machine().command(&self.daemon).args(["--no-bus", "--group", GROUP.0, "-vv"])
    }

    /// A holder.
    pub(crate) fn holder(&self, as_root: bool, way: &Way) -> NamespaceCommand<'_> {
        let machine = self.lab.machine();
        let command = if as_root {
            machine.command(&self.holder)
        } else {
            let identity = [format!("--reuid={USER}"), format!("--regid={}", GROUP.1)];
            // Who becomes somebody else loses the death signal.
            let rest = ["--clear-groups", "--inh-caps=-all", "--pdeathsig=KILL", "--"];
            machine.command("setpriv").args(identity).args(rest).arg(&self.holder)
        };
        command.arg("hold").args(way.arguments())
    }

    /// Somebody else brings an access point up.
    pub(crate) fn adopt(&self, place: Place) -> Result<(), SoakError> {
        let name = name_of(place);
        self.script(&format!(
            "ip link set {name} addrgenmode none up && ip address add 10.10.{place}.77/24 dev {name} && \
             ip route add default via 10.10.{place}.1 dev {name} metric 600"
        ))
    }

    /// And down again.
    pub(crate) fn abandon(&self, place: Place) -> Result<(), SoakError> {
        let name = name_of(place);
        self.script(&format!("ip address flush dev {name} && ip link set {name} addrgenmode eui64 down"))
    }

    pub(crate) fn access_point(&self, place: Place) -> Result<&AccessPoint, SoakError> {
        Ok(self.lab.access_point(&name_of(place))?)
    }

    fn script(&self, script: &str) -> Result<(), SoakError> {
        self.lab.machine().command("sh").args(["-c", script]).output()?;
        Ok(())
    }
}
