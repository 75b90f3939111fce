use std::process::{Command, Stdio};

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bearerctl"))
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_help_teaches() {
    insta::assert_snapshot!("bearerctl", help(&["--help"]));
}

#[test]
fn the_help_of_each_command_has_examples() {
    for command in [
        "list",
        "show",
        "open",
        "roam",
        "run",
        "monitor",
        "sessions",
        "status",
        "agent",
        "stop",
        "why",
        "update",
        "reset",
        "profile",
        "report",
        "completions",
        "man",
    ] {
        let text = help(&[command, "--help"]);
        assert!(text.contains("\nExamples:\n  bearerctl "), "{text}");
        insta::assert_snapshot!(format!("bearerctl_{command}"), text);
    }
}

#[test]
fn the_help_of_each_command_about_profiles_has_examples() {
    for command in ["check", "new", "edit", "import"] {
        let text = help(&["profile", command, "--help"]);
        assert!(text.contains("\nExamples:\n  bearerctl profile "), "{text}");
        insta::assert_snapshot!(format!("bearerctl_profile_{command}"), text);
    }
}

#[test]
fn the_help_of_the_lab_has_examples_too() {
    insta::assert_snapshot!("bearerctl_lab", help(&["lab", "--help"]));
    for command in ["tour", "status", "cut", "restore", "slow"] {
        let text = help(&["lab", command, "--help"]);
        assert!(text.contains("\nExamples:\n  bearerctl lab "), "{text}");
        insta::assert_snapshot!(format!("bearerctl_lab_{command}"), text);
    }
}
