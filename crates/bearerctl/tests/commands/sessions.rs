//! Sessions of all programs in one ledger: who holds what, and what becomes of it.

use netbearer_lab::Signal;
use serde_json::{Value, json};

use crate::{
    daemon::end,
    stage::{DEADLINE, Stage},
};

/// Who holds, by process, in the order of their sessions.
fn holders(stage: &Stage) -> Vec<u32> {
    let sessions = stage.run(&["sessions", "--json"]).json();
    let process = |session: &Value| u32::try_from(session["process"].as_u64().unwrap()).unwrap();
    sessions.as_array().unwrap().iter().map(process).collect()
}

fn wait_until_down(stage: &Stage) {
    stage.lab.machine().wait_until("ap0 is down", DEADLINE, || Ok((!stage.is_up()).then_some(()))).unwrap();
}

#[test]
fn two_programs_hold_one_network_until_the_last_one_ends() {
    let stage = Stage::with_dnsmasq();
    let service = stage.start_service();
    let first = stage.opened();
    let second = stage.start(&["open", "ap0"]);
    second.wait_for("Opened");
    let table = stage.run(&["sessions"]);
    let rows: Vec<&String> = table.output.iter().filter(|line| line.contains(" bearerctl ")).collect();
    assert_eq!((table.code, rows.len()), (0, 2), "{table:?}");
    for (row, program) in rows.iter().zip([&first, &second]) {
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words[1..6], ["bearerctl", &program.id().to_string(), "root", "ap0", "Connected"], "{row}");
        assert!(row.contains("s ago") && row.contains(" B"), "{row}");
    }
    let ended = first.end_by(Signal::INT);
    assert_eq!((ended.code, ended.words().last()), (0, Some(&"Closed")), "the link stays: {ended:?}");
    assert!(stage.is_up());
    assert_eq!(holders(&stage), [second.id()]);
    let ended = second.end_by(Signal::INT);
    assert_eq!((ended.code, ended.words()), (0, vec!["Opened", "Closed", "Closing", "Disconnected"]));
    assert!(!stage.is_up(), "it is down when the last one has ended");
    let none = stage.run(&["sessions"]);
    assert_eq!((none.code, none.output.len(), none.errors), (0, 0, vec!["no program has a session open".to_owned()]));
    assert_eq!(stage.run(&["sessions", "--json"]).json(), json!([]));
    end(service);
    stage.assert_as_before();
}

#[test]
fn a_killed_program_gives_its_hold_back() {
    let stage = Stage::with_dnsmasq();
    let service = stage.start_service();
    let first = stage.opened();
    let second = stage.start(&["open", "ap0"]);
    second.wait_for("Opened");
    assert_eq!(first.end_by(Signal::KILL).code, 137);
    stage
        .lab
        .machine()
        .wait_until("one holder", DEADLINE, || Ok((holders(&stage) == [second.id()]).then_some(())))
        .unwrap();
    assert!(stage.is_up());
    assert_eq!(second.end_by(Signal::KILL).code, 137);
    wait_until_down(&stage);
    end(service);
    stage.assert_as_before();
}

#[test]
fn programs_read_everything_that_is_known_of_a_session() {
    let stage = Stage::with_dnsmasq();
    let service = stage.start_service();
    let monitor = stage.start(&["monitor"]);
    monitor.wait_for("ap0: Disconnected");
    let open = stage.opened();
    let sessions = stage.run(&["sessions", "--json"]).json();
    let session = &sessions[0];
    for (key, value) in [
        ("program", json!("bearerctl")),
        ("process", json!(open.id())),
        ("user", json!(0)),
        ("user_name", json!("root")),
        ("name", json!("ap0")),
        ("active_name", json!("ap0")),
        ("state", json!("Connected")),
        ("is_open", json!(true)),
        ("is_opening", json!(false)),
        ("passed_on", json!(false)),
        ("descriptors", json!(1)),
    ] {
        assert_eq!(session[key], value, "{key}: {session}");
    }
    assert!(humantime::parse_rfc3339(session["since"].as_str().unwrap()).is_ok(), "{session}");
    assert!(session["written"].as_u64().unwrap() > 0, "{session}");
    assert_eq!(sessions.as_array().unwrap().len(), 1);
    let all = stage.run(&["sessions", "--all", "--json"]).json();
    let is_monitor = |one: &&Value| one["process"] == monitor.id() && one["is_open"] == false;
    assert_eq!(all.as_array().unwrap().iter().filter(is_monitor).count(), 1, "{all}");
    monitor.end_by(Signal::INT);
    open.end_by(Signal::INT);
    end(service);
}

#[test]
fn a_session_on_a_service_network_is_told_with_the_access_point_that_it_uses() {
    let stage = Stage::with_dnsmasq();
    stage.write_configuration("profiles.d/uplink.toml", "[service_network]\nname = \"Uplink\"\nmembers = [\"ap0\"]\n");
    let service = stage.start_service();
    let open = stage.start(&["open", "Uplink"]);
    assert!(open.wait_for("Opened").ends_with("with ap0"));
    let sessions = stage.run(&["sessions"]);
    assert!(sessions.output.join("\n").contains(" Uplink → ap0 "), "{sessions:?}");
    let list = stage.run(&["list", "--json"]).json();
    for listed in list.as_array().unwrap() {
        assert_eq!(
            (&listed["adopted"], &listed["held_by"][0]["process"]),
            (&json!(false), &json!(open.id())),
            "{listed}"
        );
    }
    open.end_by(Signal::INT);
    end(service);
    stage.assert_as_before();
}

#[test]
fn why_names_the_programs_that_have_sessions() {
    let stage = Stage::with_dnsmasq();
    let service = stage.start_service();
    let open = stage.opened();
    let why = stage.run(&["why", "ap0"]).output.join("\n");
    let program = format!("bearerctl ({})", open.id());
    assert!(why.contains(&format!("and held by {program}; more sessions share it")), "{why}");
    assert!(why.contains(&format!(" of {program} on ap0 is open")), "{why}");
    open.end_by(Signal::INT);
    end(service);
}

#[test]
fn a_command_has_the_network_while_it_runs_and_its_code_is_the_end() {
    let stage = Stage::with_dnsmasq();
    let service = stage.start_service();
    let run = stage.run(&["run", "--on", "ap0", "--", "sh", "-c", "ip -brief link show ap0; exit 42"]);
    assert!(run.code == 42 && run.output[0].contains("UP"), "{run:?}");
    assert!(!stage.is_up());
    end(service);
    stage.assert_as_before();
}

#[test]
fn a_stop_is_for_all_and_only_root_may() {
    let stage = Stage::with_dnsmasq();
    stage.let_everybody_in();
    let service = stage.start_service();
    let open = stage.opened();
    let as_nobody = |arguments: &[&str]| stage.start_as_ordinary_user(arguments).end();
    let denied = as_nobody(&["stop", "ap0"]);
    denied.assert_failed(10, "ap0 was not stopped");
    assert!(denied.errors.join(" ").contains("org.netbearer.control"), "{denied:?}");
    let denied = as_nobody(&["stop", "ap0", "--json"]);
    assert_eq!(denied.json_error()["reason"], json!({ "MissingRight": "org.netbearer.control" }));
    let denied = as_nobody(&["open", "ap0"]);
    denied.assert_failed(10, "ap0 was not opened");
    assert!(denied.errors.join(" ").contains("group bearer"), "{denied:?}");
    // Looking is for all.
    assert_eq!(as_nobody(&["sessions", "--json"]).json()[0]["process"], open.id());
    assert!(stage.is_up());
    let stopped = stage.run(&["stop", "ap0"]);
    assert_eq!((stopped.code, stopped.words()), (0, vec!["Closing", "Disconnected"]));
    let ended = open.end();
    assert_eq!(
        (ended.code, &ended.words()[3..]),
        (7, ["Closing", "Error", "Closed", "Disconnected"].as_slice()),
        "{ended:?}"
    );
    end(service);
    stage.assert_as_before();
}

#[test]
fn an_end_of_the_service_leaves_what_is_held_to_the_next_one() {
    let stage = Stage::with_dnsmasq();
    let service = stage.start_service();
    let open = stage.opened();
    end(service);
    open.wait_for("ServiceLost");
    stage.run(&["list"]).assert_failed(4, "the bearer service has ended while programs held networks (holds: 1)");
    assert!(stage.is_up());
    let service = stage.start_service();
    open.wait_for("ServiceBack");
    assert_eq!(holders(&stage), [open.id()]);
    open.end_by(Signal::INT);
    assert!(!stage.is_up());
    end(service);
    stage.assert_as_before();
}

/// For who asks it again and again.
#[test]
fn an_update_by_the_service_is_told_and_ends() {
    let stage = Stage::with_dnsmasq();
    let service = stage.start_service();
    let ended = stage.run(&["update"]);
    assert_eq!((ended.code, ended.output.last().map(String::as_str)), (0, Some("updated; configurations: 1")));
    end(service);
}
