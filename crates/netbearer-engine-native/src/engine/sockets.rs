use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::pending,
    io,
};

use netbearer_engine::EngineEvent;
use netbearer_kernel::SocketEnds;
use netbearer_types::{SocketCookie, Traffic};
use tokio::{sync::mpsc, task::spawn_blocking};

/// Sockets of sessions: hears of their ends, and brings them about.
pub(super) struct Sockets {
    /// There while some socket is of interest.
    ends: Option<SocketEnds>,
    /// What is to be done next with all sockets, while something is done with them.
    next: Work,
    is_working: bool,
    has_aborted: bool,
    done: mpsc::UnboundedReceiver<Vec<EngineEvent>>,
    done_sender: mpsc::UnboundedSender<Vec<EngineEvent>>,
    /// What has come of it, and is still to be told.
    found: VecDeque<EngineEvent>,
}

/// For all of it the kernel has to look at all its sockets, so it is done on another thread, and one thing at a time: however many
/// are asked for, they do not add up.
#[derive(Debug, Default)]
struct Work {
    /// Sockets to be aborted, of this user or of anybody.
    abort: BTreeMap<Option<u32>, BTreeSet<SocketCookie>>,
    /// Sockets to be looked for.
    check: BTreeSet<SocketCookie>,
}

impl Work {
    fn is_nothing(&self) -> bool {
        self.abort.is_empty() && self.check.is_empty()
    }

    fn carry_out(self) -> Vec<EngineEvent> {
        let mut found = Vec::new();
        for (owner, sockets) in self.abort {
            match netbearer_kernel::abort_sockets(&sockets, owner) {
                Ok(aborted) => {
                    let (known, aborted_count) = (sockets.len(), aborted.len());
                    tracing::debug!(known, aborted = aborted_count, "sockets on a link that was left were aborted");
                    found.push(EngineEvent::SocketsEnded(aborted));
                }
                Err(error) => tracing::warn!("sockets on a link that was left could not be aborted: {error}"),
            }
        }
        if !self.check.is_empty() {
            match netbearer_kernel::living_sockets() {
                Ok(living) => {
                    found.push(EngineEvent::SocketsMissing(self.check.difference(&living).copied().collect()));
                }
                Err(error) => tracing::warn!("sockets could not be listed: {error}"),
            }
        }
        found
    }
}

impl Sockets {
    pub(super) fn new() -> Self {
        let (done_sender, done) = mpsc::unbounded_channel();
        Self {
            ends: None,
            next: Work::default(),
            is_working: false,
            has_aborted: false,
            done,
            done_sender,
            found: VecDeque::new(),
        }
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

    /// Tells which of these are not to be found.
    pub(super) fn check(&mut self, sockets: BTreeSet<SocketCookie>) {
        self.next.check.extend(sockets);
        self.go_on();
    }

    pub(super) async fn traffic() -> BTreeMap<SocketCookie, Traffic> {
        let listed = spawn_blocking(netbearer_kernel::socket_traffic).await;
        listed.map_err(io::Error::other).flatten().unwrap_or_else(|error| {
            tracing::warn!("what sockets carry could not be read: {error}");
            BTreeMap::new()
        })
    }

    /// What they have carried is told with their end.
    pub(super) fn abort(&mut self, sockets: BTreeSet<SocketCookie>, owner: Option<u32>) {
        self.has_aborted = true;
        self.next.abort.entry(owner).or_default().extend(sockets);
        self.go_on();
    }

    /// Some have been aborted; their last packets have gone into links that were dead, and asked for neighbours there.
    pub(super) const fn has_aborted(&self) -> bool {
        self.has_aborted
    }

    fn go_on(&mut self) {
        if self.is_working || self.next.is_nothing() {
            return;
        }
        self.is_working = true;
        let (work, sender) = (std::mem::take(&mut self.next), self.done_sender.clone());
        // Nobody is interested in the end.
        spawn_blocking(move || drop(sender.send(work.carry_out())));
    }

    /// Waits for the next news. Dropping the future loses nothing.
    pub(super) async fn changed(&mut self) -> EngineEvent {
        loop {
            if let Some(event) = self.found.pop_front() {
                return event;
            }
            let ended = async {
                match &mut self.ends {
                    Some(ends) => ends.next().await,
                    None => pending().await,
                }
            };
            let ended = tokio::select! {
                // There always is a sender.
                Some(found) = self.done.recv() => {
                    self.is_working = false;
                    self.found.extend(found);
                    self.go_on();
                    continue;
                }
                ended = ended => ended,
            };
            return match ended {
                Ok(Some(ended)) => EngineEvent::SocketsEnded(ended),
                Ok(None) => EngineEvent::SocketEndsMissed,
                Err(error) => {
                    tracing::warn!("nobody tells any more when sockets end: {error}");
                    self.ends = None;
                    EngineEvent::SocketEndsMissed
                }
            };
        }
    }
}
