use netbearer::{
    CallError, Capabilities, Configuration, Families, FullTunnel, Identifier, Interface, Kind, Manager, SessionState,
    StateFlags, Steering,
};
use serde::Serialize;

use crate::ledger::{self, Entry, Ledger};

/// A configuration with all that is known of it now.
#[derive(Debug, Serialize)]
pub(crate) struct Listing {
    #[serde(flatten)]
    pub(crate) configuration: Configuration,
    /// What a session on it sees.
    pub(crate) state: SessionState,
    /// Opened when nothing is named.
    pub(crate) default: bool,
    /// Up without any session, so the last close leaves it up.
    pub(crate) adopted: bool,
    /// Whose sessions hold it, as far as the service knows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) held_by: Vec<Entry>,
    /// It is the machine's service that has it, and not this program.
    #[serde(skip)]
    pub(crate) is_of_machine: bool,
    pub(crate) interface: Option<Interface>,
    /// Whose packets go where, as far as it is not as usual.
    pub(crate) steering: Option<Steering>,
    /// The other access points of its device, one of which is up at a time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) exclusive_with: Vec<Identifier>,
    /// Of a service network, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) members: Vec<Listing>,
    /// Of a service network, the member that is shown: the most preferred one that is up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_use: Option<Identifier>,
}

impl Listing {
    pub(crate) async fn new(
        manager: &Manager,
        ledger: &Ledger,
        configuration: Configuration,
    ) -> Result<Self, CallError> {
        let default = manager.default_configuration().await?;
        let session = manager.session(&configuration).await?;
        let is_access_point = configuration.kind == Kind::InternetAccessPoint;
        let interface =
            if is_access_point { manager.interface(&configuration.identifier).await? } else { session.interface() };
        let mut members = Vec::new();
        for member in &configuration.children {
            members.push(Box::pin(Self::new(manager, ledger, manager.configuration(member).await?)).await?);
        }
        let up = members.iter().find(|member| member.state == SessionState::Connected);
        let in_use = up.map(|member| member.configuration.identifier.clone());
        let exclusive_with = manager.exclusive_with(&configuration.identifier).await?;
        let steering = manager.steering(&configuration.identifier).await?;
        let identifier = &configuration.identifier;
        // This program has opened nothing when it lists.
        let is_unused = configuration.state_flags == StateFlags::Active
            && !std::iter::once(identifier).chain(&configuration.children).any(|one| ledger.uses(one));
        let adopted = is_unused
            && match &in_use {
                Some(member) => manager.is_adopted(member).await?,
                None => manager.is_adopted(identifier).await?,
            };
        Ok(Self {
            state: session.state(),
            adopted,
            held_by: ledger.holders(identifier),
            is_of_machine: ledger.is_of_machine(),
            default: default.is_some_and(|default| default.identifier == configuration.identifier),
            interface,
            steering,
            exclusive_with,
            members,
            in_use,
            configuration,
        })
    }

    /// Everything there is: access points, service networks, and user choices.
    pub(crate) async fn all(manager: &Manager, ledger: &Ledger) -> Result<Vec<Self>, CallError> {
        let mut configurations = manager.configurations(None).await?;
        configurations.extend(manager.user_choices().await?);
        configurations.sort_by_key(|configuration| configuration.kind);
        let mut all = Vec::new();
        for configuration in configurations {
            all.push(Self::new(manager, ledger, configuration).await?);
        }
        Ok(all)
    }

    pub(crate) fn is_access_point(&self) -> bool {
        self.configuration.kind == Kind::InternetAccessPoint
    }

    pub(crate) fn may_start(&self) -> bool {
        self.configuration.capabilities.contains(Capabilities::CanStartAndStopInterfaces)
    }

    /// How usable it is, in plain words.
    pub(crate) fn state_words(&self) -> &'static str {
        match (self.state, self.configuration.kind, self.configuration.state_flags) {
            (SessionState::Connecting, ..) => "being brought up",
            (SessionState::Closing, ..) => "being taken down",
            (SessionState::Connected, Kind::UserChoice, _) => "up",
            (SessionState::NotAvailable, Kind::UserChoice, _) => "nothing to choose",
            (_, Kind::ServiceNetwork, StateFlags::Defined) if self.members.is_empty() => "no member is there",
            (_, Kind::ServiceNetwork, StateFlags::Defined) => "no member can be opened",
            (_, _, StateFlags::Defined) if self.interface.is_none() => "unplugged",
            (_, _, StateFlags::Defined) => "no carrier",
            (_, _, flags) => flag_words(flags),
        }
    }

    /// The interface: of a service network, that of the member in use.
    pub(crate) fn interface_name(&self) -> &str {
        let up = self.interface.as_ref().map(|interface| interface.name.as_str());
        self.configuration.interface_name.as_deref().or(up).unwrap_or_default()
    }

    /// The names of its members, the most preferred first.
    pub(crate) fn member_names(&self) -> Vec<&str> {
        self.members.iter().map(|member| member.configuration.name.as_str()).collect()
    }

    /// The member that is shown, with what is known of it.
    pub(crate) fn member_in_use(&self) -> Option<&Self> {
        self.members.iter().find(|member| Some(&member.configuration.identifier) == self.in_use.as_ref())
    }

    /// The usable addresses, without the gateways.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.interface.as_ref().map(usable_addresses).unwrap_or_default()
    }

    /// The full-tunnel VPN beside it, and what that means for a session.
    pub(crate) fn tunnel(&self) -> Option<String> {
        let steering = self.steering.as_ref()?;
        let FullTunnel { interface_name, families } = steering.tunnel.as_ref()?;
        let families = match (families.contains(Families::V4), families.contains(Families::V6)) {
            (true, false) => ", for IPv4",
            (false, true) => ", for IPv6",
            _ => "",
        };
        let (bypass, effect) = (steering.bypass_vpn, steering.effect.as_deref().unwrap_or_default());
        Some(format!("{interface_name}{families}; bypass_vpn is \"{bypass}\": {effect}"))
    }

    /// What does not work as usual.
    pub(crate) fn warnings(&self) -> &[String] {
        self.steering.as_ref().map_or(&[], |steering| &steering.warnings)
    }

    /// Who keeps it up.
    pub(crate) fn used_by(&self) -> String {
        match (self.adopted, self.lingers()) {
            (true, _) => "others (adopted)".to_owned(),
            (false, true) => "nobody (lingers)".to_owned(),
            (false, false) => ledger::names(&self.held_by),
        }
    }

    /// Up for the next who comes, as the profile says. Of an embedded service it is not known who holds what.
    fn lingers(&self) -> bool {
        self.is_of_machine
            && self.is_access_point()
            && self.state == SessionState::Connected
            && !self.adopted
            && self.held_by.is_empty()
    }
}

/// What it is, in plain words: of an access point, what carries its traffic.
pub(crate) fn kind_words(configuration: &Configuration) -> String {
    match configuration.kind {
        Kind::InternetAccessPoint => configuration.bearer_type.to_string(),
        Kind::ServiceNetwork => "service network".to_owned(),
        Kind::UserChoice => "user choice".to_owned(),
        _ => "invalid".to_owned(),
    }
}

/// How usable something is of which nothing but its flags is known, in plain words.
pub(crate) const fn flag_words(flags: StateFlags) -> &'static str {
    match flags {
        StateFlags::Active => "up",
        StateFlags::Discovered => "can be opened",
        StateFlags::Defined => "cannot be opened now",
        StateFlags::Undefined => "unknown",
    }
}

/// The usable addresses of an interface and its gateways, in a line.
pub(crate) fn addresses(interface: &Interface) -> String {
    let gateways: Vec<String> = interface.gateways.iter().map(ToString::to_string).collect();
    let addresses = usable_addresses(interface).join(", ");
    if gateways.is_empty() { addresses } else { format!("{addresses} by way of {}", gateways.join(", ")) }
}

fn usable_addresses(interface: &Interface) -> Vec<String> {
    let usable = interface.addresses.iter().filter(|address| address.is_usable());
    usable.map(|address| format!("{}/{}", address.address, address.prefix_length)).collect()
}
