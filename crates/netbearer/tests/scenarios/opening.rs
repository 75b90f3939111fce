use netbearer::{Profile, SessionState};

use crate::stage::{AP0, DEADLINE, Stage, Watched};

/// Scenario 1.
#[test]
fn the_first_open_brings_the_link_up_and_the_last_close_takes_it_down() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    assert_eq!(session.session.state(), SessionState::Disconnected);
    assert_eq!(session.active_configuration(), "");
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    session.assert_up();
    let machine = stage.lab.machine();
    let interface = session.session.interface().unwrap();
    let leased = interface.addresses.iter().find(|address| address.address.is_ipv4()).unwrap();
    assert!(machine.addresses(AP0).unwrap().contains(&(leased.address, leased.prefix_length)));
    assert!(machine.routes("21001").unwrap().iter().any(|route| route.starts_with("default")));
    session.close();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    assert_eq!(session.session.interface(), None);
    stage.assert_as_before();
    session.expect_silence();
}

/// Scenario 1, the profile's `dhcp_release`.
#[test]
fn the_lease_is_given_back_if_the_profile_says_so() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager_with(Profile { dhcp_release: true, ..Profile::default() });
    let mut session = Watched::opened(&manager);
    session.close();
    session.expect_last("Disconnected");
    stage.ap0().dhcp_log().unwrap().wait_for_text("DHCPRELEASE", DEADLINE).expect("the server saw the release");
}

/// Scenario 1, without `dhcp_release`: one round trip instead of two.
#[test]
fn a_remembered_lease_makes_the_next_open_faster() {
    let stage = Stage::with_dnsmasq();
    let log = stage.ap0().dhcp_log().unwrap();
    // A manager of its own each time: what is remembered outlives the process.
    let messages = || {
        let before = log.mark();
        let mut session = Watched::opened(&stage.manager());
        session.close();
        session.expect_last("Disconnected");
        log.wait_for_text_since(before, "DHCPACK", DEADLINE).unwrap();
        log.entries_since(before).join("\n")
    };
    assert!(messages().contains("DHCPDISCOVER"));
    let second = messages();
    assert!(second.contains("DHCPREQUEST") && !second.contains("DHCPDISCOVER"), "{second}");
    assert!(!second.contains("DHCPRELEASE"), "{second}");
}

/// Scenario 6.
#[test]
fn opening_twice_takes_one_hold_and_one_close_releases_it() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    session.close();
    session.expect_silence();
    session.open();
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    session.open();
    session.expect_silence();
    session.close();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    session.close();
    session.expect_silence();
    stage.assert_as_before();
}

/// Scenario 2.
#[test]
fn the_link_stays_up_until_the_last_of_two_sessions_closes() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut first = Watched::opened(&manager);
    let mut second = Watched::new(&manager);
    second.open();
    second.expect(&["Opened"]);
    let mut conversation = second.assert_up();
    first.close();
    first.expect(&["Closed"]);
    first.expect_silence();
    second.expect_silence();
    assert_eq!(first.session.state(), SessionState::Connected);
    assert!(!first.session.is_open());
    crate::stage::assert_alive(&mut conversation);
    second.close();
    second.expect(&["Closed", "Closing", "Disconnected"]);
    first.expect(&["Closing", "Disconnected"]);
    stage.assert_as_before();
}

/// Two sessions that open at once are both told each step.
#[test]
fn sessions_that_open_together_are_opened_together() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let (mut first, mut second, mut watcher) = (Watched::new(&manager), Watched::new(&manager), Watched::new(&manager));
    first.open();
    second.open();
    for session in [&mut first, &mut second] {
        session.expect(&["Connecting", "Connected", "Opened"]);
    }
    watcher.expect(&["Connecting", "Connected"]);
    watcher.expect_silence();
}

/// Who does not read in time is told what holds, and from then on every event once.
#[test]
fn a_reader_who_falls_behind_is_told_no_event_twice() {
    let stage = Stage::with_dnsmasq();
    stage.configure_by_hand();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    for _ in 0..201 {
        session.open();
        session.close();
    }
    session.open();
    let told: Vec<String> = std::iter::from_fn(|| session.try_next()).collect();
    let (current, later) = told.split_at(3);
    assert_eq!(current[..2], ["Lagged", "Connected"], "{told:?}");
    let turns = std::iter::successors(Some(current[2].as_str()), |last| {
        Some(if *last == "Opened" { "Closed" } else { "Opened" })
    });
    assert!(later.iter().eq(turns.skip(1).take(later.len())), "{told:?}");
    assert_eq!(told.last().unwrap(), "Opened");
}
