//! The library that applications use, over the daemon: that it is waited for, what holds while it is away, and what becomes of
//! sessions when it is back.

use std::{
    fs,
    future::Future,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::PathBuf,
    pin::{Pin, pin},
    process::{Child, Command, Stdio},
    task::{Context, Waker},
    thread,
    time::{Duration, Instant},
};

use netbearer::{
    CallError, ChooserEvent, Daemon, Directories, ManagerError, ManagerEvent, MigrateError, PropertyKey, PropertyValue,
    ServiceKind, SessionError, SessionEvent, SessionState,
    blocking::{Events, Manager, Offer, Roaming, Session},
};
use netbearer_lab::{AccessPointPlan, Conversation, Dhcp, ECHO_PORT, Fault, INTERNET, Script, Signal};
use rustix::io::{FdFlags, fcntl_getfd};

use crate::stage::{AP0, DEADLINE, Running, Stage};

/// What the access point is called by people.
const NAME: &str = "ap0";
/// The service network that files make.
const NETWORK: &str = "service-uplink";

/// Sockets of sessions are those of the machine.
fn on_the_machine(stage: Stage) -> Stage {
    stage.lab.machine().enter().unwrap();
    stage
}

fn stage() -> Stage {
    on_the_machine(Stage::new())
}

fn directories(stage: &Stage) -> Directories {
    Directories::below(stage.directory())
}

fn daemon(stage: &Stage) -> Daemon {
    Daemon::default().directories(directories(stage)).names(None).patience(DEADLINE)
}

fn connect(stage: &Stage) -> Manager {
    Manager::with_daemon(daemon(stage)).unwrap()
}

/// The next daemon knows of nothing.
fn forget_the_ledger(stage: &Stage) {
    let files = fs::read_dir(stage.runtime()).unwrap().map(|entry| entry.unwrap().path());
    let is_of_ledger = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("ledger-");
    let ledger: Vec<PathBuf> = files.filter(is_of_ledger).collect();
    assert!(!ledger.is_empty(), "there is something to forget");
    ledger.iter().for_each(|file| fs::remove_file(file).unwrap());
}

/// A session with its events written down.
struct Watched {
    session: Session,
    events: Events<SessionEvent>,
}

impl Watched {
    fn new(manager: &Manager) -> Self {
        Self::on(manager, NAME)
    }

    fn on(manager: &Manager, name: &str) -> Self {
        let session = manager.session(&manager.find(Some(name)).unwrap()).unwrap();
        let events = session.events();
        Self { session, events }
    }

    fn opened(manager: &Manager) -> Self {
        let mut watched = Self::new(manager);
        watched.session.open().unwrap();
        watched.read_until("Opened");
        watched
    }

    fn next(&mut self) -> String {
        describe(&self.events.next_within(DEADLINE).expect("an event comes in time"))
    }

    /// The next events are exactly these.
    fn expect(&mut self, expected: &[&str]) {
        let told: Vec<String> = expected.iter().map(|_| self.next()).collect();
        assert_eq!(told, expected);
    }

    fn read_until(&mut self, expected: &str) {
        while self.next() != expected {}
    }

    fn connect(&self) -> Conversation {
        let stream = self.session.connect_tcp((INTERNET, ECHO_PORT).into()).unwrap();
        Conversation::over(stream, DEADLINE).unwrap()
    }
}

fn describe(event: &SessionEvent) -> String {
    match event {
        SessionEvent::StateChanged { state } => state.to_string(),
        SessionEvent::Error(failure) => format!("Error({})", failure.error),
        SessionEvent::InterfaceChanged { .. } => "InterfaceChanged".to_owned(),
        other => format!("{other:?}"),
    }
}

fn next_of(events: &mut Events<ManagerEvent>, wanted: &ManagerEvent) {
    while events.next_within(DEADLINE).expect("an event comes in time") != *wanted {}
}

/// The number of sessions that the daemon knows.
fn sessions(manager: &Manager) -> usize {
    manager.wait_for(async |manager| manager.sessions().await).unwrap().len()
}

/// Has the first step of a call done, and no more.
fn begin<T>(call: impl Future<Output = T>) {
    step(pin!(call));
}

/// Has a step of a call done, which is not all of it.
fn step<T>(call: Pin<&mut impl Future<Output = T>>) {
    assert!(call.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

/// What a call comes to, in time.
fn in_time<T>(call: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, call).await }).expect("it is answered in time")
}

#[test]
fn connecting_waits_for_a_daemon_that_comes_wherever_its_directory_is() {
    let stage = stage();
    let client = daemon(&stage);
    let connecting = thread::spawn(move || Manager::with_daemon(client));
    let running = stage.start();
    let manager = connecting.join().unwrap().unwrap();
    let service = manager.service();
    assert_eq!((service.kind, service.process), (ServiceKind::PrivateSocket, running.id()));
    assert!(!service.version.is_empty());
    // One that was there before.
    assert_eq!(connect(&stage).service(), service);
}

#[test]
fn without_a_daemon_connecting_says_where_it_was_looked_for_and_what_to_do() {
    let stage = stage();
    let refused = |patience: Duration| {
        let start = Instant::now();
        let error = Manager::with_daemon(daemon(&stage).patience(patience)).unwrap_err();
        assert!(start.elapsed() >= patience && start.elapsed() < DEADLINE, "{:?}", start.elapsed());
        error
    };
    let socket = stage.socket();
    let assert_told = |error: &ManagerError| {
        assert!(matches!(error, ManagerError::NoDaemon { socket: told, .. } if *told == socket), "{error:?}");
        assert!(error.to_string().contains("bearerd") && error.to_string().contains(&*socket.to_string_lossy()));
    };
    assert_told(&refused(Duration::from_millis(300)));
    // The socket of one that was killed.
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    assert_told(&refused(Duration::ZERO));
    // One that does not answer is none either.
    fs::remove_file(&socket).unwrap();
    let _listener = UnixListener::bind(&socket).unwrap();
    assert_told(&refused(Duration::ZERO));
}

#[test]
fn while_the_daemon_is_away_nothing_is_changed_and_close_works_at_once() {
    let stage = stage();
    let running = stage.start();
    let manager = connect(&stage);
    let mut events = manager.events();
    let mut open = Watched::opened(&manager);
    let mut closing = Watched::opened(&manager);
    let mut conversation = open.connect();
    running.kill();
    open.expect(&["ServiceLost"]);
    next_of(&mut events, &ManagerEvent::ServiceLost);
    // The last that was known, and what is up.
    assert!(open.session.is_open());
    assert_eq!(open.session.state(), SessionState::Connected);
    assert!(open.session.interface().is_some());
    conversation.echo(b"still here").unwrap();
    open.connect();
    for refused in [
        open.session.open(),
        open.session.stop(),
        open.session.set_property(PropertyKey::Reconnect, Some(PropertyValue::Boolean(true))),
        open.session.bytes_received().map(|_| ()),
        open.session.hold_fd().map(|_| ()),
        open.session.roaming().map(drop),
        manager.wait_for(async |manager| manager.configurations(None).await).map(|_| ()),
    ] {
        assert_eq!(refused, Err(CallError::ServiceLost));
    }
    closing.session.close().unwrap();
    assert!(!closing.session.is_open());
    closing.expect(&["ServiceLost", "Closed"]);
    assert_eq!(closing.session.close(), Ok(()), "once more changes nothing");

    let _running = stage.start();
    open.expect(&["ServiceBack"]);
    closing.expect(&["ServiceBack"]);
    next_of(&mut events, &ManagerEvent::ServiceBack);
    conversation.echo(b"still here").unwrap();
    assert!(open.session.is_open() && !closing.session.is_open());
    assert_eq!(closing.session.state(), SessionState::Connected);
    open.session.close().unwrap();
    open.expect(&["Closed", "Closing", "Disconnected"]);
    closing.expect(&["Closing", "Disconnected"]);
    stage.wait_until_untouched();
}

#[test]
fn a_daemon_that_has_forgotten_everything_is_told_it_again_and_open_sessions_are_aborted() {
    let stage = stage();
    stage.write_service_network(&[NAME]);
    let running = stage.start();
    let manager = connect(&stage);
    let mut events = manager.events();
    let mut session = Watched::opened(&manager);
    let yes = Some(PropertyValue::Boolean(true));
    session.session.set_property(PropertyKey::ConnectInBackground, yes.clone()).unwrap();
    let deciding = Watched::on(&manager, NETWORK);
    let _roaming = deciding.session.roaming().unwrap();
    let mut watcher = Watched::new(&manager);
    running.kill();
    forget_the_ledger(&stage);
    session.expect(&["ServiceLost"]);
    let _running = stage.start();
    // What nobody is known to hold is taken down.
    session.expect(&["Disconnected", "Error(SessionAborted)", "Closed", "ServiceBack"]);
    watcher.expect(&["ServiceLost", "Disconnected", "ServiceBack"]);
    next_of(&mut events, &ManagerEvent::ServiceBack);
    assert!(!session.session.is_open());
    assert_eq!(session.session.error().unwrap().error, SessionError::SessionAborted);
    assert_eq!(session.session.property(PropertyKey::ConnectInBackground).unwrap(), yes);
    assert!(deciding.session.is_stakeholder());
    assert_eq!(sessions(&manager), 3);
    // It is a session like any other.
    session.session.open().unwrap();
    session.read_until("Opened");
    manager.wait_for(async |manager| manager.update_configurations().await).unwrap();
    next_of(&mut events, &ManagerEvent::UpdateCompleted);
    session.session.stop().unwrap();
    watcher.read_until("Disconnected");
}

#[test]
fn the_next_daemon_knows_that_the_application_decides_when_to_roam() {
    let stage = stage();
    stage.write_service_network(&[NAME]);
    let running = stage.start();
    let manager = connect(&stage);
    let (mut kept, mut left) = (Watched::on(&manager, NETWORK), Watched::on(&manager, NETWORK));
    let _roaming = kept.session.roaming().unwrap();
    let given_up = left.session.roaming().unwrap();
    running.kill();
    kept.expect(&["ServiceLost"]);
    left.expect(&["ServiceLost"]);
    drop(given_up);
    let _running = stage.start();
    kept.expect(&["ServiceBack"]);
    left.expect(&["ServiceBack"]);
    assert!(kept.session.is_stakeholder());
    assert!(!left.session.is_stakeholder(), "what was left while it was away is left");
}

/// A session that decides, open on the less preferred of two members, which another one holds as well.
fn on_lte<R>(manager: &Manager, decide: impl FnOnce(&Session) -> R) -> (Watched, Watched, R) {
    // What is up already is taken.
    let mut lte = Watched::on(manager, "lte");
    lte.session.open().unwrap();
    lte.read_until("Opened");
    let mut session = Watched::on(manager, NETWORK);
    let roaming = decide(&session.session);
    session.session.open().unwrap();
    session.expect(&["Opened"]);
    (lte, session, roaming)
}

/// The same while the other member is offered.
fn offered(manager: &Manager) -> (Watched, Watched, Roaming, Offer) {
    let (lte, mut session, mut roaming) = on_lte(manager, |session| session.roaming().unwrap());
    let offer = roaming.next_within(DEADLINE).unwrap();
    assert_eq!(offer.configuration.as_str(), "native-lan");
    session.next();
    (lte, session, roaming, offer)
}

/// A service network of "lan", which is preferred, and "lte", and a daemon.
fn uplink() -> (Stage, Running, Manager) {
    let members = ["lan", "lte"];
    let stage = on_the_machine(Stage::with(members.map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq))));
    stage.write_service_network(&members);
    let running = stage.start();
    let manager = connect(&stage);
    (stage, running, manager)
}

#[test]
fn an_offer_and_a_trial_outlive_the_daemon() {
    let (stage, running, manager) = uplink();
    let (_lte, mut session, mut roaming, offer) = offered(&manager);
    let mut old = session.connect();
    running.kill();
    session.expect(&["ServiceLost"]);
    let running = stage.start();
    session.expect(&["ServiceBack"]);
    assert!(roaming.next_within(Duration::from_millis(500)).is_none(), "it is not offered again");
    let trial = offer.migrate().unwrap();
    assert_eq!(session.next(), "Roaming");
    assert!(session.next().starts_with("NewConfigurationActivated"));
    assert_eq!(session.connect().access_point(), "lan");
    running.kill();
    session.expect(&["ServiceLost"]);
    assert_eq!(session.connect().access_point(), "lan", "it is tried all the same");
    let _running = stage.start();
    session.expect(&["ServiceBack"]);
    old.echo(b"still here").unwrap();
    trial.accept().unwrap();
    session.expect(&["Connected"]);
    assert_eq!(session.connect().access_point(), "lan");
}

#[test]
fn what_is_dropped_while_the_daemon_is_away_is_told_when_it_is_back() {
    let (stage, running, manager) = uplink();
    let (_lte, mut session, mut roaming, offer) = offered(&manager);
    let mut lan = Watched::on(&manager, "lan");
    running.kill();
    session.expect(&["ServiceLost"]);
    drop(offer);
    let running = stage.start();
    session.expect(&["ServiceBack"]);
    lan.expect(&["ServiceLost", "ServiceBack"]);
    assert!(roaming.next_within(Duration::from_millis(500)).is_none(), "it was ignored");
    assert_eq!(session.session.snapshot().roaming, None);
    // It comes back, and is tried.
    let of_stage = stage.lab.access_point("lan").unwrap();
    of_stage.cut().unwrap();
    lan.read_until("NotAvailable");
    of_stage.restore().unwrap();
    let trial = roaming.next_within(DEADLINE).unwrap().migrate().unwrap();
    lan.read_until("Connected");
    running.kill();
    lan.expect(&["ServiceLost"]);
    drop(trial);
    let _running = stage.start();
    lan.read_until("Disconnected");
    session.read_until("ServiceBack");
    assert_eq!(session.connect().access_point(), "lte");
}

#[test]
fn an_offer_that_could_not_be_migrated_to_comes_again_and_is_not_decided() {
    let (stage, running, manager) = uplink();
    let (_lte, mut session, mut roaming, offer) = offered(&manager);
    let number = offer.number;
    running.kill();
    session.expect(&["ServiceLost"]);
    let refused = offer.migrate().unwrap_err();
    assert_eq!(refused, MigrateError::Call(CallError::ServiceLost));
    assert!(roaming.next_within(Duration::from_millis(100)).is_none(), "there is nobody to be answered");
    let _running = stage.start();
    let again = roaming.next_within(DEADLINE).unwrap();
    assert_eq!(again.number, number);
    session.expect(&["ServiceBack"]);
    again.migrate().unwrap().accept().unwrap();
    assert_eq!(session.connect().access_point(), "lan");
}

#[test]
fn nothing_is_undecided_for_ever_as_a_daemon_dies_before_it_reads_the_answer() {
    let (stage, running, manager) = uplink();
    let (_lte, mut session, mut roaming) =
        on_lte(&manager, |session| manager.wait_for(async |_| netbearer::Session::roaming(session).await).unwrap());
    let mut lan = Watched::on(&manager, "lan");
    let mut next = || in_time(roaming.next()).unwrap();
    let offer = next();
    let number = offer.number;
    // Who hears of it has the offer again.
    let mut migrating = Box::pin(offer.migrate());
    running.signal(Signal::STOP);
    step(migrating.as_mut());
    running.kill();
    let refused = in_time(migrating).unwrap_err();
    assert_eq!(refused, MigrateError::Call(CallError::ServiceLost));
    lan.read_until("ServiceLost");
    let running = stage.start();
    let offer = next();
    assert_eq!(offer.number, number);
    lan.read_until("ServiceBack");
    // Who does not want to know has ignored what was offered,
    running.signal(Signal::STOP);
    begin(offer.migrate());
    running.kill();
    lan.read_until("ServiceLost");
    let running = stage.start();
    lan.read_until("ServiceBack");
    // When this is answered, what was owed is.
    session.session.property(PropertyKey::Reconnect).unwrap();
    assert_eq!(session.session.snapshot().roaming, None);
    // and rejected what was tried.
    let of_stage = stage.lab.access_point("lan").unwrap();
    of_stage.cut().unwrap();
    lan.read_until("NotAvailable");
    of_stage.restore().unwrap();
    let trial = in_time(next().migrate()).unwrap();
    lan.read_until("Connected");
    running.signal(Signal::STOP);
    begin(trial.accept());
    running.kill();
    let _running = stage.start();
    lan.read_until("Disconnected");
    session.read_until("Connected");
    assert_eq!(session.connect().access_point(), "lte");
}

#[test]
fn a_trial_is_over_at_once_if_its_session_is_closed_while_the_daemon_is_away() {
    let (stage, running, manager) = uplink();
    let (_lte, mut session, mut roaming, offer) = offered(&manager);
    let mut lan = Watched::on(&manager, "lan");
    let mut trial = offer.migrate().unwrap();
    lan.read_until("Connected");
    running.kill();
    session.read_until("ServiceLost");
    session.session.close().unwrap();
    session.expect(&["Connected", "Closed"]);
    assert_eq!((trial.interface(), session.session.candidate_interface()), (None, None));
    assert_eq!(trial.ended_within(DEADLINE), Some(MigrateError::SessionEnded(None)));
    assert!(trial.accept().is_err());
    assert!(roaming.next_within(Duration::ZERO).is_none());
    let _running = stage.start();
    lan.read_until("Disconnected");
    session.read_until("ServiceBack");
    assert!(!session.session.is_open());
}

#[test]
fn a_daemon_that_has_forgotten_its_offers_makes_others_by_the_same_numbers() {
    let (stage, running, manager) = uplink();
    let (mut lte, mut session, mut roaming, former) = offered(&manager);
    running.kill();
    forget_the_ledger(&stage);
    let _running = stage.start();
    for opening in [&mut lte, &mut session] {
        opening.read_until("ServiceBack");
        opening.session.open().unwrap();
        opening.read_until("Opened");
    }
    let offer = roaming.next_within(DEADLINE).expect("who decides is asked");
    assert_eq!(offer.number, former.number);
    assert_eq!(former.migrate().unwrap_err(), MigrateError::Over(offer.number), "it is another one");
    offer.migrate().expect("nobody has answered it").accept().unwrap();
    assert_eq!(session.connect().access_point(), "lan");
}

#[test]
fn what_was_closed_while_the_daemon_was_away_is_closed_and_kept_at_the_limit_of_its_user() {
    const LIMIT: [&str; 3] = ["--no-bus", "--max-watchers", "1"];
    let stage = stage();
    let running = stage.start_with(LIMIT);
    let manager = connect(&stage);
    let mut session = Watched::opened(&manager);
    running.kill();
    session.expect(&["ServiceLost"]);
    session.session.close().unwrap();
    session.expect(&["Closed"]);
    let _running = stage.start_with(LIMIT);
    session.read_until("ServiceBack");
    assert!(!session.session.is_open());
    stage.wait_until_untouched();
    assert_eq!(sessions(&manager), 1);
    session.session.open().unwrap();
    session.read_until("Opened");
}

#[test]
fn a_chooser_is_asked_by_the_next_daemon_as_well_and_old_questions_are_withdrawn() {
    let stage = on_the_machine(Stage::with([NAME, "ap1"].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq))));
    let profiles = directories(&stage).configuration.join("profiles.d");
    fs::create_dir_all(&profiles).unwrap();
    fs::write(profiles.join("way.toml"), "[user_choice]\nchoices = [\"ap0\", \"ap1\"]\n").unwrap();
    let running = stage.start();
    let manager = connect(&stage);
    let mut chooser = manager.wait_for(async |manager| manager.chooser().await).unwrap();
    let mut next = || manager.wait_for(async |_| chooser.next().await).expect("the chooser is told something");
    let mut session = Watched::on(&manager, "choice-way");
    session.session.open().unwrap();
    let ChooserEvent::Asked(question) = next() else { panic!("it is asked") };
    assert_eq!(question.choices.len(), 2);
    running.kill();
    assert_eq!(next(), ChooserEvent::Withdrawn(question.number));
    session.session.close().unwrap();
    let _running = stage.start();
    session.read_until("ServiceBack");
    session.session.open().unwrap();
    let ChooserEvent::Asked(question) = next() else { panic!("it is asked") };
    let choice = question.choices.iter().find(|choice| choice.name == "ap1").unwrap().identifier.clone();
    manager.wait_for(async |_| chooser.answer(question.number, Some(&choice)).await).unwrap();
    session.read_until("Opened");
    assert_eq!(session.session.interface().unwrap().name, "ap1");
}

#[test]
fn waiting_for_an_opening_outlasts_the_daemon() {
    let stage = on_the_machine(Stage::with([AccessPointPlan::new(NAME).dhcp(Dhcp::Scripted(Script::default()))]));
    let server = stage.lab.access_point(NAME).unwrap().dhcp_server().unwrap();
    server.fail(Fault::Silent);
    let running = stage.start();
    let manager = connect(&stage);
    let mut session = Watched::new(&manager);
    session.session.open().unwrap();
    session.expect(&["Connecting"]);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| session.session.wait_for_opened(None));
        running.kill();
        server.heal();
        let again = stage.start();
        assert_eq!(waiting.join().unwrap(), Ok(true));
        drop(again);
    });
}

#[test]
fn a_hold_that_is_passed_on_keeps_the_link_whatever_becomes_of_its_session() {
    let stage = stage();
    let running = stage.start();
    let manager = connect(&stage);
    let mut watcher = Watched::new(&manager);
    let mut session = Watched::opened(&manager);
    watcher.expect(&["Connecting", "Connected"]);
    let mut holder = hold(&session.session);
    session.session.close().unwrap();
    session.expect(&["Closed"]);
    assert_eq!(watcher.session.state(), SessionState::Connected);
    holder.kill().unwrap();
    holder.wait().unwrap();
    watcher.expect(&["Closing", "Disconnected"]);
    assert_eq!(session.session.hold_fd().map(|_| ()), Err(CallError::NotHeld(AP0.into())));

    // Also if it was closed while the daemon was away, which then does not take it for open.
    session.session.open().unwrap();
    session.read_until("Opened");
    let mut holder = hold(&session.session);
    running.kill();
    session.read_until("ServiceLost");
    session.session.close().unwrap();
    session.expect(&["Closed"]);
    let _running = stage.start();
    session.expect(&["ServiceBack"]);
    assert!(!session.session.is_open());
    assert_eq!(session.session.state(), SessionState::Connected);
    stage.wait_until_up();
    holder.kill().unwrap();
    holder.wait().unwrap();
    session.expect(&["Closing", "Disconnected"]);
    stage.wait_until_untouched();
}

/// A process that has nothing but a hold.
fn hold(session: &Session) -> Child {
    let hold: OwnedFd = session.hold_fd().unwrap();
    assert!(fcntl_getfd(hold.as_fd()).unwrap().contains(FdFlags::CLOEXEC));
    Command::new("sleep").arg("600").stdin(Stdio::from(hold)).spawn().unwrap()
}

#[test]
fn children_inherit_nothing() {
    let stage = stage();
    let _running = stage.start();
    let manager = connect(&stage);
    let session = Watched::opened(&manager);
    let _hold = session.session.hold_fd().unwrap();
    let mut child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
    let opened = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
    let opened: Vec<PathBuf> = opened.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let runtime = stage.runtime();
    let ours = |path: &&PathBuf| path.starts_with(&runtime) || path.to_string_lossy().starts_with("anon_inode");
    assert_eq!(opened.iter().filter(ours).count(), 0, "{opened:?}");
    assert!(!opened.is_empty());
}

#[test]
fn whoever_is_dropped_has_closed_and_is_forgotten() {
    let stage = stage();
    let _running = stage.start();
    let manager = connect(&stage);
    let other = connect(&stage);
    let mut watcher = Watched::new(&other);
    let session = Watched::opened(&manager);
    watcher.expect(&["Connecting", "Connected"]);
    assert_eq!(sessions(&manager), 2);
    drop(session);
    watcher.expect(&["Closing", "Disconnected"]);
    assert_eq!(sessions(&manager), 1);
    // With everything that its process has.
    let session = Watched::opened(&manager);
    watcher.expect(&["Connecting", "Connected"]);
    drop((manager, session));
    watcher.expect(&["Closing", "Disconnected"]);
    stage.wait_until_untouched();
}

#[test]
fn calls_that_nobody_waits_for_leave_nothing_behind() {
    let stage = stage();
    let _running = stage.start();
    let manager = connect(&stage);
    let configuration = manager.find(Some(NAME)).unwrap();
    let mut session = Watched::new(&manager);
    manager.wait_for(async |manager| {
        for _ in 0..100 {
            begin(manager.session(&configuration));
            begin(manager.chooser());
            begin(manager.decisions());
        }
    });
    // The first question is answered after all of these were, and when it is, they have been forgotten.
    let _ = sessions(&manager);
    assert_eq!(sessions(&manager), 1);
    // A session that was opened is open, whoever waits for that.
    begin(netbearer::Session::open(&session.session));
    session.expect(&["Connecting", "Connected", "Opened"]);
    begin(netbearer::Session::close(&session.session));
    session.expect(&["Closed", "Closing", "Disconnected"]);
    // Nor do descriptors.
    session.session.open().unwrap();
    session.read_until("Opened");
    for _ in 0..100 {
        begin(netbearer::Session::hold_fd(&session.session));
    }
    let _ = sessions(&manager);
    session.session.close().unwrap();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    stage.wait_until_untouched();
}

#[test]
fn after_a_shutdown_nothing_is_told_and_the_daemon_goes_on() {
    let stage = stage();
    let _running = stage.start();
    let (manager, other) = (connect(&stage), connect(&stage));
    let mut session = Watched::opened(&manager);
    let mut steps = manager.steps();
    manager.shutdown();
    session.expect(&["Closed"]);
    session.events.by_ref().for_each(drop);
    assert_eq!(session.session.open(), Err(CallError::ServiceGone));
    assert_eq!(session.session.close(), Ok(()));
    assert_eq!(manager.events().next(), None);
    while steps.changed_within(DEADLINE).is_ok_and(|changed| changed) {}
    assert_eq!(steps.changed_within(DEADLINE), Err(CallError::ServiceGone));
    stage.wait_until_untouched();
    Watched::opened(&other);
}

#[test]
fn whoever_waits_for_a_daemon_that_does_not_answer_can_leave() {
    let stage = stage();
    let running = stage.start();
    let manager = connect(&stage);
    running.signal(Signal::STOP);
    thread::scope(|scope| {
        let asking = scope.spawn(|| manager.wait_for(async |manager| manager.decisions().await));
        manager.shutdown();
        assert_eq!(asking.join().unwrap(), Err(CallError::ServiceGone));
    });
    let start = Instant::now();
    begin(daemon(&stage).connect());
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
    running.signal(Signal::CONT);
    connect(&stage);
}

#[test]
fn what_is_told_of_the_machine_is_told_by_the_daemon_as_well() {
    let stage = stage();
    let _running = stage.start();
    let manager = connect(&stage);
    let (mut events, mut news, mut steps) = (manager.events(), manager.news(), manager.steps());
    assert!(!manager.wait_for(async |manager| manager.is_online().await).unwrap());
    let session = Watched::opened(&manager);
    next_of(&mut events, &ManagerEvent::OnlineStateChanged { online: true });
    assert!(news.changed_within(DEADLINE).unwrap());
    assert!(steps.changed_within(DEADLINE).unwrap(), "there was something to be done");
    let changed = manager.find(Some(NAME)).unwrap();
    drop(session);
    next_of(&mut events, &ManagerEvent::OnlineStateChanged { online: false });
    assert!(changed.is_valid());
    stage.lab.access_point(NAME).unwrap().unplug().unwrap();
    next_of(&mut events, &ManagerEvent::ConfigurationRemoved { identifier: changed.identifier });
    let decisions = manager.wait_for(async |manager| manager.decisions().await).unwrap();
    assert!(!decisions.is_empty());
}
