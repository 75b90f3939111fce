//! What is cleared after a killed process is what it had, and nothing else.

use netbearer_engine::Engine;
use netbearer_engine_native::reset;
use netbearer_lab::{AccessPointPlan, Dhcp};
use netbearer_types::{BypassVpn, Profile};

use crate::{
    driver::Driver,
    process::Task,
    stage::{AP0, AP1, Scene, assert_alive, kill, settings},
};

fn scene() -> Scene {
    Scene::new([AP0, AP1].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)))
}

#[tokio::test]
async fn what_a_living_process_with_another_directory_has_up_stays() {
    let scene = scene();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut living = Driver::start(settings(elsewhere.path(), &[])).await;
    living.configure(AP1).await;
    let rules = scene.ip("-4 rule");
    let mut conversation = scene.conversation();
    let monitor = scene.monitor();

    scene.killed([(AP0, Profile { bypass_vpn: BypassVpn::Never, ..Profile::default() })]);
    assert!(scene.rules().contains("oif ap0"));
    let successor = scene.successor(&[]).await;
    assert_eq!(scene.ip("-4 rule"), rules);
    let lines = monitor.finish().unwrap();
    let is_of_the_other = |line: &str| ["ap1", "10.10.1.", "21001"].iter().any(|word| line.contains(word));
    let removed: Vec<&String> = lines.iter().filter(|line| line.contains("Deleted")).collect();
    assert!(!removed.is_empty() && !removed.iter().any(|line| is_of_the_other(line)), "{removed:#?}");
    assert!(!scene.lab.machine().is_administratively_up(AP0).unwrap());
    assert_alive(&mut conversation);
    drop(successor);
    living.release(AP1).await;
    scene.assert_as_before();
}

/// By hand everything is.
#[tokio::test]
async fn a_reset_clears_what_other_directories_have_notes_of_as_well() {
    let scene = scene();
    let elsewhere = tempfile::tempdir().unwrap();
    let configured = [(AP1.to_owned(), Profile::default())].into();
    kill(scene.process_elsewhere(&Task { directory: elsewhere.path().to_owned(), configured, ..Task::default() }));
    let cleared = reset(&settings(scene.directory(), &[])).await.unwrap();
    assert!(cleared.rules > 0 && cleared.routes > 0, "{cleared:?}");
    let rules = scene.rules();
    assert!(!rules.contains("2100"), "{rules}");
    // How the link was found, only its own directory tells.
    assert_eq!(reset(&settings(elsewhere.path(), &[])).await.unwrap().interfaces_set_down, [AP1]);
    scene.assert_as_before();
}

#[tokio::test]
async fn what_a_process_that_is_alive_has_up_is_not_gone_on_with() {
    let scene = scene();
    let process = scene.process(Task { configured: [(AP0.to_owned(), Profile::default())].into(), ..Task::default() });
    let rules = scene.rules();
    let mut conversation = scene.conversation();
    let mut other = scene.successor(&[AP0]).await;
    other.engine.forget_resumed();
    other.command(AP0, netbearer_types::Target::Configured, &Profile::default());
    let is_refused = |report: &netbearer_types::AccessPointReport| {
        let progress = report.progress.as_ref();
        matches!(progress.map(|progress| &progress.stage), Some(netbearer_types::Stage::Failed(..)))
    };
    other.until(AP0, is_refused).await;
    drop(other);
    assert_eq!(scene.rules(), rules);
    assert_alive(&mut conversation);
    kill(process);
    drop(scene.successor(&[]).await);
    scene.assert_as_before();
}

#[tokio::test]
async fn a_note_that_cannot_be_read_names_its_interface_by_its_file() {
    let scene = scene();
    scene.killed_on_ap0();
    std::fs::write(scene.note(AP0), "{").unwrap();
    let successor = scene.successor(&[AP0]).await;
    let rules = scene.rules();
    assert!(!rules.contains("2100") && !rules.contains("unreachable"), "{rules}");
    assert_eq!(scene.lab.machine().routes("21001").unwrap(), [] as [String; 0]);
    assert!(!scene.note(AP0).exists());
    drop(successor);
}
