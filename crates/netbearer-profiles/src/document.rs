//! One file as it is written: which value stands where. Knows what TOML is, and nothing of profiles.

use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc};

use toml::{
    Spanned, Value,
    de::{DeTable, DeValue},
};

use crate::mistake::{MistakeKind, Place, ProfileMistake};

/// With more errors than this a file is probably something else, and only the first few are worth telling.
const MOST_ERRORS: usize = 5;
const FIRST_ERRORS: usize = 3;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// A table of a file.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) place: Place,
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// What a file says, perhaps with its drop-ins.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) place: Place,
    pub(crate) tables: BTreeMap<String, Table>,
    /// What stands outside of all tables.
    pub(crate) outside: BTreeMap<String, Entry>,
}

impl Document {
    /// Reads what can be read; each mistake in the syntax is one of the file's.
    pub(crate) fn parse(file: &Path, text: &str, mistakes: &mut Vec<ProfileMistake>) -> Self {
        let whole = Place::whole(file);
        let place = |span: Range<usize>| Place { file: Arc::clone(&whole.file), line: Some(line(text, span.start)) };
        let (root, errors) = DeTable::parse_recoverable(text);
        let told = if errors.len() > MOST_ERRORS { FIRST_ERRORS } else { errors.len() };
        let at = |error: &toml::de::Error| error.span().map_or_else(|| whole.clone(), place);
        for error in errors.iter().take(told) {
            mistakes.push(not_toml(&at(error), error.message()));
        }
        if let Some(error) = errors.get(told) {
            let problem = format!("{} more places from here on are no TOML", errors.len() - told);
            let suggestion = "give the file another name if it is not meant for NetBearer";
            mistakes.push(at(error).mistake(MistakeKind::Syntax, problem, suggestion));
        }
        let mut document = Self { place: whole.clone(), tables: BTreeMap::new(), outside: BTreeMap::new() };
        for (key, value) in root.get_ref() {
            let (name, at) = (key.get_ref().to_string(), place(key.span()));
            match value.get_ref() {
                DeValue::Table(table) => {
                    let entries = table.iter().filter_map(|(key, value)| {
                        let entry = Entry { value: owned(value.get_ref())?, place: place(key.span()) };
                        Some((key.get_ref().to_string(), entry))
                    });
                    document.tables.insert(name, Table { place: at, entries: entries.collect() });
                }
                value => {
                    let entry = owned(value).map(|value| (name, Entry { value, place: at }));
                    document.outside.extend(entry);
                }
            }
        }
        document
    }

    /// Lets a drop-in say some of it anew, key by key.
    pub(crate) fn merge(&mut self, drop_in: Self) {
        self.outside.extend(drop_in.outside);
        for (name, table) in drop_in.tables {
            match self.tables.get_mut(&name) {
                Some(known) => known.entries.extend(table.entries),
                None => {
                    self.tables.insert(name, table);
                }
            }
        }
    }
}

fn not_toml(at: &Place, message: &str) -> ProfileMistake {
    if message.contains("duplicate key") {
        return at.mistake(
            MistakeKind::Duplicate,
            "this stands in the file already",
            "remove one of both, or put what differs into a drop-in",
        );
    }
    let message = message.lines().next().unwrap_or_default();
    at.mistake(
        MistakeKind::Syntax,
        format!("this is no TOML: {message}"),
        "write `key = value` under a line like `[access_point]`, text in quotes, lists in brackets",
    )
}

fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// None for numbers that no machine can hold; the parser has complained of them.
fn owned(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()?),
        DeValue::Float(number) => Value::Float(number.as_str().parse().ok()?),
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(datetime) => Value::Datetime(*datetime),
        DeValue::Array(items) => Value::Array(items.iter().filter_map(|item| owned(item.get_ref())).collect()),
        DeValue::Table(table) => Value::Table(owned_table(table)),
    })
}

fn owned_table(table: &DeTable<'_>) -> toml::Table {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        Some((key.to_string(), owned(value.get_ref())?))
    };
    table.iter().filter_map(entry).collect()
}
