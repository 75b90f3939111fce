//! The daemon that is measured: what the program `bearerd` runs, in this program.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bearerd::{Ending, GROUP, Options, Rules, Staging};
use netbearer::Directories;
use netbearer_core::Limits;

use super::{client::runtime, descriptors::raise_limit};
use crate::error::BenchError;

/// The command of this program that is the daemon.
pub(crate) const COMMAND: &str = "daemon-under-test";

/// As the program has it.
const PATIENCE: Duration = Duration::from_secs(30);

/// More than is measured; by default a user has fewer.
const LIMITS: Limits = Limits { sessions: 20_000, watchers: 20_000, descriptors: 20_000 };

/// Makes what a machine has, below this directory: a resolver that is a file, and no other network managers.
pub(super) fn furnish(directory: &Path) -> Result<(), BenchError> {
    let resolver = root(directory).join("etc");
    fs::create_dir_all(&resolver)?;
    fs::write(resolver.join("resolv.conf"), "")?;
    Ok(())
}

fn root(directory: &Path) -> PathBuf {
    directory.join("root")
}

/// The daemon itself, with its directories below this one.
pub(crate) fn run(directory: &Path) -> Result<(), BenchError> {
    raise_limit()?;
    let options = Options {
        directories: Directories::below(directory),
        bus: None,
        rules: Rules::new(GROUP),
        limits: LIMITS,
        connections: usize::MAX,
        patience: PATIENCE,
        staging: Staging { root: Some(root(directory)), ..Staging::default() },
    };
    match runtime()?.block_on(bearerd::run(options))? {
        Ending::TakenDown => Ok(()),
        // What is left is to stay as it is.
        Ending::Left { .. } => std::process::exit(0),
    }
}
