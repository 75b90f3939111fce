use netbearer_types::{AddressScope, Interface, InterfaceAddress};
use zbus::{DeserializeDict, OwnedVariant, SerializeDict, Type, Variant};

use crate::{from_word, to_word};

/// An address, the length of its prefix in bits, its scope, and whether it is tentative.
pub type AddressValue = (String, u8, String, bool);

/// An interface as it travels; without a name it is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type, Variant, OwnedVariant)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
#[allow(missing_docs)] // As in `netbearer_types::Interface`.
pub struct InterfaceValue {
    pub name: Option<String>,
    pub index: Option<u32>,
    pub hardware_address: Option<String>,
    pub mtu: Option<u32>,
    pub addresses: Option<Vec<AddressValue>>,
    pub gateways: Option<Vec<String>>,
    pub name_servers: Option<Vec<String>>,
    pub search_domains: Option<Vec<String>>,
}

impl From<&Interface> for InterfaceValue {
    fn from(interface: &Interface) -> Self {
        let address =
            |one: &InterfaceAddress| (one.address.to_string(), one.prefix_length, to_word(&one.scope), one.tentative);
        Self {
            name: Some(interface.name.clone()),
            index: Some(interface.index),
            hardware_address: Some(interface.hardware_address.clone()),
            mtu: Some(interface.mtu),
            addresses: Some(interface.addresses.iter().map(address).collect()),
            gateways: Some(interface.gateways.iter().map(ToString::to_string).collect()),
            name_servers: Some(interface.name_servers.iter().map(ToString::to_string).collect()),
            search_domains: Some(interface.search_domains.clone()),
        }
    }
}

impl InterfaceValue {
    /// The interface that this is, if it is any.
    #[must_use]
    pub fn into_interface(self) -> Option<Interface> {
        let hosts = |hosts: Option<Vec<String>>| {
            hosts.unwrap_or_default().iter().filter_map(|host| host.parse().ok()).collect()
        };
        let address = |(address, prefix_length, scope, tentative): AddressValue| {
            let scope = from_word(&scope).unwrap_or(AddressScope::Global);
            Some(InterfaceAddress { address: address.parse().ok()?, prefix_length, scope, tentative })
        };
        Some(Interface {
            name: self.name.filter(|name| !name.is_empty())?,
            index: self.index.unwrap_or_default(),
            hardware_address: self.hardware_address.unwrap_or_default(),
            mtu: self.mtu.unwrap_or_default(),
            addresses: self.addresses.unwrap_or_default().into_iter().filter_map(address).collect(),
            gateways: hosts(self.gateways),
            name_servers: hosts(self.name_servers),
            search_domains: self.search_domains.unwrap_or_default(),
        })
    }
}
