use std::time::Duration;

use netbearer::{CallError, PropertyKey, PropertyValue, blocking::Session};

use crate::stage::{Stage, Watched};

/// What reads while nothing was written and nothing is open.
fn default(key: PropertyKey) -> Option<PropertyValue> {
    match key {
        PropertyKey::ActiveConfiguration | PropertyKey::UserChoiceConfiguration => {
            Some(PropertyValue::Text(String::new()))
        }
        PropertyKey::AutoCloseSessionTimeout => Some(PropertyValue::Number(-1)),
        PropertyKey::Reconnect => Some(PropertyValue::Boolean(false)),
        PropertyKey::AnswerTimeout => Some(PropertyValue::Duration(Duration::from_secs(10))),
        PropertyKey::OnTimeout => Some(PropertyValue::Text("end".to_owned())),
        _ => None,
    }
}

fn read(session: &Session, key: PropertyKey) -> Option<PropertyValue> {
    session.property(key).unwrap()
}

/// Scenario 34.
#[test]
fn properties_have_defaults_which_return_when_they_are_unset() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let session = Watched::new(&manager).session;
    for key in PropertyKey::ALL {
        assert_eq!(read(&session, key), default(key), "{key}");
    }
    let written = [
        (PropertyKey::ConnectInBackground, PropertyValue::Boolean(true)),
        (PropertyKey::Reconnect, PropertyValue::Boolean(true)),
        (PropertyKey::AnswerTimeout, PropertyValue::Duration(Duration::from_millis(700))),
        (PropertyKey::OnTimeout, PropertyValue::Text("migrate".to_owned())),
    ];
    for (key, value) in &written {
        session.set_property(*key, Some(value.clone())).unwrap();
        assert_eq!(read(&session, *key).as_ref(), Some(value), "{key}");
    }
    let other = Watched::new(&manager).session;
    for (key, _) in written {
        assert_eq!(read(&other, key), default(key), "{key} is of one session only");
        session.set_property(key, None).unwrap();
        assert_eq!(read(&session, key), default(key), "{key}");
    }
}

/// Scenario 34: no engine here has to poll, so the time has no effect, and nobody is closed.
#[test]
fn an_auto_close_timeout_reads_as_unset_and_closes_nothing() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    let moment = Some(PropertyValue::Number(1));
    session.session.set_property(PropertyKey::AutoCloseSessionTimeout, moment).unwrap();
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    session.expect_silence_for(Duration::from_millis(300));
    assert_eq!(
        read(&session.session, PropertyKey::AutoCloseSessionTimeout),
        default(PropertyKey::AutoCloseSessionTimeout)
    );
    session.assert_up();
}

/// Scenario 34.
#[test]
fn read_only_and_unknown_properties_and_unfit_values_are_refused_and_change_nothing() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let session = Watched::opened(&manager);
    assert_eq!(session.active_configuration(), session.session.configuration().identifier.as_str());
    let elsewhere = PropertyValue::Text("native-elsewhere".to_owned());
    let read_only = [PropertyKey::ActiveConfiguration, PropertyKey::UserChoiceConfiguration];
    for key in PropertyKey::ALL {
        assert_eq!(key.is_read_only(), read_only.contains(&key), "{key}");
    }
    for key in read_only {
        let before = read(&session.session, key);
        for value in [Some(elsewhere.clone()), None] {
            let refused = session.session.set_property(key, value);
            assert_eq!(refused, Err(CallError::ReadOnlyProperty(key)));
        }
        assert_eq!(read(&session.session, key), before, "{key}");
    }
    for (key, value) in [
        (PropertyKey::Reconnect, PropertyValue::Number(1)),
        (PropertyKey::ConnectInBackground, PropertyValue::Text("true".to_owned())),
        (PropertyKey::AnswerTimeout, PropertyValue::Boolean(true)),
        (PropertyKey::OnTimeout, PropertyValue::Text("perhaps".to_owned())),
    ] {
        let refused = session.session.set_property(key, Some(value));
        let Err(CallError::UnfitPropertyValue(message)) = refused else { panic!("{key}: {refused:?}") };
        assert!(message.contains(key.as_str()), "{message}");
        assert_eq!(read(&session.session, key), default(key), "{key}");
    }
    for key in PropertyKey::ALL {
        assert_eq!(key.as_str().parse(), Ok(key));
    }
    for unknown in ["", "Colour", "activeconfiguration"] {
        assert!(unknown.parse::<PropertyKey>().is_err(), "{unknown}");
    }
}
