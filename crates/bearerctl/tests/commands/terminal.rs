//! The program at a real terminal: who gets the signals, and who may read.

use std::{fs, io::Write, process::ChildStdin};

use netbearer_lab::{NamespaceCommand, Signal};
use rustix::process::{Pid, kill_process};

use crate::{
    lab::{HALFWAY, Host},
    stage::{BEARERCTL, Running, Stage},
};

pub(crate) const CTRL_C: &str = "\u{3}";
pub(crate) const CTRL_D: &str = "\u{4}";

/// The arguments of `script` for a command line at a terminal of its own; what is written to the input is typed there.
pub(crate) fn with<'a>(script: NamespaceCommand<'a>, line: &str) -> NamespaceCommand<'a> {
    // What everything is told in is the same for everybody.
    script.env("TERM", "xterm").args(["--quiet", "--return", "--flush", "--command", line, "/dev/null"])
}

/// The program at a terminal of its own.
pub(crate) fn at_terminal(stage: &Stage, arguments: &str) -> (Running, ChildStdin) {
    // Whichever shell `script` finds, it must not stay in between: some of them end by the signal themselves.
    let line = format!("exec {BEARERCTL} --color never {arguments}");
    stage.start_with_input("script", &["--quiet", "--return", "--flush", "--command", &line, "/dev/null"])
}

pub(crate) fn type_in(terminal: &mut ChildStdin, keys: &str) {
    terminal.write_all(keys.as_bytes()).unwrap();
    terminal.flush().unwrap();
}

/// The only child of a process.
fn child_of(process: u32) -> Pid {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    let numbers: Vec<i32> = children.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers.len(), 1, "{children}");
    Pid::from_raw(numbers[0]).unwrap()
}

/// Notes each Ctrl-C, until it is told something.
const COUNTING: &str = r#"sh -c 'trap "echo caught" INT; echo ready; until read line; do :; done; echo told $line'"#;

/// Presses Ctrl-C once, and says how often [`COUNTING`] saw it, when it has ended.
#[track_caller]
fn caught(running: Running, terminal: &mut ChildStdin) -> usize {
    running.wait_for("ready");
    type_in(terminal, CTRL_C);
    running.wait_for("caught");
    type_in(terminal, "over\n");
    running.wait_for("told over");
    let ended = running.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.output.iter().filter(|line| line.contains("caught")).count()
}

#[test]
fn a_signal_to_the_tour_alone_ends_it_at_a_terminal_too() {
    let host = Host::new();
    for (signal, code) in [(Signal::INT, 130), (Signal::HUP, 129), (Signal::TERM, 143)] {
        host.leaves_nothing(|| {
            let (tour, _terminal) = host.at_terminal("exec $B lab tour --pause 300ms");
            tour.wait_for(HALFWAY);
            kill_process(child_of(tour.id()), signal).unwrap();
            let ended = tour.end();
            assert_eq!(ended.code, code, "{signal:?}: {ended:?}");
            assert!(!ended.output.join("").contains("That was it"), "{ended:?}");
        });
    }
}

#[test]
fn ctrl_c_ends_the_tour() {
    let host = Host::new();
    host.leaves_nothing(|| {
        let (tour, mut terminal) = host.at_terminal("exec $B lab tour --pause 300ms");
        tour.wait_for(HALFWAY);
        type_in(&mut terminal, CTRL_C);
        let ended = tour.end();
        assert_eq!(ended.code, 130, "{ended:?}");
        assert!(ended.output.join("").contains("ended by SIGINT before the tour was over"), "{ended:?}");
    });
}

#[test]
fn a_signal_to_run_alone_is_passed_on_at_a_terminal_too() {
    let stage = Stage::with_dnsmasq();
    for (signal, code) in [(Signal::INT, 130), (Signal::HUP, 129), (Signal::TERM, 143)] {
        let (run, _terminal) = at_terminal(&stage, "run -- sh -c 'echo ready; exec sleep 300'");
        run.wait_for("ready");
        kill_process(child_of(run.id()), signal).unwrap();
        let ended = run.end();
        assert_eq!(ended.code, code, "{signal:?}: {ended:?}");
        stage.assert_as_before();
    }
}

#[test]
fn ctrl_c_reaches_the_command_of_run_once() {
    let stage = Stage::with_dnsmasq();
    let (run, mut terminal) = at_terminal(&stage, &format!("run -- {COUNTING}"));
    assert_eq!(caught(run, &mut terminal), 1);
    stage.assert_as_before();
}

/// Its own process group gets nothing of what the terminal sends.
#[test]
fn ctrl_c_reaches_a_command_that_has_left_the_terminal() {
    let stage = Stage::with_dnsmasq();
    let (run, mut terminal) = at_terminal(&stage, "run -- setsid sh -c 'echo ready; exec sleep 300'");
    run.wait_for("ready");
    type_in(&mut terminal, CTRL_C);
    let ended = run.end();
    assert_eq!(ended.code, 130, "{ended:?}");
    stage.assert_as_before();
}
