//! Which addresses the machine has where, as the engine last saw it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

#[derive(Debug, Default)]
pub(crate) struct MachineAddresses {
    by_interface: Mutex<BTreeMap<u32, BTreeSet<IpAddr>>>,
}

impl MachineAddresses {
    /// Notes all addresses of an interface.
    pub(crate) fn note(&self, interface: u32, addresses: BTreeSet<IpAddr>) {
        let mut by_interface = self.by_interface.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.is_empty() {
            by_interface.remove(&interface);
        } else {
            by_interface.insert(interface, addresses);
        }
    }

    /// True if an interface other than this one has the address.
    pub(crate) fn is_elsewhere(&self, address: IpAddr, interface: u32) -> bool {
        let by_interface = self.by_interface.lock().unwrap_or_else(PoisonError::into_inner);
        by_interface.iter().any(|(index, addresses)| *index != interface && addresses.contains(&address))
    }
}
