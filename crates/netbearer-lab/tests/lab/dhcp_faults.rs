//! What the scripted server can do wrong, and that NetBearer's own client lives through it.

use std::time::Duration;

use netbearer_dhcp::{Event, LossReason, PacketError, RememberedLease};
use netbearer_lab::{
    AccessPoint, AccessPointPlan, ClientState, Dhcp, DhcpServer, Fault, Lab, MessageType, Neighbour, Script, now,
};

use crate::{PATIENCE, our_client::OurClient};

fn lab(script: Script) -> Lab {
    let plan = AccessPointPlan::new("ap0").dhcp(Dhcp::Scripted(script));
    Lab::builder().reverse_path_filter(0).access_point(plan).build().expect("a lab")
}

fn parts(lab: &Lab) -> (&AccessPoint, &DhcpServer) {
    let ap0 = lab.access_point("ap0").expect("planned");
    (ap0, ap0.dhcp_server().expect("scripted"))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// T1 after one second, T2 after two.
fn short() -> Script {
    Script::default().lease_time(seconds(4)).renewal_time(seconds(1)).rebinding_time(seconds(2))
}

fn wait_for_request(server: &DhcpServer, state: ClientState) {
    let what = format!("a DHCPREQUEST while {state:?}");
    server.exchanges().wait_for(&what, PATIENCE, |exchange| exchange.client_state == Some(state)).expect("it came");
}

#[test]
fn a_nak_in_any_state_leads_to_another_lease() {
    use ClientState::{Rebinding, Rebooting, Renewing, Selecting};
    for state in [Selecting, Rebooting, Renewing, Rebinding] {
        let lab = lab(short());
        let (ap0, server) = parts(&lab);
        if state == Rebinding {
            // An ACK while renewing would not let it come to that. Discovering and requesting come before.
            server.fail_next(2, Fault::Delay(Duration::ZERO));
            server.fail_next(1, Fault::Silent);
        }
        server.fail_next(1, Fault::NakWhile(state));
        let mut client = OurClient::start_with(&lab, ap0, |configuration| {
            let address = ap0.subnet().host(100);
            let remembered = RememberedLease { address, expires_at: None, network: None };
            configuration.remembered = (state == Rebooting).then_some(remembered);
        });
        if state == Rebooting {
            assert!(matches!(client.event(), Event::NotConfirmed(LossReason::RefusedByServer(_))));
        }
        client.lease();
        if matches!(state, Renewing | Rebinding) {
            assert!(matches!(client.event(), Event::Lost(LossReason::RefusedByServer(_))), "{state:?}");
            client.lease();
        }
        wait_for_request(server, state);
        let is_nak = |exchange: &netbearer_lab::Exchange| exchange.kind == MessageType::Nak;
        assert_eq!(server.exchanges().entries().into_iter().filter(is_nak).count(), 1, "{state:?}");
    }
}

#[test]
fn another_address_on_renewal_is_not_taken() {
    let lab = lab(short());
    let (ap0, server) = parts(&lab);
    let mut client = OurClient::start(&lab, ap0);
    let lease = client.lease();
    let other = ap0.subnet().host(150);
    server.fail_next(1, Fault::OtherAddress(other));
    let refused = Event::Refused { server: ap0.subnet().gateway(), reason: PacketError::OtherAddress(other) };
    assert_eq!(client.event(), refused);
    assert!(matches!(client.event(), Event::Renewed { lease: renewed, .. } if renewed.address == lease.address));
    wait_for_request(server, ClientState::Rebinding);
}

#[test]
fn another_subnet_on_renewal_is_told_as_a_change() {
    let lab = lab(short());
    let (ap0, server) = parts(&lab);
    let mut client = OurClient::start(&lab, ap0);
    assert_eq!(client.lease().prefix_length, 24);
    server.follow(short().announced_subnet("10.10.0.0/16".parse().expect("a subnet")));
    let Event::Renewed { lease, changed: true } = client.event() else { panic!("it should have changed") };
    assert_eq!((lease.address, lease.prefix_length), (ap0.subnet().host(100), 16));
}

#[test]
fn a_server_that_falls_silent_at_a_moment_lets_the_lease_expire() {
    let lab = lab(short());
    let (ap0, server) = parts(&lab);
    let mut client = OurClient::start(&lab, ap0);
    client.lease();
    server.fail_from(now() + Duration::from_millis(1_500), Fault::Silent);
    assert!(matches!(client.event(), Event::Renewed { .. }), "it answered until then");
    assert_eq!(client.event(), Event::Lost(LossReason::Expired));
    server.heal();
    client.lease();
}

#[test]
fn a_lease_in_two_messages_is_taken() {
    let lab = lab(Script::default().rapid_commit(true));
    let (ap0, server) = parts(&lab);
    OurClient::start(&lab, ap0).lease();
    let kinds: Vec<_> = server.exchanges().entries().iter().map(|exchange| exchange.kind).collect();
    assert_eq!(kinds, [MessageType::Discover, MessageType::Ack]);
}

#[test]
fn an_address_in_use_is_declined_and_another_one_leased() {
    let lab = lab(Script::default());
    let (ap0, server) = parts(&lab);
    let address = ap0.subnet().host(100);
    let _neighbour = Neighbour::new(ap0, address).expect("plugged");
    let mut client = OurClient::start(&lab, ap0);
    assert_eq!(client.lease().address, address);
    client.decline();
    assert_eq!(client.event(), Event::Lost(LossReason::AddressInUse));
    assert_ne!(client.lease().address, address);
    server.wait_for(MessageType::Decline, PATIENCE).expect("it came");
    assert_eq!(server.declined(), [address]);
}
