//! Every mistake has its name.

use netbearer_dbus::{MANAGER_INTERFACE, MANAGER_PATH, SESSION_INTERFACE};
use zbus::Variant;

use crate::{
    client::Client,
    rights::as_user,
    stage::{AP0, Stage},
};

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

#[test]
fn what_is_not_there_or_does_not_fit_is_told_as_d_bus_has_it() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, _) = client.create(AP0);
    let session = session.as_str();
    let configuration = netbearer_dbus::configuration_path(AP0);
    let nowhere = netbearer_dbus::configuration_path("nowhere");
    let mut refused = |path: &str, interface: &str, method: &str, expected: &str| {
        let refused = client.call(path, interface, method, &()).unwrap_err();
        assert_eq!(refused.short(), expected, "{path} {interface} {method}: {refused:?}");
        assert!(!refused.sentence.is_empty());
    };
    refused("/elsewhere", MANAGER_INTERFACE, "GetSteps", "UnknownObject");
    refused("/org/netbearer/Bearer1/session/999", SESSION_INTERFACE, "Open", "UnknownObject");
    refused(&nowhere, "org.freedesktop.DBus.Introspectable", "Introspect", "UnknownObject");
    refused(session, MANAGER_INTERFACE, "GetSteps", "UnknownInterface");
    refused(&configuration, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "UnknownInterface");
    refused(MANAGER_PATH, MANAGER_INTERFACE, "Fly", "UnknownMethod");
    refused(MANAGER_PATH, MANAGER_INTERFACE, "CreateSession", "InvalidArgs");
    refused(session, SESSION_INTERFACE, "SetProperty", "InvalidArgs");

    let mut property = |path: &str, interface: &str, name: &str| {
        client.call(path, PROPERTIES, "Get", &(interface, name)).map_err(|refused| refused.short().to_owned())
    };
    assert_eq!(property(session, SESSION_INTERFACE, "Colour").unwrap_err(), "UnknownProperty");
    assert_eq!(property(session, MANAGER_INTERFACE, "Version").unwrap_err(), "UnknownInterface");
    assert_eq!(property(&nowhere, "org.netbearer.Configuration1", "Name").unwrap_err(), "UnknownObject");
    let state = property(session, SESSION_INTERFACE, "State").unwrap();
    assert_eq!(*state.body().deserialize::<zbus::OwnedVariant>().unwrap(), Variant::U32(5));

    let mut set = |name: &str, value: Variant<'static>| {
        let set = client.call(session, PROPERTIES, "Set", &(SESSION_INTERFACE, name, value));
        set.map(drop).map_err(|refused| refused.short().to_owned())
    };
    assert_eq!(set("State", Variant::from(3_u32)).unwrap_err(), "PropertyReadOnly");
    assert_eq!(set("Colour", Variant::from(3_u32)).unwrap_err(), "UnknownProperty");
    assert_eq!(set("Stakeholder", Variant::from(3_u32)).unwrap_err(), "InvalidArgs");
    assert_eq!(set("Stakeholder", Variant::from(true)).unwrap_err(), "NotSupported", "it has nowhere to roam to");
    set("Stakeholder", Variant::from(false)).unwrap();
    assert_eq!(client.properties(session).unwrap().stakeholder, Some(false));
    daemon.end();
}

#[test]
fn session_properties_are_written_read_and_unset() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, _) = client.create(AP0);
    let mut get = |name: &str| {
        let answer = client.call(&session, SESSION_INTERFACE, "GetProperty", &name)?;
        let values: Vec<zbus::OwnedVariant> = answer.body().deserialize().unwrap();
        Ok::<_, crate::client::Refused>(values.into_iter().next().map(|value| format!("{:?}", *value)))
    };
    assert_eq!(get("ConnectInBackground").unwrap(), None);
    assert_eq!(get("Colour").unwrap_err().short(), "UnknownProperty");
    let mut set = |name: &str, value: Variant<'static>| {
        client.call(&session, SESSION_INTERFACE, "SetProperty", &(name, value)).map(drop)
    };
    set("ConnectInBackground", Variant::from(true)).unwrap();
    assert_eq!(set("ConnectInBackground", Variant::from("yes")).unwrap_err().short(), "UnfitValue");
    assert_eq!(set("ActiveConfiguration", Variant::from("ap0")).unwrap_err().short(), "PropertyReadOnly");
    set("AnswerTimeout", Variant::from(1500_u32)).unwrap();
    let answer = client.call(&session, SESSION_INTERFACE, "GetProperty", &"AnswerTimeout").unwrap();
    let values: Vec<zbus::OwnedVariant> = answer.body().deserialize().unwrap();
    assert_eq!(*values[0], Variant::U64(1500));
    client.call(&session, SESSION_INTERFACE, "UnsetProperty", &"ConnectInBackground").unwrap();
    let answer = client.call(&session, SESSION_INTERFACE, "GetProperty", &"ConnectInBackground").unwrap();
    assert!(answer.body().deserialize::<Vec<zbus::OwnedVariant>>().unwrap().is_empty());
    daemon.end();
}

#[test]
fn what_is_anothers_is_not_there() {
    let stage = Stage::new();
    let daemon = stage.start();
    let (mut owner, mut other) = (stage.connect(), stage.connect());
    let (session, token) = owner.create(AP0);
    for method in ["Open", "Close", "Stop", "HoldFd", "Release", "GetTraffic"] {
        assert_eq!(other.ask(&session, method).unwrap_err().short(), "UnknownObject", "{method}");
    }
    as_user(1000, 100, || {
        let mut other = Client::connect(&stage.socket());
        let attached = other.call(MANAGER_PATH, MANAGER_INTERFACE, "AttachSession", &token);
        assert_eq!(attached.unwrap_err().short(), "UnknownToken", "it is another user's");
    });
    let managed = other.call("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &()).unwrap();
    assert!(!format!("{:?}", managed.body().deserialize::<zbus::Structure<'_>>()).contains("/session/"));
    assert_eq!(other.sessions().len(), 1, "that there is one everybody may know");
    daemon.end();
}
