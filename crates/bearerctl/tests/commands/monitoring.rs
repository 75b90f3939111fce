use netbearer_lab::{AccessPoint, Signal};
use serde_json::Value;

use crate::stage::{DEADLINE, Stage, without_time};

#[test]
fn a_monitor_tells_what_another_process_does() {
    let stage = Stage::with_dnsmasq();
    let monitor = stage.start(&["monitor"]);
    monitor.wait_for("ap0: Disconnected");
    let mark = monitor.output.mark();
    let open = stage.opened();
    let connected = monitor.output.wait_for_text_since(mark, "ap0: Connected", DEADLINE).unwrap();
    assert!(connected.contains("10.10.0."), "{connected}");
    let mark = monitor.output.mark();
    open.end_by(Signal::INT);
    monitor.output.wait_for_text_since(mark, "ap0: Disconnected", DEADLINE).unwrap();
    let ended = monitor.end_by(Signal::INT);
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn a_monitor_tells_programs_of_configurations_that_come_and_go() {
    let stage = Stage::with_dnsmasq();
    let monitor = stage.start(&["monitor", "--json"]);
    let first = without_time(&monitor.wait_for("StateChanged"));
    let identifier = stage.run(&["list", "--json"]).json()[0]["identifier"].as_str().unwrap().to_owned();
    let state = |state: &str| {
        format!(r#"{{"event":"StateChanged","state":"{state}","configuration":"{identifier}","time":"TIME"}}"#)
    };
    assert_eq!(first, state("Disconnected"));
    let access_point = stage.lab.access_point("ap0").unwrap();
    for (change, state, flags) in [
        (AccessPoint::unplug as fn(&_) -> _, "NotAvailable", "Defined"),
        (AccessPoint::plug, "Disconnected", "Discovered"),
    ] {
        let mark = monitor.output.mark();
        change(access_point).unwrap();
        for told in [state, flags] {
            monitor.output.wait_for_text_since(mark, told, DEADLINE).unwrap();
        }
    }
    let ended = monitor.end_by(Signal::TERM);
    assert_eq!(ended.code, 0, "{ended:?}");
    let objects: Vec<Value> =
        ended.output.iter().map(|line| serde_json::from_str(&without_time(line)).unwrap()).collect();
    // Those of the manager and those of a session are in order, each for itself.
    let told = |event: &str, pointer: &str| -> Vec<Value> {
        objects
            .iter()
            .filter(|object| object["event"] == event)
            .map(|object| object.pointer(pointer).unwrap().clone())
            .collect()
    };
    assert_eq!(told("StateChanged", "/state"), ["Disconnected", "NotAvailable", "Disconnected"]);
    assert_eq!(told("ConfigurationChanged", "/configuration/state_flags"), ["Defined", "Discovered"]);
    assert!(told("ConfigurationChanged", "/configuration/identifier").iter().all(|about| *about == identifier));
}
