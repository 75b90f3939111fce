//! What people and machines do with this tree.

mod command;
mod install;
mod readme;
mod soak;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Work on NetBearer: test it all, run the README, soak.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the tests need, and run everything: format, lints, licences, tests, documentation, fuzzing, benchmarks
    Test(test::Arguments),
    /// Run the shell blocks of README.md, in order, as a newcomer would
    Readme(readme::Arguments),
    /// Run the long counts: random histories of the core by the million, and of faults on real interfaces by the thousand
    Soak(soak::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Test(arguments) => test::run(&arguments),
        Task::Readme(arguments) => readme::run(&arguments),
        Task::Soak(arguments) => soak::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                eprintln!("  caused by: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}
