//! Other people's tools.

use std::collections::{BTreeMap, BTreeSet};

use netbearer_dbus::{CONFIGURATION_INTERFACE, INTERFACES, MANAGER_INTERFACE, MANAGER_PATH, SESSION_INTERFACE};
use zbus::OwnedVariant;

use crate::stage::{AP0, Stage};

const NAME: &str = "org.netbearer.Bearer1";

fn run(stage: &Stage, line: &str) -> String {
    let address = format!("unix:path={}", stage.socket().display());
    let mut words = line.split(' ').map(|word| word.replace("ADDRESS", &address));
    let program = words.next().unwrap();
    stage.lab.machine().command(program).args(words).output().unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn busctl_gdbus_and_dbus_send_can_use_it() {
    let stage = Stage::new();
    let daemon = stage.start();
    let tree = run(&stage, &format!("busctl --address=ADDRESS tree --list {NAME}"));
    assert!(tree.lines().any(|line| line.trim() == netbearer_dbus::configuration_path(AP0)), "{tree}");
    let called = run(
        &stage,
        &format!("busctl --address=ADDRESS call {NAME} {MANAGER_PATH} {MANAGER_INTERFACE} GetConfiguration s {AP0}"),
    );
    assert!(called.starts_with("a{sv} ") && called.contains("\"InternetAccessPoint\""), "{called}");
    let version = run(
        &stage,
        &format!("busctl --address=ADDRESS get-property {NAME} {MANAGER_PATH} {MANAGER_INTERFACE} Version"),
    );
    assert_eq!(version.trim(), format!("s \"{}\"", env!("CARGO_PKG_VERSION")));
    let introspected = run(
        &stage,
        &format!("gdbus introspect --address ADDRESS --dest {NAME} --object-path {MANAGER_PATH} --recurse"),
    );
    assert!(introspected.contains("CreateSession(in  s configuration,"), "{introspected}");
    assert!(introspected.contains("readonly s InterfaceName = 'ap0';"), "{introspected}");
    let managed = run(
        &stage,
        &format!(
            "gdbus call --address ADDRESS --dest {NAME} --object-path / --method \
             org.freedesktop.DBus.ObjectManager.GetManagedObjects"
        ),
    );
    assert!(managed.contains(MANAGER_PATH) && managed.contains("'StateFlags': <uint32 6>"), "{managed}");
    let sent = run(
        &stage,
        &format!("dbus-send --peer=ADDRESS --print-reply {MANAGER_PATH} {MANAGER_INTERFACE}.GetDefaultConfiguration"),
    );
    assert!(sent.contains(&format!("string \"{AP0}\"")), "{sent}");
    daemon.end();
}

/// What an interface is made of, as somebody else's parser reads it: kind, name and signature of each member.
fn members(description: &str) -> BTreeSet<(String, String, String)> {
    let mut members = BTreeSet::new();
    for line in description.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [name, kind @ ("method" | "property" | "signal"), signature, ..] = words.as_slice() {
            members.insert((kind.to_string(), name.trim_start_matches('.').to_owned(), signature.to_string()));
        }
    }
    members
}

#[test]
fn every_object_has_what_the_xml_says_and_its_properties_have_these_types() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, _) = client.create(AP0);
    let objects = [
        (MANAGER_PATH.to_owned(), MANAGER_INTERFACE),
        (netbearer_dbus::configuration_path(AP0), CONFIGURATION_INTERFACE),
        (session, SESSION_INTERFACE),
    ];
    for (path, interface) in objects {
        let answer = client.call(&path, "org.freedesktop.DBus.Introspectable", "Introspect", &()).unwrap();
        let shown: String = answer.body().deserialize().unwrap();
        let xml = INTERFACES.iter().find(|(name, _)| *name == interface).unwrap().1;
        let ours = xml.split("<node>").nth(1).unwrap().split("</node>").next().unwrap();
        assert!(shown.contains(ours.trim()), "{path} is shown as in its file");

        let answer = client.call(&path, "org.freedesktop.DBus.Properties", "GetAll", &interface).unwrap();
        let body = answer.body();
        let properties: BTreeMap<String, OwnedVariant> = body.deserialize().unwrap();
        let types: BTreeSet<(String, String)> =
            properties.iter().map(|(name, value)| (name.clone(), value.value_signature().to_string())).collect();
        let in_xml: BTreeSet<(String, String)> = xml
            .split("<property ")
            .skip(1)
            .map(|property| (attribute(property, "name"), attribute(property, "type")))
            .collect();
        assert_eq!(types, in_xml, "{interface}");
    }
    // Somebody else's parser reads the same from it.
    let line = format!("busctl --address=ADDRESS introspect {NAME} {MANAGER_PATH} {MANAGER_INTERFACE}");
    let parsed = members(&run(&stage, &line));
    for name in ["CreateSession", "DescribeSessions", "Subscribe"] {
        assert!(parsed.iter().any(|(kind, found, _)| kind == "method" && found == name), "{parsed:?}");
    }
    daemon.end();
}

fn attribute(element: &str, name: &str) -> String {
    element.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned()
}
