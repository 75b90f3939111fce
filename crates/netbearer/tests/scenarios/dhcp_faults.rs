//! Scenario 16: each fault of a DHCP server, what sessions are told of it, and until when.

use std::time::Duration;

use netbearer::Profile;
use netbearer_lab::{
    AccessPointPlan, Dhcp, Script,
    dhcproto::v4::{DhcpOption, Message},
};

use crate::{
    leases::server,
    stage::{AP0, Stage, Watched},
};

/// Offers that nobody could use are no lease, and the failure says whose they were and what is wrong with them.
#[test]
fn offers_that_cannot_be_accepted_are_named_by_the_failure() {
    let stage = scripted(Script::default());
    server(&stage).alter_answers(|answer: &mut Message| {
        answer.opts_mut().insert(DhcpOption::AddressLeaseTime(0));
    });
    let manager = stage.manager_with(quick_to_give_up());
    let mut session = Watched::new(&manager);
    session.open();
    session.expect(&["Connecting", "Disconnected", "Error(Unknown)"]);
    let failure = session.session.error().unwrap();
    let told = ["offers came, but none was acceptable", "grants no time", &stage.router().to_string()];
    assert!(told.iter().all(|part| failure.message.contains(part)), "{failure}");
}

fn scripted(script: Script) -> Stage {
    Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Scripted(script))])
}

fn quick_to_give_up() -> Profile {
    Profile { connect_timeout: Duration::from_millis(600), ..Profile::default() }
}
