//! The machine is suspended and goes on. The suspends are injected: the clock of the service jumps, the machine's does not.

use std::time::Duration;

use netbearer::Profile;
use netbearer_lab::{
    AccessPointPlan, ClientState, Dhcp, Exchange, Fault, MessageType, Script, dhcproto::v4::OptionCode,
};

use crate::{
    leases::{server, short_leases, wait_for_renewal},
    stage::{AP0, DEADLINE, Stage, Watched, assert_alive},
};

const HOUR: Duration = Duration::from_secs(3_600);
const NAP: Duration = Duration::from_secs(600);
/// How long a link may be without a lease before its sessions lose it.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// A client that asks for its former address, and names no server, asks whether it is still its own (RFC 2131 §4.3.2).
fn confirms(exchange: &Exchange) -> bool {
    exchange.kind == MessageType::Request
        && exchange.message.ciaddr().is_unspecified()
        && exchange.message.opts().get(OptionCode::ServerIdentifier).is_none()
}

/// Leases for an hour that are renewed after some seconds: longer than a lost one may be asked for, so that whoever is
/// still open at the next renewal has its lease again.
fn long_leases() -> Stage {
    let script = Script::default().lease_time(HOUR).renewal_time(LOST_AFTER + Duration::from_secs(1));
    Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Scripted(script))])
}

/// Part of scenario 43: nothing has changed meanwhile, and nobody is told anything.
#[test]
fn a_session_goes_on_after_a_suspend_when_its_lease_is_confirmed() {
    let stage = long_leases();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let mut conversation = session.assert_up();
    let address = stage.address_of(AP0);
    for _ in 0..2 {
        let before = server(&stage).exchanges().mark();
        manager.suspend(NAP);
        server(&stage).exchanges().wait_for_since(before, "the question", DEADLINE, confirms).unwrap();
        wait_for_renewal(server(&stage));
        session.expect_silence();
        assert_alive(&mut conversation);
        assert_eq!(stage.address_of(AP0), address);
    }
    session.close();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    manager.shutdown();
    stage.assert_as_before();
}

/// Part of scenario 43: it is another network now, but there is a lease to be had in time.
#[test]
fn a_lease_that_is_refused_after_a_suspend_is_replaced_in_time() {
    let stage = long_leases();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    server(&stage).fail_next(1, Fault::NakWhile(ClientState::Rebooting));
    let before = server(&stage).exchanges().mark();
    manager.suspend(NAP);
    let is_offer = |exchange: &Exchange| exchange.kind == MessageType::Offer;
    server(&stage).exchanges().wait_for_since(before, "an OFFER after the NAK", DEADLINE, is_offer).unwrap();
    wait_for_renewal(server(&stage));
    session.expect_silence();
    session.assert_up();
}

/// Part of scenario 43: it is another network now, and there is none to be had.
#[test]
fn a_lease_that_is_refused_after_a_suspend_and_not_replaced_is_a_lost_link() {
    let stage = short_leases(HOUR);
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    server(&stage).fail(Fault::Nak);
    manager.suspend(NAP);
    session.expect(&["Disconnected", "Error(SessionAborted)", "Closed"]);
    manager.shutdown();
    stage.assert_as_before();
}

/// Part of scenario 43: a server that does not answer refuses nothing (RFC 2131 §3.2).
#[test]
fn a_lease_nobody_speaks_of_after_a_suspend_is_kept() {
    let stage = short_leases(HOUR);
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let mut conversation = session.assert_up();
    server(&stage).fail(Fault::Silent);
    manager.suspend(NAP);
    session.expect_silence_for(LOST_AFTER + Duration::from_secs(1));
    assert_alive(&mut conversation);
}

/// Part of scenario 43: leases do not outlive themselves.
#[test]
fn a_lease_that_ended_in_a_suspend_is_a_lost_link() {
    let stage = short_leases(HOUR);
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    manager.suspend(2 * HOUR);
    session.expect_loss("expired");
    session.open();
    session.expect_last("Opened");
    session.assert_up();
}

/// Part of scenario 43: what is not ours is only looked at anew.
#[test]
fn an_adopted_link_is_left_alone_by_a_suspend() {
    let mut stage = Stage::with_dnsmasq();
    stage.configure_by_hand();
    stage.remember();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let mut conversation = session.assert_up();
    manager.suspend(NAP);
    // Everything was looked at since.
    manager.wait_for(async |manager| manager.update_configurations().await).unwrap();
    session.expect_silence();
    assert_alive(&mut conversation);
    stage.assert_as_before();
}

/// Part of scenario 43: what is due by then is done.
#[test]
fn a_link_that_lingers_through_a_suspend_goes_down() {
    let script = Script::default().lease_time(2 * HOUR);
    let stage = Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Scripted(script))]);
    let manager = stage.manager_with(Profile { linger: HOUR, ..Profile::default() });
    let mut session = Watched::opened(&manager);
    session.close();
    session.expect(&["Closed"]);
    session.expect_silence();
    manager.suspend(HOUR);
    session.expect(&["Closing", "Disconnected"]);
    manager.shutdown();
    stage.assert_as_before();
}

/// Scenario 36, its first half: the time a session is open includes suspends.
#[test]
fn active_time_counts_suspends() {
    let stage = Stage::with_dnsmasq();
    stage.configure_by_hand();
    let manager = stage.manager();
    let session = Watched::new(&manager);
    assert_eq!(session.session.active_time(), Duration::ZERO);
    session.open();
    assert_eq!(session.session.wait_for_opened(Some(DEADLINE)), Ok(true));
    manager.suspend(NAP);
    let counted = session.session.active_time();
    assert!(counted >= NAP && counted < NAP + DEADLINE, "{counted:?}");
    assert_eq!(counted.subsec_nanos(), 0, "whole seconds");
    session.close();
    assert_eq!(session.session.active_time(), Duration::ZERO);
}
