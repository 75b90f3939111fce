//! A client that knows nothing but D-Bus.

use std::{
    net::Shutdown,
    num::{NonZeroU32, NonZeroUsize},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
};

use futures_util::StreamExt;
use netbearer_dbus::{MANAGER_INTERFACE, MANAGER_PATH, SESSION_INTERFACE, SessionProperties, failure_from_wire};
use netbearer_types::Failure;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{runtime::Runtime, time::timeout};
use zbus::{Connection, DynamicType, Message, MessageStream, OwnedObjectPath, Type, connection::Builder, message};

use crate::stage::DEADLINE;

/// Enough that no queue is ever full unless a test wants it.
const QUEUE: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();

pub(crate) struct Client {
    runtime: Runtime,
    connection: Connection,
    messages: MessageStream,
    /// Signals that came and were not waited for yet.
    signals: Vec<Message>,
    /// The daemon's name on a bus.
    destination: Option<&'static str>,
    /// The other end of it is the daemon itself.
    stream: Option<UnixStream>,
}

/// What `AttachSession` answers.
pub(crate) type Attached = (OwnedObjectPath, netbearer_dbus::ConfigurationProperties, SessionProperties);

/// An error that was answered: its name, its sentence, and its failure, if it has one.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) name: String,
    pub(crate) sentence: String,
    pub(crate) failure: Option<Failure>,
}

impl Client {
    /// On the private socket. Fails as soon as there is no daemon.
    pub(crate) fn connect(socket: &Path) -> Self {
        Self::try_connect(socket).expect("the daemon takes the connection")
    }

    pub(crate) fn try_connect(socket: &Path) -> zbus::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        let copy = stream.try_clone()?;
        let client = Self::build(None, || Builder::unix_stream(stream).p2p())?;
        Ok(Self { stream: Some(copy), ..client })
    }

    /// Ends the connection. Returns when the daemon has noticed.
    pub(crate) fn leave(mut self) {
        let stream = self.stream.take().expect("it is on the private socket");
        stream.shutdown(Shutdown::Write).unwrap();
        self.wait_for_end();
    }

    /// On a bus.
    pub(crate) fn on_bus(address: &str) -> Self {
        Self::build(Some(netbearer_dbus::BUS_NAME), || Builder::address(address)).expect("there is a bus")
    }

    /// The connection as it is on the wire. Nothing is read any more.
    pub(crate) fn into_stream(mut self) -> UnixStream {
        let stream = self.stream.take().expect("it is on the private socket");
        stream.set_nonblocking(false).unwrap();
        std::mem::forget(self);
        stream
    }

    fn build<'a>(destination: Option<&'static str>, builder: impl FnOnce() -> Builder<'a>) -> zbus::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connection = runtime.block_on(async { builder().max_queued(QUEUE).build().await })?;
        let messages = MessageStream::from(&connection);
        Ok(Self { runtime, connection, messages, signals: Vec::new(), destination, stream: None })
    }

    /// Its name on a bus.
    pub(crate) fn unique_name(&self) -> String {
        self.connection.unique_name().expect("it is on a bus").to_string()
    }

    /// Sends a call without waiting for its answer.
    pub(crate) fn send<B: Serialize + DynamicType>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> NonZeroU32 {
        let mut call = Message::method_call(path, method).interface(interface);
        if let Some(destination) = self.destination {
            call = call.destination(destination);
        }
        self.send_message(&call.build(body).unwrap())
    }

    /// Sends a message. Returns its serial number.
    pub(crate) fn send_message(&self, message: &Message) -> NonZeroU32 {
        self.runtime.block_on(self.connection.send(message)).expect("it is sent");
        message.primary_header().serial_num()
    }

    /// Passes over everything until the connection has ended.
    pub(crate) fn wait_for_end(&mut self) {
        while self.next().is_some() {}
    }

    /// The next message. None when the connection has ended.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let next = self.runtime.block_on(async { timeout(DEADLINE, self.messages.next()).await });
        next.expect("a message comes, or the end").and_then(Result::ok)
    }

    /// The answer to a call. Signals that come before it are kept.
    pub(crate) fn answer(&mut self, serial: NonZeroU32) -> Result<Message, Refused> {
        loop {
            let message = self.next().expect("the connection lives");
            match message.message_type() {
                message::Type::Signal => self.signals.push(message),
                message::Type::MethodReturn if message.header().reply_serial() == Some(serial) => return Ok(message),
                message::Type::Error if message.header().reply_serial() == Some(serial) => {
                    return Err(Refused::of(&message));
                }
                _ => {}
            }
        }
    }

    pub(crate) fn call<B: Serialize + DynamicType>(
        &mut self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Message, Refused> {
        let serial = self.send(path, interface, method, body);
        self.answer(serial)
    }

    /// A call of the manager, with what it answers.
    pub(crate) fn manage<B: Serialize + DynamicType, R: DeserializeOwned + Type>(
        &mut self,
        method: &str,
        body: &B,
    ) -> Result<R, Refused> {
        let answer = self.call(MANAGER_PATH, MANAGER_INTERFACE, method, body)?;
        Ok(answer.body().deserialize_ignore_signature().expect("the answer is as in the XML"))
    }

    /// A new session: its path and its token.
    pub(crate) fn create(&mut self, configuration: &str) -> (String, String) {
        let answer = self.call(MANAGER_PATH, MANAGER_INTERFACE, "CreateSession", &configuration).unwrap();
        type Created = (OwnedObjectPath, String, netbearer_dbus::ConfigurationProperties, SessionProperties);
        let (path, token, _, properties): Created = answer.body().deserialize_ignore_signature().unwrap();
        assert_eq!(properties.configuration.as_deref(), Some(configuration));
        (path.to_string(), token)
    }

    /// A call of a session without arguments.
    pub(crate) fn ask(&mut self, session: &str, method: &str) -> Result<Message, Refused> {
        self.call(session, SESSION_INTERFACE, method, &())
    }

    /// Opens a session, and returns its hold at once.
    pub(crate) fn open(&mut self, session: &str) -> Result<OwnedFd, Refused> {
        self.ask(session, "Open").map(|answer| descriptor(&answer))
    }

    /// Opens a session, and returns its hold when it is open.
    pub(crate) fn open_and_wait(&mut self, session: &str) -> OwnedFd {
        let hold = self.open(session).expect("it may be opened");
        self.wait_for(session, "Opened");
        hold
    }

    /// The next signal of this name that an object has, which may have come already. Others before it are passed over.
    pub(crate) fn wait_for(&mut self, path: &str, name: &str) -> Message {
        let is_wanted = |message: &Message| {
            let header = message.header();
            header.path().is_some_and(|found| found.as_str() == path)
                && header.member().is_some_and(|member| member.as_str() == name)
        };
        if let Some(at) = self.signals.iter().position(is_wanted) {
            return self.signals.drain(..=at).next_back().unwrap();
        }
        self.signals.clear();
        loop {
            let message = self.next().expect("the connection lives");
            if message.message_type() == message::Type::Signal && is_wanted(&message) {
                return message;
            }
        }
    }

    /// Waits until a session has told this state.
    pub(crate) fn wait_for_state(&mut self, session: &str, state: u32) {
        while self.wait_for(session, "StateChanged").body().deserialize::<u32>().unwrap() != state {}
    }

    /// All signals that have come, in order: of which object, and what.
    pub(crate) fn take_signals(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.signals)
    }

    /// The properties of a session as it is asked for them.
    pub(crate) fn properties(&mut self, session: &str) -> Result<SessionProperties, Refused> {
        let answer = self.call(session, "org.freedesktop.DBus.Properties", "GetAll", &SESSION_INTERFACE)?;
        Ok(answer.body().deserialize_ignore_signature().unwrap())
    }

    /// Who holds what, as the daemon tells everybody.
    pub(crate) fn sessions(&mut self) -> Vec<serde_json::Value> {
        let text: String = self.manage("DescribeSessions", &()).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Asks the daemon something, and so knows that it has done what came before.
    pub(crate) fn ping(&mut self) {
        self.call(MANAGER_PATH, "org.freedesktop.DBus.Peer", "Ping", &()).unwrap();
    }
}

impl Refused {
    fn of(message: &Message) -> Self {
        let name = message.header().error_name().unwrap().to_string();
        let body = message.body();
        let with_failure = body.deserialize::<(String, netbearer_dbus::FailureValue)>();
        if let Ok((sentence, failure)) = with_failure {
            return Self { name, sentence, failure: failure_from_wire(failure) };
        }
        let with_text = body.deserialize::<(String, String)>().map(|(sentence, _)| sentence);
        let sentence = with_text.or_else(|_| body.deserialize::<String>()).unwrap_or_default();
        Self { name, sentence, failure: None }
    }

    /// Without the prefix of our errors or D-Bus'.
    pub(crate) fn short(&self) -> &str {
        let name = self.name.strip_prefix("org.netbearer.Error.");
        name.or_else(|| self.name.strip_prefix("org.freedesktop.DBus.Error.")).unwrap_or(&self.name)
    }
}

/// The descriptor that was answered.
pub(crate) fn descriptor(answer: &Message) -> OwnedFd {
    let body = answer.body();
    let descriptor: zbus::OwnedFd = body.deserialize().expect("it is a descriptor");
    descriptor.into()
}

/// What signals tell, shortly: names, and states with their numbers.
pub(crate) fn shortly(signals: &[Message]) -> Vec<String> {
    let shortly = |signal: &Message| {
        let header = signal.header();
        let name = header.member().unwrap().to_string();
        match name.as_str() {
            "StateChanged" => format!("{name} {}", signal.body().deserialize::<u32>().unwrap()),
            _ => name,
        }
    };
    signals.iter().map(shortly).collect()
}
