//! Other processes that hold sessions, by the same service.

use std::{
    collections::VecDeque,
    fmt,
    io::Write,
    os::unix::fs::PermissionsExt,
    process::{ChildStdin, Stdio},
};

use netbearer_holder::{Line, Order, Told, Way};
use netbearer_lab::{Mark, Program, Record, Signal, own_program};

use crate::stage::{DEADLINE, Manager, Stage};

/// The numbers of a user and of a group that every machine has: "nobody", as a bus lets only those come that the machine
/// knows, and "users".
const SOMEBODY: u32 = 65_534;
const USERS: u32 = 100;

/// Who a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Root,
    /// Somebody else, in the group whose members may open sessions.
    Member,
    /// Somebody else.
    Stranger,
}

/// A refused order: what kind of refusal it was, and a sentence.
pub(crate) type Refused = (String, String);

/// The process.
pub(crate) struct Holder {
    input: Option<ChildStdin>,
    program: Program,
    lines: Record<String>,
    /// What of it was looked at for events.
    read: Mark,
    /// Events of each session that nobody has looked at yet.
    unread: Vec<VecDeque<(String, Told)>>,
    sessions: usize,
}

impl Holder {
    pub(crate) fn start(stage: &Stage, manager: &Manager) -> Self {
        Self::start_as(User::Root, stage, manager)
    }

    /// With a session that is open on this.
    pub(crate) fn opened_on(stage: &Stage, manager: &Manager, name: &str) -> Self {
        let mut holder = Self::start(stage, manager);
        holder.session(name);
        holder.open(0);
        holder.expect_last(0, "Opened");
        holder
    }

    /// By the daemon's own socket, whatever the transport.
    pub(crate) fn start_by_socket(stage: &Stage, manager: &Manager) -> Self {
        Self::start_by(&manager.daemon().way_by_socket(), User::Root, stage)
    }

    pub(crate) fn start_as(user: User, stage: &Stage, manager: &Manager) -> Self {
        Self::start_by(&manager.daemon().way(), user, stage)
    }

    fn start_by(way: &Way, user: User, stage: &Stage) -> Self {
        let program = own_program("netbearer-holder").expect("it is built");
        let command = match user {
            User::Root => stage.lab.machine().command(program),
            User::Member | User::Stranger => {
                // Where it was built, others may not look.
                let copy = stage.directory().join("holder");
                if !copy.exists() {
                    std::fs::copy(program, &copy).expect("the program is copied");
                }
                let open_to_all = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(stage.directory(), open_to_all).expect("it is ours");
                let [user_number, group] = [SOMEBODY, SOMEBODY].map(|number| number.to_string());
                let command = stage.lab.machine().command("setpriv").args(["--pdeathsig", "KILL"]);
                let command = command.args(["--reuid", &user_number, "--regid", &group]);
                let command = match user {
                    User::Member => command.args(["--groups", &USERS.to_string()]),
                    _ => command.arg("--clear-groups"),
                };
                command.arg(copy)
            }
        };
        let command = command.args(way.arguments()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = command.spawn().expect("it starts");
        let input = program.take_stdin();
        let lines = program.stdout_lines().expect("it has an output");
        Self { input, program, lines, read: Mark::default(), unread: Vec::new(), sessions: 0 }
    }

    /// Has it do something, and waits until that is done or refused.
    pub(crate) fn give(&mut self, order: Order) -> Result<Option<Told>, Refused> {
        let mark = self.begin(&order);
        self.finish(mark, &order)
    }

    /// Has it do something.
    pub(crate) fn begin(&mut self, order: &Order) -> Mark {
        let mark = self.lines.mark();
        let input = self.input.as_mut().expect("it was not told to end");
        writeln!(input, "{order}").expect("it reads its orders");
        mark
    }

    /// Waits until what it was told to do since is done or refused.
    pub(crate) fn finish(&self, since: Mark, order: &Order) -> Result<Option<Told>, Refused> {
        let wanted = order.to_string();
        match self.wait_for(since, &wanted, |line| matches!(line, Line::Done { order, .. } if *order == wanted)) {
            Line::Done { refusal: Some(refusal), .. } => Err(refusal),
            Line::Done { now, .. } => Ok(now),
            other => panic!("{other:?}"),
        }
    }

    /// A line since then that is so.
    pub(crate) fn wait_for(&self, since: Mark, what: &str, is_so: impl Fn(&Line) -> bool) -> Line {
        let is_wanted = |line: &String| is_so(&parse(line));
        parse(&self.lines.wait_for_since(since, what, DEADLINE, is_wanted).expect("the holder says it"))
    }

    /// Makes a session; returns its number.
    pub(crate) fn session(&mut self, name: &str) -> usize {
        self.give(Order::Session(name.to_owned())).expect("a session");
        self.sessions += 1;
        self.unread.resize_with(self.unread.len().max(self.sessions), VecDeque::new);
        self.sessions - 1
    }

    pub(crate) fn open(&mut self, session: usize) {
        self.give(Order::Open(session)).expect("the open is accepted");
    }

    /// Waits until a session is open, whatever it was told so far.
    pub(crate) fn wait_until_open(&mut self, session: usize) {
        let mark = self.lines.mark();
        let opens =
            |line: &Line| matches!(line, Line::Event { session: of, event, .. } if *of == session && event == "Opened");
        if !self.ask(session).is_open {
            self.wait_for(mark, "Opened", opens);
        }
    }

    pub(crate) fn close(&mut self, session: usize) {
        self.give(Order::Close(session)).expect("the service answers");
    }

    /// What holds when the service has done all that it was asked before.
    pub(crate) fn ask(&mut self, session: usize) -> Told {
        self.give(Order::Ask(session)).expect("the service answers").expect("the session tells")
    }

    /// The next events of a session are exactly these.
    pub(crate) fn expect(&mut self, session: usize, expected: &[&str]) {
        for (position, wanted) in expected.iter().enumerate() {
            let (event, _) = self.next(session);
            assert_eq!(event, *wanted, "event {position} of {expected:?}");
        }
    }

    /// Reads until this one.
    pub(crate) fn expect_last(&mut self, session: usize, wanted: &str) {
        while self.next(session).0 != wanted {}
    }

    /// The next event of a session, and what held then.
    pub(crate) fn next(&mut self, session: usize) -> (String, Told) {
        loop {
            self.read_on();
            if let Some(next) = self.unread[session].pop_front() {
                return next;
            }
            self.lines.wait_for_since(self.read, "an event", DEADLINE, |_| true).expect("an event should come in time");
        }
    }

    /// All events that a session was told and nobody has looked at yet.
    fn rest(&mut self, session: usize) -> Vec<String> {
        self.read_on();
        self.unread[session].drain(..).map(|(event, _)| event).collect()
    }

    fn read_on(&mut self) {
        for line in self.lines.read_on(&mut self.read) {
            if let Line::Event { session, event, now, .. } = parse(&line) {
                self.unread.resize_with(self.unread.len().max(session + 1), VecDeque::new);
                self.unread[session].push_back((event, now));
            }
        }
    }

    /// All events of a session so far.
    pub(crate) fn told(&self, session: usize) -> Vec<String> {
        let of_session = |line: &String| match parse(line) {
            Line::Event { session: of, event, .. } => (of == session).then_some(event),
            _ => None,
        };
        self.lines.entries().iter().filter_map(of_session).collect()
    }

    /// Nothing more has been told. The service is asked something first, so that what it was doing is done.
    pub(crate) fn expect_silence(&mut self, session: usize) {
        self.ask(session);
        assert_eq!(self.rest(session), [""; 0], "nothing should be told");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.program.signal(signal).expect("it runs");
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.program.wait(DEADLINE).expect("it is killed");
    }

    /// Lets it close its sessions and end.
    pub(crate) fn end(mut self) {
        drop(self.input.take());
        let status = self.program.wait(DEADLINE).expect("it ends");
        assert!(status.success(), "{status}");
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.program)
    }
}

fn parse(line: &str) -> Line {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}
