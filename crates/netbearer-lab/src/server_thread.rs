use std::{
    io::{self, PipeReader, PipeWriter},
    thread::{self, JoinHandle},
};

/// A thread that serves until this value is dropped, which waits for its end.
#[derive(Debug)]
pub(crate) struct ServerThread {
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl ServerThread {
    /// Starts `serve`, which must return when the pipe it is given hangs up.
    pub(crate) fn start(name: &str, serve: impl FnOnce(PipeReader) + Send + 'static) -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || serve(stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for ServerThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A server that panicked has printed so, and the test it served has failed for want of an answer.
            let _ = thread.join();
        }
    }
}
