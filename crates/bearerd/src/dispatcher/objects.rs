//! Which objects there are: the object manager, introspection, and what every peer answers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
};

use netbearer_core::{Core, SessionId};
use netbearer_dbus::{
    CHOOSER_INTERFACE, CONFIGURATION_INTERFACE, INTERFACES, MANAGER_INTERFACE, MANAGER_PATH, ObjectKind,
    SESSION_INTERFACE, chooser_path, configuration_path, session_path,
};
use zbus::{ObjectPath, OwnedObjectPath};

use crate::{
    Client,
    call::Call,
    dispatcher::{
        Dispatcher, own_interface,
        properties::{Properties, of_configuration, of_manager, of_session},
        unknown_object,
    },
    fault::{Fault, StandardError},
};

const DOCUMENT_TYPE: &str = "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\" \
                             \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n";

/// The interfaces that every object has, as the D-Bus specification has them.
const STANDARD_INTERFACES: &str = r#"  <interface name="org.freedesktop.DBus.Introspectable">
    <method name="Introspect">
      <arg name="xml_data" type="s" direction="out"/>
    </method>
  </interface>
  <interface name="org.freedesktop.DBus.Peer">
    <method name="Ping"/>
    <method name="GetMachineId">
      <arg name="machine_uuid" type="s" direction="out"/>
    </method>
  </interface>
  <interface name="org.freedesktop.DBus.Properties">
    <method name="Get">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="out"/>
    </method>
    <method name="GetAll">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="properties" type="a{sv}" direction="out"/>
    </method>
    <method name="Set">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="in"/>
    </method>
    <signal name="PropertiesChanged">
      <arg name="interface_name" type="s"/>
      <arg name="changed_properties" type="a{sv}"/>
      <arg name="invalidated_properties" type="as"/>
    </signal>
  </interface>
"#;

const OBJECT_MANAGER_INTERFACE: &str = r#"  <interface name="org.freedesktop.DBus.ObjectManager">
    <method name="GetManagedObjects">
      <arg name="objects" type="a{oa{sa{sv}}}" direction="out"/>
    </method>
    <signal name="InterfacesAdded">
      <arg name="object" type="o"/>
      <arg name="interfaces" type="a{sa{sv}}"/>
    </signal>
    <signal name="InterfacesRemoved">
      <arg name="object" type="o"/>
      <arg name="interfaces" type="as"/>
    </signal>
  </interface>
"#;

/// Interfaces and their properties, by the object's path.
type Objects = HashMap<OwnedObjectPath, BTreeMap<&'static str, Properties>>;

/// The paths of all objects that a client may see.
fn paths(core: &Core, client: &Client) -> Vec<String> {
    let configurations = core.configurations(None).into_iter();
    let configurations = configurations.map(|one| configuration_path(one.identifier.as_str()));
    let sessions = client.sessions().into_iter().map(|session| session_path(session.0));
    let choosers = client.choosers().into_iter().map(|chooser| chooser_path(chooser.0));
    std::iter::once(MANAGER_PATH.to_owned()).chain(configurations).chain(sessions).chain(choosers).collect()
}

fn managed_objects(core: &Core, client: &Client) -> Result<Objects, Fault> {
    let mut objects = Objects::new();
    let mut add = |path: String, interface, properties| {
        let path = ObjectPath::try_from(path)
            .map(OwnedObjectPath::from)
            .map_err(|error| Fault::standard(StandardError::Failed, format!("an object has no path: {error}")))?;
        objects.insert(path, BTreeMap::from([(interface, properties)]));
        Ok::<_, Fault>(())
    };
    add(MANAGER_PATH.to_owned(), MANAGER_INTERFACE, of_manager(core)?)?;
    for configuration in core.configurations(None) {
        let path = configuration_path(configuration.identifier.as_str());
        add(path, CONFIGURATION_INTERFACE, of_configuration(core, &configuration)?)?;
    }
    for session in client.sessions() {
        add(session_path(session.0), SESSION_INTERFACE, of_session(core, client, session)?)?;
    }
    for chooser in client.choosers() {
        add(chooser_path(chooser.0), CHOOSER_INTERFACE, Properties::new())?;
    }
    Ok(objects)
}

/// What comes below `path` on the way to these.
fn children(path: &str, paths: &[String]) -> BTreeSet<String> {
    let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
    let below = paths.iter().filter_map(|one| one.strip_prefix(&prefix));
    below.filter_map(|rest| rest.split('/').next()).map(str::to_owned).collect()
}

/// An interface as it stands in its file.
fn interface_xml(interface: &str) -> &'static str {
    let xml = INTERFACES.iter().find(|(name, _)| *name == interface).map(|(_, xml)| *xml).unwrap_or_default();
    let inside = xml.split_once("<node>").and_then(|(_, rest)| rest.split_once("</node>"));
    inside.map(|(inside, _)| inside.trim_start_matches('\n')).unwrap_or_default()
}

impl Dispatcher {
    pub(super) fn get_managed_objects(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let client = std::sync::Arc::clone(call.client());
        let tell = |call: &Call, objects: Result<Objects, Fault>| {
            call.answer(&objects?);
            Ok(())
        };
        self.ask(call, move |core, _| managed_objects(core, &client), tell)
    }

    pub(super) fn introspect(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        let path = call.header().path().map(|path| path.as_str().to_owned()).unwrap_or_default();
        let client = std::sync::Arc::clone(call.client());
        let ask = move |core: &mut Core, _| {
            let paths = paths(core, &client);
            let children = children(&path, &paths);
            let is_there = match &object {
                ObjectKind::Configuration(identifier) => {
                    core.configuration(&netbearer_types::Identifier::new(identifier.as_str())).is_some()
                }
                ObjectKind::Session(number) => client.has_session(SessionId(*number)),
                _ => true,
            };
            if !is_there {
                return Err(unknown_object(&path));
            }
            let own = match &object {
                ObjectKind::Root => OBJECT_MANAGER_INTERFACE,
                object => own_interface(object).map(interface_xml).unwrap_or_default(),
            };
            let mut xml = format!("{DOCUMENT_TYPE}<node>\n{own}{STANDARD_INTERFACES}");
            for child in children {
                xml.push_str(&format!("  <node name=\"{child}\"/>\n"));
            }
            // The branches are there when nothing is on them, too.
            if object == ObjectKind::Manager {
                for branch in ["chooser", "configuration", "session"] {
                    if !xml.contains(&format!("<node name=\"{branch}\"/>")) {
                        xml.push_str(&format!("  <node name=\"{branch}\"/>\n"));
                    }
                }
            }
            xml.push_str("</node>\n");
            Ok(xml)
        };
        let tell = |call: &Call, xml: Result<String, Fault>| {
            call.answer(&xml?);
            Ok(())
        };
        self.ask(call, ask, tell)
    }

    pub(super) fn ping(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        call.answer(&());
        Ok(())
    }

    pub(super) fn get_machine_id(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let read = fs::read_to_string("/etc/machine-id").or_else(|_| fs::read_to_string("/var/lib/dbus/machine-id"));
        let id = read.map_err(|error| {
            Fault::standard(StandardError::Failed, format!("the identity of the machine cannot be read: {error}"))
        })?;
        call.answer(&id.trim());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_path_is_told_once() {
        let paths = [MANAGER_PATH.to_owned(), configuration_path("ap0"), configuration_path("ap1"), session_path(3)];
        let below = |path: &str| children(path, &paths).into_iter().collect::<Vec<_>>();
        assert_eq!(below("/"), ["org"]);
        assert_eq!(below("/org"), ["netbearer"]);
        assert_eq!(below(MANAGER_PATH), ["configuration", "session"]);
        assert_eq!(below("/org/netbearer/Bearer1/configuration"), ["ap0", "ap1"]);
        assert!(below(&session_path(3)).is_empty() && below("/org/net").is_empty());
    }

    #[test]
    fn every_interface_of_ours_is_shown_as_in_its_file() {
        for (name, _) in INTERFACES {
            let xml = interface_xml(name);
            assert!(xml.trim_end().ends_with("</interface>") && xml.contains(&format!("<interface name=\"{name}\">")));
        }
    }
}
