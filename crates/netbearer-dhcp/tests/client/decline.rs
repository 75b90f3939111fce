use std::{net::Ipv4Addr, time::Duration};

use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use netbearer_dhcp::{ClientConfiguration, Event, LossReason, PacketError, RememberedLease, State};

use crate::{
    history::{History, configuration},
    server::{Server, decode, requested_address, server_identifier},
};

#[test]
fn a_declination_tells_everybody_which_address_of_whom() {
    let mut history = History::bound(3_600);
    history.decline();
    let sent = history.sent.clone().expect("DECLINE");
    assert_eq!((sent.source, sent.destination), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST), "RFC 2131 §4.4.4");
    let decline = decode(&sent.payload);
    assert_eq!(decline.opts().msg_type(), Some(MessageType::Decline));
    assert!(decline.ciaddr().is_unspecified(), "RFC 2131 table 5");
    assert_eq!(requested_address(&decline), Some(Server::ADDRESS));
    assert_eq!(server_identifier(&decline), Some(Server::IDENTIFIER));
    for code in [OptionCode::ParameterRequestList, OptionCode::MaxMessageSize, OptionCode::RapidCommit] {
        assert!(!decline.opts().contains(code), "RFC 2131 table 5: {code:?}");
    }
    assert_eq!(history.take_news(), [Event::Lost(LossReason::AddressInUse)]);
    assert_eq!(history.client.lease(), None);
}

#[test]
fn after_the_first_conflict_another_address_comes_without_delay() {
    let mut history = History::bound(3_600);
    let declined_at = history.now;
    history.decline();
    history.time_out();
    assert!(history.now - declined_at < Duration::from_millis(100));
    let discover = history.request();
    assert_eq!(discover.opts().msg_type(), Some(MessageType::Discover));
    assert_eq!(requested_address(&discover), None, "it is not asked for again");
    let offer = history.server.answer(&discover).expect("there is an offer");
    history.deliver_message(&offer).expect("it is another address");
    history.answer();
    assert!(matches!(history.take_news().as_slice(), [_, Event::Acquired(lease)] if lease.address != Server::ADDRESS));
}

#[test]
fn the_declined_address_is_not_taken_again_from_anybody_in_any_way() {
    let mut history = History::bound(3_600);
    history.decline();
    history.take_news();
    history.time_out();
    let discover = history.request();
    for identifier in [Server::IDENTIFIER, Ipv4Addr::new(192, 0, 2, 2)] {
        let stubborn = Server { identifier, ..Server::new(3_600) };
        for kind in [MessageType::Offer, MessageType::Ack] {
            let mut reply = stubborn.reply(&discover, kind);
            reply.opts_mut().insert(DhcpOption::RapidCommit);
            assert_eq!(history.deliver_message(&reply), Err(PacketError::Declined(Server::ADDRESS)), "{kind:?}");
        }
    }
    let reason = PacketError::Declined(Server::ADDRESS);
    assert_eq!(history.take_news(), [Event::Refused { server: Server::IDENTIFIER, reason }]);
}

#[test]
fn further_conflicts_cost_ten_seconds_and_many_a_minute() {
    let mut history = History::bound(3_600);
    let mut delays = Vec::new();
    for _ in 0..15 {
        let declined_at = history.now;
        history.decline();
        history.time_out();
        delays.push((history.now - declined_at).as_secs_f64());
        history.answer();
        history.answer();
    }
    assert!(delays[0] < 0.1, "{delays:?}");
    assert!(delays[1..10].iter().all(|delay| (10.0..12.5).contains(delay)), "{delays:?}");
    assert!(delays[10..].iter().all(|delay| (60.0..75.0).contains(delay)), "{delays:?}");
}

#[test]
fn a_remembered_address_that_another_host_uses_is_given_up_in_silence() {
    let remembered = Some(RememberedLease { address: Server::ADDRESS, expires_at: None, network: None });
    let mut history = History::new(ClientConfiguration { remembered, ..configuration() }, Server::new(3_600));
    history.start();
    history.sent = None;
    history.decline();
    assert_eq!(history.sent, None, "no server is known that could be told");
    assert_eq!(history.take_news(), [Event::NotConfirmed(LossReason::AddressInUse)]);
    history.time_out();
    let discover = history.request();
    assert_eq!(requested_address(&discover), None);
    let offer = Server::new(3_600).reply(&discover, MessageType::Offer);
    assert_eq!(history.deliver_message(&offer), Err(PacketError::Declined(Server::ADDRESS)));
}

#[test]
fn without_an_address_there_is_nothing_to_decline() {
    let mut history = History::new(configuration(), Server::new(3_600));
    history.decline();
    assert_eq!(*history.client.state(), State::Init);
    history.start();
    let state = history.client.state().clone();
    history.decline();
    assert_eq!(*history.client.state(), state);
    history.release();
    history.decline();
    assert_eq!(*history.client.state(), State::Released);
    assert_eq!(history.take_news(), []);
}

#[test]
fn a_lease_that_has_ended_is_not_declined_but_its_address_is_avoided() {
    let mut history = History::bound(1_000);
    history.now = history.now + Duration::from_secs(1_000);
    history.decline();
    assert_eq!(history.take_news(), [Event::Lost(LossReason::Expired)]);
    let discover = history.request();
    assert_eq!(discover.opts().msg_type(), Some(MessageType::Discover));
    assert_eq!(requested_address(&discover), None);
    let offer = Server::new(3_600).reply(&discover, MessageType::Offer);
    assert_eq!(history.deliver_message(&offer), Err(PacketError::Declined(Server::ADDRESS)));
}

#[test]
fn a_new_start_forgets_which_addresses_were_declined() {
    let mut history = History::bound(1_000);
    history.decline();
    history.release();
    history.server = Server::new(1_000);
    history.start();
    history.answer();
    history.answer();
    assert_eq!(history.client.lease().map(|lease| lease.address), Some(Server::ADDRESS));
}

#[test]
fn a_remembered_address_can_be_declined_as_long_as_no_server_has_said_anything_of_it() {
    let remembered = Some(RememberedLease { address: Server::ADDRESS, expires_at: None, network: None });
    let mut history = History::new(ClientConfiguration { remembered, ..configuration() }, Server::new(3_600));
    history.start();
    while !matches!(history.client.state(), State::Selecting(_)) {
        history.time_out();
    }
    assert_eq!(requested_address(&history.request()), Some(Server::ADDRESS), "it would still be welcome");
    history.decline();
    assert_eq!(history.take_news(), [Event::NotConfirmed(LossReason::AddressInUse)]);
    history.time_out();
    assert_eq!(requested_address(&history.request()), None);
    history.decline();
    assert_eq!(history.take_news(), [], "it is declined already");
}
