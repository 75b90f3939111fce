//! The edge to the managers that answer on the system bus.

use std::{
    convert::Infallible,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use netbearer_watch::{DirectoryWatch, WatchedEntries};
use tokio::{net::UnixStream, sync::watch, task::JoinSet};
use zbus::{Connection, Message, MessageStream, connection::Builder, fdo, names::OwnedUniqueName};

use crate::{ManagerName, Owners, connman, network_manager, owners::Claims, pending::Pending};

const DBUS: &str = "org.freedesktop.DBus";
/// For a manager to answer. One that does not keeps what it claimed before.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Between attempts to reach a bus whose socket is there but refuses, as between its binding and its listening. After
/// these, only a change of the socket's directory is reason to try again.
const RETRIES: [Duration; 4] =
    [Duration::from_millis(10), Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(10)];

/// What is to be asked of whom.
#[derive(Clone, Debug, Default)]
struct Agenda {
    network_manager: Arc<Pending>,
    connman: Arc<Pending>,
}

/// The watch a bus at `socket` is waited for with.
pub(crate) fn watch(socket: &Path) -> io::Result<DirectoryWatch> {
    let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    DirectoryWatch::open(vec![(directory.to_owned(), WatchedEntries::only(name))])
}

/// Keeps `owners` equal to what the managers on the bus at `socket` say, for ever, whether there is a bus or not.
pub(crate) async fn follow(socket: PathBuf, mut directory: DirectoryWatch, owners: watch::Sender<Owners>) {
    let mut failures = 0;
    loop {
        directory.arm();
        let delay = match attend(&socket, &owners).await {
            Ok(()) => {
                tracing::debug!("the system bus at {} has gone", socket.display());
                failures = 0;
                RETRIES.first()
            }
            // No socket, no bus: its directory will tell.
            Err(zbus::Error::InputOutput(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::debug!("the system bus at {} cannot be asked: {error}", socket.display());
                failures += 1;
                RETRIES.get(failures - 1)
            }
        };
        for manager in [ManagerName::NetworkManager, ManagerName::ConnMan] {
            owners.send_if_modified(|owners| owners.set(manager, Claims::default()));
        }
        let changed = tokio::select! {
            changed = directory.changed() => {
                failures = 0;
                changed
            }
            () = pass(delay) => Ok(()),
        };
        if let Err(error) = changed {
            tracing::error!("the directory of the system bus cannot be watched any more: {error}");
            return;
        }
    }
}

async fn pass(delay: Option<&Duration>) {
    match delay {
        Some(delay) => tokio::time::sleep(*delay).await,
        None => std::future::pending().await,
    }
}

/// Asks the managers on the bus, again whenever there is reason to, until the bus is gone.
async fn attend(socket: &Path, owners: &watch::Sender<Owners>) -> zbus::Result<()> {
    let stream = UnixStream::connect(socket).await?.into_std()?;
    let connection = Builder::unix_stream(stream).method_timeout(ANSWER_TIMEOUT).build().await?;
    let agenda = Agenda::default();
    // A connection whose messages nobody takes does not deliver answers either: a task of its own takes them all.
    let mut reader = JoinSet::new();
    reader.spawn(read(MessageStream::from(&connection), agenda.clone()));
    for rule in [network_manager::RULES.as_slice(), &connman::RULES].concat() {
        connection.call_method(Some(DBUS), "/org/freedesktop/DBus", Some(DBUS), "AddMatch", &rule).await?;
    }
    agenda.network_manager.add_everything();
    agenda.connman.add_everything();
    let asking_network_manager = network_manager::follow(&connection, &agenda.network_manager, owners);
    let asking_connman = connman::follow(&connection, &agenda.connman, owners);
    let never: Infallible = tokio::select! {
        () = connection.closed() => return Ok(()),
        never = asking_network_manager => never,
        never = asking_connman => never,
    };
    match never {}
}

/// Turns signals into questions, until there are no more.
async fn read(mut messages: MessageStream, agenda: Agenda) {
    while let Some(message) = messages.next().await {
        if let Ok(message) = message {
            agenda.take_in(&message);
        }
    }
}

impl Agenda {
    /// Anything but the signals asked for is passed over: answers to our own questions come this way too.
    fn take_in(&self, message: &Message) {
        if message.message_type() != zbus::message::Type::Signal {
            return;
        }
        let header = message.header();
        let (Some(interface), Some(member)) = (header.interface(), header.member()) else { return };
        if interface.as_str() == DBUS && member.as_str() == "NameOwnerChanged" {
            match message.body().deserialize::<(String, String, String)>() {
                Ok((name, _, _)) if name == network_manager::NAME => self.network_manager.add_everything(),
                Ok((name, _, _)) if name == connman::NAME => self.connman.add_everything(),
                _ => {}
            }
        } else if interface.starts_with(connman::NAME) {
            self.connman.add_everything();
        } else if let Some(object) = network_manager::object(message) {
            self.network_manager.add(&object);
        }
    }
}

/// Who has the name now. Asking the owner instead of the name never starts a manager.
pub(crate) async fn name_owner(connection: &Connection, name: &str) -> zbus::Result<Option<OwnedUniqueName>> {
    let answer = connection.call_method(Some(DBUS), "/org/freedesktop/DBus", Some(DBUS), "GetNameOwner", &name).await;
    match answer {
        Ok(answer) => Ok(Some(answer.body().deserialize()?)),
        Err(zbus::Error::FDO(error)) if matches!(*error, fdo::Error::NameHasNoOwner(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
