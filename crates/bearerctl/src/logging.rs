use std::{env, io};

use anstream::{AutoStream, ColorChoice};
use tracing_subscriber::EnvFilter;

use crate::output::Output;

/// Filters as `tracing-subscriber` writes them, for instance `netbearer_dhcp=trace`; over `--verbose`.
const VARIABLE: &str = "NETBEARER_LOG";

/// Writes what the library logs to standard error: warnings, more with `verbose`.
pub(crate) fn start(verbose: u8, output: Output) {
    let level = match verbose {
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
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(color).init();
}
