//! A lease that a killed process had: what servers say of it, and what the profile wants done with it.

use std::{sync::Arc, time::Duration};

use netbearer_lab::{AccessPointPlan, Dhcp, Fault, MessageType, Script};
use netbearer_types::{Level, Profile, Target};

use crate::{
    driver::{Driver, works},
    stage::{AP0, DEADLINE, Scene, run},
};

fn scene(script: Script) -> Arc<Scene> {
    Arc::new(Scene::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Scripted(script))]))
}

async fn until_up(successor: &mut Driver) {
    let is_up = |level: &Level| matches!(level, Level::Present(link) if works(link));
    successor.until(AP0, |report| is_up(&report.level)).await;
}

#[tokio::test]
async fn a_lease_that_its_server_does_not_know_any_more_is_given_up_for_another() {
    let scene = scene(Script::default());
    scene.killed_on_ap0();
    let server = scene.access_point(AP0).dhcp_server().unwrap();
    let subnet = scene.access_point(AP0).subnet();
    server.offer(subnet.host(123));
    server.fail_next(1, Fault::Nak);
    let mut successor = scene.successor(&[AP0]).await;
    successor.configure(AP0).await;
    let other = std::net::IpAddr::from(subnet.host(123));
    let has_other = |level: &Level| matches!(level, Level::Present(link) if link.interface.addresses.iter().any(|one| one.address == other));
    successor.until(AP0, |report| has_other(&report.level)).await;
    until_up(&mut successor).await;
    assert_eq!(successor.link(AP0).interface.addresses.iter().filter(|one| one.address.is_ipv4()).count(), 1);
    successor.release(AP0).await;
    scene.assert_as_before();
}

#[tokio::test]
async fn what_a_server_says_otherwise_is_corrected_without_taking_the_address_away() {
    let scene = scene(Script::default());
    scene.killed_on_ap0();
    let subnet = scene.access_point(AP0).subnet();
    let server = scene.access_point(AP0).dhcp_server().unwrap();
    server.follow(Script::default().name_servers([subnet.host(53)]));
    let monitor = scene.monitor();
    let mut successor = scene.successor(&[AP0]).await;
    successor.configure(AP0).await;
    let other = std::net::IpAddr::from(subnet.host(53));
    let is_corrected = |level: &Level| matches!(level, Level::Present(link) if link.interface.name_servers == [other]);
    successor.until(AP0, |report| is_corrected(&report.level)).await;
    crate::stage::assert_nothing_removed(monitor);
    successor.release(AP0).await;
    scene.assert_as_before();
}

#[tokio::test]
async fn a_lease_that_ended_meanwhile_is_asked_for_anew() {
    let scene = scene(Script::default().lease_time(Duration::from_secs(1)));
    scene.killed_on_ap0();
    let is_gone = || !scene.ip("-4 -brief address show dev ap0").contains("10.10");
    scene.wait_until("the end of the address", is_gone);
    let mut successor = scene.successor(&[AP0]).await;
    assert!(!successor.is_up(AP0));
    scene.access_point(AP0).dhcp_server().unwrap().follow(Script::default());
    successor.configure(AP0).await;
    assert!(successor.is_up(AP0));
    successor.release(AP0).await;
    scene.assert_as_before();
}

/// The kernel keeps the address after a suspend, as it does not count that time.
#[tokio::test]
async fn an_address_whose_lease_has_ended_is_not_gone_on_with_though_it_is_still_there() {
    let scene = scene(Script::default());
    scene.killed_on_ap0();
    let mut note: serde_json::Value = serde_json::from_str(&scene.noted(AP0)).unwrap();
    // Nanoseconds since boot.
    for (moment, second) in [("renew_at", 1_u64), ("rebind_at", 2), ("expires_at", 3)] {
        *note.pointer_mut(&format!("/reached/lease/term/Limited/{moment}")).unwrap() = (second * 1_000_000_000).into();
    }
    std::fs::write(scene.note(AP0), note.to_string()).unwrap();
    let server = scene.access_point(AP0).dhcp_server().unwrap();
    server.fail(Fault::Silent);
    let mut successor = scene.successor(&[AP0]).await;
    let number = successor.command(AP0, Target::Configured, &Profile::default());
    successor.until(AP0, |report| !matches!(&report.level, Level::Present(link) if works(link))).await;
    server.heal();
    successor.until_reached(AP0, number).await;
    successor.release(AP0).await;
    scene.assert_as_before();
}

#[tokio::test]
async fn a_process_that_is_killed_before_it_has_noted_its_lease_loses_nothing_but_the_time_of_an_answer() {
    let scene = scene(Script::default());
    scene.killed_on_ap0();
    let mut note: serde_json::Value = serde_json::from_str(&scene.noted(AP0)).unwrap();
    note.as_object_mut().unwrap().remove("reached").unwrap();
    std::fs::write(scene.note(AP0), note.to_string()).unwrap();
    let mut conversation = scene.conversation();
    let monitor = scene.monitor();
    let mut successor = scene.successor(&[AP0]).await;
    successor.configure(AP0).await;
    crate::stage::assert_alive(&mut conversation);
    crate::stage::assert_nothing_removed(monitor);
    successor.release(AP0).await;
    scene.assert_as_before();
}

#[test]
fn a_lease_that_is_to_be_given_back_is_whoever_had_it() {
    for is_configured_first in [true, false] {
        run(async {
            let scene = scene(Script::default());
            let profile = Profile { dhcp_release: true, ..Profile::default() };
            scene.killed([(AP0, profile.clone())]);
            let mut successor = scene.successor(&[AP0]).await;
            if is_configured_first {
                successor.reach(AP0, Target::Configured, &profile).await;
            }
            successor.reach(AP0, Target::Released, &profile).await;
            let server = scene.access_point(AP0).dhcp_server().unwrap();
            server.wait_for(MessageType::Release, DEADLINE).unwrap();
            scene.assert_as_before();
        });
    }
}

#[tokio::test]
async fn a_successor_is_followed_by_another() {
    let scene = scene(Script::default());
    scene.killed_on_ap0();
    let mut conversation = scene.conversation();
    let monitor = scene.monitor();
    for _ in 0..3 {
        let configured = [(AP0.to_owned(), Profile::default())].into();
        let resumed = vec![AP0.to_owned()];
        crate::stage::kill(scene.process(crate::process::Task { configured, resumed, ..Default::default() }));
        crate::stage::assert_alive(&mut conversation);
    }
    crate::stage::assert_nothing_removed(monitor);
    let mut last = scene.successor(&[AP0]).await;
    last.release(AP0).await;
    scene.assert_as_before();
}
