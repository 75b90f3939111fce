//! The real program beside the real network managers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Output};

use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_netbearer-bench");

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

fn run(command: &mut Command) -> Output {
    command.output().expect("it starts")
}

#[test]
fn all_programs_are_measured_side_by_side() {
    let output = run(Command::new(BENCH).args(["open", "--peers", "--rounds", "1", "--json"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let words: Vec<String> = lines
        .iter()
        .map(|line| format!("{} {}", line["name"].as_str().unwrap(), line["program"].as_str().unwrap()))
        .collect();
    let figures = ["cold-open", "carrier-loss", "network-lost"];
    let programs = ["NetBearer", "NetworkManager", "ConnMan"];
    let expected: Vec<String> =
        figures.iter().flat_map(|figure| programs.map(|program| format!("{figure} {program}"))).collect();
    assert_eq!(words, expected);
    for line in &lines {
        let number = |key: &str| line[key].as_f64().unwrap_or_else(|| panic!("no {key} in {line}"));
        assert!(number("median") > 0.0 && number("p99") >= number("median") && number("rounds") >= 1.0, "{line}");
        let ours = lines.iter().find(|ours| ours["name"] == line["name"]).expect("ours is the first of each figure");
        let ratio = number("median") / ours["median"].as_f64().unwrap();
        assert!((number("ratio") / ratio - 1.0).abs() < 0.02, "{line}");
        assert!(!line["version"].as_str().unwrap().is_empty(), "{line}");
    }
}

/// In a place of its own, where there is none of it.
#[test]
fn a_program_that_is_missing_is_said_and_not_left_out() {
    let script =
        "for at in /usr/sbin/connmand /sbin/connmand; do mount --bind /dev/null $at; done; exec \"$0\" open --peers";
    let output = run(Command::new("unshare").args(["--mount", "sh", "-c", script, BENCH]));
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{errors}");
    assert!(errors.contains("ConnMan cannot take part") && errors.contains("Debian package connman"), "{errors}");
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
}
