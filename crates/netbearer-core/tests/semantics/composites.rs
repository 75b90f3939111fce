//! Sessions on service networks and user choices (semantics §2, §3, §6).

use std::time::Duration;

use netbearer_core::{ClientId, Profiles, Refusal, Settings, Verdict};
use netbearer_types::{
    FailureReason, Identifier, Kind, Lifetime, Profile, PropertyKey, PropertyValue, Proxy, ServiceNetworkProfile,
    SessionError::{InvalidConfiguration, OperationNotSupported, SessionAborted, Unknown},
    SessionState::{Closing, Connected, Connecting, Disconnected, Invalid, NotAvailable, Roaming},
    StateFlags, Target, UserChoiceProfile,
};

use crate::{
    heard::Told::{self, Closed, Error, InterfaceChanged, Moved, Opened, State},
    scene::{NETWORK, Scene},
    simulated::{Foreign, Simulated},
};

const CHOICE: &str = "choice-uplink";
const NOTHING: &[Told] = &[];

fn profiles(members: &[&str]) -> Profiles {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let network = ServiceNetworkProfile { members: owned(members), ..ServiceNetworkProfile::default() };
    let choice = UserChoiceProfile { name: None, choices: owned(&[NETWORK, "a", "b"]) };
    Profiles {
        service_networks: [(NETWORK.into(), network)].into(),
        user_choices: [(CHOICE.into(), choice)].into(),
        ..Profiles::default()
    }
}

fn settings() -> Settings {
    Settings { profiles: profiles(&["a", "b"]), ..Settings::default() }
}

/// "a" and "b" of the service network, "a" preferred, both down.
fn both_down() -> Scene {
    Scene::with_access_points(settings(), ["a", "b"], |_| {})
}

fn b_adopted() -> Scene {
    Scene::with_access_points(settings(), ["a", "b"], |[_, b]| bring_up_by_itself(b))
}

fn without_cables() -> Scene {
    Scene::with_access_points(settings(), ["a", "b"], |[a, b]| {
        for access_point in [a, b] {
            access_point.is_up = true;
            access_point.has_cable = false;
        }
    })
}

fn bring_up_by_itself(access_point: &mut Simulated) {
    access_point.is_up = true;
    access_point.foreign = Foreign::Usable;
}

#[test]
fn open_brings_up_the_most_preferred_member() {
    let mut scene = both_down();
    let (caller, watcher) = (scene.session_on(1, NETWORK), scene.session_on(2, NETWORK));
    scene.open(caller);
    assert_eq!(scene.told(caller), [State(Connecting)]);
    assert_eq!(scene.text(caller, PropertyKey::ActiveConfiguration), "");
    scene.settle_on("a");
    assert_eq!(scene.told(caller), [State(Connected), Opened]);
    assert_eq!(scene.told(watcher), [State(Connecting), State(Connected)]);
    assert_eq!(scene.active(caller), "a");
    assert!(scene.core.session(caller).unwrap().interface.is_some());
    scene.close(caller);
    scene.settle_on("a");
    assert_eq!(scene.told(caller), [Closed, State(Closing), State(Disconnected)]);
    assert_eq!(scene.told(watcher), [State(Closing), State(Disconnected)]);
    assert_eq!(scene.active(caller), "");
}

#[test]
fn open_takes_an_active_member_at_once_though_another_is_preferred() {
    let mut scene = b_adopted();
    let caller = scene.session_on(1, NETWORK);
    assert_eq!(scene.state(caller), Connected);
    assert!(scene.core.session(caller).unwrap().interface.is_some(), "a watcher is shown the member that is up");
    scene.open(caller);
    assert_eq!(scene.told(caller), [Opened]);
    assert_eq!(scene.active(caller), "b");
    scene.close(caller);
    assert_eq!(scene.told(caller), [Closed]);
    assert_eq!(scene.state(caller), Connected, "the machine itself holds it");
}

#[test]
fn open_goes_on_to_the_next_member_without_a_word() {
    let mut scene = both_down();
    let caller = scene.opening(1, NETWORK);
    scene.fail("a");
    assert_eq!(scene.told(caller), [State(Connecting)], "Connecting throughout");
    scene.settle_on("b");
    assert_eq!(scene.told(caller), [State(Connected), Opened]);
    assert_eq!(scene.active(caller), "b");
    assert_eq!(scene.core.holds(&"a".into()), 0);
}

#[test]
fn one_error_names_the_causes_of_all_when_every_member_failed() {
    let mut scene = both_down();
    let caller = scene.opening(1, NETWORK);
    scene.fail("a");
    scene.settle_on("a");
    scene.fail("b");
    let failed = Error(Unknown, FailureReason::AllMembersFailed);
    assert_eq!(scene.told(caller), [State(Connecting), State(Disconnected), failed]);
    let failure = scene.core.session(caller).unwrap().failure.unwrap();
    assert_eq!(
        failure.message,
        "no member of service-uplink could be brought up: (1) a: the engine met an obstacle; (2) b: the engine met an obstacle"
    );
    scene.open(caller);
    scene.settle_on("a");
    assert_eq!(scene.told(caller), [State(Connecting), State(Connected), Opened], "the next opening tries all again");
}

#[test]
fn open_on_members_that_cannot_be_opened_fails_as_an_access_point_does() {
    let mut scene = without_cables();
    let caller = scene.session_on(1, NETWORK);
    assert_eq!(scene.state(caller), NotAvailable);
    scene.open(caller);
    assert_eq!(scene.told(caller), [Error(InvalidConfiguration, FailureReason::NotAvailable)]);
    scene.change_of("b", Simulated::push_cable);
    assert_eq!(scene.told(caller), [State(Disconnected)]);
}

#[test]
fn open_on_members_that_may_not_be_started_is_refused() {
    let mut scene = Scene::with_access_points(settings(), ["a", "b"], |access_points| {
        for access_point in access_points {
            access_point.set_privilege(false);
        }
    });
    let caller = scene.session_on(1, NETWORK);
    let refused = scene.core.open(caller, scene.now);
    assert!(matches!(refused, Err(Refusal::NotSupported(_))), "{refused:?}");
    let reason = FailureReason::MissingPrivilege("CAP_NET_ADMIN".into());
    assert_eq!(scene.told(caller), [Error(OperationNotSupported, reason)]);
}

#[test]
fn the_last_close_is_seen_on_its_own_member_and_then_another_one_shows() {
    let mut scene = b_adopted();
    scene.change_of("b", |b| b.set_foreign(Foreign::Nothing));
    let (caller, watcher) = (scene.open_by("a"), scene.session_on(2, NETWORK));
    scene.change_of("b", |b| b.set_foreign(Foreign::Usable));
    scene.close(caller);
    scene.settle_on("a");
    assert_eq!(scene.told(caller), [Closed, State(Closing), State(Disconnected), State(Connected)]);
    scene.expect_to_be_shown(watcher, "b");
}

#[test]
fn a_stop_is_seen_on_the_own_member_and_then_another_one_shows() {
    let mut scene = b_adopted();
    scene.change_of("b", |b| b.set_foreign(Foreign::Nothing));
    let (caller, other) = (scene.open_by("a"), scene.session_on(2, NETWORK));
    scene.open(other);
    scene.change_of("b", |b| b.set_foreign(Foreign::Usable));
    scene.told(other);
    scene.stop(caller);
    scene.settle_on("a");
    let stopped = Error(SessionAborted, FailureReason::Stopped);
    assert_eq!(scene.told(caller), [Closed, State(Closing), State(Disconnected), State(Connected)]);
    assert_eq!(scene.told(other), [State(Closing), stopped, Closed, State(Disconnected), State(Connected)]);
}

#[test]
fn a_loss_is_roamed_from_and_watchers_are_shown_another_member() {
    let mut scene = b_adopted();
    scene.change_of("b", |b| b.set_foreign(Foreign::Nothing));
    let (caller, watcher) = (scene.open_by("a"), scene.session_on(2, NETWORK));
    scene.change_of("b", |b| b.set_foreign(Foreign::Usable));
    scene.change_of("a", Simulated::pull_cable);
    assert_eq!(scene.told(caller), [State(Roaming), State(Connected), Moved("b".into())]);
    scene.expect_to_be_shown(watcher, "b");
}

#[test]
fn a_member_kept_up_by_others_leaves_the_session_that_closes_connected() {
    let mut scene = both_down();
    let (caller, other) = (scene.open_by("a"), scene.session_on(2, "a"));
    scene.open(other);
    scene.close(caller);
    assert_eq!(scene.told(caller), [Closed]);
    scene.close(other);
    assert_eq!(scene.told(caller), [State(Closing)], "it watches the network again");
}

#[test]
fn stop_of_a_service_network_that_is_not_open_is_an_error_value_and_nothing_else() {
    let mut scene = b_adopted();
    let caller = scene.session_on(1, NETWORK);
    let refused = scene.core.stop(caller, scene.now);
    assert_eq!(refused, Err(Refusal::NotOpen(NETWORK.into())));
    assert_eq!(scene.told(caller), NOTHING);
    assert_eq!(scene.flags("b"), StateFlags::Active);
}

#[test]
fn a_close_while_a_member_is_brought_up_ends_it() {
    let mut scene = both_down();
    let caller = scene.opening(1, NETWORK);
    scene.close(caller);
    scene.settle_on("a");
    assert_eq!(scene.told(caller), [State(Connecting), Closed, State(Closing), State(Disconnected)]);
    assert_eq!(scene.core.holds(&"b".into()), 0);
}

#[test]
fn an_open_before_the_enumeration_waits_for_a_member() {
    let mut scene = Scene::new(settings(), ["a", "b"].map(|name| (name.into(), Simulated::new(name.into()))));
    let (caller, late) = (scene.session_on(1, NETWORK), scene.session_on(2, NETWORK));
    scene.open(caller);
    scene.open(late);
    assert_eq!(scene.told(caller), [State(Connecting)]);
    scene.close(late);
    assert_eq!(scene.told(late), [State(Connecting), Closed, State(NotAvailable)]);
    scene.report_of("b");
    scene.settle_on("b");
    assert_eq!(scene.told(caller), [State(Connected), Opened]);
}

#[test]
fn an_open_before_the_enumeration_fails_with_its_end() {
    for is_enumerated in [true, false] {
        let mut scene = Scene::new(settings(), []);
        let caller = scene.opening(1, NETWORK);
        if is_enumerated {
            scene.core.handle_enumerated(scene.now);
        } else {
            scene.pass(Duration::from_secs(10));
        }
        let failed = Error(InvalidConfiguration, FailureReason::NotAvailable);
        assert_eq!(scene.told(caller), [State(Connecting), State(NotAvailable), failed]);
    }
}

#[test]
fn with_reconnect_a_loss_is_roamed_from_if_another_member_can_be_had() {
    let mut scene = both_down();
    let caller = scene.open_by("a");
    scene.reconnect(caller);
    scene.change_of("a", Simulated::pull_cable);
    assert_eq!(scene.told(caller), [State(Roaming)]);
    assert_eq!(scene.active(caller), "");
    scene.settle_on("b");
    assert_eq!(scene.told(caller), [State(Connected), Moved("b".into())]);
    assert_eq!(scene.active(caller), "b");
}

#[test]
fn with_reconnect_an_absent_network_is_waited_for() {
    let mut scene = without_cables();
    let caller = scene.session_on(1, NETWORK);
    scene.reconnect(caller);
    scene.open(caller);
    assert_eq!(scene.told(caller), NOTHING);
    scene.change_of("b", Simulated::push_cable);
    scene.settle_on("b");
    assert_eq!(scene.told(caller), [State(Connecting), State(Connected), Opened]);
    scene.close(caller);
    assert_eq!(scene.told(caller)[0], Closed);
}

#[test]
fn with_reconnect_openings_that_fail_altogether_back_off() {
    let mut scene = both_down();
    let caller = scene.session_on(1, NETWORK);
    scene.reconnect(caller);
    scene.open(caller);
    let begin = scene.now;
    for seconds in [1, 2, 4] {
        for member in ["a", "b"] {
            scene.fail(member);
            scene.settle_on(member);
        }
        assert_eq!(scene.told(caller), [State(Connecting), State(Disconnected)], "after {:?}", scene.now - begin);
        scene.pass(Duration::from_millis(seconds * 1_000 - 1));
        assert_eq!(scene.told(caller), NOTHING);
        scene.pass(Duration::from_millis(1));
    }
    scene.settle_on("a");
    assert_eq!(scene.told(caller), [State(Connecting), State(Connected), Opened]);
}

#[test]
fn a_removed_service_network_ends_its_sessions_and_takes_its_link_down() {
    let mut scene = both_down();
    let (caller, watcher) = (scene.open_by("a"), scene.session_on(2, NETWORK));
    scene.core.handle_profiles(Profiles::default(), scene.now);
    let removed = Error(InvalidConfiguration, FailureReason::ConfigurationInvalid);
    assert_eq!(scene.told(caller), [State(Invalid), removed, Closed]);
    assert_eq!(scene.told(watcher), [State(Invalid)]);
    assert_eq!(scene.flags("a"), StateFlags::Active, "until it is down");
    scene.settle_on("a");
    assert_eq!(scene.flags("a"), StateFlags::Discovered);
    assert!(!scene.core.session_configuration(caller).unwrap().is_valid());
    scene.core.handle_profiles(profiles(&["a", "b"]), scene.now);
    let again = scene.opening(1, NETWORK);
    scene.settle_on("a");
    assert_eq!(scene.told(again), [State(Connecting), State(Connected), Opened]);
    assert_eq!(scene.state(caller), Invalid);
}

#[test]
fn a_member_that_is_taken_out_is_a_lost_link_to_its_users() {
    let mut scene = both_down();
    let caller = scene.open_by("a");
    scene.core.handle_profiles(profiles(&["b"]), scene.now);
    assert_eq!(scene.told(caller), [State(Roaming)]);
    scene.settle_on("a");
    scene.settle_on("b");
    assert_eq!(scene.told(caller), [State(Connected), Moved("b".into())]);
    assert_eq!(scene.flags("a"), StateFlags::Discovered);
    scene.core.handle_profiles(profiles(&[]), scene.now);
    let lost = Error(SessionAborted, FailureReason::LinkLost);
    assert_eq!(scene.told(caller), [State(NotAvailable), lost, Closed]);
}

#[test]
fn a_member_that_is_put_in_front_is_taken_by_the_next_opening() {
    let mut scene = both_down();
    let caller = scene.open_by("a");
    scene.core.handle_profiles(profiles(&["b", "a"]), scene.now);
    assert_eq!(scene.told(caller), NOTHING);
    assert_eq!(scene.active(caller), "a");
    assert_eq!(scene.core.configuration(&NETWORK.into()).unwrap().children, ["b".into(), "a".into()]);
}

#[test]
fn an_unused_wired_member_is_kept_up_without_addresses_while_the_network_is_open() {
    let mut scene = both_down();
    let caller = scene.open_by("a");
    scene.listen_for("b", &[Target::Sensed]);
    scene.settle_on("b");
    assert!(scene.machine[&Identifier::from("b")].is_up);
    scene.change_of("b", Simulated::pull_cable);
    assert_eq!(scene.flags("b"), StateFlags::Defined, "its carrier decides");
    scene.change_of("b", Simulated::push_cable);
    assert_eq!(scene.flags("b"), StateFlags::Discovered);
    scene.told(caller);
    scene.close(caller);
    scene.settle_on("b");
    assert!(!scene.machine[&Identifier::from("b")].is_up, "administratively down again");
    assert_eq!(scene.core.holds(&"b".into()), 0);
}

#[test]
fn a_sensed_member_that_others_configure_is_theirs_and_stays_up() {
    let mut scene = both_down();
    let caller = scene.open_by("a");
    scene.settle_on("b");
    scene.change_of("b", |b| b.set_foreign(Foreign::Usable));
    assert_eq!(scene.flags("b"), StateFlags::Active);
    scene.close(caller);
    for member in ["a", "b"] {
        scene.settle_on(member);
    }
    assert_eq!(scene.told(caller), [Closed, State(Closing), State(Disconnected), State(Connected)]);
    assert_eq!(scene.flags("b"), StateFlags::Active);
    assert!(scene.machine[&Identifier::from("b")].is_as_found());
}

#[test]
fn a_sensed_member_can_be_opened_for_itself() {
    let mut scene = both_down();
    let caller = scene.open_by("a");
    scene.settle_on("b");
    let other = scene.opening(2, "b");
    scene.settle_on("b");
    assert_eq!(scene.told(other), [State(Connecting), State(Connected), Opened]);
    scene.close(other);
    scene.settle_on("b");
    assert_eq!(scene.told(other), [Closed, State(Closing), State(Disconnected)]);
    scene.settle_on("b");
    assert!(scene.machine[&Identifier::from("b")].is_up, "it is kept in sight again");
    scene.close(caller);
}

#[test]
fn a_watcher_is_told_of_the_interface_that_it_is_shown() {
    let mut scene = b_adopted();
    let watcher = scene.session_on(1, NETWORK);
    scene.report_of("b");
    scene.change_of("b", Simulated::change_gateway);
    assert!(matches!(scene.told(watcher)[..], [InterfaceChanged(_)]));
}

#[test]
fn a_watcher_is_shown_the_most_preferred_member_that_is_up_and_told_when_it_is_another() {
    let mut scene = b_adopted();
    let watcher = scene.session_on(1, NETWORK);
    scene.change_of("a", |a| a.set_up(true) | a.set_foreign(Foreign::Usable));
    scene.expect_to_be_shown(watcher, "a");
    scene.change_of("b", Simulated::change_gateway);
    assert_eq!(scene.told(watcher), NOTHING, "that of another member does not matter");
    scene.change_of("a", Simulated::pull_cable);
    scene.expect_to_be_shown(watcher, "b");
    scene.core.handle_profiles(profiles(&["b", "a"]), scene.now);
    scene.change_of("a", Simulated::push_cable);
    assert_eq!(scene.told(watcher), NOTHING, "it is behind the one that is shown");
    scene.core.handle_profiles(profiles(&["a", "b"]), scene.now);
    scene.expect_to_be_shown(watcher, "a");
}

#[test]
fn who_closes_on_a_member_that_stays_up_is_shown_the_most_preferred_one_from_then_on() {
    let mut scene = b_adopted();
    let caller = scene.opening(1, NETWORK);
    assert_eq!(scene.told(caller), [Opened]);
    scene.settle_on("a");
    scene.change_of("a", |a| a.set_foreign(Foreign::Usable));
    assert_eq!(scene.told(caller), NOTHING, "it goes on with the one it uses");
    scene.close(caller);
    let told = scene.told(caller);
    assert!(matches!(&told[..], [Closed, InterfaceChanged(interface)] if interface.name == "a"), "{told:?}");
}

/// Every local user may read configurations (§8).
#[test]
fn nobody_is_told_the_account_at_a_proxy() {
    let proxy = Proxy::Manual("http://user:geheim@proxy.example:3128".to_owned());
    let mut profiles = profiles(&["a", "b"]);
    profiles.default.proxy = proxy.clone();
    profiles.service_networks.get_mut(&Identifier::from(NETWORK)).unwrap().proxy = proxy;
    let mut scene =
        Scene::new(Settings { profiles, ..Settings::default() }, [("a".into(), Simulated::new("a".into()))]);
    scene.core.handle_report(scene.machine[&Identifier::from("a")].report(), scene.now);
    scene.core.handle_enumerated(scene.now);
    let session = scene.session_on(1, NETWORK);
    let told: Vec<String> =
        std::iter::from_fn(|| scene.core.poll_action()).map(|action| format!("{action:?}")).collect();
    let found = [scene.core.configurations(None), scene.core.user_choices()].concat();
    let own = scene.core.session_configuration(session).unwrap();
    assert_eq!(own.proxy, Proxy::Manual("http://proxy.example:3128".to_owned()));
    let all = format!("{told:?} {found:?} {own:?}");
    assert!(all.contains("proxy.example") && told.len() >= 2, "{all}");
    assert!(!all.contains("geheim") && !all.contains("user:"), "{all}");
}

#[test]
fn flags_and_children_are_those_of_the_members() {
    let mut scene = without_cables();
    let network = |scene: &Scene| scene.core.configuration(&NETWORK.into()).unwrap();
    assert_eq!(network(&scene).state_flags, StateFlags::Defined);
    assert_eq!(network(&scene).children, ["a".into(), "b".into()]);
    assert!(network(&scene).is_roaming_available());
    scene.change_of("b", Simulated::push_cable);
    assert_eq!(network(&scene).state_flags, StateFlags::Discovered);
    scene.change_of("b", |b| b.set_foreign(Foreign::Usable));
    assert_eq!(network(&scene).state_flags, StateFlags::Active);
    let active = scene.core.configurations(Some(StateFlags::Active));
    assert_eq!(active.iter().map(|found| found.identifier.as_str()).collect::<Vec<_>>(), ["b", NETWORK]);
    assert!(scene.core.configurations(None).iter().all(|found| found.kind != Kind::UserChoice));
    assert_eq!(scene.core.configuration(&CHOICE.into()).unwrap().state_flags, StateFlags::Discovered);
}

#[test]
fn lingering_counts_as_up_for_the_network_and_is_taken_over() {
    let mut settings = settings();
    settings.profiles.default = Profile { linger: Duration::from_secs(2), ..Profile::default() };
    let mut scene = Scene::with_access_points(settings, ["a", "b"], |_| {});
    let caller = scene.open_by("a");
    scene.close(caller);
    assert_eq!(scene.told(caller), [Closed]);
    scene.open(caller);
    assert_eq!(scene.told(caller), [Opened]);
    scene.close(caller);
    scene.pass(Duration::from_secs(2));
    scene.settle_on("a");
    assert_eq!(scene.told(caller), [Closed, State(Closing), State(Disconnected)]);
}

#[test]
fn an_on_demand_member_that_others_brought_up_goes_down_with_the_last_close() {
    let mut settings = settings();
    settings.profiles.default = Profile { lifetime: Lifetime::OnDemand, ..Profile::default() };
    let mut scene = Scene::with_access_points(settings, ["a", "b"], |[_, b]| bring_up_by_itself(b));
    let caller = scene.opening(1, NETWORK);
    scene.close(caller);
    scene.change_of("b", |b| b.set_foreign(Foreign::Nothing));
    scene.settle_on("b");
    assert_eq!(scene.told(caller), [Opened, Closed, State(Closing), State(Disconnected)]);
}

// User choices.

#[test]
fn a_user_choice_without_a_chooser_comes_to_the_most_preferred() {
    let mut scene = both_down();
    let caller = scene.session_on(1, CHOICE);
    assert_eq!(scene.text(caller, PropertyKey::UserChoiceConfiguration), "");
    scene.open(caller);
    scene.settle_on("a");
    assert_eq!(scene.told(caller), [State(Connecting), State(Connected), Opened]);
    assert_eq!(scene.text(caller, PropertyKey::UserChoiceConfiguration), NETWORK);
    assert_eq!(scene.active(caller), "a");
    scene.close(caller);
    scene.settle_on("a");
    assert_eq!(scene.text(caller, PropertyKey::UserChoiceConfiguration), "");
}

#[test]
fn what_is_up_is_chosen_before_what_would_have_to_be_brought_up() {
    let mut settings = settings();
    settings.profiles.user_choices.get_mut(CHOICE).unwrap().choices = vec!["a".into(), "b".into()];
    let mut scene = Scene::with_access_points(settings, ["a", "b"], |[_, b]| bring_up_by_itself(b));
    let caller = scene.opening(1, CHOICE);
    assert_eq!(scene.told(caller), [Opened]);
    assert_eq!(scene.text(caller, PropertyKey::UserChoiceConfiguration), "b");
}

#[test]
fn a_chooser_is_asked_once_and_its_answer_is_opened() {
    let mut scene = both_down();
    let caller = scene.session_on(1, CHOICE);
    scene.core.add_chooser(ClientId(1));
    scene.open(caller);
    assert_eq!(scene.told(caller), [State(Connecting)]);
    let [question] = &scene.questions[..] else { panic!("one question, not {:?}", scene.questions) };
    let offered: Vec<&str> = question.choices.iter().map(|choice| choice.identifier.as_str()).collect();
    assert_eq!((question.configuration.identifier.as_str(), offered), (CHOICE, vec![NETWORK, "a", "b"]));
    let number = question.number;
    let elsewhere = scene.core.answer(ClientId(1), number, Some(&"c".into()), scene.now);
    assert_eq!(elsewhere, Err(Refusal::NoSuchChoice("c".into())));
    assert_eq!(scene.core.answer(ClientId(1), number, Some(&"b".into()), scene.now), Ok(()));
    scene.settle_on("b");
    assert_eq!(scene.told(caller), [State(Connected), Opened]);
    assert_eq!(scene.text(caller, PropertyKey::UserChoiceConfiguration), "b");
    assert_eq!(scene.active(caller), "b");
    let late = scene.core.answer(ClientId(1), number, None, scene.now);
    assert_eq!(late, Err(Refusal::UnknownQuestion(number)));
    assert_eq!(scene.questions.len(), 1);
}

#[test]
fn what_has_ceased_to_be_a_choice_is_not_taken_and_there_is_another_question() {
    let choosing = |choices: &[&str]| {
        let mut profiles = profiles(&["a", "b"]);
        profiles.user_choices.get_mut(CHOICE).unwrap().choices = choices.iter().map(|name| (*name).into()).collect();
        profiles
    };
    let mut scene = both_down();
    let caller = scene.session_on(1, CHOICE);
    scene.core.add_chooser(ClientId(1));
    scene.open(caller);
    let first = scene.questions[0].number;
    scene.core.handle_profiles(choosing(&[NETWORK, "a"]), scene.now);
    assert_eq!(scene.core.answer(ClientId(1), first, Some(&"b".into()), scene.now), Ok(()));
    assert_eq!(scene.told(caller), [State(Connecting)]);
    assert_eq!(scene.core.holds(&"b".into()), 0);
    let second = scene.questions[1].clone();
    let offered: Vec<&str> = second.choices.iter().map(|choice| choice.identifier.as_str()).collect();
    assert_eq!(offered, [NETWORK, "a"]);

    // With one left there is nothing to be asked.
    scene.core.handle_profiles(choosing(&["a"]), scene.now);
    assert_eq!(scene.core.answer(ClientId(1), second.number, Some(&NETWORK.into()), scene.now), Ok(()));
    scene.settle_on("a");
    assert_eq!(scene.told(caller), [State(Connected), Opened]);
    assert_eq!((scene.active(caller).as_str(), scene.questions.len()), ("a", 2));
}

#[test]
fn what_was_chosen_and_fails_is_an_error_and_nobody_is_asked_again() {
    let mut scene = both_down();
    let caller = scene.session_on(1, CHOICE);
    scene.core.add_chooser(ClientId(1));
    scene.open(caller);
    let number = scene.questions[0].number;
    scene.core.answer(ClientId(1), number, Some(&"b".into()), scene.now).unwrap();
    scene.fail("b");
    let failed = Error(Unknown, FailureReason::AllMembersFailed);
    assert_eq!(scene.told(caller), [State(Connecting), State(Disconnected), failed]);
    assert_eq!(scene.questions.len(), 1);
}

#[test]
fn no_answer_a_refusal_and_the_end_of_the_chooser_abort_the_opening() {
    for end in ["refusal", "chooser gone", "client gone", "too late"] {
        let mut scene = both_down();
        let caller = scene.session_on(1, CHOICE);
        scene.session_on(2, "a");
        let chooser = scene.core.add_chooser(ClientId(2));
        scene.open(caller);
        let number = scene.questions[0].number;
        match end {
            "refusal" => scene.core.answer(ClientId(2), number, None, scene.now).unwrap(),
            "chooser gone" => scene.core.remove_chooser(chooser, scene.now),
            "client gone" => scene.core.handle_client_gone(ClientId(2), scene.now),
            _ => scene.pass(Duration::from_secs(120)),
        }
        let aborted = Error(SessionAborted, FailureReason::NotChosen);
        assert_eq!(scene.told(caller), [State(Connecting), State(Disconnected), aborted], "{end}");
    }
}

#[test]
fn a_close_withdraws_the_question() {
    let mut scene = both_down();
    let caller = scene.session_on(1, CHOICE);
    scene.core.add_chooser(ClientId(1));
    scene.open(caller);
    scene.close(caller);
    assert_eq!(scene.told(caller), [State(Connecting), Closed, State(Disconnected)]);
    assert_eq!(scene.withdrawn, [scene.questions[0].number]);
}

#[test]
fn nobody_is_asked_in_the_background_nor_when_there_is_one_choice_or_none() {
    let mut scene = both_down();
    let caller = scene.session_on(1, CHOICE);
    scene.core.add_chooser(ClientId(1));
    scene.core.set_property(caller, PropertyKey::ConnectInBackground, Some(PropertyValue::Boolean(true))).unwrap();
    scene.open(caller);
    scene.settle_on("a");
    assert_eq!(scene.told(caller).last(), Some(&Opened));
    assert!(scene.questions.is_empty());

    let mut scene = without_cables();
    let caller = scene.session_on(1, CHOICE);
    scene.core.add_chooser(ClientId(1));
    scene.open(caller);
    assert_eq!(scene.told(caller), [Error(InvalidConfiguration, FailureReason::NotAvailable)]);
    assert!(scene.questions.is_empty());
}

#[test]
fn the_newest_chooser_of_the_same_user_is_asked() {
    let mut scene = both_down();
    let caller = scene.session_on(1, CHOICE);
    scene.session_on(2, "a");
    scene.core.handle_client(ClientId(9), netbearer_core::Client::of_user(netbearer_core::UserId(1001)));
    let [older, newer, other] = [ClientId(1), ClientId(2), ClientId(9)];
    for client in [older, newer, other] {
        scene.core.add_chooser(client);
    }
    scene.open(caller);
    let number = scene.questions[0].number;
    for wrong in [older, other] {
        assert_eq!(scene.core.answer(wrong, number, None, scene.now), Err(Refusal::UnknownQuestion(number)));
    }
    assert_eq!(scene.core.answer(newer, number, Some(&"a".into()), scene.now), Ok(()));
}

#[test]
fn what_every_member_carries_counts_for_a_network_while_it_is_active() {
    let mut scene = Scene::with_access_points(settings(), ["a", "b", "c"], |access_points| {
        access_points.into_iter().for_each(bring_up_by_itself)
    });
    let [network, choice, member] = [NETWORK, CHOICE, "a"].map(|name| scene.session_on(1, name));
    let counted =
        |scene: &Scene, session| -> Vec<String> { scene.core.counted(session).into_iter().map(String::from).collect() };
    assert_eq!(counted(&scene, network), ["a", "b"]);
    assert_eq!(counted(&scene, choice), ["a", "b"], "what it could come to");
    assert_eq!(counted(&scene, member), ["a"]);
    scene.open(choice);
    assert_eq!(scene.text(choice, PropertyKey::UserChoiceConfiguration), NETWORK);
    assert_eq!(counted(&scene, choice), ["a", "b"], "all of the network that it came to");
    scene.change_of("a", Simulated::pull_cable);
    assert_eq!(counted(&scene, network), ["b"]);
    assert_eq!(counted(&scene, member), [""; 0]);
}

// What a review found.

#[test]
fn a_member_that_was_removed_and_comes_back_is_taken_by_who_waits() {
    let mut scene = Scene::with_access_points(settings(), ["a"], |_| {});
    let caller = scene.open_by("a");
    scene.reconnect(caller);
    scene.machine.get_mut(&Identifier::from("a")).unwrap().cease();
    scene.core.handle_removed(&"a".into(), "it was enslaved to a bridge", scene.now);
    assert_eq!(scene.told(caller), [State(NotAvailable)]);
    scene.machine.get_mut(&Identifier::from("a")).unwrap().is_access_point = true;
    scene.report_of("a");
    scene.settle_on("a");
    assert_eq!(scene.told(caller), [State(Connecting), State(Connected), Opened]);
}

#[test]
fn a_member_is_kept_in_sight_again_after_it_was_lost() {
    let mut scene = both_down();
    scene.open_by("a");
    scene.settle_on("b");
    scene.opening(2, "b");
    scene.settle_on("b");
    scene.change_of("b", Simulated::pull_cable);
    scene.settle_on("b");
    scene.settle_on("b");
    assert!(scene.machine[&Identifier::from("b")].is_up);
    assert_eq!(scene.flags("b"), StateFlags::Defined, "its carrier decides");
}

#[test]
fn what_has_addresses_while_it_is_down_is_not_set_up_to_be_seen() {
    let mut scene = Scene::with_access_points(settings(), ["a", "b"], |[_, b]| b.foreign = Foreign::Usable);
    scene.open_by("a");
    scene.settle_on("b");
    assert!(!scene.machine[&Identifier::from("b")].is_up, "it would be up for good, and used");
}

#[test]
fn good_service_ends_a_row_of_failures() {
    let mut scene = both_down();
    let caller = scene.open_by("a");
    scene.reconnect(caller);
    scene.change_of("a", Simulated::pull_cable);
    scene.settle_on("b");
    assert_eq!(scene.told(caller).last(), Some(&Moved("b".into())));
    scene.settle_on("a");
    scene.change_of("a", Simulated::push_cable);
    scene.change_of("b", Simulated::pull_cable);
    scene.settle_on("a");
    assert_eq!(scene.told(caller), [State(Roaming), State(Connected), Moved("a".into())]);
    assert_eq!(scene.active(caller), "a");
}

#[test]
fn who_waits_takes_what_others_bring_up_without_waiting_for_the_next_try() {
    let mut scene = both_down();
    let (caller, other) = (scene.session_on(1, NETWORK), scene.session_on(2, "a"));
    scene.reconnect(caller);
    scene.open(caller);
    for member in ["a", "b"] {
        scene.fail(member);
        scene.settle_on(member);
    }
    scene.told(caller);
    scene.open(other);
    scene.settle_on("a");
    assert_eq!(scene.told(caller).last(), Some(&Opened));
}

#[test]
fn a_user_choice_whose_service_network_is_removed_has_lost_its_link() {
    let mut scene = both_down();
    let caller = scene.opening(1, CHOICE);
    scene.settle_on("a");
    scene.told(caller);
    let mut without = profiles(&["a", "b"]);
    without.service_networks.clear();
    scene.core.handle_profiles(without, scene.now);
    let lost = Error(SessionAborted, FailureReason::LinkLost);
    assert_eq!(scene.told(caller)[..3], [State(Disconnected), lost, Closed]);
}

#[test]
fn with_reconnect_a_member_that_is_taken_out_is_roamed_from() {
    let mut scene = both_down();
    let caller = scene.open_by("a");
    scene.reconnect(caller);
    scene.core.handle_profiles(profiles(&["b"]), scene.now);
    scene.settle_on("b");
    assert_eq!(scene.told(caller), [State(Roaming), State(Connected), Moved("b".into())]);
    assert_eq!(scene.active(caller), "b");
}

/// What is said of interfaces by name is said of those that have the name now.
#[test]
fn a_renamed_interface_gets_the_profile_of_its_new_name_and_is_left_as_it_is() {
    let mut settings = settings();
    let named = Profile { name: Some("Office".to_owned()), ..Profile::default() };
    settings.profiles.by_interface.insert("lan".to_owned(), named);
    let mut scene = Scene::with_access_points(settings, ["a", "b"], |[a, _]| bring_up_by_itself(a));
    let (user, of_network) = (scene.session_on(1, "a"), scene.session_on(2, NETWORK));
    let name = |scene: &Scene| scene.core.configuration(&"a".into()).unwrap().name;
    let has_member = |scene: &Scene| scene.core.configuration(&NETWORK.into()).unwrap().children.contains(&"a".into());
    scene.open(user);
    scene.open(of_network);
    scene.hear();
    scene.change_of("a", |a| a.rename("lan"));
    assert_eq!(name(&scene), "Office");
    assert!(has_member(&scene), "its identifier names it, too");
    assert!(matches!(scene.told(user)[..], [InterfaceChanged(_)]));
    assert!(matches!(scene.told(of_network)[..], [InterfaceChanged(_)]));
    scene.listen_for("a", &[]);
    scene.change_of("a", |a| a.rename("wan"));
    assert_eq!(name(&scene), "wan");
}

#[test]
fn a_member_by_its_interface_name_is_none_under_another_name() {
    let mut scene = Scene::with_access_points(
        Settings { profiles: profiles(&["lan", "b"]), ..Settings::default() },
        ["a", "b"],
        |[a, _]| {
            bring_up_by_itself(a);
            a.rename("lan");
        },
    );
    let (caller, watcher) = (scene.session_on(1, NETWORK), scene.session_on(2, NETWORK));
    scene.open(caller);
    assert_eq!(scene.told(caller), [Opened]);
    scene.change_of("a", |a| a.rename("wan"));
    assert!(matches!(&scene.told(caller)[..], [InterfaceChanged(_), State(Roaming)]));
    let told = scene.told(watcher);
    assert!(matches!(told[..], [InterfaceChanged(_), State(Connecting)]), "{told:?}");
    scene.change_of("a", |a| a.rename("lan"));
    assert_eq!(scene.told(watcher), [State(Connected)]);
}

/// §9: ConfigurationChanged only when a public field changes; §3: `why` says what became of the edit.
#[test]
fn an_edit_of_what_is_not_public_applies_at_once_and_only_why_tells_of_it() {
    let mut scene = Scene::with_access_points(settings(), ["a", "b"], |_| {});
    let (of_a, of_network) = (scene.session_on(1, "a"), scene.session_on(1, NETWORK));
    assert_eq!(scene.core.default_configuration().unwrap().identifier, "a".into());
    let mut edited = profiles(&["a", "b"]);
    edited
        .by_interface
        .insert("b".to_owned(), Profile { preference: 1, linger: Duration::from_secs(2), ..Profile::default() });
    scene.core.handle_profiles(edited, scene.now);
    let heard = scene.hear();
    assert!(heard.configurations.is_empty() && heard.sessions.is_empty(), "{heard:?}");
    assert_eq!(scene.core.default_configuration().unwrap().identifier, "b".into());
    let decisions: Vec<String> = scene.core.decisions(0).map(|decision| format!("{decision:?}")).collect();
    assert!(decisions.last().is_some_and(|last| last.contains("Edited")), "{decisions:?}");
    for session in [of_a, of_network] {
        assert_eq!(scene.told(session), NOTHING);
    }
}

/// Connecting throughout (§3), though that member has to go down before it can come up.
#[test]
fn who_goes_on_to_a_member_that_is_going_down_is_not_told_that_it_closes() {
    let mut scene = both_down();
    let other = scene.opening(2, "b");
    scene.settle_on("b");
    let caller = scene.session_on(1, NETWORK);
    scene.close(other);
    scene.hear();
    assert_eq!(scene.state(caller), Closing, "it watches b, which is on its way down");
    scene.open(caller);
    scene.fail("a");
    assert_eq!(scene.told(caller), [State(Connecting)]);
    scene.settle_on("b");
    assert_eq!(scene.told(caller), [State(Connected), Opened]);
    assert_eq!(scene.active(caller), "b");
}

/// §2: "until its own member is down (or, after Closed, is kept up by others)".
#[test]
fn who_closed_a_link_that_lingers_watches_the_network_again_when_others_take_that_over() {
    let mut profiles = profiles(&["b", "a"]);
    profiles.default.linger = Duration::from_secs(3_600);
    let settings = Settings { profiles, ..Settings::default() };
    let mut scene = Scene::with_access_points(settings, ["a", "b"], |[_, b]| {
        b.is_up = true;
        b.has_cable = false;
    });
    let caller = scene.open_by("a");
    scene.close(caller);
    scene.change_of("b", |b| b.push_cable() | b.set_foreign(Foreign::Usable));
    assert_eq!(scene.told(caller), [Closed], "it still sees its own");
    let other = scene.opening(2, "a");
    assert_eq!(scene.told(other), [Opened]);
    scene.expect_to_be_shown(caller, "b");
}

#[test]
fn an_edited_linger_reaches_a_link_that_lingers() {
    let lingering = |seconds| {
        let mut profiles = profiles(&["a", "b"]);
        profiles.default = Profile { linger: Duration::from_secs(seconds), ..Profile::default() };
        profiles
    };
    let settings = Settings { profiles: lingering(3_600), ..Settings::default() };
    let mut scene = Scene::with_access_points(settings, ["a", "b"], |_| {});
    let caller = scene.open_by("a");
    scene.close(caller);
    scene.core.handle_profiles(lingering(2), scene.now);
    scene.pass(Duration::from_secs(2));
    scene.settle_on("a");
    assert_eq!(scene.told(caller), [Closed, State(Closing), State(Disconnected)]);
}

#[test]
fn why_tells_what_holds_a_better_member_back_once_for_each_reason() {
    let mut scene = Scene::with_access_points(settings(), ["a", "b"], |[a, b]| {
        (a.is_up, a.has_cable) = (true, false);
        bring_up_by_itself(b);
    });
    let session = scene.opening(1, NETWORK);
    assert_eq!(scene.active(session), "b");
    scene.core.set_stakeholder(session, true, scene.now).expect("it can roam");
    let told = |scene: &Scene| -> Vec<String> {
        let of_interest = scene.core.decisions(0).filter(|decision| decision.verdict == Verdict::HoldBack);
        of_interest
            .map(|decision| {
                let values = ["candidate", "in use", "cause", "for another"].map(|name| {
                    let found = decision.inputs.iter().find(|input| input.name == name);
                    found.map(|input| input.value.as_str()).unwrap_or_default()
                });
                values.join("; ")
            })
            .collect()
    };
    scene.change_of("a", Simulated::push_cable);
    scene.pass(Duration::from_millis(500));
    scene.pass(Duration::from_millis(500));
    let settles = "a; b; it has not been there long enough; each loss within a minute makes that longer; 2s";
    assert_eq!(told(&scene), [settles]);
    scene.pass(Duration::from_secs(1));
    let offer = scene.core.session(session).and_then(|snapshot| snapshot.roaming).expect("it is offered").offer;
    scene.core.ignore(session, offer.number, scene.now).expect("it is offered");
    scene.pass(Duration::from_secs(60));
    let ignored = "a; b; ignored or rejected, until it goes away and comes back, or the members' order changes; ";
    assert_eq!(told(&scene), [settles, ignored]);
}
