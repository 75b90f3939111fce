//! What stands beside links that others keep up.

use netbearer_engine::Engine;
use netbearer_lab::AccessPointPlan;
use netbearer_types::BypassVpn;

use crate::{
    driver::identifier,
    process::Task,
    stage::{AP0, AP1, Scene, assert_nothing_removed, kill},
};

/// Two links that an administrator has configured.
fn scene() -> Scene {
    let scene = Scene::new([AP0, AP1].map(AccessPointPlan::new));
    for (metric, name) in [AP0, AP1].into_iter().enumerate() {
        let subnet = scene.access_point(name).subnet();
        scene.ip(&format!("address add {}/24 dev {name}", subnet.host(50)));
        scene.ip(&format!("link set {name} up"));
        // The last that the kernel does for it.
        let is_settled = || scene.ip(&format!("-6 route show table local dev {name}")).contains("local fe80");
        scene.wait_until("the end of duplicate address detection", is_settled);
        scene.ip(&format!("route add default via {} dev {name} metric {metric}", subnet.gateway()));
    }
    scene.remember();
    scene
}

#[tokio::test]
async fn their_tables_stay_for_who_is_steered_still_and_go_for_the_others() {
    let scene = scene();
    let steered = [AP0, AP1].map(|name| (name.to_owned(), BypassVpn::default())).into();
    let process = scene.process(Task { steered, ..Task::default() });
    let rules = scene.rules();
    assert!(rules.contains("oif ap0") && rules.contains("oif ap1"), "{rules}");
    let monitor = scene.monitor();
    kill(process);

    // It has only sessions on links of others.
    let mut successor = scene.successor(&[AP0, AP1]).await;
    let both = [AP0, AP1].map(|name| (identifier(name), BypassVpn::default()));
    successor.engine.steer(both.clone().into());
    successor.engine.forget_resumed();
    assert_eq!(scene.rules(), rules);
    assert_nothing_removed(monitor);

    drop(successor);
    let mut successor = scene.successor(&[AP1]).await;
    let [_, second] = both;
    successor.engine.steer([second].into());
    let kept = scene.rules();
    assert!(!kept.contains("oif ap0") && kept.contains("oif ap1"), "{kept}");
    successor.engine.steer([].into());
    drop(successor);
    scene.assert_as_before();
}

#[tokio::test]
async fn their_tables_are_cleared_where_nobody_steers_them_any_more() {
    let scene = scene();
    for resumed in [&[][..], &[AP0]] {
        let steered = [(AP0.to_owned(), BypassVpn::default())].into();
        kill(scene.process(Task { steered, ..Task::default() }));
        assert!(scene.rules().contains("oif ap0"));
        let mut successor = scene.successor(resumed).await;
        assert_eq!(scene.rules().contains("oif ap0"), !resumed.is_empty());
        successor.engine.forget_resumed();
        drop(successor);
        scene.assert_as_before();
    }
}
