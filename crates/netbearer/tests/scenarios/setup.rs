//! What a scenario wants of its service, whatever the transport.

use std::{path::PathBuf, time::Duration};

use netbearer::{Profile, ServiceNetworkProfile, UserChoiceProfile};

/// How a service is made, beside what the scenario has written into the configuration directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) profiles: Vec<(String, Profile)>,
    pub(crate) service_networks: Vec<(String, ServiceNetworkProfile)>,
    pub(crate) user_choices: Vec<(String, UserChoiceProfile)>,
    pub(crate) resolver: Option<Resolver>,
    pub(crate) patience: Option<Duration>,
}

/// What programs of the lab's machine ask for names by. It has files of its own then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resolver {
    /// Nothing but `/etc/resolv.conf`.
    File,
    /// openresolv, which was put into this directory.
    Resolvconf(PathBuf),
    /// systemd-resolved.
    Resolved,
}

impl Setup {
    /// A profile for the access point on this interface.
    pub(crate) fn profile(mut self, interface_name: &str, profile: Profile) -> Self {
        self.profiles.push((interface_name.to_owned(), profile));
        self
    }

    /// A service network of this name, whose identifier is `service-NAME`.
    pub(crate) fn service_network(mut self, name: &str, mut profile: ServiceNetworkProfile) -> Self {
        profile.name.get_or_insert_with(|| name.to_owned());
        self.service_networks.push((name.to_owned(), profile));
        self
    }

    /// A user choice of this name, whose identifier is `choice-NAME`. No service network has the same name.
    pub(crate) fn user_choice(mut self, name: &str, mut profile: UserChoiceProfile) -> Self {
        profile.name.get_or_insert_with(|| name.to_owned());
        self.user_choices.push((name.to_owned(), profile));
        self
    }

    /// A daemon waits only so long for a client of its socket that reads nothing.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Programs of the machine are told of name servers.
    pub(crate) fn resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = Some(resolver);
        self
    }
}
