//! Sessions on service networks and user choices: opening, choosing and ending (scenarios 33, 46, 49, 50, 56).

use std::time::Duration;

use netbearer::{ChooserEvent, Kind, PropertyKey, PropertyValue, SessionState, StateFlags, UserChoiceProfile};
use netbearer_lab::Dhcp;

use crate::{
    stage::{Manager, Stage, Watched},
    uplink::{self, NETWORK, identifier, owned, reached_by, stage, text},
};

const CHOICE: &str = "choice-anything";

fn manager(stage: &Stage) -> Manager {
    stage.start(|setup| {
        let choice = UserChoiceProfile { name: None, choices: owned(&["lte", NETWORK]) };
        uplink::setup(setup).user_choice("anything", choice)
    })
}

#[test]
fn the_most_preferred_member_is_brought_up_and_taken_down_again() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut watched = Watched::on(&manager, NETWORK);
    let network = watched.session.configuration();
    assert_eq!((network.kind, network.state_flags), (Kind::ServiceNetwork, StateFlags::Discovered));
    assert!(network.is_roaming_available());
    watched.bring_up();
    assert_eq!(watched.active_configuration(), identifier(&manager, "lan"));
    assert_eq!(reached_by(&watched), "lan");
    watched.close();
    watched.expect(&["Closed", "Closing", "Disconnected"]);
    drop((watched, manager));
    stage.assert_as_before();
}

/// Scenario 46.
#[test]
fn open_ends_on_the_next_member_when_the_first_gets_no_lease() {
    let stage = stage(Dhcp::None, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut watched = Watched::on(&manager, NETWORK);
    watched.bring_up();
    assert_eq!(watched.active_configuration(), identifier(&manager, "lte"));
    assert_eq!(reached_by(&watched), "lte");
    drop((watched, manager));
    stage.assert_as_before();
}

/// Scenario 46, its second half.
#[test]
fn one_error_names_both_members_when_neither_gets_a_lease() {
    let stage = stage(Dhcp::None, Dhcp::None);
    let manager = manager(&stage);
    let mut watched = Watched::on(&manager, NETWORK);
    watched.open();
    watched.expect(&["Connecting", "Disconnected", "Error(Unknown)"]);
    let failure = watched.session.error().expect("it failed");
    for cause in ["(1) lan could not be brought up", "(2) lte could not be brought up"] {
        assert!(failure.message.contains(cause), "{failure}");
    }
    watched.expect_silence();
    drop((watched, manager));
    stage.assert_as_before();
}

/// Scenario 49.
#[test]
fn the_end_of_the_own_member_shows_and_then_the_one_that_others_keep_up() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::None);
    for end in ["close", "stop", "cable"] {
        let manager = manager(&stage);
        let (mut watched, mut watcher) = (Watched::on(&manager, NETWORK), Watched::on(&manager, NETWORK));
        watched.bring_up();
        watcher.expect(&["Connecting", "Connected"]);
        let mut b = Watched::on(&manager, "lte");
        stage.configure_link_by_hand("lte", 900);
        b.expect_last("Connected");
        // Its default route may come after that, and is seen by who watches the network once nothing else is up.
        while b.session.interface().is_none_or(|interface| interface.gateways.is_empty()) {
            b.next();
        }
        match end {
            "close" => {
                watched.close();
                watched.expect(&["Closed", "Closing", "Disconnected", "Connected"]);
            }
            "stop" => {
                watched.session.stop().expect("it is ours");
                watched.expect(&["Closed", "Closing", "Disconnected", "Connected"]);
            }
            _ => {
                stage.lab.access_point("lan").expect("it is there").cut().expect("the cable is cut");
                // It roams to what others keep up, and is still open.
                let moved = format!("ActiveConfigurationChanged({})", identifier(&manager, "lte"));
                watched.expect(&["Roaming", "Connected", &moved]);
                assert!(watched.session.is_open());
                stage.lab.access_point("lan").expect("it is there").restore().expect("the cable is back");
            }
        }
        let event = watcher.next();
        assert!(event.contains("InterfaceChanged") && event.contains("name: \"lte\""), "{event}");
        watcher.expect_silence();
        assert_eq!(watcher.session.state(), SessionState::Connected);
        drop((watched, watcher, b, manager));
        stage.ip("route flush dev lte");
        stage.ip("address flush dev lte");
        stage.ip("link set lte down");
        stage.assert_as_before();
    }
}

/// Scenario 50.
#[test]
fn a_member_that_never_starts_is_tried_once_an_opening() {
    let stage = stage(Dhcp::None, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut watched = Watched::on(&manager, NETWORK);
    let mut a = Watched::on(&manager, "lan");
    watched.bring_up();
    a.expect(&["Connecting", "Disconnected"]);
    a.expect_silence_for(Duration::from_secs(3));
    assert_eq!(watched.active_configuration(), identifier(&manager, "lte"));
}

/// Scenario 56.
#[test]
fn an_unused_member_shows_its_carrier_while_the_network_is_open() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let a = stage.lab.access_point("lan").expect("it is there");
    a.cut().expect("the cable is cut");
    let manager = manager(&stage);
    let mut watched = Watched::opened_on(&manager, "lte");
    let mut network = Watched::on(&manager, NETWORK);
    network.open();
    network.expect(&["Opened"]);
    let mut on_a = Watched::on(&manager, "lan");
    if on_a.session.state() != SessionState::NotAvailable {
        on_a.expect_last("NotAvailable");
    }
    let told = stage.lab.machine().command("ip").args(["-brief", "address", "show", "dev", "lan"]).output();
    let told = told.expect("ip tells");
    assert!(told.contains("NO-CARRIER") || told.contains("DOWN") || told.contains("LOWERLAYERDOWN"), "{told}");
    assert!(!told.contains('/'), "it has no address: {told}");
    a.restore().expect("the cable is back");
    on_a.expect(&["Disconnected"]);
    network.expect_silence();
    network.close();
    watched.close();
    watched.expect_last("Disconnected");
    drop((watched, network, on_a, manager));
    stage.assert_as_before();
}

/// Scenario 33.
#[test]
fn a_user_choice_asks_once_and_tells_what_it_came_to() {
    let stage = stage(Dhcp::Dnsmasq, Dhcp::Dnsmasq);
    let manager = manager(&stage);
    let mut watched = Watched::on(&manager, CHOICE);
    assert_eq!(text(&watched, PropertyKey::UserChoiceConfiguration), "");
    for key in [PropertyKey::UserChoiceConfiguration, PropertyKey::ActiveConfiguration] {
        let refused = watched.session.set_property(key, Some(PropertyValue::Text("lan".into())));
        assert!(refused.is_err(), "{key} is read-only");
    }
    let mut chooser = manager.wait_for(async |manager| manager.chooser().await).expect("a chooser");
    watched.open();
    watched.expect(&["Connecting"]);
    let Some(ChooserEvent::Asked(question)) = manager.wait_for(async |_| chooser.next().await) else {
        panic!("the user is asked");
    };
    let b = identifier(&manager, "lte");
    let offered: Vec<&str> = question.choices.iter().map(|choice| choice.identifier.as_str()).collect();
    assert_eq!(offered, [b.as_str(), NETWORK]);
    let choice = NETWORK.into();
    manager.wait_for(async |_| chooser.answer(question.number, Some(&choice)).await).expect("the answer counts");
    watched.expect(&["Connected", "Opened"]);
    assert_eq!(text(&watched, PropertyKey::UserChoiceConfiguration), NETWORK);
    assert_eq!(watched.active_configuration(), identifier(&manager, "lan"));
    watched.close();
    watched.expect(&["Closed", "Closing", "Disconnected"]);
    assert_eq!(text(&watched, PropertyKey::UserChoiceConfiguration), "");

    watched.open();
    watched.expect(&["Connecting"]);
    let Some(ChooserEvent::Asked(question)) = manager.wait_for(async |_| chooser.next().await) else {
        panic!("the user is asked");
    };
    manager.wait_for(async |_| chooser.answer(question.number, None).await).expect("the answer counts");
    watched.expect(&["Disconnected", "Error(SessionAborted)"]);

    let yes = Some(PropertyValue::Boolean(true));
    watched.session.set_property(PropertyKey::ConnectInBackground, yes).expect("it takes a truth value");
    watched.bring_up();
    assert_eq!(text(&watched, PropertyKey::UserChoiceConfiguration), b);
    let nothing = manager.wait_for(async |_| futures_util::FutureExt::now_or_never(chooser.next()));
    assert!(nothing.is_none(), "never asked: {nothing:?}");
}
