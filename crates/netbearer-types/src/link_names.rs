use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Whom programs may ask for names on a link of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkNames {
    /// Interface name.
    pub interface_name: String,
    /// Interface index.
    pub index: u32,
    /// Name servers, the first to be asked first.
    pub name_servers: Vec<IpAddr>,
    /// Domains in which names without a dot are looked for.
    pub search_domains: Vec<String>,
    /// Programs that know nothing of sessions use the link, so its servers are for any name.
    pub default_route: bool,
}

/// What has become of the name servers that programs were to ask. A level: the newest one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamesReport {
    /// The interfaces whose servers these are.
    pub interface_names: Vec<String>,
    /// By what programs learn of them, for people; none if they do not.
    pub through: Option<String>,
    /// What stands in the way, or what was found changed by somebody else: what, why, and what to do.
    pub warning: Option<String>,
}
