//! What the program does, a file for each command.

mod completions;
mod list;
mod man;
mod monitor;
mod open;
mod report;
mod reset;
mod run;
mod show;
mod stop;
mod update;
mod why;

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
    pub(crate) embedded: Embedded,
    pub(crate) directories: Directories,
    pub(crate) log: Log,
}

impl Context {
    pub(crate) async fn manager(&self) -> Result<Manager, Error> {
        Ok(self.embedded.clone().start().await?)
    }
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments, log: Log) -> Result<ExitCode, Error> {
    let directories = arguments.directories();
    let embedded = Embedded::default().directories(directories.clone());
    let context = Context { output: arguments.output(), embedded, directories, log };
    match arguments.command {
        Command::List => list::run(&context).await,
        Command::Show(named) => show::run(&context, &named.id).await,
        Command::Open(open) => open::run(&context, &open).await,
        Command::Run(run) => return run::run(&context, &run).await,
        Command::Monitor => monitor::run(&context).await,
        Command::Stop(named) => stop::run(&context, &named.id).await,
        Command::Why(named) => why::run(&context, named.id.as_deref()).await,
        Command::Update => update::run(&context).await,
        Command::Report(report) => report::run(&context, report.output.as_deref()).await,
        Command::Reset => reset::run(&context).await,
        Command::Completions(wanted) => completions::run(&context, wanted.shell),
        Command::Man(man) => man::run(&context, &man.directory),
    }
    .map(|()| ExitCode::OK)
}
