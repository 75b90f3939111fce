//! Sections of `key=value`, as both managers write them.

/// A key of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting<'a> {
    pub(super) section: &'a str,
    pub(super) key: &'a str,
    pub(super) value: String,
    /// The first one is 1.
    pub(super) line: usize,
    /// The line of its section: several may have one name.
    pub(super) section_line: usize,
}

/// What differs between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// GLib's key files: spaces and line breaks in values are escaped.
    KeyFile,
    /// systemd.syntax(7): a backslash at the end of a line goes on with the next one.
    Unit,
}

/// All settings in the order of the file. Comments and what is no setting are passed over, as their managers do.
pub(super) fn parse(text: &str, syntax: Syntax) -> Vec<Setting<'_>> {
    let mut section = "";
    let mut section_line = 0;
    let mut settings: Vec<Setting<'_>> = Vec::new();
    let mut goes_on = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        let (line, more) = match line.strip_suffix('\\').filter(|_| syntax == Syntax::Unit) {
            Some(line) => (line.trim_end(), true),
            None => (line, false),
        };
        if std::mem::replace(&mut goes_on, more) {
            if let Some(setting) = settings.last_mut() {
                setting.value = format!("{} {line}", setting.value).trim().to_owned();
            }
        } else if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            (section, section_line) = (name, number + 1);
        } else if let Some((key, value)) = line.split_once('=') {
            let value = match syntax {
                Syntax::KeyFile => unescaped(value.trim()),
                Syntax::Unit => value.trim().to_owned(),
            };
            settings.push(Setting { section, key: key.trim(), value, line: number + 1, section_line });
        }
    }
    settings
}

/// The escapes of GLib's key files (Desktop Entry Specification, "Possible value types").
fn unescaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('s') => text.push(' '),
            Some('t') => text.push('\t'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some(other @ ('\\' | ';')) => text.push(other),
            Some(other) => text.extend(['\\', other]),
            None => text.push('\\'),
        }
    }
    text
}
