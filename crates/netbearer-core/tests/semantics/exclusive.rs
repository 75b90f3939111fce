//! Access points that share a device (semantics §3, "Exclusive"), one by one.

use std::time::Duration;

use netbearer_core::{MatchedProfile, Profiles, Refusal, SessionId, Settings, Verdict};
use netbearer_types::{
    FailureReason, Identifier, Lifetime, Matching, Profile, ServiceNetworkProfile, SessionError, SessionState,
    StateFlags, Target,
};

use crate::{
    heard::Told,
    scene::{AP0, Scene},
    simulated::{Foreign, Simulated},
};

const HOME: &str = "ap0/home";
const OFFICE: &str = "ap0/office";
const LINGER: Duration = Duration::from_secs(3);

fn file(exclusive: bool, change: impl FnOnce(&mut Profile)) -> MatchedProfile {
    let mut profile = Profile { exclusive, ..Profile::default() };
    change(&mut profile);
    MatchedProfile { matching: Matching { interface: Some(AP0.to_owned()), ..Matching::default() }, profile }
}

/// Home and office, as exclusive access points of ap0.
fn profiles(change: impl FnOnce(&mut Profile)) -> Profiles {
    let home = file(true, |profile| {
        profile.preference = 1;
        change(profile);
    });
    let by_file = [("home".to_owned(), home), ("office".to_owned(), file(true, |_| {}))];
    Profiles { by_file: by_file.into(), ..Profiles::default() }
}

fn settings(profiles: Profiles) -> Settings {
    Settings { profiles, ..Settings::default() }
}

fn scene() -> Scene {
    Scene::with_one_access_point(settings(profiles(|_| {})), |_| {})
}

fn flags(scene: &Scene, identifier: &str) -> Option<StateFlags> {
    scene.core.configuration(&identifier.into()).map(|configuration| configuration.state_flags)
}

fn opened(scene: &mut Scene, configuration: &str) -> SessionId {
    let session = scene.session_on(1, configuration);
    scene.open(session);
    scene.settle();
    scene.hear();
    assert!(scene.core.session(session).is_some_and(|snapshot| snapshot.is_open), "{configuration} is open");
    session
}

/// What an open that is refused says; it changes nothing, and touches nothing.
fn refused(scene: &mut Scene, session: SessionId) -> String {
    scene.hear();
    let everything =
        |scene: &Scene| (scene.core.configurations(None), scene.core.poll_timeout(), scene.core.is_at_rest());
    let before = everything(scene);
    let outcome = scene.core.open(session, scene.now);
    let Err(Refusal::Busy(failure)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.error, SessionError::InvalidConfiguration);
    let heard = scene.hear();
    assert!(heard.commands.is_empty() && heard.configurations.is_empty(), "{heard:?}");
    let told: Vec<_> = heard.sessions.into_iter().collect();
    assert_eq!(told, [(session, vec![Told::Error(failure.error, failure.reason)])]);
    assert_eq!(everything(scene), before);
    failure.message
}

#[test]
fn a_device_has_an_access_point_for_each_exclusive_profile_and_a_plain_one_only_if_a_profile_is_for_that() {
    let scene_of = |change: &dyn Fn(&mut Profiles)| {
        let mut profiles = profiles(|profile| profile.name = Some("At home".to_owned()));
        change(&mut profiles);
        Scene::with_one_access_point(settings(profiles), |_| {})
    };
    let listed = |scene: &Scene| {
        let configurations = scene.core.configurations(None);
        configurations.iter().map(|one| format!("{} {}", one.identifier, one.name)).collect::<Vec<_>>()
    };
    let two = scene_of(&|_| {});
    assert_eq!(listed(&two), ["ap0/home At home", "ap0/office office"]);
    assert_eq!(two.core.exclusive_with(&HOME.into()), [Identifier::from(OFFICE)]);
    let card = |profiles: &mut Profiles| {
        profiles.by_file.insert("card".to_owned(), file(false, |_| {}));
    };
    assert_eq!(listed(&scene_of(&card)), ["ap0 ap0", "ap0/home At home", "ap0/office office"]);
    let program = |profiles: &mut Profiles| {
        profiles.by_interface.insert(AP0.to_owned(), Profile::default());
    };
    assert_eq!(listed(&scene_of(&program)).len(), 3);
    assert_eq!(listed(&Scene::with_one_access_point(Settings::default(), |_| {})), ["ap0 ap0"]);
}

#[test]
fn open_while_another_one_is_held_is_busy_and_touches_nothing() {
    let mut scene = scene();
    let watcher = scene.session_on(2, OFFICE);
    let home = opened(&mut scene, HOME);
    assert_eq!(scene.told(watcher), [], "the others are as before");
    assert_eq!((flags(&scene, HOME), flags(&scene, OFFICE)), (Some(StateFlags::Active), Some(StateFlags::Discovered)));
    let beside = scene.core.interface(&OFFICE.into()).expect("it is there");
    assert!(beside.addresses.is_empty() && beside.gateways.is_empty(), "what home has is not its own");
    assert_eq!(
        refused(&mut scene, watcher),
        "busy: office cannot be opened, as ap0 is used as home by 1 session; close it, or stop home, and open office again"
    );
    let second = scene.session_on(3, HOME);
    scene.open(second);
    scene.hear();
    assert_eq!(
        refused(&mut scene, watcher),
        "busy: office cannot be opened, as ap0 is used as home by 2 sessions; close them, or stop home, and open office again"
    );
    let snapshot = scene.core.session(watcher).expect("it exists");
    assert_eq!(snapshot.failure.map(|failure| failure.reason), Some(FailureReason::Busy(HOME.into())));
    assert_eq!(scene.core.counted(home), [Identifier::from(AP0)], "engines count what the device carries");
    assert_eq!(scene.core.counted(watcher), []);
    // Also what is still on its way up, and what is lost and waited for.
    scene.close(second);
    scene.reconnect(home);
    scene.change(Simulated::pull_cable);
    scene.settle();
    scene.hear();
    assert_eq!(
        refused(&mut scene, watcher),
        "busy: office cannot be opened, as ap0 is kept for 1 session on home waiting for it; close it, and open office again"
    );
    scene.close(home);
    scene.settle();
    scene.change(Simulated::push_cable);
    opened(&mut scene, OFFICE);
}

#[test]
fn what_others_keep_up_is_one_of_them_and_the_others_are_busy() {
    let up = |access_point: &mut Simulated| {
        (access_point.is_up, access_point.foreign) = (true, Foreign::Usable);
    };
    let mut scene = Scene::with_one_access_point(settings(profiles(|_| {})), up);
    assert_eq!((flags(&scene, HOME), flags(&scene, OFFICE)), (Some(StateFlags::Active), Some(StateFlags::Discovered)));
    let office = scene.session_on(1, OFFICE);
    assert_eq!(
        refused(&mut scene, office),
        "busy: office cannot be opened, as ap0 is up as home, and others keep it up; have them take it down, or stop home, and open office again"
    );
    let home = scene.session_on(2, HOME);
    scene.open(home);
    assert_eq!(scene.told(home), [Told::Opened]);
    scene.close(home);
    scene.listen_for(AP0, &[]);
    // A profile that is no exclusive one comes before them.
    let mut profiles = profiles(|_| {});
    profiles.by_file.insert("card".to_owned(), file(false, |_| {}));
    let scene = Scene::with_one_access_point(settings(profiles), up);
    let active = scene.core.configurations(Some(StateFlags::Active));
    assert_eq!(active.iter().map(|one| one.identifier.as_str()).collect::<Vec<_>>(), [AP0]);
}

#[test]
fn a_lingering_one_gives_way() {
    let mut scene = Scene::with_one_access_point(settings(profiles(|home| home.linger = LINGER)), |_| {});
    let home = opened(&mut scene, HOME);
    scene.close(home);
    assert_eq!(scene.told(home), [Told::Closed]);
    scene.hear();
    let office = scene.session_on(2, OFFICE);
    scene.open(office);
    scene.listen_for(AP0, &[Target::Released]);
    assert_eq!(scene.told(home), [Told::State(SessionState::Closing)]);
    assert_eq!(scene.told(office), [Told::State(SessionState::Connecting)]);
    let late = scene.session_on(3, HOME);
    assert_eq!(
        refused(&mut scene, late),
        "busy: home cannot be opened, as ap0 is used as office by 1 session; close it, or stop office, and open home again"
    );
    scene.settle();
    scene.listen_for(AP0, &[Target::Configured]);
    assert_eq!(scene.told(office), [Told::State(SessionState::Connected), Told::Opened], "Connecting throughout");
    assert_eq!(scene.told(home), [Told::State(SessionState::Disconnected)]);
    scene.close(office);
    scene.settle();
    assert!(scene.core.is_at_rest() && scene.access_point().is_as_found());
}

/// One that goes down with its last hold lingers as well, though others brought it up.
#[test]
fn a_lingering_link_of_others_gives_way_if_it_is_kept_on_demand() {
    let change = |home: &mut Profile| (home.linger, home.lifetime) = (LINGER, Lifetime::OnDemand);
    let mut scene = Scene::with_one_access_point(settings(profiles(change)), |access_point| {
        (access_point.is_up, access_point.foreign) = (true, Foreign::Usable);
    });
    let home = opened(&mut scene, HOME);
    scene.close(home);
    let office = scene.session_on(2, OFFICE);
    scene.open(office);
    scene.listen_for(AP0, &[Target::Stopped]);
    scene.settle();
    assert_eq!(scene.told(office).last(), Some(&Told::Opened));
}

#[test]
fn open_while_another_one_closes_waits_until_it_is_down() {
    let mut scene = scene();
    let home = opened(&mut scene, HOME);
    let office = scene.session_on(2, OFFICE);
    scene.close(home);
    scene.open(office);
    scene.listen_for(AP0, &[Target::Released]);
    assert_eq!(scene.told(office), [Told::State(SessionState::Connecting)]);
    let decisions: Vec<_> = scene.core.decisions(0).map(|decision| decision.verdict.clone()).collect();
    assert!(decisions.contains(&Verdict::AwaitDevice), "{decisions:?}");
    // Nobody wants it any more; nothing was begun for it.
    scene.close(office);
    assert_eq!(scene.told(office), [Told::Closed, Told::State(SessionState::Disconnected)]);
    scene.open(office);
    scene.stop(office);
    assert_eq!(
        scene.told(office),
        [Told::State(SessionState::Connecting), Told::Closed, Told::State(SessionState::Disconnected)]
    );
    scene.open(office);
    scene.settle();
    let told = scene.told(office);
    assert_eq!(
        told,
        [Told::State(SessionState::Connecting), Told::State(SessionState::Connected), Told::Opened],
        "{told:?}"
    );
}

#[test]
fn one_that_others_keep_up_when_its_turn_has_come_is_busy() {
    let mut scene = scene();
    let home = opened(&mut scene, HOME);
    let (office, patient) = (scene.session_on(2, OFFICE), scene.session_on(2, OFFICE));
    scene.reconnect(patient);
    scene.close(home);
    scene.open(office);
    scene.open(patient);
    scene.access_point().set_foreign(Foreign::Usable);
    scene.access_point().step();
    // The engine has not set the link down: others use it.
    scene.access_point().step();
    scene.access_point().set_up(true);
    scene.report();
    for session in [office, patient] {
        let told = scene.told(session);
        assert_eq!(
            told.last(),
            Some(&Told::Error(SessionError::InvalidConfiguration, FailureReason::Busy(HOME.into())))
        );
    }
    assert_eq!(flags(&scene, HOME), Some(StateFlags::Active));
    assert!(scene.core.is_at_rest());
}

#[test]
fn one_whose_device_does_not_become_free_in_time_fails() {
    let mut scene = scene();
    let home = opened(&mut scene, HOME);
    let office = scene.session_on(2, OFFICE);
    scene.close(home);
    scene.pass(Duration::from_secs(3));
    scene.open(office);
    scene.pass(Duration::from_secs(10));
    let told = scene.told(office);
    assert_eq!(told.last(), Some(&Told::Error(SessionError::Unknown, FailureReason::EngineFailed)), "{told:?}");
    scene.settle();
    opened(&mut scene, OFFICE);
}

/// The service network has office, and another access point.
fn with_network(mut profiles: Profiles, members: &[&str]) -> Settings {
    let members = members.iter().map(|name| (*name).to_owned()).collect();
    profiles.service_networks.insert("service".into(), ServiceNetworkProfile { members, ..Default::default() });
    settings(profiles)
}

#[test]
fn a_service_network_goes_on_to_the_next_member_if_one_is_busy() {
    let settings = with_network(profiles(|_| {}), &["office", "b"]);
    let mut scene = Scene::with_access_points(settings, [AP0, "b"], |_| {});
    let home = opened(&mut scene, HOME);
    let network = scene.session_on(2, "service");
    scene.open(network);
    scene.settle_on("b");
    assert_eq!(scene.told(network).last(), Some(&Told::Opened));
    let active = scene.core.session(network).and_then(|snapshot| snapshot.active_configuration);
    assert_eq!(active, Some("b".into()));
    scene.listen_for(AP0, &[]);
    scene.close(network);
    scene.settle_on("b");
    scene.change_of("b", Simulated::unplug);
    scene.hear();
    // All members failed, and this one because it is busy.
    scene.open(network);
    let told = scene.told(network);
    assert_eq!(told, [Told::Error(SessionError::Unknown, FailureReason::AllMembersFailed)]);
    let failure = scene.core.session(network).and_then(|snapshot| snapshot.failure).expect("it failed");
    assert_eq!(
        failure.message,
        "no member of service could be brought up: busy: office cannot be opened, as ap0 is used as home by 1 session; close it, or stop home, and open office again"
    );
    // With Reconnect it waits, without a try, until the device is free.
    scene.reconnect(network);
    scene.open(network);
    scene.pass(Duration::from_secs(300));
    assert_eq!(scene.told(network), []);
    scene.close(home);
    scene.settle();
    assert_eq!(scene.told(network).last(), Some(&Told::Opened));
}

/// Unused members are kept up to see their carrier; of one device one is enough, and it gives way.
#[test]
fn a_sensed_one_gives_way() {
    let settings = with_network(profiles(|_| {}), &["b", "office", "home"]);
    let mut scene = Scene::with_access_points(settings, [AP0, "b"], |_| {});
    let network = scene.session_on(1, "service");
    scene.open(network);
    scene.settle_on("b");
    scene.settle();
    scene.listen_for(AP0, &[Target::Sensed]);
    let home = scene.session_on(2, OFFICE);
    scene.open(home);
    scene.listen_for(AP0, &[Target::Released]);
    scene.settle();
    scene.listen_for(AP0, &[Target::Configured]);
    assert_eq!(scene.told(home).last(), Some(&Told::Opened));
    scene.close(home);
    scene.settle();
    scene.listen_for(AP0, &[Target::Released, Target::Sensed]);
}

/// What somebody has prepared on a link that is down would work once it is up.
#[test]
fn one_whose_device_has_addresses_already_is_not_sensed() {
    let settings = with_network(profiles(|_| {}), &["b", "office"]);
    let mut scene = Scene::with_access_points(settings, [AP0, "b"], |[shared, _]| shared.foreign = Foreign::Usable);
    let network = scene.session_on(1, "service");
    scene.open(network);
    scene.settle_on("b");
    assert_eq!(scene.told(network).last(), Some(&Told::Opened));
    scene.listen_for(AP0, &[]);
}

#[test]
fn a_device_that_had_no_carrier_had_none_for_the_others_either() {
    let mut scene = Scene::with_one_access_point(settings(profiles(|_| {})), |access_point| {
        access_point.has_cable = false;
    });
    let home = scene.session_on(1, HOME);
    scene.open(home);
    scene.settle();
    scene.pass(Duration::from_secs(5));
    scene.settle();
    assert_eq!((flags(&scene, HOME), flags(&scene, OFFICE)), (Some(StateFlags::Defined), Some(StateFlags::Defined)));
    scene.core.handle_refreshed(scene.now);
    assert_eq!(flags(&scene, OFFICE), Some(StateFlags::Discovered));
}

#[test]
fn a_file_that_is_removed_takes_its_link_down_before_another_one_has_the_device() {
    let mut scene = scene();
    let home = opened(&mut scene, HOME);
    let office = scene.session_on(2, OFFICE);
    let mut fewer = profiles(|_| {});
    fewer.by_file.remove("home");
    scene.core.handle_profiles(fewer.clone(), scene.now);
    assert_eq!(
        scene.told(home),
        [
            Told::State(SessionState::Invalid),
            Told::Error(SessionError::InvalidConfiguration, FailureReason::ConfigurationInvalid),
            Told::Closed
        ]
    );
    scene.listen_for(AP0, &[Target::Released]);
    assert_eq!((flags(&scene, HOME), scene.core.is_at_rest()), (None, false));
    scene.open(office);
    assert_eq!(scene.told(office), [Told::State(SessionState::Connecting)]);
    scene.settle();
    scene.listen_for(AP0, &[Target::Configured]);
    assert_eq!(scene.told(office).last(), Some(&Told::Opened));
    // The last exclusive one goes: the device is as any other.
    fewer.by_file.remove("office");
    scene.core.handle_profiles(fewer, scene.now);
    scene.settle();
    assert_eq!((flags(&scene, OFFICE), flags(&scene, AP0)), (None, Some(StateFlags::Discovered)));
    assert!(scene.core.is_at_rest() && scene.access_point().is_as_found());
    opened(&mut scene, AP0);
}

#[test]
fn exclusive_profiles_that_appear_make_the_plain_one_go_unless_a_profile_is_for_it() {
    let plain = Profiles { by_file: [("card".to_owned(), file(false, |_| {}))].into(), ..Profiles::default() };
    let mut scene = Scene::with_one_access_point(settings(plain.clone()), |_| {});
    let session = opened(&mut scene, AP0);
    let mut all = profiles(|_| {});
    all.by_file.extend(plain.by_file);
    scene.core.handle_profiles(all, scene.now);
    assert_eq!(scene.told(session), []);
    let home = scene.session_on(2, HOME);
    assert_eq!(
        refused(&mut scene, home),
        "busy: home cannot be opened, as ap0 itself is used by 1 session; close it, or stop ap0, and open home again"
    );
    scene.core.handle_profiles(profiles(|_| {}), scene.now);
    assert_eq!(scene.told(session).first(), Some(&Told::State(SessionState::Invalid)));
    scene.settle();
    assert_eq!(flags(&scene, AP0), None);
    opened(&mut scene, HOME);
    // What others keep up meanwhile stays up, and is one of those that come.
    let mut scene = Scene::with_one_access_point(Settings::default(), |access_point| {
        (access_point.is_up, access_point.foreign) = (true, Foreign::Usable);
    });
    opened(&mut scene, AP0);
    scene.core.handle_profiles(profiles(|_| {}), scene.now);
    scene.listen_for(AP0, &[]);
    assert_eq!((flags(&scene, AP0), flags(&scene, HOME)), (None, Some(StateFlags::Active)));
}

#[test]
fn an_unplugged_device_is_remembered_as_far_as_sessions_are_about_it_and_has_all_of_them_when_it_is_back() {
    let mut scene = scene();
    let home = opened(&mut scene, HOME);
    scene.change(Simulated::unplug);
    scene.settle();
    assert_eq!((flags(&scene, HOME), flags(&scene, OFFICE)), (Some(StateFlags::Defined), None));
    assert_eq!(scene.told(home).last(), Some(&Told::Closed));
    scene.change(|access_point| access_point.replug(false, Foreign::Nothing));
    assert_eq!(flags(&scene, OFFICE), Some(StateFlags::Discovered));
    scene.change(Simulated::unplug);
    scene.core.drop_session(home, scene.now);
    scene.listen();
    assert_eq!(scene.core.configurations(None), []);
    scene.change(|access_point| access_point.replug(false, Foreign::Nothing));
    opened(&mut scene, OFFICE);
    // The same beside a plain one that a session is about.
    let mut profiles = profiles(|_| {});
    profiles.by_file.insert("card".to_owned(), file(false, |_| {}));
    let mut scene = Scene::with_one_access_point(settings(profiles), |_| {});
    let plain = scene.session(1);
    scene.change(Simulated::unplug);
    assert_eq!(scene.told(plain), [Told::State(SessionState::NotAvailable)]);
    scene.change(|access_point| access_point.replug(false, Foreign::Nothing));
    assert_eq!(scene.core.configurations(None).len(), 3);
    opened(&mut scene, OFFICE);
    let busy = scene.core.open(plain, scene.now);
    assert!(matches!(busy, Err(Refusal::Busy(_))), "{busy:?}");
}

#[test]
fn a_device_that_is_an_access_point_no_more_takes_all_of_them_with_it() {
    let mut scene = scene();
    let (home, office) = (opened(&mut scene, HOME), scene.session_on(2, OFFICE));
    assert!(scene.access_point().cease());
    scene.core.handle_removed(&AP0.into(), "it was enslaved to a bridge", scene.now);
    assert_eq!(scene.told(home).len(), 3);
    assert_eq!(scene.told(office), [Told::State(SessionState::Invalid)]);
    scene.listen_for(AP0, &[]);
    assert!(scene.core.is_at_rest() && scene.core.configurations(None).is_empty());
}

#[test]
fn a_shutdown_waits_for_what_removed_ones_have_left() {
    let mut scene = scene();
    let home = opened(&mut scene, HOME);
    scene.core.handle_profiles(Profiles::default(), scene.now);
    scene.listen();
    scene.core.handle_shutdown(scene.now);
    assert!(!scene.core.is_at_rest());
    scene.settle();
    assert!(scene.core.is_at_rest() && scene.access_point().is_as_found());
    assert_eq!(scene.core.session(home).map(|snapshot| snapshot.state), Some(SessionState::Invalid));
}
