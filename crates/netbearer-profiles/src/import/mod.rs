//! Profiles made of what other network managers have: a starting point, with all that was left behind named.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use toml::Value;

use crate::{
    import::key_file::{Setting, Syntax},
    text_file::{TextFileError, read_text},
    words::Section,
    writing::lines,
};

mod key_file;
mod network_manager;
mod networkd;

/// What could be made of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The name for the new file, without `.toml`.
    pub name: String,
    /// The new file.
    pub text: String,
    /// What was not carried over, and why: settings, with their lines in the old file.
    pub left_behind: Vec<String>,
}

/// Why nothing could be made of a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// It cannot be read.
    #[error("{} could not be imported", file.display())]
    Unreadable {
        /// Which one.
        file: PathBuf,
        /// Why.
        source: TextFileError,
    },
    /// Its name tells of no manager whose files are known.
    #[error(
        "{} is neither a keyfile of NetworkManager (.nmconnection) nor a file of systemd-networkd (.network)",
        file.display()
    )]
    UnknownKind {
        /// Which one.
        file: PathBuf,
    },
    /// It is about something that is no access point of ours.
    #[error("{}: {reason}", file.display())]
    Unsuitable {
        /// Which one.
        file: PathBuf,
        /// Why, as a clause.
        reason: String,
    },
}

/// Makes a profile of a keyfile of `NetworkManager` (`*.nmconnection`, nm-settings-keyfile(5)) or of a file of networkd
/// (`*.network`, systemd.network(5)). Nothing is changed.
///
/// # Errors
/// When it cannot be read, or is about something else than a wired or wireless link.
pub fn import_file(file: &Path) -> Result<Imported, ImportError> {
    let (syntax, translate): (_, Translate) = match file.extension().and_then(|extension| extension.to_str()) {
        Some("nmconnection") => (Syntax::KeyFile, network_manager::translate),
        Some("network") => (Syntax::Unit, networkd::translate),
        _ => return Err(ImportError::UnknownKind { file: file.to_owned() }),
    };
    let text = read_text(file).map_err(|source| ImportError::Unreadable { file: file.to_owned(), source })?;
    let mut draft = Draft::default();
    translate(&key_file::parse(&text, syntax), &mut draft)
        .map_err(|reason| ImportError::Unsuitable { file: file.to_owned(), reason })?;
    if draft.matching.is_empty() {
        let reason = match draft.pattern {
            Some(pattern) => format!(
                "it is for whatever is called {pattern}, and patterns are not supported: a profile names one interface, hardware address, driver or path"
            ),
            None => {
                "it names neither an interface nor a hardware address, so nothing tells which access point it is for"
                    .to_owned()
            }
        };
        return Err(ImportError::Unsuitable { file: file.to_owned(), reason });
    }
    Ok(draft.finish(file))
}

/// Carries over what all settings of a file say; or tells why it is none of ours.
type Translate = fn(&[Setting<'_>], &mut Draft) -> Result<(), String>;

/// A profile that is being made.
#[derive(Debug, Default)]
struct Draft {
    matching: BTreeMap<&'static str, Value>,
    profile: BTreeMap<&'static str, Value>,
    left_behind: Vec<String>,
    /// What it is for instead of something with a name.
    pattern: Option<String>,
}

impl Draft {
    /// What it is for, unless that is several, or a pattern.
    fn matches_one(&mut self, setting: &Setting<'_>, key: &'static str, value: &str) {
        if value.contains(['*', '?', '[', '!', '|', '&', ';']) || value.split_whitespace().count() != 1 {
            self.pattern.get_or_insert_with(|| value.to_owned());
            return self.leave_behind(setting, "a profile names one of each, and patterns are not supported");
        }
        self.matching.insert(key, value.into());
    }

    fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.profile.insert(key, value.into());
    }

    fn unset(&mut self, key: &'static str) {
        self.profile.remove(key);
    }

    /// A name for people, on one line.
    fn set_name(&mut self, name: &str) {
        self.set("name", name.replace(char::is_control, " "));
    }

    fn set_boolean(&mut self, setting: &Setting<'_>, key: &'static str) {
        match boolean(&setting.value) {
            Some(value) => self.set(key, value),
            None => self.leave_behind(setting, "this is neither yes nor no"),
        }
    }

    /// One gateway of each family.
    fn add_gateway(&mut self, setting: &Setting<'_>, gateway: &str) {
        let Ok(address) = gateway.parse::<IpAddr>() else {
            return self.leave_behind(setting, &format!("\"{gateway}\" is no address, and a gateway is one here"));
        };
        let known = self.profile.get("gateways").and_then(Value::as_array).into_iter().flatten();
        let mut known = known.filter_map(|known| known.as_str()?.parse::<IpAddr>().ok());
        match known.find(|known| known.is_ipv4() == address.is_ipv4()) {
            Some(first) if first != address => {
                self.leave_behind(
                    setting,
                    &format!("a profile has one gateway of each family, and {first} is before {gateway}"),
                );
            }
            _ => self.add("gateways", gateway),
        }
    }

    /// Adds to a list, once.
    fn add(&mut self, key: &'static str, value: &str) {
        let list = self.profile.entry(key).or_insert_with(|| Value::Array(Vec::new()));
        let value = Value::from(value);
        if let Value::Array(items) = list
            && !items.contains(&value)
        {
            items.push(value);
        }
    }

    fn add_servers<'a>(&mut self, setting: &Setting<'_>, servers: impl Iterator<Item = &'a str>) {
        for server in servers {
            if server.parse::<IpAddr>().is_ok() {
                self.add("name_servers", server);
            } else {
                self.leave_behind(setting, &format!("\"{server}\" is more than an address"));
            }
        }
    }

    fn add_domains<'a>(&mut self, setting: &Setting<'_>, domains: impl Iterator<Item = &'a str>) {
        for domain in domains {
            if domain.starts_with('~') {
                self.leave_behind(setting, &format!("\"{domain}\" only says which names to ask here"));
            } else {
                self.add("search_domains", domain);
            }
        }
    }

    fn leave_behind(&mut self, setting: &Setting<'_>, reason: &str) {
        let Setting { section, key, line, .. } = setting;
        self.left_behind.push(format!("line {line}: [{section}] {key}: {reason}"));
    }

    fn finish(mut self, file: &Path) -> Imported {
        let lists_addresses = self.profile.contains_key("addresses");
        if self.profile.get("addressing").and_then(Value::as_str) != Some("static") {
            // Beside DHCP they would be a mistake.
            for key in ["addresses", "gateways"] {
                if self.profile.remove(key).is_some() {
                    self.left_behind.push(format!("{key} beside DHCP: a profile has either"));
                }
            }
        } else if !lists_addresses {
            self.unset("addressing");
            self.unset("gateways");
            let reason =
                "no addresses of its own and no DHCP: there is no such addressing, so an address is asked for by DHCP";
            self.left_behind.push(reason.to_owned());
        }
        let matching = lines(Section::Match, &self.matching);
        let profile = lines(Section::AccessPoint, &self.profile);
        let from = file.display().to_string().replace(char::is_control, "?");
        let text = format!("# Made of {from}\n[match]\n{matching}\n[access_point]\n{profile}");
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        Imported { name: file_name(&name), text, left_behind: self.left_behind }
    }
}

/// As systemd and NetworkManager write it.
fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// A name that needs no quotes in a shell.
fn file_name(name: &str) -> String {
    let fit = |character: char| {
        if character.is_ascii_alphanumeric() || "-_.".contains(character) { character } else { '-' }
    };
    name.trim_start_matches('.').chars().map(fit).collect()
}
