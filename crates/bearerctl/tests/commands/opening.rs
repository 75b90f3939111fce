use netbearer_lab::{AccessPointPlan, Dhcp, Signal};

use crate::stage::Stage;

#[test]
fn open_brings_the_link_up_and_ctrl_c_closes_in_order() {
    let stage = Stage::with_dnsmasq();
    let open = stage.opened();
    open.errors.wait_for_text("holding ap0; press Ctrl-C to close", crate::stage::DEADLINE).unwrap();
    let connected = open.wait_for("Connected");
    assert!(connected.trim_start().starts_with('+'), "{connected}");
    assert!(connected.contains(" s  ") && connected.contains("/24 by way of 10.10.0.1"), "{connected}");
    stage.assert_changed();
    let ended = open.end_by(Signal::INT);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.words(), ["Connecting", "Connected", "Opened", "Closed", "Closing", "Disconnected"]);
    stage.assert_as_before();
}

#[test]
fn sigterm_and_sighup_close_in_order_too() {
    let stage = Stage::with_dnsmasq();
    for signal in [Signal::TERM, Signal::HUP] {
        let ended = stage.opened().end_by(signal);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(ended.words()[3..], ["Closed", "Closing", "Disconnected"], "{signal:?}");
        stage.assert_as_before();
    }
}

#[test]
fn events_for_programs_are_one_object_a_line() {
    let stage = Stage::with_dnsmasq();
    let list = stage.run(&["list", "--json"]).json();
    let identifier = list[0]["identifier"].as_str().unwrap().to_owned();
    let open = stage.start(&["open", "--json", "ap0"]);
    open.wait_for("Opened");
    let ended = open.end_by(Signal::INT);
    assert_eq!(ended.code, 0);
    assert!(ended.errors.is_empty(), "{ended:?}");
    let state = |state: &str| {
        format!(r#"{{"event":"StateChanged","state":"{state}","configuration":"{identifier}","time":"TIME"}}"#)
    };
    let event = |event: &str| format!(r#"{{"event":"{event}","configuration":"{identifier}","time":"TIME"}}"#);
    let expected = [
        state("Connecting"),
        state("Connected"),
        event("Opened"),
        event("Closed"),
        state("Closing"),
        state("Disconnected"),
    ];
    assert_eq!(ended.objects_without_time(), expected);
}

#[test]
fn without_a_name_the_default_configuration_is_opened() {
    let stage = Stage::with_dnsmasq();
    let open = stage.start(&["open"]);
    open.wait_for("Opened");
    assert_eq!(open.end_by(Signal::INT).code, 0);
}

#[test]
fn a_configuration_is_named_by_its_identifier_too() {
    let stage = Stage::with_dnsmasq();
    let list = stage.run(&["list", "--json"]).json();
    let open = stage.start(&["open", list[0]["identifier"].as_str().unwrap()]);
    open.wait_for("Opened");
    assert_eq!(open.end_by(Signal::INT).code, 0);
}

#[test]
fn a_configuration_is_named_by_the_file_of_its_profile_too() {
    let stage = Stage::with_dnsmasq();
    stage.write_configuration("profiles.d/office.toml", "[match]\ninterface = \"ap0\"\n");
    let open = stage.start(&["open", "office"]);
    open.wait_for("Opened");
    assert_eq!(open.end_by(Signal::INT).code, 0);
    assert!(stage.run(&["show", "office"]).output.iter().any(|line| line.ends_with(" ap0")));
    assert_eq!(stage.run(&["why", "office"]).code, 0);
    stage.run(&["show", "offic"]).assert_failed(3, "there is no configuration \"offic\"; did you mean office?");
}

#[test]
fn an_adopted_link_is_shared_without_privileges_and_left_as_it_was() {
    let mut stage = Stage::with_dnsmasq();
    stage.bring_up_by_hand();
    let open = stage.start_without_privileges(&["open", "ap0"]);
    open.wait_for("Opened");
    stage.assert_as_before();
    let ended = open.end_by(Signal::INT);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.words(), ["Opened", "Closed"]);
    stage.assert_as_before();
}

#[test]
fn two_processes_share_a_link() {
    let stage = Stage::with_dnsmasq();
    let first = stage.opened();
    let second = stage.start(&["open", "ap0"]);
    second.wait_for("Opened");
    let ended = second.end_by(Signal::INT);
    assert_eq!((ended.code, ended.words()), (0, vec!["Opened", "Closed"]));
    stage.assert_changed();
    assert_eq!(first.end_by(Signal::INT).code, 0);
    stage.assert_as_before();
}

#[test]
fn colour_only_where_it_is_wanted() {
    let stage = Stage::new([AccessPointPlan::new("ap0").dhcp(Dhcp::None)]);
    let open = |color: &str| stage.run(&["--color", color, "open", "ap0", "--timeout", "100ms"]).output.join("\n");
    assert!(open("always").contains("\u{1b}["));
    for color in ["auto", "never"] {
        let output = open(color);
        assert!(output.contains("Connecting") && !output.contains('\u{1b}'), "{color}: {output:?}");
    }
}
