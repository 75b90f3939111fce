//! Files of profiles: what they have to do with each other and with the machine is the business of `netbearer-profiles`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use netbearer_profiles::{Imported, ProfileMistake, ProfileStore, Shared, import_file, template};
use serde::Serialize;

use crate::{
    arguments::ProfileCommand,
    command::{Context, profile::candidate::Candidate},
    error::Error,
    exit_code::ExitCode,
    output::{BAD, BOLD, DIM, GOOD, Output},
};

mod candidate;
mod editing;

pub(crate) async fn run(context: &Context, command: &ProfileCommand) -> Result<ExitCode, Error> {
    let mut store = ProfileStore::new(&context.directories.configuration);
    match command {
        ProfileCommand::Check { files } => check(context.output, &mut store, files),
        ProfileCommand::New(named) => write_new(context, &store, &named.id).await,
        ProfileCommand::Edit { name } => editing::run(context.output, &store, name).await,
        ProfileCommand::Import { paths, write } => import(context.output, &store, paths, *write),
    }
}

fn check(output: Output, store: &mut ProfileStore, files: &[PathBuf]) -> Result<ExitCode, Error> {
    let (mistakes, shared) = if files.is_empty() {
        let reading = store.read();
        (reading.mistakes.clone(), reading.shared())
    } else {
        (store.check(&files.iter().map(|file| (file.clone(), None)).collect::<Vec<_>>()), Vec::new())
    };
    if output.json {
        output.object(&mistakes)?;
    } else if mistakes.is_empty() {
        output.line(&format!("{GOOD}no mistakes{GOOD:#} in {}", about(store, files)))?;
        for Shared { known_by, files } in shared {
            output.line(&format!("{known_by}: one of {} is up at a time", files.join(", ")))?;
        }
    } else {
        for mistake in &mistakes {
            output.line(&line(mistake))?;
        }
    }
    Ok(if mistakes.is_empty() { ExitCode::OK } else { ExitCode::FAILURE })
}

fn about(store: &ProfileStore, files: &[PathBuf]) -> String {
    match files {
        [] => store.profile_directory().display().to_string(),
        files => files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
    }
}

/// In the form that editors jump to.
fn line(mistake: &ProfileMistake) -> String {
    let ProfileMistake { file, line, problem, suggestion, .. } = mistake;
    let place = line.map_or_else(|| file.display().to_string(), |line| format!("{}:{line}", file.display()));
    format!("{BOLD}{place}{BOLD:#}: {BAD}{problem}{BAD:#}; {suggestion}")
}

async fn write_new(context: &Context, store: &ProfileStore, wanted: &str) -> Result<ExitCode, Error> {
    let manager = context.manager().await?;
    let configuration = manager.find(Some(wanted)).await?;
    let interface = configuration.interface_name.ok_or_else(|| Error::NoInterface(configuration.name.clone()))?;
    let address = manager.interface(&configuration.identifier).await?.map(|interface| interface.hardware_address);
    let text = template::access_point(&interface, address.as_deref());
    let file = place(context.output, store, &interface, &text)?;
    if context.output.json {
        context.output.object(&serde_json::json!({ "file": file }))?;
    } else {
        context.output.line(&format!("wrote {BOLD}{}{BOLD:#}", file.display()))?;
        context.output.hint(&format!("{DIM}go on with: bearerctl profile edit {interface}{DIM:#}"));
    }
    Ok(ExitCode::OK)
}

/// Puts a new profile into its place, unless something is there or is wrong with it.
fn place(output: Output, store: &ProfileStore, name: &str, text: &str) -> Result<PathBuf, Error> {
    let file = store.file(name);
    if file.exists() {
        return Err(Error::ProfileExists { file, name: name.to_owned() });
    }
    let candidate = Candidate::new(store, name, text)?;
    let mistakes = candidate.mistakes();
    for mistake in &mistakes {
        output.hint(&line(mistake));
    }
    if !mistakes.is_empty() {
        return Err(Error::NotWritten { file, count: mistakes.len() });
    }
    candidate.place()?;
    Ok(file)
}

/// A file that was imported, as programs read it.
#[derive(Serialize)]
struct ImportedObject<'a> {
    from: &'a Path,
    name: &'a str,
    text: &'a str,
    left_behind: &'a [String],
    /// In the lines of the text.
    mistakes: Vec<ProfileMistake>,
    written: Option<PathBuf>,
}

/// Goes on with the next file whatever is wrong with one.
fn import(output: Output, store: &ProfileStore, paths: &[PathBuf], write: bool) -> Result<ExitCode, Error> {
    let mut objects = Vec::new();
    let files = files_to_import(paths)?;
    let (mut imported, mut failed) = (Vec::new(), Vec::new());
    for file in files {
        match import_file(&file) {
            Ok(made) => imported.push((file, made)),
            Err(error) => failed.push(Error::from(error)),
        }
    }
    let mut has_printed = false;
    let before = failed.len();
    for (file, imported) in &imported {
        let Imported { name, text, left_behind } = imported;
        let mistakes = store.check_text(name, text);
        let written = if write { write_imported(store, file, imported, &mistakes) } else { Ok(None) };
        if !output.json {
            match &written {
                Ok(Some(written)) => output.line(&format!("wrote {BOLD}{}{BOLD:#}", written.display()))?,
                Ok(None) if std::mem::replace(&mut has_printed, true) => {
                    output.line(&format!("\n{}", text.trim_end()))?;
                }
                Ok(None) => output.line(text.trim_end())?,
                Err(_) => {}
            }
            if !matches!(written, Err(Error::ProfileExists { .. })) {
                for left in left_behind {
                    output.hint(&format!("{DIM}{}: not carried over: {left}{DIM:#}", file.display()));
                }
                for mistake in &mistakes {
                    output.hint(&mistake_of_imported(file, &store.file(name), mistake));
                }
            }
        }
        let (written, error) = match written {
            Ok(None) if !mistakes.is_empty() => (None, Some(unfit(file, &mistakes))),
            Ok(written) => (written, None),
            Err(error) => (None, Some(error)),
        };
        objects.push(ImportedObject { from: file, name, text, left_behind, mistakes, written });
        failed.extend(error);
    }
    // Something came of the others, or the last one is told as the error of all.
    let last = if failed.len() - before == imported.len() { failed.pop() } else { None };
    for error in &failed {
        output.hint(&format!("{BAD}not imported:{BAD:#} {error}"));
    }
    if output.json {
        output.object(&objects)?;
    }
    match last {
        Some(error) => Err(error),
        None if failed.is_empty() => Ok(ExitCode::OK),
        None => Ok(ExitCode::FAILURE),
    }
}

fn write_imported(
    store: &ProfileStore,
    from: &Path,
    imported: &Imported,
    mistakes: &[ProfileMistake],
) -> Result<Option<PathBuf>, Error> {
    let Imported { name, text, .. } = imported;
    let file = store.file(name);
    if file.exists() {
        return Err(Error::ProfileExists { file, name: name.clone() });
    }
    if !mistakes.is_empty() {
        return Err(unfit(from, mistakes));
    }
    Candidate::new(store, name, text)?.place()?;
    Ok(Some(file))
}

fn unfit(file: &Path, mistakes: &[ProfileMistake]) -> Error {
    Error::Unfit { file: file.to_owned(), count: mistakes.len() }
}

/// By the name of the old file, as there is no new one.
fn mistake_of_imported(from: &Path, place: &Path, mistake: &ProfileMistake) -> String {
    if mistake.file != place {
        return line(mistake);
    }
    let ProfileMistake { line, problem, suggestion, .. } = mistake;
    let line = line.map(|line| format!("line {line} of its profile: ")).unwrap_or_default();
    format!("{BOLD}{}{BOLD:#}: {line}{BAD}{problem}{BAD:#}; {suggestion}", from.display())
}

fn files_to_import(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).map_err(|source| Error::Directory(path.clone(), source))?;
        let known = |file: &PathBuf| {
            file.extension().is_some_and(|extension| extension == "nmconnection" || extension == "network")
        };
        let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(known).collect();
        if found.is_empty() {
            return Err(Error::NothingToImport(path.clone()));
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}
