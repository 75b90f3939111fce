//! Opening and closing, event by event.

use netbearer_dbus::SessionProperties;
use zbus::Message;

use crate::{
    client::shortly,
    stage::{AP0, Stage},
};

/// What a `PropertiesChanged` of a session says.
fn changes(signal: &Message) -> SessionProperties {
    let body = signal.body();
    let (interface, changes, invalidated): (String, SessionProperties, Vec<String>) = body.deserialize().unwrap();
    assert_eq!((interface.as_str(), invalidated.len()), ("org.netbearer.Session1", 0));
    changes
}

#[test]
fn each_event_is_told_after_what_it_has_changed_and_the_last_close_takes_the_link_down() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, token) = client.create(AP0);
    assert_eq!(token.len(), 32);
    let hold = client.open(&session).unwrap();
    stage.wait_until_up();
    let opened = client.wait_for(&session, "Opened");
    assert!(opened.header().destination().is_none());
    let properties = client.properties(&session).unwrap();
    assert_eq!((properties.state, properties.is_open, properties.is_opening), (Some(3), Some(true), Some(false)));
    assert_eq!(properties.active_configuration.as_deref(), Some(AP0));
    let interface = properties.interface.unwrap();
    assert_eq!(interface.name.as_deref(), Some("ap0"));
    assert!(interface.addresses.unwrap().iter().any(|(address, ..)| address.starts_with("10.10.")));
    assert!(properties.active_since.unwrap() > 0);

    client.take_signals();
    client.ask(&session, "Close").unwrap();
    let before_reply = client.take_signals();
    assert_eq!(shortly(&before_reply)[..2], ["PropertiesChanged", "Closed"]);
    assert_eq!(changes(&before_reply[0]).is_open, Some(false));
    client.wait_for_state(&session, 5);
    stage.wait_until_untouched();
    drop(hold);
    daemon.end();
}

#[test]
fn what_a_call_causes_is_on_the_wire_before_its_reply() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut first = stage.connect();
    let (session, _) = first.create(AP0);
    let _hold = first.open_and_wait(&session);

    let mut second = stage.connect();
    let (other, _) = second.create(AP0);
    let _other_hold = second.open(&other).unwrap();
    let told = second.take_signals();
    assert_eq!(shortly(&told), ["PropertiesChanged", "Opened"]);
    let changed = changes(&told[0]);
    assert_eq!((changed.is_open, changed.state), (Some(true), None), "only what is different is told");
    assert_eq!(changed.active_configuration.as_deref(), Some(AP0));
    // Nobody else's business.
    first.ping();
    assert!(shortly(&first.take_signals()).iter().all(|name| name != "Closed" && name != "Opened"));

    second.ask(&other, "Close").unwrap();
    assert_eq!(shortly(&second.take_signals()), ["PropertiesChanged", "Closed"]);
    assert_eq!(second.properties(&other).unwrap().state, Some(3), "the first still holds");
    daemon.end();
}

#[test]
fn a_session_that_is_released_is_no_more_and_gives_its_hold_back() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, _) = client.create(AP0);
    let _hold = client.open_and_wait(&session);
    client.ask(&session, "Release").unwrap();
    assert_eq!(client.properties(&session).unwrap_err().short(), "UnknownObject");
    assert!(client.sessions().is_empty());
    stage.wait_until_untouched();
    daemon.end();
}

#[test]
fn what_fails_at_once_gives_a_hold_that_holds_nothing_and_an_error() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, _) = client.create("nowhere");
    let hold = client.open(&session).unwrap();
    assert!(crate::holds::is_revoked(&hold));
    let failure: (netbearer_dbus::FailureValue,) = client.wait_for(&session, "Error").body().deserialize().unwrap();
    assert_eq!((failure.0.0, failure.0.1.as_str()), (4, "ConfigurationInvalid"));
    daemon.end();
}

#[test]
fn configurations_are_told_to_whom_subscribes() {
    let stage = Stage::new();
    let daemon = stage.start();
    let (mut watching, mut opening) = (stage.connect(), stage.connect());
    let topics = ["configurations", "laser"].as_slice();
    watching.manage::<_, ()>("Subscribe", &topics).unwrap();
    let (session, _) = opening.create(AP0);
    let hold = opening.open_and_wait(&session);
    let path = netbearer_dbus::configuration_path(AP0);
    loop {
        let changed = watching.wait_for(&path, "PropertiesChanged");
        let body = changed.body();
        type Changed = (String, netbearer_dbus::ConfigurationProperties, Vec<String>);
        let (_, properties, _): Changed = body.deserialize().unwrap();
        if properties.state_flags == Some(0xe) {
            break;
        }
    }
    drop(hold);
    opening.ask(&session, "Release").unwrap();
    stage.access_point().unplug().unwrap();
    let removed = watching.wait_for("/", "InterfacesRemoved");
    let (gone, interfaces): (zbus::OwnedObjectPath, Vec<String>) = removed.body().deserialize().unwrap();
    assert_eq!((gone.as_str(), interfaces), (path.as_str(), vec!["org.netbearer.Configuration1".to_owned()]));
    stage.access_point().plug().unwrap();
    let added = watching.wait_for("/", "InterfacesAdded");
    type Added = (zbus::OwnedObjectPath, std::collections::HashMap<String, netbearer_dbus::ConfigurationProperties>);
    let (come, interfaces): Added = added.body().deserialize().unwrap();
    assert_eq!(come, gone);
    assert_eq!(interfaces["org.netbearer.Configuration1"].identifier.as_deref(), Some(AP0));
    daemon.end();
}
