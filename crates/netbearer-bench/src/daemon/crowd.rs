//! A process with any number of connections to the daemon, and sessions on each: this program once more.
//!
//! It does what the lines of its standard input say, and prints one line when it has done so.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use netbearer::SessionState;
use netbearer_dbus::{MANAGER_INTERFACE, MANAGER_PATH, SESSION_INTERFACE, SessionProperties};
use netbearer_lab::now;
use rustix::{
    buffer::spare_capacity,
    event::{
        PollFd, PollFlags, Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
        poll,
    },
    fs::inotify,
};
use serde::de::DeserializeOwned;
use zbus::Type;

use super::{
    descriptors::raise_limit,
    wire::{Kind, Reading, Wire, Word},
};
use crate::error::BenchError;

/// The command of this program that is the crowd.
pub(crate) const COMMAND: &str = "crowd";

/// If nothing at all comes for that long, nothing will.
const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// What a crowd can be told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// So many connections.
    Connect(usize),
    /// So many sessions for each, on what is known by that name.
    Create(usize, String),
    /// Open all of them.
    Open,
    /// Say so at once, and then wait until each is told one of these states, by number.
    Await(Vec<u32>),
    /// Say so at once, and then wait until the daemon has gone and come again, and each is its owner's again and open.
    Return,
}

impl Order {
    pub(super) fn line(&self) -> String {
        match self {
            Self::Connect(connections) => format!("connect {connections}"),
            Self::Create(sessions, name) => format!("create {sessions} {name}"),
            Self::Open => "open".to_owned(),
            Self::Await(states) => {
                format!("await {}", states.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            }
            Self::Return => "return".to_owned(),
        }
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        Some(match words.next()? {
            "connect" => Self::Connect(words.next()?.parse().ok()?),
            "create" => Self::Create(words.next()?.parse().ok()?, words.next()?.to_owned()),
            "open" => Self::Open,
            "await" => Self::Await(words.map(str::parse).collect::<Result<_, _>>().ok()?),
            "return" => Self::Return,
            _ => return None,
        })
    }
}

/// That what was ordered is being waited for.
pub(super) const READY: &str = "ready";
/// That it is done; the moment follows, in nanoseconds of `CLOCK_BOOTTIME`.
pub(super) const DONE: &str = "done";

/// The process itself.
pub(crate) fn run(socket: &Path) -> Result<(), BenchError> {
    raise_limit()?;
    let mut crowd = Crowd {
        socket: socket.to_owned(),
        epoll: epoll::create(CreateFlags::CLOEXEC).map_err(io::Error::from)?,
        members: Vec::new(),
    };
    for line in io::stdin().lock().lines() {
        let order = Order::read(&line?).ok_or(BenchError::Crowd("it was told what it cannot do".to_owned()))?;
        match order {
            Order::Connect(connections) => crowd.connect(connections)?,
            Order::Create(sessions, name) => crowd.create(sessions, &name)?,
            Order::Open => crowd.open()?,
            Order::Await(states) => crowd.wait_for(&states)?,
            Order::Return => crowd.come_back()?,
        }
        say(&format!("{DONE} {}", now().nanoseconds()))?;
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

struct Crowd {
    socket: PathBuf,
    epoll: OwnedFd,
    members: Vec<Member>,
}

/// A connection and what belongs to it.
struct Member {
    wire: Wire,
    part: Part,
}

#[derive(Default)]
struct Part {
    sessions: Vec<CrowdSession>,
    /// Which session each unanswered call is about.
    calls: BTreeMap<u32, usize>,
}

struct CrowdSession {
    path: String,
    token: String,
    hold: Option<OwnedFd>,
    is_told: bool,
}

/// What has come to a member.
enum Coming<'a> {
    Word(Word<'a>),
    End,
}

/// What the reply to CreateSession begins with.
type Created = (String, String);
/// The reply to AttachSession.
type Attached = (String, netbearer_dbus::ConfigurationProperties, SessionProperties);

impl Crowd {
    fn connect(&mut self, connections: usize) -> Result<(), BenchError> {
        for _ in 0..connections {
            let wire = Wire::connect(&self.socket)?;
            self.listen_to(self.members.len(), &wire)?;
            self.members.push(Member { wire, part: Part::default() });
        }
        Ok(())
    }

    fn listen_to(&self, member: usize, wire: &Wire) -> io::Result<()> {
        let number = u64::try_from(member).map_err(io::Error::other)?;
        Ok(epoll::add(&self.epoll, wire, EventData::new_u64(number), EventFlags::IN)?)
    }

    fn create(&mut self, sessions: usize, name: &str) -> Result<(), BenchError> {
        let identifier = self.identifier_of(name)?;
        for member in &mut self.members {
            for _ in 0..sessions {
                let call = member.wire.call(MANAGER_PATH, MANAGER_INTERFACE, "CreateSession", &identifier)?;
                member.part.calls.insert(call, 0);
            }
        }
        self.take_in(self.members.len() * sessions, |part, coming| {
            let Some(((path, token), _)) = part.answer::<Created>(coming)? else { return Ok(0) };
            part.sessions.push(CrowdSession { path, token, hold: None, is_told: false });
            Ok(1)
        })
    }

    fn identifier_of(&mut self, name: &str) -> Result<String, BenchError> {
        let first = self.members.first_mut().ok_or(BenchError::Crowd("nobody is connected".to_owned()))?;
        let call = first.wire.call(MANAGER_PATH, MANAGER_INTERFACE, "ResolveName", &name)?;
        first.part.calls.insert(call, 0);
        let mut identifier = None;
        self.take_in(1, |part, coming| {
            let Some(((referred, _, _), _)) = part.answer::<(Vec<String>, Vec<String>, String)>(coming)? else {
                return Ok(0);
            };
            identifier = referred.into_iter().next();
            Ok(1)
        })?;
        identifier.ok_or_else(|| BenchError::Crowd(format!("the daemon knows nothing by the name {name}")))
    }

    fn open(&mut self) -> Result<(), BenchError> {
        // An error of an opening before is none of this one.
        self.pass_over()?;
        let mut sessions = 0;
        for member in &mut self.members {
            for (number, session) in member.part.sessions.iter().enumerate() {
                let call = member.wire.call(&session.path, SESSION_INTERFACE, "Open", &())?;
                member.part.calls.insert(call, number);
                sessions += 1;
            }
        }
        // Each has a reply and a signal.
        self.take_in(2 * sessions, |part, coming| match coming {
            Coming::Word(Word { kind: Kind::Signal, member: "Opened", .. }) => Ok(1),
            Coming::Word(Word { kind: Kind::Signal, member: "Error", body, .. }) => {
                let failure = Word { body, ..Word::default() }.body::<(netbearer_dbus::FailureValue,)>()?;
                Err(BenchError::Crowd(format!("a session could not be opened: {}", failure.0.3)))
            }
            Coming::Word(mut word) => {
                let hold = word.descriptor.take();
                let Some(((), session)) = part.answer(Coming::Word(word))? else { return Ok(0) };
                let hold = hold.ok_or(BenchError::Crowd("a reply to Open has no descriptor".to_owned()))?;
                if let Some(session) = part.sessions.get_mut(session) {
                    session.hold = Some(hold);
                }
                Ok(1)
            }
            Coming::End => Err(BenchError::DaemonGone),
        })
    }

    fn wait_for(&mut self, states: &[u32]) -> Result<(), BenchError> {
        self.pass_over()?;
        let mut sessions = 0;
        for session in self.members.iter_mut().flat_map(|member| &mut member.part.sessions) {
            session.is_told = false;
            sessions += 1;
        }
        say(READY)?;
        self.take_in(sessions, |part, coming| {
            let Coming::Word(word) = coming else { return Err(BenchError::DaemonGone) };
            let is_wanted = word.number().is_some_and(|state| states.contains(&state));
            if word.kind != Kind::Signal || word.member != "StateChanged" || !is_wanted {
                return Ok(0);
            }
            let session = part.sessions.iter_mut().find(|session| session.path == word.path && !session.is_told);
            Ok(session.map_or(0, |session| {
                session.is_told = true;
                1
            }))
        })
    }

    fn come_back(&mut self) -> Result<(), BenchError> {
        let directory = self.socket.parent().unwrap_or(Path::new("/"));
        let changes = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        // It can be connected to when it has been made, been given its name, or been given its mode.
        let events = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::ATTRIB;
        inotify::add_watch(&changes, directory, events).map_err(io::Error::from)?;
        say(READY)?;
        self.take_in(self.members.len(), |_, coming| Ok(usize::from(matches!(coming, Coming::End))))?;
        let mut attached = 0;
        for number in 0..self.members.len() {
            let wire = connect_again(&self.socket, &changes)?;
            self.listen_to(number, &wire)?;
            let Some(member) = self.members.get_mut(number) else { continue };
            member.wire = wire;
            member.part.calls.clear();
            for (number, session) in member.part.sessions.iter().enumerate() {
                let call = member.wire.call(MANAGER_PATH, MANAGER_INTERFACE, "AttachSession", &session.token)?;
                member.part.calls.insert(call, number);
                attached += 1;
            }
        }
        self.take_in(attached, |part, coming| {
            let Some(((path, _, properties), number)) = part.answer::<Attached>(coming)? else { return Ok(0) };
            let is_true = properties.is_open == Some(true) && properties.state == Some(SessionState::Connected as u32);
            if !is_true {
                return Err(BenchError::Crowd(format!("a session has come back as another: {properties:?}")));
            }
            if let Some(session) = part.sessions.get_mut(number) {
                session.path = path;
            }
            Ok(1)
        })
    }

    /// Reads what there is, and forgets it.
    fn pass_over(&mut self) -> Result<(), BenchError> {
        for member in &mut self.members {
            while member.wire.read()? == Reading::Octets {
                while member.wire.next()?.is_some() {}
            }
        }
        Ok(())
    }

    /// Takes in what comes, until that many of what is wanted have come; `take` says how many each is.
    fn take_in(
        &mut self,
        wanted: usize,
        mut take: impl FnMut(&mut Part, Coming<'_>) -> Result<usize, BenchError>,
    ) -> Result<(), BenchError> {
        let mut events = Vec::with_capacity(64);
        let mut come = 0;
        while come < wanted {
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&PATIENCE)).map_err(io::Error::from)?;
            if events.is_empty() {
                return Err(BenchError::Crowd(format!("only {come} of {wanted} came")));
            }
            for event in &events {
                let number = usize::try_from(event.data.u64()).map_err(io::Error::other)?;
                let Some(member) = self.members.get_mut(number) else { continue };
                come += member.take_in(&self.epoll, &mut take)?;
            }
        }
        Ok(())
    }
}

impl Member {
    /// Hands out what has come to it.
    fn take_in(
        &mut self,
        epoll: &OwnedFd,
        take: &mut impl FnMut(&mut Part, Coming<'_>) -> Result<usize, BenchError>,
    ) -> Result<usize, BenchError> {
        let reading = self.wire.read()?;
        let mut come = 0;
        while let Some(word) = self.wire.next()? {
            come += take(&mut self.part, Coming::Word(word))?;
        }
        if reading == Reading::End {
            epoll::delete(epoll, &self.wire).map_err(io::Error::from)?;
            come += take(&mut self.part, Coming::End)?;
        }
        Ok(come)
    }
}

impl Part {
    /// What a call has returned, and which session it was about; none if something else has come.
    fn answer<T: DeserializeOwned + Type>(&mut self, coming: Coming<'_>) -> Result<Option<(T, usize)>, BenchError> {
        let Coming::Word(word) = coming else { return Err(BenchError::DaemonGone) };
        match word.kind {
            Kind::Reply => {
                let session = self.calls.remove(&word.reply_serial);
                session.map(|session| Ok((word.body()?, session))).transpose()
            }
            Kind::Error => Err(BenchError::Crowd(format!("a call was refused: {}", word.error_name))),
            Kind::Signal | Kind::Other => Ok(None),
        }
    }
}

/// A process that is being killed may still have its listening socket when its connections have gone already.
const NOBODY_THERE: [io::ErrorKind; 5] = [
    io::ErrorKind::NotFound,
    io::ErrorKind::ConnectionRefused,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::BrokenPipe,
    io::ErrorKind::UnexpectedEof,
];

/// Waits until there is somebody to connect to.
fn connect_again(socket: &Path, changes: &OwnedFd) -> Result<Wire, BenchError> {
    loop {
        match Wire::connect(socket) {
            Ok(wire) => return Ok(wire),
            Err(error) if NOBODY_THERE.contains(&error.kind()) => {}
            Err(error) => return Err(error.into()),
        }
        let mut polled = [PollFd::new(changes, PollFlags::IN)];
        if poll(&mut polled, Some(&PATIENCE)).map_err(io::Error::from)? == 0 {
            return Err(BenchError::Crowd("the daemon did not come back".to_owned()));
        }
        // Which it was does not matter.
        rustix::io::read(changes, &mut [0_u8; 4096]).map_err(io::Error::from)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_arrives_as_it_was_given() {
        for order in [
            Order::Connect(1_000),
            Order::Create(10, "ap0".to_owned()),
            Order::Open,
            Order::Await(vec![1, 5]),
            Order::Return,
        ] {
            assert_eq!(Order::read(&order.line()), Some(order));
        }
        for wrong in ["", "connect", "connect many", "await soon", "dance"] {
            assert_eq!(Order::read(wrong), None, "{wrong}");
        }
    }
}
