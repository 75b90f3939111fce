use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Mutex,
    time::Duration,
};

use netbearer_engine_native::{CarrierWatch, NativeSettings, Places};
use netbearer_lab::{
    AccessPoint, AccessPointPlan, Conversation, Dhcp, Lab, LabError, Monitor, Program, Signal, Snapshot,
};
use netbearer_types::{Profile, SteeringPlan};
use tempfile::TempDir;

use crate::{
    driver::{Driver, identifier},
    process::{DONE, TASK, Task},
};

/// Longer than anything here takes on a busy machine; waiting ends with the event, not with this.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const AP0: &str = "ap0";
pub(crate) const AP1: &str = "ap1";

/// One of several cases of a test. Each has threads of its own: those of another one live on the machine of that.
pub(crate) fn run(case: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(case);
}

/// A machine, and processes on it that have a directory in common.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    directory: TempDir,
    before: Mutex<Snapshot>,
}

pub(crate) fn settings(directory: &Path, resumed: &[String]) -> NativeSettings {
    NativeSettings {
        runtime_directory: directory.join("runtime"),
        state_directory: directory.join("state"),
        managers: Places::below(directory),
        carrier_watch: CarrierWatch::default(),
        steering: SteeringPlan::default(),
        resumed: resumed.iter().map(|interface| identifier(interface)).collect(),
        leaves_links: false,
    }
}

impl Scene {
    pub(crate) fn with_dnsmasq() -> Self {
        Self::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Dnsmasq)])
    }

    /// The calling thread moves to the lab's machine.
    pub(crate) fn new(plans: impl IntoIterator<Item = AccessPointPlan>) -> Self {
        let lab = plans.into_iter().fold(Lab::builder(), netbearer_lab::LabBuilder::access_point).build().unwrap();
        lab.machine().enter().unwrap();
        let before = Mutex::new(Snapshot::take(lab.machine()).unwrap());
        Self { lab, directory: TempDir::new().unwrap(), before }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn access_point(&self, name: &str) -> &AccessPoint {
        self.lab.access_point(name).unwrap()
    }

    /// What is there now is what shall be there in the end.
    pub(crate) fn remember(&self) {
        *self.before.lock().unwrap() = Snapshot::take(self.lab.machine()).unwrap();
    }

    pub(crate) fn assert_as_before(&self) {
        let now = Snapshot::take(self.lab.machine()).unwrap();
        let before = self.before.lock().unwrap();
        assert!(*before == now, "{}", before.difference(&now));
    }

    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.lab.machine().command("ip").args(arguments.split(' ')).output().unwrap()
    }

    pub(crate) fn rules(&self) -> String {
        self.lab.machine().rules().unwrap().join("\n")
    }

    /// Waits until the kernel has told something by which this is so.
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let check = || Ok::<_, LabError>(is_so().then_some(()));
        self.lab.machine().wait_until(what, DEADLINE, check).unwrap();
    }

    /// How an interface of ours was found.
    pub(crate) fn note(&self, interface: &str) -> PathBuf {
        let inode = self.lab.machine().inode().unwrap();
        let file = format!("netns-{inode}/interface-{}.json", self.access_point(interface).index());
        self.directory().join("runtime").join(file)
    }

    /// A process that has done this.
    pub(crate) fn process(&self, task: Task) -> Program {
        let interfaces: Vec<String> = task.configured.keys().cloned().collect();
        let task = Task { directory: self.directory().to_owned(), ..task };
        let process = self.process_elsewhere(&task);
        for interface in interfaces {
            let is_noted = |text: Option<&str>| text.is_some_and(|text| text.contains("\"reached\""));
            self.lab.machine().wait_for_file(&self.note(&interface).to_string_lossy(), DEADLINE, is_noted).unwrap();
            let bound = format!("oif {interface}");
            self.wait_until("rules of both families", || self.ip("-6 rule").contains(&bound));
        }
        process
    }

    /// The same in the directory that the task itself names.
    pub(crate) fn process_elsewhere(&self, task: &Task) -> Program {
        let program = self.lab.machine().command(std::env::current_exe().unwrap());
        let program = program.args(["process::process", "--exact", "--ignored", "--nocapture"]);
        let program = program.env(TASK, serde_json::to_string(task).unwrap());
        let mut process = program.stdout(Stdio::piped()).spawn().unwrap();
        process.stdout_lines().unwrap().wait_for_text(DONE, DEADLINE).unwrap();
        process
    }

    /// A process that has configured these interfaces, and is killed.
    pub(crate) fn killed<'a>(&self, configured: impl IntoIterator<Item = (&'a str, Profile)>) {
        let configured = configured.into_iter().map(|(interface, profile)| (interface.to_owned(), profile)).collect();
        kill(self.process(Task { configured, ..Task::default() }));
    }

    pub(crate) fn killed_on_ap0(&self) {
        self.killed([(AP0, Profile::default())]);
    }

    /// Who comes after it, and goes on with these interfaces.
    pub(crate) async fn successor(&self, resumed: &[&str]) -> Driver {
        let resumed: Vec<String> = resumed.iter().map(|interface| (*interface).to_owned()).collect();
        Driver::start(settings(self.directory(), &resumed)).await
    }

    pub(crate) fn conversation(&self) -> Conversation {
        Conversation::open(DEADLINE).unwrap()
    }

    pub(crate) fn monitor(&self) -> Monitor<'_> {
        Monitor::start(self.lab.machine()).unwrap()
    }
}

pub(crate) fn kill(mut process: Program) {
    process.signal(Signal::KILL).unwrap();
    process.wait(DEADLINE).unwrap();
}

pub(crate) fn assert_alive(conversation: &mut Conversation) {
    conversation.echo(b"still here").expect("the connection lives");
}

/// Nothing was missing, not for a moment. Returns what was seen.
pub(crate) fn assert_nothing_removed(monitor: Monitor<'_>) -> Vec<String> {
    let lines = monitor.finish().unwrap();
    assert!(lines.iter().all(|line| !line.contains("Deleted")), "{}", lines.join("\n"));
    lines
}

impl Scene {
    /// What is noted of an interface of ours.
    pub(crate) fn noted(&self, interface: &str) -> String {
        std::fs::read_to_string(self.note(interface)).unwrap_or_default()
    }

    /// Waits until something else is noted than this.
    pub(crate) fn wait_for_other_note(&self, interface: &str, before: &str) {
        let is_other = |text: Option<&str>| text.is_some_and(|text| text != before);
        self.lab.machine().wait_for_file(&self.note(interface).to_string_lossy(), DEADLINE, is_other).unwrap();
    }
}
