//! Holds sessions as it is told; see the library.

use std::{error::Error, process::ExitCode};

use clap::Parser;
use netbearer_holder::{HolderError, Way, hold};

/// Holds sessions as its standard input says, and tells on its standard output what they are told.
#[derive(Debug, Parser)]
#[command(name = "netbearer-holder", version)]
struct Arguments {
    #[command(subcommand)]
    way: Way,
}

fn main() -> ExitCode {
    let held = Arguments::parse().way.manager().map_err(HolderError::from).and_then(hold);
    let Err(error) = held else { return ExitCode::SUCCESS };
    eprintln!("netbearer-holder: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  caused by: {cause}");
        source = cause.source();
    }
    ExitCode::FAILURE
}
