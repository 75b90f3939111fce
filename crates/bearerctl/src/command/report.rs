use std::{
    fmt::Write as _,
    fs::{self, OpenOptions, Permissions},
    io::{self, Read, Write as _},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use netbearer::Manager;
use rustix::fs::OFlags;
use serde::Serialize;
use tokio::process::Command;

use crate::{
    command::{Context, status, why},
    error::Error,
    ledger::Ledger,
    listing::Listing,
    redaction::{Redaction, SECRET},
    service::{self, Connected},
};

const ABOUT: &str = "\
In this report: versions; what sessions can be opened on, and why things are as they are; the links, addresses, routes and
rules of the machine; the configuration files of NetBearer; its log. Passwords, keys and other secrets were taken out, and
are <secret> here. Addresses and names were not: look through it before you publish it.";

/// What the kernel says, as `ip(8)` tells it to programs.
const QUESTIONS: [&str; 6] = [
    "-json -details link show",
    "-json address show",
    "-json -4 route show table all",
    "-json -6 route show table all",
    "-json -4 rule show",
    "-json -6 rule show",
];
/// For another program to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of a file that is longer only the beginning is shown.
const LONGEST_FILE: u64 = 64 * 1024;
/// Lines of the journal.
const JOURNAL_LINES: &str = "500";

/// Everything a bug report needs.
#[derive(Debug, Serialize)]
struct Report {
    about: String,
    time: String,
    sections: Vec<Section>,
}

#[derive(Debug, Serialize)]
struct Section {
    title: String,
    text: String,
}

pub(crate) async fn run(context: &Context, file: Option<&Path>) -> Result<(), Error> {
    let report = collect(context).await;
    let Some(path) = file else {
        return if context.output.json { context.output.object(&report) } else { context.output.line(&report.text()) };
    };
    let text = if context.output.json { serde_json::to_string(&report).unwrap_or_default() } else { report.text() };
    write(path, &text).map_err(|source| Error::Write(path.to_owned(), source))?;
    context.output.hint(&format!("written to {}\n{ABOUT}", path.display()));
    Ok(())
}

/// Nobody else may read it, and a link that somebody else has put there is not followed. What is no file, as `/dev/null`, stays
/// as it is.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(0o600).custom_flags(no_link);
    let mut file = options.open(path)?;
    if file.metadata()?.is_file() {
        // Before anything stands in it.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.set_len(0)?;
    }
    file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n"))
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!("NetBearer report, {}\n\n{}\n", self.time, self.about);
        for Section { title, text: content } in &self.sections {
            let _ = write!(text, "\n== {title}\n{}\n", content.trim_end());
        }
        text
    }
}

/// Whatever does not work is told in its place: most reports are about something that does not.
async fn collect(context: &Context) -> Report {
    let mut redaction = Redaction::default();
    let mut sections = vec![section("versions", versions().await)];
    for (title, text) in files(&context.directories.configuration) {
        sections.push(section(title, redaction.redact(&text)));
    }
    for directory in [&context.directories.runtime, &context.directories.state] {
        sections.push(section(format!("files below {}", directory.display()), names(directory)));
    }
    for (title, text) in state(context).await {
        sections.push(section(title, redaction.redact(&text)));
    }
    for question in QUESTIONS {
        let words: Vec<&str> = question.split(' ').collect();
        sections.push(section(format!("ip {question}"), answer("ip", &words).await));
    }
    sections.push(section("the log of this report", redaction.redact(&context.log.text())));
    let journal = ["--boot", "--no-pager", "--lines", JOURNAL_LINES, "_COMM=bearerctl", "_COMM=bearerd"];
    sections.push(section("the journal of this boot", redaction.redact(&answer("journalctl", &journal).await)));
    for section in &mut sections {
        section.text = redaction.forget_known(&section.text);
    }
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    Report { about: ABOUT.replace("<secret>", SECRET), time, sections }
}

fn section(title: impl Into<String>, text: String) -> Section {
    Section { title: title.into(), text }
}

async fn versions() -> String {
    let kernel = rustix::system::uname();
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let missing = netbearer::missing_privileges().unwrap_or_default().join(", ");
    let lines = [
        ("bearerctl", env!("CARGO_PKG_VERSION").to_owned()),
        ("kernel", kernel.release().to_string_lossy().into_owned()),
        ("machine", kernel.machine().to_string_lossy().into_owned()),
        ("system", system.unwrap_or("unknown").trim_matches('"').to_owned()),
        ("ip", answer("ip", &["-V"]).await),
        ("privileges missing", if missing.is_empty() { "none".to_owned() } else { missing }),
    ];
    lines.map(|(name, value)| format!("{name:<20}{}", value.trim_end())).join("\n")
}

/// What the service says.
async fn state(context: &Context) -> Vec<(&'static str, String)> {
    let Connected { manager, absence } = match service::connect(context).await {
        Ok(connected) => connected,
        Err(error) => return vec![("state", with_causes(&error))],
    };
    let status = status::text(context, &manager, absence).await;
    let listings = listings(&manager).await;
    let explained = why::text(&manager).await;
    manager.shutdown().await;
    let text = |result: Result<String, Error>| result.unwrap_or_else(|error| with_causes(&error));
    vec![("status", text(status)), ("state", text(listings)), ("why", text(explained))]
}

async fn listings(manager: &Manager) -> Result<String, Error> {
    let ledger = Ledger::read(manager).await?;
    let listings = Listing::all(manager, &ledger).await?;
    Ok(serde_json::to_string_pretty(&listings).unwrap_or_default())
}

fn with_causes(error: &Error) -> String {
    std::iter::once(error.to_string()).chain(error.causes()).collect::<Vec<_>>().join("\n  caused by: ")
}

/// What another program answers, or why it does not.
async fn answer(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => {
            let [output, errors] =
                [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
            format!("{output}{errors}")
        }
        Ok(Err(error)) => format!("{program} could not be started: {error}"),
        Err(_) => format!("{program} did not answer within {}", humantime::format_duration(PATIENCE)),
    }
}

/// All files in a directory and those below it, in order, or why they cannot be told.
fn paths(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            paths.extend(self::paths(&entry.path())?);
        } else {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Names, sizes and rights.
fn names(directory: &Path) -> String {
    let lines = paths(directory).map(|paths| paths.iter().map(|path| line(path)).collect::<Vec<_>>().join("\n"));
    lines.unwrap_or_else(|error| format!("cannot be read: {error}"))
}

fn line(path: &Path) -> String {
    match fs::symlink_metadata(path) {
        Ok(file) => {
            format!("{:06o} {:>3}:{:<3} {:>8}  {}", file.mode(), file.uid(), file.gid(), file.len(), path.display())
        }
        Err(error) => format!("{}: {error}", path.display()),
    }
}

/// The configuration files with their texts; of what is no TOML, which may be a key as a whole, the name is enough.
fn files(directory: &Path) -> Vec<(String, String)> {
    let mut files = vec![(format!("files below {}", directory.display()), names(directory))];
    for path in paths(directory).unwrap_or_default() {
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = read(&path).unwrap_or_else(|error| format!("cannot be read: {error}"));
            files.push((path.display().to_string(), text));
        }
    }
    files
}

fn read(path: &Path) -> io::Result<String> {
    // Anything else might never end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = Vec::new();
    fs::File::open(path)?.take(LONGEST_FILE).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
