use crate::MANAGER_PATH;

/// What an object path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// `/`, where the object manager is.
    Root,
    /// A path on the way to objects.
    Branch,
    /// The manager.
    Manager,
    /// A configuration, by its identifier.
    Configuration(String),
    /// A session, by its number.
    Session(u64),
    /// A chooser, by its number.
    Chooser(u64),
    /// The bus itself; on a private socket, what tools expect of one.
    Bus,
}

/// The object of a configuration. What a path may not have is written as `_` and two hexadecimal digits, as systemd does.
#[must_use]
pub fn configuration_path(identifier: &str) -> String {
    let mut path = format!("{MANAGER_PATH}/configuration/");
    if identifier.is_empty() {
        path.push('_');
    }
    for byte in identifier.bytes() {
        if byte.is_ascii_alphanumeric() {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

/// The object of a session.
#[must_use]
pub fn session_path(number: u64) -> String {
    format!("{MANAGER_PATH}/session/{number}")
}

/// The object of a chooser.
#[must_use]
pub fn chooser_path(number: u64) -> String {
    format!("{MANAGER_PATH}/chooser/{number}")
}

/// What this path names, whether there is such an object or not; none if nothing could have it.
#[must_use]
pub fn object_kind(path: &str) -> Option<ObjectKind> {
    if path == "/" {
        return Some(ObjectKind::Root);
    }
    if path == "/org/freedesktop/DBus" {
        return Some(ObjectKind::Bus);
    }
    if path == MANAGER_PATH {
        return Some(ObjectKind::Manager);
    }
    let Some(rest) = path.strip_prefix(MANAGER_PATH).and_then(|rest| rest.strip_prefix('/')) else {
        return MANAGER_PATH.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')).then_some(ObjectKind::Branch);
    };
    match rest.split_once('/') {
        None => matches!(rest, "configuration" | "session" | "chooser").then_some(ObjectKind::Branch),
        Some(("configuration", element)) => unescape(element).map(ObjectKind::Configuration),
        Some(("session", number)) => number.parse().ok().map(ObjectKind::Session),
        Some(("chooser", number)) => number.parse().ok().map(ObjectKind::Chooser),
        Some(_) => None,
    }
}

fn unescape(element: &str) -> Option<String> {
    if element == "_" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(element.len());
    let mut rest = element.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'_' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            byte if byte.is_ascii_alphanumeric() => bytes.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use zbus::ObjectPath;

    use super::*;

    #[test]
    fn every_identifier_has_a_path_of_its_own_that_leads_back() {
        for identifier in ["ap0", "wired-02:00:00:00:00:01", "a_b", "", "_", "Überall/nirgends", "service-x y"] {
            let path = configuration_path(identifier);
            assert!(ObjectPath::try_from(path.as_str()).is_ok(), "{path}");
            assert_eq!(object_kind(&path), Some(ObjectKind::Configuration(identifier.to_owned())));
        }
    }

    #[test]
    fn other_paths_are_what_they_are() {
        assert_eq!(object_kind(&session_path(7)), Some(ObjectKind::Session(7)));
        assert_eq!(object_kind(&chooser_path(8)), Some(ObjectKind::Chooser(8)));
        for (path, kind) in [
            ("/", Some(ObjectKind::Root)),
            ("/org", Some(ObjectKind::Branch)),
            ("/org/freedesktop/DBus", Some(ObjectKind::Bus)),
            ("/org/freedesktop", None),
            ("/org/netbearer/Bearer1", Some(ObjectKind::Manager)),
            ("/org/netbearer/Bearer1/session", Some(ObjectKind::Branch)),
            ("/org/netbearer/Bearer1/session/x", None),
            ("/org/netbearer/Bearer1/configuration/_zz", None),
            ("/org/netbearer/Bearer", None),
            ("/elsewhere", None),
        ] {
            assert_eq!(object_kind(path), kind, "{path}");
        }
    }
}
