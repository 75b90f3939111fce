use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use futures_util::StreamExt;
use netbearer_dbus::{
    CONFIGURATION_INTERFACE, ConfigurationProperties, FailureValue, InterfaceValue, MANAGER_INTERFACE, ObjectKind,
    OfferSignal, SESSION_INTERFACE, SessionProperties, failure_from_wire, object_kind, offer_from_wire,
    state_from_wire,
};
use netbearer_types::{Identifier, ManagerEvent, OfferNumber, SessionEvent};
use zbus::{DeserializeDict, Message, MessageStream, OwnedObjectPath, Type, message};

use super::{
    desk::Desk,
    entry::Entry,
    line::{Line, contents},
    place::{PROPERTIES, new_owner},
};

/// Takes in everything that comes on a line, in order: so whatever a call has caused has been delivered when it returns.
pub(super) struct Reader {
    desk: Arc<Desk>,
    line: Arc<Line>,
    /// A session of which something has become different, and the event that belongs to that has not come yet.
    prepared: Option<Weak<Entry>>,
}

/// What of the manager's properties can change.
#[derive(Debug, Default, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
struct ManagerProperties {
    online: Option<bool>,
}

impl Reader {
    pub(super) const fn new(desk: Arc<Desk>, line: Arc<Line>) -> Self {
        Self { desk, line, prepared: None }
    }

    /// Reads until the line is dead.
    pub(super) async fn read(mut self, mut messages: MessageStream) {
        while let Some(message) = messages.next().await {
            match message {
                Ok(message) => {
                    if !self.take_in(message) {
                        return;
                    }
                }
                Err(error) => return tracing::debug!("the bearer service is away: {error}"),
            }
        }
    }

    /// False if the daemon has gone.
    fn take_in(&mut self, message: Message) -> bool {
        match message.message_type() {
            message::Type::MethodReturn | message::Type::Error => {
                self.settle(None);
                self.line.take_answer(message);
            }
            message::Type::Signal => {
                // That it has come may be told when it is talked with already.
                if self.line.is_on_bus() && new_owner(&message).is_some_and(|new| new.as_ref() != self.line.owner()) {
                    return false;
                }
                self.take_signal(&message);
            }
            message::Type::MethodCall => {}
        }
        true
    }

    fn take_signal(&mut self, message: &Message) {
        let header = message.header();
        // On a bus anybody may say anything.
        if self.line.owner().is_some_and(|owner| header.sender() != Some(owner)) {
            return;
        }
        let (Some(path), Some(interface), Some(member)) = (header.path(), header.interface(), header.member()) else {
            return;
        };
        let (interface, member) = (interface.as_str(), member.as_str());
        match object_kind(path.as_str()) {
            Some(ObjectKind::Session(number)) => self.take_signal_of_session(number, interface, member, message),
            Some(ObjectKind::Configuration(identifier)) => {
                self.settle(None);
                if (interface, member) == (PROPERTIES, "PropertiesChanged") {
                    self.take_change_of_configuration(&identifier, message);
                }
            }
            Some(ObjectKind::Manager) => {
                self.settle(None);
                self.take_signal_of_manager(interface, member, message);
            }
            Some(ObjectKind::Root) => {
                self.settle(None);
                self.take_signal_of_objects(member, message);
            }
            Some(ObjectKind::Chooser(number)) => {
                self.settle(None);
                if let Some(chooser) = self.desk.chooser(number) {
                    chooser.take_signal(member, message);
                }
            }
            _ => {}
        }
    }

    fn take_signal_of_session(&mut self, number: u64, interface: &str, member: &str, message: &Message) {
        let Some(entry) = self.desk.session(number) else { return self.settle(None) };
        self.settle(Some(&entry));
        match (interface, member) {
            (PROPERTIES, "PropertiesChanged") => {
                if let Ok((of, changed, _)) = contents::<(String, SessionProperties, Vec<String>)>(message)
                    && of == SESSION_INTERFACE
                {
                    entry.prepare(changed);
                    self.prepared = Some(Arc::downgrade(&entry));
                }
            }
            (SESSION_INTERFACE, member) => {
                if let Some(event) = session_event(member, message) {
                    self.prepared = None;
                    entry.tell(&event);
                }
            }
            _ => {}
        }
    }

    /// What was prepared of another session than this one was changed without an event.
    fn settle(&mut self, but: Option<&Arc<Entry>>) {
        let prepared = self.prepared.take_if(|prepared| but.is_none_or(|but| prepared.as_ptr() != Arc::as_ptr(but)));
        if let Some(entry) = prepared.and_then(|prepared| prepared.upgrade()) {
            entry.settle();
        }
    }

    fn take_signal_of_manager(&self, interface: &str, member: &str, message: &Message) {
        match (interface, member) {
            (MANAGER_INTERFACE, "UpdateCompleted") => self.desk.tell(&ManagerEvent::UpdateCompleted),
            (MANAGER_INTERFACE, "StepsChanged") => {
                if let Ok(steps) = contents::<BTreeMap<String, String>>(message) {
                    self.desk.set_steps(steps);
                }
            }
            (MANAGER_INTERFACE, "News") => self.desk.tell_news(),
            (MANAGER_INTERFACE, "Lagged") => self.desk.tell(&ManagerEvent::Lagged),
            (PROPERTIES, "PropertiesChanged") => {
                if let Ok((_, changed, _)) = contents::<(String, ManagerProperties, Vec<String>)>(message)
                    && let Some(online) = changed.online
                {
                    self.desk.tell(&ManagerEvent::OnlineStateChanged { online });
                }
            }
            _ => {}
        }
    }

    fn take_change_of_configuration(&self, identifier: &str, message: &Message) {
        if let Ok((of, changed, _)) = contents::<(String, ConfigurationProperties, Vec<String>)>(message)
            && of == CONFIGURATION_INTERFACE
        {
            let changed = ConfigurationProperties { identifier: Some(identifier.to_owned()), ..changed };
            self.desk.tell(&ManagerEvent::ConfigurationChanged { configuration: changed.into_configuration() });
        }
    }

    /// Objects of this program's own are told of as well, which it knows by other means.
    fn take_signal_of_objects(&self, member: &str, message: &Message) {
        let configuration = |path: &OwnedObjectPath| match object_kind(path.as_str()) {
            Some(ObjectKind::Configuration(identifier)) => Some(identifier),
            _ => None,
        };
        match member {
            "InterfacesAdded" => {
                type Added = (OwnedObjectPath, BTreeMap<String, ConfigurationProperties>);
                let Ok((path, mut interfaces)) = contents::<Added>(message) else { return };
                if configuration(&path).is_some()
                    && let Some(properties) = interfaces.remove(CONFIGURATION_INTERFACE)
                {
                    self.desk
                        .tell(&ManagerEvent::ConfigurationAdded { configuration: properties.into_configuration() });
                }
            }
            "InterfacesRemoved" => {
                let Ok((path, _)) = contents::<(OwnedObjectPath, Vec<String>)>(message) else { return };
                if let Some(identifier) = configuration(&path) {
                    self.desk.tell(&ManagerEvent::ConfigurationRemoved { identifier: Identifier::new(identifier) });
                }
            }
            _ => {}
        }
    }
}

/// The event that a signal of a session is; none if this version does not know it.
fn session_event(member: &str, message: &Message) -> Option<SessionEvent> {
    Some(match member {
        "StateChanged" => SessionEvent::StateChanged { state: state_from_wire(contents(message).ok()?)? },
        "Opened" => SessionEvent::Opened,
        "Closed" => SessionEvent::Closed,
        "Error" => {
            let (failure,): (FailureValue,) = contents(message).ok()?;
            SessionEvent::Error(failure_from_wire(failure)?)
        }
        "InterfaceChanged" => {
            SessionEvent::InterfaceChanged { interface: contents::<InterfaceValue>(message).ok()?.into_interface()? }
        }
        "PreferredConfigurationChanged" => SessionEvent::PreferredConfigurationChanged {
            offer: offer_from_wire(contents::<OfferSignal>(message).ok()?),
        },
        "OfferWithdrawn" => SessionEvent::OfferWithdrawn { offer: OfferNumber(contents(message).ok()?) },
        "NewConfigurationActivated" => {
            let (offer, configuration, interface): (u64, String, InterfaceValue) = contents(message).ok()?;
            SessionEvent::NewConfigurationActivated {
                offer: OfferNumber(offer),
                configuration: Identifier::new(configuration),
                interface: interface.into_interface()?,
            }
        }
        "CurrentLinkLost" => SessionEvent::CurrentLinkLost { offer: OfferNumber(contents(message).ok()?) },
        "RoamingFailed" => {
            let (configuration, failure): (String, FailureValue) = contents(message).ok()?;
            SessionEvent::RoamingFailed {
                configuration: Identifier::new(configuration),
                failure: failure_from_wire(failure)?,
            }
        }
        "ActiveConfigurationChanged" => SessionEvent::ActiveConfigurationChanged {
            configuration: Identifier::new(contents::<String>(message).ok()?),
        },
        "Lagged" => SessionEvent::Lagged,
        _ => return None,
    })
}
