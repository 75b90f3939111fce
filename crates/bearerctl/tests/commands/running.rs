use netbearer_lab::Signal;

use crate::stage::Stage;

#[test]
fn the_network_is_up_while_the_command_runs_and_its_code_is_passed() {
    let stage = Stage::with_dnsmasq();
    let ended = stage.run(&["run", "--on", "ap0", "--", "sh", "-c", "ip -o -4 address show ap0; exit 7"]);
    assert_eq!(ended.code, 7, "{ended:?}");
    assert_eq!(ended.output.len(), 1, "only the command's output: {ended:?}");
    assert!(ended.output[0].contains("inet 10.10.0."), "{ended:?}");
    stage.assert_as_before();
}

#[test]
fn a_command_that_a_signal_ends_shows_as_128_and_its_number() {
    let stage = Stage::with_dnsmasq();
    assert_eq!(stage.run(&["run", "--", "sh", "-c", "kill -KILL $$"]).code, 137);
    stage.assert_as_before();
}

#[test]
fn a_command_that_cannot_be_started_ends_as_in_a_shell() {
    let stage = Stage::with_dnsmasq();
    stage.run(&["run", "--", "no-such-command"]).assert_failed(127, "the command no-such-command could not be started");
    stage.run(&["run", "--", "/"]).assert_failed(126, "the command / could not be started");
    stage.assert_as_before();
}

#[test]
fn signals_are_passed_on_and_the_command_ends_first() {
    let stage = Stage::with_dnsmasq();
    let script = "sleep 300 & trap \"kill $!; ip -o -4 address show ap0; exit 3\" TERM; echo ready; wait";
    let run = stage.start(&["run", "--", "sh", "-c", script]);
    run.wait_for("ready");
    let ended = run.end_by(Signal::TERM);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.output[1].contains("inet 10.10.0."), "the network was gone before the command: {ended:?}");
    stage.assert_as_before();
}

#[test]
fn a_command_goes_on_when_the_network_is_lost() {
    let stage = Stage::with_dnsmasq();
    // It ends when somebody has told that the session has ended.
    let script = "sleep 300 & trap \"kill $!; exit 0\" TERM; echo ready; wait";
    let run = stage.start(&["run", "--", "sh", "-c", script]);
    run.wait_for("ready");
    stage.lab.access_point("ap0").unwrap().cut().unwrap();
    run.errors.wait_for_text("the session on ap0 has ended", crate::stage::DEADLINE).unwrap();
    let ended = run.end_by(Signal::TERM);
    assert_eq!(ended.code, 0, "{ended:?}");
    stage.lab.access_point("ap0").unwrap().restore().unwrap();
    stage.assert_as_before();
}

#[test]
fn for_programs_the_events_of_run_are_on_standard_error() {
    let stage = Stage::with_dnsmasq();
    let ended = stage.run(&["--json", "run", "--", "echo", "mine"]);
    assert_eq!((ended.code, ended.output.as_slice()), (0, ["mine".to_owned()].as_slice()));
    let events: Vec<String> = ended
        .errors
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(events, ["StateChanged", "StateChanged", "Opened", "Closed", "StateChanged", "StateChanged"]);
}
