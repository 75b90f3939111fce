use std::{
    env,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use anstream::{AutoStream, ColorChoice};
use tracing_subscriber::EnvFilter;

use crate::output::Output;

/// Filters as `tracing-subscriber` writes them, for instance `netbearer_dhcp=trace`; over `--verbose`.
const VARIABLE: &str = "NETBEARER_LOG";

/// What was logged so far, where it is kept instead of written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what the library logs to standard error: warnings, more with `verbose`. Or keeps it, and more of it.
pub(crate) fn start(verbose: u8, output: Output, keep: bool) -> Log {
    let level = match verbose {
        0 if keep => "debug",
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = match env::var(VARIABLE) {
        Ok(directives) if !directives.is_empty() => EnvFilter::try_new(&directives).unwrap_or_else(|error| {
            output.hint(&format!("bearerctl: {VARIABLE} is passed over: {error}"));
            EnvFilter::new(level)
        }),
        _ => EnvFilter::new(level),
    };
    let color = match output.color {
        ColorChoice::Auto => AutoStream::choice(&io::stderr()) != ColorChoice::Never,
        choice => choice != ColorChoice::Never,
    };
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter);
    if keep {
        let log = log.clone();
        subscriber.with_writer(move || log.clone()).with_ansi(false).init();
    } else {
        subscriber.with_writer(io::stderr).with_ansi(color).init();
    }
    log
}
