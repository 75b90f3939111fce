use std::net::IpAddr;

use netbearer_types::Interface;
use zbus::{Connection, names::OwnedUniqueName};

use crate::{Choice, Found, NamePlaces, choose, look_at_resolv_conf, own_resolver, resolved};

/// What systemd-resolved says of names that are not there (`org.freedesktop.resolve1(5)`).
const NO_SUCH_NAME: [&str; 3] = [
    "org.freedesktop.resolve1.DnsError.NXDOMAIN",
    "org.freedesktop.resolve1.NoSuchRR",
    "org.freedesktop.resolve1.NoSuchDomain",
];
/// What it says of a link that it does not ask anybody on: somebody else is to be asked.
const NOT_ASKED: [&str; 3] = [
    "org.freedesktop.resolve1.NoNameServers",
    "org.freedesktop.resolve1.NoSuchLink",
    "org.freedesktop.DBus.Error.UnknownObject",
];

/// Why a name has no addresses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The network has told no name servers, and the profile neither.
    #[error("no name server of {interface} is known; give some in its profile (name_servers)")]
    NoNameServers {
        /// The interface.
        interface: String,
    },
    /// The servers say that there is no such name, or that it has no address.
    #[error("the name servers of {interface} know no address of {host}")]
    NoSuchName {
        /// The name.
        host: String,
        /// The interface.
        interface: String,
    },
    /// Nobody has answered, or not as it should be.
    #[error("{host} could not be looked up on {interface}")]
    Failed {
        /// The name.
        host: String,
        /// The interface.
        interface: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The addresses of `host`, as the name servers of `interface` tell them: through systemd-resolved, if programs of this
/// machine ask that; else by questions of our own, by sockets bound to the interface. Must be called on a tokio runtime with
/// I/O and time.
///
/// Without places, nobody of this machine is asked.
///
/// # Errors
/// [`LookupError`].
pub async fn lookup(
    places: Option<&NamePlaces>,
    host: &str,
    interface: &Interface,
) -> Result<Vec<IpAddr>, LookupError> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    if let Some(places) = places
        && let Some((connection, owner)) = asked_resolved(places).await
    {
        match resolved::resolve(&connection, &owner, interface.index, host).await {
            Ok(addresses) if addresses.is_empty() => return Err(no_such_name(host, interface)),
            Ok(addresses) => return Ok(addresses),
            Err(zbus::Error::MethodError(name, ..)) if NO_SUCH_NAME.contains(&name.as_str()) => {
                return Err(no_such_name(host, interface));
            }
            Err(zbus::Error::MethodError(name, ..)) if NOT_ASKED.contains(&name.as_str()) => {}
            Err(error) if interface.name_servers.is_empty() => return Err(failed(host, interface, error)),
            Err(error) => tracing::debug!("systemd-resolved does not know {host} on {}: {error}", interface.name),
        }
    }
    if interface.name_servers.is_empty() {
        return Err(LookupError::NoNameServers { interface: interface.name.clone() });
    }
    match own_resolver::resolve(host, interface).await {
        Ok(addresses) if addresses.is_empty() => Err(no_such_name(host, interface)),
        Ok(addresses) => Ok(addresses),
        Err(error) if error.is_no_records_found() => Err(no_such_name(host, interface)),
        Err(error) => Err(failed(host, interface, error)),
    }
}

/// systemd-resolved, if programs of this machine ask it.
async fn asked_resolved(places: &NamePlaces) -> Option<(Connection, OwnedUniqueName)> {
    let resolv_conf = look_at_resolv_conf(&places.resolv_conf).ok()?;
    let found = Found { resolved_runs: true, resolvconf: places.find_resolvconf(), resolv_conf };
    if choose(&found) != Choice::Resolved {
        return None;
    }
    let connection = resolved::connect(&places.bus_address).await.ok()??;
    let owner = resolved::owner(&connection).await.ok()??;
    Some((connection, owner))
}

fn no_such_name(host: &str, interface: &Interface) -> LookupError {
    LookupError::NoSuchName { host: host.to_owned(), interface: interface.name.clone() }
}

fn failed(
    host: &str,
    interface: &Interface,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> LookupError {
    LookupError::Failed { host: host.to_owned(), interface: interface.name.clone(), source: error.into() }
}
