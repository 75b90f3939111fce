//! Open, watch and stop network sessions from the command line: a thin face over the library `netbearer`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod arguments;
mod asking;
mod child;
mod command;
mod deciding;
mod error;
mod exit_code;
mod holder;
mod incumbent;
mod ledger;
mod listing;
mod logging;
mod output;
mod reader;
mod redaction;
mod sender;
mod service;
mod signals;
mod terminal;
mod test_target;
mod timeline;
mod waiting;

use crate::{arguments::Arguments, command::Place, error::Error};

fn main() -> std::process::ExitCode {
    let arguments = Arguments::read();
    let output = arguments.output();
    let log = logging::start(arguments.verbose, output, arguments.keeps_log());
    // A process that makes a sandbox of itself must have one thread only, so before all else.
    let outcome = Place::take(&arguments.command).map_err(Error::Lab).and_then(|place| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
        runtime.block_on(command::run(arguments, place, log))
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            output.error(&error);
            error.exit_code()
        }
    }
    .into()
}
