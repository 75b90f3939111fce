//! `bearerd --check`.

use std::{fs, process::Stdio};

use crate::stage::{DEADLINE, Stage};

#[test]
fn a_machine_that_is_as_it_should_be_passes_with_and_without_a_daemon() {
    let stage = Stage::new();
    let text = stage.command(["--check", "--no-bus"]).output().unwrap();
    assert!(text.lines().all(|line| line.starts_with("ok   ")), "{text}");
    assert!(text.contains("nobody changes it at the moment") && text.contains("routing rules"), "{text}");
    assert!(!stage.runtime().exists(), "nothing is made");
    let daemon = stage.start();
    let text = stage.command(["--check", "--no-bus"]).output().unwrap();
    assert!(text.contains(&format!("one runs already (process {})", daemon.id())), "{text}");
    daemon.end();
}

#[test]
fn what_is_amiss_is_told_in_a_line_each_and_as_json() {
    let stage = Stage::new();
    let profiles = stage.directory().join("configuration/profiles.d");
    fs::create_dir_all(&profiles).unwrap();
    fs::write(profiles.join("wrong.toml"), "[acces_point]\n").unwrap();
    fs::write(stage.directory().join("state"), "a file").unwrap();
    let command = stage.command(["--check", "--json", "--bus", "unix:abstract=x"]);
    let mut program = command.stdout(Stdio::piped()).spawn().unwrap();
    let text = program.stdout_lines().unwrap().until_end().join("\n");
    assert_eq!(program.wait(DEADLINE).unwrap().code(), Some(1));
    let findings: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let bad: Vec<&str> = findings
        .iter()
        .filter(|finding| finding["good"] == false)
        .map(|one| one["subject"].as_str().unwrap())
        .collect();
    assert_eq!(bad, ["profiles", "state directory", "bus"]);
    assert!(findings[0]["remark"].as_str().unwrap().contains("wrong.toml"), "{findings:?}");
}
