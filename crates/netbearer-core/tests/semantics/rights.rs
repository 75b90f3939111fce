//! Who may do what (semantics §8), and what a denial changes.

use netbearer_core::{Client, ClientId, HoldId, Refusal, Rights, SessionId, Settings, UserId};
use netbearer_types::{
    Failure, FailureReason,
    SessionError::OperationNotSupported,
    SessionState::{Closing, Connecting, Disconnected},
};

use crate::{
    heard::{
        Heard,
        Told::{Closed, Error, State},
    },
    scene::Scene,
};

const OPENING: &str = "group bearer";
const CONTROL: &str = "org.netbearer.control";

fn link_down() -> Scene {
    Scene::with_one_access_point(Settings::default(), |_| {})
}

fn restrict(scene: &mut Scene, client: u64, rights: Rights) {
    let description = Client { rights, ..Client::of_user(UserId(1000)) };
    scene.core.handle_client(ClientId(client), description);
}

/// The right that a refusal names.
fn missing(refusal: Refusal) -> String {
    match refusal {
        Refusal::Denied(Failure { reason: FailureReason::MissingRight(right), message, .. }) => {
            assert!(message.contains(&right), "people are told: {message}");
            right
        }
        other => panic!("{other}"),
    }
}

fn stop(scene: &mut Scene, session: SessionId) -> String {
    missing(scene.core.stop(session, scene.now).expect_err("the right is missing"))
}

#[test]
fn a_client_may_do_everything_unless_it_is_said_otherwise() {
    assert_eq!(Rights::default(), Client::of_user(UserId(1)).rights);
    assert!(Rights::default().may_open && Rights::default().may_control);
}

#[test]
fn a_stop_without_the_right_is_a_close_of_the_callers_own_session() {
    let mut scene = link_down();
    let (caller, other, watcher) = (scene.open_session(1), scene.open_session(2), scene.session(3));
    restrict(&mut scene, 1, Rights { may_control: false, ..Rights::default() });
    assert_eq!(stop(&mut scene, caller), CONTROL);
    let denied = Error(OperationNotSupported, FailureReason::MissingRight(CONTROL.to_owned()));
    assert_eq!(scene.told(caller), [Closed, denied.clone()]);
    assert_eq!([other, watcher].map(|session| scene.told(session)), [[], []], "nobody else is affected");
    restrict(&mut scene, 2, Rights { may_control: false, ..Rights::default() });
    assert_eq!(stop(&mut scene, other), CONTROL);
    scene.settle();
    assert_eq!(scene.told(other), [Closed, State(Closing), denied, State(Disconnected)]);
    assert_eq!(scene.told(watcher), [State(Closing), State(Disconnected)]);
}

#[test]
fn a_stop_without_the_right_through_a_session_that_does_not_hold_is_only_denied() {
    let mut scene = link_down();
    let (other, caller) = (scene.open_session(1), scene.session(2));
    restrict(&mut scene, 2, Rights { may_control: false, ..Rights::default() });
    assert_eq!(stop(&mut scene, caller), CONTROL);
    assert_eq!(scene.told(caller), [Error(OperationNotSupported, FailureReason::MissingRight(CONTROL.to_owned()))]);
    assert!(scene.core.session(other).is_some_and(|snapshot| snapshot.is_open));
}

#[test]
fn without_the_right_nothing_is_opened_and_closing_is_always_allowed() {
    let mut scene = link_down();
    let (caller, before) = (scene.session(1), scene.open_session(2));
    for client in [1, 2] {
        restrict(&mut scene, client, Rights { may_open: false, ..Rights::default() });
    }
    let refusal = scene.core.open_held(caller, HoldId(1), scene.now).expect_err("the right is missing");
    assert_eq!(missing(refusal), OPENING);
    let denied = Error(OperationNotSupported, FailureReason::MissingRight(OPENING.to_owned()));
    let told = Heard { sessions: [(caller, vec![denied])].into(), ..Heard::default() };
    assert_eq!(scene.hear(), told, "and nothing else has changed");
    assert_eq!(scene.core.session_description(caller).map(|session| session.descriptors), Some(0));
    scene.core.open(before, scene.now).expect("it is open already");
    scene.close(before);
    assert_eq!(scene.told(before), [Closed, State(Closing)]);
}

#[test]
fn rights_that_are_given_later_count_from_then_on() {
    let mut scene = link_down();
    let caller = scene.session(1);
    restrict(&mut scene, 1, Rights { may_open: false, may_control: false });
    assert!(scene.core.open(caller, scene.now).is_err());
    restrict(&mut scene, 1, Rights::default());
    scene.hear();
    scene.open(caller);
    assert_eq!(scene.told(caller), [State(Connecting)]);
}

#[test]
fn who_was_not_announced_has_no_sessions() {
    let mut scene = link_down();
    assert_eq!(scene.core.create_session(ClientId(7), &"ap0".into()), Err(Refusal::UnknownClient));
    scene.core.handle_client_gone(ClientId(7), scene.now);
    assert_eq!(scene.hear(), Heard::default());
}
