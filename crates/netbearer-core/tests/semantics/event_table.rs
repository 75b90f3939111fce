//! The rows of the table of events (semantics §3), one test each, and the settled questions around them.

use std::time::Duration;

use netbearer_core::{ClientId, Profiles, Refusal, Settings};
use netbearer_types::{
    FailureReason, Lifetime, Profile,
    SessionError::{InvalidConfiguration, OperationNotSupported, SessionAborted, Unknown},
    SessionState::{Closing, Connected, Connecting, Disconnected, Invalid, NotAvailable},
    StateFlags, Target,
};

use crate::{
    heard::{
        Heard,
        Told::{self, Closed, Error, InterfaceChanged, Opened, State},
    },
    scene::{AP0, Scene},
    simulated::{Foreign, Simulated},
};

const SECOND: Duration = Duration::from_secs(1);
const NOTHING: &[Told] = &[];

fn link_down() -> Scene {
    Scene::with_one_access_point(Settings::default(), |_| {})
}

fn with_profile(profile: Profile) -> Settings {
    Settings { profiles: Profiles { default: profile, ..Profiles::default() }, ..Settings::default() }
}

fn lingering() -> Scene {
    Scene::with_one_access_point(with_profile(Profile { linger: 2 * SECOND, ..Profile::default() }), |_| {})
}

/// Up without us.
fn adopted(lifetime: Lifetime) -> Scene {
    Scene::with_one_access_point(with_profile(Profile { lifetime, ..Profile::default() }), bring_up_by_itself)
}

/// Administratively up, and no cable.
fn without_carrier() -> Scene {
    Scene::with_one_access_point(Settings::default(), |access_point| {
        access_point.is_up = true;
        access_point.has_cable = false;
    })
}

fn bring_up_by_itself(access_point: &mut Simulated) {
    access_point.is_up = true;
    access_point.foreign = Foreign::Usable;
}

fn stopped() -> Told {
    Error(SessionAborted, FailureReason::Stopped)
}

fn link_lost() -> Told {
    Error(SessionAborted, FailureReason::LinkLost)
}

#[test]
fn open_with_the_link_down_connects_and_watchers_see_both_states() {
    let mut scene = link_down();
    let (caller, opener, watcher) = (scene.session(1), scene.session(2), scene.session(3));
    scene.open(caller);
    assert_eq!(scene.told(caller), [State(Connecting)]);
    scene.open(opener);
    scene.settle();
    assert_eq!(scene.told(caller), [State(Connected), Opened]);
    assert_eq!(scene.told(opener), [State(Connecting), State(Connected), Opened]);
    assert_eq!(scene.told(watcher), [State(Connecting), State(Connected)]);
}

#[test]
fn open_with_the_link_up_is_opened_at_once() {
    let mut scene = link_down();
    let (first, caller, watcher) = (scene.open_session(1), scene.session(2), scene.session(3));
    scene.open(caller);
    assert_eq!(scene.told(caller), [Opened]);
    assert_eq!(scene.told(first), NOTHING);
    assert_eq!(scene.told(watcher), NOTHING);
}

#[test]
fn open_of_a_link_that_connects_joins_it() {
    let mut scene = link_down();
    let first = scene.session(1);
    scene.open(first);
    let caller = scene.session(2);
    scene.open(caller);
    assert_eq!(scene.told(caller), NOTHING);
    scene.settle();
    assert_eq!(scene.told(caller), [State(Connected), Opened]);
}

#[test]
fn open_again_is_one_hold_and_one_close_releases_it() {
    let mut scene = link_down();
    let caller = scene.open_session(1);
    scene.open(caller);
    assert_eq!(scene.told(caller), NOTHING);
    assert_eq!(scene.core.holds(&AP0.into()), 1);
    scene.close(caller);
    scene.settle();
    assert_eq!(scene.told(caller), [Closed, State(Closing), State(Disconnected)]);
}

#[test]
fn open_fails_for_everybody_who_was_opening() {
    let mut scene = link_down();
    let (caller, opener, watcher) = (scene.session(1), scene.session(2), scene.session(3));
    scene.open(caller);
    scene.open(opener);
    scene.change(|access_point| access_point.fail(FailureReason::KernelRefused));
    for session in [caller, opener] {
        let failed = Error(Unknown, FailureReason::KernelRefused);
        assert_eq!(scene.told(session), [State(Connecting), State(Disconnected), failed]);
    }
    assert_eq!(scene.told(watcher), [State(Connecting), State(Disconnected)]);
}

#[test]
fn open_without_carrier_fails_in_time_and_the_link_is_defined_until_an_event_says_otherwise() {
    let mut scene = Scene::with_one_access_point(Settings::default(), |access_point| access_point.has_cable = false);
    let caller = scene.session(1);
    scene.open(caller);
    scene.settle();
    scene.pass(5 * SECOND);
    let no_carrier = Error(Unknown, FailureReason::NoCarrier);
    assert_eq!(scene.told(caller), [State(Connecting), State(NotAvailable), no_carrier]);
    scene.settle();
    scene.open(caller);
    assert_eq!(scene.told(caller), [Error(InvalidConfiguration, FailureReason::NotAvailable)]);
    scene.core.update_configurations(ClientId(1)).unwrap();
    scene.core.handle_refreshed(scene.now);
    assert_eq!(scene.hear().sessions[&caller], [State(Disconnected)]);
}

#[test]
fn open_while_closing_counts_at_once_and_skips_no_state() {
    let mut scene = link_down();
    let (first, caller, watcher) = (scene.open_session(1), scene.session(2), scene.session(3));
    scene.close(first);
    scene.open(caller);
    assert_eq!(scene.core.holds(&AP0.into()), 1);
    scene.settle();
    assert_eq!(scene.told(caller), [State(Closing), State(Connecting), State(Connected), Opened]);
    assert_eq!(scene.told(watcher), [State(Closing), State(Connecting), State(Connected)]);
}

#[test]
fn close_while_others_hold_leaves_the_link_up() {
    let mut scene = link_down();
    let (caller, other) = (scene.open_session(1), scene.open_session(2));
    scene.close(caller);
    scene.settle();
    assert_eq!(scene.told(caller), [Closed]);
    assert_eq!(scene.told(other), NOTHING);
    assert!(scene.hear().commands.is_empty());
}

#[test]
fn close_of_the_last_hold_takes_the_link_down() {
    let mut scene = link_down();
    let (caller, watcher) = (scene.open_session(1), scene.session(2));
    scene.close(caller);
    scene.settle();
    assert_eq!(scene.told(caller), [Closed, State(Closing), State(Disconnected)]);
    assert_eq!(scene.told(watcher), [State(Closing), State(Disconnected)]);
    assert!(scene.access_point().is_as_found());
}

#[test]
fn close_while_opening_is_never_followed_by_opened() {
    let mut scene = link_down();
    let caller = scene.session(1);
    scene.open(caller);
    scene.access_point().reach();
    scene.close(caller);
    scene.report();
    scene.settle();
    assert_eq!(scene.told(caller), [State(Connecting), Closed, State(Closing), State(Disconnected)]);
}

#[test]
fn close_while_opening_leaves_the_start_to_those_who_still_want_it() {
    let mut scene = link_down();
    let (caller, opener) = (scene.session(1), scene.session(2));
    scene.open(caller);
    scene.open(opener);
    scene.close(caller);
    scene.settle();
    assert_eq!(scene.told(caller), [State(Connecting), Closed, State(Connected)]);
    assert_eq!(scene.told(opener), [State(Connecting), State(Connected), Opened]);
}

#[test]
fn close_when_not_open_says_nothing() {
    let mut scene = link_down();
    let caller = scene.session(1);
    scene.close(caller);
    assert_eq!(scene.hear(), Heard::default());
}

#[test]
fn stop_closes_the_caller_and_aborts_the_others() {
    let mut scene = link_down();
    let (caller, other, watcher) = (scene.open_session(1), scene.open_session(2), scene.session(3));
    scene.stop(caller);
    scene.settle();
    assert_eq!(scene.told(caller), [Closed, State(Closing), State(Disconnected)]);
    assert_eq!(scene.told(other), [State(Closing), stopped(), Closed, State(Disconnected)]);
    assert_eq!(scene.told(watcher), [State(Closing), State(Disconnected)]);
}

#[test]
fn stop_aborts_those_who_are_still_opening() {
    let mut scene = link_down();
    let (caller, opener) = (scene.session(1), scene.session(2));
    scene.open(opener);
    scene.stop(caller);
    scene.settle();
    assert_eq!(scene.told(caller), [State(Connecting), State(Closing), State(Disconnected)]);
    assert_eq!(scene.told(opener), [State(Connecting), State(Closing), stopped(), Closed, State(Disconnected)]);
}

#[test]
fn stop_takes_an_adopted_link_down_and_the_next_open_makes_it_ours() {
    let mut scene = adopted(Lifetime::Adopt);
    let caller = scene.session(1);
    scene.stop(caller);
    scene.settle();
    assert_eq!(scene.told(caller), [State(Closing), State(Disconnected)]);
    assert_eq!(scene.hear().commands[AP0], [Target::Stopped]);
    scene.open(caller);
    scene.settle();
    scene.close(caller);
    scene.settle();
    assert_eq!(scene.hear().commands[AP0], [Target::Configured, Target::Released]);
}

#[test]
fn stop_that_the_engine_refuses_ends_with_the_link_as_it_is() {
    let mut scene = adopted(Lifetime::Adopt);
    let caller = scene.open_session(1);
    scene.stop(caller);
    scene.change(|access_point| access_point.fail(FailureReason::OwnedByAnotherProcess(None)));
    let refused = Error(OperationNotSupported, FailureReason::OwnedByAnotherProcess(None));
    assert_eq!(scene.told(caller), [Closed, State(Closing), State(Connected), refused]);
    assert!(scene.core.is_at_rest());
}

#[test]
fn a_removal_that_takes_too_long_keeps_nobody_waiting() {
    let mut scene = link_down();
    let (closer, opener) = (scene.open_session(1), scene.session(2));
    scene.close(closer);
    scene.open(opener);
    scene.pass(10 * SECOND);
    let too_long = Error(Unknown, FailureReason::EngineFailed);
    assert_eq!(scene.told(closer), [Closed, State(Closing), State(Disconnected)]);
    assert_eq!(scene.told(opener), [State(Closing), State(Disconnected), too_long.clone()]);
    scene.open(opener);
    scene.pass(10 * SECOND);
    assert_eq!(scene.told(opener), [State(Connecting), State(Disconnected), too_long]);
    assert!(!scene.core.is_at_rest(), "what is left is still ours");
    scene.open(opener);
    scene.settle();
    assert_eq!(scene.told(opener), [State(Connecting), State(Connected), Opened]);
}

#[test]
fn stop_of_an_inactive_link_does_nothing() {
    let mut scene = link_down();
    let caller = scene.session(1);
    scene.stop(caller);
    assert_eq!(scene.hear(), Heard::default());
}

#[test]
fn stop_that_is_not_supported_changes_nothing() {
    let mut scene = adopted(Lifetime::Adopt);
    scene.change(|access_point| access_point.set_privilege(false));
    let caller = scene.open_session(1);
    let refused = scene.core.stop(caller, scene.now);
    assert!(matches!(refused, Err(Refusal::NotSupported(_))), "{refused:?}");
    let denied = Error(OperationNotSupported, FailureReason::MissingPrivilege("CAP_NET_ADMIN".to_owned()));
    assert_eq!(scene.hear().sessions[&caller], [denied]);
    assert!(scene.core.session(caller).is_some_and(|snapshot| snapshot.is_open));
}

#[test]
fn a_lost_link_that_was_found_up_is_not_available() {
    let mut scene = Scene::with_one_access_point(Settings::default(), |access_point| access_point.is_up = true);
    let (first, second, watcher) = (scene.open_session(1), scene.open_session(2), scene.session(3));
    scene.change(Simulated::pull_cable);
    scene.settle();
    for session in [first, second] {
        assert_eq!(scene.told(session), [State(NotAvailable), link_lost(), Closed]);
    }
    assert_eq!(scene.told(watcher), [State(NotAvailable)]);
}

#[test]
fn a_lost_link_that_was_found_down_may_be_tried_again_at_once() {
    let mut scene = link_down();
    let session = scene.open_session(1);
    scene.change(Simulated::pull_cable);
    assert_eq!(scene.told(session), [State(Disconnected), link_lost(), Closed]);
    scene.change(Simulated::push_cable);
    scene.open(session);
    scene.settle();
    assert_eq!(scene.told(session), [State(Connecting), State(Connected), Opened]);
}

#[test]
fn a_flap_that_nobody_saw_is_a_loss_and_a_return() {
    let mut scene = adopted(Lifetime::Adopt);
    let session = scene.open_session(1);
    scene.change(Simulated::flap);
    assert_eq!(scene.told(session), [State(NotAvailable), link_lost(), Closed, State(Connected)]);
}

#[test]
fn an_interface_replaced_unseen_is_a_loss_and_a_return() {
    let mut scene = adopted(Lifetime::Adopt);
    let session = scene.open_session(1);
    scene.change(|access_point| access_point.unplug() && access_point.replug(true, Foreign::Usable));
    assert_eq!(scene.told(session), [State(NotAvailable), link_lost(), Closed, State(Connected)]);
}

#[test]
fn a_removed_configuration_makes_its_sessions_invalid_for_good() {
    let mut scene = link_down();
    let (holder, watcher) = (scene.open_session(1), scene.session(2));
    scene.access_point().cease();
    scene.core.handle_removed(&AP0.into(), "it was enslaved to br0", scene.now);
    let heard = scene.hear();
    let removed = || Error(InvalidConfiguration, FailureReason::ConfigurationInvalid);
    assert_eq!(heard.sessions[&holder], [State(Invalid), removed(), Closed]);
    assert_eq!(heard.sessions[&watcher], [State(Invalid)]);
    scene.access_point().is_access_point = true;
    scene.report();
    scene.open(watcher);
    assert_eq!(scene.told(watcher), [removed()]);
    let configuration = scene.core.session_configuration(watcher).expect("the session exists");
    assert_eq!((configuration.name.as_str(), configuration.is_valid()), (AP0, false));
}

#[test]
fn a_failed_engine_takes_its_configurations_and_every_pending_update_is_completed() {
    let mut scene = link_down();
    let holder = scene.open_session(1);
    scene.core.update_configurations(ClientId(1)).unwrap();
    scene.access_point().cease();
    scene.core.handle_engine_failed("netlink is gone", scene.now);
    scene.core.update_configurations(ClientId(1)).unwrap();
    let heard = scene.hear();
    let failed = Error(InvalidConfiguration, FailureReason::EngineFailed);
    assert_eq!(heard.sessions[&holder], [State(Invalid), failed, Closed]);
    assert_eq!((heard.completed.len(), heard.refreshes), (2, 1));
}

#[test]
fn an_update_of_a_client_that_has_gone_does_not_complete_that_of_another() {
    let mut scene = link_down();
    let (gone, waiting) = (ClientId(1), ClientId(2));
    scene.session(1);
    scene.session(2);
    scene.core.update_configurations(gone).unwrap();
    scene.core.update_configurations(waiting).unwrap();
    scene.core.handle_client_gone(gone, scene.now);
    scene.core.handle_refreshed(scene.now);
    assert!(scene.hear().completed.is_empty());
    scene.core.handle_refreshed(scene.now);
    assert_eq!(scene.hear().completed, [waiting]);
}

#[test]
fn so_many_updates_of_one_client_wait_and_others_do_not_notice() {
    let mut scene = link_down();
    let (eager, other) = (ClientId(1), ClientId(2));
    scene.session(1);
    scene.session(2);
    for _ in 0..16 {
        scene.core.update_configurations(eager).unwrap();
    }
    assert_eq!(scene.core.update_configurations(eager), Err(Refusal::TooManyUpdates(16)));
    scene.core.update_configurations(other).unwrap();
    assert_eq!(scene.hear().refreshes, 17);
    // As soon as one is completed, another one may be asked for.
    scene.core.handle_refreshed(scene.now);
    scene.core.update_configurations(eager).unwrap();
    assert_eq!(scene.core.update_configurations(eager), Err(Refusal::TooManyUpdates(16)));
    for _ in 0..17 {
        scene.core.handle_refreshed(scene.now);
    }
    let completed = scene.hear().completed;
    assert_eq!(completed.iter().filter(|client| **client == eager).count(), 17);
    assert_eq!(completed.iter().filter(|client| **client == other).count(), 1);
}

#[test]
fn a_changed_gateway_is_told_to_all_and_the_link_is_kept() {
    let mut scene = adopted(Lifetime::Adopt);
    let (holder, watcher) = (scene.open_session(1), scene.session(2));
    scene.change(Simulated::change_gateway);
    let interface = scene.core.interface(&AP0.into()).expect("it is plugged in");
    for session in [holder, watcher] {
        assert_eq!(scene.told(session), [InterfaceChanged(interface.clone())]);
    }
}

#[test]
fn a_lease_regained_in_time_keeps_the_link_and_a_new_address_is_told() {
    let mut scene = link_down();
    let session = scene.open_session(1);
    scene.change(|access_point| access_point.lose_lease(false));
    assert_eq!(scene.told(session), NOTHING);
    scene.change(|access_point| access_point.regain_lease(3));
    let interface = scene.core.interface(&AP0.into()).expect("it is plugged in");
    assert_eq!(scene.told(session), [InterfaceChanged(interface)]);
}

#[test]
fn expiry_without_a_lease_is_a_lost_link() {
    let mut scene = link_down();
    let session = scene.open_session(1);
    scene.change(|access_point| access_point.lose_lease(false));
    scene.pass(2 * SECOND);
    assert_eq!(scene.told(session), [State(Disconnected), link_lost(), Closed]);
}

#[test]
fn open_on_defined_says_why_not_and_on_invalid_exactly_once() {
    let mut scene = without_carrier();
    let session = scene.session(1);
    scene.open(session);
    assert_eq!(scene.told(session), [Error(InvalidConfiguration, FailureReason::NotAvailable)]);
    let invalid = scene.core.create_session(ClientId(1), &"nowhere".into()).expect("it only watches");
    assert!(scene.core.session(invalid).is_some_and(|snapshot| snapshot.failure.is_some()));
    scene.open(invalid);
    assert_eq!(scene.told(invalid), [Error(InvalidConfiguration, FailureReason::ConfigurationInvalid)]);
}

#[test]
fn open_before_the_first_enumeration_waits_for_it() {
    let mut access_point = Simulated::new(AP0.into());
    access_point.is_up = true;
    access_point.has_cable = false;
    let mut scene = Scene::new(Settings::default(), [(AP0.into(), access_point)]);
    scene.report();
    let (served, failed) = (scene.session(1), scene.session(2));
    scene.open(failed);
    scene.pass(10 * SECOND);
    let absent = Error(InvalidConfiguration, FailureReason::NotAvailable);
    assert_eq!(scene.told(failed), [State(Connecting), State(NotAvailable), absent]);
    scene.hear();
    scene.open(served);
    scene.change(Simulated::push_cable);
    scene.settle();
    assert_eq!(scene.told(served), [State(Connecting), State(Connected), Opened]);
}

#[test]
fn an_adopted_link_survives_its_last_close() {
    let mut scene = adopted(Lifetime::Adopt);
    let session = scene.open_session(1);
    scene.close(session);
    let heard = scene.hear();
    assert_eq!(heard.sessions[&session], [Closed]);
    assert!(heard.commands.is_empty());
}

#[test]
fn an_adopted_link_on_demand_goes_down_with_its_last_hold() {
    let mut scene = adopted(Lifetime::OnDemand);
    let session = scene.open_session(1);
    scene.close(session);
    scene.settle();
    assert_eq!(scene.told(session), [Closed, State(Closing), State(Disconnected)]);
}

#[test]
fn an_adopted_link_on_demand_lingers_too() {
    let profile = Profile { lifetime: Lifetime::OnDemand, linger: 2 * SECOND, ..Profile::default() };
    let mut scene = Scene::with_one_access_point(with_profile(profile), bring_up_by_itself);
    let session = scene.open_session(1);
    scene.close(session);
    scene.pass(SECOND);
    scene.open(session);
    assert_eq!(scene.told(session), [Closed, Opened]);
    scene.close(session);
    scene.pass(2 * SECOND);
    assert_eq!(scene.told(session), [Closed, State(Closing)]);
}

#[test]
fn a_lingering_link_is_opened_at_once_and_goes_down_in_time() {
    let mut scene = lingering();
    let session = scene.open_session(1);
    scene.close(session);
    scene.open(session);
    assert_eq!(scene.told(session), [Closed, Opened]);
    scene.close(session);
    scene.pass(2 * SECOND);
    scene.settle();
    assert_eq!(scene.told(session), [Closed, State(Closing), State(Disconnected)]);
}

#[test]
fn stop_ignores_linger() {
    let mut scene = lingering();
    let session = scene.open_session(1);
    scene.close(session);
    scene.stop(session);
    assert_eq!(scene.told(session), [Closed, State(Closing)]);
}

#[test]
fn a_killed_client_gives_its_holds_back_and_nobody_is_told_in_its_name() {
    let mut scene = link_down();
    let (killed, watcher) = (scene.open_session(1), scene.session(2));
    scene.core.handle_client_gone(ClientId(1), scene.now);
    scene.settle();
    assert_eq!(scene.told(killed), NOTHING);
    assert_eq!(scene.told(watcher), [State(Closing), State(Disconnected)]);
    assert_eq!(scene.core.session(killed), None);
}

#[test]
fn with_reconnect_a_lost_link_is_waited_for() {
    let mut scene = link_down();
    let session = scene.open_session(1);
    scene.reconnect(session);
    scene.change(Simulated::pull_cable);
    assert_eq!(scene.told(session), [State(NotAvailable)]);
    assert!(scene.core.session(session).is_some_and(|snapshot| !snapshot.is_open && snapshot.is_opening));
    scene.change(Simulated::push_cable);
    scene.settle();
    assert_eq!(scene.told(session), [State(Connecting), State(Connected), Opened]);
}

#[test]
fn with_reconnect_failed_starts_back_off_without_an_error() {
    let mut scene = Scene::with_one_access_point(Settings::default(), |access_point| access_point.is_up = true);
    let session = scene.session(1);
    scene.reconnect(session);
    scene.open(session);
    for delay in [1, 2, 4, 8, 16, 32, 60, 60] {
        scene.change(|access_point| access_point.step() && access_point.fail(FailureReason::NoLease));
        scene.settle();
        scene.pass(delay * SECOND - Duration::from_nanos(1));
        assert_eq!(scene.told(session), [State(Connecting), State(Disconnected)]);
        scene.pass(Duration::from_nanos(1));
    }
    scene.settle();
    assert_eq!(scene.told(session), [State(Connecting), State(Connected), Opened]);
}

/// The other process brings the link up meanwhile; found by the soak with seeds 48 and 413.
#[test]
fn with_reconnect_a_link_that_the_process_which_keeps_the_sessions_brings_up_is_adopted() {
    let mut scene = link_down();
    let (waits, watches) = (scene.session(1), scene.session(2));
    scene.reconnect(waits);
    scene.open(waits);
    let refuse = |access_point: &mut Simulated| access_point.fail(FailureReason::OwnedByAnotherProcess(None));
    // The start, and then the attempt to see the carrier.
    scene.change(refuse);
    scene.change(refuse);
    assert_eq!(scene.told(waits), [State(Connecting), State(Disconnected)]);
    assert_eq!(scene.told(watches), [State(Connecting), State(Disconnected)]);
    scene.change(|access_point| {
        bring_up_by_itself(access_point);
        true
    });
    assert_eq!(scene.told(waits), [State(Connected), Opened]);
    assert_eq!(scene.told(watches), [State(Connected)]);
}

#[test]
fn with_reconnect_a_close_ends_the_wait_and_a_stop_does_so_with_an_error() {
    let mut scene = without_carrier();
    let (closes, stops, waits) = (scene.session(1), scene.session(2), scene.session(3));
    for session in [closes, waits] {
        scene.reconnect(session);
        scene.open(session);
        assert_eq!(scene.told(session), NOTHING);
    }
    scene.close(closes);
    assert_eq!(scene.told(closes), [Closed]);
    scene.stop(stops);
    assert_eq!(scene.told(stops), NOTHING);
    assert_eq!(scene.told(waits), [stopped(), Closed]);
}

#[test]
fn a_close_leaves_those_who_only_wait_for_what_is_cleared_away_in_their_state() {
    let mut scene = Scene::with_one_access_point(Settings::default(), |access_point| access_point.is_up = true);
    let (waits, closes) = (scene.open_session(1), scene.session(2));
    scene.change(Simulated::pull_cable);
    scene.reconnect(waits);
    scene.open(waits);
    scene.change(Simulated::push_cable);
    scene.hear();
    scene.open(closes);
    scene.close(closes);
    assert_eq!(scene.told(closes), [State(Connecting), Closed, State(Disconnected)]);
    assert_eq!(scene.told(waits), [State(Connecting), State(Disconnected)]);
    scene.settle();
    assert_eq!(scene.told(waits), [State(Connecting), State(Connected), Opened]);
}

#[test]
fn with_reconnect_an_address_of_ours_that_is_still_there_is_not_taken_for_the_machines_own() {
    let mut scene = Scene::with_one_access_point(Settings::default(), |access_point| access_point.is_up = true);
    let session = scene.open_session(1);
    scene.reconnect(session);
    scene.change(Simulated::flap);
    assert!(!scene.core.is_adopted(&AP0.into()));
    scene.settle();
    assert_eq!(
        scene.told(session),
        [State(NotAvailable), State(Disconnected), State(Connecting), State(Connected), Opened]
    );
}

/// Whoever opens in that moment joins it; found by the soak of kills with seed 30.
#[test]
fn with_reconnect_an_adopted_link_that_flaps_is_waited_for_untouched_and_adopted_again() {
    let mut scene = adopted(Lifetime::Adopt);
    let (waits, ends) = (scene.open_session(1), scene.open_session(2));
    scene.reconnect(waits);
    scene.hear();
    scene.change(Simulated::flap);
    assert_eq!(scene.told(waits), [State(NotAvailable), State(Connected), Opened]);
    assert_eq!(scene.told(ends), [State(NotAvailable), link_lost(), Closed, State(Connected)]);
    scene.open(ends);
    assert_eq!(scene.told(ends), [Opened]);
    assert!(scene.hear().commands.is_empty() && scene.core.is_adopted(&AP0.into()));
}

#[test]
fn with_reconnect_a_link_of_others_that_loses_more_than_its_carrier_is_brought_up() {
    let mut scene = adopted(Lifetime::Adopt);
    let session = scene.open_session(1);
    scene.reconnect(session);
    scene.change(Simulated::pull_cable);
    scene.change(|access_point| access_point.set_foreign(Foreign::Nothing));
    scene.change(Simulated::push_cable);
    scene.settle();
    assert_eq!(scene.told(session), [State(NotAvailable), State(Connecting), State(Connected), Opened]);
    assert!(!scene.core.is_adopted(&AP0.into()));
}

#[test]
fn with_reconnect_what_may_not_be_started_is_waited_for_untouched() {
    let mut scene = adopted(Lifetime::Adopt);
    scene.change(|access_point| access_point.set_privilege(false));
    let session = scene.open_session(1);
    scene.reconnect(session);
    scene.change(|access_point| access_point.set_up(false));
    scene.change(|access_point| access_point.set_up(true));
    let heard = scene.hear();
    assert_eq!(heard.sessions[&session], [State(Disconnected), State(Connected), Opened]);
    assert!(heard.commands.is_empty());
}

#[test]
fn an_unplugged_access_point_is_remembered_while_a_session_is_about_it() {
    let mut scene = link_down();
    let session = scene.session(1);
    scene.change(Simulated::unplug);
    assert_eq!(scene.told(session), [State(NotAvailable)]);
    assert_eq!(scene.core.configurations(Some(StateFlags::Defined)).len(), 1);
    scene.core.drop_session(session, scene.now);
    assert!(scene.core.configurations(None).is_empty());
}

#[test]
fn at_shutdown_everything_of_ours_goes_down() {
    let mut scene = lingering();
    let (holder, watcher) = (scene.open_session(1), scene.session(2));
    scene.close(holder);
    scene.hear();
    scene.core.handle_shutdown(scene.now);
    scene.settle();
    assert_eq!(scene.hear().sessions[&watcher], [State(Closing), State(Disconnected)]);
    assert!(scene.core.is_at_rest());
}
