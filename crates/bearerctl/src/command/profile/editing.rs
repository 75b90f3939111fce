use std::{env, fs};

use netbearer_profiles::ProfileStore;
use tokio::process::Command;

use crate::{
    child,
    command::profile::{candidate::Candidate, line},
    error::Error,
    exit_code::ExitCode,
    output::{BOLD, Output},
    signals::{Signal, Signals},
};

/// Where neither variable says another one (POSIX, `more`).
const USUAL_EDITOR: &str = "vi";

/// What is in commands that no `exec` can be put before.
const COMPOUND: [char; 8] = [';', '&', '|', '(', ')', '{', '=', '\n'];

pub(crate) async fn run(output: Output, store: &ProfileStore, name: &str) -> Result<ExitCode, Error> {
    let name = name.strip_suffix(".toml").unwrap_or(name);
    let file = store.file(name);
    if name.contains('/') || !file.is_file() {
        return Err(Error::NoProfile { name: name.to_owned(), there: names(store) });
    }
    let before = fs::read(&file).map_err(|source| Error::Profile(file.clone(), source))?;
    // Before there is anything that would be left behind.
    let mut signals = Signals::catch_with(&[Signal::Quit]).map_err(Error::Runtime)?;
    let candidate = Candidate::copy(store, name)?;
    edit(&candidate, &mut signals).await?;
    let after = fs::read(candidate.file()).map_err(|source| Error::Profile(candidate.file().to_owned(), source))?;
    if after == before {
        output.hint("nothing was changed");
        return Ok(ExitCode::OK);
    }
    let mistakes = candidate.mistakes();
    for mistake in &mistakes {
        output.hint(&line(mistake));
    }
    // What was wrong before, here or elsewhere, is nothing to be kept from writing the rest by.
    let added = candidate.added_mistakes().len();
    if added > 0 {
        return Err(Error::EditedWithMistakes { count: added, file: candidate.keep() });
    }
    if fs::read(&file).ok().is_none_or(|now| now != before) {
        return Err(Error::ChangedMeanwhile(candidate.keep()));
    }
    candidate.replace()?;
    if output.json {
        output.object(&serde_json::json!({ "file": file }))?;
    } else {
        output.line(&format!("wrote {BOLD}{}{BOLD:#}", file.display()))?;
    }
    Ok(ExitCode::OK)
}

/// The variables may have arguments, so a shell takes them apart, as everywhere else.
async fn edit(candidate: &Candidate<'_>, signals: &mut Signals) -> Result<(), Error> {
    let named =
        ["VISUAL", "EDITOR"].into_iter().find_map(|variable| env::var(variable).ok().filter(|name| !name.is_empty()));
    let editor = named.unwrap_or_else(|| USUAL_EDITOR.to_owned());
    // The shell gives way, or else survives what is meant for the editor: for the shell, a trap is no reason to end, and for
    // the editor there is none (POSIX, `trap`).
    let exec = if editor.contains(COMPOUND) { "" } else { "exec " };
    let script = format!("trap : INT QUIT; {exec}{editor} \"$1\"");
    let mut wish = None;
    let status = match Command::new("sh").args(["-c", &script, "sh"]).arg(candidate.file()).spawn() {
        Ok(mut running) => loop {
            tokio::select! {
                status = running.wait() => break status,
                received = signals.next() => match received.signal {
                    // What they mean is for the editor to say, which has them from the terminal.
                    Signal::Interrupt | Signal::Quit => {}
                    signal => {
                        wish = Some(signal);
                        child::pass_on(child::number(&running), received);
                    }
                },
            }
        },
        Err(refusal) => Err(refusal),
    };
    match (status, wish) {
        (Err(source), _) => Err(Error::Editor { editor, source }),
        (Ok(_), Some(signal)) => {
            Err(Error::Interrupted { name: "what was edited".to_owned(), signal, wanted: "in its place" })
        }
        (Ok(status), None) if status.success() => Ok(()),
        (Ok(_), None) => Err(Error::EditorFailed(editor)),
    }
}

fn names(store: &ProfileStore) -> Vec<String> {
    let entries = fs::read_dir(store.profile_directory()).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".toml").map(str::to_owned))
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}
