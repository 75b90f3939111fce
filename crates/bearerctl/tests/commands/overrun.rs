//! The kernel has more to say than a process takes in: scenario 44, with real sessions.

use std::fmt::Write;

use netbearer_lab::Signal;

use crate::stage::{DEADLINE, Running, Stage};

/// Each is told of twice, as it comes and as it goes: more than the 16 MiB hold that a receive buffer of 8 MiB really has,
/// at some 800 bytes a message.
const ROUTES: usize = 20_000;
const LOST: &str = "messages of the kernel were lost";

impl Stage {
    /// Stops the process, lets the kernel talk until its buffer must be full, does this, and lets the process go on.
    fn overrun(&self, open: &Running, meanwhile: &[&str]) {
        open.signal(Signal::STOP);
        let directory = tempfile::tempdir().unwrap();
        let batch = directory.path().join("routes");
        let mut routes = String::new();
        for number in 0..ROUTES {
            let (high, low) = (number / 250, number % 250);
            writeln!(
                routes,
                "route replace unreachable 198.18.{}.{low} table 999 metric {}",
                high % 250,
                1 + high / 250
            )
            .unwrap();
        }
        std::fs::write(&batch, routes).unwrap();
        self.lab.machine().command("ip").arg("-batch").arg(&batch).output().unwrap();
        self.lab.machine().command("ip").args(["route", "flush", "table", "999"]).output().unwrap();
        if !meanwhile.is_empty() {
            self.lab.machine().command("ip").args(meanwhile).output().unwrap();
        }
        open.signal(Signal::CONT);
    }

    fn opened_and_talkative(&self) -> Running {
        let open = self.start(&["open", "-vv", "ap0"]);
        open.wait_for("Opened");
        open
    }
}

/// What was lost is read anew, and nothing untrue is told on the way.
#[test]
fn a_session_goes_on_after_an_overrun_and_hears_of_what_comes_then() {
    let stage = Stage::with_dnsmasq();
    let open = stage.opened_and_talkative();
    stage.overrun(&open, &[]);
    open.errors.wait_for_text(LOST, DEADLINE).unwrap();
    stage.lab.access_point("ap0").unwrap().cut().unwrap();
    let ended = open.end();
    assert_eq!(ended.words(), ["Connecting", "Connected", "Opened", "Disconnected", "Error", "Closed"]);
    stage.lab.access_point("ap0").unwrap().restore().unwrap();
    stage.assert_as_before();
}

/// What happened while messages were lost is seen all the same.
#[test]
fn a_loss_that_was_told_in_a_lost_message_is_noticed() {
    let stage = Stage::with_dnsmasq();
    let open = stage.opened_and_talkative();
    stage.overrun(&open, &["address", "flush", "dev", "ap0", "scope", "global"]);
    let ended = open.end();
    assert!(ended.errors.iter().any(|line| line.contains(LOST)), "no message was lost");
    assert_eq!(ended.words(), ["Connecting", "Connected", "Opened", "Disconnected", "Error", "Closed"]);
    stage.assert_as_before();
}

/// So is what others did to what is ours; and the session goes on.
#[test]
fn a_rule_that_was_removed_in_a_lost_message_is_put_back() {
    let stage = Stage::with_dnsmasq();
    let open = stage.opened_and_talkative();
    let rules = || stage.lab.machine().ip_lines(&["rule", "show"]).unwrap();
    let before = rules();
    stage.overrun(&open, &["rule", "delete", "priority", "5100"]);
    open.errors.wait_for_text(LOST, DEADLINE).unwrap();
    let restored = || Ok((rules() == before).then_some(()));
    stage.lab.machine().wait_until("the rule again", DEADLINE, restored).unwrap();
    let ended = open.end_by(Signal::TERM);
    assert_eq!(ended.words()[..4], ["Connecting", "Connected", "Opened", "Closed"]);
    stage.assert_as_before();
}

/// And what became of the network: another address is told as such.
#[test]
fn an_address_that_came_in_a_lost_message_is_told() {
    let stage = Stage::with_dnsmasq();
    let open = stage.opened_and_talkative();
    stage.overrun(&open, &["address", "add", "10.10.0.77/24", "dev", "ap0"]);
    open.errors.wait_for_text(LOST, DEADLINE).unwrap();
    let told = open.wait_for("InterfaceChanged");
    assert!(told.contains("10.10.0.77/24"), "{told}");
    stage.lab.machine().command("ip").args(["address", "delete", "10.10.0.77/24", "dev", "ap0"]).output().unwrap();
    let ended = open.end_by(Signal::TERM);
    assert!(!ended.words().contains(&"Error"), "{ended:?}");
    stage.assert_as_before();
}
