use std::{
    net::Ipv4Addr,
    time::{Duration, SystemTime},
};

use dhcproto::v4::MessageType;
use netbearer_dhcp::{ClientConfiguration, Event, LossReason, PacketError, RememberedLease, State};

use crate::{
    history::{History, configuration},
    server::{Server, decode, requested_address, server_identifier},
};

fn remembering(address: Ipv4Addr) -> History {
    let remembered = Some(RememberedLease { address, expires_at: None, network: None });
    let mut history = History::new(ClientConfiguration { remembered, ..configuration() }, Server::new(3_600));
    history.start();
    history
}

#[test]
fn a_remembered_lease_is_confirmed_in_two_messages() {
    let mut history = remembering(Server::ADDRESS);
    let sent = history.sent.clone().expect("REQUEST leaves at once");
    assert_eq!((sent.source, sent.destination), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST));
    let request = decode(&sent.payload);
    assert_eq!(request.opts().msg_type(), Some(MessageType::Request));
    assert_eq!(requested_address(&request), Some(Server::ADDRESS));
    assert_eq!(server_identifier(&request), None, "RFC 2131 §4.3.2");
    assert!(request.ciaddr().is_unspecified());
    history.answer();
    assert!(matches!(history.take_news().as_slice(), [Event::Acquired(lease)] if lease.address == Server::ADDRESS));
}

#[test]
fn a_nak_to_a_remembered_lease_starts_over_at_once() {
    let mut history = remembering(Ipv4Addr::new(198, 51, 100, 9));
    history.answer();
    assert!(matches!(history.client.state(), State::Selecting(_)));
    let reason = LossReason::RefusedByServer(String::new());
    assert_eq!(history.take_news(), [Event::NotConfirmed(reason)], "should it be in use already");
    let discover = history.request();
    assert_eq!(requested_address(&discover), None, "the address was refused");
    let offer = history.server.answer(&discover).expect("there is an offer");
    history.deliver_message(&offer).expect("it is accepted");
    history.answer();
    assert!(matches!(history.client.state(), State::Bound(_)));
}

#[test]
fn silence_about_a_remembered_lease_is_over_after_four_tries() {
    let mut history = remembering(Server::ADDRESS);
    let began_at = history.now;
    for _ in 1..4 {
        history.time_out();
        assert!(matches!(history.client.state(), State::Rebooting { .. }));
    }
    history.time_out();
    assert!(matches!(history.client.state(), State::Selecting(_)));
    assert!(history.now - began_at < Duration::from_millis(1_200));
    assert_eq!(requested_address(&history.request()), Some(Server::ADDRESS), "it would still be welcome");
}

#[test]
fn an_offer_is_no_answer_to_a_remembered_lease() {
    let mut history = remembering(Server::ADDRESS);
    let request = history.request();
    let offer = history.server.reply(&request, MessageType::Offer);
    assert_eq!(history.deliver_message(&offer), Err(PacketError::MessageType));
}

#[test]
fn a_remembered_lease_that_no_host_can_have_is_not_asked_for() {
    for address in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::LOCALHOST, Ipv4Addr::new(224, 0, 0, 1)] {
        let mut history = remembering(address);
        assert!(matches!(history.client.state(), State::Selecting(_)), "{address}");
        assert_eq!(requested_address(&history.request()), None);
    }
}

#[test]
fn a_lease_is_remembered_until_its_end_by_the_wall_clock() {
    let history = History::bound(3_600);
    let wall_clock = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let lease = history.client.lease().expect("it was granted");
    let remembered = RememberedLease::new(lease, history.now + Duration::from_secs(600), wall_clock);
    assert_eq!(
        remembered,
        RememberedLease { address: Server::ADDRESS, expires_at: Some(1_800_003_000), network: None }
    );
    assert!(remembered.is_valid(wall_clock + Duration::from_secs(2_999)));
    assert!(!remembered.is_valid(wall_clock + Duration::from_secs(3_000)));

    let text = serde_json::to_string(&remembered).expect("it can be kept in a file");
    assert_eq!(text, r#"{"address":"192.0.2.77","expires_at":1800003000}"#);
    assert_eq!(serde_json::from_str::<RememberedLease>(&text).expect("and read again"), remembered);
}

#[test]
fn an_infinite_lease_is_remembered_for_ever() {
    let history = History::bound(u32::MAX);
    let lease = history.client.lease().expect("it was granted");
    let remembered = RememberedLease::new(lease, history.now, SystemTime::UNIX_EPOCH);
    assert_eq!(remembered.expires_at, None);
    assert!(remembered.is_valid(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX))));
}

#[test]
fn a_nak_to_the_remembered_address_withdraws_it_also_after_an_offer_of_it() {
    let mut history = remembering(Server::ADDRESS);
    while !matches!(history.client.state(), State::Selecting(_)) {
        history.time_out();
    }
    history.answer();
    history.server.refuses = true;
    history.answer();
    assert_eq!(history.take_news(), [Event::NotConfirmed(LossReason::RefusedByServer(String::new()))]);
}

#[test]
fn a_nak_to_another_address_leaves_the_remembered_one_alone() {
    let mut history = remembering(Ipv4Addr::new(192, 0, 2, 78));
    while !matches!(history.client.state(), State::Selecting(_)) {
        history.time_out();
    }
    history.answer();
    history.server.refuses = true;
    history.answer();
    assert_eq!(history.take_news(), []);
}
