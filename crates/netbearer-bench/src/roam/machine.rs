use std::{fs, net::SocketAddr};

use netbearer::{
    Daemon, Directories, SessionEvent,
    blocking::{Events, Manager, Session},
};
use netbearer_lab::{AccessPointPlan, ECHO_PORT, INTERNET, Lab};

use crate::{daemon::DaemonMachine, error::BenchError, our_machine::DEADLINE};

/// The access points of each lab here.
pub(super) const MEMBERS: [&str; 2] = ["lan", "lte"];
const NETWORK: &str = "uplink";

/// A lab with two access points, on whose machine both are up with addresses and default routes of their own.
pub(super) fn lab_with_two_links() -> Result<Lab, BenchError> {
    let lab = MEMBERS.iter().fold(Lab::builder(), |lab, name| lab.access_point(AccessPointPlan::new(*name))).build()?;
    for (name, metric) in MEMBERS.iter().zip(["100", "200"]) {
        let access_point = lab.access_point(name)?;
        access_point.set_administratively_up(true)?;
        let subnet = access_point.subnet();
        let address = format!("{}/{}", subnet.host(50), subnet.prefix_length());
        let ip = |arguments: &[&str]| lab.machine().command("ip").args(arguments).output();
        ip(&["address", "add", &address, "dev", name])?;
        let gateway = subnet.gateway().to_string();
        ip(&["route", "add", "default", "via", &gateway, "dev", name, "metric", metric])?;
    }
    Ok(lab)
}

/// The server that is behind every access point, and greets with the name of the one it was reached by.
pub(super) fn server() -> SocketAddr {
    (INTERNET, ECHO_PORT).into()
}

/// Such a lab with the daemon on its machine, for which both are a service network, and a client of it.
pub(super) struct RoamMachine {
    // In the order of their end.
    manager: Manager,
    machine: DaemonMachine,
}

impl RoamMachine {
    /// The calling thread moves to the lab's machine.
    pub(super) fn new() -> Result<Self, BenchError> {
        let lab = lab_with_two_links()?;
        lab.machine().enter()?;
        let machine = DaemonMachine::on(lab, |directories| prefer(directories, MEMBERS))?;
        let manager = Manager::with_daemon(Daemon::default().directories(machine.directories()))?;
        Ok(Self { manager, machine })
    }

    pub(super) fn lab(&self) -> &Lab {
        self.machine.lab()
    }

    /// Has the administrator put the members in this order.
    pub(super) fn prefer(&self, members: [&str; 2]) -> Result<(), BenchError> {
        prefer(&self.machine.directories(), members)
    }

    /// A session that is open on the service network.
    pub(super) fn session(&self) -> Result<(Session, Events<SessionEvent>), BenchError> {
        let session = self.manager.session(&self.manager.find(Some(NETWORK))?)?;
        let mut events = session.events();
        session.open()?;
        wait_for(&mut events, "Opened", |event| (*event == SessionEvent::Opened).then_some(()))?;
        Ok((session, events))
    }
}

fn prefer(directories: &Directories, members: [&str; 2]) -> Result<(), BenchError> {
    let profiles = directories.configuration.join("profiles.d");
    fs::create_dir_all(&profiles)?;
    let [first, second] = members;
    let text =
        format!("[service_network]\nmembers = [\"{first}\", \"{second}\"]\nsettle = \"1ms\"\nroam_linger = \"0s\"\n");
    // At once, as editors do it.
    let (written, file) = (directories.configuration.join("written"), profiles.join(format!("{NETWORK}.toml")));
    fs::write(&written, text)?;
    fs::rename(written, file)?;
    Ok(())
}

/// Waits for the event of which `wanted` makes something.
pub(super) fn wait_for<T>(
    events: &mut Events<SessionEvent>,
    what: &'static str,
    wanted: impl Fn(&SessionEvent) -> Option<T>,
) -> Result<T, BenchError> {
    loop {
        match events.next_within(DEADLINE) {
            Some(SessionEvent::Error(failure)) => return Err(BenchError::Session(failure)),
            Some(event) => {
                if let Some(found) = wanted(&event) {
                    return Ok(found);
                }
            }
            None => return Err(BenchError::NotTold { what, within: DEADLINE }),
        }
    }
}
