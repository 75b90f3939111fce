use std::{collections::BTreeMap, time::Duration};

use netbearer_core::{ClientId, Limits, MatchedProfile, Profiles, Refusal, SessionId, Settings, UserId};
use netbearer_types::{
    FailureReason, Identifier, Lifetime, Matching, Profile, PropertyKey, PropertyValue, SessionState,
};
use proptest::prelude::{Strategy, any};

use crate::{
    coverage::Coverage,
    heard::Public,
    model::Model,
    operation::{Kind, Operation},
    promises::Promises,
    scene::{Scene, device_of},
    simulated::{Foreign, Simulated},
};

const CLIENTS: [(ClientId, UserId); 3] =
    [(ClientId(1), UserId(1000)), (ClientId(2), UserId(1000)), (ClientId(3), UserId(1001))];
const MOST_SESSIONS: usize = 8;
const LONGEST: usize = 120;
const FILES: [&str; 2] = ["home", "office"];

/// A machine to begin with, and what happens to it.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    places: Vec<Beginning>,
    /// The first device has two exclusive access points.
    is_shared: bool,
    has_tiny_limits: bool,
    serves_all_processes: bool,
    is_enumerated: bool,
    operations: Vec<Operation>,
}

/// How an access point begins.
#[derive(Clone, Copy, Debug)]
struct Beginning {
    profile: u8,
    is_up: bool,
    has_cable: bool,
    foreign: u8,
}

impl Script {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let beginning =
            (0_u8..8, any::<[bool; 2]>(), 0_u8..16).prop_map(|(profile, [is_up, has_no_cable], foreign)| Beginning {
                profile,
                is_up,
                has_cable: !has_no_cable || foreign < 8,
                foreign,
            });
        let places = proptest::collection::vec(beginning, 2..=3);
        let operations = proptest::collection::vec(Operation::any(), 1..=LONGEST);
        (places, 0_u8..4, any::<[bool; 3]>(), operations).prop_map(
            |(places, limits, [is_shared, serves_all_processes, is_enumerated], operations)| Self {
                places,
                is_shared,
                has_tiny_limits: limits == 3,
                serves_all_processes,
                is_enumerated,
                operations,
            },
        )
    }

    fn settings(&self) -> Settings {
        let limits = if self.has_tiny_limits { Limits { sessions: 2, watchers: 3 } } else { Limits::default() };
        let profiles = self.places.iter().enumerate();
        let is_plain = |place: usize| place > 0 || !self.is_shared;
        let plain = profiles.clone().filter(|(place, _)| is_plain(*place));
        let by_interface = plain.map(|(place, beginning)| (name(place), beginning.profile(place))).collect();
        let by_file = profiles.filter(|(place, _)| !is_plain(*place)).flat_map(|(_, beginning)| beginning.files());
        let profiles = Profiles { by_interface, by_file: by_file.collect(), ..Profiles::default() };
        Settings { profiles, limits, serves_all_processes: self.serves_all_processes }
    }

    /// What engines know.
    fn devices(&self) -> Vec<Identifier> {
        (0..self.places.len()).map(|place| name(place).into()).collect()
    }

    fn access_points(&self) -> Vec<Identifier> {
        let exclusive = self.is_shared.then(|| FILES.map(|file| format!("{}/{file}", name(0)).into()));
        let rest = self.devices().into_iter().skip(usize::from(self.is_shared));
        exclusive.into_iter().flatten().chain(rest).collect()
    }
}

impl Beginning {
    /// Home and office, of the first device.
    fn files(self) -> [(String, MatchedProfile); 2] {
        let matching = Matching { interface: Some(name(0)), ..Matching::default() };
        FILES.map(|file| {
            let is_home = file == FILES[0];
            let preference = i32::from(is_home == (self.profile < 4));
            let profile = Profile { exclusive: true, preference, ..self.profile(usize::from(is_home)) };
            (file.to_owned(), MatchedProfile { matching: matching.clone(), profile })
        })
    }

    /// The first access point never lingers.
    fn profile(self, place: usize) -> Profile {
        let [short, long] = [Duration::from_secs(1), Duration::from_secs(3)];
        let mut profile = Profile::default();
        if place > 0 && !self.profile.is_multiple_of(4) {
            profile.linger = Duration::from_secs(2);
        }
        if self.profile % 4 >= 2 && place == 1 {
            profile.lifetime = Lifetime::OnDemand;
        }
        if self.profile >= 4 {
            (profile.carrier_timeout, profile.connect_timeout) = (short, long);
        }
        if self.profile == 7 {
            profile.carrier_timeout = long;
        }
        profile
    }

    fn access_point(self, place: usize) -> Simulated {
        let mut access_point = Simulated::new(name(place).into());
        access_point.is_up = self.is_up;
        access_point.has_cable = self.has_cable;
        access_point.foreign = foreign(self.foreign);
        access_point
    }
}

/// A history: the core, the model and the promises side by side.
pub(crate) struct History {
    scene: Scene,
    model: Model,
    promises: Promises,
    coverage: Coverage,
    limits: Limits,
    /// Access points, and the devices that engines know.
    names: Vec<Identifier>,
    devices: Vec<Identifier>,
    clients: BTreeMap<ClientId, UserId>,
    sessions: Vec<(SessionId, ClientId)>,
    pending_refreshes: usize,
    is_enumerated: bool,
    has_engine: bool,
}

impl History {
    /// Plays a whole history, and says what it met.
    pub(crate) fn play(script: &Script) -> Coverage {
        let mut history = Self::begin(script);
        for operation in &script.operations {
            history.perform(*operation);
        }
        history.end();
        history.coverage
    }

    fn begin(script: &Script) -> Self {
        let settings = script.settings();
        let (names, devices) = (script.access_points(), script.devices());
        let beginnings = script.places.iter().enumerate();
        let machine = beginnings.map(|(place, beginning)| (name(place).into(), beginning.access_point(place)));
        let scene = Scene::new(settings.clone(), machine);
        let mut history = Self {
            model: Model::new(settings.clone(), scene.now),
            scene,
            promises: Promises::default(),
            coverage: Coverage::default(),
            limits: settings.limits,
            names: names.clone(),
            devices: devices.clone(),
            clients: BTreeMap::new(),
            sessions: Vec::new(),
            pending_refreshes: 0,
            is_enumerated: false,
            has_engine: true,
        };
        for (client, user) in CLIENTS {
            history.come(client, user);
        }
        for device in &devices {
            history.report(device);
        }
        if script.is_enumerated {
            history.enumerate();
        }
        for ((client, _), place) in CLIENTS.into_iter().zip(&names) {
            history.create(client, place);
        }
        history
    }

    /// Performs an operation if it can happen now.
    fn perform(&mut self, operation: Operation) {
        let picked = self.picked_place(operation);
        // What happens to a device happens to the access point that has it.
        let place = device_of(&picked);
        let is_about_sessions = matches!(operation.kind, Kind::Create | Kind::Leave);
        let met = if is_about_sessions { picked.clone() } else { self.model.owner_of(&place) };
        let situation = self.model.situation(&met);
        match operation.kind {
            Kind::Create => {
                let clients: Vec<ClientId> = self.clients.keys().copied().collect();
                if self.sessions.len() < MOST_SESSIONS && !clients.is_empty() {
                    self.coverage.count(situation, operation.kind);
                    self.create(clients[usize::from(operation.pick) % clients.len()], &picked);
                }
            }
            Kind::Drop | Kind::Open | Kind::Close | Kind::Stop | Kind::SetReconnect | Kind::UnsetReconnect => {
                if let Some((id, _)) = self.picked_session(operation) {
                    self.coverage.count(self.model.situation_of(id), operation.kind);
                    self.ask(operation.kind, id);
                }
            }
            Kind::BringUp => {
                if let Some((id, _)) = self.picked_session(operation) {
                    self.coverage.count(self.model.situation_of(id), operation.kind);
                    self.ask(Kind::Open, id);
                    let place = device_of(&self.scene.core.session_configuration(id).expect("it exists").identifier);
                    while self.hears_of(&place) && self.machine(&place).step() {
                        self.report(&place);
                    }
                }
            }
            Kind::Leave => {
                self.coverage.count(situation, operation.kind);
                for (id, _) in self.sessions.clone() {
                    if self.scene.core.session_configuration(id).expect("it exists").identifier == picked {
                        self.ask(Kind::Close, id);
                    }
                }
            }
            Kind::KillClient => {
                if let Some((_, client)) = self.picked_session(operation) {
                    for (id, _) in self.sessions.iter().filter(|(_, owner)| *owner == client) {
                        self.coverage.count(self.model.situation_of(*id), operation.kind);
                    }
                    self.kill(client);
                }
            }
            Kind::RequestUpdate => {
                if let Some((_, client)) = self.picked_session(operation) {
                    self.count_everywhere(operation.kind);
                    self.scene.core.update_configurations(client);
                    self.model.request_update(client);
                    self.pending_refreshes += usize::from(self.has_engine);
                    self.check(None);
                }
            }
            Kind::RepeatStale => {
                let report = self.scene.machine[&place].stale_report();
                if let Some(report) = report.filter(|_| self.hears_of(&place)) {
                    self.coverage.count(situation, operation.kind);
                    self.scene.core.handle_report(report.clone(), self.scene.now);
                    self.model.report(&report, false);
                    self.check(None);
                }
            }
            Kind::RemoveAndAdd | Kind::Remove => {
                if self.hears_of(&place) && self.machine(&place).cease() {
                    self.coverage.count(situation, operation.kind);
                    self.scene.core.handle_removed(&place, "it was enslaved to a bridge", self.scene.now);
                    self.model.removed(&place);
                    self.check(None);
                    if operation.kind == Kind::RemoveAndAdd {
                        self.machine(&place).is_access_point = true;
                        self.report(&place);
                    }
                }
            }
            Kind::Add => {
                if self.has_engine && !self.scene.machine[&place].is_access_point {
                    self.coverage.count(situation, operation.kind);
                    self.machine(&place).is_access_point = true;
                    self.report(&place);
                }
            }
            Kind::Enumerate => {
                if self.has_engine && !self.is_enumerated {
                    self.count_everywhere(operation.kind);
                    self.enumerate();
                }
            }
            Kind::Refresh => {
                if self.has_engine && self.pending_refreshes > 0 {
                    self.count_everywhere(operation.kind);
                    self.refresh();
                }
            }
            Kind::Ignore => {
                self.count_everywhere(operation.kind);
                self.scene.core.handle_ignored("lo".to_owned(), "it is a loopback".to_owned(), self.scene.now);
                self.check(None);
            }
            Kind::FailEngine => {
                // Rare, for not much can happen after it.
                if self.has_engine && operation.pick < 200 {
                    self.count_everywhere(operation.kind);
                    self.fail_engine();
                }
            }
            Kind::PassLittle | Kind::PassLong | Kind::PassToDeadline => {
                self.count_everywhere(operation.kind);
                self.pass(operation);
            }
            Kind::Shutdown => {
                self.count_everywhere(operation.kind);
                self.scene.core.handle_shutdown(self.scene.now);
                self.model.shutdown();
                self.check(None);
            }
            _ => {
                if self.hears_of(&place) && change(self.machine(&place), operation) {
                    self.coverage.count(situation, operation.kind);
                    if operation.is_seen() {
                        self.report(&place);
                    }
                }
            }
        }
    }

    fn picked_place(&self, operation: Operation) -> Identifier {
        let rarest = self.names.iter().max_by_key(|name| self.model.situation(name).rarity());
        let any = &self.names[usize::from(operation.place) % self.names.len()];
        rarest.filter(|_| operation.seeks_the_rare()).unwrap_or(any).clone()
    }

    fn picked_session(&self, operation: Operation) -> Option<(SessionId, ClientId)> {
        let rarest = self.sessions.iter().max_by_key(|(id, _)| self.model.situation_of(*id).rarity());
        let count = self.sessions.len().max(1);
        let any = self.sessions.get(usize::from(operation.pick) % count);
        rarest.filter(|_| operation.seeks_the_rare()).or(any).copied()
    }

    fn count_everywhere(&mut self, kind: Kind) {
        for place in &self.names {
            self.coverage.count(self.model.situation(place), kind);
        }
    }

    fn machine(&mut self, place: &Identifier) -> &mut Simulated {
        self.scene.machine.get_mut(place).expect("every place is simulated")
    }

    fn hears_of(&self, place: &Identifier) -> bool {
        self.has_engine && self.scene.machine[place].is_access_point
    }

    fn come(&mut self, client: ClientId, user: UserId) {
        self.scene.core.handle_client(client, user);
        self.model.client(client, user);
        self.clients.insert(client, user);
    }

    fn create(&mut self, client: ClientId, place: &Identifier) {
        let created = self.scene.core.create_session(client, place);
        assert_eq!(created.is_ok(), self.model.may_create(client), "{created:?}");
        if let Ok(id) = created {
            self.model.create(id, client, place);
            self.promises.created(id, self.clients[&client], place, &self.scene);
            self.sessions.push((id, client));
        }
        self.check(None);
    }

    fn ask(&mut self, kind: Kind, id: SessionId) {
        let now = self.scene.now;
        let before = self.getters();
        let outcome = match kind {
            Kind::Drop => {
                self.scene.core.drop_session(id, now);
                self.model.drop(id);
                self.promises.dropped(id);
                self.sessions.retain(|(other, _)| *other != id);
                self.check(None);
                return;
            }
            Kind::Open => {
                let outcome = self.scene.core.open(id, now);
                assert_eq!(outcome.is_ok(), self.model.open(id), "{outcome:?}");
                if outcome.is_ok() {
                    self.promises.accepted(id);
                }
                outcome
            }
            Kind::Close => {
                self.model.close(id);
                self.scene.core.close(id, now)
            }
            Kind::Stop => {
                let outcome = self.scene.core.stop(id, now);
                assert_eq!(outcome.is_ok(), self.model.stop(id), "{outcome:?}");
                outcome
            }
            _ => {
                let reconnect = kind == Kind::SetReconnect;
                self.model.set_reconnect(id, reconnect);
                let value = reconnect.then_some(PropertyValue::Boolean(true));
                self.scene.core.set_property(id, PropertyKey::Reconnect, value)
            }
        };
        let refused = outcome.is_err().then_some(id);
        if let Err(refusal) = outcome {
            let is_known = matches!(refusal, Refusal::TooManySessions(_) | Refusal::NotSupported(_) | Refusal::Busy(_));
            assert!(is_known, "{refusal}");
            assert_eq!(self.getters(), before, "a refused call changes nothing");
        }
        self.check(refused);
    }

    /// All that can be asked but failures.
    fn getters(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let core = &self.scene.core;
        let sessions: Vec<_> = self
            .sessions
            .iter()
            .map(|(id, _)| {
                let snapshot = core.session(*id).map(|mut snapshot| {
                    snapshot.failure = None;
                    snapshot
                });
                let properties: Vec<_> = PropertyKey::ALL.into_iter().map(|key| core.property(*id, key)).collect();
                (snapshot, properties, core.session_configuration(*id))
            })
            .collect();
        let holds: Vec<_> = self.names.iter().map(|name| (core.holds(name), core.is_adopted(name))).collect();
        (sessions, holds, core.configurations(None), core.poll_timeout(), core.is_at_rest(), core.capabilities())
    }

    /// A killed client comes back under another name, as a new process of the same user would.
    fn kill(&mut self, client: ClientId) {
        let theirs = |(id, owner): &(SessionId, ClientId)| (*owner == client).then_some(*id);
        let ids: Vec<SessionId> = self.sessions.iter().filter_map(theirs).collect();
        for id in &ids {
            self.promises.dropped(*id);
        }
        self.scene.core.handle_client_gone(client, self.scene.now);
        self.model.client_gone(client);
        self.sessions.retain(|(id, _)| !ids.contains(id));
        let user = self.clients.remove(&client).expect("it was alive");
        self.check(None);
        self.come(ClientId(client.0 + 10), user);
    }

    fn report(&mut self, place: &Identifier) {
        let report = self.scene.machine[place].report();
        let newest = self.scene.newest.get(place).copied();
        let is_news = report.progress.as_ref().is_some_and(|progress| Some(progress.number) == newest);
        self.scene.core.handle_report(report.clone(), self.scene.now);
        self.model.report(&report, is_news);
        self.check(None);
    }

    fn enumerate(&mut self) {
        self.is_enumerated = true;
        self.scene.core.handle_enumerated(self.scene.now);
        self.model.enumerated();
        self.check(None);
    }

    fn refresh(&mut self) {
        self.pending_refreshes -= 1;
        self.scene.core.handle_refreshed(self.scene.now);
        self.model.refreshed();
        self.check(None);
    }

    fn fail_engine(&mut self) {
        self.has_engine = false;
        for access_point in self.scene.machine.values_mut() {
            access_point.cease();
        }
        self.scene.core.handle_engine_failed("the kernel is gone", self.scene.now);
        self.model.engine_failed();
        self.check(None);
    }

    fn pass(&mut self, operation: Operation) {
        let later = |milliseconds| self.scene.now + Duration::from_millis(milliseconds);
        let twist = u64::from(operation.twist);
        let then = match operation.kind {
            Kind::PassLittle => later(10 + twist),
            Kind::PassLong => later(1000 * (1 + twist / 3)),
            _ => self.scene.core.poll_timeout().unwrap_or(self.scene.now).max(self.scene.now),
        };
        self.pass_until(then);
    }

    fn pass_until(&mut self, then: netbearer_types::Moment) {
        self.scene.now = then;
        self.scene.core.handle_timeout(then);
        self.model.time(then);
        self.check(None);
        let next = self.scene.core.poll_timeout();
        assert!(next.is_none_or(|next| next > then), "the next timeout lies in the future");
    }

    /// Compares what was said with what the model says, and lets the promises judge.
    fn check(&mut self, refused: Option<SessionId>) {
        let heard = self.scene.hear();
        let expected = std::mem::take(&mut self.model.heard);
        assert_eq!(heard, expected, "\nheard (left) is not what the semantics say (right)");
        self.promises.check(&heard, refused, &self.scene, self.limits);
        for (id, _) in &self.sessions {
            let snapshot = self.scene.core.session(*id).expect("it exists");
            assert_eq!(snapshot.state, self.model.state(*id));
            assert_eq!(snapshot.is_open, self.model.is_open(*id));
            assert_eq!(snapshot.is_opening, self.model.is_opening(*id) || self.model.is_waiting(*id));
            let failure = snapshot.failure.map(|failure| (failure.error, failure.reason));
            assert_eq!(failure, self.model.failure(*id));
        }
        for name in &self.names {
            assert_eq!(self.scene.core.holds(name), self.model.holds(name), "{name}: holds");
            let configuration = self.scene.core.configuration(name);
            assert_eq!(configuration.as_ref().map(Public::of), self.model.public(name));
        }
        assert_eq!(self.scene.core.poll_timeout(), self.model.deadline(), "the next timeout");
    }

    // The end: the world turns fair.

    fn end(&mut self) {
        if self.has_engine && !self.is_enumerated {
            self.enumerate();
        }
        self.be_fair();
        for (id, _) in &self.sessions {
            let state = self.model.state(*id);
            assert!(!self.model.is_opening(*id), "session {id} opens for ever");
            assert!(!matches!(state, SessionState::Closing | SessionState::Connecting), "session {id} is {state}");
            let place = &self.scene.core.session_configuration(*id).expect("it exists").identifier;
            let is_patient = self.model.is_waiting(*id);
            assert!(!is_patient || !self.model.could_be_started(place), "session {id} waits for what is there");
        }
        for device in &self.devices {
            let mut access_points = self.names.iter().filter(|place| device_of(place) == *device);
            let is_held = access_points.any(|place| self.scene.core.holds(place) > 0);
            let is_as_found = self.scene.machine[device].is_as_found();
            assert!(is_held || is_as_found, "{device} is left configured for nobody");
        }
        for place in self.names.clone() {
            let is_held = self.scene.core.holds(&place) > 0;
            assert!(is_held || !self.model.lingers_on_demand(&place), "{place} lingers for ever");
        }
        while self.has_engine && self.pending_refreshes > 0 {
            self.refresh();
        }
        for client in self.clients.keys().copied().collect::<Vec<_>>() {
            self.kill(client);
        }
        self.be_fair();
        assert!(self.scene.core.is_at_rest(), "nothing of ours is left");
        assert!(self.scene.machine.values().all(Simulated::is_as_found), "everything is as it was found");
        assert_eq!(self.scene.core.poll_timeout(), None, "nothing is waited for");
    }

    /// Engines complete what they were asked for, and time passes until nothing is left to wait for.
    fn be_fair(&mut self) {
        for _ in 0..100 {
            let mut is_quiet = true;
            for place in self.devices.clone() {
                if self.hears_of(&place) {
                    self.report(&place);
                    is_quiet &= !self.machine(&place).reach();
                    self.report(&place);
                }
            }
            if let Some(next) = self.scene.core.poll_timeout() {
                is_quiet = false;
                self.pass_until(next.max(self.scene.now));
            }
            if is_quiet {
                return;
            }
        }
        panic!("a fair world never comes to rest");
    }
}

/// Does to one access point what an operation says; true if that was anything.
fn change(access_point: &mut Simulated, operation: Operation) -> bool {
    let is_odd = operation.pick % 2 == 1;
    match operation.kind {
        Kind::PullCable => access_point.pull_cable(),
        Kind::PushCable => access_point.push_cable(),
        Kind::Flap => access_point.flap(),
        Kind::Unplug => access_point.unplug(),
        Kind::Replug => access_point.replug(is_odd, foreign(operation.twist / 16)),
        Kind::Replace => {
            let (is_up, addresses) = (access_point.is_up, access_point.foreign);
            access_point.unplug() && access_point.replug(is_up || is_odd, addresses)
        }
        Kind::AddForeignAddress => {
            access_point.foreign == Foreign::Nothing && access_point.set_foreign(foreign(operation.pick % 8))
        }
        Kind::RemoveForeignAddress => access_point.set_foreign(Foreign::Nothing),
        Kind::SetUp => access_point.set_up(true),
        Kind::SetDown => access_point.set_up(false),
        Kind::ChangeGateway => access_point.change_gateway(),
        Kind::LosePrivilege => access_point.set_privilege(false),
        Kind::GainPrivilege => access_point.set_privilege(true),
        Kind::Step => access_point.step(),
        Kind::Reach => access_point.reach(),
        Kind::FailStep => access_point.fail(match operation.pick % 3 {
            0 => FailureReason::KernelRefused,
            1 => FailureReason::NoLease,
            _ => FailureReason::MissingPrivilege("CAP_NET_ADMIN".to_owned()),
        }),
        Kind::LoseLease => access_point.lose_lease(is_odd),
        Kind::RegainSameLease => access_point.regain_lease(2),
        Kind::RegainOtherLease => access_point.regain_lease(3),
        Kind::ExpireLease => access_point.expire_lease(),
        Kind::Repeat => true,
        other => panic!("{other:?} is not done to one access point"),
    }
}

fn name(place: usize) -> String {
    format!("ap{place}")
}

/// Usable more often than not.
const fn foreign(lot: u8) -> Foreign {
    match lot {
        0 => Foreign::LinkLocal,
        1 => Foreign::Tentative,
        2 => Foreign::WithoutRoutes,
        3 => Foreign::WithoutDefaultRoute,
        4..8 => Foreign::Usable,
        _ => Foreign::Nothing,
    }
}
