use std::collections::BTreeMap;

use netbearer_types::{Identifier, Profile, ServiceNetworkProfile, UserChoiceProfile};

/// What administrators have said of access points, and what else sessions can be opened on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profiles {
    /// For every access point without a profile of its own.
    pub default: Profile,
    /// By interface name.
    pub by_interface: BTreeMap<String, Profile>,
    /// Service networks.
    pub service_networks: BTreeMap<Identifier, ServiceNetworkProfile>,
    /// User choices.
    pub user_choices: BTreeMap<Identifier, UserChoiceProfile>,
    /// What a program without wishes of its own should open: the name of a file, an identifier or an interface name.
    pub default_configuration: Option<String>,
}

impl Profiles {
    /// The profile of the access point whose interface is `interface_name`.
    #[must_use]
    pub fn profile(&self, interface_name: &str) -> &Profile {
        self.by_interface.get(interface_name).unwrap_or(&self.default)
    }
}
