use std::collections::BTreeMap;

/// Whose carrier is asked for all the time, by the name of the interface (the profile's `carrier_watch`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CarrierWatch {
    /// For interfaces that are not named.
    pub default: bool,
    /// By interface name.
    pub by_interface: BTreeMap<String, bool>,
}

impl CarrierWatch {
    pub(crate) fn is_on(&self, interface: &str) -> bool {
        self.by_interface.get(interface).copied().unwrap_or(self.default)
    }
}
