use std::{env, fs};

use netbearer_profiles::ProfileStore;
use tokio::process::Command;

use crate::{
    command::profile::{candidate::Candidate, line},
    error::Error,
    exit_code::ExitCode,
    output::{BOLD, Output},
};

/// Where neither variable says another one (POSIX, `more`).
const USUAL_EDITOR: &str = "vi";

pub(crate) async fn run(output: Output, store: &ProfileStore, name: &str) -> Result<ExitCode, Error> {
    let name = name.strip_suffix(".toml").unwrap_or(name);
    let file = store.file(name);
    if name.contains('/') || !file.is_file() {
        return Err(Error::NoProfile { name: name.to_owned(), there: names(store) });
    }
    let before = fs::read(&file).map_err(|source| Error::Profile(file.clone(), source))?;
    let candidate = Candidate::copy(store, name)?;
    edit(&candidate).await?;
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
async fn edit(candidate: &Candidate<'_>) -> Result<(), Error> {
    let named =
        ["VISUAL", "EDITOR"].into_iter().find_map(|variable| env::var(variable).ok().filter(|name| !name.is_empty()));
    let editor = named.unwrap_or_else(|| USUAL_EDITOR.to_owned());
    let script = format!("{editor} \"$1\"");
    let status = Command::new("sh").args(["-c", &script, "sh"]).arg(candidate.file()).status().await;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Error::EditorFailed(editor)),
        Err(source) => Err(Error::Editor { editor, source }),
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
