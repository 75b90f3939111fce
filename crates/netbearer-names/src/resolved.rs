//! systemd-resolved, which knows name servers for each link (`org.freedesktop.resolve1(5)`).

use std::{collections::BTreeMap, net::IpAddr};

use netbearer_lookup::resolved::{MANAGER, PATH};
use netbearer_types::LinkNames;
use zbus::{Connection, Message, names::OwnedUniqueName};

use crate::{NamesError, note::Note};

const NO_SUCH_LINK: &str = "org.freedesktop.resolve1.NoSuchLink";
/// `AF_INET` and `AF_INET6`, as the kernel numbers them.
const V4: i32 = 2;
const V6: i32 = 10;

/// What one systemd-resolved was told, by the links' indexes.
#[derive(Debug)]
pub(crate) struct Resolved {
    owner: OwnedUniqueName,
    told: BTreeMap<u32, Told>,
}

/// What was told of one link.
#[derive(Debug)]
struct Told {
    interface_name: String,
    /// None if it was another process that told it.
    names: Option<LinkNames>,
}

impl Resolved {
    /// With the links that a process has told it of which is gone, by their indexes.
    pub(crate) fn new(owner: OwnedUniqueName, inherited: Vec<(u32, String)>) -> Self {
        let told = |(index, interface_name)| (index, Told { interface_name, names: None });
        Self { owner, told: inherited.into_iter().map(told).collect() }
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
            if self.told.get(&link.index).and_then(|told| told.names.as_ref()) != Some(link) {
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
        let interface_name = link.interface_name.clone();
        self.told.insert(link.index, Told { interface_name, names: Some(link.clone()) });
        Ok(())
    }

    async fn revert(&mut self, connection: &Connection, index: u32, note: &mut Note) -> Result<(), NamesError> {
        let interface = self.told.get(&index).map(|told| told.interface_name.clone()).unwrap_or_default();
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

fn octets(address: IpAddr) -> (i32, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (V4, address.octets().to_vec()),
        IpAddr::V6(address) => (V6, address.octets().to_vec()),
    }
}
