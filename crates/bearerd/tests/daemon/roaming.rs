//! Offers and answers on the wire.

use std::os::fd::OwnedFd;

use netbearer_dbus::{InterfaceValue, OfferSignal, OfferValue, SESSION_INTERFACE, SessionProperties};
use netbearer_lab::{AccessPointPlan, Dhcp};
use zbus::Variant;

use crate::{
    client::{Attached, Client, shortly},
    stage::Stage,
};

const NETWORK: &str = "service-uplink";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Two access points of a service network, of which "lan" is preferred.
fn stage() -> Stage {
    let stage = Stage::with(["lan", "lte"].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)));
    stage.write_service_network(&["lan", "lte"]);
    stage
}

fn set_stakeholder(client: &mut Client, session: &str, stakeholder: bool) {
    let set = (SESSION_INTERFACE, "Stakeholder", Variant::from(stakeholder));
    client.call(session, PROPERTIES, "Set", &set).unwrap();
}

/// What an answer is refused with.
fn refused(client: &mut Client, session: &str, answer: &str, offer: u64) -> String {
    client.call(session, SESSION_INTERFACE, answer, &offer).unwrap_err().short().to_owned()
}

fn offer_of(client: &mut Client, session: &str) -> OfferValue {
    client.properties(session).unwrap().offer.expect("the property is there")
}

/// What is told without properties, which come before it.
fn told(client: &mut Client) -> Vec<String> {
    let mut told = shortly(&client.take_signals());
    told.retain(|name| name != "PropertiesChanged");
    told
}

#[test]
fn an_offer_is_told_shown_and_answered_by_its_number_whoever_attaches() {
    let stage = stage();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (lte, _) = client.create("native-lte");
    let _hold_of_lte = client.open_and_wait(&lte);
    let (session, token) = client.create(NETWORK);
    set_stakeholder(&mut client, &session, true);
    let changed = client.wait_for(&session, "PropertiesChanged");
    let (_, changes, _): (String, SessionProperties, Vec<String>) = changed.body().deserialize().unwrap();
    assert_eq!(changes, SessionProperties { stakeholder: Some(true), ..SessionProperties::default() });
    assert_eq!(offer_of(&mut client, &session), OfferValue::default());
    let _hold = client.open_and_wait(&session);

    let told_offer = client.wait_for(&session, "PreferredConfigurationChanged");
    let (number, configuration, seamless, replacement): OfferSignal = told_offer.body().deserialize().unwrap();
    assert_eq!((configuration.as_str(), seamless, replacement), ("native-lan", false, false));
    let offer = offer_of(&mut client, &session);
    assert_eq!((offer.number, offer.phase.as_deref()), (Some(number), Some("Offered")));
    assert_eq!(offer.candidate_interface, Some(InterfaceValue::default()));

    for answer in ["Accept", "Reject"] {
        assert_eq!(refused(&mut client, &session, answer, number), "OutOfTurn");
    }
    for answer in ["Migrate", "Ignore", "Accept", "Reject"] {
        assert_eq!(refused(&mut client, &session, answer, number + 1), "SupersededOffer");
    }
    assert!(told(&mut client).is_empty(), "nothing has changed");

    client.call(&session, SESSION_INTERFACE, "Migrate", &number).unwrap();
    let activated = client.wait_for(&session, "NewConfigurationActivated");
    let (of, configuration, interface): (u64, String, InterfaceValue) = activated.body().deserialize().unwrap();
    assert_eq!((of, configuration.as_str(), interface.name.as_deref()), (number, "native-lan", Some("lan")));

    // Who attaches finds the trial as it is.
    let mut other = stage.connect();
    let (_, _, properties): Attached = other.manage("AttachSession", &token).unwrap();
    assert_eq!((properties.state, properties.is_open, properties.stakeholder), (Some(6), Some(true), Some(true)));
    let offer = properties.offer.expect("the property is there");
    assert_eq!((offer.number, offer.phase.as_deref()), (Some(number), Some("Trial")));
    assert_eq!(offer.candidate_interface.and_then(|interface| interface.name).as_deref(), Some("lan"));
    other.call(&session, SESSION_INTERFACE, "Accept", &number).unwrap();
    assert_eq!(told(&mut other), ["StateChanged 3"]);
    let properties = other.properties(&session).unwrap();
    assert_eq!(properties.offer, Some(OfferValue::default()));
    assert_eq!(properties.active_configuration.as_deref(), Some("native-lan"));
    assert_eq!(properties.interface.and_then(|interface| interface.name).as_deref(), Some("lan"));
    for answer in ["Migrate", "Ignore", "Accept", "Reject"] {
        assert_eq!(refused(&mut other, &session, answer, number), "OutOfTurn", "it was decided");
    }
    assert!(told(&mut other).is_empty());
    daemon.kill();
}

#[test]
fn a_session_that_is_left_by_its_stakeholder_moves_by_itself() {
    let stage = stage();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (lte, _) = client.create("native-lte");
    let _hold_of_lte = client.open_and_wait(&lte);
    let (session, _) = client.create(NETWORK);
    set_stakeholder(&mut client, &session, true);
    let _hold = client.open_and_wait(&session);
    client.wait_for(&session, "PreferredConfigurationChanged");
    client.ping();
    client.take_signals();
    set_stakeholder(&mut client, &session, false);
    let moved = client.wait_for(&session, "ActiveConfigurationChanged");
    assert_eq!(moved.body().deserialize::<String>().unwrap(), "native-lan");
    assert_eq!(offer_of(&mut client, &session), OfferValue::default());
    daemon.kill();
}

/// A client with a session on trial: the client, the hold of that session, and who watches both members.
fn on_trial(stage: &Stage) -> (Client, OwnedFd, Client, [String; 2]) {
    let mut client = stage.connect();
    let (lte, _) = client.create("native-lte");
    let hold_of_lte = client.open_and_wait(&lte);
    let (session, _) = client.create(NETWORK);
    set_stakeholder(&mut client, &session, true);
    let hold = client.open_and_wait(&session);
    // From here on "lte" is held by the session alone.
    drop(hold_of_lte);
    client.wait_for(&lte, "Closed");
    let offer = client.wait_for(&session, "PreferredConfigurationChanged");
    let (number, ..): OfferSignal = offer.body().deserialize().unwrap();
    let mut watcher = stage.connect();
    let watched = ["native-lan", "native-lte"].map(|name| watcher.create(name).0);
    client.call(&session, SESSION_INTERFACE, "Migrate", &number).unwrap();
    client.wait_for(&session, "NewConfigurationActivated");
    watcher.wait_for_state(&watched[0], 3);
    (client, hold, watcher, watched)
}

#[test]
fn a_client_that_dies_in_a_trial_gives_both_links_back() {
    let stage = stage();
    let daemon = stage.start();
    let (client, hold, mut watcher, [lan, lte]) = on_trial(&stage);
    drop(hold);
    drop(client);
    let mut ended: Vec<String> = Vec::new();
    while ended.len() < 2 {
        let signal = watcher.next().expect("the connection lives");
        let (path, name) =
            (signal.header().path().map(ToString::to_string), signal.header().member().map(ToString::to_string));
        if name.as_deref() == Some("StateChanged") && signal.body().deserialize::<u32>().unwrap() == 5 {
            ended.extend(path);
        }
    }
    ended.sort();
    let mut expected = vec![lan, lte];
    expected.sort();
    assert_eq!(ended, expected);
    daemon.end();
}

#[test]
fn a_trial_that_nobody_can_decide_any_more_is_rejected_while_a_descriptor_holds_the_session() {
    let stage = stage();
    let daemon = stage.start();
    let (client, hold, mut watcher, [lan, lte]) = on_trial(&stage);
    drop(client);
    watcher.wait_for_state(&lan, 5);
    assert_eq!(watcher.properties(&lte).unwrap().state, Some(3), "it is held all the same");
    drop(hold);
    watcher.wait_for_state(&lte, 5);
    daemon.end();
}
