//! Which addresses the machine has where, as the engine last saw it, and whose each is to steer.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use netbearer_kernel::HardwareAddress;

#[derive(Debug, Default)]
pub(crate) struct MachineAddresses {
    known: Mutex<Known>,
    /// Ethernet addresses.
    hardware: Mutex<BTreeMap<u32, [u8; 6]>>,
}

#[derive(Debug, Default)]
struct Known {
    by_interface: BTreeMap<u32, BTreeMap<IpAddr, Place>>,
    last: u64,
}

/// An address on an interface.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// It carries our tag.
    ours: bool,
    /// Earlier ones have a lower number.
    since: u64,
}

impl MachineAddresses {
    /// Notes all addresses of an interface, and whether they are ours.
    pub(crate) fn note(&self, interface: u32, addresses: impl Iterator<Item = (IpAddr, bool)>) {
        let mut known = self.lock();
        let mut before = known.by_interface.remove(&interface).unwrap_or_default();
        let mut now = BTreeMap::new();
        for (address, ours) in addresses {
            let since = before.remove(&address).map_or_else(
                || {
                    known.last += 1;
                    known.last
                },
                |place| place.since,
            );
            now.insert(address, Place { ours, since });
        }
        if !now.is_empty() {
            known.by_interface.insert(interface, now);
        }
    }

    /// Notes the hardware address of an interface; none if it is gone.
    pub(crate) fn note_hardware(&self, interface: u32, address: Option<&HardwareAddress>) {
        let ethernet = address.and_then(|address| address.as_bytes().try_into().ok());
        let mut hardware = self.hardware.lock().unwrap_or_else(PoisonError::into_inner);
        match ethernet {
            Some(address) => hardware.insert(interface, address),
            None => hardware.remove(&interface),
        };
    }

    /// The Ethernet addresses of all interfaces.
    pub(crate) fn hardware(&self) -> BTreeSet<[u8; 6]> {
        self.hardware.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
    }

    /// True if the address is another interface's to use. Of several access points of ours that lease the same, it is the
    /// first one's; a leased one that somebody gives to another interface is that one's.
    pub(crate) fn is_elsewhere(&self, address: IpAddr, interface: u32) -> bool {
        self.lock().is_elsewhere(address, interface)
    }

    /// Those of an interface that are another one's.
    pub(crate) fn elsewhere(&self, interface: u32) -> BTreeSet<IpAddr> {
        let known = self.lock();
        let addresses = known.by_interface.get(&interface).into_iter().flat_map(BTreeMap::keys).copied();
        addresses.filter(|address| known.is_elsewhere(*address, interface)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_elsewhere(&self, address: IpAddr, interface: u32) -> bool {
        let place = |index: u32| self.by_interface.get(&index).and_then(|addresses| addresses.get(&address));
        let own = place(interface);
        let others = self.by_interface.keys().filter(|index| **index != interface).filter_map(|index| place(*index));
        let has_it_first = |other: &Place| own.is_none_or(|own| !own.ours || other.since < own.since);
        others.into_iter().any(|other| !other.ours || has_it_first(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5));

    fn is_elsewhere(addresses: &MachineAddresses) -> [bool; 3] {
        [1, 2, 3].map(|interface| addresses.is_elsewhere(ADDRESS, interface))
    }

    #[test]
    fn of_ours_the_first_one_has_the_address_and_others_have_it_before_us() {
        let addresses = MachineAddresses::default();
        assert_eq!(is_elsewhere(&addresses), [false; 3]);
        addresses.note(1, [(ADDRESS, true)].into_iter());
        addresses.note(2, [(ADDRESS, true)].into_iter());
        addresses.note(1, [(ADDRESS, true)].into_iter());
        assert_eq!(is_elsewhere(&addresses), [false, true, true], "noting it again makes it no younger");
        addresses.note(3, [(ADDRESS, false)].into_iter());
        assert_eq!(is_elsewhere(&addresses), [true, true, true]);
        assert_eq!(addresses.elsewhere(1), BTreeSet::from([ADDRESS]));
        addresses.note(3, std::iter::empty());
        addresses.note(1, std::iter::empty());
        assert_eq!(is_elsewhere(&addresses), [true, false, true]);
        assert_eq!(addresses.elsewhere(2), BTreeSet::new());
    }
}
