use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use netbearer_clock::BootClock;
use netbearer_engine::Clock;
use tokio::sync::{mpsc, oneshot};
use zbus::{Connection, Message};

use super::{
    desk::Desk,
    line::Line,
    place::{Contact, Place, Waiting},
    reader::Reader,
};
use crate::ManagerError;

/// How long a daemon that is there may take to answer before it counts as none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The daemon has answered for the first time.
pub(super) struct Started {
    pub(super) desk: Arc<Desk>,
    pub(super) clock: BootClock,
}

type Outcome = Result<Started, ManagerError>;

/// Starts the thread that everything from and to the daemon goes through. It ends with the desk, or when nobody waits for
/// `started` any more.
pub(super) fn start(
    place: Place,
    patience: Duration,
    started: oneshot::Sender<Outcome>,
) -> Result<JoinHandle<()>, ManagerError> {
    let attend = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build_local(tokio::runtime::LocalOptions::default())
        {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = started.send(Err(ManagerError::Thread(error)));
                return;
            }
        };
        runtime.block_on(attend(place, patience, started));
    };
    thread::Builder::new().name("netbearer".to_owned()).spawn(attend).map_err(ManagerError::Thread)
}

async fn attend(place: Place, patience: Duration, mut started: oneshot::Sender<Outcome>) {
    let (clock, mut waiting) = match prepare(&place) {
        Ok(prepared) => prepared,
        Err(error) => {
            let _ = started.send(Err(ManagerError::Thread(error)));
            return;
        }
    };
    let is_talking = waiting.is_talking();
    let impatience = async {
        clock.sleep_until(clock.now() + patience).await;
        let deadline = clock.now() + ANSWER_TIMEOUT;
        let mut is_talking = is_talking;
        tokio::select! {
            _ = is_talking.wait_for(|is_talking| !*is_talking) => {}
            () = clock.sleep_until(deadline) => {}
        }
    };
    let contact = tokio::select! {
        biased;
        contact = waiting.contact() => Some(contact),
        () = impatience => None,
        () = started.closed() => return,
    };
    let contact = match contact {
        Some(Ok(contact)) => contact,
        Some(Err(error)) => {
            let _ = started.send(Err(ManagerError::Thread(error)));
            return;
        }
        None => {
            let source = waiting.into_last_failure().map(Into::into);
            let _ = started.send(Err(ManagerError::NoDaemon { socket: place.socket().unwrap_or_default(), source }));
            return;
        }
    };
    let desk = Arc::new(Desk::new(contact.description.clone()));
    let _ending = Ending(Arc::clone(&desk));
    tokio::select! {
        biased;
        () = desk.is_leaving() => {}
        () = serve(&desk, &clock, waiting, contact, started) => {}
    }
}

fn prepare(place: &Place) -> io::Result<(BootClock, Waiting)> {
    let clock = BootClock::start()?;
    let waiting = place.clone().watch(clock.clone())?;
    Ok((clock, waiting))
}

/// Serves one daemon after the other, for ever; ends only if they cannot be waited for any more.
async fn serve(
    desk: &Arc<Desk>,
    clock: &BootClock,
    mut waiting: Waiting,
    first: Contact,
    started: oneshot::Sender<Outcome>,
) {
    let mut started = Some(started);
    let mut contact = first;
    loop {
        let Contact { connection, messages, owner, description } = contact;
        let (line, outgoing) = Line::new(owner);
        let reader = Reader::new(Arc::clone(desk), Arc::clone(&line));
        let announce = async {
            desk.attend(&line, description, started.is_none()).await;
            waiting.praise();
            if let Some(started) = started.take() {
                // If nobody waits for it any more, it is dropped, and so nobody needs the desk either.
                if started.send(Ok(Started { desk: Arc::clone(desk), clock: clock.clone() })).is_err() {
                    desk.leave();
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = reader.read(messages) => {}
            () = send(&connection, outgoing) => {}
            () = announce => {}
        }
        desk.lose(&line);
        drop(connection);
        contact = match waiting.contact().await {
            Ok(contact) => contact,
            Err(error) => return tracing::error!("the bearer service cannot be waited for any more: {error}"),
        };
    }
}

async fn send(connection: &Connection, mut outgoing: mpsc::UnboundedReceiver<Message>) {
    while let Some(message) = outgoing.recv().await {
        if let Err(error) = connection.send(&message).await {
            tracing::debug!("nothing can be sent to the bearer service: {error}");
            // What it has sent before is still to be read; then its end is.
            return std::future::pending().await;
        }
    }
    std::future::pending().await
}

/// Ends every stream of events with the thread, however that ends.
struct Ending(Arc<Desk>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}
