use netbearer_types::{Capabilities, Configuration, Identifier, Proxy, StateFlags};
use zbus::{DeserializeDict, SerializeDict, Type};

use crate::{from_word, to_word};

/// The property of `org.netbearer.Configuration1` that has to be asked for, as nobody is told of it.
pub const ADOPTED: &str = "Adopted";

/// "", "manual" or "auto-configuration", and a URL.
pub type ProxyValue = (String, String);

/// A configuration as it travels: the properties of `org.netbearer.Configuration1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
#[allow(missing_docs)] // The XML says what each is.
pub struct ConfigurationProperties {
    pub identifier: Option<String>,
    pub name: Option<String>,
    pub kind: Option<String>,
    pub purpose: Option<String>,
    pub bearer_type: Option<String>,
    pub state_flags: Option<u32>,
    pub capabilities: Option<u32>,
    pub children: Option<Vec<String>>,
    pub proxy: Option<ProxyValue>,
    pub metered: Option<bool>,
    pub interface_name: Option<String>,
}

impl From<&Configuration> for ConfigurationProperties {
    fn from(configuration: &Configuration) -> Self {
        let proxy = match &configuration.proxy {
            Proxy::Manual(url) => ("manual".to_owned(), url.clone()),
            Proxy::AutoConfigurationUrl(url) => ("auto-configuration".to_owned(), url.clone()),
            _ => ProxyValue::default(),
        };
        Self {
            identifier: Some(configuration.identifier.as_str().to_owned()),
            name: Some(configuration.name.clone()),
            kind: Some(to_word(&configuration.kind)),
            purpose: Some(to_word(&configuration.purpose)),
            bearer_type: Some(to_word(&configuration.bearer_type)),
            state_flags: Some(configuration.state_flags.bits()),
            capabilities: Some(configuration.capabilities.bits()),
            children: Some(configuration.children.iter().map(|child| child.as_str().to_owned()).collect()),
            proxy: Some(proxy),
            metered: Some(configuration.metered),
            interface_name: Some(configuration.interface_name.clone().unwrap_or_default()),
        }
    }
}

impl ConfigurationProperties {
    /// The configuration that this is; what this version does not know is as nothing.
    #[must_use]
    pub fn into_configuration(self) -> Configuration {
        let identifier = Identifier::new(self.identifier.unwrap_or_default());
        let nothing = Configuration::invalid(identifier.clone());
        let (proxy, url) = self.proxy.unwrap_or_default();
        Configuration {
            identifier,
            name: self.name.unwrap_or(nothing.name),
            kind: self.kind.and_then(|word| from_word(&word)).unwrap_or_default(),
            purpose: self.purpose.and_then(|word| from_word(&word)).unwrap_or_default(),
            bearer_type: self.bearer_type.and_then(|word| from_word(&word)).unwrap_or_default(),
            state_flags: self.state_flags.and_then(StateFlags::from_bits).unwrap_or_default(),
            capabilities: Capabilities::from_bits_truncate(self.capabilities.unwrap_or_default()),
            children: self.children.unwrap_or_default().into_iter().map(Identifier::from).collect(),
            proxy: match proxy.as_str() {
                "manual" => Proxy::Manual(url),
                "auto-configuration" => Proxy::AutoConfigurationUrl(url),
                _ => Proxy::None,
            },
            metered: self.metered.unwrap_or_default(),
            interface_name: self.interface_name.filter(|name| !name.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use netbearer_types::{BearerType, Kind, Purpose};
    use zbus::Message;

    use super::*;

    /// Through a real message, there and back.
    fn travelled(configuration: &Configuration) -> Configuration {
        let properties = ConfigurationProperties::from(configuration);
        let message = Message::signal("/x", "x.y", "Z").build(&properties).unwrap();
        message.body().deserialize::<ConfigurationProperties>().unwrap().into_configuration()
    }

    #[test]
    fn a_configuration_arrives_as_it_was_sent() {
        let full = Configuration {
            identifier: "service-home".into(),
            name: "Home".to_owned(),
            kind: Kind::ServiceNetwork,
            purpose: Purpose::ServiceSpecific,
            bearer_type: BearerType::Wlan,
            state_flags: StateFlags::Active,
            capabilities: Capabilities::all(),
            children: vec!["one".into(), "two".into()],
            proxy: Proxy::AutoConfigurationUrl("http://192.0.2.1/proxy.pac".to_owned()),
            metered: true,
            interface_name: Some("wlan0".to_owned()),
        };
        let invalid = Configuration::invalid("gone".into());
        for configuration in [full, invalid] {
            assert_eq!(travelled(&configuration), configuration);
        }
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let newer = ConfigurationProperties {
            identifier: Some("ap0".to_owned()),
            kind: Some("InternetAccessPoint".to_owned()),
            bearer_type: Some("Laser".to_owned()),
            capabilities: Some(u32::MAX),
            state_flags: Some(0x1e),
            ..ConfigurationProperties::default()
        };
        let configuration = newer.into_configuration();
        assert_eq!((configuration.bearer_type, configuration.kind), (BearerType::Unknown, Kind::InternetAccessPoint));
        assert_eq!(configuration.state_flags, StateFlags::Undefined);
    }
}
