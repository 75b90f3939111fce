//! The examples, as a reader would run them, on a machine of the lab.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{env, io::Write, path::PathBuf, process::Stdio, time::Duration};

use netbearer_lab::{AccessPointPlan, Dhcp, ECHO_PORT, INTERNET, Lab, NamespaceCommand, Snapshot};
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// A machine with two access points, which is to be as before at the end.
struct Machine {
    lab: Lab,
    directory: TempDir,
    before: Snapshot,
}

impl Machine {
    fn new() -> Self {
        let plan = AccessPointPlan::new;
        let plans = [plan("ap0").dhcp(Dhcp::Dnsmasq), plan("ap1").dhcp(Dhcp::Dnsmasq)];
        let lab = plans.into_iter().fold(Lab::builder(), netbearer_lab::LabBuilder::access_point).build().unwrap();
        let before = Snapshot::take(lab.machine()).unwrap();
        Self { lab, directory: TempDir::new().unwrap(), before }
    }

    fn example(&self, name: &str) -> NamespaceCommand<'_> {
        let directory = |name: &str| self.directory.path().join(name);
        self.lab
            .machine()
            .command(path(name))
            .env("NETBEARER_CONFIG_DIR", directory("configuration"))
            .env("NETBEARER_RUNTIME_DIR", directory("runtime"))
            .env("NETBEARER_STATE_DIR", directory("state"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let now = Snapshot::take(self.lab.machine()).unwrap();
            assert!(self.before == now, "{}", self.before.difference(&now));
        }
    }
}

/// Cargo builds examples beside tests, into the directory next to theirs.
fn path(example: &str) -> PathBuf {
    let tests = env::current_exe().unwrap();
    let path = tests.ancestors().nth(2).unwrap().join("examples").join(example);
    assert!(path.is_file(), "{} is missing; cargo build --examples makes it", path.display());
    path
}

#[test]
fn a_service_network_is_opened_by_its_first_member() {
    let machine = Machine::new();
    let server = format!("{INTERNET}:{ECHO_PORT}");
    let said = machine.example("service_network").args([&server, "ap1", "ap0"]).output().unwrap();
    assert!(said.contains("service-uplink") && said.contains("interface ap1"), "{said}");
    // The server behind it says which access point it was reached by.
    assert!(said.contains(&format!("{server} answers: ap1")), "{said}");
}

#[test]
fn the_user_chooses_by_a_number() {
    let machine = Machine::new();
    for (number, name) in [("1", "ap0"), ("2", "ap1")] {
        let mut program = machine
            .example("choose")
            .args(["ap0", "ap1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = program.stdout_lines().unwrap();
        said.wait_for_text("2  ap1", DEADLINE).unwrap();
        writeln!(program.take_stdin().unwrap(), "{number}").unwrap();
        let opened = said.wait_for_text("opened", DEADLINE).unwrap();
        assert!(opened.contains(name), "{opened}");
        assert!(program.wait(DEADLINE).unwrap().success(), "{:?}", said.entries());
    }
}
