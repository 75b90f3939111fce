//! Runs what README.md tells people to type. A README that does not work is a defect like any other.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use clap::Args;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::command::{TaskError, program, root, run as run_command};

/// A block after this mark holds until it is interrupted; it is, once it has printed the word.
const UNTIL: &str = "<!-- until: ";
/// How long such a block may take to print it; a first build is part of it.
const HOLDING_TIMEOUT: Duration = Duration::from_secs(20 * 60);

#[derive(Args)]
pub(crate) struct Arguments {
    /// Clone the tree's last commit to an empty directory first, and run there
    #[arg(long)]
    clean_clone: bool,
    /// Only show the blocks
    #[arg(long)]
    list: bool,
}

/// One shell block.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    text: String,
    /// What it prints when it has come to where it is meant to be interrupted.
    until: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), TaskError> {
    let path = root().join("README.md");
    let text = fs::read_to_string(&path).map_err(|source| system("README.md cannot be read", source))?;
    let blocks = blocks(&text);
    if blocks.is_empty() {
        return Err(TaskError::Wrong("README.md has no shell block".to_owned()));
    }
    if arguments.list {
        for block in &blocks {
            println!("{}\n", block.text);
        }
        return Ok(());
    }
    let clone = tempfile::tempdir().map_err(|source| system("no temporary directory", source))?;
    let directory = if arguments.clean_clone { clone_into(clone.path())? } else { root() };
    for block in &blocks {
        println!("== README: {}", block.text);
        match &block.until {
            None => run_command(shell(block, &directory).env_remove("CARGO_TARGET_DIR"))?,
            Some(word) => hold(block, word, &directory)?,
        }
    }
    println!("== README: {} blocks ran", blocks.len());
    Ok(())
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut until = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(word) = line.strip_prefix(UNTIL).and_then(|rest| rest.strip_suffix(" -->")) {
            until = Some(word.to_owned());
        } else if line == "```sh" {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(Block { text: text.join("\n"), until: until.take() });
        }
    }
    blocks
}

fn clone_into(parent: &Path) -> Result<std::path::PathBuf, TaskError> {
    let directory = parent.join("netbearer");
    let target = directory.to_string_lossy().into_owned();
    run_command(&mut program("git", &["clone", "--quiet", ".", &target]))?;
    Ok(directory)
}

fn shell(block: &Block, directory: &Path) -> Command {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &block.text]).current_dir(directory);
    command
}

/// Runs a block that holds: waits for its word, interrupts it as Ctrl-C would, and wants it to end well.
fn hold(block: &Block, word: &str, directory: &Path) -> Result<(), TaskError> {
    use std::os::unix::process::CommandExt;

    let mut child = shell(block, directory)
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|source| system("bash cannot be started", source))?;
    let seen = wait_for(&mut child, word);
    let interrupted = Pid::from_raw(child.id().cast_signed())
        .ok_or_else(|| TaskError::Wrong("the block has no process".to_owned()))
        .and_then(|group| {
            kill_process_group(group, Signal::INT)
                .map_err(|error| system("the block cannot be interrupted", error.into()))
        });
    let status = child.wait().map_err(|source| system("the block cannot be waited for", source))?;
    seen?;
    interrupted?;
    if status.success() { Ok(()) } else { Err(TaskError::Failed { command: block.text.clone(), status }) }
}

fn wait_for(child: &mut Child, word: &str) -> Result<(), TaskError> {
    let (sender, receiver) = mpsc::channel();
    let output = child.stdout.take().ok_or_else(|| TaskError::Wrong("the block has no output".to_owned()))?;
    // Reads to the end, so that the block never waits for a reader.
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("{line}");
            let _ = sender.send(line);
        }
    });
    let missing = || TaskError::Wrong(format!("the block ended, or took too long, without printing \"{word}\""));
    loop {
        let line = receiver.recv_timeout(HOLDING_TIMEOUT).map_err(|_| missing())?;
        if line.contains(word) {
            return Ok(());
        }
    }
}

fn system(what: &str, source: std::io::Error) -> TaskError {
    TaskError::System { what: what.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_blocks_are_found_in_order_with_what_they_wait_for() {
        let text = "# A\n\n```sh\none\ntwo\n```\n\n```rust\nno\n```\n<!-- until: Opened -->\n```sh\nthree\n```\n";
        let found = blocks(text);
        assert_eq!(found[0], Block { text: "one\ntwo".to_owned(), until: None });
        assert_eq!(found[1], Block { text: "three".to_owned(), until: Some("Opened".to_owned()) });
        assert_eq!(found.len(), 2);
    }
}
