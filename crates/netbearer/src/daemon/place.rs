use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::StreamExt;
use netbearer_clock::BootClock;
use netbearer_dbus::{BUS_NAME, MANAGER_INTERFACE, MANAGER_PATH, bus_socket};
use netbearer_engine::Clock;
use netbearer_watch::{DirectoryWatch, WatchedEntries};
use tokio::{net::UnixStream, sync::watch};
use zbus::{
    Connection, DeserializeDict, Message, MessageStream, Type,
    connection::Builder,
    fdo,
    names::{OwnedUniqueName, UniqueName},
};

use super::transport::Transport;
use crate::{ServiceDescription, ServiceKind};

pub(super) const DBUS: &str = "org.freedesktop.DBus";
pub(super) const DBUS_PATH: &str = "/org/freedesktop/DBus";
pub(super) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// Before somebody is tried again who is there, and would not talk with us. Nothing tells when he will.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// After so many the pause does not get longer: ten seconds.
const MOST_DOUBLINGS: u32 = 10;

/// Where the daemon is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// On its own socket.
    Socket(PathBuf),
    /// On the bus with this address.
    Bus(String),
}

/// A daemon that has answered.
pub(super) struct Contact {
    pub(super) connection: Connection,
    /// Everything that has come since then.
    pub(super) messages: MessageStream,
    /// Who it is on the bus; on a socket of its own nobody else is there.
    pub(super) owner: Option<OwnedUniqueName>,
    pub(super) description: ServiceDescription,
}

/// Waits for the daemon, however often it comes and goes.
pub(super) struct Waiting {
    place: Place,
    socket: PathBuf,
    directory: DirectoryWatch,
    clock: BootClock,
    failures: u32,
    /// Somebody is there, and is being talked with.
    is_talking: watch::Sender<bool>,
    /// Why it did not come to that the last time.
    last_failure: Option<zbus::Error>,
}

/// What the daemon says of itself.
#[derive(Debug, Default, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
struct ManagerProperties {
    version: Option<String>,
    features: Option<Vec<String>>,
    process_id: Option<u32>,
}

impl Place {
    /// The socket that is connected to: its own, or that of the bus.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        match self {
            Self::Socket(path) => Some(path.clone()),
            Self::Bus(address) => bus_socket(address),
        }
    }

    /// To be called within a runtime.
    pub(super) fn watch(self, clock: BootClock) -> io::Result<Waiting> {
        let socket = self.socket().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "only buses whose address is unix:path= can be waited for")
        })?;
        let directory = socket.parent().unwrap_or(Path::new("/")).to_owned();
        let entries = WatchedEntries::only(socket.file_name().unwrap_or_default());
        let directory = DirectoryWatch::open(vec![(directory, entries)])?;
        let (is_talking, _) = watch::channel(false);
        Ok(Waiting { place: self, socket, directory, clock, failures: 0, is_talking, last_failure: None })
    }
}

impl Waiting {
    /// Whether somebody is there, and is being talked with.
    pub(super) fn is_talking(&self) -> watch::Receiver<bool> {
        self.is_talking.subscribe()
    }

    pub(super) fn into_last_failure(self) -> Option<zbus::Error> {
        self.last_failure
    }

    /// The daemon was of use.
    pub(super) fn praise(&mut self) {
        self.failures = 0;
    }

    /// The daemon as soon as it is there and has answered. May be dropped while waiting.
    ///
    /// # Errors
    /// When files cannot be watched any more.
    pub(super) async fn contact(&mut self) -> io::Result<Contact> {
        // Whoever came, and broke off before it was of use, is not tried again at once.
        self.pause().await?;
        loop {
            self.directory.arm();
            self.is_talking.send_replace(true);
            let talked = self.talk().await;
            self.is_talking.send_replace(false);
            match talked {
                Ok(contact) => {
                    self.failures += 1;
                    return Ok(contact);
                }
                Err(zbus::Error::InputOutput(error)) if is_absence(&error) => {
                    self.last_failure = Some(zbus::Error::InputOutput(error));
                    self.directory.changed().await?;
                    self.failures = 0;
                }
                Err(error) => {
                    tracing::debug!("{} is there, but cannot be used: {error}", self.socket.display());
                    self.last_failure = Some(error);
                    self.failures += 1;
                    self.pause().await?;
                }
            }
        }
    }

    /// Until it is reasonable to try again, or the socket is another one.
    async fn pause(&mut self) -> io::Result<()> {
        let Some(doublings) = self.failures.checked_sub(1) else { return Ok(()) };
        let pause = FIRST_PAUSE * 2_u32.pow(doublings.min(MOST_DOUBLINGS));
        let until = self.clock.now() + pause;
        tokio::select! {
            changed = self.directory.changed() => changed,
            () = self.clock.sleep_until(until) => Ok(()),
        }
    }

    async fn talk(&self) -> zbus::Result<Contact> {
        let stream = UnixStream::connect(&self.socket).await?;
        let builder = Builder::socket(Transport::new(stream));
        match self.place {
            Place::Socket(_) => {
                let connection = builder.p2p().build().await?;
                let messages = MessageStream::from(&connection);
                introduce(connection, messages, None).await
            }
            Place::Bus(_) => {
                let connection = builder.build().await?;
                let mut messages = MessageStream::from(&connection);
                let owner = self.owner(&connection, &mut messages).await?;
                introduce(connection, messages, Some(owner)).await
            }
        }
    }

    /// Who has the daemon's name on the bus, as soon as somebody has it.
    async fn owner(&self, connection: &Connection, messages: &mut MessageStream) -> zbus::Result<OwnedUniqueName> {
        let rule =
            format!("type='signal',sender='{DBUS}',interface='{DBUS}',member='NameOwnerChanged',arg0='{BUS_NAME}'");
        connection.call_method(Some(DBUS), DBUS_PATH, Some(DBUS), "AddMatch", &rule).await?;
        // Asked for by name, it would be started.
        let answer = connection.call_method(Some(DBUS), DBUS_PATH, Some(DBUS), "GetNameOwner", &BUS_NAME).await;
        match answer {
            Ok(answer) => return answer.body().deserialize(),
            Err(zbus::Error::FDO(error)) if matches!(*error, fdo::Error::NameHasNoOwner(_)) => {}
            Err(error) => return Err(error),
        }
        // That somebody has it now may have been told already.
        self.is_talking.send_replace(false);
        while let Some(message) = messages.next().await {
            if let Some(Some(owner)) = new_owner(&message?) {
                self.is_talking.send_replace(true);
                return Ok(owner);
            }
        }
        Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
    }
}

/// The socket is not there, or nobody listens: when that is over, the directory tells.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory)
}

/// If the bus tells that the daemon's name has another owner now: who that is, if anybody.
pub(super) fn new_owner(message: &Message) -> Option<Option<OwnedUniqueName>> {
    let header = message.header();
    let is_told = header.sender().is_some_and(|sender| *sender == DBUS)
        && header.member().is_some_and(|member| *member == "NameOwnerChanged");
    if !is_told {
        return None;
    }
    let (name, _, owner): (String, String, String) = message.body().deserialize().ok()?;
    (name == BUS_NAME).then(|| OwnedUniqueName::try_from(owner).ok())
}

/// Asks the daemon what it is; thereby it is known to answer.
async fn introduce(
    connection: Connection,
    messages: MessageStream,
    owner: Option<OwnedUniqueName>,
) -> zbus::Result<Contact> {
    let destination = owner.as_deref().map(UniqueName::to_owned);
    let answer =
        connection.call_method(destination, MANAGER_PATH, Some(PROPERTIES), "GetAll", &MANAGER_INTERFACE).await?;
    let said: ManagerProperties = answer.body().deserialize()?;
    let description = ServiceDescription {
        kind: if owner.is_some() { ServiceKind::SystemBus } else { ServiceKind::PrivateSocket },
        version: said.version.unwrap_or_default(),
        process: said.process_id.unwrap_or_default(),
        features: said.features.unwrap_or_default(),
    };
    Ok(Contact { connection, messages, owner, description })
}
