use std::thread::{self, JoinHandle};

/// The thread of a service, or of the way to one. Dropping it waits for its end: a program that returns from its main
/// function right after must not leave links of ours up.
#[derive(Debug)]
pub(crate) struct ServiceThread(Option<JoinHandle<()>>);

impl ServiceThread {
    pub(crate) const fn new(thread: JoinHandle<()>) -> Self {
        Self(Some(thread))
    }
}

impl Drop for ServiceThread {
    fn drop(&mut self) {
        // What nobody wants to have is dropped on the thread itself, which cannot wait for its own end.
        if let Some(thread) = self.0.take().filter(|thread| thread.thread().id() != thread::current().id()) {
            // An error means that it panicked, and it has said so on its own.
            let _ = thread.join();
        }
    }
}
