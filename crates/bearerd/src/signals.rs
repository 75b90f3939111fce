//! The signals of the interfaces, as messages.

use std::collections::HashMap;

use netbearer_core::{ChooserId, Question, QuestionNumber, SessionId};
use netbearer_dbus::{
    CHOOSER_INTERFACE, CONFIGURATION_INTERFACE, ConfigurationProperties, InterfaceValue, MANAGER_INTERFACE,
    MANAGER_PATH, SESSION_INTERFACE, SessionProperties, chooser_path, configuration_path, failure_to_wire,
    offer_to_wire, session_path,
};
use netbearer_service::Steps;
use netbearer_types::{ManagerEvent, SessionEvent};
use serde::Serialize;
use zbus::{DynamicType, Message, ObjectPath, Variant, message, names::UniqueName};

/// The interface of properties.
pub(crate) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// The interface of the object manager.
pub(crate) const OBJECT_MANAGER: &str = "org.freedesktop.DBus.ObjectManager";

/// To whom a signal goes: on a bus to one connection or to all; on a private socket there is nobody else.
pub(crate) type Destination<'a> = Option<&'a UniqueName<'a>>;

/// No properties of which only the names are told.
const NONE_INVALIDATED: &[&str] = &[];

/// Signals are made of what we know to be well-formed; should one not be, the others go out.
fn build<B: Serialize + DynamicType>(signal: message::Builder<'_>, to: Destination<'_>, body: &B) -> Option<Message> {
    let signal = match to {
        Some(name) => signal.destination(name),
        None => signal,
    };
    signal.build(body).inspect_err(|error| tracing::error!("a signal could not be made: {error}")).ok()
}

fn properties_changed<B: Serialize + DynamicType>(to: Destination<'_>, path: &str, body: &B) -> Option<Message> {
    build(Message::signal(path, PROPERTIES, "PropertiesChanged"), to, body)
}

/// What has changed of a session.
pub(crate) fn session_changed(to: Destination<'_>, session: SessionId, changes: &SessionProperties) -> Option<Message> {
    properties_changed(to, &session_path(session.0), &(SESSION_INTERFACE, changes, NONE_INVALIDATED))
}

/// What a session is told.
pub(crate) fn session_event(to: Destination<'_>, session: SessionId, event: &SessionEvent) -> Option<Message> {
    let path = session_path(session.0);
    let signal = |name: &'static str| Message::signal(path.as_str(), SESSION_INTERFACE, name);
    match event {
        SessionEvent::StateChanged { state } => build(signal("StateChanged"), to, &(*state as u32)),
        SessionEvent::Opened => build(signal("Opened"), to, &()),
        SessionEvent::Closed => build(signal("Closed"), to, &()),
        SessionEvent::Error(failure) => build(signal("Error"), to, &(failure_to_wire(failure),)),
        SessionEvent::InterfaceChanged { interface } => {
            build(signal("InterfaceChanged"), to, &InterfaceValue::from(interface))
        }
        SessionEvent::PreferredConfigurationChanged { offer } => {
            build(signal("PreferredConfigurationChanged"), to, &offer_to_wire(offer))
        }
        SessionEvent::OfferWithdrawn { offer } => build(signal("OfferWithdrawn"), to, &offer.0),
        SessionEvent::NewConfigurationActivated { offer, configuration, interface } => {
            let body = (offer.0, configuration.as_str(), InterfaceValue::from(interface));
            build(signal("NewConfigurationActivated"), to, &body)
        }
        SessionEvent::CurrentLinkLost { offer } => build(signal("CurrentLinkLost"), to, &offer.0),
        SessionEvent::RoamingFailed { configuration, failure } => {
            build(signal("RoamingFailed"), to, &(configuration.as_str(), failure_to_wire(failure)))
        }
        SessionEvent::ActiveConfigurationChanged { configuration } => {
            build(signal("ActiveConfigurationChanged"), to, &configuration.as_str())
        }
        SessionEvent::Lagged => build(signal("Lagged"), to, &()),
        // Those of clients, and of later versions of the interface.
        _ => None,
    }
}

/// What everybody is told of configurations.
pub(crate) fn announcement(event: &ManagerEvent) -> Option<Message> {
    match event {
        ManagerEvent::ConfigurationAdded { configuration } => {
            let path = configuration_path(configuration.identifier.as_str());
            let properties = ConfigurationProperties::from(configuration);
            objects_added(None, &path, CONFIGURATION_INTERFACE, &properties)
        }
        ManagerEvent::ConfigurationChanged { configuration } => {
            let path = configuration_path(configuration.identifier.as_str());
            let properties = ConfigurationProperties::from(configuration);
            properties_changed(None, &path, &(CONFIGURATION_INTERFACE, properties, NONE_INVALIDATED))
        }
        ManagerEvent::ConfigurationRemoved { identifier } => {
            objects_removed(None, &configuration_path(identifier.as_str()), CONFIGURATION_INTERFACE)
        }
        ManagerEvent::OnlineStateChanged { online } => {
            let properties = HashMap::from([("Online", Variant::from(*online))]);
            properties_changed(None, MANAGER_PATH, &(MANAGER_INTERFACE, properties, NONE_INVALIDATED))
        }
        _ => None,
    }
}

/// An object has come. Its standard interfaces are there, too, and have nothing to tell.
pub(crate) fn objects_added<P: Serialize + zbus::Type>(
    to: Destination<'_>,
    path: &str,
    interface: &str,
    properties: &P,
) -> Option<Message> {
    let path = ObjectPath::try_from(path).ok()?;
    let signal = Message::signal("/", OBJECT_MANAGER, "InterfacesAdded");
    build(signal, to, &(path, HashMap::from([(interface, properties)])))
}

/// An object has gone.
pub(crate) fn objects_removed(to: Destination<'_>, path: &str, interface: &str) -> Option<Message> {
    let path = ObjectPath::try_from(path).ok()?;
    build(Message::signal("/", OBJECT_MANAGER, "InterfacesRemoved"), to, &(path, [interface].as_slice()))
}

/// A signal of the manager without contents: UpdateCompleted, News or Lagged.
pub(crate) fn manager(to: Destination<'_>, name: &'static str) -> Option<Message> {
    build(Message::signal(MANAGER_PATH, MANAGER_INTERFACE, name), to, &())
}

/// What is being done with access points.
pub(crate) fn steps(steps: &Steps) -> Option<Message> {
    build(Message::signal(MANAGER_PATH, MANAGER_INTERFACE, "StepsChanged"), None, &steps_value(steps))
}

/// Steps as they travel.
pub(crate) fn steps_value(steps: &Steps) -> HashMap<String, String> {
    steps.iter().map(|(identifier, step)| (identifier.to_string(), netbearer_dbus::to_word(step))).collect()
}

/// A chooser shall ask its user.
pub(crate) fn asked(to: Destination<'_>, chooser: ChooserId, question: &Question) -> Option<Message> {
    let choices: Vec<ConfigurationProperties> = question.choices.iter().map(ConfigurationProperties::from).collect();
    let configuration = ConfigurationProperties::from(&question.configuration);
    let path = chooser_path(chooser.0);
    let signal = Message::signal(path.as_str(), CHOOSER_INTERFACE, "Asked");
    build(signal, to, &(question.number.0, configuration, choices))
}

/// Nobody wants the answer any more.
pub(crate) fn withdrawn(to: Destination<'_>, chooser: ChooserId, number: QuestionNumber) -> Option<Message> {
    let path = chooser_path(chooser.0);
    build(Message::signal(path.as_str(), CHOOSER_INTERFACE, "Withdrawn"), to, &number.0)
}
