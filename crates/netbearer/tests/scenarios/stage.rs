//! What every scenario stands on: a lab, a manager on its machine, and sessions whose events are written down.

use std::{
    io::{ErrorKind, Read},
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use netbearer::{
    Directories, Embedded, Places, Profile, PropertyKey, PropertyValue, SessionEvent, SessionState,
    blocking::{Events, Manager, Session},
};
use netbearer_lab::{AccessPoint, AccessPointPlan, Conversation, Dhcp, ECHO_PORT, INTERNET, Lab, LabBuilder, Snapshot};
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine; waiting ends with the event, not with this.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The name of the access point that most scenarios are about.
pub(crate) const AP0: &str = "ap0";

pub(crate) struct Stage {
    pub(crate) lab: Lab,
    directory: TempDir,
    /// Where this lab's machine has other network managers.
    managers: Places,
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
        Self::build(Lab::builder(), plans, |_, directory| Places::below(directory))
    }

    /// The same on a machine with files of its own, on which other network managers can run.
    pub(crate) fn with_own_files(plans: impl IntoIterator<Item = AccessPointPlan>) -> Self {
        Self::build(Lab::builder().own_files(), plans, |lab, _| Places::below(lab.machine().path("/")))
    }

    fn build(
        builder: LabBuilder,
        plans: impl IntoIterator<Item = AccessPointPlan>,
        managers: impl FnOnce(&Lab, &Path) -> Places,
    ) -> Self {
        let builder = plans.into_iter().fold(builder, LabBuilder::access_point);
        let lab = builder.build().expect("the lab is built");
        lab.machine().enter().expect("this thread moves to the lab's machine");
        let before = Snapshot::take(lab.machine()).expect("the machine can be looked at");
        let directory = TempDir::new().expect("a temporary directory");
        let managers = managers(&lab, directory.path());
        Self { lab, directory, managers, before }
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

    /// A reboot empties the runtime directory.
    pub(crate) fn forget_what_was_at_run_time(&self) {
        let directory = Directories::below(self.directory.path()).runtime;
        std::fs::remove_dir_all(directory).expect("there is something to forget");
    }

    pub(crate) fn manager(&self) -> Manager {
        self.start(|embedded| embedded)
    }

    pub(crate) fn manager_with(&self, profile: Profile) -> Manager {
        self.start(|embedded| embedded.profile(AP0, profile))
    }

    pub(crate) fn start(&self, adjust: impl FnOnce(Embedded) -> Embedded) -> Manager {
        let embedded =
            Embedded::default().directories(Directories::below(self.directory.path())).managers(self.managers.clone());
        Manager::start(adjust(embedded)).expect("the service starts")
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
        let runtime = std::fs::read_dir(Directories::below(self.directory.path()).runtime).into_iter().flatten();
        let notes = runtime.flatten().filter_map(|entry| std::fs::read_dir(entry.path()).ok()).flatten().flatten();
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
        Self::of(manager.session(&configuration).expect("a session"))
    }

    pub(crate) fn of(session: Session) -> Self {
        let events = session.events();
        Self { session, events }
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
    pub(crate) fn expect(&mut self, expected: &[&str]) {
        for (position, expected_event) in expected.iter().enumerate() {
            let event = self.next();
            assert_eq!(event, *expected_event, "event {position} of {expected:?}");
        }
    }

    /// Reads until this one; it comes in time.
    pub(crate) fn expect_last(&mut self, expected: &str) {
        while self.next() != expected {}
    }

    /// The session has lost its link, and its error names the cause.
    pub(crate) fn expect_loss(&mut self, cause: &str) {
        self.expect(&["Disconnected", "Error(SessionAborted)", "Closed"]);
        let failure = self.session.error().expect("the session ended with an error");
        assert!(failure.message.contains(cause), "{failure}");
    }

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
    let error = conversation.stream().read(&mut [0]).expect_err("the connection has ended");
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
        other => format!("{other:?}"),
    }
}
