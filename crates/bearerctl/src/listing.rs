use netbearer::{
    CallError, Capabilities, Configuration, Families, FullTunnel, Interface, Manager, SessionState, StateFlags,
    Steering,
};
use serde::Serialize;

/// A configuration with all that is known of it now.
#[derive(Debug, Serialize)]
pub(crate) struct Listing {
    #[serde(flatten)]
    pub(crate) configuration: Configuration,
    /// What a session on it sees.
    pub(crate) state: SessionState,
    /// Opened when nothing is named.
    pub(crate) default: bool,
    /// Up without this program, so the last close leaves it up.
    pub(crate) adopted: bool,
    pub(crate) interface: Option<Interface>,
    /// Whose packets go where, as far as it is not as usual.
    pub(crate) steering: Option<Steering>,
}

impl Listing {
    pub(crate) async fn new(manager: &Manager, mut configuration: Configuration) -> Result<Self, CallError> {
        // What is printed is seen by more people than the profile.
        configuration.proxy = configuration.proxy.without_password();
        let default = manager.default_configuration().await?;
        let session = manager.session(&configuration).await?;
        let interface = manager.interface(&configuration.identifier).await?;
        let steering = manager.steering(&configuration.identifier).await?;
        Ok(Self {
            state: session.state(),
            default: default.is_some_and(|default| default.identifier == configuration.identifier),
            // This program has opened nothing when it lists.
            adopted: configuration.state_flags == StateFlags::Active,
            interface,
            steering,
            configuration,
        })
    }

    /// Everything there is.
    pub(crate) async fn all(manager: &Manager) -> Result<Vec<Self>, CallError> {
        let mut all = Vec::new();
        for configuration in manager.configurations(None).await? {
            all.push(Self::new(manager, configuration).await?);
        }
        Ok(all)
    }

    pub(crate) fn may_start(&self) -> bool {
        self.configuration.capabilities.contains(Capabilities::CanStartAndStopInterfaces)
    }

    /// How usable it is, in plain words.
    pub(crate) fn state_words(&self) -> &'static str {
        match (self.state, self.configuration.state_flags) {
            (SessionState::Connecting, _) => "being brought up",
            (SessionState::Closing, _) => "being taken down",
            (_, StateFlags::Active) => "up",
            (_, StateFlags::Discovered) => "can be opened",
            (_, StateFlags::Defined) if self.interface.is_none() => "unplugged",
            (_, StateFlags::Defined) => "no carrier",
            (_, StateFlags::Undefined) => "unknown",
        }
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
        let (bypass, effect) = (steering.bypass_vpn, steering.effect.unwrap_or_default());
        Some(format!("{interface_name}{families}; bypass_vpn is \"{bypass}\": {effect}"))
    }

    /// What does not work as usual.
    pub(crate) fn warnings(&self) -> &[String] {
        self.steering.as_ref().map_or(&[], |steering| &steering.warnings)
    }

    /// Who keeps it up.
    pub(crate) fn used_by(&self) -> &'static str {
        if self.adopted { "others (adopted)" } else { "" }
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
