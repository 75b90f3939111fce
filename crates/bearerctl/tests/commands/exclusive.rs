//! Access points that share a device, at the command line.

use serde_json::json;

use crate::stage::Stage;

/// Two exclusive access points of ap0.
fn stage() -> Stage {
    let stage = Stage::with_dnsmasq();
    for (name, settings) in [("home", "name = \"At home\"\npreference = 1\n"), ("office", "")] {
        let text = format!("[match]\ninterface = \"ap0\"\n\n[access_point]\nexclusive = true\n{settings}");
        stage.write_configuration(&format!("profiles.d/{name}.toml"), &text);
    }
    stage
}

/// What was said, with a word for the device's identifier, which differs from machine to machine.
fn said(stage: &Stage, lines: &[String]) -> String {
    let list = stage.run(&["list", "--json"]).json();
    let identifier = list[0]["identifier"].as_str().unwrap();
    let device = identifier.strip_suffix("/home").expect("the file's name is behind the device's");
    lines.join("\n").replace(device, &format!("{:<width$}", "DEVICE", width = device.len()))
}

#[test]
fn both_are_listed_and_explained() {
    let stage = stage();
    insta::assert_snapshot!("exclusive_list", said(&stage, &stage.run(&["list"]).output));
    let shown = said(&stage, &stage.run(&["show", "At home"]).output);
    assert!(shown.contains("\nexclusive with    DEVICE    /office\n"), "{shown}");
    let why = stage.run(&["why", "office"]).output;
    assert!(said(&stage, &why[..1]).ends_with("/home."), "{why:?}");
    assert!(why[0].contains("not together with native-"), "{why:?}");
    let check = stage.run(&["profile", "check"]).output;
    assert_eq!(check[1..], ["interface ap0: one of home, office is up at a time"]);
}

#[test]
fn a_busy_one_is_refused_and_the_file_name_is_a_name() {
    let mut stage = stage();
    stage.bring_up_by_hand();
    let ended = stage.run(&["open", "office"]);
    assert_eq!(ended.code, 4, "{ended:?}");
    insta::assert_snapshot!("exclusive_busy", said(&stage, &ended.errors));
    let error = stage.run(&["open", "office", "--json"]).json_error();
    let home = stage.run(&["show", "home", "--json"]).json();
    assert_eq!(error["reason"], json!({ "Busy": home["identifier"] }), "{error}");
    assert_eq!((&home["adopted"], &home["exclusive_with"].as_array().unwrap().len()), (&json!(true), &1));
    let both = stage.run(&["show", "ap0"]);
    assert_eq!(both.code, 3, "{both:?}");
    stage.assert_as_before();
}
