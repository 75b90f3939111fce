use std::{
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
};

use netbearer::Directories;
use netbearer_lab::{AccessPoint, AccessPointPlan, Dhcp, Lab, NamespaceCommand, Program, Signal, uninterrupted};
use tempfile::TempDir;

use super::{crowd_driver::Crowd, under_test};
use crate::{
    error::BenchError,
    our_machine::{ACCESS_POINT, DEADLINE},
};

/// A lab with one access point, and the daemon on its machine.
pub(crate) struct DaemonMachine {
    // In the order of their end.
    daemon: Program,
    directory: TempDir,
    lab: Lab,
}

impl DaemonMachine {
    pub(super) fn new(dhcp: Dhcp) -> Result<Self, BenchError> {
        Self::on(Lab::builder().access_point(AccessPointPlan::new(ACCESS_POINT).dhcp(dhcp)).build()?, |_| Ok(()))
    }

    /// On the machine of this lab; `configure` writes files before the daemon reads them.
    pub(crate) fn on(
        lab: Lab,
        configure: impl FnOnce(&Directories) -> Result<(), BenchError>,
    ) -> Result<Self, BenchError> {
        // In memory, as /run is on a machine.
        let directory = TempDir::new_in("/dev/shm")?;
        under_test::furnish(directory.path())?;
        configure(&Directories::below(directory.path()))?;
        // As a service manager hears of it (`sd_notify(3)`).
        let readiness = directory.path().join("readiness");
        let ready = UnixDatagram::bind(&readiness)?;
        ready.set_read_timeout(Some(DEADLINE))?;
        let daemon = command(&lab, directory.path())?.env("NOTIFY_SOCKET", &readiness).spawn()?;
        uninterrupted(|| ready.recv(&mut [0; 64]))?;
        Ok(Self { daemon, directory, lab })
    }

    /// The daemon's process.
    pub(super) fn process(&self) -> u32 {
        self.daemon.id()
    }

    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    pub(super) fn access_point(&self) -> Result<&AccessPoint, BenchError> {
        Ok(self.lab.access_point(ACCESS_POINT)?)
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn directories(&self) -> Directories {
        Directories::below(self.directory())
    }

    pub(super) fn socket(&self) -> PathBuf {
        netbearer_dbus::socket_path(&self.directories().runtime)
    }

    /// Clients with open sessions on the access point.
    pub(super) fn holders(&self, connections: usize, sessions: usize) -> Result<Crowd, BenchError> {
        Crowd::holding(self.lab.machine(), &self.socket(), connections, sessions, ACCESS_POINT)
    }

    /// Clients that watch the access point.
    pub(super) fn watchers(&self, connections: usize, sessions: usize) -> Result<Crowd, BenchError> {
        Crowd::watching(self.lab.machine(), &self.socket(), connections, sessions, ACCESS_POINT)
    }

    /// Clients that are not connected yet.
    pub(super) fn crowd(&self) -> Result<Crowd, BenchError> {
        Crowd::start(self.lab.machine(), &self.socket())
    }

    /// Kills the daemon, and starts it again at once.
    pub(super) fn replace_daemon(&mut self) -> Result<(), BenchError> {
        self.daemon.signal(Signal::KILL)?;
        self.daemon.wait(DEADLINE)?;
        self.daemon = command(&self.lab, self.directory.path())?.spawn()?;
        Ok(())
    }
}

fn command<'a>(lab: &'a Lab, directory: &Path) -> Result<NamespaceCommand<'a>, BenchError> {
    Ok(lab.machine().command(std::env::current_exe()?).arg(under_test::COMMAND).arg(directory))
}
