//! Holds that are descriptors (semantics §4): how they are taken, passed on, and end.

use std::{collections::BTreeSet, time::Duration};

use netbearer_core::{
    Action, Client, ClientId, HoldId, Limits, Profiles, Program, Refusal, SessionDescription, SessionId, Settings,
    Token, UserId,
};
use netbearer_types::{
    FailureReason, Profile, ServiceNetworkProfile,
    SessionError::{InvalidConfiguration, SessionAborted},
    SessionState::{Closing, Connected, Connecting, Disconnected, NotAvailable},
    Target, UserChoiceProfile,
};

use crate::{
    heard::Told::{self, Closed, Error, Opened, State},
    scene::{AP0, Scene},
    simulated::Simulated,
};

const NOTHING: &[Told] = &[];

fn shared() -> Settings {
    Settings { serves_all_processes: true, ..Settings::default() }
}

fn link_down() -> Scene {
    Scene::with_one_access_point(shared(), |_| {})
}

fn described(scene: &Scene, session: SessionId) -> SessionDescription {
    scene.core.session_description(session).expect("it is there")
}

/// The only session without an owner.
fn unowned(scene: &Scene) -> SessionDescription {
    let mut unowned = scene.core.session_descriptions().into_iter().filter(|session| !session.owned);
    let found = unowned.next().expect("one goes on without an owner");
    assert_eq!(unowned.next(), None);
    found
}

fn sessions(scene: &Scene) -> usize {
    scene.core.session_descriptions().len()
}

// Taking them.

#[test]
fn an_opening_takes_a_descriptor_and_another_one_gets_the_same() {
    let mut scene = link_down();
    let session = scene.session(1);
    assert_eq!(scene.core.open_held(session, HoldId(1), scene.now), Ok(Some(HoldId(1))));
    assert_eq!(scene.core.open_held(session, HoldId(2), scene.now), Ok(Some(HoldId(1))), "while it opens");
    scene.settle();
    assert_eq!(scene.core.open_held(session, HoldId(3), scene.now), Ok(Some(HoldId(1))), "when it is open");
    assert_eq!(described(&scene, session).descriptors, 1);
    assert_eq!(scene.told(session), [State(Connecting), State(Connected), Opened]);
    scene.close_descriptor(2);
    assert_eq!(scene.told(session), NOTHING, "what was not taken holds nothing");
    scene.close(session);
    assert_eq!(scene.revoked(), [1]);
    assert_eq!(scene.core.open_held(session, HoldId(4), scene.now), Ok(Some(HoldId(4))), "and the next one is another");
}

#[test]
fn an_opening_that_fails_at_once_takes_none() {
    let mut scene = Scene::with_one_access_point(shared(), |access_point| {
        access_point.is_up = true;
        access_point.has_cable = false;
    });
    let session = scene.session(1);
    assert_eq!(scene.core.open_held(session, HoldId(1), scene.now), Ok(None));
    assert_eq!(scene.told(session), [Error(InvalidConfiguration, FailureReason::NotAvailable)]);
    assert_eq!(described(&scene, session).descriptors, 0);
    scene.reconnect(session);
    assert_eq!(scene.core.open_held(session, HoldId(2), scene.now), Ok(Some(HoldId(2))), "who waits holds");
    assert_eq!(scene.core.open_held(SessionId(99), HoldId(3), scene.now), Err(Refusal::UnknownSession));
}

#[test]
fn a_session_that_was_opened_without_a_descriptor_gets_one_when_it_is_opened_again() {
    let mut scene = link_down();
    let session = scene.open_session(1);
    assert_eq!(scene.core.open_held(session, HoldId(1), scene.now), Ok(Some(HoldId(1))));
    assert_eq!(scene.told(session), NOTHING);
    scene.close_descriptor(1);
    assert_eq!(scene.told(session), [Closed, State(Closing)]);
}

#[test]
fn only_what_holds_can_be_passed_on() {
    let mut scene = link_down();
    let session = scene.session(1);
    assert_eq!(scene.core.add_hold(session, HoldId(1)), Err(Refusal::NotHeld(AP0.into())));
    scene.open_held(session, 2);
    assert_eq!(scene.core.add_hold(session, HoldId(3)), Ok(()), "while it opens");
    scene.settle();
    assert_eq!(scene.core.add_hold(session, HoldId(4)), Ok(()), "when it is open");
    assert_eq!(described(&scene, session).descriptors, 3);
    scene.change(Simulated::pull_cable);
    assert_eq!(scene.core.add_hold(session, HoldId(5)), Err(Refusal::NotHeld(AP0.into())));
    assert_eq!(scene.core.add_hold(SessionId(99), HoldId(6)), Err(Refusal::UnknownSession));
}

// How they end.

#[test]
fn who_closes_the_objects_own_descriptor_closes_it() {
    let mut scene = link_down();
    let (session, watcher) = (scene.held_session(1, 1), scene.session(2));
    scene.close_descriptor(1);
    scene.settle();
    assert_eq!(scene.told(session), [Closed, State(Closing), State(Disconnected)]);
    assert_eq!(scene.told(watcher), [State(Closing), State(Disconnected)]);
    assert!(scene.revoked().is_empty(), "it is gone already");
    scene.close_descriptor(1);
    assert_eq!(scene.told(session), NOTHING);
}

#[test]
fn who_closes_a_descriptor_that_was_passed_on_changes_nothing_for_the_object() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    scene.pass_on(session, 2);
    scene.close_descriptor(2);
    assert_eq!(scene.told(session), NOTHING);
    assert_eq!(described(&scene, session).descriptors, 1);
    scene.close(session);
    assert_eq!(scene.told(session), [Closed, State(Closing)], "nobody else held");
    assert_eq!(sessions(&scene), 1);
}

#[test]
fn stop_loss_removal_and_shutdown_revoke_all_descriptors() {
    let ends: [fn(&mut Scene, SessionId); 5] = [
        |scene, session| scene.stop(session),
        |scene, _| {
            let other = scene.session(2);
            scene.stop(other);
        },
        |scene, _| scene.change(Simulated::pull_cable),
        |scene, _| {
            let now = scene.now;
            scene.core.handle_removed(&AP0.into(), "it was enslaved to a bridge", now);
        },
        |scene, _| {
            let now = scene.now;
            scene.core.handle_shutdown(now);
        },
    ];
    for end in ends {
        let mut scene = link_down();
        let session = scene.held_session(1, 1);
        scene.pass_on(session, 2);
        end(&mut scene, session);
        assert_eq!(scene.revoked(), [1, 2]);
        assert_eq!((described(&scene, session).descriptors, scene.core.holds(&AP0.into())), (0, 0));
        assert!(scene.core.session_descriptions().iter().all(|session| session.owned), "nothing goes on");
        for hold in [1, 2] {
            scene.hear();
            scene.close_descriptor(hold);
            assert_eq!(scene.told(session), NOTHING);
        }
    }
}

#[test]
fn an_opening_that_fails_later_revokes_its_descriptors() {
    let mut scene = link_down();
    let session = scene.session(1);
    scene.open_held(session, 1);
    scene.pass_on(session, 2);
    let timeout = Profile::default().connect_timeout;
    scene.pass(timeout);
    assert_eq!(scene.revoked(), [1, 2]);
}

// Death.

/// Opens with a client of its own, in so many ways, and says which session is to be watched.
type Holder = fn(&mut Scene) -> SessionId;

#[test]
fn a_killed_client_holds_nothing_any_more_whatever_is_seen_first_of_it() {
    let holders: [(Holder, &[Told]); 3] = [
        (|scene| scene.held_session(1, 1), &[State(Closing), State(Disconnected)]),
        (
            |scene| {
                scene.held_session(3, 3);
                scene.held_session(1, 1)
            },
            NOTHING,
        ),
        (
            |scene| {
                let session = scene.session(1);
                scene.open_held(session, 1);
                session
            },
            &[State(Closing), State(Disconnected)],
        ),
    ];
    let deaths: [fn(&mut Scene); 2] = [
        |scene| {
            scene.client_gone(1);
            scene.close_descriptor(1);
        },
        |scene| {
            scene.close_descriptor(1);
            scene.client_gone(1);
        },
    ];
    for (hold, told) in holders {
        for die in deaths {
            let mut scene = link_down();
            let session = hold(&mut scene);
            let watcher = scene.session(2);
            scene.hear();
            die(&mut scene);
            scene.settle();
            assert_eq!(scene.told(watcher), told);
            assert!(scene.core.session(session).is_none(), "its session is dropped");
            assert!(scene.revoked().is_empty());
        }
    }
}

#[test]
fn what_a_child_has_a_copy_of_holds_after_its_parent_was_killed() {
    let mut scene = link_down();
    let program = Program { process: Some(4711), name: "browser".to_owned() };
    let description = Client { program: Some(program.clone()), ..Client::of_user(UserId(1000)) };
    scene.core.handle_client(ClientId(1), description);
    let session = scene.core.create_session(ClientId(1), &AP0.into()).unwrap();
    scene.open_held(session, 1);
    scene.settle();
    let watcher = scene.session(2);
    scene.hear();
    scene.client_gone(1);
    assert_eq!(scene.hear().sessions, [].into(), "nobody is told anything");
    let goes_on = unowned(&scene);
    assert_eq!(goes_on.session, session);
    assert_eq!((goes_on.user, goes_on.program), (UserId(1000), Some(program)));
    assert_eq!((goes_on.state, goes_on.is_open, goes_on.descriptors), (Connected, true, 1));
    assert_eq!((goes_on.active, goes_on.since), (Some(AP0.into()), Some(scene.now)));
    assert_eq!(scene.core.owner(session), None);
    scene.close_descriptor(1);
    assert_eq!(scene.told(watcher), [State(Closing)]);
    assert_eq!(sessions(&scene), 1);
}

#[test]
fn sessions_of_a_killed_client_that_only_watch_are_dropped() {
    let mut scene = link_down();
    let (held, watching) = (scene.held_session(1, 1), scene.session(1));
    scene.core.give_token(watching, Token(99));
    scene.client_gone(1);
    assert!(scene.core.session(held).is_some() && scene.core.session(watching).is_none());
    scene.core.handle_client(ClientId(2), Client::of_user(UserId(1000)));
    assert_eq!(scene.core.attach_session(ClientId(2), Token(99), scene.now), Err(Refusal::UnknownToken));
}

// What is passed on.

#[test]
fn a_close_ends_the_objects_part_and_what_was_passed_on_goes_on_until_the_last_copy_is_closed() {
    let mut scene = link_down();
    let (session, watcher) = (scene.held_session(1, 1), scene.session(2));
    let since = described(&scene, session).since;
    scene.pass(Duration::from_secs(3));
    scene.pass_on(session, 2);
    scene.pass_on(session, 3);
    scene.close(session);
    assert_eq!(scene.told(session), [Closed], "the link stays up");
    assert_eq!(scene.told(watcher), NOTHING);
    assert_eq!(scene.revoked(), [1], "a child of the object's program does not hold by it");
    let heir = unowned(&scene);
    assert_eq!((heir.state, heir.is_open, heir.since, heir.descriptors), (Connected, true, since, 2));
    assert_eq!((heir.user, heir.configuration), (UserId(1000), AP0.into()));
    assert!(!described(&scene, session).is_open);
    scene.close_descriptor(2);
    assert_eq!(scene.core.holds(&AP0.into()), 1);
    scene.close_descriptor(3);
    scene.settle();
    assert_eq!(scene.told(session), [State(Closing), State(Disconnected)]);
    assert_eq!(scene.core.session(heir.session), None);
}

#[test]
fn what_was_passed_on_outlives_drop_and_death_of_its_object_too() {
    let ends: [fn(&mut Scene, SessionId); 4] = [
        |scene, session| {
            let now = scene.now;
            scene.core.drop_session(session, now);
        },
        |scene, _| {
            scene.close_descriptor(1);
            scene.client_gone(1);
        },
        |scene, _| {
            scene.client_gone(1);
            scene.close_descriptor(1);
        },
        |scene, session| {
            let now = scene.now;
            let description = Client {
                rights: netbearer_core::Rights { may_open: true, may_control: false },
                ..Client::of_user(UserId(1000))
            };
            scene.core.handle_client(ClientId(1), description);
            scene.core.stop(session, now).expect_err("the right is missing");
        },
    ];
    for end in ends {
        let mut scene = link_down();
        let (session, watcher) = (scene.held_session(1, 1), scene.session(2));
        scene.pass_on(session, 2);
        scene.hear();
        end(&mut scene, session);
        assert_eq!(scene.told(watcher), NOTHING);
        assert_eq!((unowned(&scene).descriptors, scene.core.holds(&AP0.into())), (1, 1));
        scene.close_descriptor(2);
        scene.settle();
        assert_eq!(scene.told(watcher), [State(Closing), State(Disconnected)]);
    }
}

#[test]
fn what_is_passed_on_while_opening_goes_on_opening() {
    let mut scene = link_down();
    let session = scene.session(1);
    scene.open_held(session, 1);
    scene.pass_on(session, 2);
    scene.close(session);
    scene.settle();
    assert_eq!(scene.told(session), [State(Connecting), Closed, State(Connected)], "as one that watches");
    assert!(unowned(&scene).is_open);
}

#[test]
fn what_goes_on_without_an_owner_ends_with_its_link_and_nobody_else_is_told_of_it() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    scene.pass_on(session, 2);
    scene.close(session);
    scene.hear();
    scene.change(Simulated::pull_cable);
    assert_eq!(scene.told(session), [State(Disconnected)], "as one that watches");
    assert_eq!((scene.revoked(), sessions(&scene)), (vec![2], 1));
}

#[test]
fn what_goes_on_without_an_owner_ends_with_the_last_of_its_descriptors_only() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    scene.pass_on(session, 2);
    scene.pass_on(session, 3);
    scene.close(session);
    scene.close_descriptor(3);
    assert!(unowned(&scene).is_open);
    scene.close_descriptor(2);
    scene.settle();
    assert_eq!((scene.told(session), sessions(&scene)), (vec![Closed, State(Closing), State(Disconnected)], 1));
}

#[test]
fn an_object_that_has_no_descriptor_of_its_own_is_not_closed_by_the_end_of_others() {
    let mut scene = link_down();
    let session = scene.open_session(1);
    scene.pass_on(session, 1);
    scene.close_descriptor(1);
    assert_eq!(scene.told(session), NOTHING);
    assert!(described(&scene, session).is_open);
}

#[test]
fn what_goes_on_without_an_owner_keeps_waiting_if_its_object_would_have() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    scene.reconnect(session);
    scene.pass_on(session, 2);
    scene.close(session);
    scene.change(Simulated::pull_cable);
    scene.settle();
    let waiting = unowned(&scene);
    assert_eq!((waiting.state, waiting.is_open, waiting.is_opening), (NotAvailable, false, true));
    scene.change(Simulated::push_cable);
    scene.settle();
    assert!(unowned(&scene).is_open);
    assert_eq!(scene.revoked(), [1]);
}

#[test]
fn what_goes_on_without_an_owner_counts_against_its_users_limit() {
    let limits = Limits { sessions: 1, ..Limits::default() };
    let mut scene = Scene::with_one_access_point(Settings { limits, ..shared() }, |_| {});
    let session = scene.held_session(1, 1);
    scene.pass_on(session, 2);
    scene.close(session);
    let again = scene.core.open_held(session, HoldId(3), scene.now);
    assert!(matches!(again, Err(Refusal::TooManySessions(_))), "{again:?}");
    scene.close_descriptor(2);
    scene.settle();
    assert_eq!(scene.core.open_held(session, HoldId(4), scene.now), Ok(Some(HoldId(4))));
}

#[test]
fn descriptors_to_pass_on_count_against_their_users_limit_until_they_are_gone() {
    let limits = Limits { descriptors: 2, ..Limits::default() };
    let mut scene = Scene::with_one_access_point(Settings { limits, ..shared() }, |_| {});
    let (first, second) = (scene.held_session(1, 1), scene.held_session(1, 2));
    let too_many = Err(Refusal::TooManyDescriptors(2));
    scene.pass_on(first, 3);
    scene.pass_on(second, 4);
    assert_eq!(scene.core.add_hold(first, HoldId(5)), too_many);
    // One is closed.
    scene.close_descriptor(3);
    scene.pass_on(first, 6);
    // What goes on without an owner is the user's all the same.
    scene.close(first);
    assert_eq!(scene.core.add_hold(second, HoldId(7)), too_many);
    scene.close_descriptor(6);
    scene.pass_on(second, 8);
    assert_eq!(scene.core.add_hold(second, HoldId(9)), too_many);
    // All that is stopped is given back.
    scene.core.stop(second, scene.now).unwrap();
    scene.settle();
    let third = scene.held_session(1, 10);
    scene.pass_on(third, 11);
    scene.pass_on(third, 12);
}

// On networks and choices.

fn on_networks() -> Scene {
    let members = vec!["a".to_owned(), "b".to_owned()];
    let network = ServiceNetworkProfile { members: members.clone(), ..ServiceNetworkProfile::default() };
    let choice = UserChoiceProfile { name: None, choices: members };
    let profiles = Profiles {
        service_networks: [("service-all".into(), network)].into(),
        user_choices: [("choice".into(), choice)].into(),
        ..Profiles::default()
    };
    Scene::with_access_points(Settings { profiles, ..shared() }, ["a", "b"], |_| {})
}

#[test]
fn a_descriptor_follows_its_session_to_another_member() {
    let mut scene = on_networks();
    let session = scene.session_on(1, "service-all");
    scene.reconnect(session);
    scene.open_held(session, 1);
    scene.settle_on("a");
    scene.pass_on(session, 2);
    scene.close(session);
    assert_eq!(unowned(&scene).active, Some("a".into()));
    assert_eq!(scene.told(session), [State(Connecting), State(Connected), Opened, Closed]);
    scene.change_of("a", Simulated::pull_cable);
    scene.settle_on("b");
    assert_eq!(unowned(&scene).active, Some("b".into()));
    scene.hear();
    scene.close_descriptor(2);
    scene.listen_for("b", &[Target::Released]);
}

#[test]
fn what_goes_on_without_an_owner_tries_again_when_its_object_would_have() {
    let mut scene = on_networks();
    let session = scene.session_on(1, "service-all");
    scene.reconnect(session);
    scene.open_held(session, 1);
    for member in ["a", "b"] {
        scene.change_of(member, |member| member.step() && member.fail(FailureReason::NoLease));
        scene.settle_on(member);
    }
    scene.pass_on(session, 2);
    scene.close(session);
    assert_eq!(unowned(&scene).state, Disconnected);
    scene.pass(Duration::from_secs(1));
    scene.settle_on("a");
    assert_eq!(unowned(&scene).active, Some("a".into()));
}

#[test]
fn a_user_is_asked_for_who_is_there_to_be_asked_for_only() {
    let ends: [fn(&mut Scene, SessionId); 2] = [
        |scene, session| {
            scene.pass_on(session, 2);
            scene.close(session);
        },
        |scene, _| scene.client_gone(1),
    ];
    for end in ends {
        let mut scene = on_networks();
        let session = scene.session_on(1, "choice");
        scene.core.handle_client(ClientId(9), Client::of_user(UserId(1000)));
        scene.core.add_chooser(ClientId(9));
        scene.open_held(session, 1);
        assert_eq!((scene.questions.len(), scene.withdrawn.len()), (1, 0));
        end(&mut scene, session);
        assert_eq!((scene.questions.len(), scene.withdrawn.len()), (1, 1), "nobody waits for the answer");
        scene.settle_on("a");
        assert_eq!(unowned(&scene).active, Some("a".into()), "the most preferred one is taken");
        assert_eq!(scene.core.poll_timeout(), None);
    }
}

// Attaching.

#[test]
fn a_client_that_was_cut_off_finds_its_session_as_it_is() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    scene.client_gone(1);
    scene.change(Simulated::change_gateway);
    scene.attach(2, session);
    assert_eq!(scene.core.owner(session), Some(ClientId(2)));
    assert_eq!(scene.hear().sessions, [].into(), "to be found out by who attaches");
    scene.change(Simulated::pull_cable);
    let lost = Error(SessionAborted, FailureReason::LinkLost);
    assert_eq!(scene.told(session), [State(Disconnected), lost, Closed]);
    scene.client_gone(2);
    assert_eq!(sessions(&scene), 0, "it belongs to the client that has attached");
}

#[test]
fn a_client_that_is_back_before_its_end_was_seen_takes_its_session_with_it() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    let now = ClientId(2);
    scene.attach(2, session);
    assert_eq!(scene.core.owner(session), Some(now));
    let told = |scene: &mut Scene| -> BTreeSet<ClientId> {
        let tell = |action| match action {
            Action::Tell { client, .. } => Some(client),
            _ => None,
        };
        std::iter::from_fn(|| scene.core.poll_action()).filter_map(tell).collect()
    };
    told(&mut scene);
    scene.client_gone(1);
    assert_eq!(
        scene.core.session(session).map(|session| session.is_open),
        Some(true),
        "the end of another one is nothing"
    );
    scene.core.close(session, scene.now).unwrap();
    assert_eq!(told(&mut scene), [now].into());
    // Who attaches once more has it already.
    scene.attach(2, session);
    assert_eq!(scene.core.owner(session), Some(now));
}

#[test]
fn nobody_attaches_to_what_is_anothers() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    let token = Token(session.0.into());
    for (client, user) in [(2, 1000), (3, 1001)] {
        scene.core.handle_client(ClientId(client), Client::of_user(UserId(user)));
    }
    let now = scene.now;
    let attach = |scene: &mut Scene, client, token| scene.core.attach_session(ClientId(client), token, now);
    assert_eq!(attach(&mut scene, 3, token), Err(Refusal::UnknownToken), "it is another user's");
    assert_eq!(attach(&mut scene, 2, Token(99)), Err(Refusal::UnknownToken));
    assert_eq!(attach(&mut scene, 4, token), Err(Refusal::UnknownClient));
    assert_eq!(scene.core.owner(session), Some(ClientId(1)), "nothing has changed");
    scene.client_gone(1);
    assert_eq!(attach(&mut scene, 3, token), Err(Refusal::UnknownToken), "without an owner neither");
    assert_eq!(attach(&mut scene, 2, token), Ok(session));
    scene.core.give_token(session, Token(7));
    scene.client_gone(2);
    scene.core.handle_client(ClientId(2), Client::of_user(UserId(1000)));
    assert_eq!(attach(&mut scene, 2, token), Err(Refusal::UnknownToken), "a newer token is in force");
    assert_eq!(attach(&mut scene, 2, Token(7)), Ok(session));
}

#[test]
fn a_session_that_was_dropped_is_found_by_nobody() {
    let mut scene = link_down();
    let session = scene.held_session(1, 1);
    scene.core.drop_session(session, scene.now);
    let attached = scene.core.attach_session(ClientId(1), Token(session.0.into()), scene.now);
    assert_eq!(attached, Err(Refusal::UnknownToken));
    assert_eq!(scene.revoked(), [1]);
}
