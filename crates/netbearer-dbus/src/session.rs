use netbearer_types::{Failure, FailureReason, Identifier, Moment, SessionError, SessionSnapshot, SessionState};
use serde_json::{Value, json};
use zbus::{DeserializeDict, SerializeDict, Type};

use crate::{InterfaceValue, OfferValue};

/// A failure as it travels: the error's number, the reason, what the reason is about, and a sentence for people.
pub type FailureValue = (u32, String, String, String);

/// A session as it travels: the properties of `org.netbearer.Session1`, all of them or those that have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
#[allow(missing_docs)] // The XML says what each is.
pub struct SessionProperties {
    pub configuration: Option<String>,
    pub state: Option<u32>,
    pub is_open: Option<bool>,
    pub is_opening: Option<bool>,
    pub interface: Option<InterfaceValue>,
    pub active_configuration: Option<String>,
    pub active_since: Option<u64>,
    pub failure: Option<FailureValue>,
    pub stakeholder: Option<bool>,
    pub offer: Option<OfferValue>,
}

impl From<&SessionSnapshot> for SessionProperties {
    fn from(snapshot: &SessionSnapshot) -> Self {
        Self {
            configuration: None,
            state: Some(snapshot.state as u32),
            is_open: Some(snapshot.is_open),
            is_opening: Some(snapshot.is_opening),
            interface: Some(snapshot.interface.as_ref().map(InterfaceValue::from).unwrap_or_default()),
            active_configuration: Some(
                snapshot.active_configuration.as_ref().map(|active| active.as_str().to_owned()).unwrap_or_default(),
            ),
            active_since: Some(snapshot.active_since.map(Moment::nanoseconds).unwrap_or_default()),
            failure: Some(snapshot.failure.as_ref().map(failure_to_wire).unwrap_or_default()),
            stakeholder: None,
            offer: Some(snapshot.roaming.as_deref().map(OfferValue::from).unwrap_or_default()),
        }
    }
}

impl SessionProperties {
    /// Those of these that are others than `before`; none if nothing is.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Option<Self> {
        fn changed<T: Clone + PartialEq>(now: &Option<T>, before: &Option<T>) -> Option<T> {
            now.as_ref().filter(|now| before.as_ref() != Some(*now)).cloned()
        }
        let changes = Self {
            configuration: changed(&self.configuration, &before.configuration),
            state: changed(&self.state, &before.state),
            is_open: changed(&self.is_open, &before.is_open),
            is_opening: changed(&self.is_opening, &before.is_opening),
            interface: changed(&self.interface, &before.interface),
            active_configuration: changed(&self.active_configuration, &before.active_configuration),
            active_since: changed(&self.active_since, &before.active_since),
            failure: changed(&self.failure, &before.failure),
            stakeholder: changed(&self.stakeholder, &before.stakeholder),
            offer: changed(&self.offer, &before.offer),
        };
        (changes != Self::default()).then_some(changes)
    }

    /// Takes over into a snapshot what these say.
    pub fn apply_to(self, snapshot: &mut SessionSnapshot) {
        if let Some(state) = self.state.and_then(state_from_wire) {
            snapshot.state = state;
        }
        if let Some(is_open) = self.is_open {
            snapshot.is_open = is_open;
        }
        if let Some(is_opening) = self.is_opening {
            snapshot.is_opening = is_opening;
        }
        if let Some(interface) = self.interface {
            snapshot.interface = interface.into_interface();
        }
        if let Some(active) = self.active_configuration {
            snapshot.active_configuration = (!active.is_empty()).then(|| Identifier::new(active));
        }
        if let Some(since) = self.active_since {
            snapshot.active_since = (since != 0).then(|| Moment::from_nanoseconds(since));
        }
        if let Some(failure) = self.failure {
            snapshot.failure = failure_from_wire(failure);
        }
        if let Some(offer) = self.offer {
            snapshot.roaming = offer.into_roaming().map(Box::new);
        }
    }

    /// The snapshot that these are.
    #[must_use]
    pub fn into_snapshot(self) -> SessionSnapshot {
        let mut snapshot = SessionSnapshot::invalid();
        self.apply_to(&mut snapshot);
        snapshot
    }
}

/// The state with this number; none if this version does not know it.
#[must_use]
pub fn state_from_wire(number: u32) -> Option<SessionState> {
    SessionState::ALL.into_iter().find(|state| *state as u32 == number)
}

/// A failure as it travels.
#[must_use]
pub fn failure_to_wire(failure: &Failure) -> FailureValue {
    let (reason, about) = match serde_json::to_value(&failure.reason) {
        Ok(Value::String(reason)) => (reason, String::new()),
        Ok(Value::Object(contents)) => {
            let (reason, about) = contents.into_iter().next().unwrap_or_default();
            (reason, about.to_string())
        }
        _ => (String::new(), String::new()),
    };
    (failure.error as u32, reason, about, failure.message.clone())
}

/// The failure that has travelled; none if there was none.
#[must_use]
pub fn failure_from_wire((error, reason, about, message): FailureValue) -> Option<Failure> {
    if reason.is_empty() && message.is_empty() {
        return None;
    }
    let error = SessionError::ALL.into_iter().find(|one| *one as u32 == error).unwrap_or(SessionError::Unknown);
    let value = match serde_json::from_str::<Value>(&about) {
        Ok(about) => json!({ reason.as_str(): about }),
        Err(_) => Value::String(reason.clone()),
    };
    let reason = serde_json::from_value(value).unwrap_or(FailureReason::Other(reason));
    Some(Failure { error, reason, message })
}

#[cfg(test)]
mod tests {
    use netbearer_types::{AddressScope, Interface, InterfaceAddress, Offer, OfferNumber, OfferPhase, RoamingSnapshot};
    use zbus::Message;

    use super::*;

    fn travelled(properties: &SessionProperties) -> SessionProperties {
        let message = Message::signal("/x", "x.y", "Z").build(properties).unwrap();
        message.body().deserialize().unwrap()
    }

    fn open() -> SessionSnapshot {
        SessionSnapshot {
            state: SessionState::Connected,
            is_open: true,
            is_opening: false,
            interface: Some(Interface {
                name: "ap0".to_owned(),
                index: 7,
                hardware_address: "02:00:00:00:00:01".to_owned(),
                mtu: 1500,
                addresses: vec![InterfaceAddress {
                    address: "192.0.2.7".parse().unwrap(),
                    prefix_length: 24,
                    scope: AddressScope::Global,
                    tentative: false,
                }],
                gateways: vec!["192.0.2.1".parse().unwrap()],
                name_servers: vec!["2001:db8::1".parse().unwrap()],
                search_domains: vec!["example.org".to_owned()],
            }),
            active_configuration: Some("ap0".into()),
            active_since: Some(Moment::from_nanoseconds(5)),
            failure: None,
            roaming: None,
        }
    }

    fn on_trial() -> SessionSnapshot {
        let offer = Offer { number: OfferNumber(3), configuration: "ap1".into(), seamless: false, replacement: false };
        let candidate_interface = open().interface;
        let roaming = RoamingSnapshot { offer, phase: OfferPhase::Trial, candidate_interface };
        SessionSnapshot { state: SessionState::Roaming, roaming: Some(Box::new(roaming)), ..open() }
    }

    #[test]
    fn a_session_arrives_as_it_was_sent() {
        for snapshot in [open(), on_trial(), SessionSnapshot::invalid()] {
            assert_eq!(travelled(&SessionProperties::from(&snapshot)).into_snapshot(), snapshot);
        }
    }

    #[test]
    fn only_what_changed_travels_and_is_taken_over() {
        let before = SessionProperties::from(&open());
        let lost = SessionSnapshot { state: SessionState::Disconnected, interface: None, ..open() };
        let changes = SessionProperties::from(&lost).changes_since(&before).unwrap();
        assert_eq!((changes.is_open, changes.active_since, changes.state), (None, None, Some(5)));
        let mut snapshot = open();
        travelled(&changes).apply_to(&mut snapshot);
        assert_eq!(snapshot, lost);
        let changes = before.changes_since(&SessionProperties::from(&on_trial())).unwrap();
        let mut snapshot = on_trial();
        travelled(&changes).apply_to(&mut snapshot);
        assert_eq!(snapshot, open(), "an offer that is over is told as nothing");
        assert_eq!(before.changes_since(&before), None);
    }

    #[test]
    fn reasons_arrive_with_what_they_are_about_and_unknown_ones_by_name() {
        let failure = |reason| Failure { error: SessionError::OperationNotSupported, reason, message: "so".to_owned() };
        for reason in [
            FailureReason::NoCarrier,
            FailureReason::OwnedByAnotherProcess(Some(7)),
            FailureReason::OwnedByAnotherProcess(None),
            FailureReason::Busy("ap0".into()),
            FailureReason::LimitReached(256),
        ] {
            let failure = failure(reason);
            assert_eq!(failure_from_wire(failure_to_wire(&failure)), Some(failure));
        }
        let newer = failure_from_wire((9, "Struck".to_owned(), "\"lightning\"".to_owned(), "so".to_owned())).unwrap();
        assert_eq!((newer.error, newer.reason), (SessionError::Unknown, FailureReason::Other("Struck".to_owned())));
        assert_eq!(failure_from_wire(FailureValue::default()), None);
    }
}
