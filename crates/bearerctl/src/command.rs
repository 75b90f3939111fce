//! What the program does, a file for each command.

mod completions;
mod lab;
mod list;
mod man;
mod monitor;
mod open;
mod profile;
mod report;
mod reset;
mod run;
mod show;
mod stop;
mod update;
mod why;

pub(crate) use lab::{Place, control::Refusal, tour::StepError};
use netbearer::{Directories, Embedded, Manager};

use crate::{
    arguments::{Arguments, Command},
    error::Error,
    exit_code::ExitCode,
    logging::Log,
    output::Output,
};

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) output: Output,
    pub(crate) directories: Directories,
    pub(crate) embedded: Embedded,
    pub(crate) log: Log,
    /// In place of the usual ones, in a sandbox.
    pub(crate) lab_directories: Directories,
}

impl Context {
    pub(crate) async fn manager(&self) -> Result<Manager, Error> {
        Ok(self.embedded.clone().start().await?)
    }
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments, place: Place, log: Log) -> Result<ExitCode, Error> {
    let context = Context {
        output: arguments.output(),
        directories: arguments.directories(),
        embedded: arguments.embedded(),
        lab_directories: arguments.lab_directories(),
        log,
    };
    match arguments.command {
        Command::List => list::run(&context).await,
        Command::Show(named) => show::run(&context, &named.id).await,
        Command::Open(open) => open::run(&context, &open).await,
        Command::Run(run) => return run::run(&context, &run).await,
        Command::Monitor => monitor::run(&context).await,
        Command::Stop(named) => stop::run(&context, &named.id).await,
        Command::Why(named) => why::run(&context, named.id.as_deref()).await,
        Command::Profile { command } => return profile::run(&context, &command).await,
        Command::Update => update::run(&context).await,
        Command::Report(report) => report::run(&context, report.output.as_deref()).await,
        Command::Lab(lab) => return lab::run(&context, place, &lab).await,
        Command::Reset => reset::run(&context).await,
        Command::Completions(wanted) => completions::run(&context, wanted.shell),
        Command::Man(man) => man::run(&context, &man.directory),
    }
    .map(|()| ExitCode::OK)
}
