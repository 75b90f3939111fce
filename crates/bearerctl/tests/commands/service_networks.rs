//! Service networks and user choices at the command line, and the question at a real terminal.

use std::time::Duration;

use netbearer_lab::{AccessPointPlan, Dhcp, Signal};
use rustix::process::kill_process;
use serde_json::{Value, json};

use crate::{
    stage::{DEADLINE, Ended, Stage},
    terminal::{CTRL_C, CTRL_D, at_terminal, child_of, type_in},
};

/// Two access points, a service network of both, and a choice between the second and the network.
fn stage() -> Stage {
    stage_with(Dhcp::Dnsmasq, Dhcp::Dnsmasq)
}

fn stage_with(a: Dhcp, b: Dhcp) -> Stage {
    let stage = Stage::new([AccessPointPlan::new("ap0").dhcp(a), AccessPointPlan::new("ap1").dhcp(b)]);
    let network = "[service_network]\nname = \"Uplink\"\npurpose = \"private\"\nproxy = \"http://proxy.example:3128\"\n\
                   members = [\"ap0\", \"ap1\"]\n";
    stage.write_configuration("profiles.d/uplink.toml", network);
    write_choice(&stage, &["ap1", "uplink"]);
    for access_point in ["ap0", "ap1"] {
        stage.write_profile(access_point, "connect_timeout = \"700ms\"");
    }
    stage
}

fn write_choice(stage: &Stage, choices: &[&str]) {
    let choice = format!("[user_choice]\nname = \"Where\"\nchoices = {choices:?}\n");
    stage.write_configuration("profiles.d/where.toml", &choice);
}

/// Its output with the names of the access points for their identifiers, which differ from machine to machine.
fn with_names(stage: &Stage, ended: &Ended) -> String {
    let list = stage.run(&["list", "--json"]).json();
    let mut text = ended.output.join("\n");
    for (name, placeholder) in [("ap0", "AP0-ID"), ("ap1", "AP1-ID")] {
        let identifier = identifier(&list, name);
        text = text.replace(&identifier, &format!("{placeholder:<width$}", width = identifier.len()));
    }
    text
}

fn identifier(list: &Value, name: &str) -> String {
    let found = list.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
    found["identifier"].as_str().unwrap().to_owned()
}

#[test]
fn the_list_has_service_networks_with_their_members_and_user_choices() {
    let mut stage = stage();
    let ended = stage.run(&["list"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    insta::assert_snapshot!("list", with_names(&stage, &ended));
    stage.bring_up_by_hand();
    let list = stage.run(&["list", "--json"]).json();
    let (ap0, ap1) = (identifier(&list, "ap0"), identifier(&list, "ap1"));
    let kinds: Vec<&Value> = list.as_array().unwrap().iter().map(|one| &one["kind"]).collect();
    assert_eq!(kinds, ["InternetAccessPoint", "InternetAccessPoint", "ServiceNetwork", "UserChoice"]);
    let network = &list[2];
    let expected = json!({
        "identifier": "service-uplink",
        "name": "Uplink",
        "purpose": "Private",
        "proxy": {"Manual": "http://proxy.example:3128"},
        "state_flags": "Active",
        "state": "Connected",
        "children": [ap0, ap1],
        "in_use": ap0,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&network[name], value, "{name}");
    }
    assert_eq!(network["members"], json!([list[0], list[1]]));
    assert_eq!((&list[3]["identifier"], &list[3]["children"]), (&json!("choice-where"), &json!([])));
    assert_eq!(stage.run(&["show", "Uplink", "--json"]).json(), *network);
}

#[test]
fn show_tells_members_in_order_and_which_is_in_use() {
    let mut stage = stage();
    insta::assert_snapshot!("show_network", stage.run(&["show", "uplink"]).output.join("\n"));
    insta::assert_snapshot!("show_choice", stage.run(&["show", "Where"]).output.join("\n"));
    stage.bring_up_by_hand();
    let shown = stage.run(&["show", "service-uplink"]).output.join("\n");
    for told in ["up (Connected, Active)", "ap0 (up), ap1 (can be opened)", "in use            ap0", "10.10.0.77/24"] {
        assert!(shown.contains(told), "{told}:\n{shown}");
    }
}

#[test]
fn why_explains_a_network_by_its_members() {
    let mut stage = stage();
    let told = stage.run(&["why", "Uplink"]).output.join("\n");
    insta::assert_snapshot!("why_network", told);
    insta::assert_snapshot!("why_choice", stage.run(&["why", "Where"]).output.join("\n"));
    for access_point in ["ap0", "ap1"] {
        stage.lab.access_point(access_point).unwrap().cut().unwrap();
        stage.lab.machine().ip_lines(&["link", "set", access_point, "up"]).unwrap();
    }
    let told = stage.run(&["why", "Uplink"]).output.join("\n");
    assert!(told.contains("Uplink is Defined: none of its members can be opened now"), "{told}");
    let told = stage.run(&["why", "Where"]).output.join("\n");
    assert!(told.contains("nothing can be chosen now"), "{told}");
    stage.lab.access_point("ap0").unwrap().restore().unwrap();
    stage.bring_up_by_hand();
    let told = stage.run(&["why", "Uplink"]).output.join("\n");
    assert!(told.contains("Uplink is Active: ap0 is up, and it is the first of its members that is"), "{told}");
    assert!(told.contains("ap0 is adopted: the machine itself holds it"), "{told}");
    assert!(!told.contains("lo is no access point"), "{told}");
    let explanation = stage.run(&["why", "Uplink", "--json"]).json();
    let names: Vec<&Value> = explanation["configurations"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["Uplink", "ap0", "ap1"]);
}

#[test]
fn a_network_without_privileges_is_explained_as_it_is() {
    let stage = stage();
    let told = stage.start_without_privileges(&["why", "Uplink"]).end().output.join("\n");
    assert!(told.contains("this process can start and stop none of them"), "{told}");
    assert!(told.contains("without CAP_NET_ADMIN, CAP_NET_RAW"), "{told}");
}

#[test]
fn the_time_line_names_the_member_in_use() {
    let stage = stage();
    let open = stage.start(&["open", "Uplink"]);
    let opened = open.wait_for("Opened");
    assert!(opened.ends_with("with ap0"), "{opened}");
    open.errors.wait_for_text("holding Uplink; press Ctrl-C to close", DEADLINE).unwrap();
    let ended = open.end_by(Signal::INT);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.words(), ["Connecting", "Connected", "Opened", "Closed", "Closing", "Disconnected"]);
    stage.assert_as_before();
}

#[test]
fn the_time_line_for_programs_names_it_too() {
    let stage = stage_with(Dhcp::None, Dhcp::Dnsmasq);
    let list = stage.run(&["list", "--json"]).json();
    let ap1 = identifier(&list, "ap1");
    for (configuration, expected) in [
        ("service-uplink", json!({"event": "Opened", "active_configuration": ap1})),
        ("choice-where", json!({"event": "Opened", "active_configuration": ap1, "user_choice_configuration": ap1})),
    ] {
        let open = stage.start(&["open", "--json", configuration]);
        open.wait_for("Opened");
        let ended = open.end_by(Signal::INT);
        assert_eq!(ended.code, 0, "{ended:?}");
        let mut opened: Value = ended
            .output
            .iter()
            .find(|line| line.contains("Opened"))
            .map(|line| serde_json::from_str(line))
            .unwrap()
            .unwrap();
        let fields = opened.as_object_mut().unwrap();
        assert!(fields.remove("time").is_some());
        assert_eq!(fields.remove("configuration"), Some(configuration.into()));
        assert_eq!(opened, expected);
    }
    stage.assert_as_before();
}

#[test]
fn a_command_runs_on_a_service_network() {
    let stage = stage();
    let ended = stage.run(&["run", "--on", "uplink", "--", "ip", "-brief", "-4", "address", "show", "dev", "ap0"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.output.join("\n").contains("10.10.0."), "{ended:?}");
    stage.assert_as_before();
}

#[test]
fn a_network_none_of_whose_members_comes_up_ends_with_4_and_every_cause() {
    let stage = stage_with(Dhcp::None, Dhcp::None);
    let ended = stage.run(&["open", "Uplink"]);
    ended.assert_failed(4, "no member of Uplink could be brought up");
    insta::assert_snapshot!("no_member_came_up", ended.errors.join("\n"));
    let json = stage.run(&["open", "Uplink", "--json"]).json_error();
    assert_eq!((&json["error"], &json["reason"]), (&"Unknown".into(), &"AllMembersFailed".into()));
    stage.assert_as_before();
}

#[test]
fn stop_of_a_service_network_names_what_can_be_stopped_instead() {
    let mut stage = stage();
    let ended = stage.run(&["stop", "Uplink"]);
    ended.assert_failed(5, "Uplink is not open in a session of this program, so there is nothing to stop");
    stage.bring_up_by_hand();
    let ended = stage.run(&["stop", "Uplink"]);
    ended.assert_failed(5, "; take its access point down: bearerctl stop ap0");
    assert_eq!(stage.run(&["stop", "Uplink", "--json"]).json_error()["reason"], "NotOpen");
    stage.assert_as_before();
}

#[test]
fn monitor_tells_a_network_beside_its_members() {
    let mut stage = stage();
    let monitor = stage.start(&["monitor"]);
    monitor.wait_for("Uplink: Disconnected");
    stage.bring_up_by_hand();
    monitor.wait_for("Uplink: Connected  10.10.0.77/24");
    monitor.wait_for("Uplink: changed, service network, Active");
    assert_eq!(monitor.end_by(Signal::INT).code, 0);
}

#[test]
fn nobody_is_asked_without_a_terminal_and_the_most_preferred_is_taken() {
    let stage = stage();
    let open = stage.start(&["open", "Where"]);
    let opened = open.wait_for("Opened");
    assert!(opened.ends_with("with ap1"), "{opened}");
    let ended = open.end_by(Signal::INT);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.errors.join("\n").contains("What shall"), "{ended:?}");
    stage.assert_as_before();
}

#[test]
fn an_answer_given_beforehand_is_taken_and_a_wrong_one_is_told() {
    let stage = stage();
    let open = stage.start(&["open", "Where", "--choose", "Uplink"]);
    let opened = open.wait_for("Opened");
    assert!(opened.ends_with("with ap0, of Uplink"), "{opened}");
    assert_eq!(open.end_by(Signal::INT).code, 0);

    stage
        .run(&["open", "Where", "--choose", "ap0"])
        .assert_failed(3, "ap0 cannot be chosen for Where now; there is ap1, Uplink");
    stage.run(&["open", "Where", "--choose", "ap7"]).assert_failed(3, "there is no configuration \"ap7\"");
    stage.run(&["open", "ap0", "--choose", "ap0"]).assert_failed(2, "ap0 is no user choice");
    assert_eq!(stage.run(&["open", "Where", "--choose", "ap1", "--background"]).code, 2);

    let ap1 = stage.lab.access_point("ap1").unwrap();
    ap1.cut().unwrap();
    stage.lab.machine().ip_lines(&["link", "set", "ap1", "up"]).unwrap();
    stage.run(&["open", "Where", "--choose", "ap1"]).assert_failed(4, "ap1 cannot be chosen for Where now");
    stage.run(&["open", "Where", "--choose", "ap0"]).assert_failed(3, "there is Uplink");
    stage.lab.machine().ip_lines(&["link", "set", "ap1", "down"]).unwrap();
    ap1.restore().unwrap();
    stage.assert_as_before();
}

#[test]
fn a_session_that_roams_says_so_and_to_where() {
    let stage = stage();
    let list = stage.run(&["list", "--json"]).json();
    for json in [false, true] {
        let arguments: &[&str] = if json { &["open", "--json", "uplink"] } else { &["open", "uplink"] };
        let open = stage.start(arguments);
        open.wait_for("Opened");
        let ap0 = stage.lab.access_point("ap0").unwrap();
        ap0.cut().unwrap();
        let roamed = open.wait_for(if json { "ActiveConfigurationChanged" } else { "Roamed" });
        if json {
            let roamed: Value = serde_json::from_str(&roamed).unwrap();
            assert_eq!(roamed["configuration"], "service-uplink");
            assert_eq!(roamed["access_point"], json!(identifier(&list, "ap1")));
        } else {
            assert!(roamed.ends_with("to ap1"), "{roamed}");
        }
        let ended = open.end_by(Signal::INT);
        if !json {
            let roaming = ["Roaming", "Connected", "Roamed"];
            assert_eq!(ended.words()[3..6], roaming, "{ended:?}");
        }
        ap0.restore().unwrap();
        stage.assert_as_before();
    }
}

#[test]
fn at_a_terminal_the_user_is_asked_and_enter_takes_the_first() {
    let stage = stage();
    let (open, mut terminal) = at_terminal(&stage, "open Where");
    open.wait_for("What shall Where be?");
    let rows = [open.wait_for("1  ap1"), open.wait_for("2  Uplink")];
    assert!(rows[0].contains("Ethernet") && rows[0].contains("can be opened"), "{rows:?}");
    assert!(rows[1].contains("service network") && rows[1].contains("can be opened"), "{rows:?}");
    // Nothing disturbs who thinks, however long; a progress would be told half a second after the beginning.
    assert!(open.output.wait_for_text("waiting for", Duration::from_millis(800)).is_err());
    type_in(&mut terminal, "\n");
    assert!(open.wait_for("Opened").trim_end().ends_with("with ap1"));
    type_in(&mut terminal, CTRL_C);
    let ended = open.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    stage.assert_as_before();
}

#[test]
fn at_a_terminal_a_number_chooses_and_what_is_none_is_asked_again() {
    let stage = stage();
    let (open, mut terminal) = at_terminal(&stage, "open Where");
    open.wait_for("2  Uplink");
    type_in(&mut terminal, "7\n");
    open.wait_for("\"7\" is none of them");
    type_in(&mut terminal, "2\n");
    assert!(open.wait_for("Opened").trim_end().ends_with("with ap0, of Uplink"));
    type_in(&mut terminal, CTRL_C);
    assert_eq!(open.end().code, 0);
    stage.assert_as_before();
}

#[test]
fn at_a_terminal_q_and_the_end_of_input_choose_nothing_and_end_with_9() {
    let stage = stage();
    for keys in ["q\n", CTRL_D] {
        let (open, mut terminal) = at_terminal(&stage, "open Where");
        open.wait_for("2  Uplink");
        type_in(&mut terminal, keys);
        let ended = open.end();
        assert_eq!(ended.code, 9, "{ended:?}");
        let told = ended.output.join("\n");
        assert!(told.contains("Where was not opened") && told.contains("the user chose none"), "{told}");
        assert!(told.contains("SessionAborted"), "{told}");
        stage.assert_as_before();
    }
}

#[test]
fn ctrl_c_while_asked_ends_the_program_as_everywhere() {
    let stage = stage();
    let (open, mut terminal) = at_terminal(&stage, "open Where");
    open.wait_for("2  Uplink");
    type_in(&mut terminal, CTRL_C);
    let ended = open.end();
    assert_eq!(ended.code, 130, "{ended:?}");
    assert!(ended.output.join("\n").contains("ended by SIGINT before Where was open"), "{ended:?}");
    stage.assert_as_before();
}

#[test]
fn a_timeout_ends_the_question_too() {
    let stage = stage();
    let (open, _terminal) = at_terminal(&stage, "open Where --timeout 300ms");
    open.wait_for("2  Uplink");
    let ended = open.end();
    assert_eq!(ended.code, 6, "{ended:?}");
    stage.assert_as_before();
}

/// Whatever ends the question, nothing is told in its line.
#[test]
fn the_line_of_a_question_is_ended_whatever_ends_the_question() {
    let stage = stage();
    for end in ["q\n", CTRL_C, CTRL_D, "TERM", "timeout", "deleted"] {
        let (open, mut terminal) =
            at_terminal(&stage, &format!("open Where{}", if end == "timeout" { " --timeout 300ms" } else { "" }));
        open.wait_for("2  Uplink");
        match end {
            "TERM" => kill_process(child_of(open.id()), Signal::TERM).unwrap(),
            "timeout" => {}
            "deleted" => stage.remove_configuration("profiles.d/where.toml"),
            keys => type_in(&mut terminal, keys),
        }
        let ended = open.end();
        let line =
            ended.output.iter().find(|line| line.contains("q for none:")).unwrap_or_else(|| panic!("{end}: {ended:?}"));
        let rest = line.trim_end().rsplit("q for none:").next().unwrap().trim_start();
        assert!(["", "^C", "q"].contains(&rest), "{end}: {ended:?}");
        assert!(!ended.output.iter().any(|line| line.trim().is_empty()), "{end}: {ended:?}");
        if end == "deleted" {
            write_choice(&stage, &["ap1", "uplink"]);
        }
    }
    stage.assert_as_before();
}

#[test]
fn at_a_terminal_an_answer_that_is_no_choice_any_more_is_asked_again() {
    let stage = stage();
    write_choice(&stage, &["ap1", "ap0", "uplink"]);
    let (open, mut terminal) = at_terminal(&stage, "-v open Where");
    open.wait_for("3  Uplink");
    write_choice(&stage, &["ap0", "uplink"]);
    // Read after the choices, and told.
    stage.write_profile("ap0", "connect_timeout = \"800ms\"");
    open.wait_for("has another profile");
    type_in(&mut terminal, "1\n");
    open.wait_for("The choices have changed meanwhile.");
    open.wait_for("2  Uplink");
    type_in(&mut terminal, "1\n");
    assert!(open.wait_for("Opened").trim_end().ends_with("with ap0"));
    type_in(&mut terminal, CTRL_C);
    assert_eq!(open.end().code, 0);
    stage.assert_as_before();
}

#[test]
fn at_a_terminal_nobody_is_asked_in_the_background() {
    let stage = stage();
    for arguments in ["open Where --background", "open Where </dev/null"] {
        let (open, mut terminal) = at_terminal(&stage, arguments);
        assert!(open.wait_for("Opened").trim_end().ends_with("with ap1"));
        type_in(&mut terminal, CTRL_C);
        let ended = open.end();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(!ended.output.join("\n").contains("What shall"), "{ended:?}");
    }
    stage.assert_as_before();
}

#[test]
fn a_command_gets_the_terminal_after_the_answer() {
    let stage = stage();
    let (run, mut terminal) = at_terminal(&stage, "run --on Where -- sed 's/^/told: /'");
    run.wait_for("2  Uplink");
    type_in(&mut terminal, "1\nfor sed\n");
    run.wait_for("told: for sed");
    type_in(&mut terminal, CTRL_D);
    assert_eq!(run.end().code, 0);
    stage.assert_as_before();
}
