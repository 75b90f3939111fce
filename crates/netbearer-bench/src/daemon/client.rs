//! A client of the daemon that uses zbus and nothing else, as the floor does.

use std::{
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use netbearer_dbus::{FailureValue, MANAGER_INTERFACE, MANAGER_PATH, SESSION_INTERFACE};
use tokio::runtime::{LocalOptions, LocalRuntime};
use zbus::{Connection, Message, MessageStream, OwnedFd, connection::Builder, message::Type};

use crate::{error::BenchError, our_machine::DEADLINE};

pub(super) fn runtime() -> Result<LocalRuntime, BenchError> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?)
}

/// The client's end of a connection without a bus.
pub(super) fn connect(runtime: &LocalRuntime, stream: UnixStream) -> Result<Connection, BenchError> {
    Ok(runtime.block_on(Builder::unix_stream(stream).p2p().build())?)
}

/// A client with one session.
pub(super) struct Client {
    messages: MessageStream,
    connection: Connection,
    path: String,
    runtime: LocalRuntime,
}

impl Client {
    /// A session on what the daemon with this socket knows by that name.
    pub(super) fn connect(socket: &Path, name: &str) -> Result<Self, BenchError> {
        let runtime = runtime()?;
        let connection = connect(&runtime, UnixStream::connect(socket)?)?;
        let ask = |member, argument: &str| {
            let call = connection.call_method(None::<&str>, MANAGER_PATH, Some(MANAGER_INTERFACE), member, &argument);
            runtime.block_on(call)
        };
        let (referred, ..): (Vec<String>, Vec<String>, String) = ask("ResolveName", name)?.body().deserialize()?;
        let unknown = || BenchError::Crowd(format!("the daemon knows nothing by the name {name}"));
        let identifier = referred.into_iter().next().ok_or_else(unknown)?;
        let created = ask("CreateSession", &identifier)?;
        let path = created.body().deserialize::<Created>()?.0.to_string();
        let messages = MessageStream::from(&connection);
        Ok(Self { messages, connection, path, runtime })
    }

    /// Opens, and waits for Opened and for the hold. How long it took until the former.
    pub(super) fn open(&mut self) -> Result<(Duration, OwnedFd), BenchError> {
        let Self { messages, connection, path, runtime } = self;
        runtime.block_on(within_deadline(async {
            let start = Instant::now();
            let call = Message::method_call(path.as_str(), "Open").interface(SESSION_INTERFACE).build(&())?;
            let serial = call.primary_header().serial_num();
            connection.send(&call).await?;
            let (mut opened, mut hold) = (None, None);
            loop {
                let message = messages.next().await.ok_or(BenchError::DaemonGone)??;
                let header = message.header();
                let member = header.member().map(|member| member.as_str());
                match message.message_type() {
                    Type::Signal if member == Some("Opened") => opened = Some(start.elapsed()),
                    Type::Signal if member == Some("Error") => {
                        let (failure,) = message.body().deserialize::<(FailureValue,)>()?;
                        return Err(BenchError::Crowd(format!("the session could not be opened: {}", failure.3)));
                    }
                    Type::MethodReturn if header.reply_serial() == Some(serial) => {
                        hold = Some(message.body().deserialize::<OwnedFd>()?);
                    }
                    Type::Error => return Err(zbus::Error::from(message.clone()).into()),
                    _ => {}
                }
                if let (Some(opened), Some(_)) = (opened, &hold)
                    && let Some(hold) = hold.take()
                {
                    return Ok((opened, hold));
                }
            }
        }))
    }

    /// Gives the network back, and waits until that is done.
    pub(super) fn close(&mut self) -> Result<(), BenchError> {
        let Self { messages, connection, path, runtime } = self;
        let close = connection.call_method(None::<&str>, path.as_str(), Some(SESSION_INTERFACE), "Close", &());
        runtime.block_on(close)?;
        // What was told meanwhile is over.
        while futures_util::FutureExt::now_or_never(messages.next()).flatten().is_some() {}
        Ok(())
    }
}

/// What the reply to CreateSession says.
type Created =
    (zbus::OwnedObjectPath, String, netbearer_dbus::ConfigurationProperties, netbearer_dbus::SessionProperties);

async fn within_deadline<T>(work: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    let not_told = BenchError::NotTold { what: "Opened", within: DEADLINE };
    tokio::time::timeout(DEADLINE, work).await.unwrap_or(Err(not_told))
}
