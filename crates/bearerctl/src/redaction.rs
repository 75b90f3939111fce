//! Takes secrets out of text that is given to others: by the names of settings, by the shape of URLs and keys, and then
//! whatever was found so once, wherever it is written again.
//!
//! It looks at characters, not at TOML: a file that is malformed has secrets, too. In doubt it takes out too much.

use std::{collections::BTreeSet, net::IpAddr};

/// What stands in the place of a secret.
pub(crate) const SECRET: &str = "<secret>";

/// A setting is secret if its name contains one of these; letters and digits only.
const SECRET_NAMES: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "psk",
    "credential",
    "cookie",
    "authorization",
    "privatekey",
    "apikey",
];
/// Or if it ends so.
const SECRET_ENDINGS: [&str; 6] = ["key", "keys", "pin", "pass", "pwd", "auth"];
/// What is shorter is not looked for in other places: it would be found everywhere.
const SHORTEST_REMEMBERED: usize = 4;
/// The same of what is secret only by how its name ends, which may as well be `# key = dhcp`.
const SHORTEST_DOUBTFUL: usize = 12;
/// Random letters and digits of this length are taken for a key.
const KEY_LENGTH: usize = 24;
const HEXADECIMAL_KEY_LENGTH: usize = 32;

/// The secrets met so far.
#[derive(Debug, Default)]
pub(crate) struct Redaction {
    known: BTreeSet<String>,
}

impl Redaction {
    /// The text without secrets that are secret by their names or shapes. They are remembered for [`Self::forget_known`].
    pub(crate) fn redact(&mut self, text: &str) -> String {
        let text = self.private_keys(text);
        let text = self.settings(&text);
        let text: Vec<String> = text.split_inclusive('\n').map(|line| self.urls(line)).collect();
        text.iter().map(|line| self.keys(line)).collect()
    }

    /// The text without the secrets met so far, wherever in it they are.
    pub(crate) fn forget_known(&self, text: &str) -> String {
        // Longer ones first, as one may be part of another.
        let mut known: Vec<&String> = self.known.iter().collect();
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        known.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), SECRET))
    }

    fn remember(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.chars().count() >= SHORTEST_REMEMBERED && secret != SECRET {
            self.known.insert(secret.to_owned());
        }
    }

    /// PEM blocks (RFC 7468).
    fn private_keys(&mut self, text: &str) -> String {
        const BEGIN: &str = "-----BEGIN ";
        const END: &str = "-----END ";
        let mut rest = text;
        let mut result = String::new();
        while let Some((before, block)) = rest.split_once(BEGIN) {
            result.push_str(before);
            result.push_str(SECRET);
            // One without an end goes on to the end of the text.
            let after = block.split_once(END).map_or("", |(_, after)| after);
            rest = after.find('\n').map_or("", |line_end| &after[line_end..]);
        }
        result + rest
    }

    /// Values of settings with secret names, and of all settings in a table with a secret name.
    fn settings(&mut self, text: &str) -> String {
        let mut result = String::new();
        let mut rest = text;
        let mut in_secret_table = false;
        while !rest.is_empty() {
            let at_line_start = result.is_empty() || result.ends_with('\n');
            if at_line_start && let Some(header) = table_header(rest) {
                in_secret_table = secrecy(header).is_some();
                let line = rest.find('\n').map_or(rest.len(), |end| end + 1);
                result.push_str(&rest[..line]);
                rest = &rest[line..];
                continue;
            }
            if let Some((name, value)) = setting(rest)
                && let Some(secrecy) = secrecy(name).or(in_secret_table.then_some(Secrecy::Certain))
            {
                let length = value_length(value);
                result.push_str(&rest[..rest.len() - value.len()]);
                self.remember_parts(&value[..length], secrecy);
                result.push_str(SECRET);
                rest = &value[length..];
                continue;
            }
            // To the next place where a name may begin.
            let length = word_length(rest).max(rest.chars().next().map_or(0, char::len_utf8));
            result.push_str(&rest[..length]);
            rest = &rest[length..];
        }
        result
    }

    /// The value as it is written, and each string in it.
    fn remember_parts(&mut self, value: &str, secrecy: Secrecy) {
        let strings: Vec<&str> =
            value.split(['"', '\'', '\n']).map(|part| part.trim_matches(['[', ']', '{', '}', ',', ' '])).collect();
        let is_telling = |one: &&str| secrecy == Secrecy::Certain || is_chosen_as_secret(one);
        for string in strings.into_iter().filter(is_telling) {
            self.remember(string);
        }
    }

    /// What a URL says before its host, and after its path (RFC 3986 §3.2.1, §3.4); proxies without a scheme, too.
    fn urls(&mut self, line: &str) -> String {
        let mut result = String::new();
        let mut rest = line;
        while !rest.is_empty() {
            let quote = result.chars().next_back().filter(|before| ['"', '\''].contains(before));
            let end = match quote {
                Some(quote) => rest.find([quote, '\n']),
                None => rest.find(|one: char| one.is_whitespace() || ['"', '\''].contains(&one)),
            };
            let (run, after) = rest.split_at(end.unwrap_or(rest.len()));
            result.push_str(&self.url(run));
            let separator = after.chars().next().map_or(0, char::len_utf8);
            result.push_str(&after[..separator]);
            rest = &after[separator..];
        }
        result
    }

    fn url(&mut self, run: &str) -> String {
        let (scheme, rest) = run.split_once("://").map_or(("", run), |(scheme, rest)| (&run[..scheme.len() + 3], rest));
        let (user, host) = rest.rsplit_once('@').unwrap_or(("", rest));
        let has_user = !user.is_empty() && (!scheme.is_empty() || user.contains(':'));
        let (host, query) =
            if scheme.is_empty() { (host, "") } else { host.split_at(host.find(['?', '#']).unwrap_or(host.len())) };
        if !has_user && query.is_empty() {
            return run.to_owned();
        }
        let mut url = scheme.to_owned();
        if has_user {
            self.remember(user);
            user.split(':').skip(1).for_each(|password| self.remember(password));
            url.push_str(SECRET);
        } else {
            url.push_str(user);
        }
        if host.len() < rest.len() && rest.contains('@') {
            url.push('@');
        }
        url.push_str(host);
        if !query.is_empty() {
            self.remember(&query[1..]);
            url.push_str(&query[..1]);
            url.push_str(SECRET);
        }
        url
    }

    /// Random letters and digits: keys of WireGuard, tokens, hashes.
    fn keys(&mut self, line: &str) -> String {
        let is_part = |one: char| one.is_ascii_alphanumeric() || ['+', '/', '=', '_', '-', '.'].contains(&one);
        let mut result = String::new();
        let mut rest = line;
        while !rest.is_empty() {
            let (run, after) = rest.split_at(rest.find(|one| !is_part(one)).unwrap_or(rest.len()));
            if looks_random(run) {
                self.remember(run.trim_end_matches('.'));
                result.push_str(SECRET);
            } else {
                result.push_str(run);
            }
            let separator = after.chars().next().map_or(0, char::len_utf8);
            result.push_str(&after[..separator]);
            rest = &after[separator..];
        }
        result
    }
}

fn looks_random(run: &str) -> bool {
    // Of a path no more than its parts.
    if let Some(path) = run.strip_prefix('/') {
        return path.split('/').any(looks_random);
    }
    let run = run.trim_end_matches('.');
    let has = |test: fn(&char) -> bool| run.chars().any(|one| test(&one));
    let is_hexadecimal = run.chars().all(|one| one.is_ascii_hexdigit());
    (run.len() >= KEY_LENGTH
        && has(char::is_ascii_digit)
        && has(char::is_ascii_lowercase)
        && has(char::is_ascii_uppercase))
        || (run.len() >= HEXADECIMAL_KEY_LENGTH && is_hexadecimal)
}

/// How sure it is that a setting is secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Secrecy {
    Certain,
    /// By how its name ends.
    Doubtful,
}

/// None of what is no secret by its name.
fn secrecy(name: &str) -> Option<Secrecy> {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).map(|one| one.to_ascii_lowercase()).collect();
    if SECRET_NAMES.iter().any(|secret| name.contains(secret)) {
        return Some(Secrecy::Certain);
    }
    // `wep-key0`
    let unnumbered = name.trim_end_matches(|one: char| one.is_ascii_digit());
    SECRET_ENDINGS.iter().any(|ending| unnumbered.ends_with(ending)).then_some(Secrecy::Doubtful)
}

/// No word, number or address.
fn is_chosen_as_secret(text: &str) -> bool {
    let has = |test: fn(char) -> bool| text.chars().any(test);
    let address = text.split('/').next().unwrap_or_default();
    text.chars().count() >= SHORTEST_DOUBTFUL
        && has(|one| one.is_ascii_digit())
        && has(|one| one.is_alphabetic())
        && address.parse::<IpAddr>().is_err()
}

/// The name in `[name]` or `[[name]]` at the beginning of a line.
fn table_header(text: &str) -> Option<&str> {
    let line = text.lines().next()?.trim();
    line.strip_prefix('[')?.split_once(']').map(|(name, _)| name)
}

const fn is_name_part(one: char) -> bool {
    one.is_ascii_alphanumeric() || matches!(one, '_' | '-' | '.')
}

fn word_length(text: &str) -> usize {
    text.find(|one| !is_name_part(one)).unwrap_or(text.len())
}

/// A name, bare or quoted, that is given a value with `=` or `:`, and everything from the value on.
fn setting(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = match text.chars().next()? {
        quote @ ('"' | '\'') => {
            let (name, rest) = text[1..].split_once(quote)?;
            if name.contains('\n') { return None } else { (name, rest) }
        }
        _ => text.split_at(word_length(text)),
    };
    let value = rest.trim_start_matches([' ', '\t']).strip_prefix(['=', ':'])?;
    (!name.is_empty()).then(|| (name, value.trim_start_matches([' ', '\t'])))
}

/// How long the value at the beginning is: a string, an array or a table, or to the end of the line.
fn value_length(text: &str) -> usize {
    for delimiter in ["\"\"\"", "'''"] {
        if let Some(inside) = text.strip_prefix(delimiter) {
            return inside.find(delimiter).map_or(text.len(), |end| end + 2 * delimiter.len());
        }
    }
    match text.chars().next() {
        Some(quote @ ('"' | '\'')) => string_length(text, quote),
        Some('[' | '{') => bracket_length(text),
        _ => text.find('\n').unwrap_or(text.len()),
    }
}

fn string_length(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, one) in text.char_indices().skip(1) {
        match one {
            '\n' => return at,
            '\\' if quote == '"' => is_escaped = !is_escaped,
            _ if one == quote && !is_escaped => return at + 1,
            _ => is_escaped = false,
        }
    }
    text.len()
}

fn bracket_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(one) = text[at..].chars().next() {
        match one {
            '"' | '\'' => {
                at += value_length(&text[at..]);
                continue;
            }
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        at += one.len_utf8();
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRETS: [&str; 6] = ["geheim-4711", "p@ss:w/rd", "ends]here", "a#b?c", "zwölf Äpfel", "x}y{z,w"];

    fn redacted(text: &str) -> String {
        let mut redaction = Redaction::default();
        let text = redaction.redact(text);
        redaction.forget_known(&text)
    }

    #[test]
    fn secrets_are_taken_out_of_everything_that_is_named_so() {
        let templates = [
            "password = \"S\"\nmtu = 1500\n",
            "proxy.password='S'\nmtu = 1500",
            "\"Wi-Fi Passphrase\" = \"S\"\nmtu = 1500",
            "psk = \"\"\"\nS\nS\"\"\"\nmtu = 1500",
            "api_keys = [\n  \"S\",\n  'S', # S\n]\nmtu = 1500",
            "proxy = { url = \"http://proxy\", token = \"S\" }\nmtu = 1500",
            "# old: password = \"S\"\nmtu = 1500",
            "psk=S\nmtu=1500",
            "password: S\nmtu: 1500",
            "{\"wep-key0\":\"S\",\"mtu\":1500}",
            "[secrets]\nproxy = \"S\"\nother = { one = \"S\" }\n[other]\nmtu = 1500",
            "password = \"S\nmtu = 1500",
            "  3 | private-key = \"S\"\n    |  ^^^ here\nmtu = 1500",
            "password = \"S\"\nelsewhere it is written again: S\nmtu = 1500",
            "-----BEGIN PRIVATE KEY-----\nS\n-----END PRIVATE KEY-----\nmtu = 1500",
        ];
        for template in templates {
            for secret in SECRETS {
                let text = redacted(&template.replace('S', secret));
                assert!(!text.contains(secret), "{secret} in:\n{text}");
                assert!(text.contains(SECRET) && text.contains("mtu") && text.contains("1500"), "{text}");
            }
        }
    }

    #[test]
    fn secrets_are_taken_out_of_urls() {
        for (url, wanted) in [
            ("\"http://user:geheim@proxy.example:8080/\"", "\"http://<secret>@proxy.example:8080/\""),
            ("http://geheim@proxy.example:8080", "http://<secret>@proxy.example:8080"),
            ("'http://user:ge/hei m\"@proxy.example'", "'http://<secret>@proxy.example'"),
            ("\"user:geheim@proxy.example:8080\"", "\"<secret>@proxy.example:8080\""),
            ("http://pac.example/file?token=geheim", "http://pac.example/file?<secret>"),
            ("http://pac.example/file#geheim", "http://pac.example/file#<secret>"),
            ("told by http://a:geheim@b, and http://c:geheim@d", "told by http://<secret>@b, and http://<secret>@d"),
            ("http://proxy.example:8080/", "http://proxy.example:8080/"),
            ("ap0@if500: 10.10.0.1", "ap0@if500: 10.10.0.1"),
        ] {
            assert_eq!(redacted(url), wanted);
        }
    }

    #[test]
    fn what_looks_like_a_key_is_taken_out() {
        let key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
        assert_eq!(redacted(&format!("peer {key} seen")), "peer <secret> seen");
        assert_eq!(redacted("digest d41d8cd98f00b204e9800998ecf8427e."), "digest <secret>");
    }

    /// Every other place of the word would have been taken out.
    #[test]
    fn a_word_that_is_called_a_key_is_taken_out_only_where_it_stands() {
        for word in ["dhcp", "1400", "192.0.2.10/24", "2001:db8::10/64", "ap0", "access_point"] {
            let rest = format!("addressing = \"{word}\"\nap0 has {word}\n");
            for line in ["# key = W\n", "pin: W\n", "# keys = [\"W\"]\n"] {
                let text = redacted(&(line.replace('W', word) + &rest));
                assert!(text.starts_with(&line.split('W').next().unwrap()[..3]) && text.ends_with(&rest), "{text}");
                assert!(text.contains(SECRET), "{text}");
            }
        }
        let text = redacted("key = \"geheim-0815-4711\"\nagain geheim-0815-4711");
        assert!(!text.contains("geheim"), "{text}");
    }

    #[test]
    fn what_is_no_secret_stays() {
        let text = "[match]\ninterface = \"ap0\"\nmac = \"02:00:5e:10:00:07\"\npath = \"pci-0000:00:1f.6\"\n\n[access_point]\n\
            lifetime = \"adopt\" # or on-demand\ndns = [\"192.0.2.1\", \"2001:db8::1\"]\nclient_identifier = \"01:02:00:5e:10:00:07\"\n# see /home/Anna2/Configuration/netbearer\n";
        assert_eq!(redacted(text), text);
    }
}
