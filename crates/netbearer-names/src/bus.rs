//! The edge to the system bus, for as long as somebody's name servers are to be told.

use std::sync::Arc;

use futures_util::StreamExt;
use netbearer_lookup::resolved;
use tokio::{sync::Notify, task::JoinSet};
use zbus::{Connection, Message, MessageStream, names::OwnedUniqueName};

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
        let Some(connection) = resolved::connect(address).await? else { return Ok(None) };
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
        resolved::owner(&self.connection).await
    }

    /// Waits until somebody has come or gone.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
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
