//! Measures NetBearer beside a floor: a program of blocking system calls that does the same and nothing else.
//!
//! One round of ours and one of the floor take turns, so that whatever else the machine does hits both. Nothing but the
//! warm-up is discarded. Everything happens in network namespaces of its own.
//!
//! Exit status: 0 when every target is met, 1 when one is missed, 2 for wrong usage, 3 when the machine is too busy for
//! the figures to mean anything, 4 when something could not be measured.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod arguments;
mod cut;
mod error;
mod figure;
mod figures;
mod floor;
mod known_floors;
mod our_machine;
mod random;
mod report;
mod samples;

use std::{error::Error, process::ExitCode};

use clap::Parser;

use crate::{
    arguments::{Arguments, Command},
    error::BenchError,
    report::Verdict,
};

const NOT_MEASURED: u8 = 4;

fn main() -> ExitCode {
    let Arguments { command: Command::Open(options) } = Arguments::parse();
    let outcome = check_privileges().and_then(|()| figures::measure(&options));
    match outcome {
        Ok(outcomes) => {
            if options.json {
                report::print_json(&outcomes);
            } else {
                report::print_table(&outcomes);
            }
            match report::verdict(&outcomes) {
                _ if options.show_only => ExitCode::SUCCESS,
                Verdict::Met => ExitCode::SUCCESS,
                Verdict::Missed => ExitCode::from(1),
                Verdict::Invalid => ExitCode::from(3),
            }
        }
        Err(error) => {
            eprintln!("netbearer-bench: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  caused by: {cause}");
                source = cause.source();
            }
            ExitCode::from(NOT_MEASURED)
        }
    }
}

fn check_privileges() -> Result<(), BenchError> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(BenchError::NotRoot) }
}
