//! The program at a real terminal: who gets the signals, and who may read.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::ChildStdin,
    sync::mpsc,
    thread,
    time::Instant,
};

use netbearer_lab::{Program, Signal};
use rustix::process::{Pid, kill_process};

use crate::{
    lab::{HALFWAY, Host},
    stage::{BEARERCTL, DEADLINE, Running, Stage},
};

pub(crate) const CTRL_C: &str = "\u{3}";
const CTRL_BACKSLASH: &str = "\u{1c}";
const CTRL_Z: &str = "\u{1a}";
pub(crate) const CTRL_D: &str = "\u{4}";

/// The arguments of `script` for a command line at a terminal of its own; what is written to the input is typed there.
pub(crate) const fn script(line: &str) -> [&str; 6] {
    ["--quiet", "--return", "--flush", "--command", line, "/dev/null"]
}

/// The program at a terminal of its own.
pub(crate) fn at_terminal(stage: &Stage, arguments: &str) -> (Running, ChildStdin) {
    // Whichever shell `script` finds, it must not stay in between: some of them end by the signal themselves.
    let line = format!("exec {BEARERCTL} --color never {arguments}");
    stage.start_with_input("script", &script(&line))
}

/// The program at a terminal of its own, which is read as it is written: nothing ends the line of a question. It does not repeat
/// what is typed, as that would come in the middle of what the program says.
pub(crate) struct Screen {
    program: Program,
    keyboard: ChildStdin,
    told: mpsc::Receiver<Vec<u8>>,
    text: String,
    /// So much of it was waited for.
    read: usize,
}

impl Screen {
    pub(crate) fn start(stage: &Stage, arguments: &str) -> Self {
        let line = format!("stty -echo; exec env TERM=xterm {BEARERCTL} --color never {arguments}");
        let (program, keyboard, mut output) = stage.start_between("script", &script(&line));
        let (teller, told) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                if teller.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { program, keyboard, told, text: String::new(), read: 0 }
    }

    /// Waits for this, behind all that was waited for before.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(begin) = self.text[self.read..].find(text) {
                self.read += begin + text.len();
                return;
            }
            match self.told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(told) => self.text.push_str(&String::from_utf8_lossy(&told)),
                Err(error) => panic!("no \"{text}\" after\n{}: {error}", &self.text[..self.read].escape_debug()),
            }
        }
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        type_in(&mut self.keyboard, keys);
    }

    /// Waits for the end. Its code, and all that was told.
    pub(crate) fn end(mut self) -> (i32, String) {
        let code = self.program.wait(DEADLINE).map(|status| status.code());
        let rest: Vec<u8> = self.told.iter().flatten().collect();
        self.text.push_str(&String::from_utf8_lossy(&rest));
        let code = code.unwrap_or_else(|error| panic!("{error}\n{}", self.text));
        (code.expect("script has not got a signal"), self.text)
    }
}

pub(crate) fn type_in(terminal: &mut ChildStdin, keys: &str) {
    terminal.write_all(keys.as_bytes()).unwrap();
    terminal.flush().unwrap();
}

/// The only child of a process.
pub(crate) fn child_of(process: u32) -> Pid {
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

const PROFILE: &str = "[match]\ninterface = \"ap0\"\n\n[access_point]\nlinger = \"2s\"\n";

/// Begins to edit a profile with an editor that says "ready".
fn edit(host: &Host, visual: &str, editor: &str) -> (Running, ChildStdin) {
    fs::create_dir_all(host.path("profiles.d")).unwrap();
    fs::write(host.path("profiles.d/ap0.toml"), PROFILE).unwrap();
    let everybody = fs::Permissions::from_mode(0o777);
    fs::set_permissions(host.path("profiles.d"), everybody.clone()).unwrap();
    fs::write(host.path("editor"), format!("#!/bin/sh\n{editor}\n")).unwrap();
    fs::set_permissions(host.path("editor"), everybody).unwrap();
    // The copy is its owner's, and only root can give files away.
    let own = "cd $HOME/profiles.d; cp ap0.toml own; mv -f own ap0.toml";
    let edit = format!("exec env VISUAL=\"{visual}$HOME/editor\" $B --config-dir $HOME profile edit ap0");
    let (running, terminal) = host.at_terminal(&format!("{own}; {edit}"));
    running.wait_for("ready");
    (running, terminal)
}

/// What is in the directory of profiles now.
fn profiles(host: &Host) -> Vec<(String, String)> {
    let entries = fs::read_dir(host.path("profiles.d")).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    entries.map(|path| (name(&path), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn ctrl_c_in_an_editor_is_the_editors() {
    let host = Host::new();
    for (visual, key, signal) in [("", CTRL_C, "INT"), ("", CTRL_BACKSLASH, "QUIT"), ("LINES=20 ", CTRL_C, "INT")] {
        let script = r#"until read line; do :; done; sed -i s/2s/3s/ "$1""#;
        let (edit, mut terminal) = edit(&host, visual, &format!("trap 'echo caught' {signal}; echo ready; {script}"));
        type_in(&mut terminal, key);
        edit.wait_for("caught");
        type_in(&mut terminal, "on\n");
        let ended = edit.end();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(profiles(&host), [("ap0.toml".to_owned(), PROFILE.replace("2s", "3s"))]);
    }
}

#[test]
fn an_editor_that_is_interrupted_changes_nothing_and_leaves_nothing() {
    let host = Host::new();
    let before = [("ap0.toml".to_owned(), PROFILE.to_owned())];
    let editor = r#"sed -i s/2s/3s/ "$1"; echo ready; exec sleep 300"#;
    for key in [CTRL_C, CTRL_BACKSLASH] {
        let (edit, mut terminal) = edit(&host, "", editor);
        type_in(&mut terminal, key);
        let ended = edit.end();
        assert!(ended.code == 1 && ended.output.join("").contains("so nothing was changed"), "{ended:?}");
        assert_eq!(profiles(&host), before);
    }
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let (edit, _terminal) = edit(&host, "", editor);
        kill_process(child_of(edit.id()), signal).unwrap();
        let ended = edit.end();
        assert_eq!(ended.code, code, "{ended:?}");
        assert_eq!(profiles(&host), before);
    }
}

/// What a shell tells when it waits for a command.
const PROMPT: &str = "your command:";

/// A user's shell with job control, at a terminal.
struct Shell {
    running: Running,
    terminal: ChildStdin,
}

impl Shell {
    fn start(host: &Host) -> Self {
        let (running, terminal) = host.at_terminal(&format!("exec env PS1='{PROMPT}\n' SHELL=/bin/sh sh -i"));
        Self { running, terminal }
    }

    fn type_in(&mut self, keys: &str) {
        type_in(&mut self.terminal, keys);
    }

    /// Types something, and waits for what follows it.
    fn expect(&mut self, keys: &str, told: &str) {
        let before = self.running.output.mark();
        self.type_in(keys);
        let seen = self.running.output.wait_for_text_since(before, told, DEADLINE);
        seen.unwrap_or_else(|error| panic!("after {keys:?}: {error}"));
    }

    /// All that was told.
    fn end(mut self) -> String {
        self.type_in("exit 0\n");
        let ended = self.running.end();
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.output.join("\n")
    }
}

/// Says what it reads; what is typed is not told again, as it is split in two.
const READING: &str = "sh -c 'echo re\"\"ady; read line; echo to\"\"ld $line; read line; echo to\"\"ld $line'";

#[test]
fn ctrl_c_reaches_a_command_in_a_sandbox_once() {
    let host = Host::new();
    host.leaves_nothing(|| {
        let (lab, mut terminal) = host.at_terminal(&format!("exec $B lab -- {COUNTING}"));
        assert_eq!(caught(lab, &mut terminal), 1);
    });
}

#[test]
fn a_user_choice_asks_in_a_sandbox_too() {
    let host = Host::new();
    let profile = r#"printf "[user_choice]\nchoices = [\"ap1\", \"ap0\"]\n""#;
    let directory = r#""$NETBEARER_CONFIG_DIR/profiles.d""#;
    let script = format!("mkdir -p {directory}; {profile} > {directory}/where.toml; exec bearerctl open where");
    host.leaves_nothing(|| {
        let (open, mut terminal) = host.at_terminal(&format!("exec $B lab -- sh -c '{script}'"));
        open.wait_for("2  ap0");
        type_in(&mut terminal, "2\n");
        assert!(open.wait_for("Opened").contains("with ap0"));
        type_in(&mut terminal, CTRL_C);
        let ended = open.end();
        assert_eq!(ended.code, 0, "{ended:?}");
    });
}

#[test]
fn a_suspended_command_in_a_sandbox_is_a_job_like_any_other() {
    let host = Host::new();
    host.leaves_nothing(|| {
        let mut shell = Shell::start(&host);
        shell.expect(&format!("$B lab -- {READING}\n"), "ready");
        shell.expect("first\n", "told first");
        shell.expect(CTRL_Z, "Stopped");
        shell.expect("echo the shell a''nswers\n", "the shell answers");
        shell.type_in("fg\n");
        shell.expect("second\n", "told second");
        shell.expect("echo code 1$?\n", "code 10");
        shell.end();
    });
}

#[test]
fn ctrl_c_ends_a_command_that_was_suspended() {
    let host = Host::new();
    host.leaves_nothing(|| {
        let mut shell = Shell::start(&host);
        shell.expect(&format!("$B lab -- {READING}\n"), "ready");
        shell.expect(CTRL_Z, "Stopped");
        shell.type_in("fg\n");
        shell.expect("first\n", "told first");
        // What is typed before the command has ended might be its.
        shell.expect(CTRL_C, PROMPT);
        shell.expect("echo code 1$?\n", "code 1130");
        shell.end();
    });
}

/// It is suspended when it reads, and gets the terminal when it is in the foreground.
#[test]
fn a_sandbox_in_the_background_leaves_the_terminal_to_the_shell() {
    let host = Host::new();
    host.leaves_nothing(|| {
        let mut shell = Shell::start(&host);
        shell.expect(&format!("$B lab -- {READING} &\n"), "ready");
        shell.expect("echo the shell a''nswers\n", "the shell answers");
        shell.type_in("fg\n");
        shell.expect("first\n", "told first");
        shell.expect("second\n", "told second");
        shell.expect("echo code 1$?\n", "code 10");
        shell.end();
    });
}

#[test]
fn a_shell_in_a_sandbox_controls_its_jobs() {
    let host = Host::new();
    host.leaves_nothing(|| {
        let mut shell = Shell::start(&host);
        shell.expect("$B lab\n", "all of it is gone");
        shell.expect("sh -c 'echo sl''eeps; exec sleep 300'\n", "sleeps");
        // What is typed before the command has ended might be its.
        shell.expect(CTRL_C, PROMPT);
        shell.expect("echo code 1$?\n", "code 1130");
        shell.expect(&format!("{READING}\n"), "ready");
        shell.expect(CTRL_Z, "Stopped");
        shell.type_in("fg\n");
        shell.expect("first\n", "told first");
        shell.expect("second\n", "told second");
        shell.type_in("exit 3\n");
        shell.expect("echo outside 1$?\n", "outside 13");
        let told = shell.end();
        assert!(!told.contains("job control turned off") && !told.contains("Cannot set"), "{told}");
    });
}

#[test]
fn a_sandbox_in_a_pipeline_is_a_part_of_its_job() {
    let host = Host::new();
    host.leaves_nothing(|| {
        let mut shell = Shell::start(&host);
        shell.expect(&format!("$B lab -- {READING} | cat\n"), "ready");
        shell.expect("first\n", "told first");
        shell.expect("second\n", "told second");
        shell.expect("$B lab -- sh -c 'echo sl''eeps; exec sleep 300' | cat\n", "sleeps");
        // What is typed before the command has ended might be its.
        shell.expect(CTRL_C, PROMPT);
        shell.expect("echo the shell a''nswers\n", "the shell answers");
        shell.end();
    });
}

/// A script has no job control, and nobody else would take it.
#[test]
fn the_terminal_is_given_back_at_the_end() {
    let host = Host::new();
    for command in ["true", "sh -i -c true", "sh -c 'kill -KILL $$'"] {
        host.leaves_nothing(|| {
            let script = format!("$B lab -- {command}; echo ready; {READING}");
            let (lab, mut terminal) = host.at_terminal(&script);
            lab.wait_for("ready");
            type_in(&mut terminal, "first\nsecond\n");
            lab.wait_for("told second");
            assert_eq!(lab.end().code, 0);
        });
    }
}

#[test]
fn a_signal_to_a_sandbox_alone_is_passed_on_at_a_terminal_too() {
    let host = Host::new();
    for (signal, code) in [(Signal::INT, 130), (Signal::HUP, 129), (Signal::TERM, 143)] {
        host.leaves_nothing(|| {
            let (lab, _terminal) = host.at_terminal("exec $B lab -- sh -c 'echo ready; exec sleep 300'");
            lab.wait_for("ready");
            kill_process(child_of(lab.id()), signal).unwrap();
            let ended = lab.end();
            assert_eq!(ended.code, code, "{signal:?}: {ended:?}");
        });
    }
}

#[test]
fn timeout_ends_a_sandbox() {
    let host = Host::new();
    host.leaves_nothing(|| {
        let (lab, _terminal) = host.at_terminal("exec timeout 0.5 $B lab -- sleep 300");
        assert_eq!(lab.end().code, 124);
    });
}
