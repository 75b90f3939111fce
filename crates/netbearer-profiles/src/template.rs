//! A file to begin with.

use std::fmt::Write;

use netbearer_types::Profile;
use toml::Value;

use crate::words::{Section, Word};

/// A profile for the access point on an interface, in which everything else is there as a comment with its meaning.
/// `hardware_address` is told where it is known.
#[must_use]
pub fn access_point(interface: &str, hardware_address: Option<&str>) -> String {
    let quoted = |text: &str| Value::String(text.to_owned()).to_string();
    let mut text = format!(
        "# How NetBearer brings {interface} up and keeps it.\n\
         # Lines that begin with # are not in force; they show what there is, with other values than the usual ones.\n\
         # Afterwards: bearerctl profile check\n\n[match]\n"
    );
    for word in Section::Match.words() {
        comment(&mut text, word.meaning);
        let line = match (word.key, hardware_address) {
            ("interface", _) => format!("{} = {}", word.key, quoted(interface)),
            ("mac", Some(address)) => format!("# {} = {}", word.key, quoted(address)),
            _ => format!("# {} = {}", word.key, word.example),
        };
        push(&mut text, &line);
    }
    push(&mut text, "\n[access_point]");
    let usual = toml::Table::try_from(Profile::default()).unwrap_or_default();
    for word in Section::AccessPoint.words() {
        comment(&mut text, &meaning(word, &usual));
        push(&mut text, &format!("# {} = {}", word.key, word.example));
    }
    text
}

/// With what holds if nothing is written, where that is one word.
fn meaning(word: &Word, usual: &toml::Table) -> String {
    let usual = match usual.get(word.key) {
        Some(Value::Boolean(true)) => "yes",
        Some(Value::Boolean(false)) => "no",
        Some(Value::String(text)) => text,
        _ => return word.meaning.to_owned(),
    };
    format!("{} Usually: {}.", word.meaning, usual.to_lowercase())
}

fn comment(text: &mut String, meaning: &str) {
    push(text, &format!("# {meaning}"));
}

fn push(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProfileStore;

    fn mistakes(text: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ap0.toml");
        std::fs::write(&file, text).unwrap();
        let mistakes = ProfileStore::new(directory.path()).check(&[(file, None)]);
        mistakes.iter().map(|mistake| format!("{mistake}\n")).collect()
    }

    #[test]
    fn what_is_written_to_begin_with_is_right_and_so_is_each_of_its_comments() {
        let text = access_point("ap0", Some("02:00:5e:10:00:01"));
        assert_eq!(mistakes(&text), "");
        let mut tried = 0;
        for line in text.lines().filter_map(|line| line.strip_prefix("# ")).filter(|line| line.contains(" = ")) {
            let key = line.split(' ').next().unwrap();
            let section = if Section::Match.word(key).is_some() { "match" } else { "access_point" };
            let fixed = "addressing = \"static\"\naddresses = [\"192.0.2.10/24\"]\n";
            let needs = match key {
                "gateways" => fixed,
                "addresses" => "addressing = \"static\"\n",
                "addressing" => "addresses = [\"192.0.2.10/24\"]\n",
                _ => "",
            };
            let head = if section == "match" { "" } else { "[match]\ninterface = \"ap0\"\n" };
            assert_eq!(mistakes(&format!("{head}[{section}]\n{needs}{line}\n")), "", "{line}");
            tried += 1;
        }
        assert_eq!(tried, Section::Match.words().len() - 1 + Section::AccessPoint.words().len());
    }
}
