use serde::{Deserialize, Serialize};

/// The longest name and the longest label of one, in octets (RFC 1035 §2.3.4, less the length octets of the wire format).
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// A name the client tells the server (option 12, RFC 2132 §3.14): labels of letters, digits and hyphens, with or without
/// a domain (RFC 1123 §2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct HostName(String);

/// This text cannot be the name of a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the name of a host: use letters, digits and hyphens, at most 63 between dots")]
pub struct HostNameError {
    /// The text.
    pub text: String,
}

impl HostName {
    /// A name from text.
    ///
    /// # Errors
    /// When hosts cannot have such a name.
    pub fn new(text: impl Into<String>) -> Result<Self, HostNameError> {
        let text = text.into();
        let is_name = text.len() <= LONGEST_NAME && text.split('.').all(is_label);
        if is_name { Ok(Self(text)) } else { Err(HostNameError { text }) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HostName {
    type Error = HostNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

fn is_label(label: &str) -> bool {
    (1..=LONGEST_LABEL).contains(&label.len())
        && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        && !label.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_hosts_can_have_are_taken() {
        for text in ["laptop", "Laptop-7.example.com", "7"] {
            assert_eq!(HostName::new(text).expect(text).as_str(), text);
        }
        let (long, longer) = ("a".repeat(64), ["a"; 128].join("."));
        for text in ["", "two words", "under_score", "final.", "-x", "a..b", "nul\0", "zwölf", &long, &longer] {
            assert_eq!(HostName::new(text), Err(HostNameError { text: text.to_owned() }));
        }
    }
}
