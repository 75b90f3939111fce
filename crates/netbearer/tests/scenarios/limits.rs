//! What one client or user may take of the daemon, and that nobody else is disturbed (scenario 42).

use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use netbearer::{CallError, UserChoiceProfile};
use netbearer_lab::{AccessPointPlan, Dhcp, uninterrupted};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::geteuid,
};
use zbus::Message;

use crate::{
    choice::Choice,
    holders::{Holder, User},
    only_served,
    stage::{AP0, DEADLINE, Manager, Stage, Watched},
};

/// What one user may have (semantics §4).
const SESSIONS: usize = 256;
const WATCHERS: usize = 1_024;
/// What a client may leave unread before it is cut off, in octets.
const UNREAD: usize = 1024 * 1024;

/// Opening and closing when nobody is in the way takes a few milliseconds; who is disturbed waits for seconds.
const UNDISTURBED: Duration = Duration::from_secs(1);

/// An access point that others keep up, so that opening and closing are a matter of the ledger alone.
fn adopted() -> Stage {
    let stage = Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::None)]);
    stage.configure_by_hand();
    stage
}

/// Opens and closes, and none of it takes long.
fn assert_undisturbed(session: &mut Watched) {
    for _ in 0..20 {
        let begin = Instant::now();
        session.open();
        session.expect(&["Opened"]);
        session.close();
        session.expect(&["Closed"]);
        assert!(begin.elapsed() < UNDISTURBED, "{:?}", begin.elapsed());
    }
}

/// Scenario 42.
#[test]
fn the_session_after_the_last_that_a_user_may_have_fails_clearly_and_others_go_on() {
    if only_served() {
        return;
    }
    let stage = adopted();
    let manager = stage.manager();
    let mut sessions: Vec<Watched> = (0..SESSIONS).map(|_| Watched::opened(&manager)).collect();
    let one_more = Watched::new(&manager);
    match one_more.session.open() {
        Err(CallError::LimitReached(sentence)) => assert!(sentence.contains(&SESSIONS.to_string()), "{sentence}"),
        other => panic!("{other:?}"),
    }
    assert!(!one_more.session.is_open());
    // It is the user's, not the process's.
    let mut another_process = Holder::start(&stage, &manager);
    another_process.session(AP0);
    assert_eq!(another_process.give(netbearer_holder::Order::Open(0)).unwrap_err().0, "LimitReached");
    let mut another_user = Holder::start_as(User::Member, &stage, &manager);
    another_user.session(AP0);
    another_user.open(0);
    another_user.expect(0, &["Opened"]);
    for session in &mut sessions {
        session.expect_silence();
        assert!(session.session.is_open());
    }
    another_process.expect(0, &["Error(OperationNotSupported)"]);
    sessions[0].close();
    another_process.open(0);
    another_process.expect(0, &["Opened"]);
}

/// Scenario 42, of those who only watch.
#[test]
fn the_watcher_after_the_last_that_a_user_may_have_fails_clearly() {
    if only_served() {
        return;
    }
    let stage = adopted();
    let manager = stage.manager();
    let configuration = manager.find(Some(AP0)).unwrap();
    let watchers: Vec<_> = (0..WATCHERS).map(|_| manager.session(&configuration).unwrap()).collect();
    match manager.session(&configuration) {
        Err(CallError::LimitReached(sentence)) => assert!(sentence.contains(&WATCHERS.to_string()), "{sentence}"),
        other => panic!("{other:?}"),
    }
    // Who opens does not only watch any more.
    watchers[0].open().unwrap();
    drop(manager.session(&configuration).unwrap());
    drop(watchers);
    let mut session = Watched::new(&manager);
    assert_undisturbed(&mut session);
}

/// A client that says what it wants, and does not care for answers.
struct Careless(UnixStream);

impl Careless {
    /// One that has said who it is (D-Bus specification, "Authentication Protocol").
    fn connect(manager: &Manager) -> Self {
        let mut stream = UnixStream::connect(manager.daemon().socket()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let user: String = geteuid().as_raw().to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes()).unwrap();
        let mut answer = [0; 256];
        let length = uninterrupted(|| stream.read(&mut answer)).unwrap();
        assert!(answer[..length].starts_with(b"OK "), "{}", String::from_utf8_lossy(&answer[..length]));
        stream.write_all(b"BEGIN\r\n").unwrap();
        Self(stream)
    }

    /// Calls a method of the manager without arguments.
    fn call(&mut self, name: &str) -> io::Result<()> {
        let call = Message::method_call("/org/netbearer/Bearer1", name).interface("org.netbearer.Manager1");
        self.0.write_all(call.build(&()).unwrap().data())
    }

    /// Asks again and again for what is long, until nothing more goes out.
    fn ask_in_vain(&mut self) {
        self.0.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        while self.call("DescribeDecisions").is_ok() {}
    }

    /// The other end is closed, whatever still waits to be read.
    fn is_cut_off(&self) -> bool {
        let mut socket = [PollFd::new(&self.0, PollFlags::empty())];
        poll(&mut socket, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
        socket[0].revents().contains(PollFlags::HUP)
    }

    /// How much comes until the end. There is one.
    fn read_to_the_end(&mut self) -> usize {
        let (mut length, mut octets) = (0, vec![0; 64 * 1024]);
        loop {
            match uninterrupted(|| self.0.read(&mut octets)) {
                Ok(0) => return length,
                Ok(more) => length += more,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return length,
                Err(error) => panic!("it is not cut off: {error}, after {length} octets"),
            }
        }
    }
}

/// Scenario 42: who asks and does not read is not listened to any more, and nobody else waits for that.
#[test]
fn a_client_that_asks_and_does_not_read_disturbs_nobody() {
    if only_served() {
        return;
    }
    let stage = adopted();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    // Something to tell.
    for _ in 0..10 {
        assert_undisturbed(&mut session);
    }
    let careless = [(); 3].map(|()| {
        let mut careless = Careless::connect(&manager);
        careless.ask_in_vain();
        assert_undisturbed(&mut session);
        careless
    });
    assert_undisturbed(&mut session);
    drop(careless);
    assert_undisturbed(&mut session);
}

/// Scenario 42: an agent that users are asked by, and that reads no questions.
#[test]
fn a_client_that_leaves_a_mebibyte_unread_is_cut_off_and_disturbs_nobody() {
    if only_served() {
        return;
    }
    let stage = adopted();
    // The more there is to choose from, the longer a question is.
    for number in 0..20 {
        stage.ip(&format!("link add one{number} type veth peer name other{number}"));
    }
    let manager = stage.start(|setup| setup.user_choice("anything", UserChoiceProfile::default()));
    let mut session = Watched::new(&manager);
    let mut asked = Watched::on(&manager, "choice-anything");
    let mut careless = Careless::connect(&manager);
    careless.call("RegisterChooser").unwrap();
    let begin = Instant::now();
    while !careless.is_cut_off() {
        asked.open();
        asked.close();
        // Where the end of who is asked came first, the opening has failed, and there was nothing to close.
        while asked.try_next().is_some() {}
        assert!(begin.elapsed() < DEADLINE, "it is not cut off");
    }
    println!("cut off after {:?}", begin.elapsed());
    assert_undisturbed(&mut session);
    let length = careless.read_to_the_end();
    assert!(length < UNREAD, "what was cut off is not sent: {length} octets");
    // Nobody is asked any more.
    asked.open();
    asked.expect_last("Opened");
    drop(asked);
    assert_undisturbed(&mut session);
}

/// A client that sends garbage is cut off, whenever it begins to.
#[test]
fn a_client_that_sends_garbage_is_cut_off_and_disturbs_nobody() {
    if only_served() {
        return;
    }
    let stage = adopted();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    for seed in 0..20 {
        let mut choice = Choice::new(seed);
        let garbage: Vec<u8> =
            (0..choice.below(5_000) + 600).map(|_| u8::try_from(choice.below(256)).unwrap()).collect();
        let mut client = match seed % 2 {
            0 => Careless::connect(&manager),
            _ => Careless(UnixStream::connect(manager.daemon().socket()).unwrap()),
        };
        client.0.set_read_timeout(Some(DEADLINE)).unwrap();
        // It may be cut off before it has ended.
        let _ = client.0.write_all(&garbage);
        let _ = client.0.shutdown(std::net::Shutdown::Write);
        client.read_to_the_end();
    }
    assert_undisturbed(&mut session);
}
