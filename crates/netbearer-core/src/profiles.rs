use std::collections::BTreeMap;

use netbearer_types::Profile;

/// Which profile an access point has: by the name of its interface, else the default one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profiles {
    /// For every access point without a profile of its own.
    pub default: Profile,
    /// By interface name.
    pub by_interface: BTreeMap<String, Profile>,
}

impl Profiles {
    /// The profile of the access point whose interface is `interface_name`.
    #[must_use]
    pub fn profile(&self, interface_name: &str) -> &Profile {
        self.by_interface.get(interface_name).unwrap_or(&self.default)
    }
}
