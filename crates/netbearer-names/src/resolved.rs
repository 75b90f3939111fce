//! systemd-resolved, which knows name servers for each link (`org.freedesktop.resolve1(5)`).

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use netbearer_types::LinkNames;
use zbus::{Connection, Message, names::OwnedUniqueName};

use crate::{NamesError, note::Note};

pub(crate) const NAME: &str = "org.freedesktop.resolve1";
/// It also asks servers for us meanwhile, which takes as long as they take.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const PATH: &str = "/org/freedesktop/resolve1";
const MANAGER: &str = "org.freedesktop.resolve1.Manager";
const NO_SUCH_LINK: &str = "org.freedesktop.resolve1.NoSuchLink";
/// `AF_INET` and `AF_INET6`, as the kernel numbers them.
const V4: i32 = 2;
const V6: i32 = 10;

/// What one systemd-resolved was told, by the links' indexes.
#[derive(Debug)]
pub(crate) struct Resolved {
    owner: OwnedUniqueName,
    told: BTreeMap<u32, LinkNames>,
}

impl Resolved {
    pub(crate) const fn new(owner: OwnedUniqueName) -> Self {
        Self { owner, told: BTreeMap::new() }
    }

    /// True if it is this one that was told.
    pub(crate) fn is(&self, owner: &OwnedUniqueName) -> bool {
        self.owner == *owner
    }

    /// Tells it of these links, and of no others of ours. The first failure is returned; the rest is told nevertheless.
    pub(crate) async fn apply(
        &mut self,
        connection: &Connection,
        links: &[LinkNames],
        note: &mut Note,
    ) -> Result<(), NamesError> {
        let mut outcome = Ok(());
        for index in self.told.keys().copied().collect::<Vec<_>>() {
            if !links.iter().any(|link| link.index == index) {
                outcome = outcome.and(self.revert(connection, index, note).await);
            }
        }
        for link in links {
            if self.told.get(&link.index) != Some(link) {
                outcome = outcome.and(self.tell(connection, link, note).await);
            }
        }
        outcome
    }

    pub(crate) async fn release(&mut self, connection: &Connection, note: &mut Note) -> Result<(), NamesError> {
        self.apply(connection, &[], note).await
    }

    async fn tell(&mut self, connection: &Connection, link: &LinkNames, note: &mut Note) -> Result<(), NamesError> {
        note.add_resolved(link.index, &link.interface_name)?;
        let index = link.index.cast_signed();
        let servers: Vec<(i32, Vec<u8>)> = link.name_servers.iter().map(|server| octets(*server)).collect();
        let domains: Vec<(&str, bool)> = link.search_domains.iter().map(|domain| (domain.as_str(), false)).collect();
        let tell = async {
            self.call(connection, "SetLinkDNS", &(index, servers)).await?;
            self.call(connection, "SetLinkDomains", &(index, domains)).await?;
            self.call(connection, "SetLinkDefaultRoute", &(index, link.default_route)).await
        };
        let refused = |source| NamesError::Resolved { interface: link.interface_name.clone(), source };
        tell.await.map_err(refused)?;
        self.told.insert(link.index, link.clone());
        Ok(())
    }

    async fn revert(&mut self, connection: &Connection, index: u32, note: &mut Note) -> Result<(), NamesError> {
        let interface = self.told.get(&index).map(|link| link.interface_name.clone()).unwrap_or_default();
        revert(connection, &self.owner, index, &interface).await?;
        self.told.remove(&index);
        note.remove_resolved(index)
    }

    async fn call<B>(&self, connection: &Connection, method: &str, body: &B) -> zbus::Result<Message>
    where
        B: serde::ser::Serialize + zbus::DynamicType,
    {
        connection.call_method(Some(&self.owner), PATH, Some(MANAGER), method, body).await
    }
}

/// Takes back what it was told of a link. One that is gone is forgotten already.
pub(crate) async fn revert(
    connection: &Connection,
    owner: &OwnedUniqueName,
    index: u32,
    interface: &str,
) -> Result<(), NamesError> {
    let body = index.cast_signed();
    match connection.call_method(Some(owner), PATH, Some(MANAGER), "RevertLink", &body).await {
        Ok(_) => Ok(()),
        Err(zbus::Error::MethodError(name, ..)) if name.as_str() == NO_SUCH_LINK => Ok(()),
        Err(source) => Err(NamesError::Resolved { interface: interface.to_owned(), source }),
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

fn octets(address: IpAddr) -> (i32, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (V4, address.octets().to_vec()),
        IpAddr::V6(address) => (V6, address.octets().to_vec()),
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(octets).ok().map(IpAddr::from))
}
