//! Roaming (semantics §5), sentence by sentence, and as tables of everything that can happen in each phase.

use std::{fmt::Write as _, time::Duration};

use netbearer_core::{MatchedProfile, Profiles, Refusal, SessionId, Settings, Token};
use netbearer_types::{
    FailureReason, Interface, Matching, OfferNumber, Profile, PropertyKey, PropertyValue, ServiceNetworkProfile,
    SessionState::Connected, StateFlags, Target, UserChoiceProfile, differences,
};

use crate::{
    heard::{Heard, Told},
    scene::{AP0, NETWORK, Scene},
    simulated::{Foreign, Simulated},
    verb::Verb,
};

const CHOICE: &str = "choice-uplink";
const SECOND: Duration = Duration::from_secs(1);
/// How long a better member must have been there.
const SETTLE: Duration = Duration::from_secs(2);
/// How long an application without a link has to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a link is kept that was left without asking.
const LINGER: Duration = Duration::from_secs(30);
/// The members, the most preferred first.
const MEMBERS: [&str; 4] = ["best", "a", "b", "worse"];

fn edition(members: &[&str]) -> Profiles {
    let members = members.iter().map(|name| (*name).to_owned()).collect();
    let network = ServiceNetworkProfile { members, ..ServiceNetworkProfile::default() };
    let choice = UserChoiceProfile { name: None, choices: vec![NETWORK.to_owned()] };
    Profiles {
        service_networks: [(NETWORK.into(), network)].into(),
        user_choices: [(CHOICE.into(), choice)].into(),
        ..Profiles::default()
    }
}

fn settings() -> Settings {
    Settings { profiles: edition(&MEMBERS), serves_all_processes: true, ..Settings::default() }
}

/// The members are set up, and b has a cable.
fn world() -> Scene {
    world_with(settings(), |_| {})
}

fn world_with(settings: Settings, arrange: impl FnOnce([&mut Simulated; 4])) -> Scene {
    Scene::with_access_points(settings, MEMBERS, |mut members| {
        for member in &mut members {
            (member.is_up, member.has_cable) = (true, false);
        }
        members[2].has_cable = true;
        arrange(members);
    })
}

/// A session that is open by b, on whose behalf its application decides or does not.
fn open_by_b(decides: bool) -> (Scene, SessionId) {
    let mut scene = world();
    let session = scene.roamer(1, decides);
    (scene, session)
}

/// The same where a has come, and time enough has passed for it to be offered, or moved to.
fn with_a(decides: bool) -> (Scene, SessionId) {
    let (mut scene, session) = open_by_b(decides);
    scene.appear("a");
    scene.pass(SETTLE);
    (scene, session)
}

impl Scene {
    /// A session that is open on the service network, with a descriptor of the same number as its client.
    fn roamer(&mut self, client: u64, decides: bool) -> SessionId {
        self.roamer_on(client, NETWORK, decides)
    }

    fn roamer_on(&mut self, client: u64, configuration: &str, decides: bool) -> SessionId {
        let session = self.session_on(client, configuration);
        self.core.give_token(session, Token(session.0.into()));
        self.decide(session, decides);
        self.open_held(session, client);
        self.work();
        self.hear();
        assert_eq!(self.active(session), "b");
        session
    }

    fn decide(&mut self, session: SessionId, decides: bool) {
        self.core.set_stakeholder(session, decides, self.now).expect("it is on a service network");
        self.listen();
    }

    fn appear(&mut self, member: &str) {
        self.change_of(member, Simulated::push_cable);
    }

    /// It is set down by somebody, and kept up by us then, so that its carrier can be seen.
    fn set_down(&mut self, member: &str) {
        self.change_of(member, |member| member.set_up(false));
        self.work();
        self.hear();
        assert!(self.machine[member].is_up);
    }

    fn vanish(&mut self, member: &str) {
        self.change_of(member, Simulated::pull_cable);
    }

    /// Engines do all that they were asked for.
    fn work(&mut self) {
        for _ in 0..MEMBERS.len() {
            for member in self.machine.keys().map(ToString::to_string).collect::<Vec<_>>() {
                self.settle_on(&member);
            }
        }
    }

    fn answer(&mut self, session: SessionId, verb: Verb) {
        let offer = self.offered(session).expect("something is offered");
        assert_eq!(verb.say(&mut self.core, session, offer, self.now), Ok(()), "{verb:?}");
        self.listen();
    }

    fn offered(&self, session: SessionId) -> Option<OfferNumber> {
        self.core.session(session)?.roaming.map(|roaming| roaming.offer.number)
    }

    fn edit(&mut self, members: &[&str]) {
        self.core.handle_profiles(edition(members), self.now);
        self.listen();
    }

    /// What a session was told, in few words.
    fn words(&mut self, session: SessionId) -> String {
        words(&self.told(session))
    }

    /// The members that somebody holds, and how many do if several.
    fn held(&self) -> String {
        let held = self.machine.keys().filter_map(|member| match self.core.holds(member) {
            0 => None,
            1 => Some(member.to_string()),
            holds => Some(format!("{member}×{holds}")),
        });
        held.collect::<Vec<_>>().join(" ")
    }

    fn set_text(&mut self, session: SessionId, key: PropertyKey, value: &str) {
        self.core.set_property(session, key, Some(PropertyValue::Text(value.to_owned()))).expect("it takes a text");
    }

    /// A session that is open on an access point itself.
    fn opened_on(&mut self, client: u64, access_point: &str) -> SessionId {
        let session = self.opening(client, access_point);
        self.work();
        self.hear();
        assert_eq!(self.active(session), access_point);
        session
    }
}

fn words(told: &[Told]) -> String {
    let word = |told: &Told| match told {
        Told::State(state) => state.to_string(),
        Told::Opened => "Opened".to_owned(),
        Told::Closed => "Closed".to_owned(),
        Told::Error(error, reason) => format!("Error({error:?}: {reason:?})"),
        Told::InterfaceChanged(interface) => format!("interface {}", interface.name),
        Told::Offered(offer) => {
            let what = if offer.replacement { "replacement" } else { "offer" };
            let seamless = if offer.seamless { " seamless" } else { "" };
            format!("{what} {} {}{seamless}", offer.number, offer.configuration)
        }
        Told::Withdrawn(number) => format!("withdrawn {number}"),
        Told::Activated(candidate) => format!("activated {candidate}"),
        Told::RoamingFailed(candidate, reason) => format!("failed {candidate}: {reason:?}"),
        Told::LinkLost(number) => format!("link lost {number}"),
        Told::Moved(member) => format!("moved {member}"),
    };
    told.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// How far the roaming of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Offered,
    Migrating,
    Trial,
    ReplacementOffered,
    MigratingWithoutLink,
    TrialWithoutLink,
    /// Nobody takes the events in these two.
    Preparing,
    Replacing,
}

impl At {
    const ALL: [Self; 8] = [
        Self::Offered,
        Self::Migrating,
        Self::Trial,
        Self::ReplacementOffered,
        Self::MigratingWithoutLink,
        Self::TrialWithoutLink,
        Self::Preparing,
        Self::Replacing,
    ];

    const fn decides(self) -> bool {
        !matches!(self, Self::Preparing | Self::Replacing)
    }

    /// The session was open by b, which is lost where it says so; the candidate is a.
    fn play(self) -> (Scene, SessionId) {
        let (mut scene, session) = open_by_b(self.decides());
        scene.appear("a");
        if self != Self::Replacing {
            scene.pass(SETTLE);
        }
        if matches!(self, Self::Migrating | Self::MigratingWithoutLink | Self::Trial | Self::TrialWithoutLink) {
            scene.answer(session, Verb::Migrate);
        }
        if matches!(self, Self::Trial | Self::TrialWithoutLink) {
            scene.settle_on("a");
        }
        if matches!(
            self,
            Self::ReplacementOffered | Self::MigratingWithoutLink | Self::TrialWithoutLink | Self::Replacing
        ) {
            scene.vanish("b");
        }
        scene.settle_on("b");
        scene.hear();
        (scene, session)
    }
}

type Event = (&'static str, fn(&mut Scene, SessionId));

const EVENTS: &[Event] = &[
    ("a does not come up", |scene, _| {
        scene.listen();
        let a = scene.machine.get_mut("a").expect("it is there");
        if a.fail(FailureReason::KernelRefused) {
            scene.report_of("a");
        }
    }),
    ("a dies", |scene, _| scene.vanish("a")),
    ("a is unplugged", |scene, _| scene.change_of("a", Simulated::unplug)),
    ("a is stopped", |scene, _| {
        let other = scene.session_on(7, "a");
        scene.stop(other);
    }),
    ("a is no member any more", |scene, _| scene.edit(&["best", "b", "worse"])),
    ("b dies", |scene, _| {
        if scene.machine["b"].has_cable {
            scene.vanish("b");
        }
    }),
    ("b is stopped", |scene, _| {
        let other = scene.session_on(7, "b");
        scene.stop(other);
    }),
    ("b is no member any more", |scene, _| scene.edit(&["best", "a", "worse"])),
    ("b and then a die", |scene, _| {
        if scene.machine["b"].has_cable {
            scene.vanish("b");
        }
        scene.vanish("a");
    }),
    ("worse comes, b and a die", |scene, _| {
        scene.appear("worse");
        if scene.machine["b"].has_cable {
            scene.vanish("b");
        }
        scene.vanish("a");
    }),
    ("best comes", |scene, _| {
        scene.appear("best");
        scene.pass(SETTLE);
    }),
    ("b comes before a", |scene, _| scene.edit(&["best", "b", "a", "worse"])),
    ("10 s pass", |scene, _| scene.pass(ANSWER)),
    ("10 s pass, to migrate", |scene, session| {
        scene.set_text(session, PropertyKey::OnTimeout, "migrate");
        scene.pass(ANSWER);
    }),
    ("close", |scene, session| scene.close(session)),
    ("close, descriptor passed on", |scene, session| {
        scene.pass_on(session, 9);
        scene.close(session);
    }),
    ("stop", |scene, session| scene.stop(session)),
    ("client killed", |scene, _| {
        scene.client_gone(1);
        scene.close_descriptor(1);
    }),
    ("client killed, descriptor passed on", |scene, session| {
        scene.pass_on(session, 9);
        scene.client_gone(1);
        scene.close_descriptor(1);
    }),
    ("events dropped", |scene, session| scene.decide(session, false)),
    ("events taken", |scene, session| scene.decide(session, true)),
    ("service restarts", |scene, session| scene.outlive_service(session, |_| {})),
    ("service and b die", |scene, session| {
        scene.outlive_service(session, |scene| {
            scene.machine.get_mut("b").expect("it is there").pull_cable();
        });
    }),
    ("service and a die", |scene, session| {
        scene.outlive_service(session, |scene| {
            scene.machine.get_mut("a").expect("it is there").pull_cable();
        });
    }),
    ("configuration removed", |scene, _| {
        scene.core.handle_profiles(Profiles::default(), scene.now);
        scene.listen();
    }),
];

impl Scene {
    /// The service is killed, and another one goes on; the client is told what has become different.
    fn outlive_service(&mut self, session: SessionId, meanwhile: impl FnOnce(&mut Self)) {
        let known = |scene: &Self| scene.core.session(session).expect("it is there");
        let before = known(self);
        meanwhile(self);
        self.restart(settings());
        self.look_around();
        self.attach(1, session);
        let told = differences(&before, &known(self)).into_iter().map(Told::from);
        self.tell_afterwards(session, told);
    }
}

/// What is told, and which links are held afterwards; and the same after engines have done what they were asked for.
#[test]
fn whatever_happens_in_each_phase_of_roaming_is_told_as_the_table_says() {
    let expected = include_str!("roaming_phases.txt");
    let mut table = String::new();
    for (event, happen) in EVENTS {
        for at in At::ALL {
            let (mut scene, session) = at.play();
            happen(&mut scene, session);
            let (told, held) = (scene.words(session), scene.held());
            scene.work();
            let (later, held_later) = (scene.words(session), scene.held());
            let cell = format!("{event} | {at:?} | {told} | {held} | {later} | {held_later}");
            let _ = writeln!(table, "{}", cell.trim_end());
        }
    }
    println!("{table}");
    for (line, expected) in table.lines().zip(expected.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(table.lines().count(), expected.lines().count());
}

#[test]
fn an_answer_out_of_turn_or_to_another_offer_is_an_error_value_and_nothing_else() {
    type Play = fn() -> (Scene, SessionId);
    let fresh = || {
        let mut scene = world();
        let session = scene.session_on(1, NETWORK);
        scene.decide(session, true);
        (scene, session)
    };
    let states: [(&str, Play); 8] = [
        ("watching", fresh),
        ("opening", || {
            let (mut scene, session) = (world(), SessionId(1));
            assert_eq!(scene.session_on(1, NETWORK), session);
            scene.decide(session, true);
            scene.open(session);
            (scene, session)
        }),
        ("waiting", || {
            let (mut scene, session) = open_by_b(true);
            scene.reconnect(session);
            scene.vanish("b");
            scene.work();
            (scene, session)
        }),
        ("settled", || open_by_b(true)),
        ("ignoring", || {
            let (mut scene, session) = with_a(true);
            scene.answer(session, Verb::Ignore);
            (scene, session)
        }),
        ("accepted", || {
            let (mut scene, session) = At::Trial.play();
            scene.answer(session, Verb::Accept);
            (scene, session)
        }),
        ("rejected", || {
            let (mut scene, session) = At::Trial.play();
            scene.answer(session, Verb::Reject);
            (scene, session)
        }),
        ("closed", || {
            let (mut scene, session) = At::Trial.play();
            scene.close(session);
            (scene, session)
        }),
    ];
    let states = states.into_iter().map(|(name, play)| (name.to_owned(), play()));
    let phases = At::ALL.into_iter().map(|at| (format!("{at:?}"), at.play()));
    let mut table = String::new();
    for (name, (mut scene, session)) in states.chain(phases) {
        let newest = scene.offered(session);
        for number in [0, newest.map_or(1, |newest| newest.0), 99] {
            let outcomes = Verb::ALL.map(|verb| {
                let before = (scene.core.session(session), scene.held(), scene.core.poll_timeout());
                scene.hear();
                // One that is in turn is shown on a scene of its own below.
                let is_due = newest == Some(OfferNumber(number)) && {
                    let phase = scene.core.session(session).and_then(|snapshot| snapshot.roaming);
                    phase.is_some_and(|roaming| verb.phases().contains(&roaming.phase))
                };
                if is_due {
                    return "done";
                }
                let outcome = verb.say(&mut scene.core, session, OfferNumber(number), scene.now);
                scene.listen();
                assert_eq!(scene.hear(), Heard::default(), "{name}: {verb:?} {number}");
                assert_eq!(before, (scene.core.session(session), scene.held(), scene.core.poll_timeout()), "{name}");
                match outcome {
                    Err(Refusal::OutOfTurn { phase: None, .. }) => "nothing offered",
                    Err(Refusal::OutOfTurn { phase: Some(_), .. }) => "out of turn",
                    Err(Refusal::SupersededOffer(other)) if other.0 == number => "superseded",
                    other => panic!("{name}: {verb:?} {number}: {other:?}"),
                }
            });
            let which = match newest {
                Some(newest) if newest.0 == number => "newest",
                _ => "other",
            };
            let _ = writeln!(table, "{name:22} {which:7} {}", outcomes.map(|outcome| format!("{outcome:16}")).concat());
        }
    }
    println!("{:22} {:7} {:?}\n{table}", "", "offer", Verb::ALL);
    let others = ["nothing offered"; 4];
    let superseded = ["superseded"; 4];
    let offered = ["done", "done", "out of turn", "out of turn"];
    let migrating = ["out of turn", "out of turn", "out of turn", "done"];
    let trial = ["out of turn", "out of turn", "done", "done"];
    for line in table.lines() {
        let (name, rest) = line.split_once(' ').unwrap();
        let expected = match (name, rest.trim_start().starts_with("newest")) {
            ("Offered" | "ReplacementOffered", true) => offered,
            ("Migrating" | "MigratingWithoutLink", true) => migrating,
            ("Trial" | "TrialWithoutLink", true) => trial,
            (
                "Offered" | "ReplacementOffered" | "Migrating" | "MigratingWithoutLink" | "Trial" | "TrialWithoutLink",
                false,
            ) => superseded,
            _ => others,
        };
        assert!(line.ends_with(&expected.map(|outcome| format!("{outcome:16}")).concat()), "{line}");
    }
}

// Application-level roaming.

#[test]
fn a_better_member_is_offered_once_and_nothing_changes_before_it_is_answered() {
    let (mut scene, session) = open_by_b(true);
    scene.appear("a");
    assert_eq!(scene.words(session), "", "it has to settle");
    scene.pass(SETTLE);
    assert_eq!(scene.words(session), "offer 1 a");
    scene.pass(3_600 * SECOND);
    assert_eq!((scene.words(session), scene.held()), (String::new(), "b".to_owned()), "however long it takes");
    assert_eq!((scene.state(session), scene.active(session)), (Connected, "b".to_owned()));
    scene.listen_for("a", &[]);
    assert_eq!(scene.core.poll_timeout(), None);
}

#[test]
fn migrate_brings_the_candidate_up_while_the_old_link_stays_up() {
    let (mut scene, session) = with_a(true);
    scene.hear();
    scene.answer(session, Verb::Migrate);
    assert_eq!(scene.words(session), "Roaming");
    scene.settle_on("a");
    assert_eq!(scene.words(session), "activated a");
    assert_eq!((scene.flags("a"), scene.flags("b")), (StateFlags::Active, StateFlags::Active));
    scene.listen_for("b", &[]);
    let snapshot = scene.core.session(session).expect("it is there");
    let name = |interface: Option<Interface>| interface.map(|interface| interface.name);
    assert!(snapshot.is_open);
    assert_eq!((name(snapshot.interface), snapshot.active_configuration), (Some("b".into()), Some("b".into())));
    assert_eq!(name(snapshot.roaming.and_then(|roaming| roaming.candidate_interface)), Some("a".into()));
    scene.pass(3_600 * SECOND);
    assert_eq!(scene.words(session), "", "with the old link up a trial has no end");
}

#[test]
fn a_candidate_that_is_up_already_is_on_trial_at_once() {
    let (mut scene, session) = open_by_b(true);
    scene.appear("a");
    scene.opened_on(2, "a");
    scene.pass(SETTLE);
    scene.answer(session, Verb::Migrate);
    assert_eq!(scene.words(session), "offer 1 a, Roaming, activated a");
    scene.answer(session, Verb::Reject);
    assert_eq!(scene.flags("a"), StateFlags::Active, "others hold it");
}

#[test]
fn a_candidate_that_may_not_be_started_is_offered_while_others_keep_it_up() {
    let (mut scene, session) = open_by_b(true);
    scene.change_of("a", |a| a.set_privilege(false));
    scene.appear("a");
    scene.pass(60 * SECOND);
    assert_eq!(scene.words(session), "");
    scene.change_of("a", |a| a.set_foreign(Foreign::Usable));
    assert_eq!(scene.words(session), "", "it settles");
    scene.pass(SETTLE);
    assert_eq!(scene.words(session), "offer 1 a");
    scene.change_of("a", |a| a.set_foreign(Foreign::Nothing));
    assert_eq!(scene.words(session), "withdrawn 1");
}

/// Its cable was there all the time.
#[test]
fn a_candidate_that_may_not_be_started_has_gone_away_when_others_take_it_down() {
    for verb in [Verb::Ignore, Verb::Reject] {
        let (mut scene, session) = open_by_b(true);
        scene.change_of("a", |a| a.set_privilege(false));
        scene.appear("a");
        scene.change_of("a", |a| a.set_foreign(Foreign::Usable));
        scene.pass(SETTLE);
        if verb == Verb::Reject {
            scene.answer(session, Verb::Migrate);
        }
        scene.answer(session, verb);
        scene.pass(120 * SECOND);
        scene.hear();
        scene.change_of("a", |a| a.set_foreign(Foreign::Nothing));
        scene.change_of("a", |a| a.set_foreign(Foreign::Usable));
        // One loss within the last minute.
        scene.pass(2 * SETTLE - Duration::from_millis(1));
        assert_eq!(scene.words(session), "", "{verb:?}");
        scene.pass(Duration::from_millis(1));
        assert_eq!(scene.words(session), "offer 2 a", "{verb:?}");
    }
}

/// Nothing but who may start it has changed.
#[test]
fn a_member_that_may_be_started_from_now_on_is_kept_in_sight_and_offered() {
    for is_up in [true, false] {
        let mut scene = world_with(settings(), |[_, a, ..]| {
            (a.is_up, a.has_cable) = (is_up, true);
            a.set_privilege(false);
        });
        let session = scene.roamer(1, true);
        scene.pass(60 * SECOND);
        assert_eq!(scene.words(session), "", "nobody can bring it up");
        scene.change_of("a", |a| a.set_privilege(true));
        scene.work();
        scene.pass(SETTLE);
        assert_eq!(scene.words(session), "offer 1 a");
    }
}

/// Nothing would be started: it is up.
#[test]
fn what_others_have_brought_up_is_usable_though_our_own_tries_have_failed() {
    for decides in [true, false] {
        let (mut scene, session) = open_by_b(decides);
        scene.appear("a");
        for _ in 0..3 {
            let other = scene.opening(2, "a");
            scene.fail("a");
            scene.work();
            scene.core.drop_session(other, scene.now);
        }
        scene.hear();
        scene.change_of("a", |a| a.set_foreign(Foreign::Usable));
        scene.vanish("b");
        let expected = if decides { "Roaming, replacement 1 a" } else { "Roaming, Connected, moved a" };
        assert_eq!(scene.words(session), expected);
    }
}

/// The other family may follow, or a lease bring another address.
#[test]
fn who_tries_a_candidate_is_told_of_its_addresses() {
    for at in [At::Trial, At::TrialWithoutLink] {
        let (mut scene, session) = at.play();
        scene.change_of("a", Simulated::change_gateway);
        assert_eq!(scene.words(session), "interface a");
        let snapshot = scene.core.session(session).expect("it is there");
        let candidate = snapshot.roaming.and_then(|roaming| roaming.candidate_interface).expect("it is on trial");
        assert_eq!(Some(candidate), scene.core.interface(&"a".into()));
    }
    // Not of a link that is only kept for a while.
    let (mut scene, session) = with_a(false);
    scene.work();
    assert_eq!((scene.words(session).as_str(), scene.held().as_str()), ("Roaming, Connected, moved a", "a b"));
    scene.change_of("b", Simulated::change_gateway);
    assert_eq!(scene.words(session), "");
}

#[test]
fn nothing_is_left_of_a_trial_or_of_a_link_that_was_left_when_the_service_ends() {
    for at in [At::Trial, At::Preparing] {
        let mut profiles = edition(&MEMBERS);
        profiles.default.linger = 60 * SECOND;
        let mut scene = world_with(Settings { profiles, ..settings() }, |_| {});
        let session = scene.roamer(1, at.decides());
        scene.appear("a");
        scene.pass(SETTLE);
        if at.decides() {
            scene.answer(session, Verb::Migrate);
        }
        scene.work();
        scene.core.handle_shutdown(scene.now);
        scene.listen();
        scene.work();
        assert!(scene.core.is_at_rest(), "{at:?}");
    }
}

#[test]
fn a_candidate_that_lingers_is_taken_over() {
    let mut profiles = edition(&MEMBERS);
    profiles.default.linger = ANSWER;
    let mut scene = world_with(Settings { profiles, ..settings() }, |_| {});
    let session = scene.roamer(1, true);
    scene.appear("a");
    let other = scene.opened_on(2, "a");
    scene.close(other);
    scene.pass(SETTLE);
    scene.answer(session, Verb::Migrate);
    assert_eq!(scene.words(session), "offer 1 a, Roaming, activated a");
    scene.pass(ANSWER);
    scene.answer(session, Verb::Accept);
    assert_eq!((scene.words(session), scene.held()), ("Connected".to_owned(), "a".to_owned()));
}

/// What is left of a lost link is cleared away first; watchers see the beginning of the next bring-up.
#[test]
fn a_candidate_that_is_cleared_away_is_connecting_as_soon_as_somebody_migrates_to_it() {
    let (mut scene, session) = open_by_b(true);
    scene.appear("a");
    let other = scene.opened_on(2, "a");
    let watcher = scene.session_on(3, "a");
    scene.pass(SETTLE);
    scene.change_of("a", Simulated::expire_lease);
    assert_eq!(scene.words(other), "Disconnected, Error(SessionAborted: LinkLost), Closed");
    assert_eq!((scene.words(watcher), scene.words(session)), ("Disconnected".to_owned(), "offer 1 a".to_owned()));
    scene.answer(session, Verb::Migrate);
    assert_eq!(scene.words(watcher), "Connecting");
    scene.work();
    assert_eq!(
        (scene.words(watcher), scene.words(session)),
        ("Connected".to_owned(), "Roaming, activated a".to_owned())
    );
}

#[test]
fn accept_gives_the_old_link_back_and_takes_it_down_unless_others_hold_it() {
    for others in [false, true] {
        let (mut scene, session) = At::Trial.play();
        let other = others.then(|| scene.opened_on(2, "b"));
        scene.answer(session, Verb::Accept);
        assert_eq!(scene.words(session), "Connected");
        assert_eq!(scene.active(session), "a");
        scene.listen_for("b", if others { &[] } else { &[Target::Released] });
        for verb in Verb::ALL {
            let refused = verb.say(&mut scene.core, session, OfferNumber(1), scene.now);
            assert!(matches!(refused, Err(Refusal::OutOfTurn { phase: None, .. })), "{verb:?}: {refused:?}");
        }
        scene.work();
        assert_eq!(scene.words(session), "");
        assert_eq!(other.map(|other| scene.words(other)).unwrap_or_default(), "");
        assert_eq!(scene.held(), if others { "a b" } else { "a" });
        // From then on the old one is an ordinary candidate.
        scene.vanish("a");
        assert_eq!(scene.words(session), "Roaming, replacement 2 b");
    }
}

#[test]
fn reject_goes_back_to_the_old_link_which_never_noticed() {
    for others in [false, true] {
        for at in [At::Trial, At::Migrating] {
            let (mut scene, session) = at.play();
            let other = others.then(|| scene.opened_on(2, "a"));
            scene.hear();
            scene.answer(session, Verb::Reject);
            assert_eq!(scene.words(session), "Connected");
            assert_eq!(scene.active(session), "b");
            scene.listen_for("a", if others { &[] } else { &[Target::Released] });
            scene.listen_for("b", &[]);
            scene.work();
            assert_eq!(other.map(|other| scene.words(other)).unwrap_or_default(), "");
            scene.pass(600 * SECOND);
            assert_eq!(scene.words(session), "", "it counts as ignored");
        }
    }
}

#[test]
fn what_was_ignored_is_offered_again_when_it_has_gone_away_and_come_back() {
    let (mut scene, session) = with_a(true);
    scene.answer(session, Verb::Ignore);
    assert_eq!(scene.words(session), "offer 1 a");
    scene.pass(600 * SECOND);
    scene.report_of("a");
    assert_eq!(scene.words(session), "");
    scene.listen_for("a", &[]);
    scene.vanish("a");
    scene.appear("a");
    scene.pass(2 * SETTLE - SECOND);
    assert_eq!(scene.words(session), "", "one loss makes it wait twice as long");
    scene.pass(SECOND);
    assert_eq!(scene.words(session), "offer 2 a");
}

/// Nobody has a session on it, so it is forgotten while it is not there.
#[test]
fn what_was_ignored_and_unplugged_is_offered_again_when_it_is_back() {
    let (mut scene, session) = with_a(true);
    scene.answer(session, Verb::Ignore);
    scene.hear();
    scene.change_of("a", Simulated::unplug);
    scene.pass(120 * SECOND);
    scene.change_of("a", |a| a.replug(true, Foreign::Nothing));
    scene.pass(SETTLE);
    assert_eq!(scene.words(session), "offer 2 a");
    for member in ["a", "worse"] {
        scene.change_of(member, Simulated::unplug);
    }
    scene.change_of("a", |a| a.replug(true, Foreign::Nothing));
    scene.pass(SETTLE);
    assert_eq!(scene.words(session), "withdrawn 2", "a loss is a loss, also of a card that is pulled");
    scene.pass(SETTLE);
    assert_eq!(scene.words(session), "offer 3 a");
}

#[test]
fn what_was_ignored_is_offered_again_when_the_order_has_changed() {
    let (mut scene, session) = with_a(true);
    scene.answer(session, Verb::Ignore);
    scene.hear();
    scene.core.handle_profiles(edition(&MEMBERS), scene.now);
    scene.pass(600 * SECOND);
    assert_eq!(scene.words(session), "", "an edit that changes no order");
    scene.edit(&["a", "best", "b", "worse"]);
    assert_eq!(scene.words(session), "offer 2 a");
}

#[test]
fn what_is_of_equal_rank_is_neither_offered_nor_moved_to() {
    for decides in [true, false] {
        let file = |interface: &str| MatchedProfile {
            matching: Matching { interface: Some(interface.to_owned()), ..Matching::default() },
            profile: Profile::default(),
        };
        let mut profiles = edition(&["best", "wired"]);
        profiles.by_file = [("wired".to_owned(), MatchedProfile { matching: Matching::default(), ..file("") })].into();
        profiles.by_file.insert("best".to_owned(), file("best"));
        let mut scene = world_with(Settings { profiles, ..settings() }, |_| {});
        let session = scene.roamer(1, decides);
        scene.appear("a");
        scene.pass(600 * SECOND);
        assert_eq!(scene.words(session), "", "both are the wired ones");
        scene.appear("best");
        scene.pass(SETTLE);
        scene.work();
        assert_eq!(scene.words(session), if decides { "offer 1 best" } else { "Roaming, Connected, moved best" });
    }
}

#[test]
fn there_is_one_offer_for_each_change_of_the_best_candidate_and_answers_to_former_ones_are_refused() {
    let (mut scene, session) = with_a(true);
    scene.appear("best");
    scene.pass(SETTLE);
    assert_eq!(scene.words(session), "offer 1 a, offer 2 best");
    let stale = scene.core.migrate(session, OfferNumber(1), scene.now);
    assert_eq!(stale, Err(Refusal::SupersededOffer(OfferNumber(1))));
    scene.vanish("best");
    assert_eq!(scene.words(session), "withdrawn 2, offer 3 a");
    scene.vanish("a");
    assert_eq!(scene.words(session), "withdrawn 3");
}

#[test]
fn a_better_one_waits_for_the_end_of_a_migration() {
    for (verb, told) in [(Verb::Accept, "Connected, offer 2 best"), (Verb::Reject, "Connected, offer 2 best")] {
        let (mut scene, session) = At::Migrating.play();
        scene.appear("best");
        scene.pass(SETTLE);
        scene.settle_on("a");
        assert_eq!(scene.words(session), "activated a");
        scene.answer(session, verb);
        assert_eq!(scene.words(session), told);
    }
}

#[test]
fn stakeholders_of_one_network_decide_each_for_itself() {
    let (mut scene, one) = open_by_b(true);
    let other = scene.roamer(2, true);
    scene.appear("a");
    scene.pass(SETTLE);
    assert_eq!((scene.words(one), scene.words(other)), ("offer 1 a".to_owned(), "offer 2 a".to_owned()));
    let not_theirs = scene.core.migrate(one, OfferNumber(2), scene.now);
    assert_eq!(not_theirs, Err(Refusal::SupersededOffer(OfferNumber(2))));
    scene.answer(other, Verb::Ignore);
    scene.answer(one, Verb::Migrate);
    scene.settle_on("a");
    scene.answer(one, Verb::Accept);
    assert_eq!(scene.words(one), "Roaming, activated a, Connected");
    assert_eq!(scene.words(other), "");
    assert_eq!((scene.active(one), scene.active(other), scene.held()), ("a".into(), "b".into(), "a b".into()));
}

/// What one of them does with its candidate is no loss to the other.
#[test]
fn an_offer_stands_while_the_candidate_goes_down_for_another_session_and_comes_back() {
    for comes_back in [true, false] {
        let (mut scene, one) = open_by_b(true);
        let other = scene.roamer(2, true);
        scene.set_down("a");
        scene.appear("a");
        scene.pass(SETTLE);
        assert_eq!((scene.words(one), scene.words(other)), ("offer 1 a".to_owned(), "offer 2 a".to_owned()));
        scene.answer(one, Verb::Migrate);
        scene.work();
        scene.answer(one, Verb::Reject);
        assert_eq!(scene.words(one), "Roaming, activated a, Connected");
        scene.listen();
        while scene.machine["a"].is_up {
            assert!(scene.machine.get_mut("a").is_some_and(Simulated::step));
            scene.report_of("a");
        }
        if !comes_back {
            scene.machine.get_mut("a").expect("it is there").pull_cable();
        }
        scene.work();
        assert_eq!(scene.words(other), if comes_back { "" } else { "withdrawn 2" }, "its carrier decides");
        scene.pass(600 * SECOND);
        assert_eq!((scene.words(one), scene.words(other)), (String::new(), String::new()));
        if !comes_back {
            scene.appear("a");
            scene.pass(SETTLE);
            assert_eq!((scene.words(one), scene.words(other)), ("offer 3 a".to_owned(), "offer 4 a".to_owned()));
        }
    }
}

/// Of two sessions that were offered the same, the first has tried it and rejected it, so it was just taken down; its cable is not seen
/// then. Both sessions are told.
fn taken_down_while_offered() -> (Scene, SessionId, SessionId) {
    let (mut scene, one) = open_by_b(true);
    let other = scene.roamer(2, true);
    scene.set_down("a");
    scene.appear("a");
    scene.pass(SETTLE);
    scene.answer(one, Verb::Migrate);
    scene.work();
    scene.answer(one, Verb::Reject);
    scene.hear();
    while scene.machine["a"].is_up {
        assert!(scene.machine.get_mut("a").is_some_and(Simulated::step));
        scene.report_of("a");
    }
    (scene, one, other)
}

/// Cards that are set up show no carrier at first. As nothing could be opened then, what is offered is withdrawn, but nothing
/// has gone away.
#[test]
fn a_carrier_that_takes_its_time_to_show_again_is_no_loss() {
    let (mut scene, one, other) = taken_down_while_offered();
    scene.machine.get_mut("a").expect("it is there").pull_cable();
    scene.work();
    assert_eq!(scene.words(other), "withdrawn 2");
    scene.pass(SECOND);
    scene.appear("a");
    assert_eq!(scene.words(other), "offer 3 a");
    scene.pass(600 * SECOND);
    assert_eq!((scene.words(one), scene.words(other)), (String::new(), String::new()), "who rejected it ignores it");
}

/// As long as a carrier may take to show.
#[test]
fn an_offer_does_not_stand_for_ever_while_nobody_can_see_whether_the_candidate_is_there() {
    let (mut scene, one, other) = taken_down_while_offered();
    scene.pass(5 * SECOND - Duration::from_millis(1));
    assert_eq!(scene.words(other), "");
    scene.pass(Duration::from_millis(1));
    assert_eq!(scene.words(other), "withdrawn 2");
    scene.work();
    scene.pass(SETTLE);
    assert_eq!(scene.words(other), "offer 3 a", "as if new");
    scene.pass(SETTLE);
    assert_eq!(scene.words(one), "offer 4 a", "with one rejection");
}

#[test]
fn who_ignores_every_offer_stays_where_it_is() {
    let (mut scene, session) = open_by_b(true);
    for round in 1..20 {
        scene.appear("a");
        scene.pass(60 * SECOND);
        assert_eq!(scene.words(session), format!("offer {round} a"));
        scene.answer(session, Verb::Ignore);
        scene.vanish("a");
    }
    assert_eq!((scene.words(session), scene.active(session)), (String::new(), "b".to_owned()));
}

#[test]
fn only_sessions_that_have_somewhere_to_roam_to_can_decide() {
    let mut scene = world();
    for (configuration, can_roam) in [(NETWORK, true), (CHOICE, true), ("b", false)] {
        let session = scene.session_on(1, configuration);
        let outcome = scene.core.set_stakeholder(session, true, scene.now);
        assert_eq!(outcome, if can_roam { Ok(()) } else { Err(Refusal::CannotRoam("b".into())) });
        assert_eq!(scene.core.is_stakeholder(session), can_roam);
        assert_eq!(scene.core.set_stakeholder(session, false, scene.now), Ok(()));
    }
    let session = scene.session_on(1, NETWORK);
    scene.decide(session, true);
    scene.core.handle_profiles(Profiles::default(), scene.now);
    assert_eq!(scene.core.set_stakeholder(session, false, scene.now), Ok(()));
    let refused = scene.core.set_stakeholder(session, true, scene.now);
    assert_eq!(refused, Err(Refusal::CannotRoam(NETWORK.into())), "it was removed");
}

#[test]
fn a_user_choice_that_came_to_a_service_network_roams_as_that_does() {
    for decides in [true, false] {
        let mut scene = world();
        let session = scene.roamer_on(1, CHOICE, decides);
        scene.appear("a");
        scene.pass(SETTLE);
        scene.work();
        assert_eq!(scene.words(session), if decides { "offer 1 a" } else { "Roaming, Connected, moved a" });
        assert_eq!(scene.text(session, PropertyKey::UserChoiceConfiguration), NETWORK);
        scene.vanish("b");
        scene.work();
        assert_eq!(scene.words(session), if decides { "Roaming, replacement 2 a" } else { "" });
    }
}

// The link in use is lost.

#[test]
fn without_a_usable_member_a_loss_is_an_aborted_session() {
    for decides in [true, false] {
        let (mut scene, session) = open_by_b(decides);
        scene.vanish("b");
        assert_eq!(scene.words(session), "NotAvailable, Error(SessionAborted: LinkLost), Closed");
    }
}

#[test]
fn in_a_trial_without_the_old_link_the_candidate_is_all_there_is() {
    let (mut scene, session) = At::MigratingWithoutLink.play();
    let shown = |scene: &Scene| {
        let snapshot = scene.core.session(session).expect("it is there");
        let candidate = snapshot.roaming.and_then(|roaming| roaming.candidate_interface);
        let name = |interface: Option<Interface>| interface.map(|interface| interface.name).unwrap_or_default();
        let active = snapshot.active_configuration.map(String::from).unwrap_or_default();
        (snapshot.is_open, name(snapshot.interface), active, name(candidate))
    };
    assert_eq!(shown(&scene), (true, String::new(), String::new(), String::new()));
    scene.settle_on("a");
    assert_eq!(shown(&scene), (true, String::new(), "a".to_owned(), "a".to_owned()));
    scene.answer(session, Verb::Accept);
    assert_eq!(shown(&scene), (true, "a".to_owned(), "a".to_owned(), String::new()));
}

#[test]
fn the_time_to_answer_runs_from_the_offer_and_anew_from_the_trial() {
    let wait = ANSWER - SECOND;
    let ended = "Disconnected, Error(Roaming: NothingToRoamTo), Closed";
    let (mut scene, session) = At::ReplacementOffered.play();
    scene.pass(wait);
    scene.answer(session, Verb::Migrate);
    scene.pass(wait);
    assert_eq!(scene.words(session), "", "the start has a time of its own");
    scene.settle_on("a");
    assert_eq!(scene.words(session), "activated a");
    scene.pass(wait);
    scene.answer(session, Verb::Accept);
    assert_eq!(scene.words(session), "Connected");
    scene.pass(3_600 * SECOND);
    assert_eq!(scene.words(session), "");

    let (mut scene, session) = At::ReplacementOffered.play();
    scene.pass(wait);
    assert_eq!(scene.words(session), "");
    scene.pass(SECOND);
    assert_eq!(scene.words(session), ended);
    // A better one is another question.
    let (mut scene, session) = At::ReplacementOffered.play();
    scene.pass(wait);
    scene.appear("best");
    scene.pass(wait);
    assert_eq!(scene.words(session), "replacement 3 best");
    scene.pass(SECOND);
    assert_eq!(scene.words(session), ended);
    // A trial that loses its old link has its time from then on.
    let (mut scene, session) = At::Trial.play();
    scene.pass(60 * SECOND);
    scene.vanish("b");
    scene.pass(wait);
    assert_eq!(scene.words(session), "link lost 1");
    scene.pass(SECOND);
    assert_eq!(scene.words(session), format!("{ended}, Closing"));
}

#[test]
fn the_time_to_answer_and_what_follows_are_properties() {
    let (mut scene, session) = with_a(true);
    let short = Some(PropertyValue::Duration(SECOND));
    scene.core.set_property(session, PropertyKey::AnswerTimeout, short).expect("it takes a duration");
    scene.set_text(session, PropertyKey::OnTimeout, "migrate");
    scene.vanish("b");
    scene.hear();
    scene.pass(SECOND);
    scene.settle_on("a");
    assert_eq!(scene.words(session), "activated a");
    scene.pass(SECOND);
    assert_eq!(scene.words(session), "Connected");
    assert_eq!(scene.active(session), "a");
}

#[test]
fn without_a_link_ignore_and_reject_end_the_session() {
    for (at, verb) in [
        (At::ReplacementOffered, Verb::Ignore),
        (At::MigratingWithoutLink, Verb::Reject),
        (At::TrialWithoutLink, Verb::Reject),
    ] {
        for reconnects in [false, true] {
            let (mut scene, session) = at.play();
            if reconnects {
                // What the application has refused is not what it waits for.
                scene.reconnect(session);
            }
            scene.answer(session, verb);
            scene.work();
            let told = scene.words(session);
            assert!(told.starts_with("Disconnected, Error(Roaming: NothingToRoamTo), Closed"), "{at:?}: {told}");
            assert_eq!(scene.held(), "");
            assert!(!scene.core.session(session).is_some_and(|snapshot| snapshot.is_opening));
        }
    }
}

#[test]
fn with_reconnect_a_session_waits_when_time_is_up_or_every_candidate_failed() {
    let (mut scene, session) = At::ReplacementOffered.play();
    scene.reconnect(session);
    scene.pass(ANSWER);
    assert_eq!(scene.words(session), "Disconnected");
    assert!(scene.core.session(session).is_some_and(|snapshot| snapshot.is_opening && !snapshot.is_open));
    assert_eq!(scene.active(session), "");
    scene.pass(SECOND);
    scene.settle_on("a");
    assert_eq!(scene.words(session), "Connecting, Connected, Opened");

    for at in [At::MigratingWithoutLink, At::Replacing] {
        let (mut scene, session) = at.play();
        scene.reconnect(session);
        scene.fail("a");
        scene.work();
        let told = scene.words(session);
        assert_eq!(told, if at.decides() { "failed a: KernelRefused, Disconnected" } else { "Disconnected" });
        scene.pass(SECOND);
        scene.work();
        assert_eq!(scene.words(session), "Connecting, Connected, Opened", "{at:?}");
    }
}

#[test]
fn what_is_lost_one_after_the_other_is_replaced_until_nothing_is_left() {
    let (mut scene, session) = open_by_b(true);
    for member in ["a", "worse"] {
        scene.appear(member);
    }
    scene.vanish("b");
    assert_eq!(scene.words(session), "Roaming, replacement 1 a", "nothing has to settle");
    scene.answer(session, Verb::Migrate);
    scene.fail("a");
    assert_eq!(scene.words(session), "failed a: KernelRefused, replacement 2 worse");
    scene.answer(session, Verb::Migrate);
    scene.settle_on("worse");
    scene.vanish("worse");
    assert_eq!(
        scene.words(session),
        "activated worse, failed worse: LinkLost, Disconnected, Error(Roaming: NothingToRoamTo), Closed"
    );
}

#[test]
fn what_is_up_replaces_a_lost_link_before_what_would_have_to_be_brought_up() {
    for decides in [true, false] {
        let (mut scene, session) = open_by_b(decides);
        for member in ["a", "worse"] {
            scene.appear(member);
        }
        scene.opened_on(2, "worse");
        scene.vanish("b");
        scene.work();
        let expected = if decides { "Roaming, replacement 1 worse" } else { "Roaming, Connected, moved worse" };
        assert_eq!(scene.words(session), expected);
    }
}

/// Its link is cleared away then and set up again, and is down in between, which says nothing about its cable.
#[test]
fn what_was_just_lost_replaces_nothing_while_something_is_there_that_was_not() {
    for decides in [true, false] {
        let (mut scene, session) = open_by_b(decides);
        scene.set_down("a");
        scene.appear("worse");
        scene.appear("a");
        scene.pass(SETTLE);
        if decides {
            scene.answer(session, Verb::Migrate);
        }
        scene.settle_on("a");
        scene.hear();
        scene.vanish("a");
        let back = if decides { "Connected, failed a: LinkLost" } else { "Roaming, Connected, moved b" };
        assert_eq!(scene.words(session), back);
        scene.vanish("b");
        scene.settle_on("worse");
        let replaced = if decides { "Roaming, replacement 2 worse" } else { "Roaming, Connected, moved worse" };
        assert_eq!(scene.words(session), replaced);
        scene.work();
        assert_eq!(scene.words(session), "");
    }
}

#[test]
fn a_stop_aborts_who_is_settled_on_the_link_and_nobody_roams_away() {
    for decides in [true, false] {
        let (mut scene, session) = open_by_b(decides);
        scene.appear("worse");
        let other = scene.session_on(2, "b");
        scene.stop(other);
        scene.work();
        assert_eq!(scene.words(session), "Closing, Error(SessionAborted: Stopped), Closed, Disconnected");
        assert_eq!(scene.held(), "");
    }
}

#[test]
fn in_a_trial_the_candidate_and_the_old_link_are_stopped_one_after_the_other() {
    let stop = |scene: &mut Scene, member: &str| {
        let other = scene.session_on(7, member);
        scene.stop(other);
        scene.work();
    };
    let (mut scene, session) = At::Trial.play();
    stop(&mut scene, "a");
    assert_eq!(scene.words(session), "Connected, failed a: Stopped");
    stop(&mut scene, "b");
    assert_eq!(scene.words(session), "Closing, Error(SessionAborted: Stopped), Closed, Disconnected");
    let (mut scene, session) = At::Trial.play();
    stop(&mut scene, "b");
    assert_eq!(scene.words(session), "link lost 1");
    stop(&mut scene, "a");
    let told = scene.words(session);
    assert!(told.starts_with("failed a: Stopped, Disconnected, Error(Roaming: NothingToRoamTo), Closed"), "{told}");
    assert_eq!(scene.held(), "");
}

// Nobody takes the events.

#[test]
fn a_better_member_is_brought_up_once_for_all_and_the_old_link_is_kept_for_a_while() {
    let (mut scene, one) = open_by_b(false);
    let other = scene.roamer(2, false);
    let watcher = scene.session_on(3, NETWORK);
    scene.appear("a");
    scene.pass(SETTLE);
    assert_eq!((scene.words(one), scene.words(other)), (String::new(), String::new()), "not before it is up");
    scene.settle_on("a");
    scene.listen_for("a", &[Target::Configured]);
    for session in [one, other] {
        assert_eq!(scene.words(session), "Roaming, Connected, moved a");
    }
    assert_eq!(scene.words(watcher), "interface a", "watchers stay Connected");
    assert_eq!(scene.held(), "a×2 b×2");
    scene.pass(LINGER - SECOND);
    assert_eq!(scene.held(), "a×2 b×2");
    scene.close(other);
    assert_eq!(scene.held(), "a b", "a close gives all back");
    scene.listen_for("b", &[]);
    scene.pass(SECOND);
    scene.listen_for("b", &[Target::Released]);
    scene.work();
    assert_eq!((scene.words(one), scene.held()), (String::new(), "a".to_owned()));
    assert_eq!(scene.core.poll_timeout(), None);
}

#[test]
fn a_planned_move_that_fails_is_silent() {
    let (mut scene, session) = with_a(false);
    scene.fail("a");
    scene.work();
    assert_eq!((scene.words(session), scene.held(), scene.state(session)), (String::new(), "b".into(), Connected));
}

#[test]
fn a_lost_link_is_replaced_by_the_next_best_without_an_error_unless_nothing_is_left() {
    let (mut scene, session) = open_by_b(false);
    for member in ["a", "worse"] {
        scene.appear(member);
    }
    scene.vanish("b");
    assert_eq!(scene.words(session), "Roaming");
    let snapshot = scene.core.session(session).expect("it is there");
    assert_eq!((snapshot.is_open, snapshot.interface, snapshot.active_configuration), (true, None, None));
    scene.fail("a");
    assert_eq!(scene.words(session), "");
    scene.settle_on("worse");
    assert_eq!(scene.words(session), "Connected, moved worse");
    scene.vanish("worse");
    let told = scene.words(session);
    assert_eq!(told, "NotAvailable, Error(SessionAborted: LinkLost), Closed, Disconnected", "a may be tried later");
}

#[test]
fn each_link_that_was_left_has_a_time_of_its_own() {
    let (mut scene, _) = with_a(false);
    scene.work();
    scene.appear("best");
    scene.pass(10 * SECOND);
    scene.work();
    assert_eq!(scene.held(), "a b best");
    scene.pass(LINGER - 10 * SECOND);
    assert_eq!(scene.held(), "a best");
    scene.pass(10 * SECOND - Duration::from_millis(1));
    assert_eq!(scene.held(), "a best");
    scene.pass(Duration::from_millis(1));
    assert_eq!(scene.held(), "best");
}

#[test]
fn a_link_that_was_left_can_be_gone_back_to_while_it_is_kept() {
    let (mut scene, session) = with_a(false);
    scene.work();
    scene.hear();
    scene.vanish("a");
    assert_eq!(scene.words(session), "Roaming, Connected, moved b");
    scene.listen_for("b", &[]);
    scene.work();
    scene.pass(LINGER);
    assert_eq!((scene.words(session), scene.held()), (String::new(), "b".to_owned()));
}

#[test]
fn a_link_that_was_left_and_is_lost_or_stopped_is_kept_no_more() {
    let (mut scene, session) = with_a(false);
    scene.work();
    scene.vanish("b");
    assert_eq!(scene.held(), "a");
    assert_eq!(scene.words(session), "Roaming, Connected, moved a");
    assert_eq!(scene.core.poll_timeout().filter(|next| *next > scene.now + 10 * SECOND), None);

    let (mut scene, session) = with_a(false);
    scene.work();
    let other = scene.session_on(2, "b");
    scene.stop(other);
    scene.work();
    assert_eq!((scene.held(), scene.flags("b")), ("a".to_owned(), StateFlags::Discovered));
    assert_eq!(scene.words(session), "Roaming, Connected, moved a");
}

#[test]
fn a_close_while_the_old_link_is_kept_gives_all_back() {
    let (mut scene, session) = with_a(false);
    scene.work();
    scene.hear();
    scene.close(session);
    for member in ["a", "b"] {
        scene.listen_for(member, &[Target::Released]);
    }
    scene.work();
    assert_eq!(
        scene.words(session),
        "Closed, Closing, Disconnected, Closing, Disconnected",
        "a, and then what it watches"
    );
}

#[test]
fn how_long_the_old_link_is_kept_is_said_for_each_service_network() {
    let mut profiles = edition(&MEMBERS);
    profiles.service_networks.values_mut().for_each(|network| network.roam_linger = Duration::ZERO);
    let mut scene = world_with(Settings { profiles, ..settings() }, |_| {});
    let session = scene.roamer(1, false);
    scene.appear("a");
    scene.pass(SETTLE);
    scene.settle_on("a");
    assert_eq!((scene.words(session), scene.held()), ("Roaming, Connected, moved a".into(), "a".into()));
    scene.listen_for("b", &[Target::Released]);
}

#[test]
fn events_are_taken_and_dropped_and_the_next_decision_is_whose_it_is_then() {
    let (mut scene, session) = open_by_b(true);
    scene.decide(session, false);
    scene.appear("a");
    scene.pass(SETTLE);
    scene.work();
    assert_eq!(scene.words(session), "Roaming, Connected, moved a");
    scene.decide(session, true);
    scene.appear("best");
    scene.pass(SETTLE);
    assert_eq!(scene.words(session), "offer 1 best");
    scene.decide(session, true);
    scene.decide(session, false);
    scene.work();
    assert_eq!(scene.words(session), "Roaming, Connected, moved best", "the rule applies at once");
}

// When something is better.

#[test]
fn each_loss_within_a_minute_doubles_the_time_to_settle() {
    let (mut scene, session) = open_by_b(true);
    scene.appear("a");
    for doubled in [2, 4, 8, 16, 32, 60, 60].map(|seconds| seconds * SECOND) {
        scene.pass(doubled - SECOND);
        assert_eq!(scene.words(session), "", "{doubled:?}");
        scene.pass(SECOND);
        assert!(scene.words(session).starts_with("offer "), "{doubled:?}");
        scene.vanish("a");
        // What is a minute ago is forgotten, so the losses come in quick succession.
        for _ in 0..(if doubled > 16 * SECOND { 6 } else { 0 }) {
            scene.appear("a");
            scene.vanish("a");
        }
        if doubled == 8 * SECOND || doubled == 16 * SECOND {
            // Those of the rounds before are still within the minute.
            assert!(scene.words(session).starts_with("withdrawn"));
        } else {
            scene.hear();
        }
        scene.appear("a");
    }
    scene.vanish("a");
    scene.pass(61 * SECOND);
    scene.hear();
    scene.appear("a");
    scene.pass(SETTLE);
    assert!(scene.words(session).starts_with("offer "), "all is forgotten");
}

#[test]
fn a_member_that_flaps_is_offered_at_the_end_and_no_event_is_lost() {
    let (mut scene, session) = open_by_b(true);
    for _ in 0..20 {
        scene.appear("a");
        scene.pass(SECOND / 4);
        scene.vanish("a");
        scene.pass(SECOND / 4);
    }
    assert_eq!(scene.words(session), "");
    scene.appear("a");
    scene.pass(60 * SECOND - SECOND);
    assert_eq!(scene.words(session), "");
    scene.pass(SECOND);
    assert_eq!(scene.words(session), "offer 1 a");
}

/// One whose carrier has gone and come back between two looks.
#[test]
fn a_flap_that_nobody_saw_is_a_loss() {
    let (mut scene, session) = with_a(true);
    scene.hear();
    scene.change_of("a", Simulated::flap);
    assert_eq!(scene.words(session), "withdrawn 1");
    scene.pass(2 * SETTLE - SECOND);
    assert_eq!(scene.words(session), "");
    scene.pass(SECOND);
    assert_eq!(scene.words(session), "offer 2 a");
}

#[test]
fn who_rejects_waits_as_after_a_loss() {
    let (mut scene, session) = At::Trial.play();
    scene.answer(session, Verb::Reject);
    scene.work();
    scene.hear();
    scene.vanish("a");
    scene.appear("a");
    scene.pass(4 * SETTLE - SECOND);
    assert_eq!(scene.words(session), "", "one loss, and one rejection");
    scene.pass(SECOND);
    assert_eq!(scene.words(session), "offer 2 a");
}

#[test]
fn a_candidate_that_does_not_start_comes_again_after_a_time_that_doubles_to_ten_minutes() {
    for decides in [true, false] {
        let (mut scene, session) = with_a(decides);
        let mut waited = Vec::new();
        for _ in 0..9 {
            if decides {
                scene.answer(session, Verb::Migrate);
            }
            scene.fail("a");
            scene.work();
            scene.hear();
            let begin = scene.now;
            while scene.core.holds(&"a".into()) == 0 && scene.offered(session).is_none() {
                scene.now = scene.core.poll_timeout().expect("it comes again");
                scene.pass(Duration::ZERO);
            }
            waited.push((scene.now - begin).as_secs());
        }
        assert_eq!(waited, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        scene.hear();
        // It goes away and comes back: it is as new.
        if decides {
            scene.answer(session, Verb::Migrate);
        }
        scene.fail("a");
        scene.work();
        scene.vanish("a");
        scene.pass(61 * SECOND);
        scene.hear();
        scene.appear("a");
        scene.pass(SETTLE);
        scene.work();
        let expected = if decides { "offer 11 a" } else { "Roaming, Connected, moved a" };
        assert_eq!(scene.words(session), expected);
    }
}

#[test]
fn who_rejects_twice_within_a_minute_waits_as_after_two_losses() {
    let (mut scene, session) = At::Trial.play();
    for wait in [4 * SETTLE, 16 * SETTLE] {
        scene.answer(session, Verb::Reject);
        scene.work();
        scene.hear();
        scene.vanish("a");
        scene.appear("a");
        scene.pass(wait - SECOND);
        assert_eq!(scene.words(session), "", "as many losses as rejections");
        scene.pass(SECOND);
        assert!(scene.words(session).starts_with("offer "));
        scene.answer(session, Verb::Migrate);
        scene.work();
        scene.hear();
    }
}

#[test]
fn after_a_rejection_there_is_no_offer_until_it_was_replugged_and_then_one() {
    let (mut scene, session) = At::Trial.play();
    scene.answer(session, Verb::Reject);
    scene.work();
    scene.hear();
    scene.pass(60 * SECOND);
    assert_eq!(scene.words(session), "");
    scene.change_of("a", Simulated::unplug);
    scene.change_of("a", |a| a.replug(true, Foreign::Nothing));
    scene.pass(60 * SECOND);
    assert_eq!(scene.words(session), "offer 2 a");
}

/// Nothing is worth a second try at once that somebody has just stopped.
#[test]
fn a_candidate_that_is_stopped_while_it_is_brought_up_is_left_alone_until_it_has_gone_and_come_back() {
    let (mut scene, session) = with_a(false);
    let other = scene.session_on(2, "a");
    scene.stop(other);
    scene.work();
    scene.pass(600 * SECOND);
    assert_eq!((scene.words(session), scene.held()), (String::new(), "b".to_owned()));
    scene.vanish("a");
    scene.appear("a");
    scene.pass(SETTLE * 4);
    scene.work();
    assert_eq!(scene.words(session), "Roaming, Connected, moved a");
}

#[test]
fn a_wired_member_that_is_down_is_offered_once_it_has_shown_its_carrier() {
    let mut scene = world();
    let watcher = scene.session_on(2, NETWORK);
    scene.change_of("a", |a| a.set_up(false));
    scene.work();
    assert!(!scene.machine["a"].is_up, "watching touches nothing");
    scene.change_of("a", |a| a.set_up(true));
    let session = scene.roamer(1, true);
    scene.set_down("a");
    assert!(scene.machine["a"].is_up, "it is kept up to be seen");
    scene.pass(60 * SECOND);
    assert_eq!(scene.words(session), "");
    scene.appear("a");
    scene.pass(60 * SECOND);
    assert_eq!(scene.words(session), "offer 1 a");
    scene.vanish("a");
    scene.appear("a");
    scene.pass(2 * SETTLE - SECOND);
    assert_eq!(scene.words(session), "withdrawn 1", "its losses count");
    scene.pass(SECOND);
    assert_eq!(scene.words(session), "offer 2 a");
    scene.vanish("a");
    scene.close(session);
    scene.work();
    assert!(!scene.machine["a"].is_up, "administratively down again");
    assert_eq!(scene.words(session), "withdrawn 2, Closed, Closing, Disconnected");
    scene.told(watcher);
}

#[test]
fn preference_and_the_time_to_settle_are_of_each_service_network() {
    let mut profiles = edition(&MEMBERS);
    let patient = |members: [&str; 2]| ServiceNetworkProfile {
        members: members.map(str::to_owned).to_vec(),
        settle: 10 * SECOND,
        ..ServiceNetworkProfile::default()
    };
    profiles.service_networks.insert("service-patient".into(), patient(["a", "b"]));
    profiles.service_networks.insert("service-other-way".into(), patient(["b", "a"]));
    let mut scene = world_with(Settings { profiles, ..settings() }, |_| {});
    let hurried = scene.roamer(1, true);
    let patient = scene.roamer_on(2, "service-patient", true);
    let content = scene.roamer_on(3, "service-other-way", true);
    scene.appear("a");
    scene.pass(SETTLE);
    assert_eq!((scene.words(hurried), scene.words(patient)), ("offer 1 a".to_owned(), String::new()));
    scene.pass(8 * SECOND);
    assert_eq!((scene.words(hurried), scene.words(patient)), (String::new(), "offer 2 a".to_owned()));
    scene.pass(600 * SECOND);
    assert_eq!(scene.words(content), "");
}

#[test]
fn nothing_is_waited_for_unless_something_better_settles() {
    let (mut scene, session) = open_by_b(true);
    scene.appear("worse");
    assert_eq!(scene.core.poll_timeout(), None, "no better one");
    scene.appear("a");
    assert_eq!(scene.core.poll_timeout(), Some(scene.now + SETTLE));
    scene.vanish("a");
    assert_eq!(scene.core.poll_timeout(), None);
    scene.appear("a");
    scene.pass(2 * SETTLE);
    scene.answer(session, Verb::Ignore);
    assert_eq!(scene.core.poll_timeout(), None, "what is ignored is not waited for");
}

// What others hold.

#[test]
fn a_session_whose_other_member_is_up_sees_its_own_end_and_then_that() {
    let adopted = |[_, _, _, worse]: [&mut Simulated; 4]| {
        (worse.has_cable, worse.foreign) = (true, Foreign::Nothing);
    };
    let play = || {
        let mut scene = world_with(settings(), adopted);
        let session = scene.roamer(1, true);
        let watcher = scene.session_on(2, NETWORK);
        scene.change_of("worse", |worse| worse.set_foreign(Foreign::Usable));
        scene.hear();
        (scene, session, watcher)
    };
    let (mut scene, session, watcher) = play();
    scene.close(session);
    scene.work();
    assert_eq!(scene.words(session), "Closed, Closing, Disconnected, Connected");
    assert_eq!(scene.words(watcher), "interface worse");
    let (mut scene, session, watcher) = play();
    scene.stop(session);
    scene.work();
    assert_eq!(scene.words(session), "Closed, Closing, Disconnected, Connected");
    assert_eq!(scene.words(watcher), "interface worse");
    let (mut scene, session, watcher) = play();
    scene.vanish("b");
    scene.answer(session, Verb::Ignore);
    assert_eq!(
        scene.words(session),
        "Roaming, replacement 1 worse, Disconnected, Error(Roaming: NothingToRoamTo), Closed, Connected"
    );
    assert_eq!(scene.words(watcher), "interface worse");
}

#[test]
fn a_descriptor_that_was_passed_on_follows_the_roams_of_its_session_and_decides_nothing() {
    let (mut scene, session) = with_a(true);
    scene.pass_on(session, 9);
    scene.answer(session, Verb::Migrate);
    scene.settle_on("a");
    scene.answer(session, Verb::Accept);
    scene.work();
    scene.close(session);
    assert_eq!(scene.held(), "a", "where it went");
    let heir = scene.core.session_descriptions().into_iter().find(|found| found.is_open).expect("somebody goes on");
    assert!(!scene.core.is_stakeholder(heir.session));
    assert!(scene.core.is_stakeholder(session), "its application still takes the events");
    scene.appear("best");
    scene.pass(SETTLE);
    scene.work();
    assert_eq!(scene.held(), "a best", "forced roaming");
    scene.vanish("best");
    scene.work();
    assert_eq!(scene.held(), "a");
    scene.close_descriptor(9);
    scene.work();
    assert_eq!((scene.held(), scene.told(heir.session)), (String::new(), vec![]));
}

#[test]
fn descriptors_passed_on_while_a_session_roams_hold_what_it_would_have_held() {
    for (at, expected) in [
        (At::Offered, "b"),
        (At::Migrating, "b"),
        (At::Trial, "b"),
        (At::ReplacementOffered, "a"),
        (At::MigratingWithoutLink, "a"),
        (At::TrialWithoutLink, "a"),
        (At::Preparing, "a b"),
        (At::Replacing, "a"),
    ] {
        for is_killed in [false, true] {
            let (mut scene, session) = at.play();
            scene.pass_on(session, 9);
            if is_killed {
                scene.client_gone(1);
                scene.close_descriptor(1);
            } else {
                scene.close(session);
            }
            scene.work();
            assert_eq!(scene.held(), expected, "{at:?}");
            scene.pass(60 * SECOND);
            assert_eq!(scene.held(), expected.split(' ').next().unwrap(), "{at:?}");
            scene.close_descriptor(9);
            scene.work();
            assert_eq!(scene.held(), "", "{at:?}");
        }
    }
}

// Access points that share a device.

const HOME: &str = "ap0/home";
const OFFICE: &str = "ap0/office";

/// Home and office on one device.
fn edition_with_one_device(members: &[&str]) -> Profiles {
    let file = || MatchedProfile {
        matching: Matching { interface: Some(AP0.to_owned()), ..Matching::default() },
        profile: Profile { exclusive: true, ..Profile::default() },
    };
    let by_file = ["home", "office"].map(|name| (name.to_owned(), file()));
    Profiles { by_file: by_file.into(), ..edition(members) }
}

/// Home is in front of office, and b behind them has no cable.
fn shared_device() -> Scene {
    let profiles = edition_with_one_device(&["home", "office", "b"]);
    Scene::with_access_points(Settings { profiles, ..settings() }, [AP0, "b"], |[ap0, b]| {
        (ap0.is_up, b.is_up, b.has_cable) = (true, true, false);
    })
}

/// Sessions that are open by office, as home has failed them once.
fn open_by_office<const COUNT: usize>(scene: &mut Scene, decide: [bool; COUNT]) -> [SessionId; COUNT] {
    let mut client = 0;
    let sessions = decide.map(|decides| {
        client += 1;
        let session = scene.session_on(client, NETWORK);
        scene.decide(session, decides);
        session
    });
    for session in sessions {
        scene.open(session);
        if client > 0 {
            scene.fail(AP0);
            client = 0;
        }
        scene.settle_on(AP0);
        assert_eq!(scene.active(session), OFFICE);
    }
    scene.hear();
    sessions
}

#[test]
fn what_shares_the_device_of_the_link_in_use_is_never_offered_before_that_is_lost() {
    let mut scene = shared_device();
    let [session] = open_by_office(&mut scene, [true]);
    let direct = scene.session_on(7, HOME);
    let busy = scene.core.open(direct, scene.now);
    assert!(matches!(busy, Err(Refusal::Busy(_))), "{busy:?}");
    scene.pass(600 * SECOND);
    assert_eq!(scene.words(session), "");
    scene.change_of(AP0, Simulated::expire_lease);
    assert_eq!(scene.words(session), "Roaming, replacement 1 ap0/home");
    scene.answer(session, Verb::Migrate);
    scene.settle_on(AP0);
    scene.answer(session, Verb::Accept);
    assert_eq!(scene.words(session), "activated ap0/home, Connected");
}

#[test]
fn after_a_loss_all_who_are_not_asked_move_together_to_another_one_of_the_device() {
    let mut scene = shared_device();
    let [one, other] = open_by_office(&mut scene, [false, false]);
    // Its own failed start is long past.
    scene.now = scene.now + 5 * SECOND;
    scene.change_of(AP0, Simulated::expire_lease);
    scene.settle_on(AP0);
    for session in [one, other] {
        assert_eq!(scene.words(session), "Roaming, Connected, moved ap0/home");
    }
    assert_eq!((scene.core.holds(&HOME.into()), scene.core.holds(&OFFICE.into())), (2, 0));
}

#[test]
fn a_better_one_of_the_same_device_is_moved_to_if_all_who_hold_the_link_go_with_it() {
    let mut scene = shared_device();
    let [one, other] = open_by_office(&mut scene, [false, false]);
    scene.bind(one, 1);
    scene.bind(other, 2);
    scene.pass(5 * SECOND);
    for session in [one, other] {
        assert_eq!(scene.words(session), "Roaming", "break before make");
    }
    assert_eq!(scene.ended(), [1, 2], "what is on it ends at once");
    scene.settle_on(AP0);
    for session in [one, other] {
        assert_eq!(scene.words(session), "Connected, moved ap0/home");
    }
    assert_eq!((scene.core.holds(&HOME.into()), scene.core.holds(&OFFICE.into())), (2, 0));
    assert_eq!(scene.core.poll_timeout(), None);
}

#[test]
fn who_has_broken_for_one_that_does_not_come_up_goes_back() {
    let mut scene = shared_device();
    let [one, other] = open_by_office(&mut scene, [false, false]);
    scene.pass(5 * SECOND);
    while !scene.machine[AP0].is_as_found() {
        scene.listen();
        assert!(scene.machine.get_mut(AP0).is_some_and(Simulated::step));
        scene.report_of(AP0);
    }
    scene.fail(AP0);
    scene.settle_on(AP0);
    for session in [one, other] {
        assert_eq!(scene.words(session), "Roaming, Connected, moved ap0/office");
    }
    scene.pass(10 * SECOND - Duration::from_millis(1));
    assert_eq!(scene.words(one), "");
    scene.pass(Duration::from_millis(1));
    assert_eq!(scene.words(one), "Roaming", "the next try");
}

#[test]
fn nobody_breaks_a_link_that_somebody_holds_who_would_not_go_with_it() {
    let mut scene = shared_device();
    let [forced, decides] = open_by_office(&mut scene, [false, true]);
    scene.pass(600 * SECOND);
    assert_eq!(scene.words(forced), "", "an application decides");
    scene.decide(decides, false);
    assert_eq!((scene.words(forced), scene.words(decides)), ("Roaming".to_owned(), "Roaming".to_owned()));
    let mut scene = shared_device();
    let [forced] = open_by_office(&mut scene, [false]);
    let direct = scene.opening(7, OFFICE);
    scene.pass(600 * SECOND);
    assert_eq!(scene.words(forced), "", "a session on the access point itself");
    scene.close(direct);
    assert_eq!(scene.words(forced), "Roaming");
}

#[test]
fn a_cable_without_carrier_is_of_no_use_to_another_one_of_its_device() {
    for decides in [false, true] {
        let mut scene = shared_device();
        let [session] = open_by_office(&mut scene, [decides]);
        scene.now = scene.now + 5 * SECOND;
        scene.change_of(AP0, Simulated::pull_cable);
        assert_eq!(scene.words(session), "NotAvailable, Error(SessionAborted: LinkLost), Closed");
    }
}

#[test]
fn what_somebody_else_has_the_device_of_is_neither_moved_to_nor_a_replacement() {
    for decides in [false, true] {
        let mut scene = shared_device();
        scene.core.handle_profiles(edition_with_one_device(&["home", "b"]), scene.now);
        scene.appear("b");
        let direct = scene.opening(7, OFFICE);
        scene.settle_on(AP0);
        let session = scene.roamer(1, decides);
        scene.pass(600 * SECOND);
        assert_eq!(scene.words(session), "");
        scene.vanish("b");
        assert_eq!(scene.words(session), "NotAvailable, Error(SessionAborted: LinkLost), Closed, Disconnected");
        assert_eq!(scene.words(direct), "");
    }
}

/// It is kept for a while for one that has left it, and that one would not go with the others.
#[test]
fn nobody_breaks_a_link_that_is_kept_for_somebody_who_has_left_it() {
    let mut scene = shared_device();
    let mut profiles = edition_with_one_device(&["home", "office"]);
    let members = ["b", "office"].map(str::to_owned).to_vec();
    let other_network = ServiceNetworkProfile { members, ..ServiceNetworkProfile::default() };
    profiles.service_networks.insert("service-other".into(), other_network);
    scene.core.handle_profiles(profiles, scene.now);
    let [stays] = open_by_office(&mut scene, [false]);
    let leaves = scene.opening(2, "service-other");
    assert_eq!(scene.active(leaves), OFFICE);
    scene.appear("b");
    scene.pass(SETTLE);
    scene.settle_on("b");
    assert_eq!(scene.active(leaves), "b");
    scene.pass(LINGER - SECOND);
    assert_eq!(scene.words(stays), "");
    scene.pass(SECOND);
    assert_eq!(scene.words(stays), "Roaming");
}

// The service is started anew.

#[test]
fn of_a_session_that_is_settled_nothing_of_roaming_is_kept() {
    let (scene, _) = open_by_b(false);
    let text = |scene: &Scene| serde_json::to_string(&scene.saved).expect("it can be written");
    assert!(!text(&scene).contains("roam"), "{}", text(&scene));
    let (scene, _) = At::Preparing.play();
    assert!(text(&scene).contains("roam"), "{}", text(&scene));
}

#[test]
fn times_begin_anew_when_the_service_does() {
    let (mut scene, session) = At::ReplacementOffered.play();
    scene.pass(ANSWER - SECOND);
    scene.outlive_service(session, |_| {});
    scene.pass(ANSWER - SECOND);
    assert_eq!(scene.words(session), "");
    assert_eq!(scene.offered(session), Some(OfferNumber(2)), "it keeps its number");
    scene.pass(SECOND);
    assert_eq!(scene.words(session), "Disconnected, Error(Roaming: NothingToRoamTo), Closed");

    let (mut scene, session) = At::TrialWithoutLink.play();
    scene.pass(ANSWER - SECOND);
    scene.outlive_service(session, |_| {});
    scene.work();
    scene.pass(ANSWER - SECOND);
    assert_eq!(scene.words(session), "");
    scene.answer(session, Verb::Accept);
    assert_eq!(scene.words(session), "Connected");

    let (mut scene, session) = with_a(false);
    scene.work();
    scene.pass(LINGER - SECOND);
    scene.hear();
    scene.outlive_service(session, |_| {});
    scene.work();
    scene.pass(LINGER - SECOND);
    assert_eq!(scene.held(), "a b");
    scene.pass(SECOND);
    assert_eq!((scene.held(), scene.words(session)), ("a".to_owned(), String::new()));
}

#[test]
fn what_was_offered_stands_after_a_restart_and_can_be_answered() {
    for is_down in [false, true] {
        let (mut scene, session) = open_by_b(true);
        if is_down {
            scene.set_down("a");
        }
        scene.appear("a");
        scene.pass(SETTLE);
        scene.hear();
        scene.outlive_service(session, |_| {});
        scene.work();
        scene.pass(60 * SECOND);
        assert_eq!(scene.words(session), "", "it is not repeated");
        scene.answer(session, Verb::Migrate);
        scene.work();
        assert_eq!(scene.words(session), "Roaming, activated a");
    }
}

#[test]
fn what_was_ignored_before_a_restart_is_ignored_after_it_unless_it_has_come_back_since() {
    let (mut scene, session) = with_a(true);
    scene.answer(session, Verb::Ignore);
    scene.hear();
    scene.outlive_service(session, |_| {});
    scene.work();
    scene.pass(600 * SECOND);
    assert_eq!(scene.words(session), "");
    scene.vanish("a");
    scene.appear("a");
    scene.outlive_service(session, |_| {});
    scene.work();
    scene.pass(60 * SECOND);
    assert_eq!(scene.words(session), "offer 2 a");
}
