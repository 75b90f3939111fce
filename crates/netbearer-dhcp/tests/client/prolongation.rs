use std::{net::Ipv4Addr, time::Duration};

use dhcproto::v4::{DhcpOption, MessageType};
use netbearer_dhcp::{Event, PacketError, State, Term};

use crate::{
    history::History,
    server::{Server, decode, requested_address, server_identifier},
};

fn terms(history: &History) -> [f64; 3] {
    let lease = history.client.lease().expect("there is a lease");
    let Term::Limited { renew_at, rebind_at, expires_at } = lease.term else { panic!("{lease:?} should end") };
    [renew_at, rebind_at, expires_at].map(|moment| (moment - lease.acquired_at).as_secs_f64())
}

/// Up to T1, with REQUEST on its way.
fn renewing(lease_seconds: u32) -> History {
    let mut history = History::bound(lease_seconds);
    history.time_out();
    assert!(matches!(history.client.state(), State::Renewing { .. }));
    history
}

/// Up to T2, with REQUEST on its way.
fn rebinding(lease_seconds: u32) -> History {
    let mut history = renewing(lease_seconds);
    while !matches!(history.client.state(), State::Rebinding { .. }) {
        history.time_out();
    }
    history
}

#[test]
fn at_t1_the_server_is_asked_to_prolong_the_lease() {
    let history = renewing(1_000);
    let sent = history.sent.clone().expect("REQUEST");
    assert_eq!((sent.source, sent.destination), (Server::ADDRESS, Server::IDENTIFIER));
    let request = decode(&sent.payload);
    assert_eq!(request.opts().msg_type(), Some(MessageType::Request));
    assert_eq!(request.ciaddr(), Server::ADDRESS);
    assert_eq!((requested_address(&request), server_identifier(&request)), (None, None), "RFC 2131 table 5");
}

#[test]
fn the_servers_t1_is_kept() {
    let mut history = History::bound(1_000);
    history.server.set(DhcpOption::Renewal(10));
    history.server.set(DhcpOption::Rebinding(20));
    history.time_out();
    history.answer();
    assert_eq!(terms(&history), [10.0, 20.0, 1_000.0]);
}

#[test]
fn an_acknowledgement_prolongs_the_lease() {
    let mut history = renewing(1_000);
    let asked_at = history.now;
    history.answer();
    let news = history.take_news();
    let [Event::Renewed { lease, changed: false }] = news.as_slice() else { panic!("{news:?}") };
    assert_eq!(lease.term.expires_at(), Some(asked_at + Duration::from_secs(1_000)));
    assert!(matches!(history.client.state(), State::Bound(_)));
}

#[test]
fn what_changed_with_a_renewal_is_told() {
    let mut history = renewing(1_000);
    history.server.set(DhcpOption::Router(vec![Ipv4Addr::new(192, 0, 2, 254)]));
    history.answer();
    let news = history.take_news();
    let [Event::Renewed { lease, changed: true }] = news.as_slice() else { panic!("{news:?}") };
    assert_eq!(lease.routers, [Ipv4Addr::new(192, 0, 2, 254)]);
}

#[test]
fn a_lease_may_become_infinite() {
    let mut history = renewing(1_000);
    history.server.set(DhcpOption::AddressLeaseTime(u32::MAX));
    history.answer();
    assert_eq!(history.client.poll_timeout(), None);
}

#[test]
fn a_renewal_of_another_address_is_ignored() {
    let mut history = renewing(1_000);
    let request = history.request();
    let address = Ipv4Addr::new(192, 0, 2, 78);
    let reply = Server { address, ..Server::new(1_000) }.reply(&request, MessageType::Ack);
    assert_eq!(history.deliver_message(&reply), Err(PacketError::OtherAddress(address)));
}

#[test]
fn unanswered_renewals_are_repeated_after_half_of_what_remains_but_not_within_a_minute() {
    let mut history = renewing(7_200);
    let [_, rebind, _] = terms(&history);
    let rebind_at = history.client.lease().expect("it is valid").acquired_at + Duration::from_secs_f64(rebind);
    let mut tries = 1;
    loop {
        let before = history.now;
        history.time_out();
        if !matches!(history.client.state(), State::Renewing { .. }) {
            break;
        }
        tries += 1;
        let waited = (history.now - before).as_secs_f64();
        let expected = ((rebind_at - before).as_secs_f64() / 2.0).max(60.0);
        assert!((waited - expected).abs() < 0.001, "{waited} instead of {expected}");
    }
    assert!((4..10).contains(&tries), "{tries}");
}

#[test]
fn at_t2_any_server_is_asked_from_the_leased_address() {
    let history = rebinding(1_000);
    let [_, rebind, _] = terms(&history);
    let lease = history.client.lease().expect("it is valid");
    assert!(((history.now - lease.acquired_at).as_secs_f64() - rebind).abs() < 0.001);
    let sent = history.sent.clone().expect("REQUEST");
    assert_eq!((sent.source, sent.destination), (Server::ADDRESS, Ipv4Addr::BROADCAST));
    let request = decode(&sent.payload);
    assert_eq!(request.ciaddr(), Server::ADDRESS);
    assert_eq!((requested_address(&request), server_identifier(&request)), (None, None));
}

#[test]
fn another_server_may_prolong_the_lease_while_rebinding() {
    let mut history = rebinding(1_000);
    history.server.identifier = Ipv4Addr::new(192, 0, 2, 2);
    history.answer();
    assert_eq!(history.client.lease().map(|lease| lease.server_identifier), Some(history.server.identifier));
    history.time_out();
    assert_eq!(history.sent.as_ref().map(|sent| sent.destination), Some(history.server.identifier));
}

#[test]
fn a_driver_that_slept_past_t2_rebinds_at_once() {
    let mut history = History::bound(1_000);
    history.now = history.now + Duration::from_secs(900);
    history.time_out();
    assert!(matches!(history.client.state(), State::Rebinding { .. }));
}

#[test]
fn a_lease_of_seconds_is_asked_for_more_than_once_and_renewed() {
    for lease_seconds in [1, 2, 4, 10, 30] {
        let mut history = renewing(lease_seconds);
        let mut requests = 0;
        while history.take_news().is_empty() {
            requests += u32::from(history.sent.take().is_some());
            history.time_out();
        }
        assert!((2..20).contains(&requests), "{requests} requests in {lease_seconds} s");
        history.settle();

        let mut history = renewing(lease_seconds);
        for _ in 0..50 {
            history.answer();
            history.time_out();
            assert!(matches!(history.client.state(), State::Renewing { .. }));
        }
    }
}

#[test]
fn nothing_is_expected_while_bound() {
    let mut history = History::bound(1_000);
    history.time_out();
    let request = history.request();
    let acknowledgement = history.server.answer(&request).expect("it is granted");
    history.deliver_message(&acknowledgement).expect("it is the first");
    for kind in [MessageType::Ack, MessageType::Nak, MessageType::Offer, MessageType::ForceRenew] {
        let reply = history.server.reply(&request, kind);
        assert_eq!(history.deliver_message(&reply), Err(PacketError::NotExpected), "{kind:?}");
    }
}

#[test]
fn renewals_nobody_fetched_are_told_as_one() {
    let mut history = History::bound(1_000);
    let mut renew = |router: Ipv4Addr| {
        history.now = history.client.poll_timeout().expect("it is to be renewed");
        history.client.handle_timeout(history.now);
        let request = decode(&history.client.poll_transmit().expect("REQUEST").payload);
        history.server.set(DhcpOption::Router(vec![router]));
        let reply = history.server.answer(&request).expect("it is granted");
        history.deliver(&crate::server::encode(&reply)).expect("it is accepted");
    };
    renew(Ipv4Addr::new(192, 0, 2, 250));
    renew(Ipv4Addr::new(192, 0, 2, 250));
    let news: Vec<Event> = std::iter::from_fn(|| history.client.poll_event()).collect();
    let [Event::Renewed { lease, changed: true }] = news.as_slice() else { panic!("{news:?}") };
    assert_eq!(Some(lease), history.client.lease());
}
