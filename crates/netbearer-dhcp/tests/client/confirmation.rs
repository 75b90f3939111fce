use std::{net::Ipv4Addr, time::Duration};

use dhcproto::v4::{DhcpOption, MessageType};
use netbearer_dhcp::{Event, Lease, LossReason, State, Term};

use crate::{
    history::{History, configuration},
    server::{Server, decode, requested_address, server_identifier},
};

/// With a lease of that many seconds, of which so many have passed, and REQUEST on its way.
fn confirming(lease_seconds: u32, passed: u64) -> History {
    let mut history = History::bound(lease_seconds);
    history.now = history.now + Duration::from_secs(passed);
    history.confirm();
    assert!(matches!(history.client.state(), State::Confirming { .. }));
    history
}

#[test]
fn whoever_is_there_is_asked_as_if_the_lease_were_remembered() {
    let history = confirming(1_000, 600);
    let sent = history.sent.clone().expect("REQUEST leaves at once");
    assert_eq!((sent.source, sent.destination), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST));
    let request = decode(&sent.payload);
    assert_eq!(request.opts().msg_type(), Some(MessageType::Request));
    assert_eq!(requested_address(&request), Some(Server::ADDRESS));
    assert_eq!(server_identifier(&request), None, "RFC 2131 §4.3.2");
    assert!(request.ciaddr().is_unspecified());
}

#[test]
fn a_confirmed_lease_is_prolonged() {
    let mut history = confirming(1_000, 600);
    let asked_at = history.now;
    history.answer();
    let news = history.take_news();
    let [Event::Renewed { lease, changed: false }] = news.as_slice() else { panic!("{news:?}") };
    assert_eq!(lease.term.expires_at(), Some(asked_at + Duration::from_secs(1_000)));
    assert!(matches!(history.client.state(), State::Bound(_)));
}

#[test]
fn a_network_that_has_changed_meanwhile_is_told_of() {
    let mut history = confirming(1_000, 100);
    history.server.identifier = Ipv4Addr::new(192, 0, 2, 2);
    history.server.set(DhcpOption::Router(vec![Ipv4Addr::new(192, 0, 2, 254)]));
    history.answer();
    assert!(matches!(history.take_news().as_slice(), [Event::Renewed { changed: true, .. }]));
}

#[test]
fn a_refusal_by_any_server_ends_the_lease_and_another_is_asked_for() {
    let mut history = confirming(1_000, 100);
    let request = history.request();
    let stranger = Server { identifier: Ipv4Addr::new(198, 51, 100, 1), ..Server::new(1_000) };
    history.deliver_message(&stranger.reply(&request, MessageType::Nak)).expect("it is heard");
    assert_eq!(history.take_news(), [Event::Lost(LossReason::RefusedByServer(String::new()))]);
    assert!(matches!(history.client.state(), State::Selecting(_)));
    history.settle();
}

#[test]
fn silence_keeps_the_lease_after_a_second() {
    let mut history = confirming(1_000, 100);
    let (began_at, lease) = (history.now, history.client.lease().cloned().expect("it is valid"));
    for _ in 0..4 {
        assert_eq!(history.take_news(), []);
        history.time_out();
    }
    assert!(history.now - began_at < Duration::from_millis(1_200));
    assert_eq!(history.take_news(), [Event::Kept(lease.clone())]);
    assert_eq!(history.client.state(), &State::Bound(lease));
}

#[test]
fn what_was_due_meanwhile_follows_at_once() {
    for (passed, name) in [(600, "RENEWING"), (900, "REBINDING")] {
        let mut history = confirming(1_000, passed);
        for _ in 0..4 {
            history.time_out();
        }
        assert!(matches!(history.take_news().as_slice(), [Event::Kept(_)]));
        assert_eq!(history.client.state().name(), name);
        history.answer();
        assert!(matches!(history.take_news().as_slice(), [Event::Renewed { .. }]));
    }
}

#[test]
fn a_lease_that_ended_meanwhile_is_lost() {
    let mut history = History::bound(1_000);
    history.now = history.now + Duration::from_secs(1_000);
    history.confirm();
    assert_eq!(history.take_news(), [Event::Lost(LossReason::Expired)]);
    assert!(matches!(history.client.state(), State::Selecting(_)));
}

#[test]
fn without_a_lease_there_is_nothing_to_confirm() {
    let mut history = History::new(configuration(), Server::new(1_000));
    history.confirm();
    assert_eq!(history.client.state(), &State::Init);
    history.start();
    let selecting = history.client.state().clone();
    history.confirm();
    assert_eq!(history.client.state(), &selecting);
}

#[test]
fn a_lease_that_was_written_down_goes_on_with_another_client_and_ends_when_it_would_have() {
    for is_answered in [true, false] {
        let mut history = History::bound(1_000);
        let end = history.client.lease().and_then(|lease| lease.term.expires_at()).expect("it has an end");
        history.now = history.now + Duration::from_secs(600);
        history.go_on_with_lease();
        assert_eq!((history.take_news(), history.sent.is_none()), (Vec::new(), true), "nothing is asked by itself");
        history.confirm();
        if is_answered {
            history.answer();
            assert!(matches!(history.take_news().as_slice(), [Event::Renewed { changed: false, .. }]));
        } else {
            let still_there = |history: &History| history.client.lease().is_some();
            while still_there(&history) {
                history.time_out();
            }
            assert_eq!((history.now, history.take_news().pop()), (end, Some(Event::Lost(LossReason::Expired))));
        }
    }
}

#[test]
fn a_lease_that_no_server_can_have_sent_is_none() {
    let lease = History::bound(1_000).client.lease().cloned().expect("there is a lease");
    assert_eq!(lease.clone().checked(), Some(lease.clone()));
    let wrong = [
        Lease { address: Ipv4Addr::new(224, 0, 0, 1), ..lease.clone() },
        Lease { prefix_length: 3, ..lease.clone() },
        Lease { server_identifier: Ipv4Addr::UNSPECIFIED, ..lease.clone() },
        Lease {
            term: Term::Limited {
                renew_at: lease.acquired_at,
                rebind_at: lease.acquired_at,
                expires_at: lease.acquired_at,
            },
            ..lease.clone()
        },
    ];
    for wrong in wrong {
        assert_eq!(wrong.clone().checked(), None, "{wrong:?}");
    }
    let search_domains = vec!["inside.test\nnameserver 192.0.2.1".to_owned(), "inside.test".to_owned()];
    let cleaned = Lease { search_domains, ..lease.clone() }.checked().expect("the rest of it can be");
    assert_eq!(cleaned.search_domains, ["inside.test"]);
}
