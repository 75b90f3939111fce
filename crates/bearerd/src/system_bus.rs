//! The system bus: the same objects for whoever prefers it. Each connection of the bus that has called is a client.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use netbearer_core::UserId;
use netbearer_dbus::{BUS_NAME, bus_socket};
use tokio::net::UnixStream;
use zbus::{
    Connection, Message, MessageStream, OwnedVariant,
    connection::Builder,
    message::{Flags, Type},
    names::OwnedUniqueName,
};

use crate::{
    Client, Dispatcher, Letter, Mail, Outbox, Peer, Rules,
    call::Call,
    fault::{Fault, StandardError},
    socket_file::watch,
    transport::MAX_MESSAGE,
    turns::Turns,
};

const DBUS: &str = "org.freedesktop.DBus";
const DBUS_PATH: &str = "/org/freedesktop/DBus";
/// Between attempts to reach a bus whose socket is there but refuses, as between its binding and its listening. After
/// these, only a change of the socket's directory is reason to try again.
const RETRIES: [Duration; 4] =
    [Duration::from_millis(10), Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(10)];
/// Calls of a client that wait for the bus to say who it is.
const WAITING: usize = 64;
/// Clients whose end is asked for one by one, so that others' coming and going wakes nobody; a bus bounds the rules of a
/// connection (`dbus-daemon(1)`, `max_match_rules_per_connection`).
const RULES_OF_ONE: usize = 200;
/// Messages that are read before a call has its turn.
const READ_IN_A_ROW: usize = 64;

/// Where a bus is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemBus {
    address: String,
    socket: Option<PathBuf>,
}

impl SystemBus {
    /// The bus with this D-Bus address.
    #[must_use]
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), socket: bus_socket(address) }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its socket, if it has one with a path.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Serves its clients whenever it is there, for ever. Ends only when it would not notice any more that the bus comes.
    pub async fn serve(self, dispatcher: Arc<Dispatcher>, rules: Rules) {
        let Some(socket) = self.socket else {
            tracing::warn!("the bus {} is not served: it is no socket with a path", self.address);
            return std::future::pending().await;
        };
        let mut directory = match watch(&socket) {
            Ok(directory) => directory,
            Err(error) => return tracing::error!("the bus cannot be waited for: {error}"),
        };
        let mut failures = 0;
        loop {
            directory.arm();
            let delay = match attend(&socket, &dispatcher, &rules).await {
                Ok(()) => {
                    tracing::info!("the bus {} has gone", self.address);
                    failures = 0;
                    RETRIES.first()
                }
                // No socket, no bus: its directory will tell.
                Err(zbus::Error::InputOutput(error)) if error.kind() == io::ErrorKind::NotFound => {
                    tracing::info!("there is no bus {}; it is served as soon as there is", self.address);
                    None
                }
                Err(error) => {
                    tracing::warn!("the bus {} is not served: {error}", self.address);
                    failures += 1;
                    RETRIES.get(failures - 1)
                }
            };
            let changed = tokio::select! {
                changed = directory.changed() => {
                    failures = 0;
                    changed
                }
                () = pass(delay) => Ok(()),
            };
            if let Err(error) = changed {
                return tracing::error!("the directory of the bus cannot be watched any more: {error}");
            }
        }
    }
}

async fn pass(delay: Option<&Duration>) {
    match delay {
        Some(delay) => tokio::time::sleep(*delay).await,
        None => std::future::pending().await,
    }
}

/// Serves the bus until it is gone.
async fn attend(socket: &Path, dispatcher: &Arc<Dispatcher>, rules: &Rules) -> zbus::Result<()> {
    let stream = UnixStream::connect(socket).await?.into_std()?;
    let connection = Builder::unix_stream(stream).build().await?;
    let messages = MessageStream::from(&connection);
    let outbox = Arc::new(Outbox::of_bus());
    dispatcher.roster().set_bus(Some(Arc::clone(&outbox)));
    let mut desk = Desk {
        dispatcher: Arc::clone(dispatcher),
        rules: rules.clone(),
        outbox: Arc::clone(&outbox),
        callers: BTreeMap::new(),
        turns: Turns::default(),
        asked: HashMap::new(),
        watches_all: false,
    };
    desk.request_name();
    let sending = send(dispatcher, &outbox, &connection);
    let outcome = tokio::select! {
        () = desk.read(messages) => Ok(()),
        sent = sending => sent,
    };
    dispatcher.roster().set_bus(None);
    outbox.end();
    desk.leave();
    outcome
}

async fn send(dispatcher: &Dispatcher, outbox: &Outbox, connection: &Connection) -> zbus::Result<()> {
    while let Some(letters) = outbox.take(|lag| dispatcher.roster().told_instead(lag)).await {
        let messages: Vec<Message> = letters.iter().cloned().filter_map(Letter::into_message).collect();
        connection.send_all(&messages).await?;
        outbox.sent(&letters);
    }
    Ok(())
}

/// Who calls on one connection to the bus.
struct Desk {
    dispatcher: Arc<Dispatcher>,
    rules: Rules,
    outbox: Arc<Outbox>,
    callers: BTreeMap<OwnedUniqueName, Caller>,
    /// Calls of known callers, which are carried out in turn.
    turns: Turns<OwnedUniqueName, Message>,
    /// What the bus was asked, by the serial number of the question.
    asked: HashMap<NonZeroU32, Question>,
    /// The bus tells of everybody who comes or goes.
    watches_all: bool,
}

enum Caller {
    /// The bus has been asked who it is.
    Unknown {
        calls: Vec<Message>,
    },
    Known(Arc<Client>),
}

enum Question {
    Name,
    Credentials(OwnedUniqueName),
}

impl Desk {
    async fn read(&mut self, mut messages: MessageStream) {
        let mut read = 0;
        loop {
            let next = tokio::select! {
                // Who has called is known before it is anybody's turn; who calls without end does not put that off.
                biased;
                next = messages.next(), if read < READ_IN_A_ROW || self.turns.is_empty() => next,
                () = self.outbox.has_room(), if !self.turns.is_empty() => {
                    read = 0;
                    self.carry_out_next();
                    continue;
                }
            };
            read += 1;
            match next {
                Some(Ok(message)) => self.take_in(message),
                Some(Err(error)) => return tracing::debug!("the bus is not read any more: {error}"),
                None => return,
            }
        }
    }

    fn carry_out_next(&mut self) {
        let Some(call) = self.turns.next() else { return };
        let header = call.header();
        let caller = header.sender().and_then(|sender| self.callers.get(&OwnedUniqueName::from(sender.to_owned())));
        if let Some(Caller::Known(client)) = caller {
            self.dispatcher.dispatch(client, call.clone());
        }
    }

    /// Has a call of a known caller wait for its turn.
    fn queue(&mut self, client: &Arc<Client>, caller: &OwnedUniqueName, call: Message) {
        let length = call.data().len();
        if let Err(call) = self.turns.add(caller, call, length) {
            let sentence = "too many of your calls are waiting; wait for answers";
            Call::new(Arc::clone(client), call).fail(&Fault::standard(StandardError::LimitsExceeded, sentence));
        }
    }

    fn take_in(&mut self, message: Message) {
        match message.message_type() {
            Type::MethodCall => self.take_call(message),
            Type::MethodReturn | Type::Error => self.take_answer(&message),
            Type::Signal => self.take_signal(&message),
        }
    }

    fn take_call(&mut self, message: Message) {
        let Some(sender) = message.header().sender().map(|sender| OwnedUniqueName::from(sender.to_owned())) else {
            return;
        };
        if message.data().len() > MAX_MESSAGE {
            return self.refuse(
                &message,
                StandardError::LimitsExceeded,
                "the message is longer than any call there is",
            );
        }
        match self.callers.get_mut(&sender) {
            Some(Caller::Known(client)) => {
                let client = Arc::clone(client);
                self.queue(&client, &sender, message);
            }
            Some(Caller::Unknown { calls }) if calls.len() < WAITING => calls.push(message),
            Some(Caller::Unknown { .. }) => {
                self.refuse(&message, StandardError::LimitsExceeded, "too many calls before the bus says who you are");
            }
            None => {
                self.ask_for_end(&sender, true);
                if let Some(serial) = self.ask("GetConnectionCredentials", &sender.as_str()) {
                    self.asked.insert(serial, Question::Credentials(sender.clone()));
                    self.callers.insert(sender, Caller::Unknown { calls: vec![message] });
                }
            }
        }
    }

    /// Only the bus is believed: others can send what looks the same.
    fn is_of_bus(message: &Message) -> bool {
        message.header().sender().is_some_and(|sender| sender.as_str() == DBUS)
    }

    fn take_answer(&mut self, message: &Message) {
        let serial = message.header().reply_serial().filter(|_| Self::is_of_bus(message));
        match serial.and_then(|serial| self.asked.remove(&serial)) {
            Some(Question::Name) => tell_of_name(message),
            Some(Question::Credentials(name)) => match credentials(message) {
                Ok(peer) => self.welcome(name, &peer),
                Err(error) => {
                    tracing::debug!("the bus does not say who {name} is: {error}");
                    self.ask_for_end(&name, false);
                    if let Some(Caller::Unknown { calls }) = self.callers.remove(&name) {
                        for call in &calls {
                            self.refuse(call, StandardError::AccessDenied, "the bus does not say who you are");
                        }
                    }
                }
            },
            None => {}
        }
    }

    fn take_signal(&mut self, message: &Message) {
        let header = message.header();
        if !Self::is_of_bus(message)
            || header.interface().is_none_or(|interface| interface.as_str() != DBUS)
            || header.member().is_none_or(|member| member.as_str() != "NameOwnerChanged")
        {
            return;
        }
        let Ok((name, _, owner)) = message.body().deserialize::<(String, String, String)>() else { return };
        let Ok(name) = OwnedUniqueName::try_from(name) else { return };
        if !owner.is_empty() {
            return;
        }
        self.turns.forget(&name);
        if let Some(caller) = self.callers.remove(&name) {
            self.ask_for_end(&name, false);
            if let Caller::Known(client) = caller {
                self.see_off(&client);
            }
        }
    }

    /// The bus has said who it is.
    fn welcome(&mut self, name: OwnedUniqueName, peer: &Peer) {
        let Some(Caller::Unknown { calls }) = self.callers.remove(&name) else { return };
        let id = self.dispatcher.roster().next();
        let common = Arc::clone(self.dispatcher.common());
        let client = Arc::new(Client::on_bus(id, name.clone(), Arc::clone(&self.outbox), common));
        let description =
            netbearer_core::Client { user: peer.user, rights: self.rules.rights(peer), program: Some(peer.program()) };
        // If the service has ended, the dispatcher says so.
        let _ = self.dispatcher.service().join(id, description, Arc::clone(&client) as _);
        self.dispatcher.roster().add(Arc::clone(&client));
        for call in calls {
            self.queue(&client, &name, call);
        }
        self.callers.insert(name, Caller::Known(client));
    }

    fn see_off(&self, client: &Client) {
        self.dispatcher.roster().remove(client.id());
        self.dispatcher.service().leave(client.id());
    }

    /// The bus has gone, and so have all.
    fn leave(&mut self) {
        for caller in std::mem::take(&mut self.callers).into_values() {
            if let Caller::Known(client) = caller {
                self.see_off(&client);
            }
        }
    }

    /// Without a flag the name is waited for in a queue, should somebody else have it.
    fn request_name(&mut self) {
        if let Some(serial) = self.ask("RequestName", &(BUS_NAME, 0_u32)) {
            self.asked.insert(serial, Question::Name);
        }
    }

    /// Has the bus tell when this one ends, or not any more.
    fn ask_for_end(&mut self, name: &OwnedUniqueName, wanted: bool) {
        let of = format!("type='signal',sender='{DBUS}',interface='{DBUS}',member='NameOwnerChanged'");
        let of_this = format!("{of},arg0='{name}'");
        match (wanted, self.callers.len()) {
            (true, count) if count < RULES_OF_ONE => {
                let _ = self.ask("AddMatch", &of_this);
            }
            (true, _) if !self.watches_all => {
                self.watches_all = true;
                let _ = self.ask("AddMatch", &of);
            }
            (true, _) => {}
            // One that was never added is refused, which changes nothing.
            (false, count) => {
                let _ = self.ask("RemoveMatch", &of_this);
                if count == 0 && std::mem::take(&mut self.watches_all) {
                    let _ = self.ask("RemoveMatch", &of);
                }
            }
        }
    }

    fn ask<B: serde::Serialize + zbus::DynamicType>(&self, method: &'static str, body: &B) -> Option<NonZeroU32> {
        let call = Message::method_call(DBUS_PATH, method).destination(DBUS).interface(DBUS);
        let message = call.build(body);
        let serial = message.as_ref().ok().map(|message| message.primary_header().serial_num());
        self.post(message);
        serial
    }

    /// Answers the call of somebody who is no client, or not by this call.
    fn refuse(&self, call: &Message, error: StandardError, sentence: &str) {
        let header = call.header();
        if !header.primary().flags().contains(Flags::NO_REPLY_EXPECTED) {
            self.post_as(Mail::Reply, Fault::standard(error, sentence).reply(&header));
        }
    }

    fn post(&self, message: zbus::Result<Message>) {
        self.post_as(Mail::Signal, message);
    }

    fn post_as(&self, mail: Mail, message: zbus::Result<Message>) {
        match message {
            Ok(message) => self.outbox.push(mail, message),
            Err(error) => tracing::error!("a message to the bus could not be made: {error}"),
        }
    }
}

fn tell_of_name(answer: &Message) {
    const QUEUED: u32 = 2;
    match answer.message_type() {
        Type::MethodReturn if answer.body().deserialize::<u32>() == Ok(QUEUED) => {
            tracing::warn!("the name {BUS_NAME} on the bus is another process's; it is ours when that one has ended");
        }
        Type::MethodReturn => tracing::info!("on the bus, too: {BUS_NAME}"),
        _ => {
            let reason = answer.body().deserialize::<String>().unwrap_or_default();
            tracing::warn!(
                "the bus does not give us the name {BUS_NAME}, so only the private socket is served: {reason}; install {BUS_NAME}.conf \
                 in /usr/share/dbus-1/system.d"
            );
        }
    }
}

/// Who a connection of the bus is, by the bus's word (D-Bus specification, `GetConnectionCredentials`).
fn credentials(answer: &Message) -> zbus::Result<Peer> {
    if answer.message_type() == Type::Error {
        return Err(zbus::Error::from(answer.clone()));
    }
    let body = answer.body();
    let mut credentials: HashMap<String, OwnedVariant> = body.deserialize()?;
    let mut number = |key: &str| credentials.remove(key).and_then(|value| u32::try_from(value).ok());
    let user = number("UnixUserID").ok_or_else(|| zbus::Error::Failure("there is no user".to_owned()))?;
    let process = number("ProcessID");
    let groups = credentials.remove("UnixGroupIDs").and_then(|value| Vec::<u32>::try_from(value).ok());
    Ok(Peer::of_bus(UserId(user), groups.unwrap_or_default(), process))
}
