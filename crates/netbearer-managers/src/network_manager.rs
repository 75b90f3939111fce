//! NetworkManager's D-Bus API, as its reference manual has it.

use std::{collections::BTreeMap, convert::Infallible};

use tokio::sync::watch;
use zbus::{Connection, Message, OwnedObjectPath, OwnedVariant, fdo::Error, names::OwnedUniqueName};

use crate::{
    ManagerName, Owners,
    bus::name_owner,
    interface_name::is_interface_name,
    owners::Claims,
    pending::{Pending, Questions},
};

pub(crate) const NAME: &str = "org.freedesktop.NetworkManager";
const PATH: &str = "/org/freedesktop/NetworkManager";
const DEVICES: &str = "/org/freedesktop/NetworkManager/Devices/";
const DEVICE: &str = "org.freedesktop.NetworkManager.Device";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// The signals that are reason to ask. Those of a device's statistics and of the networks a card sees are not among them.
pub(crate) const RULES: [&str; 4] = [
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.NetworkManager'",
    "type='signal',sender='org.freedesktop.NetworkManager',interface='org.freedesktop.NetworkManager',\
     member='DeviceAdded'",
    "type='signal',sender='org.freedesktop.NetworkManager',interface='org.freedesktop.NetworkManager',\
     member='DeviceRemoved'",
    "type='signal',sender='org.freedesktop.NetworkManager',interface='org.freedesktop.DBus.Properties',\
     member='PropertiesChanged',path_namespace='/org/freedesktop/NetworkManager/Devices',\
     arg0='org.freedesktop.NetworkManager.Device'",
];

/// A device as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Device {
    interface: String,
    managed: bool,
}

/// The device a signal is about.
pub(crate) fn object(message: &Message) -> Option<String> {
    let header = message.header();
    match header.member()?.as_str() {
        "PropertiesChanged" => {
            Some(header.path()?.as_str()).filter(|path| path.starts_with(DEVICES)).map(str::to_owned)
        }
        "DeviceAdded" | "DeviceRemoved" => Some(message.body().deserialize::<OwnedObjectPath>().ok()?.to_string()),
        _ => None,
    }
}

/// Keeps `owners` equal to what NetworkManager says, for as long as the connection is one.
pub(crate) async fn follow(connection: &Connection, pending: &Pending, owners: &watch::Sender<Owners>) -> Infallible {
    let mut devices = BTreeMap::new();
    let mut failed = false;
    loop {
        let mut questions = pending.next().await;
        // What was not answered is asked again.
        questions.everything |= failed;
        failed = match ask(connection, &questions, &mut devices).await {
            Ok(()) => false,
            Err(error) => {
                // Ordinary while it starts: its name comes before its objects.
                tracing::debug!("NetworkManager does not say which interfaces it manages: {error}");
                true
            }
        };
        owners.send_if_modified(|owners| owners.set(ManagerName::NetworkManager, claims(&devices)));
    }
}

async fn ask(
    connection: &Connection,
    questions: &Questions,
    devices: &mut BTreeMap<String, Device>,
) -> zbus::Result<()> {
    let Some(manager) = name_owner(connection, NAME).await? else {
        devices.clear();
        return Ok(());
    };
    let mut objects = questions.objects.clone();
    if questions.everything {
        let answer = connection.call_method(Some(&manager), PATH, Some(NAME), "GetDevices", &()).await?;
        objects = answer.body().deserialize::<Vec<OwnedObjectPath>>()?.iter().map(ToString::to_string).collect();
        devices.retain(|path, _| objects.contains(path));
    }
    for object in objects {
        match ask_device(connection, &manager, &object).await? {
            Some(device) => drop(devices.insert(object, device)),
            None => drop(devices.remove(&object)),
        }
    }
    Ok(())
}

/// None for a device that is gone or says nothing of use.
async fn ask_device(connection: &Connection, manager: &OwnedUniqueName, path: &str) -> zbus::Result<Option<Device>> {
    match connection.call_method(Some(manager), path, Some(PROPERTIES), "GetAll", &DEVICE).await {
        Ok(answer) => Ok(device(answer.body().deserialize()?)),
        Err(zbus::Error::FDO(error))
            if matches!(*error, Error::UnknownObject(_) | Error::UnknownMethod(_) | Error::UnknownInterface(_)) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn device(mut properties: BTreeMap<String, OwnedVariant>) -> Option<Device> {
    let interface = String::try_from(properties.remove("Interface")?).ok().filter(|name| is_interface_name(name))?;
    let managed = bool::try_from(properties.remove("Managed")?).ok()?;
    Some(Device { interface, managed })
}

fn claims(devices: &BTreeMap<String, Device>) -> Claims {
    let managed = devices.iter().filter(|(_, device)| device.managed);
    let interfaces = managed.map(|(path, device)| (device.interface.clone(), format!("managed as {path}")));
    Claims { interfaces: interfaces.collect(), selection: None }
}

#[cfg(test)]
mod tests {
    use zbus::Variant;

    use super::*;

    fn properties(interface: Variant<'_>, managed: Variant<'_>) -> BTreeMap<String, OwnedVariant> {
        [("Interface", interface), ("Managed", managed)]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.try_into_owned().expect("no descriptor in it")))
            .collect()
    }

    #[test]
    fn a_device_is_read_from_its_properties_and_hostile_ones_are_refused() {
        let read = device(properties("ap0".into(), true.into()));
        assert_eq!(read, Some(Device { interface: "ap0".to_owned(), managed: true }));
        assert_eq!(device(properties("../etc".into(), true.into())), None);
        assert_eq!(device(properties(7_u32.into(), true.into())), None);
        assert_eq!(device(properties("ap0".into(), "yes".into())), None);
        assert_eq!(device(BTreeMap::new()), None);
    }
}
