/// The longest domain name in text, in octets (RFC 1035 §2.3.4 less the length octets of wire format).
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// A domain name as it may stand in a resolver's configuration, without a final dot; none for anything else.
///
/// Strict, because what a server sends here may end in a file that programs parse: no blanks, no line ends, no escapes.
pub(crate) fn parse(text: &str) -> Option<String> {
    // RFC 2132 §2: final NULs do not belong to the text, though some servers send them.
    let text = text.trim_end_matches('\0');
    let name = text.strip_suffix('.').unwrap_or(text);
    (name.len() <= LONGEST_NAME && name.split('.').all(is_label)).then(|| name.to_ascii_lowercase())
}

fn is_label(label: &str) -> bool {
    (1..=LONGEST_LABEL).contains(&label.len())
        && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
        && !label.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_without_the_final_dot() {
        for text in ["example.com", "example.com.", "Example.COM\0\0"] {
            assert_eq!(parse(text).as_deref(), Some("example.com"), "{text:?}");
        }
    }

    #[test]
    fn nothing_but_names_passes() {
        let long_label = "a".repeat(64);
        let long_name = ["a"; 128].join(".");
        for text in [
            "",
            ".",
            "..",
            "a..b",
            "two words",
            "a\nnameserver 1.2.3.4",
            "a\\032b",
            "-option",
            "ä.example",
            &long_label,
            &long_name,
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
