//! Which service the program works with, and what it says of that.

use std::{fs, io::Write, os::unix::net::UnixListener, time::Duration};

use netbearer_lab::{AccessPointPlan, Dhcp, Signal};
use serde_json::json;

use crate::stage::{DEADLINE, Running, Stage};

const ALONE: &str = "no bearer service is running, so this program does the work itself, and its sessions are counted by it \
                     alone; start one: bearerd";
/// A program that has its lock from who started it.
const LOCKED: &str = "echo locked; exec sleep infinity";
/// Enough for a program to end by itself that does not wait for anything.
const MOMENT: Duration = Duration::from_millis(700);

#[test]
fn that_a_program_does_the_work_itself_is_said_before_all_else() {
    let stage = Stage::with_dnsmasq();
    for arguments in [["list"].as_slice(), &["show", "ap0"], &["why"], &["update"], &["stop", "ap0"], &["open", "ap1"]]
    {
        let ended = stage.run(arguments);
        assert_eq!(ended.said_first.as_deref(), Some(ALONE), "{arguments:?}: {ended:?}");
    }
    let open = stage.start(&["open", "ap0"]);
    assert_eq!(open.errors.wait_for_text("", DEADLINE).unwrap(), ALONE);
    open.wait_for("Opened");
    open.end_by(Signal::INT);
    stage.let_everybody_in();
    let ordinary = stage.start_as_ordinary_user(&["list"]).end();
    assert_eq!((ordinary.code, ordinary.said_first), (0, Some(ALONE.replace("start one: ", "start one: sudo "))));
    // Programs read JSON there.
    let ended = stage.run(&["open", "ap1", "--json"]);
    assert_eq!((ended.errors.len(), ended.json_error()["reason"].as_str()), (1, Some("ConfigurationInvalid")));
}

#[test]
fn a_program_that_shall_do_the_work_itself_says_nothing_of_it() {
    let stage = Stage::with_dnsmasq();
    let service = stage.start_service();
    let ended = stage.run(&["list", "--embedded"]);
    assert_eq!((ended.code, ended.said_first, ended.errors.len()), (0, None, 0));
    let status = stage.run(&["--embedded", "status", "--json"]).json();
    assert_eq!(status["service"], json!({ "kind": "None", "reason": "Unwanted" }));
    stage.run(&["--embedded", "sessions"]).assert_failed(4, "leave --embedded out");
    assert_eq!(stage.run(&["--embedded", "--daemon", "list"]).code, 2);
    end(service);
}

#[test]
fn a_program_that_shall_not_do_the_work_itself_fails_without_a_service() {
    let stage = Stage::with_dnsmasq();
    for arguments in [["list", "--daemon"].as_slice(), &["--daemon", "open", "ap0"], &["sessions"]] {
        stage.run(arguments).assert_failed(4, "no bearer service is running; start one: bearerd");
    }
    let error = stage.run(&["sessions", "--json"]).json_error();
    assert_eq!(error["reason"], "NoService", "{error}");
}

#[test]
fn who_has_a_service_of_its_own_is_named_and_what_is_down_is_not_opened() {
    let stage = Stage::with_dnsmasq();
    let open = stage.opened();
    let who = format!("bearerctl (process {}) keeps the sessions of this network namespace to itself", open.id());
    let list = stage.run(&["list"]);
    assert_eq!(list.code, 0);
    assert!(list.errors[0].contains(&who) && list.errors[0].contains("opens only what is up"), "{list:?}");
    let status = stage.run(&["status"]);
    assert!(status.output[0].contains(&who), "{status:?}");
    assert_eq!(stage.run(&["--daemon", "list"]).code, 4);
    open.end_by(Signal::INT);
    stage.assert_as_before();
}

#[test]
fn the_status_tells_the_service_what_is_up_and_who_holds_it() {
    let stage = Stage::with_dnsmasq();
    let none = stage.run(&["status"]);
    let expected =
        ["service   none: no bearer service is running; start one: bearerd", "online    no", "nothing is up"];
    assert_eq!((none.code, none.output.as_slice(), none.errors.len()), (0, expected.map(str::to_owned).as_slice(), 0));
    let service = stage.start_service();
    let open = stage.opened();
    let status = stage.run(&["status"]);
    let socket = stage.runtime_file("bus");
    let expected = format!(
        "service   bearerd {}, process {}, by the private socket {}",
        env!("CARGO_PKG_VERSION"),
        service.id(),
        socket.display()
    );
    assert_eq!((status.code, &status.output[0]), (0, &expected));
    assert_eq!(status.output[1], "online    yes");
    let up = &status.output[2];
    assert!(
        up.starts_with("ap0       up; 10.10.0.") && up.ends_with(&format!("held by bearerctl ({})", open.id())),
        "{up}"
    );
    let status = stage.run(&["status", "--json"]).json();
    assert_eq!((&status["service"]["kind"], &status["online"]), (&json!("Daemon"), &json!(true)));
    assert_eq!(status["service"]["process"], service.id());
    let up = &status["in_use"][0];
    assert_eq!(
        (&up["name"], &up["adopted"], &up["held_by"][0]["process"]),
        (&json!("ap0"), &json!(false), &json!(open.id()))
    );
    open.end_by(Signal::INT);
    end(service);
    stage.assert_as_before();
}

#[test]
fn what_lingers_is_not_called_adopted() {
    let stage = Stage::with_dnsmasq();
    stage.write_profile("ap0", "linger = \"1h\"");
    let service = stage.start_service();
    assert_eq!(stage.opened().end_by(Signal::INT).code, 0);
    assert!(stage.is_up());
    assert_eq!(stage.run(&["show", "ap0", "--json"]).json()["adopted"], false);
    let shown = stage.run(&["show", "ap0"]).output.join("\n");
    assert!(shown.contains("nobody (lingers)"), "{shown}");
    let why = stage.run(&["why", "ap0"]).output.join("\n");
    assert!(why.contains("and held by nobody (lingers)") && !why.contains("(adopted)"), "{why}");
    assert_eq!(stage.run(&["stop", "ap0"]).code, 0);
    end(service);
    stage.assert_as_before();
}

#[test]
fn what_others_keep_up_is_adopted_by_the_service_too() {
    let mut stage = Stage::with_dnsmasq();
    stage.bring_up_by_hand();
    let service = stage.start_service();
    let status = stage.run(&["status"]);
    assert_eq!(status.output[2], "ap0       up; 10.10.0.77/24; kept up by others (adopted)");
    let why = stage.run(&["why", "ap0"]).output.join("\n");
    assert!(why.contains("not for any session: the machine itself or another program keeps it (adopted)"), "{why}");
    end(service);
    stage.assert_as_before();
}

#[test]
fn a_service_that_is_starting_is_waited_for() {
    let stage = Stage::with_dnsmasq();
    fs::create_dir_all(stage.runtime_file("")).unwrap();
    // What a service does first.
    let lock = stage.runtime_file("bearerd.lock");
    let flock = stage.lab.machine().command("flock").arg("--no-fork").arg(&lock);
    let starting = Running::start(flock.args(["sh", "-c", LOCKED]));
    starting.wait_for("locked");
    let mut list = stage.start(&["list"]);
    let open = stage.start(&["open", "ap0"]);
    assert!(!list.ends_within(MOMENT), "it does not wait: {:?}", list.end());
    open.end_by(Signal::INT).assert_failed(130, "ended by SIGINT before the bearer service was there");
    starting.end_by(Signal::KILL);
    let service = stage.start_service();
    let ended = list.end();
    assert_eq!((ended.code, ended.said_first, ended.errors.len()), (0, None, 0));
    end(service);
}

#[test]
fn a_killed_service_that_held_nothing_is_done_without() {
    let stage = Stage::with_dnsmasq();
    stage.start_service().end_by(Signal::KILL);
    let ended = stage.run(&["list"]);
    let said = ended.said_first.expect("it is said");
    let expected =
        format!("the bearer service was killed: nobody answers at {}, so", stage.runtime_file("bus").display());
    assert!(ended.code == 0 && said.starts_with(&expected) && said.ends_with("start it again: bearerd"), "{said}");
    assert_eq!(stage.run(&["status", "--json"]).json()["service"]["kind"], "None");
}

/// It would take down what is in use.
#[test]
fn what_a_killed_service_has_left_to_the_next_one_is_not_touched() {
    let stage = Stage::with_dnsmasq();
    let service = stage.start_service();
    let open = stage.opened();
    service.end_by(Signal::KILL);
    open.wait_for("ServiceLost");
    for arguments in [["list"].as_slice(), &["open", "ap0"], &["--daemon", "list"], &["--embedded", "list"]] {
        let ended = stage.run(arguments);
        ended.assert_failed(4, "the bearer service has ended while programs held networks (holds: 1)");
        ended.assert_failed(4, "start it again: bearerd; or take down what is left: bearerctl reset");
    }
    let status = stage.run(&["status"]);
    assert_eq!((status.code, status.output.len()), (0, 1), "{status:?}");
    assert!(stage.is_up());
    let reset = stage.run(&["reset"]);
    assert!(reset.output.contains(&"revoked holds: 1".to_owned()), "{reset:?}");
    stage.assert_as_before();
    assert_eq!(stage.run(&["list"]).code, 0);
    assert_eq!(open.end_by(Signal::INT).words().last(), Some(&"Closed"));
}

#[test]
fn a_service_that_is_killed_comes_back_under_an_open_session() {
    let stage = Stage::with_dnsmasq();
    let service = stage.start_service();
    let open = stage.opened();
    service.end_by(Signal::KILL);
    let lost = open.wait_for("ServiceLost");
    assert!(lost.ends_with("the bearer service is away; the network stays as it is"), "{lost}");
    assert!(stage.is_up());
    // It may still be about to come back.
    let list = stage.start(&["list"]);
    let service = stage.start_service();
    open.wait_for("ServiceBack");
    assert_eq!(list.end().code, 0);
    assert!(stage.is_up());
    let sessions = stage.run(&["sessions", "--json"]).json();
    assert_eq!((&sessions[0]["process"], &sessions[0]["passed_on"]), (&json!(open.id()), &json!(false)), "{sessions}");
    let words: Vec<String> = open.end_by(Signal::INT).words().into_iter().map(str::to_owned).collect();
    let back = words.iter().position(|word| word == "ServiceBack").expect("it is back");
    assert_eq!(words[back + 1..], ["Closed", "Closing", "Disconnected"], "{words:?}");
    end(service);
    stage.assert_as_before();
}

#[test]
fn a_session_that_ends_while_the_service_is_away_is_over_when_it_is_back() {
    let stage = Stage::with_dnsmasq();
    let service = stage.start_service();
    let open = stage.opened();
    service.end_by(Signal::KILL);
    open.wait_for("ServiceLost");
    let ended = open.end_by(Signal::INT);
    assert_eq!((ended.code, ended.words().last()), (0, Some(&"Closed")), "{ended:?}");
    assert!(stage.is_up());
    let service = stage.start_service();
    stage.lab.machine().wait_until("ap0 is down", DEADLINE, || Ok((!stage.is_up()).then_some(()))).unwrap();
    end(service);
    stage.assert_as_before();
}

#[test]
fn an_opening_goes_on_when_the_service_is_back() {
    let stage = Stage::new([AccessPointPlan::new("ap0").dhcp(Dhcp::None)]);
    stage.write_profile("ap0", "ipv4 = \"dhcp\"\nipv6 = \"off\"");
    let service = stage.start_service();
    let open = stage.start(&["open", "ap0"]);
    open.wait_for("Connecting");
    service.end_by(Signal::KILL);
    open.wait_for("ServiceLost");
    let service = stage.start_service();
    open.wait_for("ServiceBack");
    let status = stage.run(&["status"]);
    assert!(status.output[2].starts_with("ap0       being brought up; held by bearerctl ("), "{status:?}");
    let ended = open.end_by(Signal::INT);
    assert_eq!(ended.code, 130, "{ended:?}");
    assert!(!ended.words().contains(&"Error"), "{ended:?}");
    end(service);
    stage.assert_as_before();
}

#[test]
fn a_service_of_another_network_namespace_is_not_meant() {
    let stage = Stage::with_dnsmasq();
    let service = stage.start_service();
    let elsewhere = |arguments: &[&str]| stage.start_elsewhere(arguments).end();
    let status = elsewhere(&["status"]);
    let said =
        format!("none: the bearer service (process {}) serves another network namespace than this one", service.id());
    assert!(status.code == 0 && status.output[0].contains(&said), "{status:?}");
    assert!(elsewhere(&["list"]).said_first.is_some_and(|said| said.ends_with("use it all the same: --daemon")));
    let listed = elsewhere(&["--daemon", "list", "--json"]);
    assert_eq!((listed.said_first, listed.errors.len()), (None, 0));
    end(service);
}

#[test]
fn a_monitor_tells_that_the_service_is_away_and_goes_on_when_it_is_back() {
    let stage = Stage::with_dnsmasq();
    let service = stage.start_service();
    let (monitor, objects) = (stage.start(&["monitor"]), stage.start(&["monitor", "--json"]));
    monitor.wait_for("ap0: Disconnected");
    objects.wait_for("Disconnected");
    service.end_by(Signal::KILL);
    monitor.wait_for("the bearer service is away");
    objects.wait_for(r#"{"event":"ServiceLost","time":""#);
    let service = stage.start_service();
    monitor.wait_for("the bearer service is back");
    objects.wait_for(r#"{"event":"ServiceBack","time":""#);
    let mark = monitor.output.mark();
    let open = stage.opened();
    monitor.output.wait_for_text_since(mark, "ap0: Connected", DEADLINE).unwrap();
    open.end_by(Signal::INT);
    let lines = monitor.end_by(Signal::INT).output;
    assert_eq!(lines.iter().filter(|line| line.contains("the bearer service is")).count(), 2, "{lines:?}");
    objects.end_by(Signal::INT);
    end(service);
}

#[test]
fn a_reset_is_refused_while_the_service_runs() {
    let stage = Stage::with_dnsmasq();
    let service = stage.start_service();
    let ended = stage.run(&["reset"]);
    ended.assert_failed(8, &format!("bearerd (process {}) serves this network namespace", service.id()));
    let error = stage.run(&["reset", "--json"]).json_error();
    assert_eq!(error["reason"], json!({ "OwnedByAnotherProcess": service.id() }));
    end(service);
}

#[test]
fn somebody_else_at_the_socket_is_no_reason_to_do_without_a_service() {
    let stage = Stage::with_dnsmasq();
    fs::create_dir_all(stage.runtime_file("")).unwrap();
    let socket = stage.runtime_file("bus");
    let listener = UnixListener::bind(&socket).unwrap();
    let list = stage.start(&["list"]);
    // Long enough for the first words of the program, and of no service.
    let mut connection = listener.accept().unwrap().0;
    connection.write_all(b"REJECTED\r\n").unwrap();
    drop(connection);
    list.end().assert_failed(4, &format!("whoever listens at {} does not answer", socket.display()));
}

/// Ends the service in order.
pub(crate) fn end(service: Running) {
    let ended = service.end_by(Signal::TERM);
    assert_eq!(ended.code, 0, "{ended:?}");
}
