use std::{fs, os::unix::fs::PermissionsExt};

use toml::Value;

use crate::{
    document::Document,
    mistake::{MistakeKind, ProfileMistake},
};

/// The permission bits of those who are not the owner to read a file (`inode(7)`).
const READABLE_BY_OTHERS: u32 = 0o044;

/// Complains of each file in which others than its owner may read a secret.
pub(crate) fn check(document: &Document, mistakes: &mut Vec<ProfileMistake>) {
    let entries = document.tables.values().flat_map(|table| table.entries.values());
    for entry in entries.filter(|entry| is_secret(&entry.value)) {
        // Who could read it could also ask.
        let Ok(metadata) = fs::metadata(&entry.place.file) else { continue };
        if metadata.permissions().mode() & READABLE_BY_OTHERS != 0 {
            mistakes.push(entry.place.mistake(
                MistakeKind::ReadableSecret,
                "a password stands here, and others than the file's owner may read it",
                format!("take their permission away: chmod 600 {}", entry.place.file.display()),
            ));
        }
    }
}

/// The only secret there is so far: a URL with a password (RFC 3986 §3.2.1).
fn is_secret(value: &Value) -> bool {
    value.as_str().is_some_and(|text| without_passwords(text) != text)
}

/// The text with `…` for the password of each URL in it.
pub(crate) fn without_passwords(text: &str) -> String {
    let Some((before, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = |character: char| character.is_whitespace() || "/?#\"'`".contains(character);
    let (authority, after) = rest.split_at(rest.find(end).unwrap_or(rest.len()));
    let user = authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host)));
    let authority = user.map_or_else(|| authority.to_owned(), |(name, host)| format!("{name}:…@{host}"));
    format!("{before}://{authority}{}", without_passwords(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_password_in_a_url_is_a_secret() {
        let secret = |text: &str| is_secret(&Value::String(text.to_owned()));
        assert!(secret("http://user:password@proxy.example:3128"));
        assert!(!secret("http://user@proxy.example:3128"));
        assert!(!secret("http://proxy.example:3128/a:b@c"));
        assert!(!secret("user:password@proxy"));
    }

    #[test]
    fn all_passwords_are_taken_out_of_a_text() {
        let text = "string \"http://user:secret@a.example\", https://b.example/c:d@e, ftp://u:s@f";
        let expected = "string \"http://user:…@a.example\", https://b.example/c:d@e, ftp://u:…@f";
        assert_eq!(without_passwords(text), expected);
    }
}
