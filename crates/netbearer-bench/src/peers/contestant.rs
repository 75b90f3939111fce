use std::{
    thread,
    time::{Duration, Instant},
};

use netbearer_lab::{AccessPoint, Daemon, Lab, LabError, Mark, Namespace};

use super::{PAUSE, ProgramName, plan};
use crate::{
    cut::cut_under,
    error::BenchError,
    our_machine::{ACCESS_POINT, DEADLINE, OurMachine},
};

/// What is waited for when the cable is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The first word of it.
    FirstWord,
    /// That the network is not usable any more.
    Network,
}

/// Asks a program as an application does, and hears what it says.
pub(super) trait Client {
    /// Forgets what has been told so far.
    fn forget(&mut self) -> Result<(), BenchError>;
    /// Asks for the network, and waits until it is told to be up. How long that took.
    fn open(&mut self) -> Result<Duration, BenchError>;
    /// Gives it back, and waits until it is told to be down.
    fn close(&mut self) -> Result<(), BenchError>;
    /// Waits until a loss is told, while the cable is cut.
    fn wait_for_loss(&mut self, loss: Loss) -> Result<Instant, BenchError>;
    /// Has the network up again after the loss, once the cable is back.
    fn regain(&mut self, loss: Loss) -> Result<(), BenchError>;
}

/// What the program lives on.
pub(super) enum Machine {
    Ours(OurMachine),
    Theirs {
        /// The program and its bus, which end before the lab.
        _daemons: [Daemon; 2],
        lab: Lab,
    },
}

impl Machine {
    /// One with files and a system bus of its own, on which this program looks after the network.
    pub(super) fn theirs(
        program: &'static str,
        start: impl FnOnce(&Namespace) -> Result<Daemon, LabError>,
    ) -> Result<Self, BenchError> {
        let lab = Lab::builder().access_point(plan()).own_files().build()?;
        let bus = available("the system bus", Daemon::system_bus(lab.machine()))?;
        let daemon = available(program, start(lab.machine()))?;
        Ok(Self::Theirs { _daemons: [daemon, bus], lab })
    }

    /// What a program installed there calls its version.
    pub(super) fn version_of(&self, command: &str) -> Result<String, BenchError> {
        Ok(self.namespace().command(command).arg("--version").output()?.trim().to_owned())
    }

    fn access_point(&self) -> Result<&AccessPoint, BenchError> {
        match self {
            Self::Ours(machine) => machine.access_point(),
            Self::Theirs { lab, .. } => Ok(lab.access_point(ACCESS_POINT)?),
        }
    }

    pub(super) fn namespace(&self) -> &Namespace {
        match self {
            Self::Ours(machine) => machine.namespace(),
            Self::Theirs { lab, .. } => lab.machine(),
        }
    }
}

/// A program that is not installed is no reason to leave it out.
fn available(program: &'static str, daemon: Result<Daemon, LabError>) -> Result<Daemon, BenchError> {
    daemon.map_err(|source| match source {
        LabError::ProgramMissing { .. } => BenchError::Missing { program, source },
        source => source.into(),
    })
}

/// A program that takes part, on its machine.
pub(super) struct Contestant {
    // In the order of their end.
    client: Box<dyn Client>,
    machine: Machine,
    name: ProgramName,
}

impl Contestant {
    pub(super) fn new(name: &'static str, version: String, client: impl Client + 'static, machine: Machine) -> Self {
        Self { client: Box::new(client), machine, name: ProgramName { name, version } }
    }

    pub(super) fn name(&self) -> ProgramName {
        self.name.clone()
    }

    /// Opens, and has `ip` say that there is an address. How long the program took.
    pub(super) fn open(&mut self) -> Result<Duration, BenchError> {
        self.client.forget()?;
        let took = self.client.open()?;
        if !self.has_address()? {
            return Err(BenchError::NoAddress { program: self.name.name });
        }
        thread::sleep(PAUSE);
        Ok(took)
    }

    /// Closes, and waits until the address is gone.
    pub(super) fn close(&mut self) -> Result<(), BenchError> {
        self.client.close()?;
        let gone = || Ok((!self.has_address()?).then_some(()));
        self.machine.namespace().wait_until("no address", DEADLINE, gone)?;
        thread::sleep(PAUSE);
        Ok(())
    }

    /// Cuts the cable, and restores it when that was told. How long the program took to tell.
    pub(super) fn lose_carrier(&mut self, loss: Loss) -> Result<Duration, BenchError> {
        let client = &mut self.client;
        client.forget()?;
        let access_point = self.machine.access_point()?;
        let (start, told) = cut_under(access_point, None, || client.wait_for_loss(loss))?;
        let told = told?;
        access_point.restore()?;
        client.regain(loss)?;
        thread::sleep(PAUSE);
        told.checked_duration_since(start).ok_or(BenchError::ToldBefore { program: self.name.name })
    }

    /// Where the log of the DHCP server has come to.
    pub(super) fn dhcp_mark(&self) -> Result<Mark, BenchError> {
        Ok(self.machine.access_point()?.dhcp_log()?.mark())
    }

    /// Each of so many opens was one with DHCP.
    pub(super) fn check_leases(&self, since: Mark, opens: u32) -> Result<(), BenchError> {
        let log = self.machine.access_point()?.dhcp_log()?.entries_since(since);
        let leases = log.iter().filter(|line| line.contains("DHCPACK")).count();
        if leases >= opens as usize {
            Ok(())
        } else {
            Err(BenchError::TooFewLeases { program: self.name.name, opens, leases })
        }
    }

    fn has_address(&self) -> Result<bool, netbearer_lab::LabError> {
        Ok(self.machine.namespace().addresses(ACCESS_POINT)?.iter().any(|(address, _)| address.is_ipv4()))
    }
}
