use std::{fmt, path::PathBuf};

/// The directories of those who have programs read a file of theirs in the place of `resolv.conf`, and who they are.
const OTHERS: [(&str, &str); 5] = [
    ("run/systemd/resolve", "systemd-resolved"),
    ("run/NetworkManager", "NetworkManager"),
    ("run/connman", "ConnMan"),
    ("run/resolvconf", "resolvconf"),
    ("etc/resolvconf/run", "resolvconf"),
];
/// Where systemd-resolved listens (`systemd-resolved.service(8)`).
const STUBS: [&str; 2] = ["127.0.0.53", "127.0.0.54"];

/// What `resolv.conf` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolvConf {
    /// There is none. The C library asks a server on this host then.
    Missing,
    /// A file, or a link to one in the same directory.
    File {
        /// The servers it names.
        name_servers: Vec<String>,
    },
    /// A link to this path in another directory.
    Elsewhere(PathBuf),
}

/// What a back-end is chosen from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// systemd-resolved answers on the system bus.
    pub resolved_runs: bool,
    /// The program `resolvconf`, if it is there and not systemd's `resolvectl` under another name.
    pub resolvconf: Option<PathBuf>,
    /// What `resolv.conf` is.
    pub resolv_conf: ResolvConf,
}

/// By what programs are told whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// systemd-resolved.
    Resolved,
    /// This program.
    Resolvconf(PathBuf),
    /// The file itself.
    File,
    /// By nothing, for this reason: what, why, and what to do.
    Nothing(String),
}

/// Whom to tell: systemd-resolved, if it runs and programs ask it; else resolvconf, if it makes the file; else the file, if
/// that is nobody else's.
#[must_use]
pub fn choose(found: &Found) -> Choice {
    let owner = match &found.resolv_conf {
        ResolvConf::Missing => None,
        ResolvConf::File { name_servers } => {
            let asks_stub =
                !name_servers.is_empty() && name_servers.iter().all(|server| STUBS.contains(&server.as_str()));
            asks_stub.then_some("systemd-resolved")
        }
        ResolvConf::Elsewhere(path) => Some(owner_of(path)),
    };
    match (owner, &found.resolvconf) {
        (Some("systemd-resolved"), _) if found.resolved_runs => Choice::Resolved,
        (None | Some("resolvconf"), Some(program)) => Choice::Resolvconf(program.clone()),
        (None, None) => Choice::File,
        (Some(owner), _) => Choice::Nothing(not_ours(owner, &found.resolv_conf)),
    }
}

fn owner_of(path: &std::path::Path) -> &'static str {
    let text = path.to_string_lossy();
    OTHERS
        .iter()
        .find(|(directory, _)| text.contains(&format!("/{directory}/")))
        .map_or("another program", |(_, owner)| owner)
}

fn not_ours(owner: &str, resolv_conf: &ResolvConf) -> String {
    let what = match resolv_conf {
        ResolvConf::Elsewhere(path) => format!("resolv.conf leads to {}, which is {owner}'s", path.display()),
        _ => format!("resolv.conf has every program ask {owner}"),
    };
    let remedy = match owner {
        "systemd-resolved" => "start systemd-resolved, or make resolv.conf a file",
        "resolvconf" => "install resolvconf, or make resolv.conf a file",
        _ => "make resolv.conf a file to have the servers of access points in it",
    };
    format!("{what} and left alone: programs do not ask the name servers of access points; {remedy}")
}

impl fmt::Display for Choice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Resolved => "systemd-resolved",
            Self::Resolvconf(_) => "resolvconf",
            Self::File => "resolv.conf",
            Self::Nothing(_) => "nothing",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name_servers: &[&str]) -> ResolvConf {
        ResolvConf::File { name_servers: name_servers.iter().map(|server| (*server).to_owned()).collect() }
    }

    fn link(path: &str) -> ResolvConf {
        ResolvConf::Elsewhere(path.into())
    }

    #[test]
    fn the_choice_is_a_table() {
        let stub = "/run/systemd/resolve/stub-resolv.conf";
        let made = "/run/resolvconf/resolv.conf";
        // resolved runs, the program is there, resolv.conf, who is told
        let table = [
            (true, false, link(stub), "systemd-resolved"),
            (true, true, link(stub), "systemd-resolved"),
            (true, false, link("/container/run/systemd/resolve/resolv.conf"), "systemd-resolved"),
            (true, false, file(&["127.0.0.53"]), "systemd-resolved"),
            // It runs, but programs do not ask it.
            (true, false, file(&["192.0.2.1"]), "resolv.conf"),
            (true, false, file(&["127.0.0.53", "192.0.2.1"]), "resolv.conf"),
            (true, true, file(&["192.0.2.1"]), "resolvconf"),
            (true, false, ResolvConf::Missing, "resolv.conf"),
            (false, true, file(&[]), "resolvconf"),
            (false, true, ResolvConf::Missing, "resolvconf"),
            (false, true, link(made), "resolvconf"),
            (false, true, link("/etc/resolvconf/run/resolv.conf"), "resolvconf"),
            (false, false, file(&["192.0.2.1"]), "resolv.conf"),
            (false, false, ResolvConf::Missing, "resolv.conf"),
            // Somebody else's.
            (false, false, link(stub), "nothing"),
            (false, true, link(stub), "nothing"),
            (false, false, file(&["127.0.0.53"]), "nothing"),
            (false, false, link(made), "nothing"),
            (true, true, link("/run/NetworkManager/resolv.conf"), "nothing"),
            (false, true, link("/run/connman/resolv.conf"), "nothing"),
            (true, true, link("/srv/somewhere/resolv.conf"), "nothing"),
        ];
        for (resolved_runs, has_program, resolv_conf, expected) in table {
            let resolvconf = has_program.then(|| PathBuf::from("/sbin/resolvconf"));
            let found = Found { resolved_runs, resolvconf, resolv_conf };
            assert_eq!(choose(&found).to_string(), expected, "{found:?}");
        }
    }

    #[test]
    fn what_is_left_alone_is_said_with_its_owner_and_a_remedy() {
        let found = Found {
            resolved_runs: false,
            resolvconf: None,
            resolv_conf: link("/run/systemd/resolve/stub-resolv.conf"),
        };
        let Choice::Nothing(reason) = choose(&found) else { panic!("{found:?}") };
        assert_eq!(
            reason,
            "resolv.conf leads to /run/systemd/resolve/stub-resolv.conf, which is systemd-resolved's and left alone: \
             programs do not ask the name servers of access points; start systemd-resolved, or make resolv.conf a file"
        );
    }
}
