//! Whom programs ask for names.

use netbearer_core::{Profiles, Settings};
use netbearer_types::{LinkNames, NamesReport, Profile};

use crate::{
    scene::Scene,
    simulated::{Foreign, Simulated},
};

/// "b" is preferred.
fn settings() -> Settings {
    let preferred = Profile { preference: 1, default_route: false, ..Profile::default() };
    let profiles = Profiles { by_interface: [("b".to_owned(), preferred)].into(), ..Profiles::default() };
    Settings { profiles, ..Settings::default() }
}

fn named(scene: &Scene) -> Vec<&str> {
    scene.named.iter().map(|link| link.interface_name.as_str()).collect()
}

fn open_on(scene: &mut Scene, client: u64, access_point: &str) -> netbearer_core::SessionId {
    let session = scene.session_on(client, access_point);
    scene.open(session);
    scene.settle_on(access_point);
    session
}

#[test]
fn the_servers_of_the_preferred_link_come_first_while_it_is_up() {
    let mut scene = Scene::with_access_points(settings(), ["a", "b"], |_| {});
    assert_eq!(named(&scene), [""; 0]);
    open_on(&mut scene, 1, "a");
    assert_eq!(named(&scene), ["a"]);
    let preferred = open_on(&mut scene, 2, "b");
    assert_eq!(named(&scene), ["b", "a"]);
    let for_all: Vec<bool> = scene.named.iter().map(|link: &LinkNames| link.default_route).collect();
    assert_eq!(for_all, [false, true]);
    scene.close(preferred);
    assert_eq!(named(&scene), ["a"], "before it is down");
    scene.settle_on("b");
    assert_eq!(named(&scene), ["a"]);
}

#[test]
fn the_servers_of_a_link_that_others_keep_up_are_theirs_to_tell() {
    let adopt = |access_point: &mut Simulated| {
        access_point.is_up = true;
        access_point.foreign = Foreign::Usable;
    };
    let mut scene = Scene::with_access_points(settings(), ["a", "b"], |[a, _]| adopt(a));
    open_on(&mut scene, 1, "a");
    open_on(&mut scene, 2, "b");
    assert_eq!(named(&scene), ["b"]);
}

#[test]
fn what_becomes_of_them_can_be_asked_for_as_why() {
    let mut scene = Scene::with_access_points(settings(), ["a", "b"], |_| {});
    open_on(&mut scene, 1, "a");
    let report = NamesReport {
        interface_names: vec!["a".to_owned()],
        through: Some("resolv.conf".to_owned()),
        warning: Some("somebody else writes it".to_owned()),
    };
    scene.core.handle_names(&report, scene.now);
    let told: Vec<String> =
        scene.core.decisions(0).map(|decision| format!("{} {}", decision.subject, decision.verdict)).collect();
    let last = told.last_chunk::<2>().expect("two of them");
    assert_eq!(
        last,
        &["access point a has its name servers asked by programs", "access point a warns: somebody else writes it"]
    );
}
