use std::{net::Ipv4Addr, time::Duration};

use dhcproto::v4::{DhcpOption, MessageType};
use netbearer_dhcp::{Event, LossReason, PacketError, State};

use crate::{
    history::History,
    server::{Server, decode, requested_address},
};

fn advance_to(history: &mut History, reached: impl Fn(&State) -> bool) {
    while !reached(history.client.state()) {
        history.time_out();
    }
}

fn is_renewing(state: &State) -> bool {
    matches!(state, State::Renewing { .. })
}

fn is_rebinding(state: &State) -> bool {
    matches!(state, State::Rebinding { .. })
}

fn is_selecting(state: &State) -> bool {
    matches!(state, State::Selecting(_))
}

fn refuse(history: &mut History, server: &Server) -> Result<(), PacketError> {
    let request = history.request();
    let mut refusal = server.reply(&request, MessageType::Nak);
    refusal.opts_mut().insert(DhcpOption::Message("no\u{7} more".into()));
    history.deliver_message(&refusal)
}

#[test]
fn a_nak_while_renewing_starts_over_at_once() {
    let mut history = History::bound(1_000);
    advance_to(&mut history, is_renewing);
    let server = history.server.clone();
    refuse(&mut history, &server).expect("it is the lease's server");
    assert_eq!(history.take_news(), [Event::Lost(LossReason::RefusedByServer("no more".into()))]);
    assert!(is_selecting(history.client.state()));
    let discover = history.request();
    assert_eq!(discover.opts().msg_type(), Some(MessageType::Discover));
    assert_eq!(requested_address(&discover), None, "the address was refused");
}

#[test]
fn a_nak_from_another_server_while_renewing_is_ignored() {
    let mut history = History::bound(1_000);
    advance_to(&mut history, is_renewing);
    let other = Server { identifier: Ipv4Addr::new(192, 0, 2, 2), ..Server::new(1_000) };
    assert_eq!(refuse(&mut history, &other), Err(PacketError::Server(other.identifier)));
}

#[test]
fn a_nak_while_rebinding_starts_over_whoever_sent_it() {
    let mut history = History::bound(1_000);
    advance_to(&mut history, is_rebinding);
    let other = Server { identifier: Ipv4Addr::new(192, 0, 2, 2), ..Server::new(1_000) };
    refuse(&mut history, &other).expect("any server may refuse now");
    assert!(matches!(history.take_news().as_slice(), [Event::Lost(LossReason::RefusedByServer(_))]));
    assert!(is_selecting(history.client.state()));
}

#[test]
fn a_lease_nobody_prolongs_expires_on_time_and_the_address_is_asked_for_again() {
    let mut history = History::bound(1_000);
    let expires_at = history.client.lease().and_then(|lease| lease.term.expires_at()).expect("it ends");
    advance_to(&mut history, is_selecting);
    assert_eq!(history.now, expires_at);
    assert_eq!(history.take_news(), [Event::Lost(LossReason::Expired)]);
    let discover = history.request();
    assert_eq!(discover.secs(), 0);
    assert_eq!(requested_address(&discover), Some(Server::ADDRESS));
    let offer = history.server.answer(&discover).expect("there is an offer");
    history.deliver_message(&offer).expect("it is accepted");
    history.answer();
    assert!(matches!(history.take_news().as_slice(), [Event::Acquired(_)]));
}

#[test]
fn a_lease_that_ended_in_suspend_is_lost_on_waking() {
    let mut history = History::bound(1_000);
    history.now = history.now + Duration::from_secs(86_400);
    history.time_out();
    assert_eq!(history.take_news(), [Event::Lost(LossReason::Expired)]);
    assert!(is_selecting(history.client.state()));
}

#[test]
fn an_answer_that_comes_after_the_end_does_not_prolong_the_lease() {
    let mut history = History::bound(1_000);
    advance_to(&mut history, is_rebinding);
    let request = history.request();
    let acknowledgement = history.server.answer(&request).expect("it is granted");
    history.now = history.now + Duration::from_secs(1_000);
    assert_eq!(history.deliver_message(&acknowledgement), Err(PacketError::Transaction));
    assert_eq!(history.take_news(), [Event::Lost(LossReason::Expired)]);
}

#[test]
fn a_loss_and_what_follows_wait_in_order_and_nothing_before_them() {
    let mut history = History::bound(10);
    for _ in 0..5 {
        // Nobody fetches events: lose the lease, and get another one.
        while history.client.lease().is_some() {
            history.now = history.client.poll_timeout().expect("it will be lost");
            history.client.handle_timeout(history.now);
        }
        while history.client.lease().is_none() {
            let request = decode(&history.client.poll_transmit().expect("something is asked").payload);
            let reply = history.server.answer(&request).expect("the server answers");
            history.deliver(&crate::server::encode(&reply)).expect("it is accepted");
        }
    }
    let news: Vec<Event> = std::iter::from_fn(|| history.client.poll_event()).collect();
    assert!(matches!(news.as_slice(), [Event::Lost(LossReason::Expired), Event::Acquired(_)]), "{news:?}");
}

#[test]
fn a_server_that_grants_and_refuses_in_turn_sets_no_pace() {
    let mut history = History::bound(1);
    let began_at = history.now;
    let mut messages = 0;
    while history.now - began_at < Duration::from_secs(60) {
        let Some(sent) = history.sent.take() else {
            history.time_out();
            continue;
        };
        messages += 1;
        assert!(messages <= 60, "{messages} messages in {:?}", history.now - began_at);
        let request = decode(&sent.payload);
        let kind = match request.opts().msg_type() {
            Some(MessageType::Discover) => MessageType::Offer,
            _ if request.ciaddr().is_unspecified() => MessageType::Ack,
            _ => MessageType::Nak,
        };
        let reply = history.server.reply(&request, kind);
        history.deliver_message(&reply).expect("it is accepted");
    }
}

#[test]
fn refusals_that_are_far_apart_cost_no_time() {
    let mut history = History::bound(1_000);
    for _ in 0..20 {
        advance_to(&mut history, is_renewing);
        let server = history.server.clone();
        refuse(&mut history, &server).expect("it is the lease's server");
        assert!(is_selecting(history.client.state()));
        history.answer();
        history.answer();
    }
}

#[test]
fn a_refusal_soon_after_another_costs_time_whatever_was_granted_in_between() {
    let mut history = History::bound(2);
    let mut delays = Vec::new();
    for _ in 0..8 {
        advance_to(&mut history, is_renewing);
        let server = history.server.clone();
        refuse(&mut history, &server).expect("it is the lease's server");
        let refused_at = history.now;
        advance_to(&mut history, is_selecting);
        delays.push((history.now - refused_at).as_secs_f64());
        history.answer();
        history.answer();
    }
    for (delay, expected) in delays.iter().zip([0.0, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0]) {
        assert!((0.75 * expected..=1.25 * expected).contains(delay), "{delays:?}");
    }
}

#[test]
fn a_nak_means_nothing_to_a_client_that_asked_for_no_address() {
    let refused_in = |history: &mut History, expected: PacketError| {
        let request = decode(&history.last_sent.clone().expect("something was asked").payload);
        let refusal = history.server.reply(&request, MessageType::Nak);
        assert_eq!(history.deliver_message(&refusal), Err(expected), "{:?}", history.client.state());
        assert_eq!(history.take_news(), []);
    };
    let mut history = History::bound(1_000);
    refused_in(&mut history, PacketError::NotExpected);
    history.release();
    refused_in(&mut history, PacketError::NotExpected);
    history.start();
    refused_in(&mut history, PacketError::MessageType);
    history.server.refuses = true;
    while !matches!(history.client.state(), State::Waiting { .. }) {
        history.answer();
    }
    refused_in(&mut history, PacketError::NotExpected);
}
