//! ConnMan, asked over D-Bus as the `doc` directory of its source has it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use netbearer_lab::Daemon;
use zbus::{Message, OwnedObjectPath, OwnedVariant};

use super::{
    bus::Bus,
    contestant::{Client, Contestant, Loss, Machine},
};
use crate::{
    error::BenchError,
    our_machine::{ACCESS_POINT, DEADLINE},
};

const PROGRAM: &str = "ConnMan";
const NAME: &str = "net.connman";
const MANAGER: &str = "net.connman.Manager";
const SERVICE: &str = "net.connman.Service";
/// It is connecting the service already.
const IN_PROGRESS: &str = "net.connman.Error.InProgress";
/// It has connected it already.
const ALREADY_CONNECTED: &str = "net.connman.Error.AlreadyConnected";

type Properties = BTreeMap<String, OwnedVariant>;

/// An application that has ConnMan connect its service of the cable.
pub(super) struct ConnMan {
    bus: Bus,
    service: OwnedObjectPath,
}

impl ConnMan {
    /// It may connect the cable by itself when it starts; that is undone, so that it is asked for from then on.
    pub(super) fn start() -> Result<Contestant, BenchError> {
        let machine = Machine::theirs(PROGRAM, |machine| Daemon::connman(machine, ACCESS_POINT))?;
        let version = machine.version_of("connmand")?;
        let signal = format!("type='signal',sender='{NAME}'");
        let rules = [
            format!("{signal},interface='{SERVICE}',member='PropertyChanged',arg0='State'"),
            format!("{signal},interface='{MANAGER}',member='ServicesChanged'"),
        ];
        let mut bus = Bus::connect(machine.namespace(), &rules)?;
        let (service, _) = appearance(&mut bus)?;
        let mut client = Self { bus, service };
        client.bring_up()?;
        client.close()?;
        Ok(Contestant::new(PROGRAM, version, client, machine))
    }

    /// Has the service up as soon as there is one, whether ConnMan connects it by itself or not.
    fn bring_up(&mut self) -> Result<(), BenchError> {
        let (service, is_up) = appearance(&mut self.bus)?;
        self.service = service;
        if !is_up {
            // It may have begun, or ended, since it was asked.
            match self.open() {
                Err(BenchError::Bus(zbus::Error::MethodError(name, ..))) if name.as_str() == IN_PROGRESS => {
                    self.wait_for_up().map(drop)?;
                }
                Err(BenchError::Bus(zbus::Error::MethodError(name, ..))) if name.as_str() == ALREADY_CONNECTED => {}
                outcome => outcome.map(drop)?,
            }
        }
        Ok(())
    }

    fn wait_for_up(&mut self) -> Result<Instant, BenchError> {
        let ended = |signal: &Message| state(signal).filter(|state| [State::Up, State::Failed].contains(state));
        let (came, state) = self.bus.wait_for("ready", DEADLINE, ended)?;
        if state == State::Up { Ok(came) } else { Err(BenchError::PeerFailed { program: PROGRAM }) }
    }
}

/// The service of the cable, as soon as there is one, and whether it is up.
fn appearance(bus: &mut Bus) -> Result<(OwnedObjectPath, bool), BenchError> {
    loop {
        let services = bus.call(NAME, "/", MANAGER, "GetServices", &())?;
        let services: Vec<(OwnedObjectPath, Properties)> = services.body().deserialize()?;
        if let Some((path, properties)) = services.into_iter().next() {
            return Ok((path, state_of(properties) == Some(State::Up)));
        }
        let changed = |signal: &Message| (signal.header().member()?.as_str() == "ServicesChanged").then_some(());
        bus.wait_for("a service of the cable", DEADLINE, changed)?;
    }
}

/// What a service says of itself, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    /// Not asked for, or gone.
    Idle,
    Failed,
    Leaving,
    /// On its way up, or on a step back.
    Between,
}

impl State {
    fn of(word: &str) -> Self {
        match word {
            "ready" | "online" => Self::Up,
            "idle" => Self::Idle,
            "failure" => Self::Failed,
            "disconnect" => Self::Leaving,
            _ => Self::Between,
        }
    }
}

/// What is told of the state of the only service: by itself, or by the list of services, which is the first to tell of a
/// new one.
fn state(signal: &Message) -> Option<State> {
    if signal.header().member()?.as_str() == "ServicesChanged" {
        let (changed, gone): (Vec<(OwnedObjectPath, Properties)>, Vec<OwnedObjectPath>) =
            signal.body().deserialize().ok()?;
        let told = changed.into_iter().find_map(|(_, properties)| state_of(properties));
        return told.or_else(|| (!gone.is_empty()).then_some(State::Idle));
    }
    let (_, state): (String, OwnedVariant) = signal.body().deserialize().ok()?;
    Some(State::of(&String::try_from(state).ok()?))
}

fn state_of(mut properties: Properties) -> Option<State> {
    Some(State::of(&String::try_from(properties.remove("State")?).ok()?))
}

impl Client for ConnMan {
    fn forget(&mut self) -> Result<(), BenchError> {
        self.bus.forget(NAME, "/")
    }

    fn open(&mut self) -> Result<Duration, BenchError> {
        let start = Instant::now();
        self.bus.call(NAME, &self.service, SERVICE, "Connect", &())?;
        Ok(self.wait_for_up()? - start)
    }

    fn close(&mut self) -> Result<(), BenchError> {
        self.bus.call(NAME, &self.service, SERVICE, "Disconnect", &())?;
        let idle = |signal: &Message| state(signal).filter(|state| *state == State::Idle);
        self.bus.wait_for("idle", DEADLINE, idle).map(drop)
    }

    fn wait_for_loss(&mut self, loss: Loss) -> Result<Instant, BenchError> {
        let told = |state: &State| match loss {
            Loss::FirstWord => *state != State::Up,
            Loss::Network => [State::Leaving, State::Idle, State::Failed].contains(state),
        };
        let (came, _) = self.bus.wait_for("the loss of the service", DEADLINE, |signal| state(signal).filter(told))?;
        Ok(came)
    }

    fn regain(&mut self, _: Loss) -> Result<(), BenchError> {
        self.bring_up()
    }
}
