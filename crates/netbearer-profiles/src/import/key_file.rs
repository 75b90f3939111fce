//! Sections of `key=value`, as both managers write them.

/// A key of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting<'a> {
    pub(super) section: &'a str,
    pub(super) key: &'a str,
    pub(super) value: &'a str,
    /// The first one is 1.
    pub(super) line: usize,
}

/// All settings in the order of the file. Comments and what is no setting are passed over, as their managers do.
pub(super) fn parse(text: &str) -> Vec<Setting<'_>> {
    let mut section = "";
    let mut settings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
        {
            settings.push(Setting { section, key: key.trim(), value: value.trim(), line: number + 1 });
        }
    }
    settings
}
