//! NetworkManager, asked over D-Bus as its reference manual has it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use netbearer_lab::Daemon;
use zbus::{Message, OwnedObjectPath, OwnedVariant, Variant};

use super::{
    bus::Bus,
    contestant::{Client, Contestant, Loss, Machine},
};
use crate::{error::BenchError, our_machine::ACCESS_POINT};

const PROGRAM: &str = "NetworkManager";
const NAME: &str = "org.freedesktop.NetworkManager";
const PATH: &str = "/org/freedesktop/NetworkManager";
const SETTINGS: &str = "org.freedesktop.NetworkManager.Settings";
const SETTINGS_PATH: &str = "/org/freedesktop/NetworkManager/Settings";
const DEVICE: &str = "org.freedesktop.NetworkManager.Device";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// `NM_DEVICE_STATE_DISCONNECTED`, `_ACTIVATED` and `_FAILED`.
const DISCONNECTED: u32 = 30;
const ACTIVATED: u32 = 100;
const FAILED: u32 = 120;

/// It waits some seconds for a carrier to return.
const PATIENCE: Duration = Duration::from_secs(30);

/// An application that has NetworkManager bring up its profile.
pub(super) struct NetworkManager {
    bus: Bus,
    device: OwnedObjectPath,
    profile: OwnedObjectPath,
}

impl NetworkManager {
    /// With a profile of DHCP for IPv4, and without IPv6, which it would wait for.
    pub(super) fn start() -> Result<Contestant, BenchError> {
        let machine = Machine::theirs(PROGRAM, |machine| Daemon::network_manager(machine, &[ACCESS_POINT]))?;
        let version = machine.version_of("NetworkManager")?;
        let signal = format!("type='signal',sender='{NAME}',path_namespace='{PATH}/Devices'");
        let rules = [format!("{signal},interface='{DEVICE}'"), format!("{signal},interface='{PROPERTIES}'")];
        let mut bus = Bus::connect(machine.namespace(), &rules)?;
        let device = bus.call(NAME, PATH, NAME, "GetDeviceByIpIface", &ACCESS_POINT)?.body().deserialize()?;
        let connection = [
            ("id", Variant::from(ACCESS_POINT)),
            ("uuid", Variant::from("6e657462-6561-4265-9261-6e6574626561")),
            ("type", Variant::from("802-3-ethernet")),
            ("interface-name", Variant::from(ACCESS_POINT)),
            ("autoconnect", Variant::from(false)),
        ];
        let settings: BTreeMap<&str, BTreeMap<&str, Variant<'_>>> = BTreeMap::from([
            ("connection", BTreeMap::from(connection)),
            ("ipv4", BTreeMap::from([("method", Variant::from("auto"))])),
            ("ipv6", BTreeMap::from([("method", Variant::from("disabled"))])),
        ]);
        let profile = bus.call(NAME, SETTINGS_PATH, SETTINGS, "AddConnection", &settings)?.body().deserialize()?;
        let client = Self { bus, device, profile };
        Ok(Contestant::new(PROGRAM, version, client, machine))
    }

    /// Waits for the device to say that it has come to such a state.
    fn wait_for_state(&mut self, what: &'static str, wanted: impl Fn(u32) -> bool) -> Result<Instant, BenchError> {
        let (came, ()) =
            self.bus.wait_for(what, PATIENCE, |signal| new_state(signal).filter(|state| wanted(*state)).map(drop))?;
        Ok(came)
    }

    fn wait_for_carrier(&mut self, wanted: bool) -> Result<Instant, BenchError> {
        let (came, ()) =
            self.bus.wait_for("a carrier", PATIENCE, |signal| (carrier(signal)? == wanted).then_some(()))?;
        Ok(came)
    }
}

/// The state a device says it has come to.
fn new_state(signal: &Message) -> Option<u32> {
    is(signal, DEVICE, "StateChanged").then_some(())?;
    let (new, _, _): (u32, u32, u32) = signal.body().deserialize().ok()?;
    Some(new)
}

/// What a device says of its carrier.
fn carrier(signal: &Message) -> Option<bool> {
    is(signal, PROPERTIES, "PropertiesChanged").then_some(())?;
    let (_, mut changed, _): (String, BTreeMap<String, OwnedVariant>, Vec<String>) =
        signal.body().deserialize().ok()?;
    bool::try_from(changed.remove("Carrier")?).ok()
}

fn is(signal: &Message, interface: &str, member: &str) -> bool {
    let header = signal.header();
    header.interface().is_some_and(|name| name.as_str() == interface)
        && header.member().is_some_and(|name| name.as_str() == member)
}

impl Client for NetworkManager {
    fn forget(&mut self) -> Result<(), BenchError> {
        self.bus.forget(NAME, PATH)
    }

    fn open(&mut self) -> Result<Duration, BenchError> {
        let any = OwnedObjectPath::try_from("/")?;
        let start = Instant::now();
        self.bus.call(NAME, PATH, NAME, "ActivateConnection", &(&self.profile, &self.device, any))?;
        let ended = |signal: &Message| new_state(signal).filter(|state| [ACTIVATED, FAILED].contains(state));
        let (came, state) = self.bus.wait_for("activated", PATIENCE, ended)?;
        if state == ACTIVATED { Ok(came - start) } else { Err(BenchError::PeerFailed { program: PROGRAM }) }
    }

    fn close(&mut self) -> Result<(), BenchError> {
        self.bus.call(NAME, &self.device, DEVICE, "Disconnect", &())?;
        self.wait_for_state("disconnected", |state| state == DISCONNECTED).map(drop)
    }

    fn wait_for_loss(&mut self, loss: Loss) -> Result<Instant, BenchError> {
        match loss {
            Loss::FirstWord => self.wait_for_carrier(false),
            Loss::Network => self.wait_for_state("the loss of the network", |state| state != ACTIVATED),
        }
    }

    fn regain(&mut self, loss: Loss) -> Result<(), BenchError> {
        match loss {
            // It still takes the network for up.
            Loss::FirstWord => self.wait_for_carrier(true).map(drop),
            Loss::Network => {
                self.wait_for_state("a device that can be used", |state| state == DISCONNECTED)?;
                self.open().map(drop)
            }
        }
    }
}
