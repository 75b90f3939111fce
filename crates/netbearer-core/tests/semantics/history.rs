use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use netbearer_core::{
    Client, ClientId, HoldId, Limits, MatchedProfile, Profiles, Refusal, Rights, SessionId, Settings, Token, UserId,
};
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
        let limits = if self.has_tiny_limits {
            Limits { sessions: 2, watchers: 3, ..Limits::default() }
        } else {
            Limits::default()
        };
        let profiles = self.places.iter().enumerate();
        let is_plain = |place: usize| place > 0 || !self.is_shared;
        let plain = profiles.clone().filter(|(place, _)| is_plain(*place));
        let by_interface = plain.map(|(place, beginning)| (name(place), beginning.profile(place))).collect();
        let by_file = profiles.filter(|(place, _)| !is_plain(*place)).flat_map(|(_, beginning)| beginning.files());
        let profiles = Profiles { by_interface, by_file: by_file.collect(), ..Profiles::default() };
        Settings { profiles, limits, serves_all_processes: self.serves_all_processes, ..Settings::default() }
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
    settings: Settings,
    /// It is a service for all processes: holds are descriptors, and it is killed and started anew.
    is_shared: bool,
    /// Descriptors that somebody has a copy of.
    descriptors: BTreeSet<HoldId>,
    next_descriptor: u64,
    /// Clients without a service, and the sessions that they will look for.
    away: BTreeMap<ClientId, (UserId, Vec<SessionId>)>,
    next_client: u64,
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
            settings: settings.clone(),
            is_shared: settings.serves_all_processes,
            descriptors: BTreeSet::new(),
            next_descriptor: 1,
            away: BTreeMap::new(),
            next_client: 11,
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
            Kind::PassOn => {
                if let Some((id, _)) = self.picked_session(operation).filter(|_| self.is_shared) {
                    self.coverage.count(self.model.situation_of(id), operation.kind);
                    let hold = self.new_descriptor();
                    let outcome = self.scene.core.add_hold(id, hold);
                    assert_eq!(outcome.is_ok(), self.model.pass_on(id, hold), "{outcome:?}");
                    if outcome.is_ok() {
                        self.descriptors.insert(hold);
                    }
                    self.check(None);
                }
            }
            Kind::CloseDescriptor => {
                if let Some((hold, id)) = self.picked_descriptor(operation) {
                    self.coverage.count(self.model.situation_of(id), operation.kind);
                    self.close_descriptor(hold);
                }
            }
            Kind::ChangeRights => {
                if let Some((id, client)) = self.picked_session(operation) {
                    self.coverage.count(self.model.situation_of(id), operation.kind);
                    let lot = operation.twist % 8;
                    let rights = Rights { may_open: lot != 0, may_control: lot > 2 };
                    self.describe(client, Client { rights, ..Client::of_user(self.clients[&client]) });
                    self.check(None);
                }
            }
            Kind::Return => {
                let count = self.away.len().max(1);
                if let Some(client) = self.away.keys().nth(usize::from(operation.pick) % count).copied() {
                    self.count_everywhere(operation.kind);
                    self.return_from_outage(client);
                }
            }
            Kind::KillService => {
                if self.is_shared {
                    self.count_everywhere(operation.kind);
                    self.kill_service(operation, &place);
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
                    self.kill(client, operation.twist % 4);
                }
            }
            Kind::RequestUpdate => {
                if let Some((_, client)) = self.picked_session(operation) {
                    self.count_everywhere(operation.kind);
                    let accepted = self.scene.core.update_configurations(client).is_ok();
                    assert_eq!(accepted, self.model.request_update(client));
                    self.pending_refreshes += usize::from(self.has_engine && accepted);
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
                if self.hears_of(&place) && self.scene.machine[&place].is_known && self.machine(&place).cease() {
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

    /// An engine says nothing of what is unplugged before it has seen it.
    fn hears_of(&self, place: &Identifier) -> bool {
        let simulated = &self.scene.machine[place];
        self.has_engine && simulated.is_access_point && (simulated.is_known || simulated.is_plugged_in)
    }

    fn picked_descriptor(&self, operation: Operation) -> Option<(HoldId, SessionId)> {
        let held_by = |hold: &HoldId| (*hold, self.model.held_by(*hold).expect("a descriptor holds or is revoked"));
        let all: Vec<(HoldId, SessionId)> = self.descriptors.iter().map(held_by).collect();
        let rarest = all.iter().max_by_key(|(_, id)| self.model.situation_of(*id).rarity());
        let any = all.get(usize::from(operation.pick) % all.len().max(1));
        rarest.filter(|_| operation.seeks_the_rare()).or(any).copied()
    }

    fn new_descriptor(&mut self) -> HoldId {
        self.next_descriptor += 1;
        HoldId(self.next_descriptor - 1)
    }

    fn describe(&mut self, client: ClientId, description: Client) {
        self.scene.core.handle_client(client, description.clone());
        self.model.client(client, description);
    }

    fn come(&mut self, client: ClientId, user: UserId) {
        self.describe(client, Client::of_user(user));
        self.clients.insert(client, user);
    }

    fn create(&mut self, client: ClientId, place: &Identifier) {
        let created = self.scene.core.create_session(client, place);
        assert_eq!(created.is_ok(), self.model.may_create(client), "{created:?}");
        if let Ok(id) = created {
            self.model.create(id, client, place);
            if self.is_shared {
                self.scene.core.give_token(id, token_of(id));
                self.model.give_token(id);
            }
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
                let outcome = self.open(id);
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
            let is_denied = matches!(refusal, Refusal::Denied(_));
            let is_known = matches!(refusal, Refusal::TooManySessions(_) | Refusal::NotSupported(_) | Refusal::Busy(_));
            assert!(is_known || is_denied, "{refusal}");
            let closes = is_denied && kind == Kind::Stop;
            assert!(closes || self.getters() == before, "a refused call changes nothing");
            if closes {
                return self.check(None);
            }
        }
        self.check(refused);
    }

    /// Where holds are descriptors, the caller gets the one that is in force.
    fn open(&mut self, id: SessionId) -> Result<(), Refusal> {
        let now = self.scene.now;
        if !self.is_shared {
            let outcome = self.scene.core.open(id, now);
            assert_eq!(outcome.is_ok(), self.model.open(id), "{outcome:?}");
            return outcome;
        }
        let hold = self.new_descriptor();
        let outcome = self.scene.core.open_held(id, hold, now);
        assert_eq!(outcome.clone().ok(), self.model.open_held(id, hold), "{outcome:?}");
        self.descriptors.extend(outcome.clone().ok().flatten());
        outcome.map(|_| ())
    }

    fn close_descriptor(&mut self, hold: HoldId) {
        if let Some(id) = self.model.held_by(hold) {
            // Who closes its own while the service is away takes itself for closed.
            self.promises.closed_while_away(id);
        }
        self.scene.core.handle_hold_gone(hold, self.scene.now);
        self.model.hold_gone(hold);
        self.descriptors.remove(&hold);
        self.check(None);
    }

    /// A client is there again after an outage, under another name.
    fn return_from_outage(&mut self, client: ClientId) {
        let (user, sessions) = self.away.remove(&client).expect("it was picked");
        let client = ClientId(self.next_client);
        self.next_client += 1;
        self.come(client, user);
        for id in sessions {
            let attached = self.scene.core.attach_session(client, token_of(id), self.scene.now);
            let expected = self.model.attach(client, id);
            assert_eq!(attached.is_ok(), expected, "{attached:?}");
            match attached {
                Ok(attached) => {
                    assert_eq!(attached, id);
                    self.promises.attached(id, &self.scene);
                    self.sessions.push((id, client));
                }
                Err(_) => self.promises.dropped(id),
            }
            self.check(None);
        }
    }

    /// The service is killed, perhaps in the middle of a call, things happen, and another one goes on from what was kept.
    fn kill_service(&mut self, operation: Operation, place: &Identifier) {
        let Operation { pick, twist, .. } = operation;
        for (id, _) in &self.sessions {
            self.promises.away(*id, &self.scene);
        }
        let unknown = self.die_in_a_call(operation).filter(|_| twist % 2 == 0);
        let kinds = [
            Kind::PullCable,
            Kind::Flap,
            Kind::Unplug,
            Kind::Replace,
            Kind::RemoveForeignAddress,
            Kind::AddForeignAddress,
            Kind::SetDown,
            Kind::LosePrivilege,
        ];
        if !self.has_engine {
            self.scene.machine.values_mut().for_each(|simulated| simulated.is_access_point = true);
        }
        match kinds.get(usize::from(pick % 16)) {
            Some(kind) => {
                change(self.machine(place), Operation { kind: *kind, ..operation });
            }
            None if pick % 16 == 8 => self.machine(place).lease = None,
            None => {}
        }
        self.scene.restart(self.settings.clone());
        // Else what is public would be told only with what the next of its steps has made of it.
        self.scene.listen();
        self.model.restart();
        self.promises.restart();
        (self.is_enumerated, self.has_engine, self.pending_refreshes) = (false, true, 0);
        for (client, user) in std::mem::take(&mut self.clients) {
            let sessions = self.sessions.iter().filter(|(_, owner)| *owner == client).map(|(id, _)| *id).collect();
            self.away.insert(client, (user, sessions));
        }
        self.sessions.clear();
        // What holds nothing in what was kept is cleared away, and what nobody has got is gone.
        let kept: BTreeSet<HoldId> = self.scene.saved.holds().collect();
        self.descriptors.retain(|hold| kept.contains(hold));
        if let Some(hold) = unknown.filter(|hold| kept.contains(hold)) {
            self.descriptors.insert(hold);
            self.close_descriptor(hold);
        }
        let meanwhile = self.descriptors.iter().nth(usize::from(twist / 16)).copied();
        if let Some(hold) = meanwhile.filter(|_| twist % 4 < 2) {
            self.close_descriptor(hold);
        }
        self.check(None);
        if pick < 192 {
            self.enumerate();
        }
    }

    /// What is decided and kept, and then neither carried out nor told. Some: a descriptor that nobody has got.
    fn die_in_a_call(&mut self, operation: Operation) -> Option<HoldId> {
        let now = self.scene.now;
        let (id, _) = self.picked_session(operation)?;
        match operation.pick % 8 {
            0..3 => {
                let hold = self.new_descriptor();
                let outcome = self.scene.core.open_held(id, hold, now);
                assert_eq!(outcome.clone().ok(), self.model.open_held(id, hold), "{outcome:?}");
                let in_force = outcome.ok().flatten();
                self.descriptors.extend(in_force);
                self.promises.opened_while_away(id);
                in_force.filter(|in_force| *in_force == hold)
            }
            3 => {
                let _ = self.scene.core.stop(id, now);
                self.model.stop(id);
                None
            }
            4 => {
                let _ = self.scene.core.close(id, now);
                self.model.close(id);
                self.promises.closed_while_away(id);
                None
            }
            _ => None,
        }
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

    /// A client is killed or cut off, and what it had goes with it, before or after it, or is also had by others. A killed one
    /// comes back under another name, as a new process of the same user would; one that was cut off looks for its sessions.
    fn kill(&mut self, client: ClientId, how: u8) {
        let theirs = |(id, owner): &(SessionId, ClientId)| (*owner == client).then_some(*id);
        let ids: Vec<SessionId> = self.sessions.iter().filter_map(theirs).collect();
        let own: Vec<HoldId> = ids.iter().filter_map(|id| self.model.own_hold(*id)).collect();
        if how == 0 {
            own.iter().for_each(|hold| self.close_descriptor(*hold));
        }
        for id in &ids {
            if how == 3 {
                self.promises.away(*id, &self.scene);
            } else {
                self.promises.dropped(*id);
            }
        }
        self.scene.core.handle_client_gone(client, self.scene.now);
        self.model.client_gone(client);
        self.sessions.retain(|(id, _)| !ids.contains(id));
        let user = self.clients.remove(&client).expect("it was alive");
        self.check(None);
        match how {
            1 => own.iter().for_each(|hold| self.close_descriptor(*hold)),
            3 => {
                self.away.insert(client, (user, ids));
                return;
            }
            _ => {}
        }
        let client = ClientId(self.next_client);
        self.next_client += 1;
        self.come(client, user);
    }

    fn report(&mut self, place: &Identifier) {
        if !self.hears_of(place) {
            return;
        }
        self.machine(place).is_known = true;
        let report = self.scene.machine[place].report();
        let newest = self.scene.newest.get(place).copied();
        let is_news = report.progress.as_ref().is_some_and(|progress| Some(progress.number) == newest);
        self.scene.core.handle_report(report.clone(), self.scene.now);
        self.model.report(&report, is_news);
        self.check(None);
    }

    fn enumerate(&mut self) {
        for place in self.devices.clone() {
            if !self.scene.machine[&place].is_known {
                self.report(&place);
            }
        }
        self.is_enumerated = true;
        self.scene.enumerate();
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
        let described = self.scene.core.session_descriptions();
        self.promises.check(&heard, refused, &described, &self.scene, self.limits);
        self.descriptors.retain(|hold| !heard.revoked.contains(hold));
        let described: Vec<_> = described
            .iter()
            .map(|one| (one.session, one.owned, one.state, one.is_open, one.is_opening, one.descriptors))
            .collect();
        assert_eq!(described, self.model.sessions(), "who has what");
        let count: u32 = described.iter().map(|(.., descriptors)| descriptors).sum();
        assert_eq!(count as usize, self.descriptors.len(), "what holds is what somebody has");
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
            self.kill(client, 2);
        }
        for hold in self.descriptors.clone() {
            self.close_descriptor(hold);
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

const fn token_of(session: SessionId) -> Token {
    Token(session.0 as u128)
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
