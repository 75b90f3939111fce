//! What there is to open sessions on.

use std::collections::{BTreeMap, BTreeSet};

use netbearer::{Identifier, Kind, ManagerEvent, ServiceNetworkProfile, SessionState, StateFlags, UserChoiceProfile};
use netbearer_lab::{AccessPointPlan, Dhcp};

use crate::stage::{AP0, DEADLINE, Manager, Stage, Watched, wait_until_told};

const NAMES: [&str; 3] = [AP0, "ap1", "ap2"];

fn three_access_points() -> Stage {
    Stage::new(NAMES.map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)))
}

fn listed(manager: &Manager, filter: Option<StateFlags>) -> BTreeMap<String, Identifier> {
    let found = manager.wait_for(async |manager| manager.configurations(filter).await).unwrap();
    for configuration in &found {
        assert!(matches!(configuration.kind, Kind::InternetAccessPoint | Kind::ServiceNetwork), "{configuration:?}");
        assert!(filter.is_none_or(|filter| configuration.state_flags.contains(filter)), "{configuration:?}");
    }
    let identifiers: BTreeSet<&Identifier> = found.iter().map(|configuration| &configuration.identifier).collect();
    assert_eq!(identifiers.len(), found.len(), "identifiers are unique");
    found.into_iter().map(|configuration| (configuration.name, configuration.identifier)).collect()
}

/// Scenario 38: one Active, one Discovered, one Defined.
#[test]
fn each_filter_lists_what_the_stricter_ones_do_and_more() {
    let stage = three_access_points();
    stage.configure_by_hand();
    let manager = stage.manager();
    let mut absent = Watched::on(&manager, "ap2");
    stage.lab.access_point("ap2").unwrap().unplug().unwrap();
    absent.expect(&["NotAvailable"]);
    let names = |filter| listed(&manager, filter).into_keys().collect::<Vec<_>>();
    assert_eq!(names(Some(StateFlags::Active)), [AP0]);
    assert_eq!(names(Some(StateFlags::Discovered)), [AP0, "ap1"]);
    assert_eq!(names(Some(StateFlags::Defined)), NAMES);
    assert_eq!(names(None), NAMES);
    assert_eq!(names(Some(StateFlags::Undefined)), [""; 0]);
}

/// Scenario 38: nor is it told of, but it is there for who knows its identifier.
#[test]
fn service_networks_are_listed_as_access_points_are_and_user_choices_never() {
    let stage = three_access_points();
    let members = ["ap1", "ap2"].map(str::to_owned).to_vec();
    let network = ServiceNetworkProfile { members, ..ServiceNetworkProfile::default() };
    let manager = stage
        .start(|setup| setup.service_network("uplink", network).user_choice("anything", UserChoiceProfile::default()));
    let names = ["ap0", "ap1", "ap2", "uplink"];
    for filter in [None, Some(StateFlags::Defined), Some(StateFlags::Discovered)] {
        assert_eq!(listed(&manager, filter).into_keys().collect::<Vec<_>>(), names, "{filter:?}");
    }
    let mut events = manager.events();
    let choice = Identifier::new("choice-anything");
    let choice = manager.wait_for(async |manager| manager.configuration(&choice).await).unwrap();
    assert_eq!((choice.kind, choice.state_flags, choice.children.len()), (Kind::UserChoice, StateFlags::Discovered, 0));
    stage.configure_by_hand();
    let is_active = || listed(&manager, Some(StateFlags::Active)).contains_key(AP0);
    wait_until_told(&manager, "ap0 to be listed as Active", is_active);
    while let Some(event) = events.try_next() {
        if let ManagerEvent::ConfigurationAdded { configuration }
        | ManagerEvent::ConfigurationChanged { configuration } = event
        {
            assert_ne!(configuration.kind, Kind::UserChoice);
        }
    }
}

/// Scenario 38: a reboot leaves nothing of what was at run time, and finds cards in another order.
#[test]
fn identifiers_are_unique_and_the_same_after_a_restart_and_a_reboot() {
    let stage = three_access_points();
    let manager = stage.manager();
    let identifiers = listed(&manager, None);
    assert_eq!(identifiers.keys().map(String::as_str).collect::<Vec<_>>(), NAMES);
    let mut session = Watched::opened(&manager);
    session.close();
    session.expect_last("Disconnected");
    drop(session);
    manager.shutdown();
    assert_eq!(listed(&stage.manager(), None), identifiers, "after a restart");

    stage.forget_what_was_at_run_time();
    for (name, index) in NAMES.into_iter().zip([903, 902, 901]) {
        let access_point = stage.lab.access_point(name).unwrap();
        access_point.unplug().unwrap();
        access_point.plug_with_index(index).unwrap();
    }
    let manager = stage.manager();
    assert_eq!(listed(&manager, None), identifiers, "after a reboot");
    // What a program has kept is good for a session.
    let kept = &identifiers[AP0];
    let configuration = manager.wait_for(async |manager| manager.configuration(kept).await).unwrap();
    let session = manager.session(&configuration).unwrap();
    assert_eq!((session.configuration().name.as_str(), session.state()), (AP0, SessionState::Disconnected));
}

/// Scenario 38: each who asks is answered, as often as he asked, and nobody else.
#[test]
fn one_update_is_completed_for_each_request_and_for_nobody_who_has_not_asked() {
    let stage = Stage::with_dnsmasq();
    let managers = [(); 3].map(|()| stage.manager());
    let mut events = managers.each_ref().map(|manager| manager.events());
    let requests = [3, 1, 0];
    for (manager, requests) in managers.iter().zip(requests) {
        for _ in 0..requests {
            manager.wait_for(async |manager| manager.update_configurations().await).unwrap();
        }
    }
    for (events, requests) in events.iter_mut().zip(requests) {
        for _ in 0..requests {
            assert_eq!(events.next_within(DEADLINE), Some(ManagerEvent::UpdateCompleted));
        }
    }
    // Had any of them more to come, it would come before the answer to one more.
    for (manager, events) in managers.iter().zip(&mut events) {
        manager.wait_for(async |manager| manager.update_configurations().await).unwrap();
        assert_eq!(events.next_within(DEADLINE), Some(ManagerEvent::UpdateCompleted));
        assert_eq!(events.try_next(), None);
    }
}
