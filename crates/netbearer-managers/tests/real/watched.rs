use std::{
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Instant,
};

use netbearer_lab::Namespace;
use netbearer_managers::{ManagerName, ManagerWatcher, Owners, Places};
use tokio::sync::oneshot;

use crate::PATIENCE;

/// A watcher at work on a machine of the lab.
pub(crate) struct Watched {
    changes: mpsc::Receiver<Owners>,
    now: Owners,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watched {
    /// Begins to watch. Returns when everybody there has been asked.
    pub(crate) fn start(machine: &Namespace) -> Self {
        let places = Places::below(machine.path("/"));
        let (sender, changes) = mpsc::channel();
        let (stop, mut stopped) = oneshot::channel();
        let watch = async move {
            let mut watcher = ManagerWatcher::open(&places).expect("the kernel allows it");
            loop {
                tokio::select! {
                    owners = watcher.changed() => sender.send(owners).expect("the test listens"),
                    _ = &mut stopped => return,
                }
            }
        };
        // Threads belong where their parent does.
        let start = || {
            Ok::<_, std::io::Error>(thread::spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(watch);
            }))
        };
        let thread = machine.run(start).expect("a thread");
        let now = changes.recv_timeout(PATIENCE).expect("everybody was asked");
        Self { changes, now, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn now(&self) -> &Owners {
        &self.now
    }

    pub(crate) fn owner(&self, interface: &str) -> Option<ManagerName> {
        self.now.of(interface).map(|owner| owner.manager)
    }

    /// Waits until `interface` is looked after by `owner`.
    pub(crate) fn wait_for(&mut self, interface: &str, owner: Option<ManagerName>) {
        let end = Instant::now() + PATIENCE;
        while self.owner(interface) != owner {
            let left = end.saturating_duration_since(Instant::now());
            let next = self.changes.recv_timeout(left);
            self.now = next.unwrap_or_else(|_| panic!("{interface} is not told to be {owner:?}'s: {:?}", self.now));
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // What went wrong there was printed there.
            let _ = thread.join();
        }
    }
}
