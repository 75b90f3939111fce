use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use netbearer_core::{Core, Record};
use netbearer_service::{Keeper, ServiceHandle};
use tokio::{sync::Notify, time::sleep};

use crate::StateFile;

/// When to try again to write what could not be written: after this …
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// … then twice as long each time, up to this.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Keeps the ledger in the state file, and has that compacted when it has grown.
#[derive(Clone, Debug)]
pub(crate) struct LedgerKeeper {
    file: Arc<Mutex<Option<StateFile>>>,
    service: ServiceHandle,
    is_compacting: Arc<AtomicBool>,
    writing: Arc<Mutex<Option<JoinHandle<()>>>>,
    fails: Arc<AtomicBool>,
    /// Something could not be written, and is in no snapshot yet.
    is_incomplete: Arc<AtomicBool>,
    /// That has come to be so.
    failed: Arc<Notify>,
}

impl LedgerKeeper {
    pub(crate) fn new(file: StateFile, service: ServiceHandle) -> Self {
        let file = Arc::new(Mutex::new(Some(file)));
        Self {
            file,
            service,
            is_compacting: Arc::default(),
            writing: Arc::default(),
            fails: Arc::default(),
            is_incomplete: Arc::default(),
            failed: Arc::default(),
        }
    }

    /// Tries again, as long as something could not be written; for ever.
    pub(crate) async fn make_whole(self) {
        loop {
            self.failed.notified().await;
            let mut delay = FIRST_RETRY;
            while self.is_incomplete.load(Ordering::SeqCst) {
                sleep(delay).await;
                delay = (2 * delay).min(LAST_RETRY);
                self.compact();
            }
        }
    }

    /// The last chance to write what could not be written. Nothing may come after it.
    ///
    /// # Errors
    /// When it still cannot be.
    pub(crate) fn end(&self, core: &Core) -> io::Result<()> {
        // What is being written would come after this.
        if let Some(writing) = lock(&self.writing).take() {
            let _ = writing.join();
        }
        let mut file = self.file();
        let Some(file) = file.as_mut().filter(|_| self.is_incomplete.load(Ordering::SeqCst)) else { return Ok(()) };
        let length = file.compact()?.write(&core.saved())?;
        file.compacted(length)
    }

    /// Nothing is left to be kept.
    pub(crate) fn remove(&self) {
        // What is being written would come after it is removed.
        if let Some(writing) = lock(&self.writing).take() {
            let _ = writing.join();
        }
        if let Some(Err(error)) = self.file().take().map(StateFile::remove) {
            tracing::warn!("the state file cannot be removed: {error}");
        }
    }

    /// The whole state is taken at once, between two calls, when all that was to be kept before has been. To write it takes
    /// long if there are many sessions, so that is done elsewhere.
    fn compact(&self) {
        if self.is_compacting.swap(true, Ordering::SeqCst) {
            return;
        }
        let keeper = self.clone();
        self.service.cast(move |core, _| {
            let Some(begun) = keeper.file().as_mut().map(StateFile::compact) else { return };
            let state = core.saved();
            keeper.is_incomplete.store(false, Ordering::SeqCst);
            let writing = keeper.clone();
            let begun = begun.and_then(|snapshot| {
                let write = move || writing.end_compacting(snapshot.write(&state));
                thread::Builder::new().name("ledger".to_owned()).spawn(write)
            });
            match begun {
                Ok(begun) => drop(lock(&keeper.writing).replace(begun)),
                Err(error) => keeper.end_compacting(Err(error)),
            }
        });
    }

    fn end_compacting(&self, written: io::Result<u64>) {
        let compacted = written.and_then(|length| {
            let mut file = self.file();
            file.as_mut().map_or(Ok(()), |file| file.compacted(length))
        });
        let is_done = compacted.is_ok();
        match compacted {
            Ok(()) if self.fails.swap(false, Ordering::Relaxed) => tracing::info!("all is written down again"),
            Ok(()) => {}
            Err(error) => self.fail(&error),
        }
        self.is_compacting.store(false, Ordering::SeqCst);
        // What could not be written meanwhile.
        if is_done && self.is_incomplete.load(Ordering::SeqCst) {
            self.compact();
        }
    }

    fn fail(&self, error: &io::Error) {
        self.is_incomplete.store(true, Ordering::SeqCst);
        if !self.fails.swap(true, Ordering::Relaxed) {
            tracing::error!("what has changed cannot be written down, and a restart would not know of it: {error}");
        }
        self.failed.notify_one();
    }

    fn file(&self) -> MutexGuard<'_, Option<StateFile>> {
        lock(&self.file)
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper for LedgerKeeper {
    fn keep(&mut self, records: Vec<Record>) {
        let mut file = self.file();
        let Some(file) = file.as_mut() else { return };
        match file.append(&records) {
            Ok(()) if self.is_incomplete.load(Ordering::SeqCst) => self.compact(),
            Ok(()) if file.has_grown() => self.compact(),
            Ok(()) => {}
            Err(error) => {
                let is_first = !self.fails.load(Ordering::Relaxed);
                self.fail(&error);
                // A snapshot may take less room.
                if is_first {
                    self.compact();
                }
            }
        }
    }
}
