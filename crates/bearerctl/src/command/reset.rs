use std::{fs, io, path::Path};

use netbearer::Cleared;
use netbearer_dbus::holds_path;
use serde::Serialize;

use crate::{command::Context, error::Error, service, waiting::Waiting};

/// What was removed.
#[derive(Serialize)]
struct Reset<'a> {
    #[serde(flatten)]
    cleared: &'a Cleared,
    /// Those that a bearer service had left.
    holds_revoked: usize,
}

pub(crate) async fn run(context: &Context) -> Result<(), Error> {
    // It may have nothing up at the moment, and thus not have locked the network namespace.
    if let Some(incumbent) = service::running(&context.directories.runtime) {
        return Err(Error::ServiceRuns(incumbent));
    }
    let cleared = Waiting::during(context.output, "removing what was left", context.embedded.reset()).await?;
    let runtime = &context.directories.runtime;
    let holds_revoked = service::left_holds(runtime);
    let revoked = revoke_holds(&holds_path(runtime));
    let reset = Reset { cleared: &cleared, holds_revoked };
    let output = context.output;
    if output.json {
        output.object(&reset)?;
    } else if cleared.is_nothing() && holds_revoked == 0 {
        output.line("nothing of ours was left here")?;
    } else {
        for line in describe(&reset) {
            output.line(&line)?;
        }
    }
    revoked?;
    match cleared.refused.as_slice() {
        [] => Ok(()),
        [first, ..] => Err(Error::NotAllReset(cleared.refused.len(), first.clone())),
    }
}

/// What a bearer service has left to the next one is over: its holders have the network no more.
fn revoke_holds(directory: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Holds(directory.to_owned(), error)),
        _ => Ok(()),
    }
}

fn describe(Reset { cleared, holds_revoked }: &Reset<'_>) -> Vec<String> {
    let counted = [("rules", cleared.rules), ("routes", cleared.routes)];
    let counted = counted.into_iter().filter(|(_, count)| *count > 0);
    let mut lines: Vec<String> = counted.map(|(what, count)| format!("removed {what}: {count}")).collect();
    lines.extend(cleared.addresses.iter().map(|address| format!("removed address: {address}")));
    lines.extend(cleared.interfaces_set_down.iter().map(|interface| format!("set down: {interface}")));
    lines.extend(cleared.settings_restored.iter().map(|setting| format!("restored: {setting}")));
    if *holds_revoked > 0 {
        lines.push(format!("revoked holds: {holds_revoked}"));
    }
    lines.extend(cleared.name_servers_restored.iter().map(|place| format!("restored: name servers in {place}")));
    lines
}
