//! The socket that needs no bus daemon: each connection is a client.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    future::pending,
    io, iter,
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use netbearer_core::UserId;
use netbearer_watch::DirectoryWatch;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use zbus::{Guid, MessageStream, connection::Builder, message::Type};

use crate::{
    Client, Dispatcher, Outbox, Peer, Rules,
    handshake::{Handshake, HandshakeError, Step},
    socket_file::{SocketFile, Whereabouts, watch},
    transport::{Transport, Writer},
};

/// How long a peer may take to say who it is.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long who is refused may take to hear why, and how many may at a time.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
const REFUSALS: usize = 32;
/// After descriptors were used up. There is no event that tells when that is over.
const RESPITE: Duration = Duration::from_millis(100);
/// Between attempts to bind the socket again. After these, only another change of its directory is reason to try.
const RETRIES: [Duration; 4] =
    [Duration::from_millis(10), Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(10)];
/// Messages that are read before it is their turn.
const READ_AHEAD: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// The socket, bound and listening.
#[derive(Debug)]
pub struct PrivateSocket {
    listener: UnixListener,
    file: SocketFile,
    /// Connections that one user may have, but for root.
    limit: usize,
    patience: Duration,
}

/// Why a connection was not served.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("it did not say who it is in time")]
    TooSlow,
    #[error("it has ended before it began")]
    Ended,
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Dbus(#[from] zbus::Error),
}

impl PrivateSocket {
    /// Binds the socket for everybody, in the place of what a killed process has left. Who calls this has made sure that no
    /// other process listens there. Each user may have `limit` connections, and a client is cut off when it has taken nothing of
    /// what is to be sent to it for as long as `patience`.
    ///
    /// # Errors
    /// When the directory is not writable.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn bind(path: &Path, limit: usize, patience: Duration) -> io::Result<Self> {
        let (listener, file) = SocketFile::bind(path)?;
        Ok(Self { listener, file, limit, patience })
    }

    /// Nobody is to connect any more. Not while it is served: it would be bound again.
    pub fn remove(path: &Path) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("{} could not be removed: {error}", path.display());
            }
            _ => {}
        }
    }

    /// Serves whoever connects, for ever. The socket is bound again if others have removed its file.
    pub async fn serve(self, dispatcher: Arc<Dispatcher>, rules: Rules) {
        let Self { listener, file, limit, patience } = self;
        let reception = Reception {
            dispatcher,
            rules,
            limit,
            patience,
            guid: Guid::generate(),
            attendance: Arc::default(),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
        };
        tracing::debug!("listening on {}", file.path().display());
        let mut entrance = Entrance::new(listener, file);
        let mut refused = false;
        loop {
            match entrance.accept().await {
                Ok(stream) => {
                    refused = false;
                    reception.receive(stream);
                }
                Err(error) => {
                    if !std::mem::replace(&mut refused, true) {
                        tracing::warn!("nobody can connect at the moment: {error}");
                    }
                    sleep(RESPITE).await;
                }
            }
        }
    }
}

/// Where clients come in.
struct Entrance {
    listener: UnixListener,
    file: SocketFile,
    reminder: Reminder,
    /// Attempts in a row to bind it again.
    failures: usize,
    /// That nobody can come in any more was told.
    is_given_up: bool,
    /// Who has connected to a former socket.
    waiting: VecDeque<UnixStream>,
}

/// When to look where the file of the socket is.
struct Reminder {
    /// None if it cannot be watched.
    directory: Option<DirectoryWatch>,
    /// If it is not to be another change.
    retry: Option<Duration>,
}

impl Entrance {
    fn new(listener: UnixListener, file: SocketFile) -> Self {
        let directory = watch(file.path()).inspect_err(|error| {
            tracing::warn!("if others remove {}, that is not noticed: {error}", file.path().display());
        });
        // Something may have happened since it was bound.
        let reminder = Reminder { directory: directory.ok(), retry: Some(Duration::ZERO) };
        Self { listener, file, reminder, failures: 0, is_given_up: false, waiting: VecDeque::new() }
    }

    /// The next who comes in.
    async fn accept(&mut self) -> io::Result<UnixStream> {
        loop {
            if let Some(stream) = self.waiting.pop_front() {
                return Ok(stream);
            }
            let changed = tokio::select! {
                accepted = self.listener.accept() => return accepted.map(|(stream, _)| stream),
                changed = self.reminder.due() => changed,
            };
            match changed {
                Ok(true) => self.failures = 0,
                Ok(false) => {}
                Err(error) => {
                    let path = self.file.path().display();
                    tracing::warn!("if others remove {path}, that is not noticed any more: {error}");
                    self.reminder.directory = None;
                }
            }
            self.keep_open().await;
        }
    }

    /// Binds the socket again if its file is not there any more.
    async fn keep_open(&mut self) {
        self.reminder.retry = None;
        self.reminder.directory.iter_mut().for_each(DirectoryWatch::arm);
        let hindrance = match self.file.whereabouts().await {
            Whereabouts::InPlace => {
                self.is_given_up = false;
                return;
            }
            Whereabouts::Gone => return self.bind_again(),
            Whereabouts::Another => "another process listens there",
            Whereabouts::NoDirectory => "its directory was removed",
        };
        if !std::mem::replace(&mut self.is_given_up, true) {
            let path = self.file.path().display();
            tracing::warn!(
                "nobody can connect to {path} any more: {hindrance}; those who are connected are served, a restart serves others"
            );
        }
    }

    fn bind_again(&mut self) {
        let bound = SocketFile::bind(self.file.path());
        let path = self.file.path().display();
        match bound {
            Ok((listener, file)) => {
                tracing::warn!("{path} was removed by others; it is bound again");
                self.failures = 0;
                self.is_given_up = false;
                self.file = file;
                let former = std::mem::replace(&mut self.listener, listener);
                self.waiting.extend(not_accepted(former));
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!("{path} was removed by others, and cannot be bound again: {error}");
                }
                self.reminder.retry = RETRIES.get(self.failures).copied();
                self.failures += 1;
            }
        }
    }
}

impl Reminder {
    /// Waits until there is reason to look. True if something has changed. May be dropped while waiting.
    async fn due(&mut self) -> io::Result<bool> {
        let changed = async {
            match &mut self.directory {
                Some(directory) => directory.changed().await,
                None => pending().await,
            }
        };
        tokio::select! {
            changed = changed => changed.map(|()| true),
            () = pass(self.retry) => Ok(false),
        }
    }
}

/// Who has connected to a socket that is given up.
fn not_accepted(listener: UnixListener) -> Vec<UnixStream> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let accepted = iter::from_fn(|| listener.accept().ok());
    let usable = accepted.filter_map(|(stream, _)| {
        stream.set_nonblocking(true).ok()?;
        UnixStream::from_std(stream).ok()
    });
    usable.collect()
}

async fn pass(delay: Option<Duration>) {
    match delay {
        Some(delay) => sleep(delay).await,
        None => pending().await,
    }
}

/// What it takes to serve whoever comes in.
struct Reception {
    dispatcher: Arc<Dispatcher>,
    rules: Rules,
    limit: usize,
    patience: Duration,
    guid: Guid<'static>,
    attendance: Arc<Attendance>,
    refusals: Arc<Semaphore>,
}

impl Reception {
    /// Serves a connection, or tells why not.
    fn receive(&self, stream: UnixStream) {
        let limit = self.limit;
        let peer = match Peer::of_socket(&stream) {
            Ok(peer) => peer,
            Err(error) => return tracing::debug!("the kernel does not say who has connected: {error}"),
        };
        let Some(seat) = self.attendance.seat(peer.user, limit) else {
            if self.attendance.is_refused_first(peer.user) {
                tracing::info!("user {} has {limit} connections, and gets no more", peer.user.0);
            }
            if let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() {
                tokio::spawn(async move {
                    refuse(stream, limit).await;
                    drop(place);
                });
            }
            return;
        };
        let visit = Visit {
            dispatcher: Arc::clone(&self.dispatcher),
            rules: self.rules.clone(),
            peer,
            patience: self.patience,
            _seat: seat,
        };
        let guid = self.guid.clone();
        tokio::spawn(async move {
            if let Err(error) = visit.serve(stream, guid).await {
                tracing::debug!("a connection has ended: {error}");
            }
        });
    }
}

/// Tells why. A client hears that when it has said something itself, but it is not waited for long.
async fn refuse(mut stream: UnixStream, limit: usize) {
    let said = timeout(REFUSAL_TIMEOUT, stream.read(&mut [0; 512])).await;
    if said.is_ok_and(|read| read.is_ok()) {
        let _ = stream.try_write(format!("ERROR this user has {limit} connections; close some\r\n").as_bytes());
    }
}

/// The connections of each user.
#[derive(Debug, Default)]
struct Attendance(Mutex<BTreeMap<UserId, Seats>>);

#[derive(Debug, Default)]
struct Seats {
    taken: usize,
    /// Somebody was refused one, and none has become free since.
    is_full: bool,
}

/// One of them.
#[derive(Debug)]
struct Seat {
    attendance: Arc<Attendance>,
    user: UserId,
}

impl Attendance {
    /// Root may have as many as it likes.
    fn seat(self: &Arc<Self>, user: UserId, limit: usize) -> Option<Seat> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seats = users.entry(user).or_default();
        if seats.taken >= limit && user != UserId(0) {
            return None;
        }
        seats.taken += 1;
        Some(Seat { attendance: Arc::clone(self), user })
    }

    /// True once until a connection of this user has ended: who tries on without end is not to fill the log.
    fn is_refused_first(&self, user: UserId) -> bool {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut users.entry(user).or_default().is_full, true)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut users = self.attendance.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seats) = users.get_mut(&self.user) {
            seats.taken -= 1;
            seats.is_full = false;
            if seats.taken == 0 {
                users.remove(&self.user);
            }
        }
    }
}

/// A connection and what it takes to serve it.
struct Visit {
    dispatcher: Arc<Dispatcher>,
    rules: Rules,
    peer: Peer,
    patience: Duration,
    _seat: Seat,
}

impl Visit {
    async fn serve(self, stream: UnixStream, guid: Guid<'static>) -> Result<(), ConnectionError> {
        let greeting = timeout(HANDSHAKE_TIMEOUT, greet(stream, self.peer.user, &guid));
        let transport = greeting.await.map_err(|_| ConnectionError::TooSlow)??.with_patience(self.patience);
        let passes_descriptors = transport.passes_descriptors();
        let writer = transport.writer();
        let builder = Builder::authenticated_socket(transport, guid).p2p().max_queued(READ_AHEAD);
        let connection = builder.build().await?;
        let messages = MessageStream::from(&connection);
        let (service, roster) = (self.dispatcher.service(), self.dispatcher.roster());
        let outbox = Arc::new(Outbox::new());
        let common = Arc::clone(self.dispatcher.common());
        let id = roster.next();
        let client = Arc::new(Client::private(id, Arc::clone(&outbox), passes_descriptors, common));
        let description = netbearer_core::Client {
            user: self.peer.user,
            rights: self.rules.rights(&self.peer),
            program: Some(self.peer.program()),
        };
        let mut outcome = Ok(());
        if service.join(id, description, Arc::clone(&client) as _).is_ok() {
            roster.add(Arc::clone(&client));
            outcome = tokio::select! {
                () = self.read(&client, &outbox, messages) => Ok(()),
                sent = write(&client, &outbox, &writer) => sent,
                () = outbox.ended() => Ok(()),
            };
            roster.remove(id);
            service.leave(id);
        }
        outbox.end();
        // Whoever has passed the connection on to others still has it.
        let closed = connection.close().await;
        outcome?;
        Ok(closed?)
    }

    /// Takes calls in, as long as there is room for their replies.
    async fn read(&self, client: &Arc<Client>, outbox: &Outbox, mut messages: MessageStream) {
        loop {
            outbox.has_room().await;
            match messages.next().await {
                Some(Ok(message)) if message.message_type() == Type::MethodCall => {
                    self.dispatcher.dispatch(client, message);
                }
                // Nobody here has asked for anything.
                Some(Ok(_)) => {}
                Some(Err(error)) => return tracing::debug!("a client is not read any more: {error}"),
                None => return,
            }
        }
    }
}

async fn write(client: &Client, outbox: &Outbox, writer: &Writer) -> io::Result<()> {
    while let Some(letters) = outbox.take(|lag| client.told_instead(lag)).await {
        writer.send(&letters).await?;
        outbox.sent(&letters);
    }
    Ok(())
}

/// The handshake.
async fn greet(mut stream: UnixStream, user: UserId, guid: &Guid<'_>) -> Result<Transport, ConnectionError> {
    let mut handshake = Handshake::new(user.0, guid.as_str());
    let mut octets = [0; 512];
    loop {
        let length = stream.read(&mut octets).await?;
        if length == 0 {
            return Err(ConnectionError::Ended);
        }
        match handshake.take_in(&octets[..length])? {
            Step::Answer(answer) => stream.write_all(&answer).await?,
            Step::Begin { answer, rest, passes_descriptors } => {
                stream.write_all(&answer).await?;
                return Ok(Transport::new(stream, rest, passes_descriptors));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_connections_and_root_as_many_as_it_likes() {
        let attendance = Arc::new(Attendance::default());
        let seats: Vec<Seat> = (0..3).map_while(|_| attendance.seat(UserId(1000), 2)).collect();
        assert_eq!(seats.len(), 2);
        assert_eq!([(); 3].map(|()| attendance.is_refused_first(UserId(1000))), [true, false, false]);
        assert!(attendance.seat(UserId(1001), 2).is_some());
        let roots: Vec<Seat> = (0..3).map_while(|_| attendance.seat(UserId(0), 2)).collect();
        assert_eq!(roots.len(), 3);
        drop(seats);
        let seats: Vec<Seat> = (0..3).map_while(|_| attendance.seat(UserId(1000), 2)).collect();
        assert!(attendance.is_refused_first(UserId(1000)), "some were free meanwhile");
        drop(seats);
        drop(roots);
        assert!(attendance.0.lock().unwrap().is_empty());
    }
}
