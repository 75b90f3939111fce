use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    io,
};

use netbearer_engine::EngineEvent;
use netbearer_kernel::SocketEnds;
use netbearer_types::{SocketCookie, SocketEnd, Traffic};
use tokio::{sync::mpsc, task::spawn_blocking};

/// Sockets of sessions: hears of their ends, and brings them about.
pub(super) struct Sockets {
    /// There while some socket is of interest.
    ends: Option<SocketEnds>,
    /// Those that were found to be gone.
    gone: mpsc::UnboundedReceiver<Vec<SocketEnd>>,
    gone_sender: mpsc::UnboundedSender<Vec<SocketEnd>>,
}

impl Sockets {
    pub(super) fn new() -> Self {
        let (gone_sender, gone) = mpsc::unbounded_channel();
        Self { ends: None, gone, gone_sender }
    }

    /// Begins to hear of sockets that end, or ends that.
    pub(super) fn watch(&mut self, watching: bool) {
        self.ends = watching
            .then(SocketEnds::open)
            .transpose()
            .inspect_err(|error| tracing::warn!("nobody tells when sockets end: {error}"))
            .ok()
            .flatten();
    }

    /// Tells which of these are gone. On another thread, as what follows: the kernel has to look at all its sockets.
    pub(super) fn check(&self, sockets: BTreeSet<SocketCookie>) {
        let sender = self.gone_sender.clone();
        spawn_blocking(move || match netbearer_kernel::living_sockets() {
            Ok(living) => {
                let gone = sockets.difference(&living).map(|socket| SocketEnd { socket: *socket, carried: None });
                // Nobody is interested in the end.
                let _ = sender.send(gone.collect());
            }
            Err(error) => tracing::warn!("sockets could not be listed: {error}"),
        });
    }

    pub(super) async fn traffic() -> BTreeMap<SocketCookie, Traffic> {
        let listed = spawn_blocking(netbearer_kernel::socket_traffic).await;
        listed.map_err(io::Error::other).flatten().unwrap_or_else(|error| {
            tracing::warn!("what sockets carry could not be read: {error}");
            BTreeMap::new()
        })
    }

    /// What they have carried is told with their end.
    pub(super) fn abort(&self, sockets: BTreeSet<SocketCookie>, owner: Option<u32>) {
        let sender = self.gone_sender.clone();
        spawn_blocking(move || match netbearer_kernel::abort_sockets(&sockets, owner) {
            Ok(aborted) => {
                let (known, aborted_count) = (sockets.len(), aborted.len());
                tracing::debug!(known, aborted = aborted_count, "sockets on a link that was left were aborted");
                // Nobody is interested in the end.
                let _ = sender.send(aborted);
            }
            Err(error) => tracing::warn!("sockets on a link that was left could not be aborted: {error}"),
        });
    }

    /// Waits for the next news. Dropping the future loses nothing.
    pub(super) async fn changed(&mut self) -> EngineEvent {
        let ended = async {
            match &mut self.ends {
                Some(ends) => ends.next().await,
                None => pending().await,
            }
        };
        let ended = tokio::select! {
            // There always is a sender.
            Some(gone) = self.gone.recv() => return EngineEvent::SocketsEnded(gone),
            ended = ended => ended,
        };
        match ended {
            Ok(Some(ended)) => EngineEvent::SocketsEnded(ended),
            Ok(None) => EngineEvent::SocketEndsMissed,
            Err(error) => {
                tracing::warn!("nobody tells any more when sockets end: {error}");
                self.ends = None;
                EngineEvent::SocketEndsMissed
            }
        }
    }
}
