//! Measures NetBearer beside a floor: a program of blocking system calls that does the same and nothing else; or beside
//! other network managers.
//!
//! One round of ours and one of the floor take turns, so that whatever else the machine does hits both. Nothing but the
//! warm-up is discarded. Everything happens in network namespaces of its own.
//!
//! Exit status: 0 when every target is met, 1 when one is missed, 2 for wrong usage, 3 when the machine is too busy for
//! the figures to mean anything, 4 when something could not be measured.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod arguments;
mod cut;
mod daemon;
mod error;
mod figure;
mod figures;
mod floor;
mod known_floors;
mod our_machine;
mod peers;
mod random;
mod report;
mod roam;
mod samples;

use std::{error::Error, process::ExitCode};

use clap::Parser;

use crate::{
    arguments::{Arguments, Command, OpenOptions},
    error::BenchError,
    figure::Figure,
    report::Verdict,
};

const NOT_MEASURED: u8 = 4;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Open(options) => open(&options),
        Command::Daemon(options) => check_privileges()
            .and_then(|()| daemon::measure(&options))
            .map(|figures| print(&figures, options.json, options.show_only)),
        Command::Roam(options) => check_privileges()
            .and_then(|()| roam::measure(&options))
            .map(|figures| print(&figures, options.json, options.show_only)),
        Command::DaemonUnderTest { directory } => daemon::be_daemon(&directory).map(|()| ExitCode::SUCCESS),
        Command::Crowd { socket } => daemon::be_crowd(&socket).map(|()| ExitCode::SUCCESS),
        Command::Echo { socket } => daemon::be_echo(&socket).map(|()| ExitCode::SUCCESS),
        Command::BusEnvoy => peers::be_envoy().map(|()| ExitCode::SUCCESS).map_err(BenchError::from),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("netbearer-bench: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            eprintln!("  caused by: {cause}");
            source = cause.source();
        }
        ExitCode::from(NOT_MEASURED)
    })
}

fn open(options: &OpenOptions) -> Result<ExitCode, BenchError> {
    check_privileges()?;
    if options.peers {
        let comparisons = peers::measure(options.rounds)?;
        if options.json {
            peers::print_json(&comparisons);
        } else {
            peers::print_table(&comparisons);
        }
        return Ok(ExitCode::SUCCESS);
    }
    Ok(print(&figures::measure(options)?, options.json, options.show_only))
}

fn print(figures: &[Figure], as_json: bool, show_only: bool) -> ExitCode {
    if as_json {
        report::print_json(figures);
    } else {
        report::print_table(figures);
    }
    match report::verdict(figures) {
        _ if show_only => ExitCode::SUCCESS,
        Verdict::Met => ExitCode::SUCCESS,
        Verdict::Missed => ExitCode::from(1),
        Verdict::Invalid => ExitCode::from(3),
    }
}

fn check_privileges() -> Result<(), BenchError> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(BenchError::NotRoot) }
}
