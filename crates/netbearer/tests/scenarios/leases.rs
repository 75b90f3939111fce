use std::time::Duration;

use netbearer::{HostName, Profile, VendorClass};
use netbearer_lab::{
    AccessPointPlan, Dhcp, DhcpServer, Exchange, MessageType, Script,
    dhcproto::v4::{DhcpOption, OptionCode},
};

use crate::stage::{AP0, DEADLINE, Stage, Watched};

/// A lease of a few seconds is prolonged again and again, and nobody is told.
#[test]
fn a_lease_is_renewed_in_silence() {
    let stage = short_leases(Duration::from_secs(2));
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let mut conversation = session.assert_up();
    for _ in 0..2 {
        wait_for_renewal(server(&stage));
    }
    session.expect_silence();
    crate::stage::assert_alive(&mut conversation);
}

/// What the profile says of the client is what servers hear of it, in every message.
#[test]
fn dhcp_servers_are_told_what_the_profile_says() {
    let stage = short_leases(Duration::from_secs(600));
    let manager = stage.manager_with(Profile {
        client_identifier: Some("ff:01:02:03".parse().unwrap()),
        hostname: Some(HostName::new("gateway-7").unwrap()),
        vendor_class: Some(VendorClass::new(*b"netbearer").unwrap()),
        rapid_commit: false,
        ipv6_only: true,
        ..Profile::default()
    });
    let _session = Watched::opened(&manager);
    for kind in [MessageType::Discover, MessageType::Request] {
        let asked = server(&stage).wait_for(kind, DEADLINE).unwrap().message;
        let options = asked.opts();
        assert_eq!(options.get(OptionCode::Hostname), Some(&DhcpOption::Hostname("gateway-7".to_owned())));
        assert_eq!(options.get(OptionCode::ClassIdentifier), Some(&DhcpOption::ClassIdentifier(b"netbearer".to_vec())));
        let identifier = DhcpOption::ClientIdentifier(vec![0xff, 1, 2, 3]);
        assert_eq!(options.get(OptionCode::ClientIdentifier), Some(&identifier));
        assert!(!options.contains(OptionCode::RapidCommit));
        let wanted = format!("{:?}", options.get(OptionCode::ParameterRequestList));
        assert!(wanted.contains("108"), "IPv6-only is asked for (RFC 8925 §3.1): {wanted}");
    }
}

pub(crate) fn short_leases(lease_time: Duration) -> Stage {
    let script = Script::default().lease_time(lease_time);
    Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Scripted(script))])
}

pub(crate) fn server(stage: &Stage) -> &DhcpServer {
    stage.ap0().dhcp_server().unwrap()
}

/// A client that asks for its own address from that address is renewing (RFC 2131 §4.3.2).
pub(crate) fn wait_for_renewal(server: &DhcpServer) {
    let before = server.exchanges().mark();
    let is_renewal =
        |exchange: &Exchange| exchange.kind == MessageType::Request && !exchange.message.ciaddr().is_unspecified();
    server.exchanges().wait_for_since(before, "a renewal", DEADLINE, is_renewal).unwrap();
}
