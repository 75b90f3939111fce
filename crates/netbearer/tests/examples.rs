//! The examples, as a reader would run them, on a machine of the lab.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::Stdio,
    sync::mpsc,
    thread,
    time::Duration,
};

use netbearer_lab::{AccessPoint, AccessPointPlan, Dhcp, ECHO_PORT, INTERNET, Lab, NamespaceCommand, Snapshot};
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

    fn write_profile(&self, interface: &str, settings: &str) {
        let directory = self.directory.path().join("configuration/profiles.d");
        fs::create_dir_all(&directory).unwrap();
        let text = format!("[match]\ninterface = \"{interface}\"\n\n[access_point]\n{settings}\n");
        fs::write(directory.join(format!("{interface}.toml")), text).unwrap();
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

/// A web server behind an access point, which knows of parts.
struct FileServer {
    /// From which byte on something was asked for.
    asked: mpsc::Receiver<usize>,
}

impl FileServer {
    /// It serves this file up to `end`; then it says nothing more, as a link that has become bad.
    fn start(access_point: &AccessPoint, file: &[u8], end: usize) -> Self {
        let listener = listen(access_point);
        let (asking, asked) = mpsc::channel();
        let file = file.to_owned();
        // It ends with the test's process.
        thread::spawn(move || {
            // A connection that was made for a test asks nothing.
            let streams = listener.incoming().flatten();
            let mut kept = Vec::new();
            for stream in streams {
                if let Ok(begin) = serve_part(&stream, &file, end) {
                    let _ = asking.send(begin);
                    kept.push(stream);
                }
            }
        });
        Self { asked }
    }
}

const FILE_PORT: u16 = 8080;

fn listen(access_point: &AccessPoint) -> TcpListener {
    access_point.namespace().run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, FILE_PORT))).unwrap()
}

fn serve_part(mut stream: &TcpStream, file: &[u8], end: usize) -> io::Result<usize> {
    let lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let ranges = lines.filter_map(|line| line.strip_prefix("Range: bytes=")?.strip_suffix('-')?.parse().ok());
    let begin = ranges.last().ok_or(io::ErrorKind::UnexpectedEof)?;
    let length = file.len() - begin;
    // Names of headers may be written in any case.
    write!(stream, "HTTP/1.0 206 Partial Content\r\nserver: lab\r\ncontent-length: {length}\r\n\r\n")?;
    stream.write_all(file.get(begin..end).unwrap_or_default())?;
    Ok(begin)
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

#[test]
fn a_download_goes_on_with_the_rest_by_a_better_access_point() {
    let machine = Machine::new();
    let (preferred, other) = (machine.lab.access_point("ap0").unwrap(), machine.lab.access_point("ap1").unwrap());
    let file: Vec<u8> = (0..1_000_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
    let half = file.len() / 2;
    let (all, part) = (FileServer::start(preferred, &file, file.len()), FileServer::start(other, &file, half));
    preferred.cut().unwrap();
    machine.write_profile("ap0", "carrier_timeout = \"300ms\"");
    let copy = machine.directory.path().join("copy");
    let server = format!("{INTERNET}:{FILE_PORT}");
    let example = machine.example("roaming_download").args([&server, "/file"]).arg(&copy).args(["ap0", "ap1"]);
    let mut program = example.stdout(Stdio::piped()).spawn().unwrap();
    let said = program.stdout_lines().unwrap();
    assert_eq!(part.asked.recv_timeout(DEADLINE).unwrap(), 0, "{:?}", said.entries());
    preferred.restore().unwrap();
    assert!(program.wait(DEADLINE).unwrap().success(), "{:?}", said.entries());
    assert!(fs::read(&copy).unwrap() == file, "the copy is another one: {:?}", said.entries());
    // What had come by the one was not asked for again by the other.
    let begin = all.asked.recv_timeout(DEADLINE).unwrap();
    assert!(0 < begin && begin <= half, "{begin}: {:?}", said.entries());
    assert_eq!((all.asked.try_iter().count(), part.asked.try_iter().count()), (0, 0), "{:?}", said.entries());
}

#[test]
fn a_download_ends_with_an_answer_that_will_not_change() {
    let machine = Machine::new();
    let listener = listen(machine.lab.access_point("ap0").unwrap());
    let copy = machine.directory.path().join("copy");
    let server = format!("{INTERNET}:{FILE_PORT}");
    // What is there already would be there twice, if the whole file were taken for what is missing.
    for (there, answer) in [("", "404 Not Found"), ("half", "200 OK"), ("all", "416 Range Not Satisfiable")] {
        fs::write(&copy, there).unwrap();
        let example = machine.example("roaming_download").args([&server, "/file"]).arg(&copy).arg("ap0");
        let mut program = example.stdout(Stdio::piped()).spawn().unwrap();
        let said = program.stdout_lines().unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let asked = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
        assert!(asked.count() > 1);
        write!(stream, "HTTP/1.0 {answer}\r\nContent-Length: 4\r\n\r\nfull").unwrap();
        assert!(!program.wait(DEADLINE).unwrap().success(), "{answer}: {:?}", said.entries());
        assert_eq!(fs::read_to_string(&copy).unwrap(), there, "{answer}");
    }
}
