//! A service that was killed, wherever it was, and another one that goes on from what was kept (semantics §4).

use std::{collections::BTreeMap, time::Duration};

use netbearer_core::{
    Client, ClientId, HoldId, MatchedProfile, Profiles, Program, Record, Refusal, SavedState, SessionId, Settings,
    Token, UserId, Verdict,
};
use netbearer_types::{
    FailureReason, Identifier, Lifetime, Matching, Profile, PropertyKey, PropertyValue, ServiceNetworkProfile,
    SessionError::{InvalidConfiguration, SessionAborted, Unknown},
    SessionEvent, SessionSnapshot,
    SessionState::{self, Closing, Connected, Connecting, Disconnected, Invalid, NotAvailable},
    Target::{Configured, Released, Sensed, Stopped},
    UserChoiceProfile, differences,
};

use crate::{
    heard::Told::{self, Closed, Error, InterfaceChanged, Moved, Opened, State},
    scene::{AP0, Scene},
    simulated::{Foreign, Simulated},
};

const NOTHING: &[Told] = &[];
const SECOND: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(10);

fn shared() -> Settings {
    Settings { serves_all_processes: true, ..Settings::default() }
}

fn with_profile(profile: Profile) -> Settings {
    Settings { profiles: Profiles { default: profile, ..Profiles::default() }, ..shared() }
}

fn link_down() -> Scene {
    Scene::with_one_access_point(shared(), |_| {})
}

/// Up without us.
fn adopted(settings: Settings) -> Scene {
    Scene::with_one_access_point(settings, |access_point| {
        access_point.is_up = true;
        access_point.foreign = Foreign::Usable;
    })
}

fn state(scene: &Scene, session: SessionId) -> SessionState {
    scene.core.session(session).expect("it is there").state
}

fn link_lost() -> Told {
    Error(SessionAborted, FailureReason::LinkLost)
}

/// The client of a session is back: what it concludes from what it knew before.
fn come_back(scene: &mut Scene, session: SessionId, before: &SessionSnapshot) -> Vec<Told> {
    scene.attach(1, session);
    let after = scene.core.session(session).expect("it is attached");
    differences(before, &after).into_iter().map(Told::from).collect()
}

fn known(scene: &Scene, session: SessionId) -> SessionSnapshot {
    scene.core.session(session).expect("it is there")
}

// What is up.

#[test]
fn an_open_session_goes_on_and_nobody_is_told_anything() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    let before = known(&scene, session);
    scene.pass(SECOND);
    scene.restart(shared());
    assert_eq!(known(&scene, session), before, "all is as it was before anything is heard");
    assert_eq!(scene.core.owner(session), None);
    scene.look_around();
    scene.listen_for(AP0, &[Configured]);
    assert_eq!(come_back(&mut scene, session, &before), NOTHING);
    scene.settle();
    assert_eq!(known(&scene, session), before, "what the engine does to go on shows nowhere");
    assert_eq!(scene.told(session), NOTHING);
    let is_resumed = |verdict: &Verdict| *verdict == Verdict::Resume;
    assert!(scene.core.decisions(0).any(|decision| is_resumed(&decision.verdict)), "but it can be asked for");
    scene.close(session);
    scene.settle();
    assert_eq!(scene.told(session), [Closed, State(Closing), State(Disconnected)]);
    assert_eq!((scene.revoked(), scene.access_point().is_as_found()), (vec![1], true));
}

#[test]
fn a_lease_that_is_lost_after_the_return_is_regained_or_lost_as_any() {
    for regains in [true, false] {
        let mut scene = link_down();
        let session = scene.held_session(1, 1);
        scene.restart(shared());
        scene.look_around();
        scene.attach(1, session);
        scene.settle();
        scene.change(|access_point| access_point.lose_lease(true));
        if regains {
            scene.change(|access_point| access_point.regain_lease(2));
        }
        scene.pass(2 * SECOND);
        let lost: &[Told] = &[State(Disconnected), link_lost(), Closed];
        assert_eq!(scene.told(session), if regains { NOTHING } else { lost });
    }
}

/// Does something to an access point; false if that was not possible.
type Happening = fn(&mut Simulated) -> bool;

#[test]
fn what_became_of_a_link_meanwhile_is_told_as_the_difference() {
    let lost = |state| vec![State(state), link_lost(), Closed];
    let meanwhile: [(Happening, Vec<Told>); 7] = [
        (Simulated::flap, vec![]),
        (Simulated::pull_cable, lost(Disconnected)),
        (Simulated::unplug, lost(NotAvailable)),
        (|access_point| access_point.set_up(false), lost(Disconnected)),
        (|access_point| access_point.lease.take().is_some(), lost(Disconnected)),
        (|access_point| access_point.unplug() && access_point.replug(true, Foreign::Nothing), lost(Disconnected)),
        (|access_point| access_point.set_privilege(false), vec![]),
    ];
    for (number, (change, told)) in meanwhile.into_iter().enumerate() {
        let mut scene = link_down();
        let session = scene.held_session(1, 1);
        let before = known(&scene, session);
        assert!(change(scene.access_point()));
        scene.restart(shared());
        scene.look_around();
        scene.settle();
        assert_eq!(come_back(&mut scene, session, &before), told, "{number}");
        let holds = if told.is_empty() { 1 } else { 0 };
        assert_eq!(scene.core.holds(&AP0.into()), holds, "{number}");
        assert_eq!(scene.revoked(), if told.is_empty() { vec![] } else { vec![1] }, "{number}");
        assert!(told.is_empty() || scene.access_point().is_as_found(), "{number}");
    }
}

#[test]
fn an_interface_that_was_replaced_is_a_lost_link_though_others_have_it_up() {
    let mut scene = Scene::with_one_access_point(shared(), |access_point| access_point.is_up = true);
    let session = scene.held_session(1, 1);
    let before = known(&scene, session);
    let access_point = scene.access_point();
    assert!(access_point.unplug() && access_point.replug(true, Foreign::Usable));
    scene.restart(shared());
    scene.look_around();
    scene.settle();
    let told = come_back(&mut scene, session, &before);
    assert_eq!(told[..2], [link_lost(), Closed], "the state is the same: {told:?}");
    assert!(matches!(told[2], InterfaceChanged(_)));
    assert!(scene.core.is_adopted(&AP0.into()));
}

#[test]
fn another_gateway_is_told_to_who_was_back_before_it_was_seen() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    let before = known(&scene, session);
    assert!(scene.access_point().change_gateway());
    scene.restart(shared());
    assert_eq!(come_back(&mut scene, session, &before), NOTHING);
    scene.look_around();
    assert!(matches!(scene.told(session)[..], [InterfaceChanged(_)]));
}

#[test]
fn a_lease_that_was_being_regained_is_there_again_or_lost() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    scene.change(|access_point| access_point.lose_lease(true));
    let before = known(&scene, session);
    scene.restart(shared());
    scene.look_around();
    scene.listen_for(AP0, &[Configured]);
    scene.settle();
    assert_eq!(come_back(&mut scene, session, &before), NOTHING);
    scene.pass(5 * SECOND);
    assert_eq!(scene.told(session), NOTHING);
    scene.change(|access_point| access_point.lose_lease(false));
    scene.restart(shared());
    scene.look_around();
    scene.settle();
    assert_eq!(come_back(&mut scene, session, &before), [State(Disconnected), link_lost(), Closed]);
}

#[test]
fn what_is_up_for_nobody_that_was_written_down_goes_as_after_a_last_close() {
    for linger in [Duration::ZERO, 5 * SECOND] {
        let settings = with_profile(Profile { linger, ..Profile::default() });
        let mut scene = Scene::with_one_access_point(settings.clone(), |_| {});
        let session = scene.held_session(1, 1);
        let mut saved = scene.core.saved();
        saved.apply(Record::NoSession(session));
        scene.restart_from(settings, saved);
        scene.look_around();
        scene.settle();
        if !linger.is_zero() {
            assert!(!scene.access_point().is_as_found(), "somebody may come for it");
            scene.pass(linger);
            scene.settle();
        }
        assert!(scene.access_point().is_as_found());
    }
}

#[test]
fn a_lingering_link_lingers_anew_and_goes_down() {
    let linger = 5 * SECOND;
    let settings = with_profile(Profile { linger, ..Profile::default() });
    let mut scene = Scene::with_one_access_point(settings.clone(), |_| {});
    let session = scene.held_session(1, 1);
    scene.close(session);
    scene.pass(3 * SECOND);
    scene.restart(settings);
    scene.look_around();
    scene.listen_for(AP0, &[Configured]);
    scene.settle();
    assert_eq!(state(&scene, session), Connected);
    assert_eq!(scene.core.poll_timeout(), Some(scene.now + linger));
    scene.pass(linger);
    scene.settle();
    scene.listen_for(AP0, &[Released]);
    assert_eq!(state(&scene, session), Disconnected);
}

// What is up without us.

#[test]
fn what_others_keep_up_stays_theirs_and_holds_count() {
    let mut scene = adopted(shared());
    let session = scene.held_session(1, 1);
    let before = known(&scene, session);
    scene.restart(shared());
    scene.look_around();
    assert_eq!(come_back(&mut scene, session, &before), NOTHING);
    assert_eq!((scene.core.holds(&AP0.into()), scene.core.is_adopted(&AP0.into())), (1, true));
    scene.close(session);
    scene.listen_for(AP0, &[]);
    assert_eq!(scene.told(session), [Closed]);
}

#[test]
fn what_others_have_taken_down_meanwhile_is_lost() {
    let mut scene = adopted(shared());
    let session = scene.held_session(1, 1);
    let before = known(&scene, session);
    assert!(scene.access_point().set_foreign(Foreign::Nothing));
    scene.restart(shared());
    scene.look_around();
    assert_eq!(come_back(&mut scene, session, &before), [State(Disconnected), link_lost(), Closed]);
    scene.listen_for(AP0, &[]);
}

#[test]
fn what_goes_down_on_demand_still_does_so_when_its_time_has_come() {
    let linger = 5 * SECOND;
    let settings = with_profile(Profile { linger, lifetime: Lifetime::OnDemand, ..Profile::default() });
    let mut scene = adopted(settings.clone());
    let session = scene.held_session(1, 1);
    scene.close(session);
    scene.restart(settings);
    scene.look_around();
    scene.hear();
    scene.pass(linger);
    scene.listen_for(AP0, &[Stopped]);
}

// What is under way.

#[test]
fn what_was_being_brought_up_is_begun_anew_with_all_its_time() {
    let mut scene = link_down();
    let session = scene.session(1);
    scene.core.give_token(session, Token(session.0.into()));
    scene.open_held(session, 1);
    let before = known(&scene, session);
    scene.change(Simulated::step);
    scene.pass(4 * SECOND);
    scene.restart(shared());
    scene.look_around();
    scene.listen_for(AP0, &[Configured]);
    let timeout = Profile::default().carrier_timeout;
    assert_eq!(scene.core.poll_timeout(), Some(scene.now + timeout));
    scene.settle();
    assert_eq!(come_back(&mut scene, session, &before), [State(Connected), Opened]);
}

#[test]
fn what_was_being_brought_up_in_vain_fails_without_its_client() {
    let mut scene = link_down();
    let session = scene.session(1);
    scene.core.give_token(session, Token(session.0.into()));
    scene.open_held(session, 1);
    let before = known(&scene, session);
    assert!(scene.access_point().pull_cable());
    scene.restart(shared());
    scene.look_around();
    scene.settle();
    scene.pass(Profile::default().carrier_timeout);
    scene.settle();
    assert_eq!(
        come_back(&mut scene, session, &before),
        [State(NotAvailable), Error(Unknown, FailureReason::NoCarrier)]
    );
    assert_eq!(scene.revoked(), [1]);
}

#[test]
fn what_was_being_taken_down_is_taken_down() {
    type Begin = fn(&mut Scene, SessionId);
    let begun: [(Begin, netbearer_types::Target, SessionState); 3] = [
        (|scene, session| scene.close(session), Released, Closing),
        (|scene, session| scene.stop(session), Released, Closing),
        (|scene, _| scene.change(|access_point| access_point.lease.take().is_some()), Released, Disconnected),
    ];
    for (begin, target, during) in begun {
        for steps in 0..2 {
            let mut scene = link_down();
            let session = scene.held_session(1, 1);
            begin(&mut scene, session);
            for _ in 0..steps {
                scene.access_point().step();
            }
            scene.restart(shared());
            scene.look_around();
            scene.listen_for(AP0, &[target]);
            assert_eq!(state(&scene, session), during);
            scene.settle();
            assert_eq!(state(&scene, session), Disconnected);
            assert!(scene.access_point().is_as_found() && scene.core.is_at_rest());
        }
    }
    let mut scene = adopted(shared());
    let session = scene.held_session(1, 1);
    scene.stop(session);
    scene.restart(shared());
    scene.look_around();
    scene.listen_for(AP0, &[Stopped]);
    scene.settle();
    assert_eq!(state(&scene, session), Disconnected);
}

#[test]
fn who_has_opened_again_during_a_removal_is_served_after_it() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    scene.close(session);
    scene.open_held(session, 2);
    let before = known(&scene, session);
    scene.restart(shared());
    scene.look_around();
    scene.settle();
    scene.listen_for(AP0, &[Released, Configured]);
    assert_eq!(come_back(&mut scene, session, &before), [State(Connected), Opened]);
}

#[test]
fn who_waits_for_a_lost_link_goes_on_waiting() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    scene.reconnect(session);
    scene.change(Simulated::pull_cable);
    scene.settle();
    let before = known(&scene, session);
    assert!(before.is_opening);
    scene.restart(shared());
    scene.look_around();
    scene.listen_for(AP0, &[Sensed]);
    scene.settle();
    assert_eq!(come_back(&mut scene, session, &before), NOTHING);
    scene.change(Simulated::push_cable);
    scene.settle();
    assert_eq!(scene.told(session), [State(Connecting), State(Connected), Opened]);
    assert_eq!(scene.core.property(session, PropertyKey::Reconnect), Some(PropertyValue::Boolean(true)));
}

#[test]
fn a_failed_try_backs_off_as_before() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    scene.reconnect(session);
    scene.stop(session);
    scene.settle();
    scene.open_held(session, 2);
    for seconds in [1, 2, 4] {
        scene.change(|access_point| access_point.fail(FailureReason::NoLease));
        scene.settle();
        assert_eq!(scene.core.poll_timeout(), Some(scene.now + seconds * SECOND));
        if seconds < 4 {
            scene.pass(seconds * SECOND);
        }
    }
    scene.restart(shared());
    scene.look_around();
    scene.settle();
    assert_eq!(scene.core.poll_timeout(), Some(scene.now + 4 * SECOND), "all times begin anew");
}

#[test]
fn an_opening_waits_for_the_first_look_of_the_next_service_too() {
    let machine = [(AP0.into(), Simulated::new(AP0.into()))];
    let mut scene = Scene::new(shared(), machine);
    (scene.access_point().is_up, scene.access_point().has_cable) = (true, false);
    scene.report();
    let session = scene.session(1);
    scene.core.give_token(session, Token(session.0.into()));
    scene.open_held(session, 1);
    let before = known(&scene, session);
    assert_eq!(before.state, Connecting);
    scene.pass(9 * SECOND);
    scene.restart(shared());
    assert_eq!(scene.core.poll_timeout(), Some(scene.now + 10 * SECOND));
    scene.look_around();
    let told = [State(NotAvailable), Error(InvalidConfiguration, FailureReason::NotAvailable)];
    assert_eq!(come_back(&mut scene, session, &before), told);
}

#[test]
fn what_is_asked_for_before_an_engine_has_said_anything_is_done_when_it_has() {
    let mut scene = link_down();
    let (session, held) = (scene.session(1), scene.session(1));
    scene.core.give_token(session, Token(session.0.into()));
    scene.core.give_token(held, Token(held.0.into()));
    scene.open_held(held, 1);
    scene.settle();
    scene.restart(shared());
    scene.attach(1, held);
    scene.attach(1, session);
    scene.close(held);
    scene.listen_for(AP0, &[]);
    assert_eq!(scene.told(held), [Closed, State(Closing)]);
    scene.open_held(session, 2);
    scene.look_around();
    scene.settle();
    scene.listen_for(AP0, &[Released, Configured]);
    assert_eq!(scene.told(session), [State(Closing), State(Connecting), State(Connected), Opened]);
}

// What is not there any more.

#[test]
fn what_nobody_has_found_is_unplugged_and_what_comes_later_is_as_any() {
    let mut scene = link_down();
    let (session, waiting) = (scene.held_session(1, 1), scene.session(1));
    scene.core.give_token(waiting, Token(waiting.0.into()));
    scene.reconnect(waiting);
    scene.open_held(waiting, 2);
    let before = known(&scene, session);
    assert!(scene.access_point().unplug());
    scene.restart(shared());
    scene.look_around();
    scene.listen_for(AP0, &[]);
    assert_eq!(come_back(&mut scene, session, &before), [State(NotAvailable), link_lost(), Closed]);
    assert_eq!(come_back(&mut scene, waiting, &before), [State(NotAvailable)]);
    assert_eq!(scene.core.poll_timeout(), None);
    scene.change(|access_point| access_point.replug(false, Foreign::Nothing));
    scene.settle();
    assert_eq!(scene.told(waiting), [State(Connecting), State(Connected), Opened]);
}

#[test]
fn what_was_under_way_on_what_is_gone_has_come_to_its_end() {
    type Begin = fn(&mut Scene, SessionId);
    let begun: [Begin; 4] = [
        |scene, session| scene.open_held(session, 1),
        |scene, session| {
            scene.open_held(session, 1);
            scene.settle();
            scene.close(session);
        },
        |scene, session| {
            scene.open_held(session, 1);
            scene.settle();
            scene.change(|access_point| access_point.lease.take().is_some());
        },
        |scene, session| {
            scene.open_held(session, 1);
            scene.settle();
            scene.close(session);
            scene.open_held(session, 2);
        },
    ];
    for begin in begun {
        let mut scene = link_down();
        let session = scene.session(1);
        scene.core.give_token(session, Token(session.0.into()));
        begin(&mut scene, session);
        assert!(scene.access_point().unplug());
        scene.restart(shared());
        scene.look_around();
        scene.listen_for(AP0, &[]);
        assert_eq!(state(&scene, session), NotAvailable);
        assert!(!known(&scene, session).is_opening && scene.core.is_at_rest());
        assert_eq!(scene.core.holds(&AP0.into()), 0);
        scene.pass(GRACE);
        assert_eq!(scene.core.configurations(None), [], "and nobody is interested in it any more");
    }
}

// Grace.

#[test]
fn who_is_not_back_in_time_is_gone_and_only_descriptors_hold() {
    for closes in [true, false] {
        let mut scene = link_down();
        let (session, watching) = (scene.held_session(1, 1), scene.session(1));
        scene.core.give_token(watching, Token(watching.0.into()));
        scene.restart(shared());
        if closes {
            scene.close_descriptor(1);
        }
        scene.look_around();
        scene.settle();
        assert_eq!(scene.core.poll_timeout(), Some(scene.now + GRACE));
        scene.pass(GRACE - SECOND);
        assert!(scene.core.session(session).is_some() && scene.core.session(watching).is_some());
        assert_eq!(state(&scene, session), if closes { Disconnected } else { Connected });
        scene.pass(SECOND);
        assert!(scene.core.session(watching).is_none());
        assert_eq!(scene.core.session(session).is_some(), !closes);
        assert_eq!(scene.core.poll_timeout(), None);
        if !closes {
            scene.attach(1, session);
            assert!(known(&scene, session).is_open, "it is found later, too");
        }
    }
}

#[test]
fn what_was_opened_without_a_descriptor_lasts_until_nobody_is_waited_for() {
    let mut scene = link_down();
    let session = scene.session(1);
    scene.core.give_token(session, Token(session.0.into()));
    scene.open(session);
    scene.settle();
    scene.restart(shared());
    scene.look_around();
    scene.settle();
    assert!(known(&scene, session).is_open);
    scene.pass(GRACE);
    scene.settle();
    assert_eq!(scene.core.session(session), None);
    assert!(scene.access_point().is_as_found());
}

#[test]
fn once_everybody_is_back_nobody_is_waited_for() {
    let mut scene = link_down();
    let (one, other) = (scene.held_session(1, 1), scene.session(1));
    scene.core.give_token(other, Token(other.0.into()));
    scene.restart(Settings { grace: 3 * SECOND, ..shared() });
    scene.look_around();
    scene.settle();
    scene.attach(1, one);
    assert_eq!(scene.core.poll_timeout(), Some(scene.now + 3 * SECOND));
    scene.attach(1, other);
    assert_eq!(scene.core.poll_timeout(), None);
}

#[test]
fn what_was_passed_on_is_held_through_the_death_of_everybody_but_who_has_it() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    scene.pass_on(session, 2);
    scene.close(session);
    scene.client_gone(1);
    for _ in 0..2 {
        scene.restart(shared());
        assert_eq!(scene.saved.holds().collect::<Vec<_>>(), [HoldId(2)]);
        scene.look_around();
        scene.settle();
        scene.pass(2 * GRACE);
        assert_eq!(scene.core.holds(&AP0.into()), 1);
    }
    scene.close_descriptor(2);
    scene.settle();
    assert!(scene.access_point().is_as_found());
    assert_eq!(scene.core.session_descriptions(), []);
}

#[test]
fn who_has_closed_its_own_while_the_service_was_away_leaves_what_it_passed_on() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    scene.pass_on(session, 2);
    scene.restart(shared());
    scene.close_descriptor(1);
    scene.look_around();
    scene.settle();
    scene.attach(1, session);
    assert!(!known(&scene, session).is_open);
    assert_eq!(state(&scene, session), Connected);
    assert_eq!(scene.core.holds(&AP0.into()), 1, "for who has the other one");
}

#[test]
fn limits_count_what_was_there_before() {
    let limits = netbearer_core::Limits { sessions: 1, watchers: 2, descriptors: 1 };
    let settings = Settings { limits, ..shared() };
    let mut scene = Scene::with_one_access_point(settings.clone(), |_| {});
    let (held, watching) = (scene.held_session(1, 1), scene.session(1));
    scene.core.give_token(watching, Token(watching.0.into()));
    scene.pass_on(held, 2);
    scene.restart(settings);
    scene.look_around();
    scene.attach(1, held);
    scene.attach(1, watching);
    assert!(matches!(scene.core.open(watching, scene.now), Err(Refusal::TooManySessions(_))));
    let third = scene.session(1);
    let fourth = scene.core.create_session(ClientId(1), &AP0.into());
    assert_eq!(fourth, Err(Refusal::TooManyWatchers(2)));
    assert_eq!(scene.core.add_hold(held, HoldId(3)), Err(Refusal::TooManyDescriptors(1)));
    assert!(third > watching, "no number is given twice");
}

// Networks, choices and files.

fn network(members: &[&str]) -> ServiceNetworkProfile {
    ServiceNetworkProfile { members: members.iter().map(|name| (*name).to_owned()).collect(), ..Default::default() }
}

fn on_networks(members: &[&str]) -> Settings {
    let choices = vec!["a".to_owned(), "b".to_owned()];
    let profiles = Profiles {
        service_networks: [("service-all".into(), network(members))].into(),
        user_choices: [("choice".into(), UserChoiceProfile { name: None, choices })].into(),
        ..Profiles::default()
    };
    Settings { profiles, ..shared() }
}

fn two_access_points() -> Scene {
    Scene::with_access_points(on_networks(&["a", "b"]), ["a", "b"], |_| {})
}

fn held_on(scene: &mut Scene, configuration: &str, hold: u64) -> SessionId {
    let session = scene.session_on(1, configuration);
    scene.core.give_token(session, Token(session.0.into()));
    scene.open_held(session, hold);
    session
}

fn settle_all(scene: &mut Scene) {
    for name in ["a", "b", "a"] {
        scene.settle_on(name);
    }
    scene.hear();
}

#[test]
fn a_session_on_a_service_network_keeps_its_member_and_what_is_kept_in_sight_for_it() {
    let mut scene = two_access_points();
    let (session, watching) = (held_on(&mut scene, "service-all", 1), scene.session_on(1, "service-all"));
    scene.core.give_token(watching, Token(watching.0.into()));
    settle_all(&mut scene);
    let (before, watched) = (known(&scene, session), known(&scene, watching));
    assert_eq!(before.active_configuration, Some("a".into()));
    scene.restart(on_networks(&["a", "b"]));
    assert_eq!((known(&scene, session), known(&scene, watching)), (before.clone(), watched.clone()));
    scene.look_around();
    scene.listen_for("a", &[Configured]);
    scene.listen_for("b", &[Sensed]);
    settle_all(&mut scene);
    assert_eq!(come_back(&mut scene, session, &before), NOTHING);
    assert_eq!(come_back(&mut scene, watching, &watched), NOTHING);
    scene.close(session);
    settle_all(&mut scene);
    assert!(scene.machine.values().all(Simulated::is_as_found), "nothing is kept in sight any more");
}

#[test]
fn a_member_that_fails_after_the_return_is_left_for_the_next_and_none_is_tried_twice() {
    let mut scene = two_access_points();
    let session = held_on(&mut scene, "service-all", 1);
    scene.change_of("a", |access_point| access_point.fail(FailureReason::NoLease));
    let before = known(&scene, session);
    scene.restart(on_networks(&["a", "b"]));
    scene.look_around();
    scene.settle_on("a");
    scene.change_of("b", |access_point| access_point.fail(FailureReason::NoLease));
    settle_all(&mut scene);
    let told = [State(Disconnected), Error(Unknown, FailureReason::AllMembersFailed)];
    assert_eq!(come_back(&mut scene, session, &before), told);
}

#[test]
fn a_member_that_was_taken_out_of_the_files_meanwhile_is_left() {
    let mut scene = two_access_points();
    let session = held_on(&mut scene, "service-all", 1);
    settle_all(&mut scene);
    let before = known(&scene, session);
    scene.restart(on_networks(&["b"]));
    scene.look_around();
    settle_all(&mut scene);
    assert_eq!(come_back(&mut scene, session, &before), [Moved("b".into())]);
    assert!(scene.machine[&Identifier::from("a")].is_as_found());
}

#[test]
fn a_service_network_that_was_removed_meanwhile_is_invalid_and_its_link_goes_down() {
    let mut scene = two_access_points();
    let (session, other) = (held_on(&mut scene, "service-all", 1), held_on(&mut scene, "service-all", 2));
    scene.pass_on(other, 3);
    settle_all(&mut scene);
    let before = known(&scene, session);
    scene.restart(shared());
    scene.look_around();
    settle_all(&mut scene);
    let told = [State(Invalid), Error(InvalidConfiguration, FailureReason::ConfigurationInvalid), Closed];
    assert_eq!(come_back(&mut scene, session, &before), told);
    assert!(scene.core.session_configuration(session).is_some_and(|configuration| !configuration.is_valid()));
    assert!(scene.machine.values().all(Simulated::is_as_found));
    assert_eq!(scene.core.session_descriptions().len(), 2, "of what was passed on nothing is left");
}

#[test]
fn whoever_was_being_asked_has_not_chosen() {
    let mut scene = two_access_points();
    scene.core.handle_client(ClientId(9), Client::of_user(UserId(1000)));
    scene.core.add_chooser(ClientId(9));
    let session = held_on(&mut scene, "choice", 1);
    let before = known(&scene, session);
    assert_eq!((scene.questions.len(), before.state), (1, Connecting));
    scene.restart(on_networks(&["a", "b"]));
    assert_eq!(scene.revoked(), [1]);
    scene.look_around();
    assert_eq!(
        come_back(&mut scene, session, &before),
        [State(Disconnected), Error(SessionAborted, FailureReason::NotChosen)]
    );
    scene.core.add_chooser(ClientId(1));
    scene.open_held(session, 2);
    scene.listen();
    assert!(scene.questions[1].number > scene.questions[0].number, "an old answer is none to a new question");
}

#[test]
fn what_a_user_has_chosen_stays_chosen() {
    let mut scene = two_access_points();
    let session = held_on(&mut scene, "choice", 1);
    settle_all(&mut scene);
    let chosen = scene.core.property(session, PropertyKey::UserChoiceConfiguration);
    assert_eq!(chosen, Some(PropertyValue::Text("a".to_owned())));
    scene.restart(on_networks(&["a", "b"]));
    scene.look_around();
    assert_eq!(scene.core.property(session, PropertyKey::UserChoiceConfiguration), chosen);
}

#[test]
fn a_session_that_waits_for_any_member_takes_the_first_that_comes() {
    let mut scene = two_access_points();
    for name in ["a", "b"] {
        scene.change_of(name, |access_point| access_point.set_up(true));
        scene.change_of(name, Simulated::pull_cable);
    }
    let session = scene.session_on(1, "service-all");
    scene.core.give_token(session, Token(session.0.into()));
    scene.reconnect(session);
    scene.open_held(session, 1);
    let before = known(&scene, session);
    assert!(before.is_opening);
    assert!(scene.machine.get_mut("b").is_some_and(Simulated::push_cable));
    scene.restart(on_networks(&["a", "b"]));
    scene.look_around();
    settle_all(&mut scene);
    assert_eq!(come_back(&mut scene, session, &before), [State(Connected), Opened]);
    assert_eq!(known(&scene, session).active_configuration, Some("b".into()));
}

fn exclusive(files: &[&str]) -> Settings {
    let matching = Matching { interface: Some("a".to_owned()), ..Matching::default() };
    let file = |name: &&str| {
        let profile = Profile { exclusive: true, name: Some((*name).to_owned()), ..Profile::default() };
        ((*name).to_owned(), MatchedProfile { matching: matching.clone(), profile })
    };
    Settings { profiles: Profiles { by_file: files.iter().map(file).collect(), ..Profiles::default() }, ..shared() }
}

#[test]
fn the_access_point_that_has_a_device_keeps_it() {
    let mut scene = Scene::with_access_points(exclusive(&["home", "office"]), ["a"], |_| {});
    let session = held_on(&mut scene, "a/office", 1);
    scene.settle_on("a");
    scene.hear();
    scene.restart(exclusive(&["home", "office"]));
    scene.look_around();
    scene.settle_on("a");
    assert_eq!(known(&scene, session).active_configuration, Some("a/office".into()));
    scene.attach(1, session);
    let home = scene.session_on(1, "a/home");
    assert!(matches!(scene.core.open(home, scene.now), Err(Refusal::Busy(_))));
}

#[test]
fn who_waits_for_the_device_of_another_one_gets_it() {
    let mut scene = Scene::with_access_points(exclusive(&["home", "office"]), ["a"], |_| {});
    let office = held_on(&mut scene, "a/office", 1);
    scene.settle_on("a");
    scene.close(office);
    let home = held_on(&mut scene, "a/home", 2);
    let before = known(&scene, home);
    assert_eq!(before.state, Connecting);
    scene.restart(exclusive(&["home", "office"]));
    scene.look_around();
    scene.settle_on("a");
    assert_eq!(come_back(&mut scene, home, &before), [State(Connected), Opened]);
}

#[test]
fn an_access_point_whose_file_was_removed_meanwhile_is_none_and_goes_down() {
    let mut scene = Scene::with_access_points(exclusive(&["home", "office"]), ["a"], |_| {});
    let session = held_on(&mut scene, "a/office", 1);
    scene.settle_on("a");
    let before = known(&scene, session);
    scene.restart(exclusive(&["home"]));
    scene.look_around();
    scene.settle_on("a");
    let told = [State(Invalid), Error(InvalidConfiguration, FailureReason::ConfigurationInvalid), Closed];
    assert_eq!(come_back(&mut scene, session, &before), told);
    assert!(scene.machine["a"].is_as_found() && scene.core.is_at_rest());
}

#[test]
fn what_files_say_of_an_access_point_by_then_is_in_force() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    let linger = 5 * SECOND;
    scene.restart(with_profile(Profile { linger, metered: true, ..Profile::default() }));
    scene.look_around();
    scene.settle();
    assert!(scene.core.configuration(&AP0.into()).is_some_and(|one| one.metered));
    scene.attach(1, session);
    scene.close(session);
    assert_eq!(scene.core.poll_timeout(), Some(scene.now + linger));
}

// What is kept.

#[test]
fn nothing_is_kept_for_one_process_alone() {
    let mut scene = Scene::with_one_access_point(Settings::default(), |_| {});
    let session = scene.held_session(1, 1);
    scene.close(session);
    assert_eq!(scene.core.take_unsaved(), []);
    assert_eq!(scene.saved, SavedState::default());
}

#[test]
fn what_has_not_changed_is_kept_once() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    scene.report();
    scene.core.open(session, scene.now).unwrap();
    assert_eq!(scene.core.take_unsaved(), []);
    scene.change(Simulated::change_gateway);
    assert_eq!(scene.saved, scene.core.saved(), "what sessions are told of an interface is kept");
}

#[test]
fn what_seldom_changes_of_a_session_is_kept_once() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    scene.core.close(session, scene.now).unwrap();
    let records = scene.core.take_unsaved();
    assert!(matches!(&records[0], Record::Course { session: kept, .. } if *kept == session), "{records:?}");
    scene.saved.extend(records);
    scene.core.handle_removed(&AP0.into(), "it was enslaved to a bridge", scene.now);
    let records = scene.core.take_unsaved();
    assert!(matches!(&records[0], Record::Session(_)), "it is on another configuration now: {records:?}");
}

#[test]
fn a_session_that_is_gone_is_kept_no_more() {
    let mut scene = link_down();
    let (session, unnamed) = (scene.held_session(1, 1), scene.session(1));
    scene.core.drop_session(unnamed, scene.now);
    assert_eq!(scene.core.take_unsaved().len(), 1, "its number is taken, and that is all");
    scene.core.drop_session(session, scene.now);
    assert!(scene.core.take_unsaved().contains(&Record::NoSession(session)));
}

#[test]
fn a_session_that_nobody_could_come_back_to_is_not_kept() {
    let mut scene = link_down();
    scene.open_session(1);
    scene.restart(shared());
    assert!(scene.core.session_descriptions().is_empty());
}

#[test]
fn engines_go_on_with_devices_that_have_something_of_ours() {
    let mut scene = two_access_points();
    assert_eq!(scene.core.saved().devices(), [].into());
    held_on(&mut scene, "b", 1);
    assert_eq!(scene.core.saved().devices(), [Identifier::from("b")].into());
}

/// Files of other versions are read, so this may only grow.
#[test]
fn what_is_kept_has_this_shape() {
    let mut scene = link_down();
    let program = Program { process: Some(4711), name: "browser".to_owned() };
    let description = Client { program: Some(program), ..Client::of_user(UserId(1000)) };
    scene.core.handle_client(ClientId(1), description);
    let session = scene.core.create_session(ClientId(1), &AP0.into()).unwrap();
    scene.core.give_token(session, Token(0xfeed));
    scene.reconnect(session);
    scene.core.set_property(session, PropertyKey::AnswerTimeout, Some(PropertyValue::Duration(SECOND))).unwrap();
    scene.open_held(session, 7);
    scene.settle();
    scene.pass_on(session, 8);
    let kept = serde_json::to_value(scene.core.saved()).unwrap();
    let expected = serde_json::json!({
        "sessions": {
            "1": {
                "session": 1,
                "token": "0000000000000000000000000000feed",
                "user": 1000,
                "program": { "process": 4711, "name": "browser" },
                "configuration": {
                    "identifier": "ap0",
                    "name": "ap0",
                    "kind": "InternetAccessPoint",
                    "purpose": "Unknown",
                    "bearer_type": "Ethernet",
                    "state_flags": "Discovered",
                    "capabilities": kept["sessions"]["1"]["configuration"]["capabilities"],
                    "children": [],
                    "proxy": "None",
                    "metered": false,
                    "interface_name": "ap0",
                },
                "course": {
                    "interest": { "open": { "since": 100_000_000_000_u64 } },
                    "properties": { "Reconnect": true, "AnswerTimeout": { "secs": 1, "nanos": 0 } },
                    "holds": { "own": 7, "passed_on": [8] },
                },
            },
        },
        "access_points": {
            "ap0": {
                "identifier": "ap0",
                "device": "ap0",
                "name": "ap0",
                "bearer_type": "Ethernet",
                "hardware": { "address": null, "driver": null, "path": null },
                "counts_traffic": true,
                "link": kept["access_points"]["ap0"]["link"],
                "phase": "up",
                "commanded": "Configured",
                "found_up": false,
                "has_device": true,
                "carrier_refuted": false,
                "failed_starts": 0,
            },
        },
        "numbers": { "session": 2, "chooser": 1, "question": 1, "offer": 1 },
    });
    assert_eq!(kept, expected);
    let records: BTreeMap<&str, Record> = [
        (r#"{"no_session":1}"#, Record::NoSession(session)),
        (r#"{"no_access_point":"ap0"}"#, Record::NoAccessPoint(AP0.into())),
    ]
    .into();
    for (text, record) in records {
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        assert_eq!(serde_json::from_str::<Record>(text).unwrap(), record);
    }
    let event = SessionEvent::ServiceBack;
    assert_eq!(serde_json::to_string(&event).unwrap(), r#"{"event":"ServiceBack"}"#);
}
