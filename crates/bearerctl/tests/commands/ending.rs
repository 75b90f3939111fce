//! Being ended, and nobody reading.

use std::io::{BufRead, BufReader};

use netbearer_lab::{AccessPointPlan, Dhcp, Signal};

use crate::stage::{DEADLINE, Stage};

#[test]
fn a_signal_before_the_session_is_open_undoes_what_was_begun() {
    let stage = Stage::new([AccessPointPlan::new("ap0").dhcp(Dhcp::None)]);
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let open = stage.start(&["open", "ap0"]);
        open.wait_for("Connecting");
        let ended = open.end_by(signal);
        ended.assert_failed(code, "before ap0 was open");
        assert_eq!(ended.words(), ["Connecting", "Closed", "Closing", "Disconnected"]);
        stage.assert_as_before();
    }
}

#[test]
fn two_signals_at_once_are_one_wish_and_the_session_is_closed_in_order() {
    let stage = Stage::with_dnsmasq();
    let open = stage.opened();
    // Both are there when it goes on, as when a program signals a process and its group.
    open.signal(Signal::STOP);
    open.signal(Signal::INT);
    open.signal(Signal::TERM);
    open.signal(Signal::CONT);
    let ended = open.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.words().ends_with(&["Closed", "Closing", "Disconnected"]), "{ended:?}");
    stage.assert_as_before();
}

#[test]
fn an_ignored_hangup_stays_ignored() {
    let stage = Stage::with_dnsmasq();
    let script = format!("trap '' HUP; exec {} open ap0", env!("CARGO_BIN_EXE_bearerctl"));
    let open = stage.start_shell(&script);
    open.wait_for("Opened");
    open.signal(Signal::HUP);
    let ended = open.end_by(Signal::INT);
    assert_eq!(ended.code, 0, "{ended:?}");
    // Had the hangup counted, the interrupt would have come too late to be told of.
    assert!(ended.words().ends_with(&["Closed", "Closing", "Disconnected"]), "{ended:?}");
    stage.assert_as_before();
}

#[test]
fn a_holder_whose_reader_goes_away_closes_in_order_and_says_nothing() {
    let stage = Stage::with_dnsmasq();
    let (mut open, output) = stage.start_with_reader(&["open", "ap0"]);
    let mut output = BufReader::new(output).lines();
    assert!(output.any(|line| line.unwrap().contains("Opened")));
    drop(output);
    assert_eq!(open.wait(DEADLINE).unwrap().code(), Some(0));
    stage.assert_as_before();
}

#[test]
fn a_monitor_whose_reader_goes_away_ends() {
    let stage = Stage::with_dnsmasq();
    let (mut monitor, output) = stage.start_with_reader(&["monitor"]);
    let first = BufReader::new(output).lines().next();
    assert!(first.unwrap().unwrap().contains("ap0: Disconnected"));
    assert_eq!(monitor.wait(DEADLINE).unwrap().code(), Some(0));
}
