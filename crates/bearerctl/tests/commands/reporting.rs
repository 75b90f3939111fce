use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::Value;
use tempfile::TempDir;

use crate::stage::Stage;

const SECRETS: [&str; 5] =
    ["geheim-4711", "Zwölf Äpfel", "hunter2]", "tok3n", "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="];

/// Whether they are read or not.
fn plant(stage: &Stage) {
    let [first, second, third, fourth, fifth] = SECRETS;
    let text = format!(
        "# password = \"{first}\"\n[match]\ninterface = \"ap9\"\n[access_point]\npsk = '{second}'\n\
         passwords = [\n  \"{third}\",\n]\nproxy = \"http://user:{first}@proxy.example/?id={fourth}\"\npeer = \"{fifth}\"\n"
    );
    stage.write_configuration("profiles.d/broken.toml", &text);
    stage.write_configuration("profiles.d/key.pem", &fifth.repeat(3));
}

fn assert_without_secrets(report: &str) {
    for secret in SECRETS {
        assert!(!report.contains(secret), "{secret} in:\n{report}");
    }
    assert!(report.contains("<secret>"), "{report}");
}

#[test]
fn a_report_has_all_that_is_needed_in_one_file_and_says_so() {
    let stage = Stage::with_dnsmasq();
    stage.write_profile("ap0", "linger = \"0s\" # http://user:geheim-4711@proxy.example");
    let open = stage.opened();
    let address = stage.lab.machine().addresses("ap0").unwrap()[0].0.to_string();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("report.txt");
    let ended = stage.run(&["report", "--output", file.to_str().unwrap()]);
    assert_eq!((ended.code, ended.output.len()), (0, 0), "{ended:?}");
    let said = ended.errors.join("\n");
    assert!(said.contains("report.txt") && said.contains("secrets were taken out"), "{said}");
    let report = fs::read_to_string(&file).unwrap();
    assert_without_secrets(&report);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    for part in
        ["== versions", "kernel", "== state", "== why", "is up with", "== ip -json address show", "profiles.d/ap0.toml"]
    {
        assert!(report.contains(part), "no {part} in:\n{report}");
    }
    // In the state, in what the kernel says, and in the reasons.
    assert!(report.matches(&address).count() > 2, "{address}:\n{report}");
    assert!(report.contains("linger = \"0s\""), "{report}");
    drop(open);
}

#[test]
fn a_report_of_what_does_not_work_has_no_secrets_either() {
    let stage = Stage::with_dnsmasq();
    plant(&stage);
    let ended = stage.run(&["report", "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let report = ended.json();
    let text: Vec<&str> =
        report["sections"].as_array().unwrap().iter().filter_map(|one| one["text"].as_str()).collect();
    assert_without_secrets(&text.join("\n"));
    assert_without_secrets(&ended.output.join("\n"));
    let section = |title: &str| {
        let mut sections = report["sections"].as_array().unwrap().iter();
        let found = sections.find(|section| section["title"].as_str().unwrap().ends_with(title));
        found.unwrap_or_else(|| panic!("no {title} in {report}"))["text"].as_str().unwrap()
    };
    assert!(section("profiles.d/broken.toml").contains("interface = \"ap9\""));
    // Of what is no configuration file only the name.
    assert!(section("configuration").contains("key.pem"));
    let links: Value = serde_json::from_str(section("link show")).expect("what ip answers");
    assert!(links.as_array().unwrap().iter().any(|link| link["ifname"] == "ap0"), "{links}");
}

#[test]
fn a_report_does_not_follow_a_link_that_somebody_else_has_put_there() {
    let stage = Stage::with_dnsmasq();
    let directory = TempDir::new().unwrap();
    let [file, link] = ["victim", "report.txt"].map(|name| directory.path().join(name));
    fs::write(&file, "precious").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    stage.run(&["report", "--output", link.to_str().unwrap()]).assert_failed(1, "report.txt could not be written");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

/// It may have been made before by who was not careful.
#[test]
fn a_report_is_its_owners_alone_also_in_a_file_that_is_there() {
    let stage = Stage::with_dnsmasq();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("report.txt");
    fs::write(&file, "x".repeat(1 << 20)).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let ended = stage.run(&["report", "--output", file.to_str().unwrap()]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let report = fs::read_to_string(&file).unwrap();
    assert!(report.starts_with("NetBearer report") && !report.contains("xxxx"), "{report}");
    assert_eq!(stage.run(&["report", "--output", "/dev/null"]).code, 0);
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}
