//! What the program does, a file for each command.

mod agent;
mod completions;
mod lab;
mod list;
mod man;
mod monitor;
mod open;
mod profile;
mod report;
mod reset;
mod roam;
mod run;
mod sessions;
mod show;
mod status;
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
    service::{self, Absence, Choice, Connected},
    signals::{Received, Signals},
};

/// What a command that looks for a service waits for.
const SERVICE_THERE: (&str, &str) = ("the bearer service", "there");

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) output: Output,
    pub(crate) directories: Directories,
    pub(crate) embedded: Embedded,
    pub(crate) service: Choice,
    pub(crate) log: Log,
    /// In place of the usual ones, in a sandbox.
    pub(crate) lab_directories: Directories,
}

impl Context {
    /// The same for a program that has caught signals already.
    pub(crate) async fn manager_unless_interrupted(&self, signals: &mut Signals) -> Result<Manager, Error> {
        unless_interrupted(signals, self.manager(), SERVICE_THERE).await
    }

    /// The service to work with. That it is one of this program's own is said first.
    pub(crate) async fn manager(&self) -> Result<Manager, Error> {
        let Connected { manager, absence } = service::connect(self).await?;
        if let Some(absence) = absence.filter(|absence| *absence != Absence::Unwanted) {
            self.output.hint(&absence.to_string());
        }
        Ok(manager)
    }
}

/// Ends with an error if a signal comes first: before what was worked on was as wanted.
async fn unless_interrupted<T>(
    signals: &mut Signals,
    work: impl Future<Output = Result<T, Error>>,
    (name, wanted): (&str, &'static str),
) -> Result<T, Error> {
    tokio::select! {
        biased;
        Received { signal, .. } = signals.next() => {
            Err(Error::Interrupted { name: name.to_owned(), signal, wanted })
        }
        done = work => done,
    }
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments, place: Place, log: Log) -> Result<ExitCode, Error> {
    let context = Context {
        output: arguments.output(),
        directories: arguments.directories(),
        embedded: arguments.embedded(),
        service: arguments.service(),
        lab_directories: arguments.lab_directories(),
        log,
    };
    match arguments.command {
        Command::List => list::run(&context).await,
        Command::Show(named) => show::run(&context, &named.id).await,
        Command::Open(open) => open::run(&context, &open).await,
        Command::Roam(roam) => roam::run(&context, &roam).await,
        Command::Run(run) => return run::run(&context, &run).await,
        Command::Monitor => monitor::run(&context).await,
        Command::Sessions(sessions) => sessions::run(&context, sessions.all).await,
        Command::Status => status::run(&context).await,
        Command::Agent(agent) => agent::run(&context, agent.choose.as_deref()).await,
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
