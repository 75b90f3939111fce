//! A sandbox machine to run the program on, and what the program did there.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Stdio},
    time::{Duration, SystemTime},
};

use netbearer::{Directories, Embedded, blocking::Manager};
use netbearer_lab::{AccessPointPlan, Dhcp, Lab, LabBuilder, NamespaceCommand, Program, Record, Signal, Snapshot};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine; waiting ends with the event, not with this.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) const BEARERCTL: &str = env!("CARGO_BIN_EXE_bearerctl");

/// A user that nobody is.
const ORDINARY: u32 = 65_534;

/// The machine's service, which is built beside the program.
pub(crate) fn bearerd() -> PathBuf {
    let path = Path::new(BEARERCTL).with_file_name("bearerd");
    assert!(path.exists(), "{} is not there; build it: cargo build -p bearerd", path.display());
    path
}

/// Options of `setpriv` that take every capability away.
const WITHOUT_PRIVILEGES: [&str; 4] = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--"];

/// And all but those that the program asks for.
const LEAST_PRIVILEGES: [&str; 2] = ["--bounding-set=-all,+net_admin,+net_raw,+net_bind_service", "--"];

pub(crate) struct Stage {
    pub(crate) lab: Lab,
    directory: TempDir,
    before: Snapshot,
}

/// The program while it runs.
pub(crate) struct Running {
    program: Program,
    pub(crate) output: Record<String>,
    pub(crate) errors: Record<String>,
}

/// The program after it has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// As a shell tells it: 128 + n after signal n.
    pub(crate) code: i32,
    /// What was said before all else: that the work is not done by the machine's service. It is not repeated below.
    pub(crate) said_first: Option<String>,
    pub(crate) output: Vec<String>,
    pub(crate) errors: Vec<String>,
}

impl Stage {
    /// One access point, `ap0`, with dnsmasq.
    pub(crate) fn with_dnsmasq() -> Self {
        Self::new([AccessPointPlan::new("ap0").dhcp(Dhcp::Dnsmasq)])
    }

    /// The same on a machine with files of its own.
    pub(crate) fn with_own_files() -> Self {
        Self::build(Lab::builder().own_files(), [AccessPointPlan::new("ap0").dhcp(Dhcp::Dnsmasq)])
    }

    pub(crate) fn new(plans: impl IntoIterator<Item = AccessPointPlan>) -> Self {
        Self::build(Lab::builder(), plans)
    }

    fn build(builder: LabBuilder, plans: impl IntoIterator<Item = AccessPointPlan>) -> Self {
        let lab = plans.into_iter().fold(builder, LabBuilder::access_point).build().expect("the lab is built");
        let before = Snapshot::take(lab.machine()).expect("the machine can be looked at");
        Self { lab, directory: TempDir::new().expect("a temporary directory"), before }
    }

    /// Writes the profile of an interface.
    pub(crate) fn write_profile(&self, interface: &str, settings: &str) {
        let text = format!("[match]\ninterface = \"{interface}\"\n\n[access_point]\n{settings}\n");
        self.write_configuration(&format!("profiles.d/{interface}.toml"), &text);
    }

    /// Writes a file of the configuration directory.
    pub(crate) fn write_configuration(&self, file: &str, text: &str) {
        let path = self.directory.path().join("configuration").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Removes a file of the configuration directory.
    pub(crate) fn remove_configuration(&self, file: &str) {
        fs::remove_file(self.directory.path().join("configuration").join(file)).unwrap();
    }

    /// Writes a file of the state directory.
    pub(crate) fn write_state(&self, file: &str, text: &str) {
        let directory = self.directory.path().join("state");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(file), text).unwrap();
    }

    /// Lets only its owner read a file of the configuration directory.
    pub(crate) fn protect_configuration(&self, file: &str) {
        let path = self.directory.path().join("configuration").join(file);
        fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// Reads a file of the configuration directory.
    pub(crate) fn read_configuration(&self, file: &str) -> String {
        fs::read_to_string(self.directory.path().join("configuration").join(file)).unwrap()
    }

    /// What the program has noted of the interfaces it uses.
    pub(crate) fn note_files(&self) -> Vec<PathBuf> {
        let runtime = fs::read_dir(self.directory.path().join("runtime")).unwrap().flatten();
        let notes = runtime.filter_map(|entry| fs::read_dir(entry.path()).ok()).flatten().flatten();
        // One that is being written has no such name yet.
        notes.map(|note| note.path()).filter(|note| note.extension().is_some_and(|kind| kind == "json")).collect()
    }

    /// Somebody else configures `ap0`: what is up without us is adopted.
    pub(crate) fn bring_up_by_hand(&mut self) {
        for arguments in [["link", "set", "ap0", "up"].as_slice(), &["address", "add", "10.10.0.77/24", "dev", "ap0"]] {
            self.lab.machine().command("ip").args(arguments).output().expect("ip does it");
        }
        self.before = Snapshot::take(self.lab.machine()).unwrap();
    }

    /// Somebody else configures both links, and prefers the first.
    pub(crate) fn bring_two_up_by_hand(&mut self) {
        for (name, metric) in [("ap0", "100"), ("ap1", "200")] {
            let subnet = self.lab.access_point(name).unwrap().subnet();
            let (address, gateway) = (format!("{}/24", subnet.host(77)), subnet.gateway().to_string());
            let machine = self.lab.machine();
            machine.ip_lines(&["link", "set", name, "up"]).unwrap();
            machine.ip_lines(&["address", "add", &address, "dev", name]).unwrap();
            // What the kernel adds when it has found no duplicate of its own address is there before, too.
            let is_settled = || {
                let tentative = machine.ip_lines(&["-6", "address", "show", "dev", name, "tentative"])?;
                Ok((machine.is_settled(name)? && tentative.is_empty()).then_some(()))
            };
            machine.wait_until("carrier", DEADLINE, is_settled).unwrap();
            machine.ip_lines(&["route", "add", "default", "via", &gateway, "dev", name, "metric", metric]).unwrap();
        }
        self.before = Snapshot::take(self.lab.machine()).unwrap();
    }

    /// Somebody else sends everything into a tunnel, as wg-quick does.
    pub(crate) fn start_full_tunnel(&self) {
        for arguments in [
            "tuntap add mode tun wg0",
            "link set wg0 up",
            "route add default dev wg0 table 51820",
            "rule add not fwmark 51820 table 51820",
            "rule add table main suppress_prefixlength 0",
        ] {
            self.lab.machine().ip_lines(&arguments.split(' ').collect::<Vec<_>>()).unwrap();
        }
    }

    /// Starts the program.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        self.spawn(self.lab.machine().command(BEARERCTL).args(arguments))
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end()
    }

    /// Starts the program without any capability.
    pub(crate) fn start_without_privileges(&self, arguments: &[&str]) -> Running {
        let command = self.lab.machine().command("setpriv").args(WITHOUT_PRIVILEGES).arg(BEARERCTL);
        self.spawn(command.args(arguments))
    }

    /// Starts the program with the capabilities that it needs, and no others.
    pub(crate) fn start_with_least_privileges(&self, arguments: &[&str]) -> Running {
        let command = self.lab.machine().command("setpriv").args(LEAST_PRIVILEGES).arg(BEARERCTL);
        self.spawn(command.args(arguments))
    }

    /// Starts a shell with a script that becomes the program.
    pub(crate) fn start_shell(&self, script: &str) -> Running {
        self.spawn(self.lab.machine().command("sh").args(["-c", script]))
    }

    /// Starts another program, which starts ours, with an input.
    pub(crate) fn start_with_input(&self, program: &str, arguments: &[&str]) -> (Running, ChildStdin) {
        let command = self.lab.machine().command(program).args(arguments);
        Running::start_with_input(self.with_directories(command))
    }

    /// Starts another program, which starts ours, with an input and an output that the caller reads.
    pub(crate) fn start_between(&self, program: &str, arguments: &[&str]) -> (Program, ChildStdin, ChildStdout) {
        let command = self.lab.machine().command(program).args(arguments).stdin(Stdio::piped());
        let mut program = self.with_directories(command).spawn().expect("the program starts");
        let (input, output) = (program.take_stdin().expect("a pipe"), program.take_stdout().expect("a pipe"));
        (program, input, output)
    }

    fn spawn(&self, command: NamespaceCommand<'_>) -> Running {
        Running::start(self.with_directories(command))
    }

    /// Starts the program with a pipe that the caller reads.
    pub(crate) fn start_with_reader(&self, arguments: &[&str]) -> (Program, ChildStdout) {
        let command = self.lab.machine().command(BEARERCTL).args(arguments);
        let mut program = self.with_directories(command).spawn().expect("the program starts");
        let output = program.take_stdout().expect("a pipe");
        (program, output)
    }

    fn with_directories<'a>(&self, command: NamespaceCommand<'a>) -> NamespaceCommand<'a> {
        let directory = |name: &str| self.directory.path().join(name);
        command
            .env("NETBEARER_CONFIG_DIR", directory("configuration"))
            .env("NETBEARER_RUNTIME_DIR", directory("runtime"))
            .env("NETBEARER_STATE_DIR", directory("state"))
            .stdout(Stdio::piped())
    }

    /// Starts the machine's service, and waits until it is ready.
    pub(crate) fn start_service(&self) -> Running {
        let service = self.spawn(self.lab.machine().command(bearerd()).arg("--no-bus"));
        service.errors.wait_for_text("ready: ", DEADLINE).expect("the service starts");
        service
    }

    /// A stage where everybody may look at what the program has there. An ordinary user gets the program itself, too, wherever
    /// it was built.
    pub(crate) fn let_everybody_in(&self) {
        fs::set_permissions(self.directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        // By a program of its own: a file that is open for writing cannot be executed, and what other tests start at that
        // moment would have it open.
        self.lab
            .machine()
            .command("cp")
            .args([BEARERCTL.as_ref(), self.ordinary_program().as_path()])
            .output()
            .unwrap();
    }

    fn ordinary_program(&self) -> PathBuf {
        self.directory.path().join("bearerctl")
    }

    /// Starts the program as a user that nobody is, to whom [nothing is closed](Self::let_everybody_in).
    pub(crate) fn start_as_ordinary_user(&self, arguments: &[&str]) -> Running {
        let user = format!("{ORDINARY}");
        let command = self.lab.machine().command("setpriv").args(["--reuid", &user, "--regid", &user]);
        self.spawn(
            command.args(["--clear-groups", "--inh-caps=-all", "--"]).arg(self.ordinary_program()).args(arguments),
        )
    }

    /// Starts the program in a network namespace of its own.
    pub(crate) fn start_elsewhere(&self, arguments: &[&str]) -> Running {
        self.spawn(self.lab.machine().command("unshare").args(["--net", BEARERCTL]).args(arguments))
    }

    /// A file of the runtime directory.
    pub(crate) fn runtime_file(&self, name: &str) -> PathBuf {
        self.directory.path().join("runtime").join(name)
    }

    /// Whether the kernel has `ap0` up with an address.
    pub(crate) fn is_up(&self) -> bool {
        let told = self.lab.machine().command("ip").args(["-json", "address", "show", "ap0"]).output().unwrap();
        let told: Value = serde_json::from_str(&told).unwrap();
        let flags = told[0]["flags"].as_array().unwrap();
        let addresses = told[0]["addr_info"].as_array().unwrap();
        flags.contains(&"UP".into()) && addresses.iter().any(|address| address["family"] == "inet")
    }

    /// The library in this process, on the lab's machine and with the program's directories. The calling thread moves there.
    pub(crate) fn manager(&self) -> Manager {
        self.lab.machine().enter().expect("this thread moves to the lab's machine");
        let directories = Directories::below(self.directory.path());
        Manager::start(Embedded::default().directories(directories)).expect("the service starts")
    }

    /// Starts `open ap0`, and waits until it is open.
    pub(crate) fn opened(&self) -> Running {
        let open = self.start(&["open", "ap0"]);
        open.wait_for("Opened");
        open
    }

    fn difference(&self) -> String {
        let now = Snapshot::take(self.lab.machine()).expect("the machine can be looked at");
        self.before.difference(&now)
    }

    pub(crate) fn assert_as_before(&self) {
        let difference = self.difference();
        assert!(difference.is_empty(), "the machine is not as before:\n{difference}");
    }

    /// So that it shows when everything is as before again.
    pub(crate) fn assert_changed(&self) {
        assert!(self.difference().contains("10.10.0."), "no address was added:\n{}", self.difference());
    }
}

impl Running {
    /// Starts a program whose output and errors are read.
    pub(crate) fn start(command: NamespaceCommand<'_>) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = command.spawn().expect("the program starts");
        let output = program.stdout_lines().expect("a pipe");
        let errors = program.stderr_lines().expect("a pipe");
        Self { program, output, errors }
    }

    /// Starts a program that also gets an input.
    pub(crate) fn start_with_input(command: NamespaceCommand<'_>) -> (Self, ChildStdin) {
        let mut running = Self::start(command.stdin(Stdio::piped()));
        let input = running.program.take_stdin().expect("a pipe");
        (running, input)
    }

    /// Waits for a line of output that contains this.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.output.wait_for_text(text, DEADLINE).unwrap_or_else(|error| {
            panic!("{error}\nstandard error:\n{}", self.errors.entries().join("\n"));
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.program.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.program.signal(signal).expect("it runs");
    }

    /// Waits for the end; false if it does not come in time.
    pub(crate) fn ends_within(&mut self, time: Duration) -> bool {
        self.program.wait(time).is_ok()
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Ended {
        let status = self.program.wait(DEADLINE);
        let (mut output, mut errors) = (all(&self.output), all(&self.errors));
        // At a terminal both are one.
        let said_first = take_what_is_said_first(&mut errors).or_else(|| take_what_is_said_first(&mut output));
        let status = status.unwrap_or_else(|error| panic!("{error}\n{output:?}\n{errors:?}"));
        let code = status.code().or_else(|| Some(128 + status.signal()?)).expect("it has ended");
        Ended { code, said_first, output, errors }
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end_by(self, signal: Signal) -> Ended {
        self.signal(signal);
        self.end()
    }
}

/// Takes the line away that tells why the program does the work itself, if it is the first.
fn take_what_is_said_first(lines: &mut Vec<String>) -> Option<String> {
    let is_said = lines.first().is_some_and(|line| line.contains("so this program does the work itself"));
    is_said.then(|| lines.remove(0))
}

/// All lines of a program that has ended: nothing matches, and waiting ends with the last line.
fn all(record: &Record<String>) -> Vec<String> {
    record.wait_for("the end", DEADLINE, |_| false).expect_err("nothing matches");
    record.entries()
}

impl Ended {
    /// The output as one JSON value.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.output.join("\n")).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error as programs read it.
    pub(crate) fn json_error(&self) -> Value {
        let object = self.errors.iter().find(|line| line.starts_with('{'));
        serde_json::from_str(object.unwrap_or_else(|| panic!("no object in {self:?}"))).expect("JSON")
    }

    /// Asserts the code, and that this is said on standard error.
    #[track_caller]
    pub(crate) fn assert_failed(&self, code: i32, message: &str) {
        assert_eq!(self.code, code, "{self:?}");
        let errors = self.errors.join("\n");
        assert!(errors.contains("bearerctl: ") && errors.contains(message), "not \"{message}\":\n{errors}");
    }

    /// The words of a time line, in order, without times and details.
    pub(crate) fn words(&self) -> Vec<&str> {
        self.output
            .iter()
            .map(|line| line.split_whitespace().nth(2).unwrap_or_else(|| panic!("no time line: {self:?}")))
            .collect()
    }

    /// Lines of JSON with `TIME` for the time, which is checked here.
    pub(crate) fn objects_without_time(&self) -> Vec<String> {
        self.output.iter().map(|line| without_time(line)).collect()
    }
}

pub(crate) fn without_time(line: &str) -> String {
    let (head, rest) = line.split_once("\"time\":\"").unwrap_or_else(|| panic!("no time in {line}"));
    let (time, tail) = rest.split_once('"').expect("the time ends");
    let parsed = humantime::parse_rfc3339(time).unwrap_or_else(|error| panic!("{time}: {error}"));
    assert_eq!(time.len(), "2026-01-01T00:00:00.000000Z".len(), "microseconds: {time}");
    let age = SystemTime::now().duration_since(parsed).expect("it lies in the past");
    assert!(age < Duration::from_secs(300), "{time} is {age:?} ago");
    format!("{head}\"time\":\"TIME\"{tail}")
}
