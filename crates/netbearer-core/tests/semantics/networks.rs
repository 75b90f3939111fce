//! Random histories of sessions on service networks and user choices, side by side with sessions on their members, which may
//! share devices. What must hold is written down here once more, from outside: what each session is told, what the ledger
//! counts, and how it all ends.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use netbearer_core::{
    Client, ClientId, CourseKind, HoldId, MatchedProfile, Profiles, QuestionNumber, Refusal, RoamCause,
    SessionDescription, SessionId, Settings, TRANSITIONS, Token, UserId, Verdict,
};
use netbearer_types::{
    FailureReason, Identifier, Kind, Lifetime, Matching, OfferNumber, OfferPhase, Profile, PropertyKey, PropertyValue,
    RoamingSnapshot, ServiceNetworkProfile, SessionError, SessionSnapshot, SessionState, SocketCookie, SocketEnd,
    StateFlags, UserChoiceProfile, differences,
};
use proptest::{
    prelude::{Strategy, any, prop_oneof},
    test_runner::{Config, FileFailurePersistence, TestRunner},
};

use crate::{
    heard::Told,
    histories::histories_and_seed,
    scene::{Scene, device_of},
    simulated::{Foreign, Simulated},
    verb::Verb,
};

/// What histories are about.
#[derive(Debug)]
struct World {
    devices: &'static [&'static str],
    /// All there may be on them.
    access_points: &'static [&'static str],
    /// Where sessions are made.
    opened: [&'static str; 6],
    /// An administrator's files, in several editions.
    edition: fn(usize) -> Profiles,
    /// What begins each history.
    prelude: &'static [Step],
}

/// Three access points, each with a device for itself.
const APART: World = World {
    devices: &["a", "b", "c"],
    access_points: &["a", "b", "c"],
    opened: [NETWORKS[0], NETWORKS[1], CHOICE, "a", "b", NETWORKS[0]],
    edition,
    prelude: &[],
};
/// Up to three that share one device, and one beside them.
const SHARING: World = World {
    devices: &["a", "b"],
    access_points: &["a", "a/home", "a/office", "b"],
    opened: [NETWORKS[0], NETWORKS[1], CHOICE, "a/home", "a/office", "a"],
    edition: edition_with_exclusive_ones,
    prelude: &[],
};
/// Three access points of one service network, on which applications decide.
const ROAMING: World = World {
    devices: &["a", "b", "c"],
    access_points: &["a", "b", "c"],
    opened: [NETWORKS[0], NETWORKS[0], CHOICE, NETWORKS[0], "a", NETWORKS[0]],
    edition: edition_in_a_hurry,
    prelude: &[
        Step::Create { on: 0, client: 1 },
        Step::Create { on: 0, client: 2 },
        Step::Decide(0, true),
        Step::World { member: 0, change: Change::SetUp(true) },
        Step::World { member: 0, change: Change::PullCable },
        Step::Enumerate,
        Step::Open(0),
        Step::Open(1),
        Step::Engine { member: 1, all: true },
        Step::World { member: 0, change: Change::PushCable },
    ],
};
/// Access points that share a device, in service networks on which nobody is asked.
const LEAVING_TOGETHER: World = World {
    devices: &["a", "b"],
    access_points: &["a", "a/home", "a/office", "b"],
    opened: [NETWORKS[0], NETWORKS[0], CHOICE, NETWORKS[0], "a/office", NETWORKS[0]],
    edition: |number| in_a_hurry(edition_with_exclusive_ones(number), number),
    prelude: &[
        Step::Create { on: 0, client: 1 },
        Step::Create { on: 0, client: 2 },
        Step::World { member: 0, change: Change::SetUp(true) },
        Step::World { member: 1, change: Change::SetUp(true) },
        Step::Enumerate,
        Step::Open(0),
        Step::Open(1),
        Step::Fail(0),
        Step::Engine { member: 0, all: true },
    ],
};
const NETWORKS: [&str; 2] = ["service-all", "service-some"];
const CHOICE: &str = "choice";
/// As many histories of single access points for each of these, which take longer.
const HISTORIES_FOR_EACH: u32 = 5;
const HISTORIES_FOR_EACH_THAT_SHARES: u32 = 10;
const HISTORIES_FOR_EACH_THAT_ROAMS: u32 = 16;
const HISTORIES_FOR_EACH_THAT_LEAVES: u32 = 50;
const USER: UserId = UserId(1000);
const GUIDE: ClientId = ClientId(9);
const MOST_SESSIONS: usize = 10;

#[derive(Clone, Copy, Debug)]
enum Step {
    Create {
        on: usize,
        client: u64,
    },
    Drop(usize),
    Open(usize),
    Close(usize),
    Stop(usize),
    SetReconnect(usize, bool),
    SetBackground(usize, bool),
    Kill(u64),
    PassOn(usize),
    CloseDescriptor(usize),
    /// The service is killed, perhaps after a change was decided and kept, and before anybody was told; another one goes on, with
    /// other files perhaps.
    KillService {
        pick: usize,
        how: u8,
        edition: Option<usize>,
        change: Option<(usize, Change)>,
    },
    /// A client that was away is back.
    Return(u64),
    World {
        member: usize,
        change: Change,
    },
    /// The engine does its next step, or all of them.
    Engine {
        member: usize,
        all: bool,
    },
    Fail(usize),
    Enumerate,
    Chooser {
        client: u64,
        comes: bool,
    },
    Answer {
        pick: usize,
        choice: usize,
    },
    /// An application takes roaming decisions from now on, or does not any more.
    Decide(usize, bool),
    /// What it does when its time to decide is over.
    SetOnTimeout(usize, bool),
    Roam {
        pick: usize,
        verb: Verb,
        /// The answer is to an older offer.
        is_stale: bool,
    },
    /// A socket is opened through a session.
    Bind(usize),
    EndSocket(usize),
    Edit(usize),
    Pass(u64),
    PassToDeadline,
}

/// How a session's course changed, and why.
type Turn = (String, RoamCause, String);

#[derive(Clone, Copy, Debug)]
enum Change {
    PullCable,
    PushCable,
    Flap,
    Unplug,
    Replug { up: bool, usable: bool },
    Foreign(bool),
    SetUp(bool),
    LoseLease,
    ExpireLease,
    Privilege(bool),
    Cease,
    Return,
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => any::<()>().prop_map(|()| Change::PullCable),
        5 => any::<()>().prop_map(|()| Change::PushCable),
        2 => any::<()>().prop_map(|()| Change::Flap),
        1 => any::<()>().prop_map(|()| Change::Unplug),
        3 => any::<[bool; 2]>().prop_map(|[up, usable]| Change::Replug { up, usable }),
        4 => any::<bool>().prop_map(Change::Foreign),
        4 => any::<bool>().prop_map(Change::SetUp),
        3 => any::<()>().prop_map(|()| Change::LoseLease),
        2 => any::<()>().prop_map(|()| Change::ExpireLease),
        2 => (0..4).prop_map(|lot| Change::Privilege(lot > 0)),
        1 => any::<()>().prop_map(|()| Change::Cease),
        3 => any::<()>().prop_map(|()| Change::Return),
    ]
}

/// What happens while sessions roam, more often than it does among everything else.
fn any_roaming_step() -> impl Strategy<Value = Step> {
    let answer = (session_to_roam(), 0_usize..4, 0_u8..8).prop_map(|(pick, verb, lot)| Step::Roam {
        pick,
        verb: Verb::ALL[verb],
        is_stale: lot == 0,
    });
    let cable = (0_usize..3, 0_u8..8).prop_map(|(member, lot)| {
        let change = match lot {
            0 => Change::Flap,
            1 => Change::LoseLease,
            2 => Change::ExpireLease,
            3 => Change::PullCable,
            _ => Change::PushCable,
        };
        Step::World { member, change }
    });
    prop_oneof![
        10 => any_step(),
        12 => answer,
        8 => cable,
        6 => (session_to_roam(), any::<bool>()).prop_map(|(id, on)| Step::Decide(id, on)),
        12 => (0_usize..3, any::<bool>()).prop_map(|(member, all)| Step::Engine { member, all }),
        3 => (0_usize..3).prop_map(Step::Fail),
        5 => (10_u64..3_000).prop_map(Step::Pass),
        3 => any::<()>().prop_map(|()| Step::PassToDeadline),
        2 => session_to_roam().prop_map(Step::Open),
        8 => session_to_roam().prop_map(Step::Bind),
        5 => (0_usize..16).prop_map(Step::EndSocket),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let session = 0..MOST_SESSIONS;
    let member = 0_usize..3;
    prop_oneof![
        8 => (0_usize..6, 1_u64..4).prop_map(|(on, client)| Step::Create { on, client }),
        2 => session.clone().prop_map(Step::Drop),
        30 => session.clone().prop_map(Step::Open),
        14 => session.clone().prop_map(Step::Close),
        4 => session.clone().prop_map(Step::Stop),
        6 => (session.clone(), any::<bool>()).prop_map(|(id, on)| Step::SetReconnect(id, on)),
        2 => (session.clone(), any::<bool>()).prop_map(|(id, on)| Step::SetBackground(id, on)),
        4 => session.clone().prop_map(Step::PassOn),
        3 => (0_usize..16).prop_map(Step::CloseDescriptor),
        2 => (
            session,
            any::<u8>(),
            proptest::option::weighted(0.3, 0_usize..6),
            proptest::option::weighted(0.5, (member.clone(), any_change())),
        )
            .prop_map(|(pick, how, edition, change)| Step::KillService { pick, how, edition, change }),
        10 => (1_u64..4).prop_map(Step::Return),
        1 => (1_u64..4).prop_map(Step::Kill),
        30 => (member.clone(), any_change()).prop_map(|(member, change)| Step::World { member, change }),
        50 => (member.clone(), any::<bool>()).prop_map(|(member, all)| Step::Engine { member, all }),
        8 => member.prop_map(Step::Fail),
        2 => any::<()>().prop_map(|()| Step::Enumerate),
        3 => (1_u64..4, any::<bool>()).prop_map(|(client, comes)| Step::Chooser { client, comes }),
        6 => (0_usize..4, 0_usize..6).prop_map(|(pick, choice)| Step::Answer { pick, choice }),
        8 => (session_to_roam(), any::<bool>()).prop_map(|(id, on)| Step::Decide(id, on)),
        2 => (session_to_roam(), any::<bool>()).prop_map(|(id, on)| Step::SetOnTimeout(id, on)),
        40 => (session_to_roam(), 0_usize..4, 0_u8..8).prop_map(|(pick, verb, lot)| {
            Step::Roam { pick, verb: Verb::ALL[verb], is_stale: lot == 0 }
        }),
        3 => (0_usize..6).prop_map(Step::Edit),
        8 => (10_u64..4_000).prop_map(Step::Pass),
        8 => any::<()>().prop_map(|()| Step::PassToDeadline),
    ]
}

const fn session_to_roam() -> std::ops::Range<usize> {
    0..MOST_SESSIONS
}

/// The order of members, and what else there is, in several editions of an administrator's files.
fn edition(number: usize) -> Profiles {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let members: [&[&str]; 6] = [&["a", "b", "c"], &["c", "b", "a"], &["b"], &[], &["a", "c"], &["b", "a", "c"]];
    let network = |members: &[&str]| ServiceNetworkProfile { members: owned(members), ..Default::default() };
    let linger = Duration::from_millis(if number.is_multiple_of(2) { 0 } else { 1_500 });
    let mut profiles = Profiles { default: Profile { linger, ..Profile::default() }, ..Profiles::default() };
    profiles.service_networks.insert(NETWORKS[0].into(), network(members[number % 6]));
    if number != 4 {
        profiles.service_networks.insert(NETWORKS[1].into(), network(&["b", "c"]));
    }
    let choices = if number.is_multiple_of(3) { Vec::new() } else { owned(&[NETWORKS[1], "a", NETWORKS[0]]) };
    if number != 5 {
        profiles.user_choices.insert(CHOICE.into(), UserChoiceProfile { name: None, choices });
    }
    profiles
}

/// The same, and those who roam are not kept waiting.
fn edition_in_a_hurry(number: usize) -> Profiles {
    in_a_hurry(edition(number), number)
}

fn in_a_hurry(mut profiles: Profiles, number: usize) -> Profiles {
    for network in profiles.service_networks.values_mut() {
        network.settle = Duration::from_millis(5);
        network.roam_linger = Duration::from_millis(if number.is_multiple_of(2) { 700 } else { 0 });
    }
    profiles
}

/// The same with exclusive access points, which come, go and change under their sessions.
fn edition_with_exclusive_ones(number: usize) -> Profiles {
    let matching = Matching { interface: Some("a".to_owned()), ..Matching::default() };
    let linger = Duration::from_millis(if number.is_multiple_of(3) { 0 } else { 1_500 });
    let lifetime = if number == 5 { Lifetime::OnDemand } else { Lifetime::Adopt };
    let file = |name: &str, exclusive: bool, preference| {
        // The scene tells by its name whose profile a device is set up with.
        let name = exclusive.then(|| name.to_owned());
        let profile = Profile { name, linger, lifetime, exclusive, preference, ..Profile::default() };
        MatchedProfile { matching: matching.clone(), profile }
    };
    let files: &[(&str, bool)] = match number {
        2 => &[("home", true)],
        3 => &[("home", false)],
        1 => &[("home", true), ("office", true), ("card", false)],
        _ => &[("home", true), ("office", true)],
    };
    let preference = |name: &str| i32::from(number == 4 && name == "office");
    let by_file = files.iter().map(|(name, exclusive)| ((*name).to_owned(), file(name, *exclusive, preference(name))));
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let network = |members: &[&str]| ServiceNetworkProfile { members: owned(members), ..Default::default() };
    let mut profiles = Profiles { by_file: by_file.collect(), ..Profiles::default() };
    let all: &[&str] = if number == 5 { &["a", "b"] } else { &["home", "office", "b"] };
    profiles.service_networks.insert(NETWORKS[0].into(), network(all));
    profiles.service_networks.insert(NETWORKS[1].into(), network(&["office"]));
    let choices = if number.is_multiple_of(2) { Vec::new() } else { owned(&["office", "home", NETWORKS[0]]) };
    profiles.user_choices.insert(CHOICE.into(), UserChoiceProfile { name: None, choices });
    profiles
}

#[derive(Debug)]
struct Witness {
    on: Identifier,
    is_on_access_point: bool,
    client: ClientId,
    state: SessionState,
    holds: bool,
    is_open: bool,
    /// Its application has taken its roaming decisions since before it was opened.
    always_decides: bool,
    /// The newest offer.
    newest: OfferNumber,
}

struct History {
    world: &'static World,
    scene: Scene,
    witnesses: BTreeMap<SessionId, Witness>,
    /// Sessions that only watch, one on each access point: they show what those are.
    guides: BTreeMap<Identifier, SessionId>,
    choosers: BTreeMap<u64, netbearer_core::ChooserId>,
    answered: Vec<QuestionNumber>,
    /// The files that are in force.
    edition: usize,
    /// Descriptors that somebody has a copy of, and those of them that sessions got when they were opened.
    descriptors: BTreeSet<HoldId>,
    own: BTreeMap<SessionId, HoldId>,
    next_descriptor: u64,
    /// The sockets that live, with their sessions, which are open, and what they are bound to.
    sockets: BTreeMap<SocketCookie, (SessionId, Identifier)>,
    next_socket: u64,
    /// Clients that have lost the service, and what they know of their sessions.
    absent: BTreeSet<u64>,
    away: BTreeMap<SessionId, (Witness, SessionSnapshot)>,
    is_enumerated: bool,
    /// Commands of the last step.
    commanded: usize,
    /// All sessions as they were after the step before.
    before: BTreeMap<SessionId, SessionSnapshot>,
    /// Whose application has said something about its roaming in this step.
    has_decided: Option<SessionId>,
    /// How the courses of sessions changed, and how many decisions are known of.
    turns: Vec<Turn>,
    decisions: u64,
}

impl History {
    /// The turns that sessions took.
    fn play(world: &'static World, steps: &[Step]) -> Vec<Turn> {
        let machine = world.devices.iter().map(|name| (Identifier::from(*name), Simulated::new((*name).into())));
        let settings = settings(world, 0);
        let mut history = Self {
            world,
            scene: Scene::new(settings, machine),
            witnesses: BTreeMap::new(),
            guides: BTreeMap::new(),
            choosers: BTreeMap::new(),
            answered: Vec::new(),
            edition: 0,
            descriptors: BTreeSet::new(),
            own: BTreeMap::new(),
            next_descriptor: 1,
            sockets: BTreeMap::new(),
            next_socket: 1,
            absent: BTreeSet::new(),
            away: BTreeMap::new(),
            is_enumerated: false,
            commanded: 0,
            before: BTreeMap::new(),
            has_decided: None,
            turns: Vec::new(),
            decisions: 0,
        };
        for client in [1, 2, 3, GUIDE.0] {
            history.scene.core.handle_client(ClientId(client), Client::of_user(USER));
        }
        for device in world.devices {
            history.scene.report_of(device);
        }
        history.check(None);
        for step in world.prelude.iter().chain(steps) {
            history.perform(*step);
        }
        history.end();
        history.turns
    }

    fn perform(&mut self, step: Step) {
        let now = self.scene.now;
        match step {
            Step::Create { on, client } => {
                if self.witnesses.len() < MOST_SESSIONS && !self.absent.contains(&client) {
                    let on = Identifier::from(self.world.opened[on]);
                    let id = self.scene.core.create_session(ClientId(client), &on).expect("far from the limits");
                    let snapshot = self.scene.core.session(id).expect("it was made just now");
                    self.scene.shown.insert(id, snapshot.interface.map(|interface| interface.name));
                    let state = snapshot.state;
                    let client = ClientId(client);
                    let is_on_access_point = self.world.access_points.contains(&on.as_str());
                    let witness = Witness {
                        on,
                        is_on_access_point,
                        client,
                        state,
                        holds: false,
                        is_open: false,
                        always_decides: false,
                        newest: OfferNumber(0),
                    };
                    self.witnesses.insert(id, witness);
                    self.scene.core.give_token(id, token_of(id));
                }
            }
            Step::Drop(pick) => {
                if let Some(id) = self.picked(pick) {
                    self.scene.core.drop_session(id, now);
                    self.witnesses.remove(&id);
                }
            }
            Step::Open(pick) => {
                if let Some(id) = self.picked(pick) {
                    // What properties have changed is followed by the next call, whatever that is.
                    self.scene.core.handle_timeout(now);
                    self.check(None);
                    let before = self.getters();
                    let outcome = self.open(id);
                    if matches!(outcome, Err(Refusal::Busy(_))) {
                        assert_eq!(self.getters(), before, "a refused open changes nothing");
                    }
                    let witness = self.witnesses.get_mut(&id).expect("it exists");
                    let refused = match outcome {
                        Ok(()) => {
                            witness.holds = true;
                            None
                        }
                        Err(Refusal::Busy(_)) => {
                            self.check(Some(id));
                            return assert_eq!(self.commanded, 0, "a refused open touches nothing");
                        }
                        Err(Refusal::NotSupported(_)) => Some(id),
                        Err(other) => panic!("{other}"),
                    };
                    return self.check(refused);
                }
            }
            Step::Close(pick) => {
                if let Some(id) = self.picked(pick) {
                    self.scene.core.close(id, now).expect("it exists");
                    self.check(None);
                    assert!(!self.witnesses[&id].holds, "a close ends the session's part");
                }
            }
            Step::Stop(pick) => {
                if let Some(id) = self.picked(pick) {
                    let outcome = self.scene.core.stop(id, now);
                    let is_refused = matches!(outcome, Err(Refusal::NotSupported(_)));
                    if matches!(outcome, Err(Refusal::NotOpen(_))) {
                        assert!(!self.witnesses[&id].holds);
                    }
                    return self.check(is_refused.then_some(id));
                }
            }
            Step::SetReconnect(pick, on) => self.set(pick, PropertyKey::Reconnect, on),
            Step::SetBackground(pick, on) => self.set(pick, PropertyKey::ConnectInBackground, on),
            Step::Kill(client) => {
                let is_theirs = |witness: &Witness| witness.client == ClientId(client);
                let present = self.witnesses.iter();
                let theirs = present.chain(self.away.iter().map(|(id, (witness, _))| (id, witness)));
                let theirs: Vec<SessionId> =
                    theirs.filter(|(_, witness)| is_theirs(witness)).map(|(id, _)| *id).collect();
                self.scene.core.handle_client_gone(ClientId(client), now);
                self.witnesses.retain(|_, witness| !is_theirs(witness));
                self.away.retain(|_, (witness, _)| !is_theirs(witness));
                self.choosers.remove(&client);
                self.check(None);
                for hold in theirs.iter().filter_map(|id| self.own.get(id).copied()).collect::<Vec<_>>() {
                    self.close_descriptor(hold);
                }
                self.scene.core.handle_client(ClientId(client), Client::of_user(USER));
                self.absent.remove(&client);
            }
            Step::PassOn(pick) => {
                if let Some(id) = self.picked(pick) {
                    let hold = self.new_descriptor();
                    let outcome = self.scene.core.add_hold(id, hold);
                    assert_eq!(outcome.is_ok(), self.witnesses[&id].holds, "{outcome:?}");
                    self.descriptors.extend(outcome.ok().map(|()| hold));
                }
            }
            Step::CloseDescriptor(pick) => {
                let count = self.descriptors.len().max(1);
                if let Some(hold) = self.descriptors.iter().nth(pick % count).copied() {
                    self.close_descriptor(hold);
                }
            }
            Step::KillService { pick, how, edition, change } => self.kill_service(pick, how, edition, change),
            Step::Return(client) => self.return_from_outage(client),
            Step::World { member, change } => self.change(self.device(member), change),
            Step::Engine { member, all } => {
                let member = self.device(member);
                self.scene.listen();
                while self.simulated(member).step() {
                    self.scene.report_of(member);
                    self.check(None);
                    if !all {
                        break;
                    }
                }
            }
            Step::Fail(member) => {
                self.scene.listen();
                let member = self.device(member);
                if self.simulated(member).fail(FailureReason::NoLease) {
                    self.scene.report_of(member);
                }
            }
            Step::Enumerate => self.enumerate(),
            Step::Chooser { client, comes } => {
                if comes && !self.absent.contains(&client) {
                    let chooser = self.scene.core.add_chooser(ClientId(client));
                    if let Some(former) = self.choosers.insert(client, chooser) {
                        self.scene.core.remove_chooser(former, now);
                    }
                } else if let Some(chooser) = self.choosers.remove(&client) {
                    self.scene.core.remove_chooser(chooser, now);
                }
            }
            Step::Answer { pick, choice } => self.answer(pick, choice),
            Step::Decide(pick, decides) => {
                if let Some(id) = self.picked(pick) {
                    let outcome = self.scene.core.set_stakeholder(id, decides, now);
                    let on = &self.witnesses[&id].on;
                    let can_roam = !self.world.access_points.contains(&on.as_str());
                    let is_valid = self.scene.core.session_configuration(id).is_some_and(|found| found.is_valid());
                    assert_eq!(outcome.is_ok(), !decides || can_roam && is_valid, "session {id} on {on}: {outcome:?}");
                    let witness = self.witnesses.get_mut(&id).expect("it was picked");
                    witness.always_decides = outcome.is_ok() && decides && (witness.always_decides || !witness.holds);
                    self.has_decided = Some(id);
                }
            }
            Step::SetOnTimeout(pick, migrates) => {
                if let Some(id) = self.picked(pick) {
                    let value = PropertyValue::Text(if migrates { "migrate" } else { "end" }.to_owned());
                    self.scene.core.set_property(id, PropertyKey::OnTimeout, Some(value)).expect("it takes it");
                }
            }
            Step::Roam { pick, verb, is_stale } => self.roam(pick, verb, is_stale),
            Step::Bind(pick) => self.bind(pick),
            Step::EndSocket(pick) => self.end_socket(pick),
            Step::Edit(number) => {
                self.edition = number;
                self.scene.core.handle_profiles((self.world.edition)(number), now);
            }
            Step::Pass(milliseconds) => self.pass_until(now + Duration::from_millis(milliseconds)),
            Step::PassToDeadline => {
                let then = self.scene.core.poll_timeout().unwrap_or(now).max(now);
                self.pass_until(then);
            }
        }
        self.check(None);
    }

    /// The answer counts if it is to the newest offer and in turn; else it is an error, and nothing has changed.
    fn roam(&mut self, pick: usize, verb: Verb, is_stale: bool) {
        // Those who could answer something are asked rather than others.
        let deciding = self.witnesses.keys().filter(|id| self.roaming(**id).is_some()).copied().collect::<Vec<_>>();
        let someone = deciding.get(pick % deciding.len().max(1)).copied();
        let Some(id) = someone.or_else(|| self.picked(pick)) else { return };
        // What properties have changed is followed by the next call, whatever that is.
        self.scene.core.handle_timeout(self.scene.now);
        self.check(None);
        let roaming = self.roaming(id);
        let newest = roaming.as_ref().map_or(OfferNumber(0), |roaming| roaming.offer.number);
        let number = if is_stale { OfferNumber(newest.0.saturating_sub(1)) } else { newest };
        let before = self.getters();
        let former = self.scene.core.session(id).expect("it exists");
        let outcome = verb.say(&mut self.scene.core, id, number, self.scene.now);
        let is_in_turn =
            roaming.as_ref().is_some_and(|roaming| number == newest && verb.phases().contains(&roaming.phase));
        assert_eq!(outcome.is_ok(), is_in_turn, "session {id}: {verb:?} {number} of {roaming:?}: {outcome:?}");
        self.has_decided = Some(id);
        let Some(roaming) = roaming.filter(|_| is_in_turn) else {
            assert_eq!(self.getters(), before, "an answer that is refused changes nothing");
            self.check(None);
            return assert_eq!(self.commanded, 0, "an answer that is refused touches nothing");
        };
        self.check(None);
        let snapshot = self.scene.core.session(id).expect("it exists");
        let has_link = former.interface.is_some();
        let is_over = |snapshot: &SessionSnapshot| {
            let error = snapshot.failure.as_ref().map(|failure| failure.error);
            !snapshot.is_open && !snapshot.is_opening && error == Some(SessionError::Roaming)
        };
        match verb {
            Verb::Migrate => {
                assert!(snapshot.state != SessionState::Connected || has_link, "session {id}: {snapshot:?}")
            }
            Verb::Accept => {
                assert_eq!(snapshot.state, SessionState::Connected, "session {id} has accepted");
                assert_eq!(snapshot.active_configuration, Some(roaming.offer.configuration), "session {id}");
            }
            Verb::Ignore | Verb::Reject if has_link => {
                assert_eq!(snapshot.state, SessionState::Connected, "session {id} stays");
                assert_eq!(snapshot.active_configuration, former.active_configuration, "session {id} stays");
                let again = snapshot.roaming.filter(|again| again.offer.configuration == roaming.offer.configuration);
                assert_eq!(again, None, "session {id} is not asked the same again");
            }
            Verb::Ignore | Verb::Reject => assert!(is_over(&snapshot), "session {id} has nothing left: {snapshot:?}"),
        }
    }

    fn bind(&mut self, pick: usize) {
        let Some(id) = self.picked(pick) else { return };
        let snapshot = self.scene.core.session(id).expect("it exists");
        let candidate = snapshot.roaming.filter(|roaming| roaming.candidate_interface.is_some());
        let candidate = candidate.map(|roaming| roaming.offer.configuration);
        let Some(link) = candidate.or(snapshot.active_configuration) else { return };
        let socket = SocketCookie(self.next_socket);
        self.next_socket += 1;
        self.scene.core.add_socket(id, socket, link.clone(), self.scene.now).expect("it has few");
        self.sockets.insert(socket, (id, link));
    }

    /// A link that its session does not use any more is given back with the last of them, and only then.
    fn end_socket(&mut self, pick: usize) {
        let is_left = |socket: &SocketCookie| {
            let (id, link) = &self.sockets[socket];
            !self.uses(*id, link)
        };
        // Those that stayed behind end rather than others.
        let left: Vec<SocketCookie> = self.sockets.keys().copied().filter(is_left).collect();
        let picked = left.get(pick % left.len().max(1)).copied();
        let Some(socket) = picked.or_else(|| self.sockets.keys().nth(pick % self.sockets.len().max(1)).copied()) else {
            return;
        };
        let (id, link) = self.sockets.remove(&socket).expect("it was picked");
        let is_needed = self.uses(id, &link) || self.sockets.values().any(|bound| *bound == (id, link.clone()));
        let before = self.scene.core.holds(&link);
        self.scene.core.handle_sockets_ended(&[SocketEnd { socket, carried: None }], self.scene.now);
        let holds = self.scene.core.holds(&link);
        assert_eq!(before - holds, usize::from(!is_needed), "session {id} on {link}");
    }

    /// It is this session's link, or its candidate.
    fn uses(&self, id: SessionId, link: &Identifier) -> bool {
        let snapshot = self.scene.core.session(id).expect("it is open");
        let candidate = snapshot.roaming.map(|roaming| roaming.offer.configuration);
        [snapshot.active_configuration, candidate].into_iter().flatten().any(|used| used == *link)
    }

    /// What is aborted ends, and what is left to who has closed a session is none of our business.
    fn check_sockets(&mut self) {
        let aborted = std::mem::take(&mut self.scene.aborted);
        let ends: Vec<SocketEnd> = aborted.into_iter().map(|socket| SocketEnd { socket, carried: None }).collect();
        for end in &ends {
            self.sockets.remove(&end.socket);
        }
        self.scene.core.handle_sockets_ended(&ends, self.scene.now);
        self.scene.listen();
        let core = &self.scene.core;
        self.sockets.retain(|_, (id, _)| core.session(*id).is_some_and(|session| session.is_open));
    }

    fn roaming(&self, id: SessionId) -> Option<Box<RoamingSnapshot>> {
        self.scene.core.session(id).and_then(|snapshot| snapshot.roaming)
    }

    /// Whatever has become of offers was told; nobody is offered anything who does not decide, and nothing that is no better.
    fn check_roaming(&mut self, heard: &BTreeMap<SessionId, Vec<Told>>) {
        for decision in self.scene.core.decisions(self.decisions) {
            if let Verdict::Roam(cause) = decision.verdict {
                let value = |name: &str| {
                    decision.inputs.iter().find(|input| input.name == name).map(|input| input.value.clone())
                };
                self.turns.extend(value("from").zip(value("to")).map(|(from, to)| (from, cause, to)));
            }
            self.decisions = decision.number + 1;
        }
        let mut snapshots = BTreeMap::new();
        for (id, witness) in &self.witnesses {
            let snapshot = self.scene.core.session(*id).expect("it exists");
            let told = heard.get(id).map(Vec::as_slice).unwrap_or_default();
            if let Some(before) = self.before.get(id) {
                for event in differences(before, &snapshot).into_iter().map(Told::from) {
                    let is_due = match &event {
                        Told::Offered(_) | Told::Activated(_) => true,
                        // Those who were closed and opened again have nothing to lose.
                        Told::LinkLost(_) | Told::Withdrawn(_) => {
                            self.has_decided != Some(*id) && !told.contains(&Told::Opened)
                        }
                        _ => continue,
                    };
                    assert!(!is_due || told.contains(&event), "session {id} should be told {event:?}: {told:?}");
                }
            }
            let decides = self.scene.core.is_stakeholder(*id);
            for offer in told.iter().filter_map(|event| match event {
                Told::Offered(offer) => Some(offer),
                _ => None,
            }) {
                assert!(decides, "session {id} on {} is offered {offer:?}", witness.on);
            }
            let roaming = snapshot.roaming.as_ref();
            assert!(roaming.is_none() || decides && witness.is_open, "session {id}: {roaming:?}");
            if let Some(roaming) = roaming.filter(|roaming| roaming.phase == OfferPhase::Offered) {
                let offered = &roaming.offer.configuration;
                let flags = self.scene.core.configuration(offered).map(|found| found.state_flags);
                assert!(flags >= Some(StateFlags::Discovered), "session {id}: {offered} is offered, and is {flags:?}");
                let network = self.scene.core.configuration(&witness.on);
                let members = network.filter(|found| found.kind == Kind::ServiceNetwork).map(|found| found.children);
                let rank = |one: &Identifier| members.as_ref()?.iter().position(|member| member == one);
                if let Some(active) = snapshot.active_configuration.as_ref().filter(|_| members.is_some()) {
                    assert!(
                        rank(offered) < rank(active) && rank(offered).is_some(),
                        "{offered} is no better than {active}"
                    );
                }
                assert_eq!(roaming.offer.replacement, snapshot.active_configuration.is_none());
            }
            snapshots.insert(*id, snapshot);
        }
        self.before = snapshots;
        self.has_decided = None;
    }

    fn new_descriptor(&mut self) -> HoldId {
        self.next_descriptor += 1;
        HoldId(self.next_descriptor - 1)
    }

    fn open(&mut self, id: SessionId) -> Result<(), Refusal> {
        let hold = self.new_descriptor();
        let in_force = self.scene.core.open_held(id, hold, self.scene.now)?;
        self.descriptors.extend(in_force);
        self.own.extend(in_force.map(|hold| (id, hold)));
        Ok(())
    }

    /// The last copy is closed.
    fn close_descriptor(&mut self, hold: HoldId) {
        let is_it = |(_, own): &(&SessionId, &HoldId)| **own == hold;
        if let Some((witness, snapshot)) = self.own.iter().find(is_it).and_then(|(id, _)| self.away.get_mut(id)) {
            // Who closes its own while the service is away takes itself for closed.
            (witness.holds, witness.is_open) = (false, false);
            (snapshot.is_open, snapshot.is_opening) = (false, false);
        }
        self.descriptors.remove(&hold);
        self.own.retain(|_, own| *own != hold);
        self.scene.core.handle_hold_gone(hold, self.scene.now);
        self.check(None);
    }

    fn enumerate(&mut self) {
        for device in self.world.devices {
            let simulated = self.simulated(device);
            if !simulated.is_known && simulated.is_access_point && simulated.is_plugged_in {
                self.scene.report_of(device);
                self.check(None);
            }
        }
        self.is_enumerated = true;
        self.scene.enumerate();
    }

    fn kill_service(&mut self, pick: usize, how: u8, edition: Option<usize>, change: Option<(usize, Change)>) {
        let now = self.scene.now;
        for (id, witness) in std::mem::take(&mut self.witnesses) {
            let snapshot = self.scene.core.session(id).expect("it exists");
            self.away.insert(id, (witness, snapshot));
        }
        self.scene.listen();
        if let Some(id) = self.away.keys().nth(pick % self.away.len().max(1)).copied().filter(|_| how < 128) {
            let has_owner = self.scene.core.owner(id).is_some();
            match how % 4 {
                _ if !has_owner => {}
                0 => {
                    let _ = self.scene.core.stop(id, now);
                }
                1 => {
                    self.scene.core.close(id, now).expect("it exists");
                    let (witness, snapshot) = self.away.get_mut(&id).expect("it was picked");
                    (witness.holds, witness.is_open) = (false, false);
                    (snapshot.is_open, snapshot.is_opening) = (false, false);
                }
                _ => {
                    let hold = HoldId(self.next_descriptor);
                    let _ = self.open(id);
                    if self.own.get(&id) == Some(&hold) {
                        let (_, snapshot) = self.away.get_mut(&id).expect("it was picked");
                        snapshot.failure = None;
                    }
                }
            }
        }
        if let Some((member, change)) = change {
            let simulated = self.simulated(self.device(member));
            // A card that is none of ours any more is as if it were gone.
            if !matches!(change, Change::Cease | Change::Return) {
                Self::change_unseen(simulated, change);
            }
        }
        self.edition = edition.unwrap_or(self.edition);
        self.scene.aborted.clear();
        let unanswered = self.scene.questions.iter().map(|question| question.number);
        self.answered.extend(unanswered.filter(|number| !self.answered.contains(number)).collect::<Vec<_>>());
        self.scene.restart(settings(self.world, self.edition));
        (self.is_enumerated, self.absent) = (false, [1, 2, 3].into());
        (self.before, self.decisions) = (BTreeMap::new(), 0);
        self.choosers.clear();
        self.guides.clear();
        self.scene.core.handle_client(GUIDE, Client::of_user(USER));
        let kept: BTreeSet<HoldId> = self.scene.saved.holds().collect();
        self.descriptors.retain(|hold| kept.contains(hold));
        self.own.retain(|_, hold| kept.contains(hold));
        self.check(None);
        if how % 8 < 6 {
            self.enumerate();
        }
        // All have ended meanwhile, or are told of now as if they had.
        let sockets = std::mem::take(&mut self.sockets).into_keys();
        let ends: Vec<SocketEnd> = sockets.map(|socket| SocketEnd { socket, carried: None }).collect();
        self.scene.core.handle_sockets_ended(&ends, now);
        self.check(None);
    }

    /// A client is there again, and looks for what it had.
    fn return_from_outage(&mut self, client: u64) {
        if !self.absent.remove(&client) {
            return;
        }
        self.scene.core.handle_client(ClientId(client), Client::of_user(USER));
        let is_theirs = |(_, (witness, _)): &(&SessionId, &(Witness, SessionSnapshot))| witness.client.0 == client;
        for id in self.away.iter().filter(is_theirs).map(|(id, _)| *id).collect::<Vec<_>>() {
            let (mut witness, before) = self.away.remove(&id).expect("listed above");
            // Descriptors may have held it meanwhile, and those decide nothing.
            witness.always_decides = false;
            let attached = self.scene.core.attach_session(ClientId(client), token_of(id), self.scene.now);
            let Ok(attached) = attached else { continue };
            assert_eq!(attached, id);
            let now = self.scene.core.session(id).expect("it is attached");
            let told: Vec<Told> = differences(&before, &now).into_iter().map(Told::from).collect();
            // An open whose answer was lost.
            witness.holds |= now.is_open || now.is_opening;
            for (position, event) in told.iter().enumerate() {
                witness.hear(id, event, &told[position + 1..], false);
            }
            self.scene.shown.insert(id, now.interface.map(|interface| interface.name));
            self.witnesses.insert(id, witness);
            self.check(None);
        }
    }

    fn device(&self, pick: usize) -> &'static str {
        self.world.devices[pick % self.world.devices.len()]
    }

    /// All that can be asked but failures.
    fn getters(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let core = &self.scene.core;
        let sessions: Vec<_> = self
            .witnesses
            .keys()
            .map(|id| {
                core.session(*id).map(|mut snapshot| {
                    snapshot.failure = None;
                    snapshot
                })
            })
            .collect();
        let holds: Vec<_> = self.access_points().map(|one| (core.holds(&one), core.is_adopted(&one))).collect();
        (sessions, holds, core.configurations(None), core.poll_timeout(), core.is_at_rest())
    }

    fn access_points(&self) -> impl Iterator<Item = Identifier> + use<> {
        self.world.access_points.iter().map(|name| Identifier::from(*name))
    }

    fn picked(&self, pick: usize) -> Option<SessionId> {
        self.witnesses.keys().nth(pick % self.witnesses.len().max(1)).copied()
    }

    fn set(&mut self, pick: usize, key: PropertyKey, on: bool) {
        if let Some(id) = self.picked(pick) {
            let value = Some(PropertyValue::Boolean(on));
            self.scene.core.set_property(id, key, value).expect("it takes a truth value");
        }
    }

    fn simulated(&mut self, member: &str) -> &mut Simulated {
        self.scene.machine.get_mut(&Identifier::from(member)).expect("every member is simulated")
    }

    fn change(&mut self, member: &str, change: Change) {
        self.scene.listen();
        if let Change::Cease = change {
            let simulated = self.simulated(member);
            if simulated.is_known && simulated.cease() {
                let now = self.scene.now;
                self.scene.core.handle_removed(&Identifier::from(member), "it was enslaved to a bridge", now);
            }
            return;
        }
        let simulated = self.simulated(member);
        let happened = Self::change_unseen(simulated, change);
        // Nothing is said of what is unplugged before it has been seen.
        if happened && simulated.is_access_point && (simulated.is_known || simulated.is_plugged_in) {
            self.scene.report_of(member);
        }
    }

    fn change_unseen(simulated: &mut Simulated, change: Change) -> bool {
        let foreign = |usable| if usable { Foreign::Usable } else { Foreign::Nothing };
        match change {
            Change::PullCable => simulated.pull_cable(),
            Change::PushCable => simulated.push_cable(),
            Change::Flap => simulated.flap(),
            Change::Unplug => simulated.unplug(),
            Change::Replug { up, usable } => simulated.replug(up, foreign(usable)),
            Change::Foreign(usable) => simulated.set_foreign(foreign(usable)),
            Change::SetUp(up) => simulated.set_up(up),
            Change::LoseLease => simulated.lose_lease(false),
            Change::ExpireLease => simulated.expire_lease(),
            Change::Privilege(has) => simulated.set_privilege(has),
            Change::Cease => simulated.cease(),
            Change::Return => !std::mem::replace(&mut simulated.is_access_point, true),
        }
    }

    fn answer(&mut self, pick: usize, choice: usize) {
        self.scene.listen();
        let open: Vec<_> = self
            .scene
            .questions
            .iter()
            .filter(|question| !self.answered.contains(&question.number))
            .filter(|question| !self.scene.withdrawn.contains(&question.number))
            .cloned()
            .collect();
        let Some(question) = open.get(pick % open.len().max(1)) else { return };
        assert!(question.choices.len() > 1, "nobody is asked when there is nothing to choose");
        let chosen = question.choices.get(choice).map(|chosen| chosen.identifier.clone());
        let now = self.scene.now;
        let answers: Vec<bool> = (1..4)
            .map(|client| self.scene.core.answer(ClientId(client), question.number, chosen.as_ref(), now).is_ok())
            .collect();
        // One whose time was up, or whose chooser has gone, is answered by nobody.
        assert!(answers.iter().filter(|accepted| **accepted).count() <= 1, "one answer counts");
        self.answered.push(question.number);
    }

    fn pass_until(&mut self, then: netbearer_types::Moment) {
        self.scene.now = then;
        self.scene.core.handle_timeout(then);
        let next = self.scene.core.poll_timeout();
        assert!(next.is_none_or(|next| next > then), "the next timeout lies in the future: {next:?}");
    }

    fn check(&mut self, refused: Option<SessionId>) {
        self.scene.listen();
        self.check_sockets();
        let heard = self.scene.hear();
        self.commanded = heard.commands.values().map(Vec::len).sum();
        self.descriptors.retain(|hold| !heard.revoked.contains(hold));
        self.own.retain(|_, hold| !heard.revoked.contains(hold));
        let described = self.scene.core.session_descriptions();
        let count: u32 = described.iter().map(|session| session.descriptors).sum();
        assert_eq!(count as usize, self.descriptors.len(), "what holds is what somebody has");
        for (id, events) in &heard.sessions {
            let Some(witness) = self.witnesses.get_mut(id) else {
                assert!(self.guides.values().any(|guide| guide == id), "session {id} is told {events:?}");
                continue;
            };
            for (position, event) in events.iter().enumerate() {
                let rest = &events[position + 1..];
                witness.hear(*id, event, rest, refused == Some(*id));
            }
        }
        for (id, witness) in &self.witnesses {
            let snapshot = self.scene.core.session(*id).expect("it exists");
            assert_eq!(snapshot.state, witness.state, "session {id}: the getter says what was told last");
            assert_eq!(snapshot.is_open, witness.is_open, "session {id} is open if it was told so");
            assert_eq!(snapshot.is_opening, witness.holds && !witness.is_open, "session {id} is opening");
            let is_connected = witness.state == SessionState::Connected;
            let is_roaming = witness.state == SessionState::Roaming;
            let has_interface = snapshot.interface.is_some();
            assert!(has_interface == is_connected || is_roaming, "session {id} has an interface when connected");
            if let Some(shown) = self.scene.shown.get(id) {
                let now = snapshot.interface.map(|interface| interface.name);
                assert_eq!(&now, shown, "session {id} on {} has the interface that it was told of", witness.on);
            }
            let active = snapshot.active_configuration;
            assert!(active.is_some() == witness.is_open || is_roaming, "session {id} on {}", witness.on);
            assert!(
                active.is_none_or(|active| self.access_points().any(|one| one == active)),
                "always an access point"
            );
            let resolved = self.scene.core.property(*id, PropertyKey::UserChoiceConfiguration);
            let is_resolved = resolved.is_some_and(|value| value != PropertyValue::Text(String::new()));
            assert_eq!(is_resolved, witness.is_open && witness.on.as_str() == CHOICE, "session {id}");
        }
        self.check_roaming(&heard.sessions);
        self.check_ledger(&described);
        self.check_devices();
        self.check_watchers();
    }

    /// Of the access points of one device one is held at most, and one is Active at most, which is the same then.
    fn check_devices(&self) {
        let mut held = BTreeSet::new();
        let mut active = BTreeSet::new();
        for access_point in self.access_points() {
            let device = device_of(&access_point);
            let is_held = self.scene.core.holds(&access_point) > 0;
            let flags = self.scene.core.configuration(&access_point).map(|found| found.state_flags);
            assert!(!is_held || held.insert(device.clone()), "{access_point} is held, and another one of {device}");
            if flags == Some(StateFlags::Active) {
                assert!(active.insert(device.clone()), "{access_point} is Active, and another one of {device}");
            }
        }
    }

    /// Who is open holds what it says; who is opening may hold one access point more.
    fn check_ledger(&self, described: &[SessionDescription]) {
        let mut spare = 0;
        let goes_on = |session: &&SessionDescription| !session.owned && (session.is_open || session.is_opening);
        let unowned: Vec<&SessionDescription> = described.iter().filter(goes_on).collect();
        for member in self.access_points() {
            let holds = self.scene.core.holds(&member);
            let is_certain = |(id, witness): &(&SessionId, &Witness)| {
                let active = self.scene.core.session(**id).and_then(|snapshot| snapshot.active_configuration);
                let is_own = witness.on == member && witness.holds && witness.state != SessionState::Invalid;
                is_own || active.as_ref() == Some(&member)
            };
            let is_on_it = |session: &&&SessionDescription| {
                session.configuration == member || session.active.as_ref() == Some(&member)
            };
            let unowned = unowned.iter().filter(is_on_it).count();
            let certain = self.witnesses.iter().filter(is_certain).count() + unowned;
            assert!(holds >= certain, "{member} is held {holds} times, and used by {certain}");
            spare += holds - certain;
        }
        let opening = |witness: &&Witness| witness.holds && !witness.is_open && !witness.is_on_access_point;
        let is_on_composite = |session: &&&SessionDescription| {
            !session.is_open && !self.access_points().any(|one| one == session.configuration)
        };
        let opening = self.witnesses.values().filter(opening).count() + unowned.iter().filter(is_on_composite).count();
        // Who decides holds one more than it uses while it moves; who does not may keep what it has left.
        let members = self.world.access_points.len();
        let roams = |session: &&SessionDescription| {
            session.is_open && !self.access_points().any(|one| one == session.configuration)
        };
        let beside = |session: &SessionDescription| {
            let is_moving = session.state == SessionState::Roaming && self.roaming(session.session).is_some();
            let decided_always = self.witnesses.get(&session.session).is_some_and(|witness| witness.always_decides);
            match (decided_always, is_moving) {
                (true, moving) => usize::from(moving),
                (false, _) => members,
            }
        };
        let opening = opening + described.iter().filter(roams).map(beside).sum::<usize>();
        assert!(
            spare <= opening,
            "{spare} holds more than the {opening} sessions that are opening could have: {described:?}"
        );
    }

    /// Once nothing is on its way down, a watcher sees its service network as its members are (semantics §2).
    fn check_watchers(&mut self) {
        for member in self.access_points() {
            let state = |id: &SessionId| self.scene.core.session(*id).map(|snapshot| snapshot.state);
            let is_of_use = |id: &SessionId| state(id).is_some_and(|state| state != SessionState::Invalid);
            if !self.guides.get(&member).is_some_and(is_of_use) && self.scene.core.configuration(&member).is_some() {
                let guide = self.scene.core.create_session(GUIDE, &member).expect("far from the limits");
                if let Some(former) = self.guides.insert(member, guide) {
                    self.scene.core.drop_session(former, self.scene.now);
                }
            }
        }
        let guides = self.guides.iter();
        let states: BTreeMap<&Identifier, SessionState> =
            guides.filter_map(|(member, guide)| Some((member, self.scene.core.session(*guide)?.state))).collect();
        if states.values().any(|state| *state == SessionState::Closing) {
            return;
        }
        for (id, witness) in self.witnesses.iter().filter(|(_, witness)| !witness.holds) {
            let network = self.scene.core.configuration(&witness.on);
            let Some(network) = network.filter(|found| found.kind == Kind::ServiceNetwork) else { continue };
            let members: Vec<SessionState> =
                network.children.iter().filter_map(|member| states.get(member)).copied().collect();
            let order = [SessionState::Connected, SessionState::Connecting, SessionState::Disconnected];
            let expected = order.into_iter().find(|state| members.contains(state));
            let expected = expected.unwrap_or(SessionState::NotAvailable);
            let is_valid = self.scene.core.session_configuration(*id).is_some_and(|found| found.is_valid());
            let expected = if is_valid { expected } else { SessionState::Invalid };
            assert_eq!(witness.state, expected, "session {id} watches {}: {states:?}", witness.on);
        }
    }

    fn end(&mut self) {
        if !self.is_enumerated {
            self.perform(Step::Enumerate);
        }
        self.be_fair();
        for (id, witness) in &self.witnesses {
            let is_settled = !matches!(witness.state, SessionState::Closing | SessionState::Connecting);
            assert!(is_settled, "session {id} on {} is {} for ever", witness.on, witness.state);
        }
        for client in 1..4 {
            self.perform(Step::Kill(client));
        }
        for hold in self.descriptors.clone() {
            self.close_descriptor(hold);
        }
        self.scene.core.handle_client_gone(GUIDE, self.scene.now);
        self.guides.clear();
        self.scene.core.handle_client(GUIDE, Client::of_user(USER));
        self.be_fair();
        assert!(self.scene.core.is_at_rest(), "nothing of ours is left");
        assert!(self.access_points().all(|one| self.scene.core.holds(&one) == 0));
        for (device, simulated) in &self.scene.machine {
            assert!(simulated.is_as_found(), "{device} is as it was found");
        }
        assert_eq!(self.scene.core.poll_timeout(), None, "nothing is waited for");
    }

    /// Engines complete what they were asked for, and then time passes, until nothing is left to wait for.
    fn be_fair(&mut self) {
        for _ in 0..400 {
            let mut is_quiet = true;
            for member in self.world.devices {
                self.scene.listen();
                let simulated = self.simulated(member);
                if simulated.is_access_point && (simulated.is_known || simulated.is_plugged_in) {
                    self.scene.report_of(member);
                    is_quiet &= !self.simulated(member).reach();
                    self.scene.report_of(member);
                }
            }
            self.check(None);
            if !is_quiet {
                continue;
            }
            let Some(next) = self.scene.core.poll_timeout() else { return };
            let then = next.max(self.scene.now);
            self.pass_until(then);
            self.check(None);
        }
        panic!("a fair world never comes to rest");
    }
}

fn settings(world: &World, edition: usize) -> Settings {
    Settings { profiles: (world.edition)(edition), serves_all_processes: true, ..Settings::default() }
}

const fn token_of(session: SessionId) -> Token {
    Token(session.0 as u128)
}

impl Witness {
    fn hear(&mut self, id: SessionId, event: &Told, rest: &[Told], refused: bool) {
        match event {
            Told::State(state) => {
                assert_ne!(*state, self.state, "session {id} is told the same state twice");
                self.state = *state;
                self.is_open &= matches!(state, SessionState::Connected | SessionState::Roaming);
                assert!(self.is_open || *state != SessionState::Roaming, "session {id} roams, and is not open");
            }
            Told::Opened => {
                assert!(self.holds && !self.is_open, "session {id} is told Opened without an open");
                assert_eq!(self.state, SessionState::Connected, "session {id} is told Opened");
                self.is_open = true;
            }
            Told::Closed => {
                assert!(self.holds, "session {id} is told Closed, but did not hold");
                self.holds = false;
                self.is_open = false;
            }
            Told::Error(error, reason) => {
                let all = *reason == FailureReason::AllMembersFailed;
                assert!(
                    !all || !self.is_on_access_point && *error == SessionError::Unknown,
                    "session {id}: {error} {reason:?}"
                );
                self.holds &= rest.contains(&Told::Closed) || refused;
            }
            Told::InterfaceChanged(_) => {
                assert!(matches!(self.state, SessionState::Connected | SessionState::Roaming), "session {id}");
            }
            Told::Offered(offer) => {
                let expected = if offer.replacement { SessionState::Roaming } else { SessionState::Connected };
                assert_eq!(self.state, expected, "session {id} is offered {offer:?}");
                assert!(offer.number > self.newest, "session {id}: offers are numbered");
                self.newest = offer.number;
            }
            Told::Activated(_) | Told::LinkLost(_) => assert_eq!(self.state, SessionState::Roaming, "session {id}"),
            Told::Moved(_) => assert_eq!(self.state, SessionState::Connected, "session {id}"),
            Told::Withdrawn(_) | Told::RoamingFailed(..) => assert!(self.is_open, "session {id}"),
        }
    }
}

#[test]
fn random_histories_on_service_networks_and_user_choices_keep_what_is_promised() {
    play_many(&APART, any_step(), HISTORIES_FOR_EACH, "tests/semantics/networks.proptest-regressions");
}

#[test]
fn random_histories_on_access_points_that_share_a_device_keep_what_is_promised() {
    let failures = "tests/semantics/sharing.proptest-regressions";
    play_many(&SHARING, any_step(), HISTORIES_FOR_EACH_THAT_SHARES, failures);
}

#[test]
fn random_histories_of_sessions_that_roam_keep_what_is_promised_and_take_every_turn() {
    let failures = "tests/semantics/roaming.proptest-regressions";
    let turns = play_many(&ROAMING, any_roaming_step(), HISTORIES_FOR_EACH_THAT_ROAMS, failures);
    // The one turn that takes a device of several access points.
    let together = (CourseKind::Settled, RoamCause::Prepare, CourseKind::Replacing);
    expect_turns(&turns, TRANSITIONS.iter().filter(|turn| **turn != together));
}

#[test]
fn random_histories_of_sessions_that_leave_a_link_together_keep_what_is_promised() {
    let failures = "tests/semantics/leaving.proptest-regressions";
    let turns = play_many(&LEAVING_TOGETHER, any_roaming_step(), HISTORIES_FOR_EACH_THAT_LEAVES, failures);
    expect_turns(&turns, &[(CourseKind::Settled, RoamCause::Prepare, CourseKind::Replacing)]);
}

/// Each of these was taken by some session.
fn expect_turns<'a>(
    turns: &BTreeMap<Turn, usize>,
    expected: impl IntoIterator<Item = &'a (CourseKind, RoamCause, CourseKind)>,
) {
    let taken = |(from, cause, to): &(CourseKind, RoamCause, CourseKind)| {
        turns.get(&(from.to_string(), *cause, to.to_string())).copied().unwrap_or_default()
    };
    let mut missed: Vec<&(CourseKind, RoamCause, CourseKind)> = Vec::new();
    for turn @ (from, cause, to) in expected {
        println!("{:>8}  {from} -- {cause} -> {to}", taken(turn));
        missed.extend((taken(turn) == 0).then_some(turn));
    }
    assert!(missed.is_empty(), "no session has taken these turns: {missed:?}");
}

/// How often each turn was taken.
fn play_many(
    world: &'static World,
    step: impl Strategy<Value = Step>,
    histories_for_each: u32,
    failures: &'static str,
) -> BTreeMap<Turn, usize> {
    let (histories, rng_seed) = histories_and_seed();
    let failures = FileFailurePersistence::Direct(failures);
    let config = Config {
        cases: histories / histories_for_each,
        failure_persistence: Some(Box::new(failures)),
        rng_seed,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let steps = proptest::collection::vec(step, 1..150);
    let turns: RefCell<BTreeMap<Turn, usize>> = RefCell::default();
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        for turn in History::play(world, &steps) {
            *turns.borrow_mut().entry(turn).or_default() += 1;
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    turns.into_inner()
}
