//! Running programs, and saying which one failed.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

/// What can go wrong in a task.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    #[error("{command} could not be started")]
    Start { command: String, source: io::Error },
    #[error("{command} failed: {status}")]
    Failed { command: String, status: ExitStatus },
    #[error("{0}")]
    Wrong(String),
    #[error("{what}")]
    System { what: String, source: io::Error },
}

/// The top of the tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// A program, run at the top of the tree.
pub(crate) fn program(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// Cargo, as it runs us.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    program(&cargo_path(), arguments)
}

pub(crate) fn cargo_path() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

pub(crate) fn run(command: &mut Command) -> Result<(), TaskError> {
    let shown = show(command);
    let status = command.status().map_err(|source| TaskError::Start { command: shown.clone(), source })?;
    if status.success() { Ok(()) } else { Err(TaskError::Failed { command: shown, status }) }
}

/// True if the program is there and runs.
pub(crate) fn answers(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

pub(crate) fn show(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
