use std::{net::Ipv4Addr, time::Duration};

use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use netbearer_dhcp::{ClientConfiguration, ClientIdentifier, Event, PacketError, State, Term};

use crate::{
    history::{HARDWARE_ADDRESS, History, configuration},
    server::{Server, decode, requested_address, server_identifier},
};

fn started() -> History {
    let mut history = History::new(configuration(), Server::new(3_600));
    history.start();
    history
}

fn kind_of(history: &History) -> Option<MessageType> {
    decode(&history.sent.as_ref().expect("something was sent").payload).opts().msg_type()
}

#[test]
fn nothing_happens_before_the_start() {
    let mut history = History::new(configuration(), Server::new(3_600));
    assert_eq!(*history.client.state(), State::Init);
    assert_eq!(history.client.poll_timeout(), None);
    assert_eq!(history.client.poll_transmit(), None);
}

#[test]
fn four_messages_lead_to_a_lease() {
    let mut history = started();
    let began_at = history.now;

    let sent = history.sent.clone().expect("DISCOVER leaves at once");
    assert_eq!((sent.source, sent.destination), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST));
    assert!(sent.payload.len() >= 300, "relays drop shorter ones");
    let discover = decode(&sent.payload);
    assert_eq!(discover.opts().msg_type(), Some(MessageType::Discover));
    assert_eq!(discover.chaddr(), HARDWARE_ADDRESS);
    assert!(!discover.flags().broadcast());
    assert_eq!(discover.secs(), 0);
    let Some(DhcpOption::ParameterRequestList(parameters)) = discover.opts().get(OptionCode::ParameterRequestList)
    else {
        panic!("DISCOVER asks for parameters");
    };
    let position = |code| parameters.iter().position(|parameter| *parameter == code).expect("it is asked for");
    assert!(position(OptionCode::ClasslessStaticRoute) < position(OptionCode::Router), "RFC 3442");

    history.answer();
    let sent = history.sent.clone().expect("REQUEST follows at once");
    assert_eq!((sent.source, sent.destination), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST));
    let request = decode(&sent.payload);
    assert_eq!(request.opts().msg_type(), Some(MessageType::Request));
    assert_eq!(request.xid(), discover.xid());
    assert_eq!(request.secs(), discover.secs());
    assert_eq!(requested_address(&request), Some(Server::ADDRESS));
    assert_eq!(server_identifier(&request), Some(Server::IDENTIFIER));
    assert!(request.ciaddr().is_unspecified());
    assert_eq!(history.take_news(), [], "an offer is no lease");

    history.answer();
    let news = history.take_news();
    let [Event::Acquired(lease)] = news.as_slice() else { panic!("{news:?}") };
    assert_eq!((lease.address, lease.prefix_length), (Server::ADDRESS, 24));
    assert_eq!(lease.server_identifier, Server::IDENTIFIER);
    assert_eq!(lease.acquired_at, began_at);
    assert_eq!(lease.term.expires_at(), Some(began_at + Duration::from_secs(3_600)));
    assert_eq!(history.client.poll_timeout(), lease.term.renew_at());
    assert_eq!(history.sent, None);
}

#[test]
fn a_second_start_changes_nothing() {
    let mut history = started();
    let state = history.client.state().clone();
    history.sent = None;
    history.start();
    assert_eq!(*history.client.state(), state);
    assert_eq!(history.sent, None);
}

#[test]
fn the_term_counts_from_the_request_not_from_its_answer() {
    let mut history = started();
    history.answer();
    let asked_at = history.now;
    history.pass(Duration::from_millis(40));
    history.answer();
    let lease = history.client.lease().expect("it was granted");
    assert_eq!(lease.acquired_at, asked_at);
    assert_eq!(lease.term.expires_at(), Some(asked_at + Duration::from_secs(3_600)));
}

#[test]
fn a_lost_discover_is_repeated_ever_more_slowly() {
    let mut history = started();
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let before = history.now;
        history.time_out();
        assert_eq!(kind_of(&history), Some(MessageType::Discover));
        pauses.push((history.now - before).as_secs_f64());
    }
    for (pause, expected) in pauses.iter().zip([0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 16.0]) {
        assert!((0.75 * expected..1.25 * expected).contains(pause), "{pauses:?}");
    }
    let discover = history.request();
    assert!(discover.secs() >= 25, "relays see how long it takes: {}", discover.secs());
    let offer = history.server.answer(&discover).expect("there is an offer");
    history.deliver_message(&offer).expect("it is accepted");
    assert_eq!(history.request().secs(), discover.secs(), "RFC 2131 §4.4.1");
}

#[test]
fn an_answer_to_the_first_of_several_discovers_still_counts() {
    let mut history = started();
    let first = history.request();
    history.time_out();
    let offer = history.server.answer(&first).expect("there is an offer");
    history.deliver_message(&offer).expect("the transaction is the same");
    assert!(matches!(history.client.state(), State::Requesting { .. }));
}

#[test]
fn a_lost_request_is_repeated_and_then_the_offer_is_given_up() {
    let mut history = started();
    history.answer();
    let first = history.sent.clone();
    for _ in 1..6 {
        history.time_out();
        assert_eq!(history.sent, first, "a repetition is the same message");
    }
    history.time_out();
    assert_eq!(kind_of(&history), Some(MessageType::Discover));
    history.settle();
}

#[test]
fn a_repeated_request_that_is_answered_leads_to_a_lease() {
    let mut history = started();
    history.answer();
    history.time_out();
    history.answer();
    assert!(matches!(history.client.state(), State::Bound(_)));
}

#[test]
fn duplicates_and_late_offers_are_ignored() {
    let mut history = started();
    let discover = history.request();
    let offer = history.server.answer(&discover).expect("there is an offer");
    let mut other_server = Server { identifier: Ipv4Addr::new(192, 0, 2, 2), ..Server::new(3_600) };
    let late_offer = other_server.answer(&discover).expect("there is an offer");
    history.deliver_message(&offer).expect("it is the first");
    assert_eq!(history.deliver_message(&offer), Err(PacketError::MessageType));
    assert_eq!(history.deliver_message(&late_offer), Err(PacketError::MessageType));

    let request = history.request();
    let acknowledgement = history.server.answer(&request).expect("it is granted");
    history.deliver_message(&acknowledgement).expect("it is the first");
    for late in [&acknowledgement, &offer, &late_offer] {
        assert_eq!(history.deliver_message(late), Err(PacketError::NotExpected));
    }
    assert_eq!(history.take_news().len(), 1);
}

#[test]
fn an_acknowledgement_without_a_request_is_ignored() {
    let mut history = started();
    let discover = history.request();
    let acknowledgement = history.server.reply(&discover, MessageType::Ack);
    assert_eq!(history.deliver_message(&acknowledgement), Err(PacketError::NotCommitted));
}

#[test]
fn only_the_server_that_was_chosen_grants_or_refuses() {
    let mut history = started();
    history.answer();
    let request = history.request();
    let other = Server { identifier: Ipv4Addr::new(192, 0, 2, 2), ..Server::new(3_600) };
    for kind in [MessageType::Ack, MessageType::Nak] {
        let reply = other.reply(&request, kind);
        assert_eq!(history.deliver_message(&reply), Err(PacketError::Server(other.identifier)));
    }
}

#[test]
fn a_grant_of_another_address_than_the_offered_one_is_ignored() {
    let mut history = started();
    history.answer();
    let request = history.request();
    let address = Ipv4Addr::new(192, 0, 2, 78);
    let reply = Server { address, ..Server::new(3_600) }.reply(&request, MessageType::Ack);
    assert_eq!(history.deliver_message(&reply), Err(PacketError::OtherAddress(address)));
}

#[test]
fn a_grant_that_comes_after_its_own_end_is_ignored() {
    let mut history = History::new(configuration(), Server::new(1));
    history.start();
    history.answer();
    for _ in 1..4 {
        history.time_out();
    }
    let request = history.request();
    let acknowledgement = history.server.answer(&request).expect("it is granted");
    // Nobody handles the timeout: whoever drives the client was asleep.
    history.now = history.now + Duration::from_secs(1);
    assert_eq!(history.deliver_message(&acknowledgement), Err(PacketError::NoTime));
}

#[test]
fn a_server_that_refuses_for_ever_is_not_besieged() {
    let mut history = started();
    history.server.refuses = true;
    let began_at = history.now;
    let mut discovers = 0;
    while history.now - began_at < Duration::from_secs(600) {
        if history.sent.is_some() {
            discovers += u32::from(kind_of(&history) == Some(MessageType::Discover));
            assert!(discovers < 60, "{discovers} DISCOVERs in {:?}", history.now - began_at);
            history.answer();
        } else {
            history.time_out();
        }
    }
    assert!(discovers > 30, "{discovers} DISCOVERs in ten minutes are giving up");
    history.server.refuses = false;
    history.settle();
}

#[test]
fn the_first_refusal_costs_no_time() {
    let mut history = started();
    history.server.refuses = true;
    history.answer();
    history.answer();
    assert!(matches!(history.client.state(), State::Selecting(_)));
    assert_eq!(kind_of(&history), Some(MessageType::Discover));
    history.answer();
    history.answer();
    assert!(matches!(history.client.state(), State::Waiting { .. }), "the second one does");
    assert_eq!(history.take_news(), [], "nothing was lost, as nothing was had");
}

#[test]
fn the_identifier_is_sent_in_every_message_and_must_come_back() {
    let identifier = ClientIdentifier::new(vec![255, 1, 2, 3]).expect("four octets will do");
    let configuration = ClientConfiguration { client_identifier: Some(identifier), ..configuration() };
    let mut history = History::new(configuration, Server::new(3_600));
    history.start();
    let ours = DhcpOption::ClientIdentifier(vec![255, 1, 2, 3]);
    let discover = history.request();
    assert_eq!(discover.opts().get(OptionCode::ClientIdentifier), Some(&ours));

    let mut offer = history.server.answer(&discover).expect("there is an offer");
    offer.opts_mut().insert(DhcpOption::ClientIdentifier(vec![255, 9, 9, 9]));
    assert_eq!(history.deliver_message(&offer), Err(PacketError::ClientIdentifier), "RFC 6842");
    offer.opts_mut().remove(OptionCode::ClientIdentifier);
    history.deliver_message(&offer).expect("servers older than RFC 6842 do not send it back");
    assert_eq!(history.request().opts().get(OptionCode::ClientIdentifier), Some(&ours));
}

#[test]
fn the_broadcast_flag_is_set_on_demand_while_there_is_no_address() {
    let mut history = History::new(ClientConfiguration { broadcast: true, ..configuration() }, Server::new(100));
    history.start();
    assert!(decode(&history.sent.as_ref().expect("DISCOVER").payload).flags().broadcast());
    history.answer();
    assert!(decode(&history.sent.as_ref().expect("REQUEST").payload).flags().broadcast());
    history.answer();
    history.time_out();
    assert!(!decode(&history.sent.as_ref().expect("REQUEST").payload).flags().broadcast());
}

#[test]
fn an_infinite_lease_waits_for_nothing() {
    let history = History::bound(u32::MAX);
    assert_eq!(history.client.lease().map(|lease| lease.term), Some(Term::Infinite));
    assert_eq!(history.client.poll_timeout(), None);
}
