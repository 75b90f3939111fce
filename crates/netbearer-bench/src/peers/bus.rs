use std::{
    collections::VecDeque,
    io,
    pin::pin,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use netbearer_lab::Namespace;
use serde::Serialize;
use tokio::runtime::{LocalOptions, LocalRuntime};
use zbus::{Connection, Message, MessageStream, connection::Builder, zvariant::DynamicType};

use super::envoy::{self, Envoy};
use crate::error::BenchError;

const DBUS: &str = "org.freedesktop.DBus";
const DBUS_PATH: &str = "/org/freedesktop/DBus";

/// A client of a machine's system bus, which notes when each message came.
pub(super) struct Bus {
    messages: MessageStream,
    unread: VecDeque<(Instant, Message)>,
    connection: Connection,
    runtime: LocalRuntime,
    _envoy: Envoy,
}

impl Bus {
    /// Goes to the bus, and asks it for the signals that the rules say.
    pub(super) fn connect(machine: &Namespace, rules: &[String]) -> Result<Self, BenchError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        let (stream, envoy) = envoy::connect(machine)?;
        let connection = runtime.block_on(Builder::unix_stream(stream).build())?;
        let messages = MessageStream::from(&connection);
        let mut bus = Self { messages, unread: VecDeque::new(), connection, runtime, _envoy: envoy };
        for rule in rules {
            bus.call(DBUS, DBUS_PATH, DBUS, "AddMatch", rule)?;
        }
        Ok(bus)
    }

    /// Calls a method, and returns its answer. What comes meanwhile is kept for [`Self::wait_for`].
    pub(super) fn call(
        &mut self,
        destination: &str,
        path: &str,
        interface: &str,
        method: &str,
        body: &(impl Serialize + DynamicType),
    ) -> Result<Message, BenchError> {
        let Self { messages, unread, connection, runtime, .. } = self;
        let answer = runtime.block_on(async {
            let mut answer = pin!(connection.call_method(Some(destination), path, Some(interface), method, body));
            loop {
                tokio::select! {
                    answer = &mut answer => return answer,
                    Some(message) = messages.next() => unread.push_back((Instant::now(), message?)),
                }
            }
        })?;
        Ok(answer)
    }

    /// Forgets all that has been told so far: who answers a question has sent before what it said before.
    pub(super) fn forget(&mut self, destination: &str, path: &str) -> Result<(), BenchError> {
        self.call(destination, path, "org.freedesktop.DBus.Introspectable", "Introspect", &())?;
        self.unread.clear();
        Ok(())
    }

    /// Waits for the first signal of which `wanted` makes something; those before it are passed over.
    pub(super) fn wait_for<T>(
        &mut self,
        what: &'static str,
        within: Duration,
        mut wanted: impl FnMut(&Message) -> Option<T>,
    ) -> Result<(Instant, T), BenchError> {
        let Self { messages, unread, runtime, .. } = self;
        let mut wanted = move |message: &Message| {
            (message.message_type() == zbus::message::Type::Signal).then(|| wanted(message))?
        };
        while let Some((came, message)) = unread.pop_front() {
            if let Some(found) = wanted(&message) {
                return Ok((came, found));
            }
        }
        let search = async {
            while let Some(message) = messages.next().await {
                let came = Instant::now();
                if let Some(found) = wanted(&message?) {
                    return Ok((came, found));
                }
            }
            Err(BenchError::from(io::Error::from(io::ErrorKind::BrokenPipe)))
        };
        let found = runtime.block_on(async { tokio::time::timeout(within, search).await });
        found.unwrap_or(Err(BenchError::NotTold { what, within }))
    }
}
