use std::collections::BTreeMap;

use comfy_table::{Table, presets};
use netbearer::{Identifier, Manager};
use serde::Serialize;

use crate::{
    command::Context,
    error::Error,
    ledger::{Entry, Ledger},
    service,
};

const HEADER: [&str; 7] = ["PROGRAM", "PID", "USER", "ON", "STATE", "SINCE", "BYTES IN / OUT"];

/// A session as programs read it.
#[derive(Serialize)]
struct SessionObject<'a> {
    #[serde(flatten)]
    entry: &'a Entry,
    /// Of what it was made on.
    name: &'a str,
    /// Of the access point that it uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    active_name: Option<&'a str>,
}

pub(crate) async fn run(context: &Context, all: bool) -> Result<(), Error> {
    let manager = service::require(context).await?;
    let names = Names::read(&manager).await?;
    let ledger = Ledger::read(&manager).await?;
    let output = context.output;
    if output.json {
        let object = |entry| names.object(entry);
        return output.object(&ledger.entries(all).map(object).collect::<Vec<_>>());
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(HEADER);
    table.add_rows(ledger.entries(all).map(|entry| names.row(entry)));
    if table.is_empty() {
        output.hint("no program has a session open");
        return Ok(());
    }
    output.line(&table.to_string())
}

/// What configurations are called.
struct Names(BTreeMap<Identifier, String>);

impl Names {
    async fn read(manager: &Manager) -> Result<Self, Error> {
        let mut all = manager.configurations(None).await?;
        all.extend(manager.user_choices().await?);
        Ok(Self(all.into_iter().map(|one| (one.identifier, one.name)).collect()))
    }

    fn of<'a>(&'a self, identifier: &'a Identifier) -> &'a str {
        self.0.get(identifier).map_or(identifier.as_str(), String::as_str)
    }

    fn object<'a>(&'a self, entry: &'a Entry) -> SessionObject<'a> {
        let active_name = entry.active_configuration.as_ref().map(|active| self.of(active));
        SessionObject { entry, name: self.of(&entry.configuration), active_name }
    }

    fn row(&self, entry: &Entry) -> [String; HEADER.len()] {
        let on = match entry.active_configuration.as_ref().filter(|active| **active != entry.configuration) {
            Some(active) => format!("{} → {}", self.of(&entry.configuration), self.of(active)),
            None => self.of(&entry.configuration).to_owned(),
        };
        [
            entry.program_words(),
            entry.process.map(|process| process.to_string()).unwrap_or_default(),
            entry.user_words(),
            on,
            entry.state_words(),
            entry.since_words(),
            entry.traffic_words(),
        ]
    }
}
