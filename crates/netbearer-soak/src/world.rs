use std::{
    fmt::Write,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use netbearer::{
    Directories, Embedded, PropertyKey, PropertyValue, SessionEvent, SessionState,
    blocking::{Events, Manager, Session},
};
use netbearer_lab::{
    AccessPoint, AccessPointPlan, Card, Conversation, Dhcp, ECHO_PORT, INTERNET, Lab, LabBuilder, Namespace, Program,
    Script, Snapshot,
};
use tempfile::TempDir;

use crate::{
    error::SoakError,
    history::{History, SEATS, Server},
    holder::Holder,
    operation::{Operation, Place, Seat},
    pulse::{Listener, Pulse},
    truth::Truth,
};

/// For everything to come to rest when nothing is wrong any more. Tries of a waiting session may be this far apart.
const PATIENCE: Duration = Duration::from_secs(90);
/// For one opening when nothing is wrong.
const OPENING_PATIENCE: Duration = Duration::from_secs(30);
/// How often an open session may be lost under a connection when nothing is wrong any more: what a killed process left
/// ends with its lease.
const TRIES: u32 = 3;

const BRIDGE: &str = "bridge0";
/// The interface that floods are on, and that nobody uses.
pub(crate) const FLOODED: &str = "flood0";

/// A lab with what a history happens to.
pub(crate) struct World {
    // In the order of their end.
    sessions: Vec<Option<Session>>,
    manager: Manager,
    holder: Option<(Place, Holder)>,
    places: Vec<PlaceInUse>,
    _monitor: Program,
    pulse: Pulse,
    listener: Listener,
    directory: TempDir,
    before: Snapshot,
    lab: Lab,
}

struct PlaceInUse {
    name: String,
    /// As it is called now.
    called: String,
    first_index: u32,
    plugged: bool,
}

impl World {
    /// Builds it, and moves the calling thread to the lab's machine.
    pub(crate) fn build(history: &History, pulse: Pulse, listener: Listener) -> Result<Self, SoakError> {
        let plans = history.places.iter().enumerate().map(|(place, (server, is_card_like))| {
            let dhcp = match server {
                Server::Dnsmasq => Dhcp::Dnsmasq,
                Server::Scripted(lease_time) => Dhcp::Scripted(Script::default().lease_time(*lease_time)),
            };
            let card = if *is_card_like { Card::CardLike } else { Card::Ordinary };
            AccessPointPlan::new(name(place)).dhcp(dhcp).card(card)
        });
        let lab = plans.fold(Lab::builder(), LabBuilder::access_point).build()?;
        lab.machine().enter()?;
        for arguments in [
            // An address of its own: one taken over from a port would stay.
            format!("link add {BRIDGE} address 02:6c:61:62:ff:01 type bridge"),
            format!("link add {FLOODED} type veth peer name flood1"),
        ] {
            lab.machine().command("ip").args(arguments.split(' ')).output()?;
        }
        let before = Snapshot::take(lab.machine())?;
        // In memory, as /run is on a machine.
        let directory = TempDir::new_in("/dev/shm")?;
        for place in 0..history.places.len() {
            write_profile(&directory, &name(place), history)?;
        }
        let monitor = pulse.of_kernel(lab.machine())?;
        let manager = Manager::start(Embedded::default().directories(Directories::below(directory.path())))?;
        let places = lab.access_points().iter().map(|access_point| PlaceInUse {
            name: access_point.name().to_owned(),
            called: access_point.name().to_owned(),
            first_index: access_point.index(),
            plugged: true,
        });
        let places = places.collect();
        let sessions = (0..SEATS).map(|_| None).collect();
        let mut world = Self {
            sessions,
            manager,
            holder: None,
            places,
            _monitor: monitor,
            pulse,
            listener,
            directory,
            before,
            lab,
        };
        for seat in 0..SEATS {
            world.seat(seat, false)?;
        }
        Ok(world)
    }

    /// Lets an operation happen. What others do by `ip` may fail, as when a rule is deleted that is not there.
    pub(crate) fn perform(&mut self, operation: &Operation) -> Result<(), SoakError> {
        self.pulse.note(format!("{operation:?}"));
        match operation {
            Operation::Open(seat) => self.ask(*seat, Session::open),
            Operation::Close(seat) => self.ask(*seat, Session::close),
            Operation::Stop(seat) => self.ask(*seat, Session::stop),
            Operation::Replace(seat, reconnect) => self.seat(*seat, *reconnect)?,
            Operation::StartHolder(place) => self.start_holder(*place)?,
            Operation::EndHolder => self.end_holder()?,
            Operation::KillHolder => {
                if let Some((_, holder)) = self.holder.take() {
                    holder.kill()?;
                }
            }
            Operation::Flood(changes) => self.flood(*changes)?,
            Operation::FloodSleepingHolder(changes) => match &self.holder {
                Some((_, holder)) => holder.while_stopped(|| self.flood(*changes))??,
                None => self.flood(*changes)?,
            },
            Operation::Pause(pause) => thread::sleep(*pause),
            Operation::NextEvent(within) => self.listener.wait_for_next(*within),
            Operation::FlushOurRoutes => self.ip("route flush proto 110"),
            Operation::DeleteRule(priority) => self.ip(&format!("rule delete priority {priority}")),
            _ => self.perform_at_place(operation)?,
        }
        Ok(())
    }

    fn perform_at_place(&mut self, operation: &Operation) -> Result<(), SoakError> {
        match operation {
            Operation::Cut(place) => drop(self.access_point(*place)?.cut()?),
            Operation::Restore(place) => drop(self.access_point(*place)?.restore()?),
            Operation::Flap(place, times) => {
                let access_point = self.access_point(*place)?;
                for _ in 0..*times {
                    access_point.cut()?;
                    access_point.restore()?;
                }
            }
            Operation::Unplug(place) => {
                self.access_point(*place)?.unplug()?;
                if let Some(place) = self.places.get_mut(*place) {
                    place.plugged = false;
                }
            }
            Operation::Plug(place, index) => self.plug(*place, *index)?,
            Operation::Rename(place) => self.rename(*place, &format!("uplink{place}")),
            Operation::RenameBack(place) => self.rename(*place, &name(*place)),
            Operation::Enslave(place) => self.ip(&format!("link set {} master {BRIDGE}", self.called(*place))),
            Operation::Release(place) => self.ip(&format!("link set {} nomaster", self.called(*place))),
            Operation::SetUp(place, up) => {
                self.ip(&format!("link set {} {}", self.called(*place), if *up { "up" } else { "down" }));
            }
            Operation::AddForeignAddress(place) => {
                self.ip(&format!("address add {} dev {}", foreign_address(*place), self.called(*place)));
            }
            Operation::RemoveForeignAddress(place) => {
                self.ip(&format!("address delete {} dev {}", foreign_address(*place), self.called(*place)));
            }
            Operation::FlushAddresses(place) => {
                self.ip(&format!("address flush dev {} scope global", self.called(*place)));
            }
            Operation::Fail(place, fault) => self.access_point(*place)?.dhcp_server()?.fail(*fault),
            Operation::FailNext(place, count, fault) => {
                self.access_point(*place)?.dhcp_server()?.fail_next(*count, *fault);
            }
            Operation::Heal(place) => self.access_point(*place)?.dhcp_server()?.heal(),
            Operation::Offer(place, address) => self.access_point(*place)?.dhcp_server()?.offer(*address),
            _ => {}
        }
        Ok(())
    }

    /// From now on nothing is wrong: everything is plugged in, has carrier, its name, its server, and no strangers.
    pub(crate) fn turn_fair(&mut self) -> Result<(), SoakError> {
        self.pulse.note("from here on nothing is wrong".to_owned());
        for place in 0..self.places.len() {
            if let Ok(server) = self.access_point(place)?.dhcp_server() {
                server.heal();
            }
            if self.places.get(place).is_some_and(|place| !place.plugged) {
                self.plug(place, None)?;
            }
            for operation in
                [Operation::Release(place), Operation::RenameBack(place), Operation::RemoveForeignAddress(place)]
            {
                self.perform(&operation)?;
            }
            self.perform(&Operation::Restore(place))?;
        }
        Ok(())
    }

    /// Waits until every session tells what `ip` says, and none is on its way.
    ///
    /// A link that had no carrier when it was tried, and was set down again, may be told to be not available.
    pub(crate) fn come_to_rest(&mut self) -> Result<(), SoakError> {
        self.rest(|told, truth| {
            told == truth || (told, truth) == (SessionState::NotAvailable, SessionState::Disconnected)
        })
    }

    fn rest(&mut self, agree: impl Fn(SessionState, SessionState) -> bool) -> Result<(), SoakError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.listener.drain();
            let Some(disagreement) = self.disagreement(&agree)? else { break };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(SoakError::Wrong(disagreement));
            }
            self.listener.wait(left);
        }
        Ok(())
    }

    /// Somebody looks at everything anew, and then it is exactly so.
    pub(crate) fn look_again(&mut self) -> Result<(), SoakError> {
        self.manager.wait_for(async |manager| manager.update_configurations().await)?;
        self.rest(|told, truth| told == truth)
    }

    pub(crate) fn end_holder(&mut self) -> Result<(), SoakError> {
        self.holder.take().map_or(Ok(()), |(_, holder)| holder.end())
    }

    /// Every access point can be opened, and a connection through it works.
    pub(crate) fn open_each(&mut self) -> Result<(), SoakError> {
        for place in &self.places {
            let tries = (0..TRIES).map(|_| self.open_and_converse(&place.name));
            let mut failed = None;
            for outcome in tries {
                failed = outcome?;
                if failed.is_none() {
                    break;
                }
            }
            if let Some(reason) = failed {
                return Err(SoakError::Wrong(format!("{} cannot be used: {reason}", place.name)));
            }
        }
        Ok(())
    }

    /// Why that failed, if it did.
    fn open_and_converse(&self, name: &str) -> Result<Option<String>, SoakError> {
        let configuration = match self.manager.find(Some(name)) {
            Ok(configuration) => configuration,
            Err(error) => return Ok(Some(error.to_string())),
        };
        let session = self.manager.session(&configuration)?;
        self.pulse.note(format!("opening {name} at the end"));
        session.open()?;
        if !session.wait_for_opened(Some(OPENING_PATIENCE))? {
            let error = session.error().map_or_else(|| "no error".to_owned(), |failure| failure.to_string());
            return Ok(Some(format!("not opened, {}: {error}", session.state())));
        }
        let stream = session.connect_tcp((INTERNET, ECHO_PORT).into());
        let talked = stream.map_err(|error| error.to_string()).and_then(|stream| {
            let mut conversation = Conversation::over(stream, OPENING_PATIENCE).map_err(|error| error.to_string())?;
            conversation.echo(b"still here").map_err(|error| error.to_string())
        });
        Ok(talked.err())
    }

    /// Closes everything, resets, and looks whether anything of ours is left.
    pub(crate) fn end(mut self, history: &History) -> Result<(), SoakError> {
        self.sessions.clear();
        self.manager.shutdown();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let embedded = Embedded::default().directories(Directories::below(self.directory.path()));
        // It takes the lock, so nobody has it any more.
        let cleared = runtime.block_on(embedded.reset())?;
        let was_killed = history.operations.contains(&Operation::KillHolder);
        if !was_killed && !cleared.is_nothing() {
            return Err(SoakError::Wrong(format!("closing everything left something behind: {cleared:?}")));
        }
        let left = self.left_of_ours()?;
        if !left.is_empty() {
            return Err(SoakError::Wrong(format!("left of ours:\n{}", left.join("\n"))));
        }
        if history.operations.iter().any(Operation::changes_how_links_are_found) {
            for place in 0..self.places.len() {
                self.access_point(place)?.unplug()?;
                let first_index = self.places.get(place).map(|place| place.first_index);
                self.plug(place, first_index)?;
            }
        }
        let now = Snapshot::take(self.lab.machine())?;
        let difference = self.before.difference(&now);
        if difference.is_empty() {
            Ok(())
        } else {
            Err(SoakError::Wrong(format!("the machine is not as before:\n{difference}")))
        }
    }

    /// Rules, routes and addresses with our tag or number, and notes.
    fn left_of_ours(&self) -> Result<Vec<String>, SoakError> {
        let machine = self.lab.machine();
        let mut left: Vec<String> = machine.rules()?.into_iter().filter(|rule| rule.starts_with("51")).collect();
        let is_ours = |route: &String| route.contains("proto 110") || route.contains(" table 21");
        left.extend(machine.routes("all")?.into_iter().filter(is_ours));
        let addresses = machine.ip_lines(&["-oneline", "address", "show"])?;
        left.extend(addresses.into_iter().filter(|address| address.contains("proto 110")));
        for entry in fs::read_dir(Directories::below(self.directory.path()).runtime)? {
            let path = entry?.path();
            if path.is_dir() {
                let notes = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
                left.extend(notes.into_iter().map(|note| note.path().display().to_string()));
            }
        }
        Ok(left)
    }

    /// The first session that tells something else than `ip` does, or is on its way.
    fn disagreement(
        &mut self,
        agree: impl Fn(SessionState, SessionState) -> bool,
    ) -> Result<Option<String>, SoakError> {
        let truths = self.places.iter().map(|place| Truth::of(self.lab.machine(), &place.name));
        let truths: Vec<Truth> = truths.collect::<Result<_, _>>()?;
        for seat in 0..self.sessions.len() {
            if self.sessions.get(seat).and_then(Option::as_ref).is_none_or(|one| one.state() == SessionState::Invalid) {
                self.seat(seat, false)?;
            }
            let place = seat % self.places.len();
            let (Some(truth), Some(name)) = (truths.get(place), self.places.get(place).map(|place| &place.name)) else {
                continue;
            };
            let Some(session) = self.sessions.get(seat).and_then(Option::as_ref) else {
                return Ok(Some(format!("{name} is no configuration, though it is there: {truth:?}")));
            };
            let told = session.snapshot();
            let agrees = agree(told.state, truth.state) && truth.is_told_by(told.interface.as_ref(), name);
            let is_open_in_vain = told.is_open && told.state != SessionState::Connected;
            let is_on_its_way = told.is_opening && self.holder.is_none();
            if !agrees || is_open_in_vain || is_on_its_way {
                return Ok(Some(format!("session {seat} on {name} tells {told:?}, but ip says {truth:?}")));
            }
        }
        Ok(self.holder.as_ref().and_then(|(place, holder)| {
            let (truth, place) = (truths.get(*place)?, self.places.get(*place)?);
            // It has found nothing to hold, or what it held was removed.
            let told = holder.told().filter(|told| told.state != SessionState::Invalid)?;
            let agrees = agree(told.state, truth.state) && truth.is_told_by(told.interface.as_ref(), &place.name);
            (!agrees).then(|| format!("the holder on {} tells {told:?}, but ip says {truth:?}", place.name))
        }))
    }

    fn start_holder(&mut self, place: Place) -> Result<(), SoakError> {
        self.end_holder()?;
        let (machine, called) = (self.lab.machine(), self.called(place));
        let holder = Holder::start(machine, self.directory.path(), &called, 1, &self.pulse)?;
        self.holder = Some((place, holder));
        Ok(())
    }

    /// Puts a new session on a seat; none if its access point is no configuration at the moment.
    fn seat(&mut self, seat: Seat, reconnect: bool) -> Result<(), SoakError> {
        let called = self.called(seat % self.places.len());
        let session = match self.manager.find(Some(&called)) {
            Ok(configuration) => Some(self.manager.session(&configuration)?),
            Err(_) => None,
        };
        if let Some(session) = &session {
            if reconnect {
                session.set_property(PropertyKey::Reconnect, Some(PropertyValue::Boolean(true)))?;
            }
            let (events, pulse) = (session.events(), self.pulse.clone());
            thread::spawn(move || write_down(seat, events, &pulse));
        }
        if let Some(place) = self.sessions.get_mut(seat) {
            *place = session;
        }
        Ok(())
    }

    /// A refused call is told as an event, too.
    fn ask(&self, seat: Seat, call: impl FnOnce(&Session) -> Result<(), netbearer::CallError>) {
        if let Some(session) = self.sessions.get(seat).and_then(Option::as_ref)
            && let Err(error) = call(session)
        {
            self.pulse.note(format!("seat {seat}: refused: {error}"));
        }
    }

    fn plug(&mut self, place: Place, index: Option<u32>) -> Result<(), SoakError> {
        let access_point = self.access_point(place)?;
        match index {
            Some(index) => access_point.plug_with_index(index)?,
            None => access_point.plug()?,
        };
        if let Some(place) = self.places.get_mut(place) {
            place.plugged = true;
            place.called.clone_from(&place.name);
        }
        Ok(())
    }

    fn rename(&mut self, place: Place, new: &str) {
        let called = self.called(place);
        if called != new {
            self.ip(&format!("link set {called} name {new}"));
        }
        if let Some(place) = self.places.get_mut(place).filter(|place| place.plugged) {
            new.clone_into(&mut place.called);
        }
    }

    fn flood(&self, changes: u32) -> Result<(), SoakError> {
        flood(self.lab.machine(), self.directory.path(), changes)
    }

    /// What somebody else does.
    fn ip(&self, arguments: &str) {
        if let Err(error) = self.lab.machine().command("ip").args(arguments.split(' ')).output() {
            self.pulse.note(format!("ip {arguments}: {error}"));
        }
    }

    fn called(&self, place: Place) -> String {
        self.places.get(place).map(|place| place.called.clone()).unwrap_or_default()
    }

    fn access_point(&self, place: Place) -> Result<&AccessPoint, SoakError> {
        Ok(self.lab.access_point(&name(place))?)
    }
}

/// Lets addresses come and go on [`FLOODED`].
pub(crate) fn flood(machine: &Namespace, directory: &Path, changes: u32) -> Result<(), SoakError> {
    let mut commands = String::new();
    for change in 0..changes / 2 {
        for verb in ["add", "delete"] {
            // Writing to a string cannot fail.
            let _ = writeln!(commands, "address {verb} 10.200.{}.1/32 dev {FLOODED}", change % 250);
        }
    }
    let batch = directory.join("flood");
    fs::write(&batch, commands)?;
    machine.command("ip").args(["-force", "-batch"]).arg(&batch).output()?;
    Ok(())
}

/// Writes down what a session tells, and complains about what it must never tell.
fn write_down(seat: Seat, events: Events<SessionEvent>, pulse: &Pulse) {
    let mut state = None;
    let mut before = None;
    for event in events {
        let line = format!("seat {seat}: {event:?}");
        if let SessionEvent::StateChanged { state: new } = event
            && state.replace(new) == Some(new)
        {
            pulse.complain(format!("the same state twice: {line}"));
        }
        let is_interest = matches!(event, SessionEvent::Opened | SessionEvent::Closed);
        if is_interest && before.as_ref() == Some(&event) {
            pulse.complain(format!("told twice: {line}"));
        }
        before = Some(event);
        pulse.beat(line);
    }
}

fn name(place: Place) -> String {
    format!("ap{place}")
}

fn foreign_address(place: Place) -> String {
    format!("172.20.{place}.7/24")
}

fn write_profile(directory: &TempDir, interface: &str, history: &History) -> Result<(), SoakError> {
    let profiles = Directories::below(directory.path()).configuration.join("profiles.d");
    fs::create_dir_all(&profiles)?;
    let (linger, release) = (history.linger.as_millis(), history.release);
    let text = format!(
        "[match]\ninterface = \"{interface}\"\n\n[access_point]\nconnect_timeout = \"3s\"\n\
         carrier_timeout = \"500ms\"\nlinger = \"{linger}ms\"\ndhcp_release = {release}\n"
    );
    Ok(fs::write(profiles.join(format!("{interface}.toml")), text)?)
}
