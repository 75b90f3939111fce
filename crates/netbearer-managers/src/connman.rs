//! ConnMan's D-Bus API, as the `doc` directory of its source has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use tokio::sync::watch;
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

use crate::{
    ManagerName, Owners, bus::name_owner, interface_name::is_interface_name, owners::Claims, pending::Pending,
};

pub(crate) const NAME: &str = "net.connman";
const MANAGER: &str = "net.connman.Manager";

/// The signals that are reason to ask. A service's signal strength is not among them.
pub(crate) const RULES: [&str; 6] = [
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='net.connman'",
    "type='signal',sender='net.connman',interface='net.connman.Manager',member='ServicesChanged'",
    "type='signal',sender='net.connman',interface='net.connman.Manager',member='TechnologyAdded'",
    "type='signal',sender='net.connman',interface='net.connman.Manager',member='TechnologyRemoved'",
    "type='signal',sender='net.connman',interface='net.connman.Service',member='PropertyChanged',arg0='Ethernet'",
    "type='signal',sender='net.connman',interface='net.connman.Technology',member='PropertyChanged',arg0='Powered'",
];

type Properties = BTreeMap<String, OwnedVariant>;

/// The interfaces ConnMan was seen to use, and their technologies.
///
/// It tells interfaces by its services only, and a cable that is out has none; but the card is still ConnMan's, which
/// keeps it up and waits for the cable. So an interface is remembered while its technology is on.
#[derive(Debug, Default)]
struct Cards(BTreeMap<String, String>);

impl Cards {
    fn learn(
        &mut self,
        services: Vec<(OwnedObjectPath, Properties)>,
        technologies: Vec<(OwnedObjectPath, Properties)>,
    ) {
        let powered: BTreeSet<String> =
            technologies.into_iter().filter_map(|(_, properties)| powered(properties)).collect();
        self.0.retain(|_, technology| powered.contains(technology));
        self.0.extend(services.into_iter().filter_map(|(_, properties)| card(properties)));
    }

    fn claims(&self) -> Claims {
        let detail = |technology: &String| format!("used for {}", technology.escape_debug());
        let interfaces = self.0.iter().map(|(interface, technology)| (interface.clone(), detail(technology)));
        Claims { interfaces: interfaces.collect(), selection: None }
    }
}

/// The type of a technology that is on.
fn powered(mut properties: Properties) -> Option<String> {
    let on = bool::try_from(properties.remove("Powered")?).ok()?;
    on.then_some(String::try_from(properties.remove("Type")?).ok()?)
}

/// The interface of a service, and its technology.
fn card(mut properties: Properties) -> Option<(String, String)> {
    let technology = String::try_from(properties.remove("Type")?).ok()?;
    let mut ethernet = BTreeMap::<String, OwnedVariant>::try_from(properties.remove("Ethernet")?).ok()?;
    let interface = String::try_from(ethernet.remove("Interface")?).ok()?;
    is_interface_name(&interface).then_some((interface, technology))
}

/// Keeps `owners` equal to what ConnMan says, for as long as the connection is one.
pub(crate) async fn follow(connection: &Connection, pending: &Pending, owners: &watch::Sender<Owners>) -> Infallible {
    let mut cards = Cards::default();
    loop {
        pending.next().await;
        if let Err(error) = ask(connection, &mut cards).await {
            tracing::warn!("ConnMan does not say which interfaces it uses: {error}");
        }
        owners.send_if_modified(|owners| owners.set(ManagerName::ConnMan, cards.claims()));
    }
}

async fn ask(connection: &Connection, cards: &mut Cards) -> zbus::Result<()> {
    let Some(manager) = name_owner(connection, NAME).await? else {
        *cards = Cards::default();
        return Ok(());
    };
    let call = async |method: &str| connection.call_method(Some(&manager), "/", Some(MANAGER), method, &()).await;
    let (services, technologies) = (call("GetServices").await?, call("GetTechnologies").await?);
    cards.learn(services.body().deserialize()?, technologies.body().deserialize()?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use zbus::Variant;

    use super::*;

    fn object<const N: usize>(properties: [(&str, Variant<'_>); N]) -> (OwnedObjectPath, Properties) {
        let path = OwnedObjectPath::try_from("/net/connman/object").expect("a path");
        let owned =
            |(name, value): (&str, Variant<'_>)| (name.to_owned(), value.try_into_owned().expect("no descriptor"));
        (path, properties.into_iter().map(owned).collect())
    }

    fn service(interface: &str) -> (OwnedObjectPath, Properties) {
        let ethernet = BTreeMap::from([("Interface", Variant::from(interface))]);
        object([("Type", "ethernet".into()), ("Ethernet", ethernet.into())])
    }

    fn ethernet(powered: bool) -> Vec<(OwnedObjectPath, Properties)> {
        vec![object([("Type", "ethernet".into()), ("Powered", powered.into())])]
    }

    #[test]
    fn a_card_stays_connmans_without_its_cable_until_its_technology_is_off() {
        let mut cards = Cards::default();
        cards.learn(vec![service("ap0")], ethernet(true));
        assert!(cards.claims().interfaces.contains_key("ap0"));
        cards.learn(Vec::new(), ethernet(true));
        assert!(cards.claims().interfaces.contains_key("ap0"), "the cable is out");
        cards.learn(Vec::new(), ethernet(false));
        assert_eq!(cards.claims(), Claims::default());
    }

    #[test]
    fn hostile_services_are_passed_over() {
        let mut cards = Cards::default();
        let odd = [
            service("../ap0"),
            object([("Type", "ethernet".into())]),
            object([("Type", 7_u32.into()), ("Ethernet", "ap0".into())]),
            object([]),
        ];
        cards.learn(odd.into(), ethernet(true));
        assert_eq!(cards.claims(), Claims::default());
    }
}
