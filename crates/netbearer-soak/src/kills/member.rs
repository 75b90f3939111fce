//! A process that holds sessions, and what is known of it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use netbearer::SessionState;
use netbearer_holder::{Answer, Line, Order, Told};
use netbearer_lab::{NamespaceCommand, Program, Signal};
use rustix::time::{ClockId, clock_gettime};

use super::{
    ledger::{Hold, Ledger, Span},
    plan::{Seat, Slot},
};
use crate::{error::SoakError, pulse::Pulse};

/// For a process to end that was asked to.
const PATIENCE: Duration = Duration::from_secs(20);

/// The process, as the soak sees it.
pub(crate) struct Member {
    /// For people.
    pub(crate) name: String,
    pub(crate) number: usize,
    pub(crate) sessions: Vec<Session>,
    input: Option<ChildStdin>,
    program: Program,
    reader: Option<JoinHandle<()>>,
    heard: Arc<Mutex<Heard>>,
    /// What was asked for and is not taken into account yet.
    asked: VecDeque<(Order, u64)>,
    /// How many answers are taken into account.
    answered: usize,
    /// When the last of them came.
    last_answer: u64,
    /// How many sessions and descriptors it has answered for.
    made: usize,
    descriptors: usize,
}

/// One of its sessions, as it must be by what it was told.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) seat: Seat,
    pub(crate) is_there: bool,
    /// What it holds, unless somebody else has ended that.
    pub(crate) hold: Option<Hold>,
}

/// What a process has said.
#[derive(Debug, Default)]
struct Heard {
    answers: Vec<Reply>,
    told: BTreeMap<usize, Told>,
    files: BTreeMap<usize, String>,
    last_events: BTreeMap<usize, String>,
    last_states: BTreeMap<usize, String>,
    sessions: usize,
    /// By which access point the connections that sessions have reach their server.
    reached: BTreeMap<usize, String>,
    /// Sessions that have been on their way since their connection was there.
    moved: BTreeSet<usize>,
    /// Sessions that have not gone where they were offered to go, since all was settled the last time: that may not be offered
    /// again before the members are put in another order.
    stayed: BTreeSet<usize>,
    /// The same of before, as long as no order has changed that.
    stayed_before: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
struct Reply {
    /// The kind of refusal.
    refusal: Option<String>,
    at: u64,
}

/// What comes of answers beside what becomes of the member's own sessions.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A descriptor is there.
    Held(usize, Hold),
    /// The process has no copy of a descriptor any more.
    Released(usize),
}

impl Member {
    /// Starts it by a command that takes no more arguments.
    pub(crate) fn start(
        command: NamespaceCommand<'_>,
        number: usize,
        slot: Slot,
        seats: &[Seat],
        pulse: &Pulse,
    ) -> Result<Self, SoakError> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = command.spawn()?;
        let name = format!("holder {number} in slot {slot}");
        pulse.note(format!("holder {number} is process {}", program.id()));
        let heard = Arc::new(Mutex::new(Heard::default()));
        let reader = program.take_stdout().map(|output| {
            let (heard, pulse, name) = (Arc::clone(&heard), pulse.clone(), name.clone());
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Ok(said) = serde_json::from_str(&line)
                        && let Some(complaint) = lock(&heard).take_in(said)
                    {
                        pulse.complain(format!("{name}: {complaint}"));
                    }
                    pulse.beat(format!("{name}: {line}"));
                }
                pulse.beat(format!("{name} has ended"));
            })
        });
        if let Some(errors) = program.take_stderr() {
            let (pulse, name) = (pulse.clone(), name.clone());
            thread::spawn(move || {
                for line in BufReader::new(errors).lines().map_while(Result::ok) {
                    pulse.complain(format!("{name}, standard error: {line}"));
                }
            });
        }
        let sessions = seats.iter().map(|seat| {
            // Until it is known to be so.
            let seat = Seat { reconnects: false, ..*seat };
            Session { seat, is_there: false, hold: None }
        });
        let mut member = Self {
            name,
            number,
            sessions: sessions.collect(),
            input: program.take_stdin(),
            program,
            reader,
            heard,
            asked: VecDeque::new(),
            answered: 0,
            last_answer: 0,
            made: 0,
            descriptors: 0,
        };
        for (session, seat) in seats.iter().enumerate() {
            member.ask(Order::Session(seat.aim.name()));
            if seat.reconnects {
                member.ask(Order::Reconnect(session));
            }
        }
        Ok(member)
    }

    pub(crate) fn process(&self) -> u32 {
        self.program.id()
    }

    /// A process that has ended by itself does not hear it, which shows when the answer is waited for.
    pub(crate) fn ask(&mut self, order: Order) {
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{order}");
        }
        self.asked.push_back((order, boot_time()));
    }

    /// What its session tells.
    pub(crate) fn told(&self, session: usize) -> Option<Told> {
        lock(&self.heard).told.get(&session).cloned()
    }

    /// The file of a descriptor, as it was when that was got.
    pub(crate) fn file(&self, descriptor: usize) -> Option<String> {
        lock(&self.heard).files.get(&descriptor).cloned()
    }

    /// By which access point a session's connection reaches its server; none if it has none, or it is known to be broken.
    pub(crate) fn reached(&self, session: usize) -> Option<String> {
        lock(&self.heard).reached.get(&session).cloned()
    }

    /// Whether a session may have left a link since its connection was there, even if it has come back.
    pub(crate) fn has_moved(&self, session: usize) -> bool {
        lock(&self.heard).moved.contains(&session)
    }

    /// Whether a session may have been left out since it has not gone where it was offered to go. If the order has changed since
    /// all was settled, that is forgotten which was before.
    pub(crate) fn has_stayed(&self, session: usize, has_order_changed: bool) -> bool {
        let heard = lock(&self.heard);
        heard.stayed.contains(&session) || !has_order_changed && heard.stayed_before.contains(&session)
    }

    /// All is settled.
    pub(crate) fn settle(&mut self, has_order_changed: bool) {
        let mut heard = lock(&self.heard);
        if has_order_changed {
            heard.stayed_before.clear();
        }
        let stayed = std::mem::take(&mut heard.stayed);
        heard.stayed_before.extend(stayed);
    }

    /// The first thing that it has not answered, if any.
    pub(crate) fn unanswered(&self) -> Option<Order> {
        let waiting = lock(&self.heard).answers.len() - self.answered;
        self.asked.get(waiting).map(|(order, _)| order.clone())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), SoakError> {
        Ok(self.program.signal(signal)?)
    }

    /// Has it end by itself, in good order.
    pub(crate) fn let_go(&mut self) {
        drop(self.input.take());
    }

    /// Kills it. When this returns, all that it has said is heard.
    pub(crate) fn kill(&mut self) -> Result<(), SoakError> {
        // It may have ended by itself.
        let _ = self.program.signal(Signal::KILL);
        self.program.wait(PATIENCE)?;
        self.hear_the_rest();
        Ok(())
    }

    /// Waits until it has ended in good order.
    pub(crate) fn wait(&mut self) -> Result<(), SoakError> {
        let status = self.program.wait(PATIENCE)?;
        self.hear_the_rest();
        if status.success() { Ok(()) } else { Err(SoakError::Wrong(format!("{} failed: {status}", self.name))) }
    }

    fn hear_the_rest(&mut self) {
        if let Some(reader) = self.reader.take() {
            // Nothing in the thread can panic.
            let _ = reader.join();
        }
    }

    /// Takes into account what it has answered.
    pub(crate) fn take_answers(&mut self, ledger: &mut Ledger) -> Vec<Outcome> {
        let answers = lock(&self.heard).answers.get(self.answered..).unwrap_or_default().to_vec();
        let mut outcomes = Vec::new();
        for answer in answers {
            self.answered += 1;
            let Some((order, asked)) = self.asked.pop_front() else { continue };
            let when = Span { begin: asked.max(self.last_answer), end: answer.at };
            self.last_answer = answer.at;
            outcomes.extend(self.take_answer(&order, answer.refusal.as_deref(), when, ledger));
        }
        outcomes
    }

    /// Takes into account what may have come of what it was doing when it was killed.
    pub(crate) fn take_leave(&mut self, ledger: &mut Ledger) {
        if let Some((Order::Stop(session), asked)) = self.asked.front()
            && let Some(session) = self.sessions.get(*session)
        {
            ledger.maybe_stop(session.seat.aim, Span::since(*asked.max(&self.last_answer)));
        }
        self.asked.clear();
        for session in &mut self.sessions {
            session.is_there = false;
            session.hold = None;
        }
    }

    fn take_answer(
        &mut self,
        order: &Order,
        refusal: Option<&str>,
        when: Span,
        ledger: &mut Ledger,
    ) -> Option<Outcome> {
        let is_granted = refusal.is_none();
        match *order {
            Order::Session(_) => {
                let number = self.made;
                self.made += 1;
                self.session(number)?.is_there = is_granted;
            }
            Order::Reconnect(session) => self.session(session)?.seat.reconnects = is_granted,
            Order::Open(session) => {
                let session = self.session(session)?;
                let Seat { aim, reconnects } = session.seat;
                if is_granted {
                    session.hold = Some(Hold { aim, reconnects, since: when });
                }
            }
            Order::Close(session) => self.session(session)?.hold = None,
            Order::Drop(session) => {
                let session = self.session(session)?;
                session.hold = None;
                session.is_there = false;
            }
            Order::Stop(session) => {
                let session = self.session(session)?;
                match refusal {
                    None => {
                        session.hold = None;
                        ledger.stop(session.seat.aim, when);
                    }
                    // Its own part is closed.
                    Some("Denied") => session.hold = None,
                    Some("NotOpen") => {}
                    Some(_) if session.is_there => ledger.maybe_stop(session.seat.aim, when),
                    Some(_) => {}
                }
            }
            Order::Hold(session) => {
                let number = self.descriptors;
                self.descriptors += 1;
                let Seat { aim, reconnects } = self.session(session)?.seat;
                return is_granted.then_some(Outcome::Held(number, Hold { aim, reconnects, since: when }));
            }
            Order::Release(descriptor) => return Some(Outcome::Released(descriptor)),
            Order::Ask(_)
            | Order::Send(..)
            | Order::Receive(_)
            | Order::Decide(..)
            | Order::Connect(_)
            | Order::Echo(_) => {}
        }
        None
    }

    fn session(&mut self, number: usize) -> Option<&mut Session> {
        self.sessions.get_mut(number)
    }
}

impl Heard {
    /// Returns what is wrong with it, if anything is.
    fn take_in(&mut self, line: Line) -> Option<String> {
        match line {
            Line::Event { session, event, now, .. } => {
                self.told.insert(session, now);
                // Connections of before end with it.
                if event == "Opened" || event == "Closed" {
                    self.reached.remove(&session);
                    self.stayed.remove(&session);
                    self.stayed_before.remove(&session);
                }
                if event == "Roaming" || event == "ActiveConfigurationChanged" {
                    self.moved.insert(session);
                }
                let before = self.last_events.insert(session, event.clone());
                let is_state = STATES.iter().any(|state| state.to_string() == event);
                let state_before = if is_state { self.last_states.insert(session, event.clone()) } else { None };
                if state_before.is_some_and(|before| before == event) {
                    return Some(format!("session {session} was told the same state twice: {event}"));
                }
                (event == "Opened" && before.is_some_and(|before| before == event))
                    .then(|| format!("session {session} was told twice: {event}"))
            }
            Line::Done { order, refusal, now, at } => {
                self.take_in_connections(order.parse().ok(), refusal.is_some());
                if order.starts_with("session ") {
                    if let Some(now) = now {
                        self.told.entry(self.sessions).or_insert(now);
                    }
                    self.sessions += 1;
                }
                self.answers.push(Reply { refusal: refusal.map(|(kind, _)| kind), at });
                None
            }
            Line::Held { descriptor, file } => {
                let name = file.as_ref().and_then(|file| file.file_name()).and_then(|name| name.to_str());
                self.files.insert(descriptor, name.unwrap_or_default().to_owned());
                None
            }
            Line::Reached { session, access_point } => {
                self.reached.insert(session, access_point);
                self.moved.remove(&session);
                None
            }
            // What holds then may be overtaken by what an event tells.
            Line::Decided { session, answer, refusal, .. } => {
                // What is over was superseded or withdrawn, and is offered anew.
                let has_stayed = answer != Answer::Accept || refusal.is_some_and(|(kind, _)| kind != "Over");
                if has_stayed {
                    self.stayed.insert(session);
                }
                None
            }
            Line::Listening | Line::Received { .. } => None,
        }
    }

    fn take_in_connections(&mut self, order: Option<Order>, is_refused: bool) {
        match order {
            Some(Order::Connect(session) | Order::Echo(session)) if is_refused => {
                self.reached.remove(&session);
            }
            _ => {}
        }
    }
}

const STATES: [SessionState; 7] = [
    SessionState::Invalid,
    SessionState::NotAvailable,
    SessionState::Connecting,
    SessionState::Connected,
    SessionState::Closing,
    SessionState::Disconnected,
    SessionState::Roaming,
];

/// Nanoseconds of `CLOCK_BOOTTIME`, as holders tell times.
pub(crate) fn boot_time() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let [seconds, nanoseconds] = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or_default());
    seconds * 1_000_000_000 + nanoseconds
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
