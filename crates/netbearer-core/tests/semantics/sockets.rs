//! Sockets of sessions: those that stay behind on a link that was left end at once, and no others (semantics §5).

use std::time::Duration;

use netbearer_core::{Action, Client, ClientId, Input, Profiles, Record, SessionId, Settings, Token, UserId, Verdict};
use netbearer_types::{ServiceNetworkProfile, SocketCookie, SocketEnd, StateFlags, Traffic};

use crate::{
    heard::Told,
    scene::{AP0, Scene},
    simulated::{Foreign, Simulated},
};

const NETWORK: &str = "service-uplink";
const NONE_IS_LEFT: &str = "none of its sockets is left there";

impl Scene {
    /// A socket is bound, as the library does it: by the candidate during a trial.
    pub(crate) fn bind(&mut self, session: SessionId, socket: u64) {
        let snapshot = self.core.session(session).expect("it exists");
        let candidate = snapshot.roaming.filter(|roaming| roaming.candidate_interface.is_some());
        let candidate = candidate.map(|roaming| roaming.offer.configuration);
        let link = candidate.or(snapshot.active_configuration).expect("it has a link");
        self.core.add_socket(session, SocketCookie(socket), link, self.now).expect("it has few");
        self.listen();
    }

    /// A socket has ended, after it has carried that.
    fn end_socket(&mut self, socket: u64, carried: Option<(u64, u64)>) {
        let carried = carried.map(|(received, written)| Traffic { received, written });
        self.core.handle_sockets_ended(&[SocketEnd { socket: SocketCookie(socket), carried }], self.now);
        self.listen();
    }

    /// What a session's sockets have carried, if 1 and 2 have carried that so far, and others, too.
    fn carried(&self, session: SessionId) -> (u64, u64) {
        let read = [(1, 100, 1), (2, 200, 2), (77, 700, 7)];
        let read = read.map(|(socket, received, written)| (SocketCookie(socket), Traffic { received, written }));
        let carried = self.core.session_traffic(session, &read.into());
        (carried.received, carried.written)
    }

    /// These were looked for and not found.
    fn miss(&mut self, sockets: &[u64]) {
        let sockets: Vec<SocketCookie> = sockets.iter().map(|socket| SocketCookie(*socket)).collect();
        self.core.handle_sockets_missing(&sockets, self.now);
        self.listen();
    }

    /// The sockets that have been ended since it was asked last.
    pub(crate) fn ended(&mut self) -> Vec<u64> {
        self.listen();
        std::mem::take(&mut self.aborted).into_iter().map(|socket| socket.0).collect()
    }
}

fn settings() -> Settings {
    let members = ["a", "b"].map(str::to_owned).to_vec();
    let network = ServiceNetworkProfile { members, ..ServiceNetworkProfile::default() };
    let profiles = Profiles { service_networks: [(NETWORK.into(), network)].into(), ..Profiles::default() };
    Settings { profiles, serves_all_processes: true, ..Settings::default() }
}

/// A session on "b" with socket 1, whose application decides, and "a", which is preferred, without its cable.
fn open_on_b() -> (Scene, SessionId) {
    let mut scene = Scene::with_access_points(settings(), ["a", "b"], |[a, _]| {
        a.is_up = true;
        a.has_cable = false;
    });
    let session = scene.opening(1, NETWORK);
    scene.settle_on("b");
    scene.bind(session, 1);
    (scene, session)
}

/// The same in a trial of "a", with socket 2 on that.
fn in_a_trial() -> (Scene, SessionId) {
    let (mut scene, session) = open_on_b();
    scene.core.set_stakeholder(session, true, scene.now).expect("it can roam");
    scene.change_of("a", Simulated::push_cable);
    scene.pass(Duration::from_secs(2));
    let Some(Told::Offered(offer)) = scene.told(session).pop() else { panic!("it should be offered \"a\"") };
    scene.core.migrate(session, offer.number, scene.now).expect("it is offered");
    scene.settle_on("a");
    scene.bind(session, 2);
    assert_eq!(scene.ended(), [0; 0], "both links carry traffic");
    (scene, session)
}

fn answer(scene: &mut Scene, session: SessionId, accepts: bool) {
    let roaming = scene.core.session(session).and_then(|snapshot| snapshot.roaming).expect("it is in a trial");
    let number = roaming.offer.number;
    let answered = match accepts {
        true => scene.core.accept(session, number, scene.now),
        false => scene.core.reject(session, number, scene.now),
    };
    answered.expect("it is in a trial");
}

#[test]
fn accepting_ends_what_stayed_behind_and_rejecting_what_was_tried() {
    for (accepts, ended) in [(true, 1), (false, 2)] {
        let (mut scene, session) = in_a_trial();
        answer(&mut scene, session, accepts);
        assert_eq!(scene.ended(), [ended]);
        scene.close(session);
        assert_eq!(scene.ended(), [0; 0], "who closes a session decides about its sockets");
    }
}

#[test]
fn closing_in_a_trial_ends_what_was_tried() {
    let (mut scene, session) = in_a_trial();
    scene.close(session);
    assert_eq!(scene.ended(), [2]);
}

#[test]
fn what_is_on_a_lost_link_ends_whatever_comes_after() {
    let (mut scene, _) = open_on_b();
    scene.change_of("b", Simulated::pull_cable);
    assert_eq!(scene.ended(), [1], "the session is over");
    let (mut scene, session) = in_a_trial();
    scene.change_of("b", Simulated::pull_cable);
    assert_eq!(scene.ended(), [1], "the trial goes on");
    scene.change_of("a", Simulated::pull_cable);
    assert_eq!(scene.ended(), [2]);
    assert!(!scene.core.session(session).unwrap().is_open);
    let (mut scene, session) = open_on_b();
    scene.reconnect(session);
    scene.change_of("b", Simulated::pull_cable);
    assert_eq!(scene.ended(), [1], "the session waits");
}

/// Socket 1 is on "b", which the session has left for "a" without being asked, socket 2 on "a".
fn moved_by_force() -> (Scene, SessionId) {
    let (mut scene, session) = open_on_b();
    move_to_a(&mut scene, session);
    scene.bind(session, 2);
    (scene, session)
}

fn move_to_a(scene: &mut Scene, session: SessionId) {
    scene.change_of("a", Simulated::push_cable);
    scene.pass(Duration::from_secs(2));
    scene.settle_on("a");
    assert_eq!(scene.told(session).last(), Some(&Told::Moved("a".into())));
    assert!(is_kept(scene));
}

/// "b" is held, by whom ever.
fn is_kept(scene: &Scene) -> bool {
    scene.core.holds(&"b".into()) > 0
}

/// Why "b" was given back, as `why` tells it.
fn causes_of_release(scene: &Scene) -> Vec<String> {
    let of_release = scene.core.decisions(0).filter(|decision| decision.verdict == Verdict::Release);
    let value =
        |name| move |inputs: &[Input]| inputs.iter().find(|input| input.name == name).map(|input| input.value.clone());
    let of_b = of_release.filter(|decision| value("left")(&decision.inputs).as_deref() == Some("b"));
    of_b.filter_map(|decision| value("cause")(&decision.inputs)).collect()
}

#[test]
fn after_a_forced_move_old_sockets_have_time_to_finish() {
    let (mut scene, _) = moved_by_force();
    scene.pass(Duration::from_millis(29_999));
    assert_eq!(scene.ended(), [0; 0]);
    scene.pass(Duration::from_millis(1));
    assert_eq!(scene.ended(), [1]);
    assert_eq!(causes_of_release(&scene), ["roam_linger is over"]);
}

#[test]
fn a_link_that_was_left_by_force_goes_with_the_last_socket_on_it() {
    let (mut scene, session) = moved_by_force();
    scene.core.add_socket(session, SocketCookie(3), "b".into(), scene.now).unwrap();
    scene.end_socket(2, None);
    scene.end_socket(1, None);
    assert!(is_kept(&scene), "one is left that was told of late");
    scene.end_socket(3, None);
    assert!(!is_kept(&scene));
    assert_eq!(causes_of_release(&scene), [NONE_IS_LEFT]);
    scene.settle_on("b");
    assert_eq!(scene.core.poll_timeout(), None, "nothing is waited for");
    assert_eq!((scene.told(session), scene.ended()), (Vec::new(), Vec::new()));
}

#[test]
fn a_socket_that_is_bound_elsewhere_is_not_left_behind() {
    let (mut scene, session) = moved_by_force();
    scene.bind(session, 1);
    assert!(!is_kept(&scene), "it is on \"a\" now");
    let (mut scene, _) = moved_by_force();
    let other = scene.opening(2, NETWORK);
    scene.bind(other, 1);
    assert!(!is_kept(&scene), "it is another session's now");
    assert_eq!(causes_of_release(&scene), [NONE_IS_LEFT]);
    assert_eq!(scene.ended(), [0; 0]);
}

#[test]
fn each_session_keeps_a_link_for_its_own_sockets() {
    let (mut scene, _) = open_on_b();
    let other = scene.opening(2, NETWORK);
    scene.bind(other, 2);
    move_to_a(&mut scene, other);
    scene.end_socket(1, None);
    assert_eq!(scene.core.holds(&"b".into()), 1);
    scene.end_socket(2, None);
    assert!(!is_kept(&scene));
}

#[test]
fn a_session_of_which_no_socket_is_known_may_have_some_all_the_same() {
    let (mut scene, session) = open_on_b();
    scene.end_socket(1, None);
    move_to_a(&mut scene, session);
    scene.bind(session, 2);
    scene.end_socket(2, None);
    scene.pass(Duration::from_millis(29_999));
    assert!(is_kept(&scene));
    scene.pass(Duration::from_millis(1));
    assert!(!is_kept(&scene));
}

/// Also one that has ended while no service was there.
#[test]
fn a_link_that_was_left_by_force_goes_with_its_last_socket_after_a_restart_too() {
    for is_told in [true, false] {
        let (mut scene, session) = moved_by_force();
        scene.core.give_token(session, Token(1));
        scene.listen();
        scene.restart(settings());
        scene.look_around();
        scene.settle_on("a");
        scene.settle_on("b");
        assert_eq!(scene.checked, [1, 2].map(SocketCookie).into());
        assert!(is_kept(&scene));
        if is_told {
            scene.end_socket(1, None);
        } else {
            scene.miss(&[1]);
        }
        assert!(!is_kept(&scene));
        assert_eq!(causes_of_release(&scene), [NONE_IS_LEFT]);
        scene.settle_on("b");
        assert_eq!(scene.flags("b"), StateFlags::Discovered, "it is taken down at once");
    }
}

#[test]
fn a_socket_that_is_bound_too_late_ends_at_once() {
    let (mut scene, session) = in_a_trial();
    answer(&mut scene, session, true);
    assert_eq!(scene.ended(), [1]);
    scene.core.add_socket(session, SocketCookie(3), "b".into(), scene.now).unwrap();
    assert_eq!(scene.ended(), [3]);
    scene.end_socket(2, None);
    scene.change_of("a", Simulated::pull_cable);
    assert_eq!(scene.ended(), [0; 0], "it has ended by itself");
}

#[test]
fn a_stop_ends_the_sockets_of_others_and_leaves_ones_own_to_oneself() {
    let mut scene = Scene::with_one_access_point(Settings::default(), |_| {});
    let (stopping, other) = (scene.open_session(1), scene.open_session(2));
    for (session, socket) in [(stopping, 1), (other, 2)] {
        scene.core.add_socket(session, SocketCookie(socket), AP0.into(), scene.now).unwrap();
    }
    scene.stop(stopping);
    assert_eq!(scene.ended(), [2]);
}

#[test]
fn what_is_no_access_point_any_more_keeps_its_sockets_if_its_link_is_that_of_others() {
    for is_adopted in [true, false] {
        let mut scene = Scene::with_one_access_point(Settings::default(), |access_point| {
            access_point.is_up = is_adopted;
            access_point.foreign = if is_adopted { Foreign::Usable } else { Foreign::Nothing };
        });
        let session = scene.open_session(1);
        scene.core.add_socket(session, SocketCookie(1), AP0.into(), scene.now).unwrap();
        scene.core.handle_removed(&AP0.into(), "its profile makes another of it", scene.now);
        assert_eq!(scene.ended().is_empty(), is_adopted);
    }
}

#[test]
fn sockets_outlive_the_service() {
    let settings = Settings { serves_all_processes: true, ..Settings::default() };
    let mut scene = Scene::with_one_access_point(settings.clone(), |_| {});
    let session = scene.held_session(1, 7);
    scene.core.add_socket(session, SocketCookie(5), AP0.into(), scene.now).unwrap();
    scene.listen();
    scene.core.add_socket(session, SocketCookie(6), AP0.into(), scene.now).unwrap();
    scene.end_socket(6, Some((10, 20)));
    scene.restart(settings);
    scene.look_around();
    scene.settle();
    assert_eq!(scene.ended(), [0; 0]);
    assert!(scene.watches_sockets);
    assert_eq!(scene.checked, [SocketCookie(5)].into(), "it may have ended meanwhile");
    assert_eq!(scene.carried(session), (10, 20));
    scene.change(Simulated::pull_cable);
    assert_eq!(scene.ended(), [5]);
}

#[test]
fn there_is_a_limit_to_the_sockets_of_one_session() {
    let (mut scene, session) = open_on_b();
    for socket in 2..=4_096 {
        scene.core.add_socket(session, SocketCookie(socket), "b".into(), scene.now).unwrap();
    }
    let refused = scene.core.add_socket(session, SocketCookie(9_999), "b".into(), scene.now).unwrap_err();
    assert!(refused.to_string().contains("4096"), "{refused}");
    scene.core.add_socket(session, SocketCookie(2), "b".into(), scene.now).expect("it is one of them");
    scene.end_socket(2, None);
    scene.core.add_socket(session, SocketCookie(9_999), "b".into(), scene.now).unwrap();
}

#[test]
fn what_sockets_have_carried_is_their_sessions_also_if_they_are_aborted() {
    let (mut scene, session) = in_a_trial();
    answer(&mut scene, session, true);
    assert_eq!(scene.ended(), [1]);
    assert_eq!(scene.carried(session), (300, 3), "the end of the first is still to be told");
    scene.end_socket(1, Some((1_000, 20)));
    scene.end_socket(7, Some((5, 5)));
    assert_eq!(scene.carried(session), (1_200, 22), "and of no others");
    scene.end_socket(2, Some((1, 2)));
    assert_eq!(scene.carried(session), (1_001, 22));
    assert!(!scene.core.has_sockets(session));
}

#[test]
fn ends_are_told_only_while_there_are_sockets() {
    let (mut scene, session) = open_on_b();
    assert!(scene.watches_sockets);
    scene.end_socket(1, None);
    assert!(!scene.watches_sockets);
    scene.core.handle_socket_ends_missed();
    scene.bind(session, 2);
    scene.core.handle_socket_ends_missed();
    scene.listen();
    assert_eq!(scene.checked, [SocketCookie(2)].into());
    scene.core.drop_session(session, scene.now);
    scene.listen();
    assert!(!scene.watches_sockets);
}

#[test]
fn a_socket_of_which_is_told_after_its_end_is_counted_all_the_same() {
    let (mut scene, session) = open_on_b();
    scene.end_socket(2, Some((10, 20)));
    scene.bind(session, 2);
    assert_eq!(scene.carried(session), (110, 21), "the first one lives");
    scene.end_socket(1, Some((100, 1)));
    assert_eq!(scene.carried(session), (110, 21));
    assert!(!scene.core.has_sockets(session) && !scene.watches_sockets);
    for socket in 1_000..2_025 {
        scene.bind(session, 3);
        scene.end_socket(socket, Some((1, 1)));
    }
    scene.bind(session, 1_000);
    assert_eq!(scene.carried(session), (110, 21), "that was too long ago");
    scene.bind(session, 1_001);
    assert_eq!(scene.carried(session), (111, 22));
}

#[test]
fn a_socket_that_another_session_binds_is_that_ones() {
    let (mut scene, first) = open_on_b();
    let second = scene.opening(2, NETWORK);
    scene.bind(second, 1);
    scene.end_socket(1, Some((1, 1)));
    assert_eq!((scene.carried(first), scene.carried(second)), ((0, 0), (1, 1)));
}

/// Numbers are easily made up, and those of others are no secret.
#[test]
fn what_another_user_claims_of_a_socket_changes_nothing() {
    let (mut scene, session) = open_on_b();
    scene.core.handle_client(ClientId(9), Client::of_user(UserId(1001)));
    let stranger = scene.core.create_session(ClientId(9), &"a".into()).unwrap();
    scene.core.add_socket(stranger, SocketCookie(1), "b".into(), scene.now).unwrap();
    let action = scene.core.poll_urgent_action();
    let of_stranger = Action::AbortSockets { sockets: [SocketCookie(1)].into(), owner: Some(UserId(1001)) };
    assert_eq!(action, Some(of_stranger), "which the kernel compares");
    scene.end_socket(7, None);
    assert_eq!(scene.carried(session), (100, 1));
    scene.change_of("b", Simulated::pull_cable);
    assert_eq!(scene.ended(), [1]);
    scene.end_socket(1, Some((9, 9)));
    assert_eq!(scene.carried(session), (9, 9));
    assert!(!scene.watches_sockets);
}

/// The kernel does not list what is not connected; what is told of before it is would be forgotten.
#[test]
fn a_socket_that_was_not_found_once_may_be_connected_later() {
    let (mut scene, session) = open_on_b();
    assert_eq!(scene.checked, [SocketCookie(1)].into());
    scene.miss(&[1]);
    assert_eq!(scene.carried(session), (100, 1), "it is known still");
    scene.change_of("b", Simulated::pull_cable);
    assert_eq!(scene.ended(), [1]);
    let (mut scene, session) = open_on_b();
    scene.bind(session, 2);
    for _ in 0..2 {
        assert!(scene.core.has_sockets(session));
        scene.core.handle_socket_ends_missed();
        scene.listen();
        assert_eq!(scene.checked, [1, 2].map(SocketCookie).into());
        scene.miss(&[1, 2]);
    }
    assert!(!scene.core.has_sockets(session) && !scene.watches_sockets, "both have ended unheard");
}

/// The process may have been killed before the kernel was asked.
#[test]
fn what_was_to_be_aborted_is_aborted_by_the_next_service() {
    let (mut scene, session) = in_a_trial();
    scene.core.give_token(session, Token(1));
    answer(&mut scene, session, true);
    assert_eq!(scene.ended(), [1]);
    scene.restart(settings());
    assert_eq!(scene.ended(), [1]);
    scene.end_socket(1, None);
    scene.restart(settings());
    assert_eq!(scene.ended(), [0; 0]);
}

#[test]
fn the_sockets_of_a_user_are_limited_however_many_sessions_there_are() {
    let (mut scene, session) = open_on_b();
    let mut sessions = vec![session];
    sessions.extend((2..=5).map(|client| scene.opening(client, NETWORK)));
    let mut added = 1;
    'all: for session in &sessions {
        for _ in 0..4_095 {
            added += 1;
            if let Err(refused) = scene.core.add_socket(*session, SocketCookie(added), "b".into(), scene.now) {
                assert!(refused.to_string().contains("16384"), "{refused}");
                break 'all;
            }
        }
    }
    assert_eq!(added, 16_384 + 1);
    scene.core.handle_client(ClientId(9), Client::of_user(UserId(0)));
    let of_root = scene.core.create_session(ClientId(9), &"b".into()).unwrap();
    scene.core.open(of_root, scene.now).unwrap();
    scene.core.add_socket(of_root, SocketCookie(99_999), "b".into(), scene.now).unwrap();
}

/// All that a session has would be written for each of thousands.
#[test]
fn a_socket_that_comes_or_goes_is_saved_by_itself() {
    let (mut scene, session) = open_on_b();
    scene.core.give_token(session, Token(1));
    scene.saved.extend(scene.core.take_unsaved());
    let length = |records: &[Record]| serde_json::to_string(records).unwrap().len();
    for socket in 2..1_000 {
        scene.core.add_socket(session, SocketCookie(socket), "b".into(), scene.now).unwrap();
        let records = scene.core.take_unsaved();
        assert!(length(&records) < 200, "{records:?}");
        scene.saved.extend(records);
    }
    let end = SocketEnd { socket: SocketCookie(500), carried: Some(Traffic { received: 5, written: 6 }) };
    scene.core.handle_sockets_ended(&[end], scene.now);
    let records = scene.core.take_unsaved();
    assert!(length(&records) < 200, "{records:?}");
    scene.saved.extend(records);
    assert_eq!(scene.saved, scene.core.saved());
}
