use std::thread;

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{FileType, fstat},
    io::Errno,
};
use tokio::sync::oneshot;

/// Whoever reads our standard output through a pipe, for instance `head`.
#[derive(Debug)]
pub(crate) struct Reader {
    /// None if there is nobody whose going would be seen.
    going: Option<oneshot::Receiver<()>>,
}

impl Reader {
    pub(crate) fn of_standard_output() -> Self {
        let file_type = fstat(rustix::stdio::stdout()).map(|status| FileType::from_raw_mode(status.st_mode));
        if !matches!(file_type, Ok(FileType::Fifo | FileType::Socket)) {
            return Self::none();
        }
        let (gone, going) = oneshot::channel();
        // It ends with the program: a descriptor that is shared with others must not be made non-blocking, and the
        // kernel tells of a closed pipe only those who wait for it.
        let thread = thread::Builder::new().name("reader".to_owned()).spawn(move || {
            if wait_until_closed().is_ok() {
                let _ = gone.send(());
            }
        });
        Self { going: thread.is_ok().then_some(going) }
    }

    /// Nobody in particular reads it.
    pub(crate) const fn none() -> Self {
        Self { going: None }
    }

    /// Returns when the other end is closed: then nobody wants to know what comes.
    pub(crate) async fn gone(&mut self) {
        if let Some(going) = &mut self.going
            && going.await.is_ok()
        {
            self.going = None;
            return;
        }
        std::future::pending().await
    }
}

/// Errors are reported without being asked for (`poll(2)`).
fn wait_until_closed() -> Result<(), Errno> {
    let output = rustix::stdio::stdout();
    let mut watched = [PollFd::new(&output, PollFlags::empty())];
    loop {
        match poll(&mut watched, None) {
            Err(Errno::INTR) => {}
            outcome => return outcome.map(|_| ()),
        }
    }
}
