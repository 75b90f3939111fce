//! The sandbox, as an ordinary user has it: on a machine whose processes, interfaces and files are counted before and after.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::ChildStdin,
    time::{Duration, Instant},
};

use netbearer_lab::{Lab, NamespaceCommand, Signal, Snapshot};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    stage::{BEARERCTL, DEADLINE, Ended, Running, bearerd},
    terminal,
};

/// Users that nobody is. A developer who runs tests in a user namespace has them not, and is without privileges instead.
const ORDINARY: u32 = 65_534;
const ANOTHER: u32 = 65_533;
/// Halfway through the tour: two pauses before this are over, and the third lasts.
pub(crate) const HALFWAY: &str = "2. A program opens the session";
/// The tour's figures that are promises of the whole project.
const FIGURES: [&str; 4] = ["open", "open again", "last close", "told of a cut cable"];

/// A machine with files and process numbers of its own, where an ordinary user has the program.
pub(crate) struct Host {
    pub(crate) lab: Lab,
    directory: TempDir,
}

/// What could be left behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Census {
    processes: BTreeSet<String>,
    namespaces: BTreeSet<PathBuf>,
    mounts: String,
    files: BTreeSet<PathBuf>,
}

impl Host {
    pub(crate) fn new() -> Self {
        let lab = Lab::builder().own_files().build().expect("the machine is made");
        let directory = TempDir::new().expect("a temporary directory");
        let everybody = fs::Permissions::from_mode(0o777);
        fs::set_permissions(directory.path(), everybody).unwrap();
        let host = Self { lab, directory };
        host.add(Path::new(BEARERCTL));
        host
    }

    /// Gives the user a program.
    fn add(&self, program: &Path) {
        // By a program of its own: a file that is open for writing cannot be executed, and what other tests start at that
        // moment would have it open.
        let copy = [program, &self.directory.path().join(program.file_name().unwrap())];
        self.lab.machine().command("cp").args(copy).output().expect("the program can be copied");
    }

    /// The program, to be run by a user of that number.
    fn command(&self, user: u32, before: &[&str], arguments: &[&str]) -> NamespaceCommand<'_> {
        self.as_user(user).args(before).arg(self.directory.path().join("bearerctl")).args(arguments)
    }

    /// `setpriv` with what makes a user of that number; the program is to follow.
    fn as_user(&self, user: u32) -> NamespaceCommand<'_> {
        let mut command = self.lab.machine().command("setpriv").arg("--inh-caps=-all");
        if is_mapped(user) {
            let identity = [format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()];
            command = command.args(identity);
        } else {
            command = command.arg("--bounding-set=-all");
        }
        for variable in ["HOME", "TMPDIR", "XDG_RUNTIME_DIR"] {
            command = command.env(variable, self.directory.path());
        }
        command
    }

    /// A file or directory of the ordinary user's.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A shell at a terminal of its own, with a command line in which `$B` is the program.
    pub(crate) fn at_terminal(&self, line: &str) -> (Running, ChildStdin) {
        let command = self.as_user(ORDINARY).env("B", self.directory.path().join("bearerctl")).env("TERM", "xterm");
        Running::start_with_input(command.args(["--", "script"]).args(terminal::script(line)))
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(ORDINARY, &["--"], arguments))
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end()
    }

    pub(crate) fn census(&self) -> Census {
        let machine = self.lab.machine();
        let (mut processes, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
        for entry in fs::read_dir(machine.path("/proc")).unwrap().flatten() {
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            // One that has ended, and is gone as soon as its parent looks for it, or just now.
            if status.is_empty() || ["\nState:\tZ", "\nState:\tX"].iter().any(|ended| status.contains(ended)) {
                continue;
            }
            if let Some(number) = entry.file_name().to_str().filter(|name| name.parse::<u32>().is_ok()) {
                processes.insert(format!("{number} {}", status.lines().next().unwrap_or_default()));
                let kinds = fs::read_dir(entry.path().join("ns")).into_iter().flatten().flatten();
                namespaces.extend(kinds.filter_map(|kind| fs::read_link(kind.path()).ok()));
            }
        }
        let mut files = self.strays();
        for directory in [machine.path("/run"), machine.path("/var/lib"), self.directory.path().to_owned()] {
            walk(&directory, &mut files);
        }
        let mounts = machine.command("cat").arg("/proc/self/mountinfo").output().unwrap();
        Census { processes, namespaces, mounts, files }
    }

    /// What the ordinary user has in directories that all users share, other tests too.
    fn strays(&self) -> BTreeSet<PathBuf> {
        let shared = ["/tmp", "/var/tmp", "/dev/shm"].map(|directory| self.lab.machine().path(directory));
        let entries = shared.into_iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
        let is_his = |path: &PathBuf| path.symlink_metadata().is_ok_and(|metadata| metadata.uid() == ORDINARY);
        entries.map(|entry| entry.path()).filter(is_his).collect()
    }

    /// Runs `work`, and asserts that it leaves nothing behind.
    pub(crate) fn leaves_nothing(&self, work: impl FnOnce()) {
        let (census, snapshot) = (self.census(), Snapshot::take(self.lab.machine()).unwrap());
        work();
        assert_eq!(self.census(), census);
        let difference = snapshot.difference(&Snapshot::take(self.lab.machine()).unwrap());
        assert!(difference.is_empty(), "{difference}");
    }
}

/// Whether there is a user of that number in our user namespace (`user_namespaces(7)`).
fn is_mapped(user: u32) -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if (first..first + count).contains(&u64::from(user)))
    })
}

fn walk(directory: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        files.insert(entry.path());
        if kind.is_dir() {
            walk(&entry.path(), files);
        }
    }
}

/// The process and all below it, in a way that tells their end.
pub(crate) fn family(process: u32) -> Vec<OwnedFd> {
    let mut numbers = vec![process];
    let mut family = Vec::new();
    while let Some(number) = numbers.pop() {
        let pid = Pid::from_raw(number.cast_signed()).unwrap();
        family.push(pidfd_open(pid, PidfdFlags::empty()).expect("it runs"));
        for thread in fs::read_dir(format!("/proc/{number}/task")).unwrap().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            numbers.extend(children.split_whitespace().map(|child| child.parse::<u32>().unwrap()));
        }
    }
    family
}

#[track_caller]
pub(crate) fn wait_for_the_end_of(family: &[OwnedFd]) {
    let end = Instant::now() + DEADLINE;
    for member in family {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).unwrap();
        let ended = poll(&mut [PollFd::new(member, PollFlags::IN)], Some(&left)).unwrap();
        assert_eq!(ended, 1, "a process of the sandbox lives on");
    }
}

#[test]
fn the_tour_shows_the_main_job_in_under_a_minute_and_leaves_nothing() {
    let host = Host::new();
    host.leaves_nothing(|| {
        let began = Instant::now();
        let ended = host.run(&["lab", "tour"]);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
        let output = ended.output.join("\n");
        assert!(!output.contains('\x1b'), "colours without a terminal: {output}");
        for told in [
            "1. Nobody needs",
            HALFWAY,
            "Opened",
            "Closed",
            "Disconnected",
            "SessionAborted",
            "OnTrial",
            "Roamed",
            "That was it",
        ] {
            assert!(output.contains(told), "no \"{told}\":\n{output}");
        }
    });
}

#[test]
fn the_tour_tells_programs_what_it_measured() {
    let host = Host::new();
    let ended = host.run(&["lab", "tour", "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let steps: Vec<Value> = ended.output.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(
        steps.iter().map(|step| step["step"].as_u64().unwrap()).collect::<Vec<_>>(),
        (0..=15).collect::<Vec<_>>()
    );
    for figure in FIGURES {
        let measured = steps.iter().find_map(|step| step["milliseconds"][figure].as_f64());
        assert!(measured.unwrap_or_else(|| panic!("no {figure}: {ended:?}")) > 0.0, "{ended:?}");
    }
    let opened = steps[2]["events"].as_array().unwrap().last().unwrap();
    assert_eq!(opened[1]["event"], "Opened", "{ended:?}");
}

#[test]
fn a_tour_that_is_interrupted_halfway_says_so_and_leaves_nothing() {
    let host = Host::new();
    host.leaves_nothing(|| {
        let tour = host.start(&["lab", "tour", "--pause", "300ms"]);
        tour.wait_for(HALFWAY);
        tour.end_by(Signal::INT).assert_failed(130, "ended by SIGINT before the tour was over");
    });
}

#[test]
fn a_tour_that_is_killed_halfway_leaves_nothing() {
    let host = Host::new();
    host.leaves_nothing(|| {
        let tour = host.start(&["lab", "tour", "--pause", "300ms"]);
        tour.wait_for(HALFWAY);
        let family = family(tour.id());
        assert_eq!(family.len(), 2, "the program, and the sandbox's first process");
        assert_eq!(tour.end_by(Signal::KILL).code, 137);
        wait_for_the_end_of(&family);
    });
}

#[test]
fn whatever_a_command_starts_ends_with_the_sandbox_and_its_code_is_passed() {
    let host = Host::new();
    host.leaves_nothing(|| {
        let ended = host.run(&["lab", "--", "sh", "-c", "setsid sleep 1000 & ip -brief link; exit 7"]);
        assert_eq!(ended.code, 7, "{ended:?}");
        let links: Vec<&str> = ended.output.iter().filter_map(|line| line.split(['@', ' ']).next()).collect();
        assert_eq!(links, ["lo", "ap0", "ap1"], "{ended:?}");
    });
}

#[test]
fn a_killed_sandbox_ends_with_all_its_commands() {
    let host = Host::new();
    host.leaves_nothing(|| {
        let lab = host.start(&["lab", "--", "sh", "-c", "setsid sleep 1000 & echo started; wait"]);
        lab.wait_for("started");
        let family = family(lab.id());
        assert_eq!(family.len(), 4, "the program, the sandbox's first process, the shell and its sleep");
        assert_eq!(lab.end_by(Signal::KILL).code, 137);
        wait_for_the_end_of(&family);
    });
}

#[test]
fn a_cable_is_cut_and_restored_from_outside_under_a_session_inside() {
    let host = Host::new();
    host.leaves_nothing(|| {
        // The second session is opened when it is told to.
        let script = "bearerctl open ap0; echo code $?; read line; exec bearerctl open ap0";
        let command = host.command(ORDINARY, &["--"], &["lab", "--", "sh", "-c", script]);
        let (lab, mut input) = Running::start_with_input(command);
        lab.wait_for("Opened");
        let ended = host.run(&["lab", "cut", "ap0"]);
        assert_eq!((ended.code, &ended.output[..]), (0, &["ap0: the cable is cut".to_owned()][..]), "{ended:?}");
        lab.wait_for("SessionAborted");
        lab.wait_for("code 7");
        let before = lab.output.mark();
        let ended = host.run(&["lab", "restore", "ap0", "--json"]);
        assert_eq!(ended.json()["cable_in_order"], true, "{ended:?}");
        input.write_all(b"go on\n").unwrap();
        for told in ["Opened", "10.10.0.100/24"] {
            lab.output.wait_for_text_since(before, told, DEADLINE).unwrap();
        }
        let status = host.run(&["lab", "status", "--json"]).json();
        assert_eq!(status[0]["leases"], serde_json::json!(["10.10.0.100"]), "{status}");
        assert_eq!(lab.end_by(Signal::INT).code, 0, "the signal is passed on, and the session is closed in order");
    });
}

#[test]
fn names_and_both_families_lead_to_the_server_behind_the_access_point() {
    let host = Host::new();
    let script = "bearerctl run --on ap1 -- sh -c '\
        getent ahostsv4 server.lab; getent ahostsv6 server.lab; \
        ip monitor address & ip -6 address show dev ap1; wait'";
    let lab = host.start(&["lab", "--", "sh", "-c", script]);
    lab.wait_for("198.51.100.1 ");
    lab.wait_for("2001:db8:ffff::1 ");
    lab.wait_for("2001:db8:a01:");
    lab.end_by(Signal::KILL);
}

#[test]
fn a_sandbox_obeys_its_own_user_only() {
    let host = Host::new();
    let lab = host.start(&["lab", "--", "sh", "-c", "echo started; sleep 1000"]);
    lab.wait_for("started");
    // In a user namespace of one user there is no other.
    if is_mapped(ANOTHER) {
        let other = Running::start(host.command(ANOTHER, &["--"], &["lab", "cut", "ap0"]));
        other.end().assert_failed(4, "no sandbox of yours runs here");
    }
    assert_eq!(host.run(&["lab", "status"]).code, 0);
    let second = host.start(&["lab", "--", "sh", "-c", "echo started; sleep 1000"]);
    second.wait_for("started");
    host.run(&["lab", "status"]).assert_failed(3, "several sandboxes of yours run here");
    let ended = host.run(&["lab", "status", "--sandbox", "1"]);
    ended.assert_failed(4, "process 1 has made no sandbox of yours; there are those of ");
    for sandbox in [&lab, &second] {
        // In the host's numbers.
        let status = fs::read_to_string(format!("/proc/{}/status", sandbox.id())).unwrap();
        let number = status.lines().find(|line| line.starts_with("NSpid:")).unwrap().rsplit('\t').next().unwrap();
        assert!(ended.errors.join("").contains(number), "{number}: {ended:?}");
        assert_eq!(host.run(&["lab", "status", "--sandbox", number]).code, 0);
    }
    lab.end_by(Signal::KILL);
    second.end_by(Signal::KILL);
}

#[test]
fn what_a_sandbox_cannot_do_is_refused_with_the_reason() {
    let host = Host::new();
    let script = "bearerctl lab cut ap7; echo code $?; bearerctl lab slow ap0; echo code $?; \
        bearerctl lab slow ap0 --rate fast; echo code $?; bearerctl lab slow ap0 --rate 1mbit";
    let ended = host.run(&["lab", "--", "sh", "-c", script]);
    assert_eq!(ended.output, ["code 3", "code 2", "code 2", "ap0: the cable is in order, slowed: 1mbit"], "{ended:?}");
    ended.assert_failed(0, "the lab has no access point ap7; it has: ap0, ap1");
    // What the sandbox's environment says was not given.
    let usage = "Usage: bearerctl lab slow <--rate <RATE>|--delay <DURATION>> <ACCESS_POINT>";
    assert!(ended.errors.contains(&usage.to_owned()), "{ended:?}");
}

#[test]
fn a_user_who_is_root_anyway_needs_no_user_namespace() {
    let host = Host::new();
    let machine = host.lab.machine();
    let namespaces = ["/proc/self/ns/user", "/proc/self/ns/net"];
    let outside = machine.command("readlink").args(namespaces).output().unwrap();
    let inside = machine.command(BEARERCTL).args(["lab", "--", "readlink"]).args(namespaces).output().unwrap();
    let (outside, inside): (Vec<&str>, Vec<&str>) = (outside.lines().collect(), inside.lines().collect());
    assert!(outside[0] == inside[0] && outside[1] != inside[1], "{outside:?} {inside:?}");
    let as_ordinary_user = host.run(&["lab", "--", "readlink", "/proc/self/ns/user"]);
    assert_ne!(as_ordinary_user.output, [outside[0].to_owned()], "{as_ordinary_user:?}");
}

/// What is found as `/etc/resolv.conf`: a file, links as systemd-resolved, NetworkManager and resolvconf make them, with and
/// without what they lead to, and nothing.
const RESOLVER_FILES: [&str; 8] = [
    "echo nameserver 192.0.2.53 > resolv.conf",
    "echo nameserver 192.0.2.53 > resolv.conf.other; ln -s resolv.conf.other resolv.conf",
    "ln -s ../run/systemd/resolve/stub-resolv.conf resolv.conf; mkdir -p /run/systemd/resolve; \
        echo nameserver 127.0.0.53 > /run/systemd/resolve/stub-resolv.conf",
    "ln -s ../run/elsewhere/resolv.conf resolv.conf",
    "ln -s /run/NetworkManager/resolv.conf resolv.conf; mkdir -p /run/NetworkManager; \
        echo nameserver 192.0.2.53 > /run/NetworkManager/resolv.conf",
    "ln -s /run/resolvconf/resolv.conf resolv.conf",
    "ln -s /nowhere/resolv.conf resolv.conf",
    "true",
];

/// For names to be told, and nobody to be warned.
#[test]
fn the_sandbox_has_a_resolver_file_of_its_own_whatever_the_machine_has() {
    let host = Host::new();
    for preparation in RESOLVER_FILES {
        let script = format!("cd /etc; echo there > neighbour; rm -f resolv.conf; {preparation}");
        host.lab.machine().command("sh").args(["-c", &script]).output().unwrap();
        host.leaves_nothing(|| {
            let script = "stat -c %F /etc/resolv.conf; cat /etc/resolv.conf /etc/neighbour; \
                bearerctl run --on ap0 -- getent ahostsv4 server.lab; stat -c %F /etc/resolv.conf";
            let ended = host.run(&["lab", "--", "sh", "-c", script]);
            let told = ended.output.join("\n");
            assert!(told.starts_with("regular file\n") && told.ends_with("\nregular file"), "{preparation}: {ended:?}");
            assert!(told.contains("\nnameserver 198.51.100.1\nthere\n"), "{preparation}: {ended:?}");
            assert!(told.contains("\n198.51.100.1 "), "{preparation}: {ended:?}");
            assert!(ended.errors.is_empty(), "{preparation}: {ended:?}");
            let tour = host.run(&["lab", "tour"]);
            assert_eq!((tour.code, &tour.errors[..]), (0, &[][..]), "{preparation}: {tour:?}");
        });
    }
}

/// The service is found there where it is beside the program.
#[test]
fn two_programs_in_a_sandbox_share_a_network_by_the_service() {
    let host = Host::new();
    host.add(&bearerd());
    host.leaves_nothing(|| {
        let ended = host.run(&["lab", "--", "sh", "-c", SHARING]);
        assert_eq!(ended.code, 0, "{ended:?}");
        let holders = ended.output.iter().filter(|line| line.contains(" bearerctl ") && line.contains(" ap0 "));
        assert_eq!(holders.count(), 2, "{ended:?}");
        assert_eq!(ended.output.last().map(String::as_str), Some("nothing is up"), "{ended:?}");
    });
}

/// Two programs hold, and tell who does, as soon as the service is ready.
const SHARING: &str = r#"
    { bearerd --no-bus & echo "service $!"; } 2>&1 | while read -r line; do
        case $line in
            "service "*) service=${line#service };;
            *"ready: "*)
                bearerctl run --on ap0 -- bearerctl run --on ap0 -- bearerctl sessions
                bearerctl status
                kill $service;;
        esac
    done"#;

/// Runs the tour where the kernel is set like that, as a user who is not root there.
fn tour_with(host: &Host, setting: &str) -> Ended {
    let script = format!(
        "echo {} && exec unshare --user --map-user=1000 --map-group=1000 -- \"$@\"",
        setting.replace('=', " > /proc/sys/user/")
    );
    let before = ["--", "unshare", "--user", "--map-root-user", "sh", "-c", &script, "sh"];
    Running::start(host.command(ORDINARY, &before, &["lab", "tour"])).end()
}

/// The first is for the sandbox itself, the others are for its machine and access points.
#[test]
fn a_kernel_that_has_too_few_namespaces_is_named_with_what_to_do() {
    let host = Host::new();
    for number in 1..4 {
        let ended = tour_with(&host, &format!("{number}=max_net_namespaces"));
        ended.assert_failed(5, "too few namespaces for this user (user.max_net_namespaces)");
        ended.assert_failed(5, "allow more: sudo sysctl user.max_net_namespaces=1000");
    }
    assert_eq!(tour_with(&host, "4=max_net_namespaces").code, 0);
    // Which one it was the kernel does not tell.
    tour_with(&host, "0=max_pid_namespaces").assert_failed(5, "allow more: sudo sysctl user.max_");
}

#[test]
fn too_few_open_files_are_named_with_what_to_do() {
    let host = Host::new();
    let limited = |files: &str| {
        let command = host.command(ORDINARY, &["--", "prlimit", files], &["lab", "tour"]);
        Running::start(command).end()
    };
    for files in ["--nofile=16", "--nofile=48", "--nofile=64"] {
        limited(files).assert_failed(1, "raise it in the shell: ulimit -n 256");
    }
    assert_eq!(limited("--nofile=256").code, 0);
}

#[test]
fn a_kernel_that_forbids_user_namespaces_is_named_with_what_to_do() {
    let host = Host::new();
    // The setting is that of the user namespace one is in.
    let within = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all -- \"$@\"",
        "sh",
    ];
    let before: Vec<&str> = ["--"].into_iter().chain(within).collect();
    let ended = Running::start(host.command(ORDINARY, &before, &["lab", "tour"])).end();
    ended.assert_failed(5, "this kernel is set to have no user namespaces (user.max_user_namespaces is 0)");
    ended.assert_failed(5, "run it as root, or allow some: sudo sysctl user.max_user_namespaces=1000");
}
