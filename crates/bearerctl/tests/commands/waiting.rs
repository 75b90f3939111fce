//! What is shown while something takes long.

use netbearer_lab::{AccessPointPlan, Dhcp};

use crate::{
    daemon::end,
    stage::{Ended, Stage},
};

fn without_dhcp() -> Stage {
    Stage::new([AccessPointPlan::new("ap0").dhcp(Dhcp::None)])
}

/// Runs the program on a terminal; everything it writes is output.
fn run_on_terminal(stage: &Stage, arguments: &str) -> Ended {
    let program = env!("CARGO_BIN_EXE_bearerctl");
    let terminal = "exec env TERM=xterm script --quiet --return --command";
    stage.start_shell(&format!("{terminal} '{program} {arguments}' /dev/null")).end()
}

#[test]
fn people_at_a_terminal_see_what_an_opening_waits_for_and_nothing_of_it_stays() {
    let stage = without_dhcp();
    let ended = run_on_terminal(&stage, "open ap0 --timeout 1200ms");
    let shown = ended.output.join("\n");
    assert_eq!(ended.code, 6, "{shown}");
    assert!(shown.contains("waiting for an address on ap0, from its DHCP server"), "{shown}");
    assert!(shown.contains("press Ctrl-C to give up"), "{shown}");
    // Each picture is wiped out before a line is told.
    let before_closed = shown.split("Closed").next().unwrap();
    assert!(before_closed.rsplit("give up").next().unwrap().contains("\u{1b}[2K"), "{shown:?}");
    assert!(!shown.split("Closed").nth(1).unwrap().contains("give up"), "{shown:?}");
    stage.assert_as_before();
}

#[test]
fn people_see_it_too_where_the_service_does_the_work() {
    let stage = without_dhcp();
    let service = stage.start_service();
    let ended = run_on_terminal(&stage, "open ap0 --timeout 1200ms");
    let shown = ended.output.join("\n");
    assert_eq!(ended.code, 6, "{shown}");
    assert!(shown.contains("waiting for an address on ap0, from its DHCP server"), "{shown}");
    end(service);
    stage.assert_as_before();
}

#[test]
fn the_carrier_is_named_while_it_is_what_is_waited_for() {
    let stage = without_dhcp();
    stage.lab.access_point("ap0").unwrap().cut().unwrap();
    let shown = run_on_terminal(&stage, "open ap0 --timeout 900ms").output.join("\n");
    assert!(shown.contains("waiting for the carrier of ap0"), "{shown}");
    assert!(!shown.contains("DHCP"), "{shown}");
}

#[test]
fn what_is_quick_shows_nothing() {
    let stage = Stage::with_dnsmasq();
    let ended = run_on_terminal(&stage, "run --on ap0 -- true");
    assert_eq!((ended.code, ended.output.join("")), (0, String::new()));
}

#[test]
fn nothing_is_shown_where_nobody_looks() {
    let stage = without_dhcp();
    let piped = stage.run(&["open", "ap0", "--timeout", "800ms"]);
    piped.assert_failed(6, "ap0 was not open within 800ms");
    assert!(!piped.errors.join("").contains("waiting"), "{piped:?}");
    let programs = run_on_terminal(&stage, "open ap0 --json --timeout 800ms");
    assert_eq!(programs.code, 6);
    for line in &programs.output {
        assert!(line.trim_end().starts_with('{') && line.trim_end().ends_with('}'), "{programs:?}");
    }
}
