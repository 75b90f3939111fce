use crate::stage::Stage;

#[test]
fn why_tells_what_each_access_point_is_and_what_can_be_done() {
    let mut stage = Stage::with_dnsmasq();
    let ended = stage.run(&["why"]);
    assert_eq!(ended.code, 0);
    let output = ended.output.join("\n");
    assert!(output.contains("ap0 is Discovered") && output.contains("the first open brings it up"), "{output}");
    assert!(output.contains("lo is no access point  (reason: it is a loopback)"), "{output}");
    stage.bring_up_by_hand();
    let output = stage.run(&["why", "ap0"]).output.join("\n");
    assert!(output.contains("ap0 is Active: it is up with 10.10.0.77/24"), "{output}");
    assert!(
        output.contains("ap0 is adopted: the machine itself holds it  (carrier: yes, addresses: 10.10.0.77/24"),
        "{output}"
    );
    assert!(!output.contains("lo is no access point"), "{output}");
}

#[test]
fn why_names_the_missing_privilege() {
    let stage = Stage::with_dnsmasq();
    let ended = stage.start_without_privileges(&["why", "ap0"]).end();
    assert!(ended.output[0].contains("cannot start and stop it without CAP_NET_ADMIN, CAP_NET_RAW"), "{ended:?}");
}

#[test]
fn why_explains_what_is_no_access_point() {
    let stage = Stage::with_dnsmasq();
    assert_eq!(stage.run(&["why", "lo"]).output, ["lo is no access point  (reason: it is a loopback)"]);
}

#[test]
fn why_for_programs_has_verdicts_and_decisions() {
    let stage = Stage::with_dnsmasq();
    let explanation = stage.run(&["why", "--json"]).json();
    assert_eq!(explanation["configurations"][0]["name"], "ap0");
    assert!(explanation["configurations"][0]["verdict"].as_str().unwrap().starts_with("is Discovered"));
    let decision = &explanation["decisions"][0];
    assert_eq!(decision["verdict"], "NotAnAccessPoint");
    assert_eq!(decision["subject"], serde_json::json!({"Interface": "lo"}));
    assert_eq!(decision["inputs"][0]["name"], "reason");
}

#[test]
fn decisions_are_logged_when_asked_for() {
    let stage = Stage::with_dnsmasq();
    let ended = stage.run(&["-v", "list"]);
    assert!(ended.errors.iter().any(|line| line.contains("interface lo")), "{ended:?}");
    assert!(stage.run(&["list"]).errors.is_empty());
}
