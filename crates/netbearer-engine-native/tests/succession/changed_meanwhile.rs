//! Others change things while nobody is there.

use netbearer_engine::Engine;
use netbearer_lab::{AccessPointPlan, Dhcp};
use netbearer_types::{Level, Profile, Target};

use crate::stage::{AP0, AP1, Scene, assert_alive, assert_nothing_removed, run};

#[tokio::test]
async fn a_renamed_interface_keeps_its_address_and_gets_rules_for_its_new_name() {
    let scene = Scene::with_dnsmasq();
    scene.killed_on_ap0();
    let mut conversation = scene.conversation();
    // What has no hardware address of its own is known by its name alone: it is the other one's from here on.
    scene.ip("link set ap0 down");
    scene.ip("link set ap0 name lan0");
    assert!(scene.rules().contains("oif ap0"));
    scene.ip("link set lan0 up");
    let mut successor = scene.successor(&["lan0"]).await;
    successor.configure("lan0").await;
    let rules = scene.rules();
    assert!(rules.contains("oif lan0") && !rules.contains("oif ap0"), "{rules}");
    assert_alive(&mut conversation);
    successor.release("lan0").await;
    scene.ip("link set lan0 name ap0");
    scene.assert_as_before();
}

#[test]
fn an_interface_that_was_unplugged_has_its_rules_cleared_and_another_in_its_place_is_another() {
    for is_plugged_again in [false, true] {
        run(async {
            let scene = Scene::with_dnsmasq();
            scene.killed_on_ap0();
            scene.access_point(AP0).unplug().unwrap();
            if is_plugged_again {
                scene.access_point(AP0).plug_with_index(900).unwrap();
            }
            assert!(scene.rules().contains("21001"));
            let mut successor = scene.successor(&[AP0]).await;
            let rules = scene.rules();
            assert!(!rules.contains("21001") && !rules.contains("unreachable"), "{rules}");
            assert_eq!(std::fs::read_dir(scene.note(AP0).parent().unwrap()).into_iter().flatten().count(), 0);
            if is_plugged_again {
                successor.configure(AP0).await;
                assert!(successor.is_up(AP0));
                successor.release(AP0).await;
            }
        });
    }
}

#[tokio::test]
async fn an_interface_that_is_plugged_again_with_its_former_index_is_configured_anew() {
    let scene = Scene::with_dnsmasq();
    scene.killed_on_ap0();
    scene.access_point(AP0).unplug().unwrap();
    scene.access_point(AP0).plug().unwrap();
    let mut successor = scene.successor(&[AP0]).await;
    assert!(!successor.is_up(AP0));
    successor.configure(AP0).await;
    assert!(successor.is_up(AP0));
    let rules = scene.ip("-4 rule");
    assert_eq!(rules.matches("oif ap0").count(), 1, "{rules}");
    successor.release(AP0).await;
    let rules = scene.rules();
    assert!(!rules.contains("2100"), "{rules}");
}

#[test]
fn without_carrier_nothing_is_gone_on_with_and_a_release_takes_all_away() {
    for is_released_at_once in [true, false] {
        run(async {
            let scene = Scene::with_dnsmasq();
            scene.killed_on_ap0();
            scene.access_point(AP0).cut().unwrap();
            let mut successor = scene.successor(&[AP0]).await;
            assert!(!successor.is_up(AP0));
            if !is_released_at_once {
                let number = successor.command(AP0, Target::Configured, &Profile::default());
                let has_no_address = |level: &Level| matches!(level, Level::Present(link) if !link.interface.addresses.iter().any(|one| one.address.is_ipv4()));
                successor.until(AP0, |report| has_no_address(&report.level)).await;
                scene.access_point(AP0).restore().unwrap();
                successor.until_reached(AP0, number).await;
            }
            successor.release(AP0).await;
            scene.access_point(AP0).restore().unwrap();
            scene.assert_as_before();
        });
    }
}

#[tokio::test]
async fn what_others_have_removed_is_put_back_and_the_rest_stays() {
    let scene = Scene::with_dnsmasq();
    scene.killed_on_ap0();
    let rules = scene.rules();
    let routes = scene.ip("-4 route show table all");
    scene.ip("rule delete oif ap0 table 21001");
    scene.ip("route delete default table 21001");
    scene.ip("route delete default dev ap0");
    let monitor = scene.monitor();
    let mut successor = scene.successor(&[AP0]).await;
    successor.configure(AP0).await;
    assert_eq!(scene.rules(), rules);
    assert_eq!(scene.ip("-4 route show table all"), routes);
    assert_nothing_removed(monitor);
    successor.release(AP0).await;
    scene.assert_as_before();
}

#[tokio::test]
async fn an_address_that_others_have_removed_is_leased_anew() {
    let scene = Scene::with_dnsmasq();
    scene.killed_on_ap0();
    scene.ip("-4 address flush dev ap0");
    let mut successor = scene.successor(&[AP0]).await;
    assert!(!successor.is_up(AP0));
    successor.configure(AP0).await;
    assert!(successor.is_up(AP0));
    successor.release(AP0).await;
    scene.assert_as_before();
}

#[tokio::test]
async fn a_profile_that_was_changed_holds_from_the_next_time_on() {
    let scene = Scene::with_dnsmasq();
    scene.killed_on_ap0();
    let routes = scene.ip("-4 route show table all");
    let monitor = scene.monitor();
    let changed = Profile { preference: 7, default_route: false, ..Profile::default() };
    let mut successor = scene.successor(&[AP0]).await;
    successor.reach(AP0, Target::Configured, &changed).await;
    assert_eq!(scene.ip("-4 route show table all"), routes);
    assert_nothing_removed(monitor);
    successor.release(AP0).await;
    successor.reach(AP0, Target::Configured, &changed).await;
    let main = scene.ip("route show table main");
    assert!(!main.contains("default"), "{main}");
    successor.release(AP0).await;
    scene.assert_as_before();
}

#[tokio::test]
async fn other_tables_are_taken_if_the_plan_was_changed_and_the_address_stays() {
    let scene = Scene::with_dnsmasq();
    scene.killed_on_ap0();
    let mut conversation = scene.conversation();
    let monitor = scene.monitor();
    let mut settings = crate::stage::settings(scene.directory(), &[AP0.to_owned()]);
    settings.steering.first_table = 30_000.try_into().unwrap();
    let mut successor = crate::driver::Driver::start(settings).await;
    successor.configure(AP0).await;
    let rules = scene.rules();
    assert!(rules.contains("30001") && !rules.contains("21001"), "{rules}");
    assert_eq!(scene.lab.machine().routes("21001").unwrap(), [] as [String; 0]);
    assert_alive(&mut conversation);
    let lines = monitor.finish().unwrap();
    let is_wanted = |line: &&String| line.contains("Deleted") && !line.contains("21001") && !line.contains("51");
    assert_eq!(lines.iter().find(is_wanted), None);
    successor.release(AP0).await;
    scene.assert_as_before();
}

#[tokio::test]
async fn what_nobody_goes_on_with_is_cleared() {
    let plan = |name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq);
    let scene = Scene::new([plan(AP0), plan(AP1)]);
    scene.killed([(AP0, Profile { preference: 1, ..Profile::default() }), (AP1, Profile::default())]);
    let mut conversation = scene.conversation();
    assert_eq!(conversation.access_point(), AP0);
    let mut successor = scene.successor(&[AP0]).await;
    assert!(!successor.is_up(AP1), "it was not to be gone on with");
    assert!(!scene.rules().contains("oif ap1") && scene.rules().contains("oif ap0"), "{}", scene.rules());
    assert_alive(&mut conversation);
    successor.engine.forget_resumed();
    let is_down = |level: &Level| matches!(level, Level::Present(link) if !link.administratively_up);
    successor.until(AP0, |report| is_down(&report.level)).await;
    scene.assert_as_before();
}
