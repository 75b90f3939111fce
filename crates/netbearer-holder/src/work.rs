use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, BufRead},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use netbearer::{
    CallError, FindError, ManagerError, PropertyKey, PropertyValue, SessionEvent, SocketError,
    blocking::{Events, Manager, Session},
};
use netbearer_lab::{Conversation, ECHO_PORT, INTERNET};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    decision::decide,
    line::{Line, Told, describe},
    order::{Order, OrderError},
    passing,
};

/// For a server to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the process ends before its input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HolderError {
    /// There is no service.
    #[error("the service is not reached")]
    Manager(#[from] ManagerError),
    /// The input cannot be read.
    #[error("the orders cannot be read")]
    Input(#[from] io::Error),
    /// A line is no order.
    #[error(transparent)]
    Order(#[from] OrderError),
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Find(#[from] FindError),
    #[error(transparent)]
    System(#[from] io::Error),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("there is none of this number")]
    Number,
}

/// What the process has.
struct Work {
    manager: Manager,
    sessions: Vec<Option<Arc<Session>>>,
    descriptors: Vec<Option<OwnedFd>>,
    /// Of each session, the last one.
    connections: BTreeMap<usize, Conversation>,
}

/// Does what its standard input says until that ends.
///
/// # Errors
/// When there are no orders to be read. What cannot be done is said, and is no error.
pub fn hold(manager: Manager) -> Result<(), HolderError> {
    let mut work = Work { manager, sessions: Vec::new(), descriptors: Vec::new(), connections: BTreeMap::new() };
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (now, refusal) = match work.carry_out(line.parse()?) {
            Ok(now) => (now, None),
            Err(refusal) => (None, Some((kind(&refusal), refusal.to_string()))),
        };
        say(&Line::Done { order: line, refusal, now, at: boot_time() });
    }
    // Whatever is still open is closed by that.
    work.sessions.clear();
    work.manager.shutdown();
    Ok(())
}

impl Work {
    fn carry_out(&mut self, order: Order) -> Result<Option<Told>, Refusal> {
        match order {
            Order::Session(name) => return self.make(&name).map(Some),
            Order::Reconnect(session) => {
                let yes = Some(PropertyValue::Boolean(true));
                self.session(session)?.set_property(PropertyKey::Reconnect, yes)?;
            }
            Order::Ask(session) => {
                let session = self.session(session)?;
                session.property(PropertyKey::Reconnect)?;
                return Ok(Some(session.snapshot().into()));
            }
            Order::Open(session) => self.session(session)?.open()?,
            Order::Close(session) => self.session(session)?.close()?,
            Order::Stop(session) => self.session(session)?.stop()?,
            Order::Drop(session) => {
                drop(self.sessions.get_mut(session).and_then(Option::take).ok_or(Refusal::Number)?);
            }
            Order::Hold(session) => {
                // It has its number also if it is refused, so that whoever asks knows the next one's.
                let place = self.descriptors.len();
                self.descriptors.push(None);
                let descriptor = self.session(session)?.hold_fd()?;
                say(&Line::Held { descriptor: place, file: file_of(&descriptor) });
                self.descriptors[place] = Some(descriptor);
            }
            Order::Release(descriptor) => {
                drop(self.descriptors.get_mut(descriptor).and_then(Option::take).ok_or(Refusal::Number)?);
            }
            Order::Send(descriptor, socket) => {
                let descriptor = self.descriptors.get(descriptor).and_then(Option::as_ref).ok_or(Refusal::Number)?;
                passing::send(descriptor, &socket)?;
            }
            Order::Receive(socket) => {
                let listener = UnixListener::bind(socket)?;
                say(&Line::Listening);
                let descriptor = passing::receive(&listener)?;
                self.descriptors.push(Some(descriptor));
                say(&Line::Received { descriptor: self.descriptors.len() - 1 });
            }
            Order::Decide(number, trial, answers) => {
                let session = self.sessions.get(number).and_then(Option::as_ref).ok_or(Refusal::Number)?;
                let (roaming, teller) = (session.roaming()?, Arc::downgrade(session));
                thread::spawn(move || decide(number, roaming, trial, &answers, || teller.upgrade()));
            }
            Order::Connect(number) => {
                drop(self.connections.remove(&number));
                let stream = self.session(number)?.connect_tcp((INTERNET, ECHO_PORT).into())?;
                let connection = Conversation::over(stream, PATIENCE)?;
                say(&Line::Reached { session: number, access_point: connection.access_point().to_owned() });
                self.connections.insert(number, connection);
            }
            Order::Echo(number) => {
                self.connections.get_mut(&number).ok_or(Refusal::Number)?.echo(b"still there")?;
            }
        }
        Ok(None)
    }

    fn make(&mut self, name: &str) -> Result<Told, Refusal> {
        let number = self.sessions.len();
        self.sessions.push(None);
        let configuration = self.manager.find(Some(name))?;
        let session = Arc::new(self.manager.session(&configuration)?);
        let (events, snapshot) = (session.events(), session.snapshot());
        let teller = Arc::downgrade(&session);
        thread::spawn(move || tell(number, events, || teller.upgrade()));
        self.sessions[number] = Some(session);
        Ok(snapshot.into())
    }

    fn session(&self, number: usize) -> Result<&Session, Refusal> {
        self.sessions.get(number).and_then(Option::as_deref).ok_or(Refusal::Number)
    }
}

/// Where the descriptor leads, as the kernel says.
fn file_of(descriptor: &OwnedFd) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).ok()
}

/// Until nothing more can come.
fn tell(number: usize, events: Events<SessionEvent>, session: impl Fn() -> Option<Arc<Session>>) {
    for event in events {
        // It may go while its last event is told.
        let Some(session) = session() else { return };
        say(&Line::Event { session: number, event: describe(&event), at: boot_time(), now: session.snapshot().into() });
    }
}

pub(crate) fn say(line: &Line) {
    match serde_json::to_string(line) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("{line:?} cannot be said: {error}"),
    }
}

fn kind(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Call(error) => variant(error),
        Refusal::Find(error) => variant(error),
        Refusal::Socket(error) => variant(error),
        Refusal::System(_) => "System".to_owned(),
        Refusal::Number => "Number".to_owned(),
    }
}

/// The name of the variant, which is what tests compare.
pub(crate) fn variant(error: &impl fmt::Debug) -> String {
    format!("{error:?}").split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

pub(crate) fn boot_time() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let [seconds, nanoseconds] = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or_default());
    seconds * 1_000_000_000 + nanoseconds
}
