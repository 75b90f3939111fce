//! The daemon as a process on the lab's machine.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use netbearer::{Daemon, Directories};
use netbearer_holder::Way;
use netbearer_lab::{Namespace, Program, Signal, own_program};
use netbearer_profiles::{ProfileStore, writing};
use netbearer_types::Matching;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{
        CWD, FileType, Mode,
        inotify::{self, CreateFlags, WatchFlags},
        mknodat,
    },
};

use crate::{
    setup::{Resolver, Setup},
    stage::DEADLINE,
    transport::Transport,
};

/// What our package puts where system buses look for policies.
const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bearerd/dbus/org.netbearer.Bearer1.conf");

/// Whose members may open sessions: one that every machine has.
const GROUP: &str = "users";

/// Much longer than a program takes to begin.
const BEGINNING: Duration = Duration::from_secs(1);

/// A running daemon. Dropping it has it end, and waits for that.
#[derive(Debug)]
pub(crate) struct DaemonProcess {
    place: Place,
    setup: Setup,
    /// None once it has ended.
    program: Mutex<Option<Program>>,
    /// Profiles of the setup, as files.
    written: Vec<PathBuf>,
    _bus: Option<netbearer_lab::Daemon>,
}

/// Where it finds everything.
#[derive(Debug)]
struct Place {
    directory: PathBuf,
    /// Below it the machine's files are looked for.
    root: PathBuf,
    suspends: PathBuf,
    bus: Option<PathBuf>,
}

impl DaemonProcess {
    /// Starts it on this machine, with its own files in this directory, which the machine shares.
    pub(crate) fn start(machine: &Namespace, directory: &Path, has_own_files: bool, setup: Setup) -> Self {
        let place = Place {
            directory: directory.to_owned(),
            root: directory.join("root"),
            suspends: directory.join("suspends"),
            bus: (Transport::chosen() == Transport::Bus).then(|| directory.join("bus")),
        };
        let bus = place.bus.as_deref().map(|socket| {
            let policed = netbearer_lab::Daemon::policed_bus(machine, socket, &[Path::new(POLICY)]);
            policed.expect("a system bus with our policy")
        });
        fs::create_dir_all(&place.root).expect("a directory");
        if has_own_files {
            place.link_files(setup.resolver.as_ref());
        }
        if !place.suspends.exists() {
            let mode = Mode::RUSR | Mode::WUSR;
            mknodat(CWD, &place.suspends, FileType::Fifo, mode, 0).expect("a pipe for suspends");
        }
        let written = write_profiles(&place.directories().configuration, &setup);
        let program = place.spawn(machine, &setup);
        Self { place, setup, program: Mutex::new(Some(program)), written, _bus: bus }
    }

    /// What it was started with.
    pub(crate) const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Its process number, as it is outside of the machine.
    pub(crate) fn process(&self) -> u32 {
        self.program().as_ref().expect("it runs").id()
    }

    /// How clients find it.
    pub(crate) fn address(&self) -> Daemon {
        let daemon = Daemon::default().directories(self.place.directories());
        daemon.system_bus(self.place.bus_address()).patience(DEADLINE)
    }

    /// Its own socket, which it has beside a bus as well.
    pub(crate) fn socket(&self) -> PathBuf {
        netbearer_dbus::socket_path(&self.place.directories().runtime)
    }

    /// How another process gets to it.
    pub(crate) fn way(&self) -> Way {
        self.place.bus_address().map_or_else(|| self.way_by_socket(), |address| Way::Bus { address })
    }

    /// How it does in any case.
    pub(crate) fn way_by_socket(&self) -> Way {
        Way::Socket { directory: self.place.directory.clone() }
    }

    /// The machine seems to have been suspended for so long. The daemon has heard of it when this returns.
    pub(crate) fn suspend(&self, duration: Duration) {
        let open = || File::options().write(true).open(&self.place.suspends).expect("the daemon listens for suspends");
        write!(open(), "{}", duration.as_millis()).expect("the daemon reads suspends");
        // It listens again when it has done what it has read.
        drop(open());
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(&self) {
        let mut program = self.program().take().expect("it runs");
        program.signal(Signal::KILL).expect("it runs");
        program.wait(DEADLINE).expect("it is killed");
    }

    /// Starts it again after it was killed, as it was.
    pub(crate) fn start_again(&self, machine: &Namespace) {
        *self.program() = Some(self.place.spawn(machine, &self.setup));
    }

    /// Has it end in good order, and waits until it has.
    pub(crate) fn end(&self) {
        if let Some(mut program) = self.program().take() {
            program.signal(Signal::TERM).expect("it runs");
            let status = program.wait(DEADLINE).expect("it ends");
            assert!(status.success(), "{status}");
            for file in &self.written {
                fs::remove_file(file).expect("nobody else removes it");
            }
        }
    }

    /// It was told to end.
    pub(crate) fn has_ended(&self) -> bool {
        self.program().is_none()
    }

    fn program(&self) -> MutexGuard<'_, Option<Program>> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DaemonProcess {
    fn drop(&mut self) {
        // A test that has failed needs no order, but the message of its failure.
        if !std::thread::panicking() && !self.has_ended() {
            self.place.wait_for_copies().expect("holds can be watched");
            self.end();
        }
    }
}

impl Place {
    /// A program that another test starts just now has copies of all our descriptors until it has begun. A daemon that ends
    /// meanwhile would leave to the next one what they hold. What others hold is not waited for.
    fn wait_for_copies(&self) -> io::Result<()> {
        let holds = netbearer_dbus::holds_path(&self.directories().runtime);
        let watch = inotify::init(CreateFlags::CLOEXEC)?;
        if inotify::add_watch(&watch, &holds, WatchFlags::DELETE | WatchFlags::ONLYDIR).is_err() {
            return Ok(());
        }
        let deadline = Instant::now() + BEGINNING;
        while fs::read_dir(&holds)?.next().is_some() {
            let left =
                Timespec::try_from(deadline.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
            if poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&left))? == 0 {
                break;
            }
            rustix::io::read(&watch, &mut [0; 4096])?;
        }
        Ok(())
    }

    fn directories(&self) -> Directories {
        Directories::below(&self.directory)
    }

    fn bus_address(&self) -> Option<String> {
        self.bus.as_ref().map(|socket| format!("unix:path={}", socket.display()))
    }

    /// Lets the files of a machine with files of its own be found below our root.
    fn link_files(&self, resolver: Option<&Resolver>) {
        let programs = self.root.join("usr/sbin");
        fs::create_dir_all(&programs).expect("a directory");
        for name in ["run", "etc"] {
            let link = self.root.join(name);
            if link.symlink_metadata().is_err() {
                symlink(Path::new("/").join(name), link).expect("a link");
            }
        }
        if let Some(Resolver::Resolvconf(directory)) = resolver {
            let link = programs.join("resolvconf");
            let _ = fs::remove_file(&link);
            symlink(directory.join("sbin/resolvconf"), link).expect("a link");
        }
    }

    fn spawn(&self, machine: &Namespace, setup: &Setup) -> Program {
        let program = own_program("bearerd").expect("the daemon is built");
        let Directories { configuration, runtime, state } = self.directories();
        let mut command = machine
            .command(program)
            .arg("--root")
            .arg(&self.root)
            .arg("--injected-suspends")
            .arg(&self.suspends)
            .args(["--group", GROUP])
            .env("NETBEARER_CONFIG_DIR", configuration)
            .env("NETBEARER_RUNTIME_DIR", runtime)
            .env("NETBEARER_STATE_DIR", state);
        if let Some(patience) = setup.patience {
            command = command.arg("--patience").arg(patience.as_millis().to_string());
        }
        // Never the bus of the machine that the lab is on.
        let nowhere = format!("unix:path={}", self.root.join("no-bus").display());
        command = command.env("DBUS_SYSTEM_BUS_ADDRESS", self.bus_address().unwrap_or(nowhere));
        command.spawn().expect("the daemon starts")
    }
}

/// Writes the profiles of a setup as an administrator would, and makes sure that they are read as what they are.
fn write_profiles(configuration: &Path, setup: &Setup) -> Vec<PathBuf> {
    let directory = configuration.join("profiles.d");
    fs::create_dir_all(&directory).expect("a directory");
    let mut written = Vec::new();
    let mut write = |name: String, text: Result<String, writing::WritingError>| {
        let file = directory.join(format!("{name}.toml"));
        fs::write(&file, text.expect("files can say it")).expect("the file is written");
        written.push(file);
    };
    for (interface_name, profile) in &setup.profiles {
        let matching = Matching { interface: Some(interface_name.clone()), ..Matching::default() };
        write(file_of_interface(interface_name), writing::access_point(&matching, profile));
    }
    for (name, profile) in &setup.service_networks {
        write(name.clone(), writing::service_network(profile));
    }
    for (name, profile) in &setup.user_choices {
        write(name.clone(), writing::user_choice(profile));
    }
    let reading = ProfileStore::new(configuration).read();
    for (interface_name, profile) in &setup.profiles {
        let read = reading.profiles.by_file.get(&file_of_interface(interface_name));
        assert_eq!(read.map(|read| &read.profile), Some(profile), "{:?}", reading.mistakes);
    }
    written
}

/// No name that a scenario has for anything.
fn file_of_interface(interface_name: &str) -> String {
    format!("of-{interface_name}")
}
