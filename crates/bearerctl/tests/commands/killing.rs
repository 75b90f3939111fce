//! SIGKILL leaves only what a reset or the next start cleans up.

use netbearer_lab::Signal;

use crate::stage::Stage;

#[test]
fn reset_removes_what_a_killed_process_has_left_and_says_what() {
    let stage = Stage::with_dnsmasq();
    assert_eq!(stage.opened().end_by(Signal::KILL).code, 137);
    stage.assert_changed();
    let ended = stage.run(&["reset"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let output = ended.output.join("\n");
    for told in ["removed rules: ", "removed routes: ", "removed address: 10.10.0.", "/24 on ap0", "set down: ap0"] {
        assert!(output.contains(told), "{output}");
    }
    stage.assert_as_before();
    let ended = stage.run(&["reset"]);
    assert_eq!((ended.code, ended.output.as_slice()), (0, ["nothing of ours was left here".to_owned()].as_slice()));
}

#[test]
fn reset_tells_programs_what_it_removed() {
    let stage = Stage::with_dnsmasq();
    stage.opened().end_by(Signal::KILL);
    let cleared = stage.run(&["reset", "--json"]).json();
    assert!(cleared["rules"].as_u64().unwrap() > 0 && cleared["routes"].as_u64().unwrap() > 0, "{cleared}");
    assert!(cleared["addresses"][0].as_str().unwrap().ends_with("/24 on ap0"), "{cleared}");
    assert_eq!(cleared["interfaces_set_down"], serde_json::json!(["ap0"]));
    assert_eq!(cleared["refused"], serde_json::json!([]));
    stage.assert_as_before();
}

#[test]
fn the_next_start_removes_what_a_killed_process_has_left() {
    let stage = Stage::with_dnsmasq();
    stage.opened().end_by(Signal::KILL);
    stage.assert_changed();
    let ended = stage.run(&["list"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.errors.iter().any(|line| line.contains("cleared what a killed process had left")), "{ended:?}");
    stage.assert_as_before();
}
