//! Every exit code, and what is said with it.

use netbearer_lab::{AccessPointPlan, Dhcp, Signal};
use serde_json::json;

use crate::stage::Stage;

#[test]
fn wrong_arguments_end_with_2() {
    let stage = Stage::new([]);
    for arguments in [
        &["--frobnicate", "list"] as &[&str],
        &["list", "ap0"],
        &["show"],
        &["open", "ap0", "ap1"],
        &["open", "--timeout", "-5s"],
        &["open", "--timeout", "soon"],
        &["run", "--on", "ap0"],
        &["run", "true"],
        &["--color", "sometimes", "list"],
        &["dance"],
        &[],
    ] {
        let ended = stage.run(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(ended.output.is_empty() && !ended.errors.is_empty(), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn an_unknown_configuration_ends_with_3_and_near_names() {
    let stage = Stage::with_dnsmasq();
    for command in ["show", "open", "stop", "why"] {
        let ended = stage.run(&[command, "ap9"]);
        ended.assert_failed(3, "there is no configuration \"ap9\"; did you mean ap0?");
    }
    stage.run(&["run", "--on", "ap9", "--", "true"]).assert_failed(3, "did you mean ap0?");
    let ended = stage.run(&["--json", "open", "ap9"]);
    assert_eq!((ended.code, ended.output.len()), (3, 0), "{ended:?}");
    let expected = json!({
        "error": "InvalidConfiguration",
        "reason": "ConfigurationInvalid",
        "message": "there is no configuration \"ap9\"; did you mean ap0?",
        "causes": [],
    });
    assert_eq!(ended.json_error(), expected);
}

#[test]
fn no_default_configuration_ends_with_3() {
    Stage::new([]).run(&["open"]).assert_failed(3, "there is no default configuration");
}

/// Another one might cost money.
#[test]
fn a_default_that_is_nowhere_to_be_found_opens_no_other() {
    let stage = Stage::with_dnsmasq();
    stage.write_configuration("profiles.d/office.toml", "[match]\ninterface = \"ap0\"\n");
    stage.write_configuration("netbearer.toml", "default = \"ofice\"\n");
    let ended = stage.run(&["open"]);
    ended.assert_failed(
        3,
        "the default configuration \"ofice\" is nowhere to be found; did you mean office?; name what to open",
    );
    assert_eq!(stage.run(&["--json", "open"]).json_error()["reason"], "UnknownDefault");
    assert_eq!(stage.run(&["list", "--json"]).json()[0]["default"], false);
    assert_eq!(stage.run(&["run", "--", "true"]).code, 3);
    stage.assert_as_before();
}

#[test]
fn no_carrier_ends_with_4() {
    let stage = Stage::with_dnsmasq();
    stage.write_profile("ap0", "carrier_timeout = \"200ms\"");
    stage.lab.access_point("ap0").unwrap().cut().unwrap();
    let ended = stage.run(&["open", "ap0"]);
    ended.assert_failed(4, "bearerctl: ap0 was not opened\n  caused by: no carrier on ap0 within 200ms");
    assert_eq!(ended.words(), ["Connecting", "NotAvailable", "Error"]);
}

#[test]
fn a_missing_privilege_ends_with_5_and_names_the_capability() {
    let stage = Stage::with_dnsmasq();
    let ended = stage.start_without_privileges(&["open", "ap0"]).end();
    ended.assert_failed(5, "starting and stopping ap0 needs CAP_NET_ADMIN, CAP_NET_RAW");
    let ended = stage.start_without_privileges(&["--json", "open", "ap0"]).end();
    assert_eq!(ended.code, 5, "{ended:?}");
    let error = ended.json_error();
    assert_eq!(error["error"], "OperationNotSupported");
    assert_eq!(error["reason"], json!({"MissingPrivilege": "CAP_NET_ADMIN"}));
    assert!(error["causes"][0].as_str().unwrap().contains("CAP_NET_ADMIN"), "{error}");
    stage.start_without_privileges(&["reset"]).end().assert_failed(5, "CAP_NET_ADMIN");
    stage.assert_as_before();
}

#[test]
fn stopping_without_the_privilege_ends_with_5_and_changes_nothing() {
    let mut stage = Stage::with_dnsmasq();
    stage.bring_up_by_hand();
    stage.start_without_privileges(&["stop", "ap0"]).end().assert_failed(5, "CAP_NET_ADMIN");
    stage.assert_as_before();
}

#[test]
fn the_timeout_ends_with_6_and_undoes_what_was_begun() {
    let stage = Stage::new([AccessPointPlan::new("ap0").dhcp(Dhcp::None)]);
    let ended = stage.run(&["open", "ap0", "--timeout", "700ms"]);
    ended.assert_failed(6, "ap0 was not open within 700ms");
    assert_eq!(ended.words(), ["Connecting", "Closed", "Closing", "Disconnected"]);
    stage.assert_as_before();
}

#[test]
fn a_network_without_dhcp_ends_with_6() {
    let stage = Stage::new([AccessPointPlan::new("ap0").dhcp(Dhcp::None)]);
    stage.write_profile("ap0", "connect_timeout = \"300ms\"");
    let ended = stage.run(&["open", "ap0"]);
    ended.assert_failed(6, "no DHCP server offered a lease that can be used");
    stage
        .run(&["run", "--on", "ap0", "--", "true"])
        .assert_failed(6, "no DHCP server offered a lease that can be used");
    stage.assert_as_before();
}

#[test]
fn a_lost_link_ends_with_7() {
    let stage = Stage::with_dnsmasq();
    let open = stage.opened();
    stage.lab.access_point("ap0").unwrap().cut().unwrap();
    let ended = open.end();
    ended.assert_failed(7, "bearerctl: the session on ap0 has ended\n  caused by: the link of ap0 was lost");
    assert_eq!(ended.words()[3..], ["Disconnected", "Error", "Closed"], "{ended:?}");
    stage.lab.access_point("ap0").unwrap().restore().unwrap();
    stage.assert_as_before();
}

#[test]
fn a_second_process_is_told_who_keeps_the_sessions_and_ends_with_8() {
    let stage = Stage::new(["ap0", "ap1"].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)));
    let first = stage.opened();
    let owner = format!("another NetBearer process (process {})", first.id());
    stage.run(&["open", "ap1"]).assert_failed(8, &owner);
    stage.run(&["reset"]).assert_failed(8, &owner);
    let ended = stage.run(&["--json", "open", "ap1"]);
    assert_eq!(ended.json_error()["reason"], json!({"OwnedByAnotherProcess": first.id()}));
    assert_eq!(first.end_by(Signal::INT).code, 0);
    stage.assert_as_before();
}

/// The rest works, the access point itself too: its profile is left out as a whole.
#[test]
fn a_malformed_profile_is_told_with_its_mistake_and_keeps_nothing_from_working() {
    let stage = Stage::with_dnsmasq();
    stage.write_profile("ap0", "longer = \"2s\"");
    let ended = stage.run(&["list"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let told = ended.errors.join("\n");
    assert!(
        told.contains("profiles.d/ap0.toml:5: there is no key `longer` in [access_point]; did you mean `linger`?"),
        "{told}"
    );
    assert!(told.contains("left out until that is corrected"), "{told}");
    assert_eq!(stage.opened().end_by(Signal::INT).code, 0);
}
