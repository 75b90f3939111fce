//! The edge to the system bus, for as long as somebody's name servers are to be told.

use std::{io, sync::Arc};

use futures_util::StreamExt;
use netbearer_managers::socket_path;
use tokio::{net::UnixStream, sync::Notify, task::JoinSet};
use zbus::{Connection, Message, MessageStream, connection::Builder, fdo, names::OwnedUniqueName};

use crate::resolved;

const DBUS: &str = "org.freedesktop.DBus";
const DBUS_PATH: &str = "/org/freedesktop/DBus";
/// The only signal that is asked for.
const RULE: &str =
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.resolve1'";

/// A connection to the bus, and the news that systemd-resolved or the bus itself has come or gone.
#[derive(Debug)]
pub(crate) struct Bus {
    connection: Connection,
    changed: Arc<Notify>,
    /// A connection whose messages nobody takes does not deliver answers either.
    _reader: JoinSet<()>,
}

impl Bus {
    /// None without a bus.
    pub(crate) async fn open(address: &str) -> zbus::Result<Option<Self>> {
        let Some(connection) = connect(address).await? else { return Ok(None) };
        let changed = Arc::new(Notify::new());
        let mut reader = JoinSet::new();
        reader.spawn(read(MessageStream::from(&connection), Arc::clone(&changed)));
        connection.call_method(Some(DBUS), DBUS_PATH, Some(DBUS), "AddMatch", &RULE).await?;
        Ok(Some(Self { connection, changed, _reader: reader }))
    }

    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Who systemd-resolved is now. One that comes anew has another name.
    pub(crate) async fn resolved(&self) -> zbus::Result<Option<OwnedUniqueName>> {
        name_owner(&self.connection).await
    }

    /// Waits until somebody has come or gone.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// None without a bus.
pub(crate) async fn connect(address: &str) -> zbus::Result<Option<Connection>> {
    let Some(socket) = socket_path(address) else { return Ok(None) };
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream.into_std()?,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    Builder::unix_stream(stream).method_timeout(resolved::ANSWER_TIMEOUT).build().await.map(Some)
}

/// Whoever is asked for by name would be started; who owns it now is not.
pub(crate) async fn name_owner(connection: &Connection) -> zbus::Result<Option<OwnedUniqueName>> {
    let answer = connection.call_method(Some(DBUS), DBUS_PATH, Some(DBUS), "GetNameOwner", &resolved::NAME).await;
    match answer {
        Ok(answer) => Ok(Some(answer.body().deserialize()?)),
        Err(zbus::Error::FDO(error)) if matches!(*error, fdo::Error::NameHasNoOwner(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn read(mut messages: MessageStream, changed: Arc<Notify>) {
    while let Some(message) = messages.next().await {
        if message.is_ok_and(|message: Message| message.message_type() == zbus::message::Type::Signal) {
            changed.notify_one();
        }
    }
    // The bus has gone.
    changed.notify_one();
}
