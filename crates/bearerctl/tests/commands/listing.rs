use netbearer_lab::{AccessPointPlan, Dhcp};
use serde_json::json;

use crate::stage::Stage;

#[test]
fn the_list_marks_the_default_and_what_is_adopted() {
    let mut stage = Stage::new(["ap0", "ap1"].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)));
    let ended = stage.run(&["list"]);
    let row = |ended: &crate::stage::Ended, name: &str| {
        let row = ended.output.iter().find(|line| line.split_whitespace().any(|word| word == name));
        row.unwrap_or_else(|| panic!("{ended:?}"))
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert!(row(&ended, "ap0").iter().any(|cell| cell == "can be opened"), "{ended:?}");
    stage.bring_up_by_hand();
    let ended = stage.run(&["list"]);
    assert_eq!(ended.code, 0);
    let up = row(&ended, "ap0");
    for cell in ["│ *", "Ethernet", "up", "10.10.0.77/24"] {
        assert!(up.iter().any(|found| found == cell), "{cell}: {up:?}");
    }
    assert!(up.iter().any(|cell| cell.contains("adopted")), "{up:?}");
    assert!(!row(&ended, "ap1").iter().any(|cell| cell.contains('*') || cell.contains("adopted")), "{ended:?}");
    assert_eq!(ended.output.last().unwrap(), "* opened when nothing is named");
}

#[test]
fn the_list_for_programs_is_an_array() {
    let mut stage = Stage::with_dnsmasq();
    stage.bring_up_by_hand();
    let ended = stage.run(&["list", "--json"]);
    assert_eq!(ended.output.len(), 1);
    let list = ended.json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    let expected = json!({
        "name": "ap0",
        "kind": "InternetAccessPoint",
        "bearer_type": "Ethernet",
        "state_flags": "Active",
        "capabilities": "CanStartAndStopInterfaces | DirectConnectionRouting | DataStatistics",
        "interface_name": "ap0",
        "state": "Connected",
        "default": true,
        "adopted": true,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&list[0][name], value, "{name}");
    }
    assert_eq!(list[0]["interface"]["addresses"][0]["address"], "10.10.0.77");
    assert_eq!(stage.run(&["show", "ap0", "--json"]).json(), list[0]);
}

#[test]
fn a_machine_without_networks_has_an_empty_list() {
    let stage = Stage::new([]);
    assert_eq!(stage.run(&["list", "--json"]).json(), json!([]));
    let ended = stage.run(&["list"]);
    assert_eq!((ended.code, ended.output.len()), (0, 0));
}

#[test]
fn show_tells_everything_in_words() {
    let mut stage = Stage::with_dnsmasq();
    stage.bring_up_by_hand();
    let ended = stage.run(&["show", "ap0"]);
    assert_eq!(ended.code, 0);
    let output = ended.output.join("\n");
    for told in ["identifier", "up (Connected, Active)", "others (adopted)", "10.10.0.77/24", "1500 bytes"] {
        assert!(output.contains(told), "{told}:\n{output}");
    }
}

#[test]
fn without_privileges_nothing_can_be_started() {
    let stage = Stage::with_dnsmasq();
    let ended = stage.start_without_privileges(&["list", "--json"]).end();
    assert_eq!(ended.json()[0]["capabilities"], "DirectConnectionRouting | DataStatistics", "{ended:?}");
}

#[test]
fn update_ends_with_one_completion() {
    let stage = Stage::with_dnsmasq();
    let ended = stage.run(&["update", "--json"]);
    assert_eq!(ended.code, 0);
    assert_eq!(ended.objects_without_time(), [r#"{"event":"UpdateCompleted","time":"TIME"}"#]);
    assert_eq!(stage.run(&["update"]).output, ["updated; configurations: 1"]);
}
