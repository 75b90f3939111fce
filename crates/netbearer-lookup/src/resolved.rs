//! Where systemd-resolved is (`org.freedesktop.resolve1(5)`).

use std::{io, net::IpAddr, time::Duration};

use netbearer_dbus::bus_socket;
use tokio::net::UnixStream;
use zbus::{Connection, connection::Builder, fdo, names::OwnedUniqueName};

/// Its name on the system bus.
pub const NAME: &str = "org.freedesktop.resolve1";
/// The path of its manager.
pub const PATH: &str = "/org/freedesktop/resolve1";
/// The interface of its manager.
pub const MANAGER: &str = "org.freedesktop.resolve1.Manager";
/// It also asks servers for us meanwhile, which takes as long as they take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const DBUS: &str = "org.freedesktop.DBus";
const DBUS_PATH: &str = "/org/freedesktop/DBus";

/// A connection to the bus with this address; none without a bus.
///
/// # Errors
/// When the bus does not take it.
pub async fn connect(address: &str) -> zbus::Result<Option<Connection>> {
    let Some(socket) = bus_socket(address) else { return Ok(None) };
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream.into_std()?,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    Builder::unix_stream(stream).method_timeout(ANSWER_TIMEOUT).build().await.map(Some)
}

/// Who systemd-resolved is now, if it runs. Whoever is asked for by name would be started; who owns it now is not.
///
/// # Errors
/// When the bus does not answer.
pub async fn owner(connection: &Connection) -> zbus::Result<Option<OwnedUniqueName>> {
    let answer = connection.call_method(Some(DBUS), DBUS_PATH, Some(DBUS), "GetNameOwner", &NAME).await;
    match answer {
        Ok(answer) => Ok(Some(answer.body().deserialize()?)),
        Err(zbus::Error::FDO(error)) if matches!(*error, fdo::Error::NameHasNoOwner(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The addresses of `host`, asked for on this link only.
pub(crate) async fn resolve(
    connection: &Connection,
    owner: &OwnedUniqueName,
    index: u32,
    host: &str,
) -> zbus::Result<Vec<IpAddr>> {
    /// Of any family.
    const UNSPECIFIED: i32 = 0;
    /// With the link of each, and its family.
    type Address = (i32, i32, Vec<u8>);
    let body = (index.cast_signed(), host, UNSPECIFIED, 0_u64);
    let answer = connection.call_method(Some(owner), PATH, Some(MANAGER), "ResolveHostname", &body).await?;
    let (addresses, _, _): (Vec<Address>, String, u64) = answer.body().deserialize()?;
    Ok(addresses.into_iter().filter_map(|(_, _, octets)| address(&octets)).collect())
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(octets).ok().map(IpAddr::from))
}
