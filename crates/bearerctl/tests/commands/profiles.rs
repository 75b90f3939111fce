//! `bearerctl profile`: on files alone, but for a new one, which is about an interface.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::stage::Stage;

/// A configuration directory.
struct Files {
    directory: TempDir,
}

const GOOD: &str = "[match]\ninterface = \"ap0\"\n\n[access_point]\nlinger = \"2s\"\n";

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let stage = Self { directory: TempDir::new().expect("a temporary directory") };
        for (name, text) in files {
            let path = stage.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Names in a directory.
    fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(directory)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with_editor("false", arguments)
    }

    fn run_with_editor(&self, editor: &str, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_bearerctl"))
            .arg("profile")
            .args(arguments)
            .env("NETBEARER_CONFIG_DIR", self.directory.path())
            .env("VISUAL", editor)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .output()
            .expect("the program starts")
    }

    /// What was said, without what differs from run to run.
    fn said(&self, output: &Output) -> String {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let said = format!(
            "exit code {}\n{}---\n{}",
            output.status.code().unwrap(),
            text(&output.stdout),
            text(&output.stderr)
        );
        said.replace(&format!("{}/", self.directory.path().display()), "")
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn checking_tells_all_mistakes_and_ends_with_1() {
    let files = Files::new(&[
        ("profiles.d/ap0.toml", GOOD),
        ("profiles.d/ap1.toml", "[match]\ninterface = \"ap1\"\n[access_point]\nlonger = \"2s\"\nmtu = \"big\"\n"),
    ]);
    let output = files.run(&["check"]);
    insta::assert_snapshot!("profile_check", files.said(&output));
    let output = files.run(&["check", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let mistakes = json(&output);
    assert_eq!(mistakes.as_array().unwrap().len(), 2);
    let told = &mistakes[0];
    assert_eq!((&told["line"], &told["kind"], &told["breaks_file"]), (&4.into(), &"UnknownKey".into(), &true.into()));
    assert!(told["file"].as_str().unwrap().ends_with("profiles.d/ap1.toml"), "{told}");

    let output = files.run(&["check", "profiles.d/ap0.toml"]);
    assert_eq!(files.said(&output), "exit code 0\nno mistakes in profiles.d/ap0.toml\n---\n");
    fs::remove_file(files.path("profiles.d/ap1.toml")).unwrap();
    assert_eq!(files.said(&files.run(&["check"])), "exit code 0\nno mistakes in profiles.d\n---\n");
    assert_eq!(json(&files.run(&["check", "--json"])), Value::Array(Vec::new()));
}

#[test]
fn a_file_is_checked_before_it_is_in_its_place() {
    let files = Files::new(&[("profiles.d/ap0.toml", GOOD), ("new.toml", GOOD)]);
    insta::assert_snapshot!("profile_check_elsewhere", files.said(&files.run(&["check", "new.toml", "missing.toml"])));
}

#[test]
fn an_edited_profile_takes_its_place_with_its_permissions() {
    let files = Files::new(&[("profiles.d/ap0.toml", GOOD)]);
    fs::set_permissions(files.path("profiles.d/ap0.toml"), PermissionsExt::from_mode(0o640)).unwrap();
    let output = files.run_with_editor("sed -i s/2s/3s/", &["edit", "ap0"]);
    assert_eq!(files.said(&output), "exit code 0\nwrote profiles.d/ap0.toml\n---\n");
    assert_eq!(files.read("profiles.d/ap0.toml"), GOOD.replace("2s", "3s"));
    let mode = fs::metadata(files.path("profiles.d/ap0.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(files.names("profiles.d"), ["ap0.toml"]);
}

#[test]
fn a_profile_edited_with_mistakes_stays_as_it_was_and_nothing_written_is_lost() {
    let files = Files::new(&[("profiles.d/ap0.toml", GOOD)]);
    let output = files.run_with_editor("sed -i s/linger/longer/", &["edit", "ap0"]);
    let kept = files.names("profiles.d").remove(0);
    insta::assert_snapshot!("profile_edit_mistake", files.said(&output).replace(&kept, "COPY"));
    assert_eq!(files.read("profiles.d/ap0.toml"), GOOD);
    assert_eq!(files.read(&format!("profiles.d/{kept}")), GOOD.replace("linger", "longer"));
    // Nobody reads the copy as a profile.
    assert_eq!(files.run(&["check"]).status.code(), Some(0));
}

/// It is told of the other file, which comes second by its name, and by which nobody would look for it.
#[test]
fn an_edit_that_breaks_another_file_is_refused() {
    let files = Files::new(&[("profiles.d/ap0.toml", GOOD), ("profiles.d/ap1.toml", &GOOD.replace("ap0", "ap1"))]);
    let output = files.run_with_editor("sed -i s/ap0/ap1/", &["edit", "ap0"]);
    let said = files.said(&output);
    assert!(said.contains("profiles.d/ap1.toml:2: ") && said.contains("1 new mistake(s)"), "{said}");
    assert_eq!((output.status.code(), files.read("profiles.d/ap0.toml")), (Some(1), GOOD.to_owned()));
    let output = files.run(&["check", &files.names("profiles.d")[0].replace(".ap0", "profiles.d/.ap0")]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

/// A member that is not plugged in is one: its file could never be edited.
#[test]
fn an_edit_adds_no_mistake_by_leaving_one_there() {
    let network = "[service_network]\nmembers = [\"usb7\"]\nsettle = \"2s\"\n";
    let files = Files::new(&[("profiles.d/work.toml", network)]);
    let output = files.run_with_editor("sed -i s/2s/3s/", &["edit", "work"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(files.said(&output).contains("the member \"usb7\" is no profile"), "{output:?}");
    assert_eq!(files.read("profiles.d/work.toml"), network.replace("2s", "3s"));
}

#[test]
fn an_editor_that_fails_or_changes_nothing_changes_nothing() {
    let files = Files::new(&[("profiles.d/ap0.toml", GOOD)]);
    insta::assert_snapshot!("profile_edit_editor_failed", files.said(&files.run(&["edit", "ap0"])));
    let output = files.run_with_editor("true", &["edit", "ap0"]);
    assert_eq!(files.said(&output), "exit code 0\n---\nnothing was changed\n");
    insta::assert_snapshot!("profile_edit_unknown", files.said(&files.run_with_editor("true", &["edit", "ap1"])));
    assert_eq!(files.names("profiles.d"), ["ap0.toml"]);
}

#[test]
fn a_profile_that_is_a_link_stays_one_and_what_it_leads_to_is_written() {
    let files = Files::new(&[("elsewhere/office.toml", GOOD), ("profiles.d/other.toml", &GOOD.replace("ap0", "ap1"))]);
    std::os::unix::fs::symlink("../elsewhere/office.toml", files.path("profiles.d/ap0.toml")).unwrap();
    let output = files.run_with_editor("sed -i s/2s/3s/", &["edit", "ap0"]);
    assert_eq!(files.said(&output), "exit code 0\nwrote profiles.d/ap0.toml\n---\n");
    assert_eq!(files.read("elsewhere/office.toml"), GOOD.replace("2s", "3s"));
    assert!(fs::symlink_metadata(files.path("profiles.d/ap0.toml")).unwrap().is_symlink());
    assert_eq!(files.names("elsewhere"), ["office.toml"]);
}

/// The other's change is not lost, and neither is what was written.
#[test]
fn a_profile_that_somebody_else_changes_meanwhile_stays_his() {
    let files = Files::new(&[("profiles.d/ap0.toml", GOOD)]);
    let editor = "sed -i s/2s/4s/ profiles.d/ap0.toml; sed -i s/2s/3s/";
    let output = files.run_with_editor(editor, &["edit", "ap0"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(files.read("profiles.d/ap0.toml"), GOOD.replace("2s", "4s"));
    let kept = files.names("profiles.d").remove(0);
    assert_eq!(files.read(&format!("profiles.d/{kept}")), GOOD.replace("2s", "3s"));
}

const KEYFILE: &str = "\
[connection]
id=Office
uuid=5f0b6e6c-0000-4000-8000-000000000001
type=ethernet
interface-name=ap0
autoconnect-priority=5
zone=work

[ethernet]
mtu=1400

[ipv4]
method=manual
address1=192.0.2.10/24,192.0.2.1
dns=192.0.2.53;192.0.2.54;
dns-search=office.example;
route1=198.51.100.0/24,192.0.2.2

[ipv6]
method=auto
";

const NETWORK: &str = "\
[Match]
PermanentMACAddress=02:00:5E:10:00:02
Name=en*

[Link]
RequiredForOnline=no

[Network]
DHCP=yes
DNS=192.0.2.53 2001:db8::53
Domains=office.example ~.

[DHCPv4]
Hostname=gateway-7
";

#[test]
fn importing_prints_profiles_and_says_what_it_leaves_behind() {
    let files = Files::new(&[
        ("old/office.nmconnection", KEYFILE),
        ("old/20-lan.network", NETWORK),
        ("old/vpn.nmconnection", "[connection]\nid=VPN\ntype=wireguard\ninterface-name=wg0\n"),
        ("old/notes.txt", "not read"),
    ]);
    insta::assert_snapshot!("profile_import", files.said(&files.run(&["import", "old"])));
    assert!(!files.path("profiles.d").exists());
    let objects = json(&files.run(&["import", "old/office.nmconnection", "--json"]));
    assert_eq!(objects[0]["name"], "office");
    assert_eq!(objects[0]["left_behind"].as_array().unwrap().len(), 2);
    insta::assert_snapshot!("profile_import_unknown", files.said(&files.run(&["import", "old/notes.txt"])));
}

#[test]
fn what_is_imported_can_be_written_once_and_is_right() {
    let files = Files::new(&[("old/office.nmconnection", KEYFILE), ("old/20-lan.network", NETWORK)]);
    let output = files.run(&["import", "--write", "old"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(files.names("profiles.d"), ["20-lan.toml", "office.toml"]);
    let output = files.run(&["check"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = files.run(&["import", "--write", "old/office.nmconnection"]);
    assert_eq!(
        files.said(&output),
        "exit code 1\n---\nbearerctl: profiles.d/office.toml exists already; edit it with: bearerctl profile edit office\n"
    );
}

/// A gateway out of reach would be refused later; it is told now, nothing is written of it, and the rest is.
#[test]
fn what_is_imported_with_mistakes_is_told_and_not_written_and_the_others_are() {
    let text = KEYFILE.replace("192.0.2.1\n", "203.0.113.1\n");
    let files = Files::new(&[
        ("old/a.network", NETWORK),
        ("old/office.nmconnection", &text),
        ("old/z.network", "[Match]\nName=ap7\n[Network]\nDHCP=yes\n"),
    ]);
    let output = files.run(&["import", "old/office.nmconnection"]);
    insta::assert_snapshot!("profile_import_unfit", files.said(&output));
    let printed = files.run(&["import", "old"]);
    assert_eq!(printed.status.code(), Some(1), "{printed:?}");
    assert!(!files.path("profiles.d").exists());
    let objects = json(&files.run(&["import", "old", "--json"]));
    assert_eq!(objects[1]["mistakes"][0]["line"], 9, "{objects}");

    let output = files.run(&["import", "--write", "old"]);
    insta::assert_snapshot!("profile_import_write_unfit", files.said(&output));
    assert_eq!(files.names("profiles.d"), ["a.toml", "z.toml"]);
    // What is there is told, and the rest still written.
    fs::remove_file(files.path("profiles.d/z.toml")).unwrap();
    let output = files.run(&["import", "--write", "old"]);
    assert!(files.said(&output).contains("profiles.d/a.toml exists already"), "{output:?}");
    assert_eq!((output.status.code(), files.names("profiles.d")), (Some(1), vec!["a.toml".into(), "z.toml".into()]));
}

#[test]
fn a_new_profile_is_written_once_and_changes_nothing_by_itself() {
    let stage = Stage::with_dnsmasq();
    let identifier = stage.run(&["show", "ap0", "--json"]).json()["identifier"].as_str().unwrap().to_owned();
    let ended = stage.run(&["profile", "new", &identifier]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.output[0].ends_with("configuration/profiles.d/ap0.toml"), "{ended:?}");
    let text = stage.read_configuration("profiles.d/ap0.toml");
    assert!(text.contains("\ninterface = \"ap0\"\n") && text.contains("\n# mac = \""), "{text}");
    assert_eq!(stage.run(&["profile", "check"]).code, 0);
    stage.run(&["profile", "new", "ap0"]).assert_failed(1, "ap0.toml exists already");
    stage.run(&["profile", "new", "ap7"]).assert_failed(3, "there is no configuration \"ap7\"");
    let opened = stage.opened();
    assert_eq!(opened.end_by(netbearer_lab::Signal::INT).code, 0);
    stage.assert_as_before();
}

#[test]
fn what_a_profile_says_of_its_network_is_shown_without_the_account_at_its_proxy() {
    let stage = Stage::with_dnsmasq();
    let proxy = "proxy = \"http://user:geheim@proxy.example:3128\"";
    stage.write_profile("ap0", &format!("name = \"Office\"\npurpose = \"private\"\nmetered = true\n{proxy}"));
    stage.protect_configuration("profiles.d/ap0.toml");
    let shown = stage.run(&["show", "Office"]);
    for line in [
        "name              Office",
        "purpose           private",
        "metered           yes",
        "proxy             http://proxy.example:3128",
    ] {
        assert!(shown.output.iter().any(|shown| shown == line), "no line \"{line}\": {shown:?}");
    }
    let all =
        [shown, stage.run(&["list", "--json"]), stage.run(&["why", "--json"]), stage.run(&["show", "ap0", "--json"])];
    assert!(all.iter().all(|ended| ended.code == 0 && !format!("{ended:?}").contains("geheim")), "{all:?}");
}
