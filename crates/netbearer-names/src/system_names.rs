use std::{io, path::PathBuf, thread};

use netbearer_engine::NameServers;
use netbearer_lookup::resolved as system;
use netbearer_types::{LinkNames, NamesReport};
use rustix::net::{AddressFamily, SocketType, netdevice::index_to_name, socket};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Choice, NamePlaces, NamesError,
    follower::{Follower, Order},
    keep::Keep,
    note::Note,
    resolv_conf::ResolvConfFile,
    resolvconf, resolved,
};

/// Where the machine's resolver is, and where is kept what must be put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamesSettings {
    /// Where the machine's resolver is to be found.
    pub places: NamePlaces,
    /// What others were told, for as long as the machine runs.
    pub runtime_directory: PathBuf,
    /// What `resolv.conf` was.
    pub state_directory: PathBuf,
    /// A process that was killed is gone on with: what it left is not put back at the start, and the first
    /// [`NameServers::follow`] decides what becomes of it, be it without links.
    pub resumed: bool,
}

/// The machine's resolver, told whom to ask.
#[derive(Debug)]
pub struct SystemNames {
    settings: Option<NamesSettings>,
    /// What a killed process has left waits for the first call that tells whom to ask.
    is_undecided: bool,
    /// To a thread that is there since it was first needed.
    orders: Option<mpsc::UnboundedSender<Order>>,
    reporter: mpsc::UnboundedSender<NamesReport>,
    reports: mpsc::UnboundedReceiver<NamesReport>,
}

/// What of a killed process was put back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// What is as before.
    pub restored: Vec<String>,
    /// What is not, and why.
    pub refused: Vec<String>,
}

impl Recovered {
    /// True if there was nothing to do.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl SystemNames {
    /// Puts back what a killed process has left, unless one that is alive keeps it, or it is [gone on
    /// with](NamesSettings::resumed), and waits to be told of links. Without settings it does nothing at all.
    #[must_use]
    pub fn start(settings: Option<NamesSettings>) -> Self {
        let (reporter, reports) = mpsc::unbounded_channel();
        let has_leftovers = settings.as_ref().is_some_and(has_leftovers);
        let is_undecided = has_leftovers && settings.as_ref().is_some_and(|settings| settings.resumed);
        let mut names = Self { settings, is_undecided, orders: None, reporter, reports };
        if has_leftovers && !is_undecided {
            names.orders();
        }
        names
    }

    /// None without anybody to follow.
    fn orders(&mut self) -> Option<&mpsc::UnboundedSender<Order>> {
        if self.orders.is_none() {
            let settings = self.settings.clone()?;
            let (orders, received) = mpsc::unbounded_channel();
            let follower = Follower::new(settings, self.reporter.clone());
            let started = thread::Builder::new().name("netbearer names".to_owned()).spawn(move || {
                match tokio::runtime::Builder::new_current_thread()
                    .enable_io()
                    .enable_time()
                    .build_local(tokio::runtime::LocalOptions::default())
                {
                    Ok(runtime) => runtime.block_on(follower.run(received)),
                    Err(error) => complain(&error),
                }
            });
            if let Err(error) = started {
                complain(&error);
            }
            self.orders = Some(orders);
        }
        self.orders.as_ref()
    }
}

fn complain(error: &io::Error) {
    tracing::error!("programs are not told of name servers, for want of a thread: {error}");
}

impl NameServers for SystemNames {
    fn follow(&mut self, links: Vec<LinkNames>) {
        let is_undecided = std::mem::take(&mut self.is_undecided);
        if self.orders.is_none() && links.is_empty() && !is_undecided {
            return;
        }
        if let Some(orders) = self.orders() {
            // A thread that could not be started was complained of.
            let _ = orders.send(Order::Follow(links));
        }
    }

    async fn report(&mut self) -> NamesReport {
        match self.reports.recv().await {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }

    async fn settle(&mut self) {
        let (settled, has_settled) = oneshot::channel();
        if self.orders.as_ref().is_some_and(|orders| orders.send(Order::Settle(settled)).is_ok()) {
            let _ = has_settled.await;
        }
    }
}

fn has_leftovers(settings: &NamesSettings) -> bool {
    let file = ResolvConfFile::new(&settings.places.resolv_conf, &settings.state_directory);
    file.is_ours() || Note::path(&settings.runtime_directory).exists()
}

/// Puts back by hand what a killed process has left, as the next start would. Nothing, if a process that is alive keeps it.
///
/// # Errors
/// [`NamesError::File`] if it cannot even be looked for.
pub async fn recover(settings: &NamesSettings) -> Result<Recovered, NamesError> {
    if !has_leftovers(settings) {
        return Ok(Recovered::default());
    }
    let _keep = match Keep::take(&settings.state_directory) {
        Err(NamesError::KeptElsewhere) => return Ok(Recovered::default()),
        taken => taken?,
    };
    Ok(put_back(settings, &mut Note::read(&settings.runtime_directory), None).await)
}

/// To be called with the right to do so. What was told by `kept` is gone on with. Collects what is refused, and goes on.
pub(crate) async fn put_back(settings: &NamesSettings, note: &mut Note, kept: Option<&Choice>) -> Recovered {
    let mut recovered = Recovered::default();
    let mut tell = |what: String, outcome: Result<(), NamesError>| match outcome {
        Ok(()) => recovered.restored.push(what),
        Err(error) => recovered.refused.push(error.with_causes()),
    };
    if !matches!(kept, Some(Choice::File)) {
        let path = &settings.places.resolv_conf;
        match ResolvConfFile::new(path, &settings.state_directory).release() {
            Ok(false) => {}
            outcome => tell(path.display().to_string(), outcome.map(|_| ())),
        }
    }
    let is_kept = matches!(kept, Some(Choice::Resolvconf(_)));
    for name in note.resolvconf().into_iter().filter(|_| !is_kept) {
        let outcome = match settings.places.find_resolvconf() {
            Some(program) => resolvconf::remove(&program, &name),
            // What is not there any more has forgotten.
            None => Ok(()),
        };
        let outcome = outcome.and_then(|()| note.remove_resolvconf(&name));
        tell(format!("resolvconf {name}"), outcome);
    }
    let is_kept = |index, name: &str| matches!(kept, Some(Choice::Resolved)) && is_called(index, name);
    for (index, name) in note.resolved().into_iter().filter(|(index, name)| !is_kept(*index, name)) {
        let outcome = revert(settings, index, &name).await.and_then(|()| note.remove_resolved(index));
        tell(format!("systemd-resolved of {name}"), outcome);
    }
    recovered
}

async fn revert(settings: &NamesSettings, index: u32, name: &str) -> Result<(), NamesError> {
    if !is_called(index, name) {
        return Ok(());
    }
    let refused = |source| NamesError::Bus { source };
    let Some(connection) = system::connect(&settings.places.bus_address).await.map_err(refused)? else { return Ok(()) };
    match system::owner(&connection).await.map_err(refused)? {
        Some(owner) => resolved::revert(&connection, &owner, index, name).await,
        None => Ok(()),
    }
}

/// False if another interface has the index by now.
fn is_called(index: u32, name: &str) -> bool {
    socket(AddressFamily::INET, SocketType::DGRAM, None)
        .and_then(|socket| index_to_name(socket, index))
        .is_ok_and(|found| found == name)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, time::Duration};

    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;

    /// Much longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);
    const BEFORE: &str = "nameserver 192.0.2.53\n";

    /// A machine without a bus and without programs.
    struct Machine(TempDir);

    impl Machine {
        fn new() -> Self {
            let machine = Self(TempDir::new().unwrap());
            fs::create_dir_all(machine.path("etc")).unwrap();
            fs::write(machine.path("etc/resolv.conf"), BEFORE).unwrap();
            machine
        }

        fn path(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn process(&self) -> SystemNames {
            SystemNames::start(Some(self.settings()))
        }

        fn settings(&self) -> NamesSettings {
            NamesSettings {
                places: NamePlaces::below(self.0.path()),
                runtime_directory: self.path("runtime"),
                state_directory: self.path("state"),
                resumed: false,
            }
        }

        /// The process ends without having put anything back; its lock is free when this returns.
        fn kill(&self, process: SystemNames) {
            drop(process);
            let lock = fs::File::open(self.path("state").join(crate::keep::LOCK)).unwrap();
            rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        }

        /// Another one after it, which goes on with its work.
        fn successor(&self) -> SystemNames {
            SystemNames::start(Some(NamesSettings { resumed: true, ..self.settings() }))
        }

        /// When the file was written last.
        fn written(&self) -> std::time::SystemTime {
            fs::metadata(self.path("etc/resolv.conf")).unwrap().modified().unwrap()
        }

        fn text(&self) -> String {
            fs::read_to_string(self.path("etc/resolv.conf")).unwrap()
        }
    }

    fn link(server: &str) -> Vec<LinkNames> {
        vec![LinkNames {
            interface_name: "ap0".to_owned(),
            index: 1,
            name_servers: vec![server.parse().unwrap()],
            search_domains: Vec::new(),
            default_route: true,
        }]
    }

    /// The next report, in a word.
    async fn told(names: &mut SystemNames) -> String {
        let report = timeout(PATIENCE, names.report()).await.expect("a report in time");
        report.through.or(report.warning).unwrap()
    }

    #[tokio::test]
    async fn the_port_is_conformed_to() {
        let machine = Machine::new();
        let conforms = netbearer_engine::conformance::name_servers(machine.process(), link("10.0.0.1"));
        timeout(PATIENCE, conforms).await.unwrap().unwrap();
        assert_eq!(machine.text(), BEFORE);
    }

    #[tokio::test]
    async fn who_finds_the_name_servers_kept_takes_over_when_they_are_let_go() {
        let machine = Machine::new();
        let (mut first, mut second) = (machine.process(), machine.process());
        first.follow(link("10.0.0.1"));
        assert_eq!(told(&mut first).await, "resolv.conf");
        second.follow(link("10.0.1.1"));
        assert!(told(&mut second).await.starts_with("another process of NetBearer keeps the name servers"));
        assert!(machine.text().contains("10.0.0.1"));

        first.follow(Vec::new());
        assert_eq!(told(&mut second).await, "resolv.conf");
        assert!(machine.text().contains("10.0.1.1"));
        second.follow(Vec::new());
        second.settle().await;
        assert_eq!(machine.text(), BEFORE);
    }

    #[tokio::test]
    async fn a_file_that_becomes_somebody_elses_is_left_and_taken_up_when_it_is_one_again() {
        let machine = Machine::new();
        let mut names = machine.process();
        names.follow(link("10.0.0.1"));
        assert_eq!(told(&mut names).await, "resolv.conf");
        // Somebody else takes over, as programs do: by a link of the same name.
        fs::create_dir_all(machine.path("run/connman")).unwrap();
        fs::write(machine.path("run/connman/resolv.conf"), BEFORE).unwrap();
        symlink("../run/connman/resolv.conf", machine.path("etc/new")).unwrap();
        fs::rename(machine.path("etc/new"), machine.path("etc/resolv.conf")).unwrap();
        let mut last = told(&mut names).await;
        while !last.contains("is ConnMan's") {
            last = told(&mut names).await;
        }
        assert_eq!(machine.text(), BEFORE);
        fs::write(machine.path("etc/new"), "# by hand\n").unwrap();
        fs::rename(machine.path("etc/new"), machine.path("etc/resolv.conf")).unwrap();
        assert_eq!(told(&mut names).await, "resolv.conf");
        assert!(machine.text().contains("10.0.0.1"));
        names.follow(Vec::new());
        names.settle().await;
        assert_eq!(machine.text(), "# by hand\n");
    }

    #[tokio::test]
    async fn a_machine_without_a_resolver_of_its_own_is_left_alone() {
        let mut names = SystemNames::start(None);
        names.follow(link("10.0.0.1"));
        timeout(PATIENCE, names.settle()).await.unwrap();
        assert!(names.orders.is_none());
    }

    #[tokio::test]
    async fn a_file_that_a_killed_process_has_written_is_gone_on_with_and_not_even_written_again() {
        let machine = Machine::new();
        let mut killed = machine.process();
        killed.follow(link("10.0.0.1"));
        assert_eq!(told(&mut killed).await, "resolv.conf");
        machine.kill(killed);
        let (before, written) = (machine.text(), machine.written());
        assert!(before.contains("10.0.0.1"));

        let mut successor = machine.successor();
        successor.settle().await;
        successor.follow(link("10.0.0.1"));
        assert_eq!(told(&mut successor).await, "resolv.conf");
        assert_eq!((machine.text(), machine.written()), (before, written));
        successor.follow(link("10.0.1.1"));
        successor.settle().await;
        assert!(machine.text().contains("10.0.1.1"), "{}", machine.text());
        successor.follow(Vec::new());
        successor.settle().await;
        assert_eq!(machine.text(), BEFORE);
    }

    #[tokio::test]
    async fn what_a_killed_process_has_written_is_put_back_if_nobody_goes_on_with_it() {
        for goes_on in [true, false] {
            let machine = Machine::new();
            let mut killed = machine.process();
            killed.follow(link("10.0.0.1"));
            assert_eq!(told(&mut killed).await, "resolv.conf");
            machine.kill(killed);
            let mut next = if goes_on { machine.successor() } else { machine.process() };
            next.settle().await;
            assert_eq!(machine.text() == BEFORE, !goes_on, "it was to be decided by what is followed first");
            next.follow(Vec::new());
            next.settle().await;
            assert_eq!(machine.text(), BEFORE);
        }
    }

    #[tokio::test]
    async fn what_a_killed_process_has_told_resolvconf_is_told_anew_or_taken_back_but_never_both() {
        let machine = Machine::new();
        let (program, log) = (machine.path("resolvconf"), machine.path("log"));
        let script = format!("#!/bin/sh\necho \"$@\" >> {log}\ncat > /dev/null\n", log = log.display());
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let places = NamePlaces { resolvconf: vec![program], ..NamePlaces::below(machine.0.path()) };
        let settings = NamesSettings { places, ..machine.settings() };
        let called = || fs::read_to_string(&log).unwrap_or_default();
        let two = || {
            let other = LinkNames { interface_name: "ap1".to_owned(), ..link("10.0.1.1").remove(0) };
            vec![link("10.0.0.1").remove(0), other]
        };
        let mut killed = SystemNames::start(Some(settings.clone()));
        killed.follow(two());
        assert_eq!(told(&mut killed).await, "resolvconf");
        machine.kill(killed);
        assert_eq!(called(), "-a ap0.netbearer\n-a ap1.netbearer\n");

        fs::remove_file(&log).unwrap();
        let mut successor = SystemNames::start(Some(NamesSettings { resumed: true, ..settings }));
        successor.follow(two().split_off(1));
        assert_eq!(told(&mut successor).await, "resolvconf");
        assert_eq!(called(), "-d ap0.netbearer\n-a ap1.netbearer\n");
        successor.follow(Vec::new());
        successor.settle().await;
        assert!(called().ends_with("-d ap1.netbearer\n"), "{}", called());
    }
}
