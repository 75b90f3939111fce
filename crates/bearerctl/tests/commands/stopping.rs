use netbearer_lab::{Signal, Snapshot};

use crate::stage::Stage;

#[test]
fn stop_takes_an_adopted_link_down() {
    let mut stage = Stage::with_dnsmasq();
    stage.bring_up_by_hand();
    let ended = stage.run(&["stop", "ap0"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.words(), ["Closing", "Disconnected"]);
    let now = format!("{:?}", Snapshot::take(stage.lab.machine()).unwrap());
    let link = now.lines().find(|fact| fact.starts_with("link") && fact.contains("\"ap0\"")).unwrap();
    assert!(!link.contains("\"UP\""), "{link}");
}

#[test]
fn stopping_what_is_not_up_changes_nothing() {
    let stage = Stage::with_dnsmasq();
    let ended = stage.run(&["stop", "ap0"]);
    assert_eq!((ended.code, ended.output.len()), (0, 0), "{ended:?}");
    assert_eq!(ended.errors, ["ap0 is not up; nothing to stop"]);
    stage.assert_as_before();
}

#[test]
fn what_another_process_keeps_up_is_not_stopped() {
    let stage = Stage::with_dnsmasq();
    let open = stage.opened();
    let ended = stage.run(&["stop", "ap0"]);
    ended.assert_failed(8, &format!("another NetBearer process (process {})", open.id()));
    stage.assert_changed();
    let ended = open.end_by(Signal::INT);
    assert_eq!(ended.words()[3..], ["Closed", "Closing", "Disconnected"], "{ended:?}");
    stage.assert_as_before();
}
