//! What every scenario stands on: a lab, a manager on its machine, and sessions whose events are written down.

use std::{
    io::{ErrorKind, Read},
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak, mpsc},
    time::Duration,
};

use netbearer::{
    Directories, Embedded, NamePlaces, Places, Profile, PropertyKey, PropertyValue, SessionEvent, SessionState,
    blocking::{self, Events, Session},
};
use netbearer_lab::{
    AccessPoint, AccessPointPlan, BUS_RELAY, Conversation, Dhcp, ECHO_PORT, INTERNET, Lab, LabBuilder, Snapshot,
    uninterrupted,
};
use tempfile::TempDir;

use crate::{daemon::DaemonProcess, service::Service, transport::Transport};
pub(crate) use crate::{
    service::Manager,
    setup::{Resolver, Setup},
};

/// Longer than anything here takes on a busy machine; waiting ends with the event, not with this.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The name of the access point that most scenarios are about.
pub(crate) const AP0: &str = "ap0";

pub(crate) struct Stage {
    pub(crate) lab: Lab,
    directory: TempDir,
    /// Where this lab's machine has other network managers.
    managers: Places,
    has_own_files: bool,
    /// The daemon that runs, if one does.
    daemon: Mutex<Weak<DaemonProcess>>,
    /// The machine's configuration before NetBearer was there.
    before: Snapshot,
}

impl Stage {
    /// One access point, `ap0`, with dnsmasq.
    pub(crate) fn with_dnsmasq() -> Self {
        Self::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Dnsmasq)])
    }

    /// These access points; the calling thread moves to the lab's machine.
    pub(crate) fn new(plans: impl IntoIterator<Item = AccessPointPlan>) -> Self {
        Self::build(Lab::builder(), plans, false)
    }

    /// The same on a machine with files of its own, on which other network managers can run.
    pub(crate) fn with_own_files(plans: impl IntoIterator<Item = AccessPointPlan>) -> Self {
        Self::build(Lab::builder().own_files(), plans, true)
    }

    fn build(builder: LabBuilder, plans: impl IntoIterator<Item = AccessPointPlan>, has_own_files: bool) -> Self {
        let builder = plans.into_iter().fold(builder, LabBuilder::access_point);
        let lab = builder.build().expect("the lab is built");
        lab.machine().enter().expect("this thread moves to the lab's machine");
        let before = Snapshot::take(lab.machine()).expect("the machine can be looked at");
        let directory = TempDir::new().expect("a temporary directory");
        let root = if has_own_files { lab.machine().path("/") } else { directory.path().to_owned() };
        let managers = Places::below(root);
        Self { lab, directory, managers, has_own_files, daemon: Mutex::default(), before }
    }

    /// A directory that the lab's machine shares.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What is there now is what shall be there in the end.
    pub(crate) fn remember(&mut self) {
        self.before = Snapshot::take(self.lab.machine()).expect("the machine can be looked at");
    }

    /// Writes a file of the configuration directory.
    pub(crate) fn write_configuration(&self, file: &str, text: &str) {
        let path = self.configuration_file(file);
        std::fs::create_dir_all(path.parent().expect("it is in a directory")).expect("a directory");
        std::fs::write(path, text).expect("the file is written");
    }

    /// Removes a file of the configuration directory.
    pub(crate) fn remove_configuration(&self, file: &str) {
        std::fs::remove_file(self.configuration_file(file)).expect("it is there");
    }

    pub(crate) fn configuration_file(&self, file: &str) -> PathBuf {
        Directories::below(self.directory.path()).configuration.join(file)
    }

    pub(crate) fn runtime_directory(&self) -> PathBuf {
        Directories::below(self.directory.path()).runtime
    }

    /// A reboot empties the runtime directory.
    pub(crate) fn forget_what_was_at_run_time(&self) {
        std::fs::remove_dir_all(self.runtime_directory()).expect("there is something to forget");
    }

    pub(crate) fn manager(&self) -> Manager {
        self.start(|setup| setup)
    }

    pub(crate) fn manager_with(&self, profile: Profile) -> Manager {
        self.start(|setup| setup.profile(AP0, profile))
    }

    /// A manager of the service, which is started if it is not there yet.
    pub(crate) fn start(&self, adjust: impl FnOnce(Setup) -> Setup) -> Manager {
        let setup = adjust(Setup::default());
        match Transport::chosen() {
            Transport::Embedded => self.start_embedded(setup),
            Transport::Socket | Transport::Bus => {
                let names = setup.resolver.clone().map(|resolver| self.name_places(resolver));
                let daemon = self.daemon(setup);
                let (sender, suspends) = mpsc::channel();
                let address = daemon.address().names(names).injected_suspends(sender);
                let manager = blocking::Manager::with_daemon(address).expect("the daemon answers");
                Manager::new(manager, Service::Daemon(daemon, suspends.recv().expect("the client has a clock")))
            }
        }
    }

    /// The daemon that runs, which then is as it is, or else a new one.
    fn daemon(&self, setup: Setup) -> Arc<DaemonProcess> {
        let mut running = self.daemon.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(daemon) = running.upgrade().filter(|daemon| !daemon.has_ended()) {
            assert!(setup == Setup::default() || setup == *daemon.setup(), "the daemon runs already: {setup:?}");
            return daemon;
        }
        let daemon = DaemonProcess::start(self.lab.machine(), self.directory.path(), self.has_own_files, setup);
        let daemon = Arc::new(daemon);
        *running = Arc::downgrade(&daemon);
        daemon
    }

    fn start_embedded(&self, setup: Setup) -> Manager {
        let (sender, suspends) = mpsc::channel();
        let mut embedded = Embedded::default()
            .directories(Directories::below(self.directory.path()))
            .managers(self.managers.clone())
            .injected_suspends(sender);
        if let Some(resolver) = setup.resolver {
            embedded = embedded.names(Some(self.name_places(resolver)));
        }
        for (interface_name, profile) in setup.profiles {
            embedded = embedded.profile(&interface_name, profile);
        }
        for (name, profile) in setup.service_networks {
            embedded = embedded.service_network(&name, profile);
        }
        for (name, profile) in setup.user_choices {
            embedded = embedded.user_choice(&name, profile);
        }
        let manager = blocking::Manager::start(embedded).expect("the service starts");
        Manager::new(manager, Service::Embedded(suspends.recv().expect("the service has a clock")))
    }

    /// Where the resolver of the lab's machine is for who is not on it.
    fn name_places(&self, resolver: Resolver) -> NamePlaces {
        let machine = self.lab.machine();
        let places = NamePlaces::below(machine.path("/"));
        match resolver {
            Resolver::File => places,
            Resolver::Resolvconf(directory) => NamePlaces { resolvconf: vec![directory.join("resolvconf")], ..places },
            Resolver::Resolved => {
                NamePlaces { bus_address: format!("unix:path={}", machine.path(BUS_RELAY).display()), ..places }
            }
        }
    }

    /// Kills the daemon, and waits until it is gone.
    pub(crate) fn kill_daemon(&self, manager: &Manager) {
        manager.daemon().kill();
    }

    /// Starts it again after it was killed. Its clients come back by themselves.
    pub(crate) fn start_daemon_again(&self, manager: &Manager) {
        manager.daemon().start_again(self.lab.machine());
    }

    pub(crate) fn ap0(&self) -> &AccessPoint {
        self.lab.access_point(AP0).expect("the lab has ap0")
    }

    /// Somebody who is not us configures the link, as an administrator would.
    pub(crate) fn configure_by_hand(&self) {
        self.configure_link_by_hand(AP0, 0);
    }

    /// The same for another one, with the metric of its default route.
    pub(crate) fn configure_link_by_hand(&self, name: &str, metric: u32) {
        let subnet = self.lab.access_point(name).expect("the lab has it").subnet();
        self.ip(&format!("address add {}/24 dev {name}", subnet.host(50)));
        self.ip(&format!("link set {name} up"));
        let is_settled = || Ok(self.lab.machine().is_settled(name)?.then_some(()));
        self.lab.machine().wait_until(&format!("carrier on {name}"), DEADLINE, is_settled).expect("there is carrier");
        self.ip(&format!("route add default via {} dev {name} metric {metric}", subnet.gateway()));
    }

    /// What is noted of how interfaces were found.
    pub(crate) fn notes(&self) -> String {
        let runtime = std::fs::read_dir(self.runtime_directory()).into_iter().flatten();
        let of_namespaces = runtime.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("netns-"));
        let notes = of_namespaces.filter_map(|entry| std::fs::read_dir(entry.path()).ok()).flatten().flatten();
        notes.filter_map(|note| std::fs::read_to_string(note.path()).ok()).collect()
    }

    pub(crate) fn router(&self) -> IpAddr {
        self.ap0().subnet().gateway().into()
    }

    pub(crate) fn ip(&self, arguments: &str) {
        self.lab.machine().command("ip").args(arguments.split(' ')).output().expect("ip does what it is told");
    }

    /// All policy rules for IPv4, as `ip` tells them.
    pub(crate) fn rules(&self) -> String {
        self.told_by_ip("rule show")
    }

    /// Our table for the access point on this interface: where sockets that are bound to it go.
    pub(crate) fn table_of(&self, interface: &str) -> String {
        let rules = self.rules();
        let bound =
            rules.lines().find(|rule| rule.starts_with("5100:") && rule.contains(&format!(" oif {interface} ")));
        let table = bound.and_then(|rule| rule.split(' ').skip_while(|word| *word != "lookup").nth(1));
        table.unwrap_or_else(|| panic!("no table of {interface}:\n{rules}")).to_owned()
    }

    pub(crate) fn rules_of_ours(&self) -> usize {
        self.rules().lines().filter(|line| line.starts_with("51")).count()
    }

    /// All routes for IPv4 but the kernel's own, sorted.
    pub(crate) fn routes(&self) -> Vec<String> {
        let mut routes: Vec<String> = self.told_by_ip("route show table all").lines().map(str::to_owned).collect();
        routes.sort_unstable();
        routes
    }

    /// The IPv4 address of an interface with its prefix length.
    pub(crate) fn address_of(&self, interface: &str) -> Option<String> {
        let told = self.told_by_ip(&format!("-brief -4 address show dev {interface}"));
        told.split_whitespace().nth(2).map(str::to_owned)
    }

    fn told_by_ip(&self, arguments: &str) -> String {
        self.lab.machine().command("ip").args(arguments.split(' ')).output().expect("ip tells")
    }

    /// Waits until the rules for IPv4 are so.
    pub(crate) fn wait_for_rules(&self, what: &str, are_so: impl Fn(&str) -> bool) {
        let seen = || Ok(are_so(&self.rules()).then_some(()));
        let waited = self.lab.machine().wait_until(what, DEADLINE, seen);
        waited.unwrap_or_else(|error| panic!("{error}\n{}", self.rules()));
    }

    /// Nothing of ours is left: the machine is as it was before.
    pub(crate) fn assert_as_before(&self) {
        let now = Snapshot::take(self.lab.machine()).expect("the machine can be looked at");
        assert!(self.before == now, "{}", self.before.difference(&now));
    }
}

/// A session with its events written down.
pub(crate) struct Watched {
    pub(crate) session: Session,
    events: Events<SessionEvent>,
    /// Gone last.
    _service: Service,
}

/// Waits until what the service says is so, whatever has to happen for that.
pub(crate) fn wait_until_told(manager: &Manager, what: &str, is_so: impl Fn() -> bool) {
    let mut news = manager.news();
    while !is_so() {
        assert!(news.changed_within(DEADLINE).expect("the service runs"), "{what}: not told in time");
    }
}

impl Watched {
    pub(crate) fn new(manager: &Manager) -> Self {
        Self::on(manager, AP0)
    }

    /// A session on the access point of this name.
    pub(crate) fn on(manager: &Manager, access_point: &str) -> Self {
        let configuration = manager.find(Some(access_point)).expect("the access point is known");
        Self::of(manager, manager.session(&configuration).expect("a session"))
    }

    /// This session of the manager's.
    pub(crate) fn of(manager: &Manager, session: Session) -> Self {
        let events = session.events();
        Self { session, events, _service: manager.service() }
    }

    /// A session that survives the loss of its link.
    pub(crate) fn reconnecting(manager: &Manager) -> Self {
        let watched = Self::new(manager);
        let yes = Some(PropertyValue::Boolean(true));
        watched.session.set_property(PropertyKey::Reconnect, yes).expect("the property can be written");
        watched
    }

    /// A session that is open, with what it was told so far read.
    pub(crate) fn opened(manager: &Manager) -> Self {
        Self::opened_on(manager, AP0)
    }

    /// The same on what has this name.
    pub(crate) fn opened_on(manager: &Manager, name: &str) -> Self {
        let mut watched = Self::on(manager, name);
        watched.open();
        watched.expect_last("Opened");
        watched
    }

    /// Opens what is down now.
    pub(crate) fn bring_up(&mut self) {
        self.open();
        self.expect(&["Connecting", "Connected", "Opened"]);
    }

    pub(crate) fn open(&self) {
        self.session.open().expect("the open is accepted");
    }

    pub(crate) fn close(&self) {
        self.session.close().expect("the service answers");
    }

    /// The next events are exactly these.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &[&str]) {
        for (position, expected_event) in expected.iter().enumerate() {
            let event = self.next();
            assert_eq!(event, *expected_event, "event {position} of {expected:?}");
        }
    }

    /// Reads until this one; it comes in time.
    #[track_caller]
    pub(crate) fn expect_last(&mut self, expected: &str) {
        while self.next() != expected {}
    }

    /// Reads until this one; only changes of the interface come before it. What others did to it may be told after
    /// the kernel shows it.
    pub(crate) fn expect_after_changes(&mut self, expected: &str) {
        loop {
            let event = self.next();
            if event == expected {
                return;
            }
            assert!(event.starts_with("InterfaceChanged"), "before {expected}: {event}");
        }
    }

    /// The session has lost its link, and its error names the cause.
    pub(crate) fn expect_loss(&mut self, cause: &str) {
        self.expect(&["Disconnected", "Error(SessionAborted)", "Closed"]);
        let failure = self.session.error().expect("the session ended with an error");
        assert!(failure.message.contains(cause), "{failure}");
    }

    #[track_caller]
    pub(crate) fn next(&mut self) -> String {
        let event = self.events.next_within(DEADLINE);
        event.as_ref().map(describe).expect("an event should come in time")
    }

    /// The next event if it comes within that time.
    pub(crate) fn next_within(&mut self, duration: Duration) -> Option<String> {
        self.events.next_within(duration).as_ref().map(describe)
    }

    /// The next event if there is one already.
    pub(crate) fn try_next(&mut self) -> Option<String> {
        self.events.try_next().as_ref().map(describe)
    }

    /// Nothing more has been told. The service is asked something first, so that what it was doing is done; if it has
    /// ended, that holds as well.
    pub(crate) fn expect_silence(&mut self) {
        let _ = self.session.property(PropertyKey::Reconnect);
        let event = self.events.try_next();
        assert_eq!(event.as_ref().map(describe), None, "nothing should be told");
    }

    /// Nothing is told for so long.
    pub(crate) fn expect_silence_for(&mut self, duration: Duration) {
        assert_eq!(self.next_within(duration), None, "nothing should be told");
    }

    /// "Up" as the scenarios mean it: open, with an interface, and a connection through it reaches the server behind.
    pub(crate) fn assert_up(&self) -> Conversation {
        assert!(self.session.is_open());
        assert_eq!(self.session.state(), SessionState::Connected);
        assert_eq!(self.session.interface().map(|interface| interface.name).as_deref(), Some(AP0));
        assert_eq!(self.active_configuration(), self.session.configuration().identifier.as_str());
        self.connect()
    }

    /// A connection through the session, which lives.
    pub(crate) fn connect(&self) -> Conversation {
        let stream = self.session.connect_tcp(server()).expect("the server is reached");
        let mut conversation = Conversation::over(stream, DEADLINE).expect("the server greets");
        assert_eq!(conversation.access_point(), AP0);
        assert_alive(&mut conversation);
        conversation
    }

    pub(crate) fn active_configuration(&self) -> String {
        match self.session.property(PropertyKey::ActiveConfiguration).expect("the service answers") {
            Some(PropertyValue::Text(identifier)) => identifier,
            other => panic!("ActiveConfiguration is {other:?}"),
        }
    }
}

pub(crate) fn assert_alive(conversation: &mut Conversation) {
    conversation.echo(b"still here").expect("the connection lives");
}

/// The connection has ended with an error; nobody had to wait for what cannot come.
pub(crate) fn assert_aborted(conversation: &mut Conversation) {
    let error = uninterrupted(|| conversation.stream().read(&mut [0])).expect_err("the connection has ended");
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
}

/// An ordinary program's connection, which knows nothing of sessions.
pub(crate) fn plain_connection() -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&server(), DEADLINE)
}

/// The server behind every access point.
pub(crate) fn server() -> SocketAddr {
    (INTERNET, ECHO_PORT).into()
}

/// An event in one word, or two.
fn describe(event: &SessionEvent) -> String {
    match event {
        SessionEvent::StateChanged { state } => state.to_string(),
        SessionEvent::Opened => "Opened".to_owned(),
        SessionEvent::Closed => "Closed".to_owned(),
        SessionEvent::Error(failure) => format!("Error({})", failure.error),
        SessionEvent::PreferredConfigurationChanged { offer } if offer.replacement => {
            format!("PreferredConfigurationChanged({}, replacement)", offer.configuration)
        }
        SessionEvent::PreferredConfigurationChanged { offer } => {
            format!("PreferredConfigurationChanged({})", offer.configuration)
        }
        SessionEvent::OfferWithdrawn { .. } => "OfferWithdrawn".to_owned(),
        SessionEvent::NewConfigurationActivated { configuration, interface, .. } => {
            assert!(!interface.addresses.is_empty(), "it is up: {interface:?}");
            format!("NewConfigurationActivated({configuration})")
        }
        SessionEvent::CurrentLinkLost { .. } => "CurrentLinkLost".to_owned(),
        SessionEvent::RoamingFailed { configuration, .. } => format!("RoamingFailed({configuration})"),
        SessionEvent::ActiveConfigurationChanged { configuration } => {
            format!("ActiveConfigurationChanged({configuration})")
        }
        other => format!("{other:?}"),
    }
}
