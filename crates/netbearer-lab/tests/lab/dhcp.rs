use std::{net::Ipv4Addr, time::Duration};

use netbearer_lab::{
    AccessPointPlan, Dhcp, Direction, Fault, Lab, MessageType, Script,
    dhcproto::v4::{DhcpOption, OptionCode},
};

use crate::{PATIENCE, dhcp_client::DhcpClient};

const NO_ADDRESS: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
/// Long enough for an answer to come, if one did.
const MOMENT: Duration = Duration::from_millis(50);

fn lab(dhcp: Dhcp) -> Lab {
    let plan = AccessPointPlan::new("ap0").dhcp(dhcp);
    Lab::builder().reverse_path_filter(0).access_point(plan).build().expect("a lab")
}

#[test]
fn dnsmasq_leases_at_once_and_logs_every_message() {
    let lab = lab(Dhcp::Dnsmasq);
    let ap0 = lab.access_point("ap0").expect("planned");
    let client = DhcpClient::new(&lab, ap0);
    let lease = client.lease();
    assert!(ap0.subnet().contains(lease.yiaddr()), "{}", lease.yiaddr());
    assert_eq!(lease.opts().get(OptionCode::AddressLeaseTime), Some(&DhcpOption::AddressLeaseTime(120)));

    let log = ap0.dhcp_log().expect("dnsmasq");
    for message in ["DHCPDISCOVER", "DHCPOFFER", "DHCPREQUEST", "DHCPACK"] {
        log.wait_for_text(message, PATIENCE).expect("logged");
    }
    let mark = log.mark();
    let server = DhcpOption::ServerIdentifier(ap0.subnet().gateway());
    client.send(MessageType::Release, lease.yiaddr(), &[server]);
    log.wait_for_text_since(mark, "DHCPRELEASE", PATIENCE).expect("logged");
}

#[test]
fn the_scripted_server_leases_for_seconds_and_records_both_ways() {
    let script = Script::default().lease_time(Duration::from_secs(4)).renewal_time(Duration::from_secs(1));
    let lab = lab(Dhcp::Scripted(script));
    let ap0 = lab.access_point("ap0").expect("planned");
    let lease = DhcpClient::new(&lab, ap0).lease();
    assert_eq!(lease.yiaddr(), ap0.subnet().host(100));
    assert_eq!(lease.opts().get(OptionCode::AddressLeaseTime), Some(&DhcpOption::AddressLeaseTime(4)));
    assert_eq!(lease.opts().get(OptionCode::Renewal), Some(&DhcpOption::Renewal(1)));
    assert_eq!(lease.opts().get(OptionCode::Rebinding), None);

    let server = ap0.dhcp_server().expect("scripted");
    server
        .exchanges()
        .wait_for("the acknowledgement", PATIENCE, |exchange| exchange.kind == MessageType::Ack)
        .expect("sent");
    let exchanges: Vec<_> =
        server.exchanges().entries().iter().map(|exchange| (exchange.direction, exchange.kind)).collect();
    use {Direction::*, MessageType::*};
    assert_eq!(exchanges, [(Received, Discover), (Sent, Offer), (Received, Request), (Sent, Ack)]);
}

#[test]
fn a_lease_in_two_messages_is_to_be_had_if_both_want_it() {
    for (rapid, answer) in [(true, MessageType::Ack), (false, MessageType::Offer)] {
        let lab = lab(Dhcp::Scripted(Script::default().rapid_commit(rapid)));
        let client = DhcpClient::new(&lab, lab.access_point("ap0").expect("planned"));
        let message = client.ask(MessageType::Discover, NO_ADDRESS, &[DhcpOption::RapidCommit]);
        assert_eq!(message.opts().msg_type(), Some(answer));
        assert_eq!(message.opts().contains(OptionCode::RapidCommit), rapid);
    }
}

#[test]
fn the_scripted_server_fails_as_often_as_it_is_told() {
    let lab = lab(Dhcp::Scripted(Script::default()));
    let ap0 = lab.access_point("ap0").expect("planned");
    let (client, server) = (DhcpClient::new(&lab, ap0), ap0.dhcp_server().expect("scripted"));
    let discover = || client.send(MessageType::Discover, NO_ADDRESS, &[]);

    server.fail_next(1, Fault::Silent);
    discover();
    server.wait_for(MessageType::Discover, PATIENCE).expect("it came");
    assert!(client.receive(MOMENT).is_none(), "answered in spite of the order");

    server.fail_next(1, Fault::WrongTransaction);
    discover();
    let answer = client.receive(PATIENCE).expect("an answer").expect("a message");
    assert_ne!(answer.xid(), client.transaction());

    server.fail_next(1, Fault::Garbage);
    discover();
    client.receive(PATIENCE).expect("an answer").expect_err("no message");

    server.fail_next(1, Fault::Delay(3 * MOMENT));
    discover();
    assert!(client.receive(MOMENT).is_none(), "answered too early");
    client.receive(PATIENCE).expect("a late answer").expect("a message");

    server.fail(Fault::Silent);
    discover();
    discover();
    assert!(client.receive(MOMENT).is_none(), "answered in spite of the order");
    server.heal();
    client.lease();
}

#[test]
fn a_refusal_is_for_requests_only() {
    let lab = lab(Dhcp::Scripted(Script::default()));
    let ap0 = lab.access_point("ap0").expect("planned");
    let (client, server) = (DhcpClient::new(&lab, ap0), ap0.dhcp_server().expect("scripted"));
    let address = client.lease().yiaddr();
    server.fail_next(1, Fault::Nak);
    assert_eq!(client.ask(MessageType::Discover, NO_ADDRESS, &[]).opts().msg_type(), Some(MessageType::Offer));
    let request = || client.ask(MessageType::Request, NO_ADDRESS, &[DhcpOption::RequestedIpAddress(address)]);
    assert_eq!(request().opts().msg_type(), Some(MessageType::Nak));
    assert_eq!(request().opts().msg_type(), Some(MessageType::Ack));
}

#[test]
fn offers_answers_and_subnet_change_at_a_word() {
    let lab = lab(Dhcp::Scripted(Script::default()));
    let ap0 = lab.access_point("ap0").expect("planned");
    let (client, server) = (DhcpClient::new(&lab, ap0), ap0.dhcp_server().expect("scripted"));
    server.offer(ap0.subnet().host(42));
    let old = client.lease().yiaddr();
    assert_eq!(old, ap0.subnet().host(42));

    server.alter_answers(|answer| drop(answer.opts_mut().remove(OptionCode::Router)));
    assert_eq!(client.lease().opts().get(OptionCode::Router), None);
    server.heal();

    ap0.move_to("10.77.0.0/24".parse().expect("a subnet")).expect("plugged");
    let refusal = client.ask(MessageType::Request, NO_ADDRESS, &[DhcpOption::RequestedIpAddress(old)]);
    assert_eq!(refusal.opts().msg_type(), Some(MessageType::Nak));
    assert_eq!(client.lease().yiaddr(), Ipv4Addr::new(10, 77, 0, 100));
}

#[test]
fn a_declined_address_is_not_offered_again() {
    let lab = lab(Dhcp::Scripted(Script::default()));
    let ap0 = lab.access_point("ap0").expect("planned");
    let client = DhcpClient::new(&lab, ap0);
    let declined = client.lease().yiaddr();
    client.send(MessageType::Decline, NO_ADDRESS, &[DhcpOption::RequestedIpAddress(declined)]);
    assert_ne!(client.lease().yiaddr(), declined);
}

#[test]
fn both_servers_serve_a_card_that_was_plugged_again_with_another_index() {
    for dhcp in [Dhcp::Dnsmasq, Dhcp::Scripted(Script::default())] {
        let lab = lab(dhcp);
        let ap0 = lab.access_point("ap0").expect("planned");
        let before = DhcpClient::new(&lab, ap0).lease().yiaddr();
        ap0.unplug().expect("plugged");
        ap0.plug_with_index(900).expect("unplugged");
        assert_eq!(DhcpClient::new(&lab, ap0).lease().yiaddr(), before, "the same card gets the same address");
    }
}

#[test]
fn a_client_with_an_address_is_answered_there() {
    let lab = lab(Dhcp::Scripted(Script::default()));
    let ap0 = lab.access_point("ap0").expect("planned");
    let client = DhcpClient::new(&lab, ap0);
    let address = client.lease().yiaddr();
    lab.machine().ip_lines(&["address", "add", &format!("{address}/24"), "dev", "ap0"]).expect("ip obeys");
    let capture = netbearer_lab::Capture::start(lab.machine(), "ap0", "udp dst port 68").expect("a capture");
    assert_eq!(client.ask(MessageType::Request, address, &[]).opts().msg_type(), Some(MessageType::Ack));
    let packets = capture.finish().expect("the end");
    assert!(packets.iter().any(|packet| packet.contains(&format!("> {address}.68"))), "{packets:?}");
}
