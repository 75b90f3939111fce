//! What packages install beside the program.

use std::{
    env, fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

const BEARERCTL: &str = env!("CARGO_BIN_EXE_bearerctl");

/// Runs a program that must be there and do well.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An interactive bash on a terminal, as it is typed to.
fn type_to_bash(keys: &str) -> String {
    let directory = Path::new(BEARERCTL).parent().unwrap();
    let path =
        env::join_paths([directory.to_owned()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap())));
    let mut bash = Command::new("script")
        .args(["--quiet", "--return", "--command", "bash --norc --noprofile -i", "/dev/null"])
        .env("PATH", path.unwrap())
        .env("TERM", "dumb")
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script, of util-linux, starts");
    bash.stdin.take().unwrap().write_all(keys.as_bytes()).unwrap();
    text(&bash.wait_with_output().unwrap().stdout)
}

#[test]
fn bash_completes_commands_and_options() {
    // A command that is not completed is no command, and its help is not shown.
    let keys = "source <(bearerctl completions bash)\nbearerctl mon\t--he\t\nbearerctl open --tim\tsoon\nexit\n";
    let shown = type_to_bash(keys);
    assert!(shown.contains("Watch all configurations: what comes, changes and goes, live"), "{shown}");
    assert!(shown.contains("invalid value 'soon' for '--timeout <DURATION>'"), "{shown}");
    let without = type_to_bash("bearerctl mon\t--he\t\nexit\n");
    assert!(!without.contains("Watch all configurations"), "{without}");
}

#[test]
fn each_shell_has_completions() {
    for (shell, word) in
        [("bash", "complete -F _bearerctl"), ("zsh", "#compdef bearerctl"), ("fish", "complete -c bearerctl")]
    {
        let script = text(&run(Command::new(BEARERCTL).args(["completions", shell])).stdout);
        assert!(script.contains(word), "{shell}: {script}");
    }
}

/// The page of a command, and those of the commands that its help lists.
fn pages_of(command: &[&str]) -> Vec<String> {
    let help = text(&run(Command::new(BEARERCTL).args(command).arg("--help")).stdout);
    let below = help.split("Commands:\n").skip(1).flat_map(|list| list.lines().take_while(|line| !line.is_empty()));
    let below = below.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let below = below.filter_map(|line| line.split_whitespace().next()).filter(|command| *command != "help");
    let below = below.flat_map(|below| pages_of(&[command, &[below]].concat()));
    std::iter::once(format!("{}.1", [&["bearerctl"], command].concat().join("-"))).chain(below).collect()
}

#[test]
fn there_is_a_manual_page_for_each_command_and_man_has_no_complaint() {
    let directory = TempDir::new().unwrap();
    let pages = directory.path().join("man1");
    let written = run(Command::new(BEARERCTL).arg("man").arg(&pages));
    let mut expected = pages_of(&[]);
    assert!(expected.contains(&"bearerctl-open.1".to_owned()) && expected.len() > 8, "{expected:?}");
    expected.sort();
    let mut names: Vec<String> =
        fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, expected);
    assert_eq!(text(&written.stdout).lines().count(), expected.len());
    for name in names {
        let page = pages.join(&name);
        // As Debian's lintian looks at pages.
        let shown = run(Command::new("man").args(["--warnings=w", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]).arg(&page));
        assert!(shown.stderr.is_empty(), "{name}: {}", text(&shown.stderr));
        let read = text(&run(Command::new("man").arg("-l").arg(&page).env("MANWIDTH", "100")).stdout);
        assert!(read.contains("NAME") && read.contains("EXAMPLES") && read.contains("bearerctl "), "{name}: {read}");
    }
    let program = text(&run(Command::new("man").arg("-l").arg(pages.join("bearerctl.1"))).stdout);
    assert!(program.contains("EXIT STATUS") && program.contains("bearerctl-open(1)"), "{program}");
}
