//! `org.freedesktop.DBus.Properties` of all objects.

use std::collections::BTreeMap;

use netbearer_core::{Core, Refusal, SessionId};
use netbearer_dbus::{
    ADOPTED, CONFIGURATION_INTERFACE, ConfigurationProperties, MANAGER_INTERFACE, ObjectKind, SESSION_INTERFACE,
};
use netbearer_types::{Configuration, Identifier};
use serde::Serialize;
use zbus::{Message, OwnedVariant, Type, Variant};

use crate::{
    Client,
    call::Call,
    dispatcher::{Dispatcher, has_interface, own_interface, sessions::session},
    fault::{Fault, StandardError},
};

/// The properties of an object, by name.
pub(super) type Properties = BTreeMap<String, OwnedVariant>;

/// The properties of the manager that never change.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What there is beyond the first version of the interfaces.
const FEATURES: [&str; 0] = [];

/// A struct that travels as a dictionary, as that dictionary.
pub(super) fn dictionary<T: Serialize + Type>(fields: &T) -> Result<Properties, Fault> {
    let message = Message::signal("/", MANAGER_INTERFACE, "Properties").build(fields);
    let dictionary = message.and_then(|message| message.body().deserialize::<Properties>());
    dictionary.map_err(|error| Fault::standard(StandardError::Failed, format!("properties cannot be told: {error}")))
}

fn value(value: impl Into<Variant<'static>>) -> Result<OwnedVariant, Fault> {
    let value = OwnedVariant::try_from(value.into());
    value.map_err(|error| Fault::standard(StandardError::Failed, format!("a property cannot be told: {error}")))
}

/// The properties of the manager.
pub(super) fn of_manager(core: &Core) -> Result<Properties, Fault> {
    let features: Vec<String> = FEATURES.iter().map(|feature| (*feature).to_owned()).collect();
    Ok(BTreeMap::from([
        ("Version".to_owned(), value(VERSION)?),
        ("Features".to_owned(), value(features)?),
        ("ProcessId".to_owned(), value(std::process::id())?),
        ("Online".to_owned(), value(core.is_online())?),
        ("Capabilities".to_owned(), value(core.capabilities().bits())?),
    ]))
}

/// The properties of a configuration.
pub(super) fn of_configuration(core: &Core, configuration: &Configuration) -> Result<Properties, Fault> {
    let mut properties = dictionary(&ConfigurationProperties::from(configuration))?;
    properties.insert(ADOPTED.to_owned(), value(core.is_adopted(&configuration.identifier))?);
    Ok(properties)
}

/// The properties of a client's session, as it was told them last.
pub(super) fn of_session(core: &Core, client: &Client, session: SessionId) -> Result<Properties, Fault> {
    let gone = || Fault::from(Refusal::UnknownSession);
    let mut properties = client.session_properties(session).ok_or_else(gone)?;
    let configuration = core.session_configuration(session).ok_or_else(gone)?;
    properties.configuration = Some(configuration.identifier.into());
    dictionary(&properties)
}

fn of_object(core: &Core, client: &Client, object: &ObjectKind) -> Result<Properties, Fault> {
    match object {
        ObjectKind::Root | ObjectKind::Branch | ObjectKind::Chooser(_) | ObjectKind::Bus => Ok(Properties::new()),
        ObjectKind::Manager => of_manager(core),
        ObjectKind::Configuration(identifier) => {
            let found = core.configuration(&Identifier::new(identifier.as_str()));
            let found = found.ok_or_else(|| {
                Fault::standard(StandardError::UnknownObject, format!("there is no configuration {identifier}"))
            })?;
            of_configuration(core, &found)
        }
        ObjectKind::Session(_) => of_session(core, client, session(object)),
    }
}

/// Whether the object has this interface, and that has properties. No name means the object's own.
fn has_properties(object: &ObjectKind, interface: &str) -> Result<bool, Fault> {
    if interface.is_empty() || own_interface(object) == Some(interface) {
        return Ok(true);
    }
    if has_interface(object, interface) {
        return Ok(false);
    }
    Err(Fault::standard(StandardError::UnknownInterface, format!("the object has no interface {interface}")))
}

fn unknown(name: &str) -> Fault {
    Fault::standard(StandardError::UnknownProperty, format!("there is no property {name}"))
}

/// Whether an object of this kind has this property, from what its interface is in XML.
fn property_exists(object: &ObjectKind, name: &str) -> bool {
    let xml = netbearer_dbus::INTERFACES.iter().find(|(interface, _)| own_interface(object) == Some(interface));
    xml.is_some_and(|(_, xml)| xml.contains(&format!("<property name=\"{name}\"")))
}

impl Dispatcher {
    pub(super) fn get(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        let (interface, name): (String, String) = call.arguments()?;
        let client = std::sync::Arc::clone(call.client());
        let ask = move |core: &mut Core, _| {
            if !has_properties(&object, &interface)? {
                return Err(unknown(&name));
            }
            of_object(core, &client, &object)?.remove(&name).ok_or_else(|| unknown(&name))
        };
        let tell = |call: &Call, value: Result<OwnedVariant, Fault>| {
            call.answer(&value?);
            Ok(())
        };
        self.ask(call, ask, tell)
    }

    pub(super) fn get_all(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        let interface: String = call.arguments()?;
        let client = std::sync::Arc::clone(call.client());
        let ask = move |core: &mut Core, _| {
            let properties = of_object(core, &client, &object)?;
            Ok(if has_properties(&object, &interface)? { properties } else { Properties::new() })
        };
        let tell = |call: &Call, properties: Result<Properties, Fault>| {
            call.answer(&properties?);
            Ok(())
        };
        self.ask(call, ask, tell)
    }

    pub(super) fn set(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        let (interface, name, value): (String, String, OwnedVariant) = call.arguments()?;
        if !has_properties(&object, &interface)? || !property_exists(&object, &name) {
            return Err(unknown(&name));
        }
        if own_interface(&object) != Some(SESSION_INTERFACE) || name != "Stakeholder" {
            let of = own_interface(&object).unwrap_or(CONFIGURATION_INTERFACE);
            let sentence = format!("the property {name} of {of} can only be read");
            return Err(Fault::standard(StandardError::PropertyReadOnly, sentence));
        }
        let Variant::Bool(stakeholder) = *value else {
            return Err(Fault::standard(StandardError::InvalidArgs, "the property Stakeholder is a boolean"));
        };
        let ask = move |core: &mut Core, session, now| {
            Ok(core.set_stakeholder(session, stakeholder, now).map(|()| (session, core.is_stakeholder(session))))
        };
        let tell = |call: &Call, outcome: Result<(SessionId, bool), Refusal>| {
            let (session, stakeholder) = outcome?;
            call.client().set_stakeholder(session, stakeholder);
            call.answer(&());
            Ok(())
        };
        self.ask_session(call, &object, ask, tell)
    }
}
