use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{BearerFamily, BearerType, Capabilities, Identifier, StateFlags};

/// What kind of thing a session is opened on (semantics §1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Kind {
    /// One way onto one network: an interface plus how to bring it up.
    InternetAccessPoint,
    /// An ordered set of access points that may stand in for one another.
    ServiceNetwork,
    /// Resolved when opened.
    UserChoice,
    /// Nothing a session could be opened on.
    #[default]
    Invalid,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::InternetAccessPoint => "InternetAccessPoint",
            Self::ServiceNetwork => "ServiceNetwork",
            Self::UserChoice => "UserChoice",
            Self::Invalid => "Invalid",
        })
    }
}

/// What a network is for (semantics §1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Purpose {
    /// Not told.
    #[default]
    #[serde(alias = "unknown")]
    Unknown,
    /// Anybody may use it.
    #[serde(alias = "public")]
    Public,
    /// A closed group uses it.
    #[serde(alias = "private")]
    Private,
    /// It serves one service only.
    #[serde(alias = "service-specific")]
    ServiceSpecific,
}

/// The proxy that belongs to a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Proxy {
    /// None.
    #[default]
    None,
    /// A fixed proxy, as a URL.
    Manual(String),
    /// The URL of a proxy auto-configuration file.
    AutoConfigurationUrl(String),
}

impl Proxy {
    /// The same for everybody: who has an account there, and its password, is left out (RFC 3986 §3.2.1).
    #[must_use]
    pub fn without_user_information(&self) -> Self {
        match self {
            Self::None => Self::None,
            Self::Manual(url) => Self::Manual(url_without_user_information(url)),
            Self::AutoConfigurationUrl(url) => Self::AutoConfigurationUrl(url_without_user_information(url)),
        }
    }
}

/// A proxy may be given without a scheme.
fn url_without_user_information(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}{host}{tail}")
}

/// Something a session can be opened on, as it is at one moment: a value, never updated behind its holder's back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Unique, and the same after restarts and reboots.
    pub identifier: Identifier,
    /// For people.
    pub name: String,
    /// What kind of thing this is.
    pub kind: Kind,
    /// What the network is for.
    pub purpose: Purpose,
    /// What carries the traffic.
    pub bearer_type: BearerType,
    /// How usable it is now.
    pub state_flags: StateFlags,
    /// What can be done with it.
    pub capabilities: Capabilities,
    /// Members of a service network, the most preferred first; empty otherwise.
    pub children: Vec<Identifier>,
    /// The proxy to use on this network, without the user information of its URL: a program that has an account there
    /// knows it.
    pub proxy: Proxy,
    /// Traffic costs money or counts against an allowance; of a service network if it is so on any member.
    pub metered: bool,
    /// The kernel interface of an access point, while there is one.
    pub interface_name: Option<String>,
}

impl Configuration {
    /// A configuration nothing is known of but its identifier.
    #[must_use]
    pub fn invalid(identifier: Identifier) -> Self {
        Self {
            name: identifier.as_str().to_owned(),
            identifier,
            kind: Kind::Invalid,
            purpose: Purpose::Unknown,
            bearer_type: BearerType::Unknown,
            state_flags: StateFlags::Undefined,
            capabilities: Capabilities::empty(),
            children: Vec::new(),
            proxy: Proxy::None,
            metered: false,
            interface_name: None,
        }
    }

    /// False once the configuration has been removed, or if it never existed.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.kind != Kind::Invalid
    }

    /// True for a service network with at least two members.
    #[must_use]
    pub fn is_roaming_available(&self) -> bool {
        self.kind == Kind::ServiceNetwork && self.children.len() >= 2
    }

    /// The family of the bearer type.
    #[must_use]
    pub const fn bearer_family(&self) -> BearerFamily {
        self.bearer_type.family()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_user_information_of_a_url_is_left_out() {
        let shown = |url: &str| match Proxy::Manual(url.to_owned()).without_user_information() {
            Proxy::Manual(shown) => shown,
            other => panic!("{other:?}"),
        };
        assert_eq!(shown("http://user:pass@word@proxy.example:3128/a"), "http://proxy.example:3128/a");
        assert_eq!(shown("https://token@proxy.example?a"), "https://proxy.example?a");
        assert_eq!(shown("user:password@proxy.example:3128"), "proxy.example:3128");
        for url in ["http://proxy.example:3128/a:b@c", "proxy.example", "proxy.example:3128", ""] {
            assert_eq!(shown(url), url);
        }
    }
}
