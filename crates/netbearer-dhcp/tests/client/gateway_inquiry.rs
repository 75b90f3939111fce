use std::{net::Ipv4Addr, time::Duration};

use netbearer_dhcp::{
    GatewayInquiry, Lease, Route,
    arp::{BROADCAST, Message, Operation},
};

use crate::{
    history::{HARDWARE_ADDRESS, History, configuration},
    server::Server,
};

const GATEWAY_HARDWARE_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn lease() -> Lease {
    let mut history = History::new(configuration(), Server::new(3_600));
    history.start();
    history.answer();
    history.answer();
    history.client.lease().expect("it is granted").clone()
}

fn inquiry() -> GatewayInquiry {
    let lease = lease();
    GatewayInquiry::new(&lease, HARDWARE_ADDRESS, lease.acquired_at).expect("there is a gateway")
}

fn answer() -> Message {
    Message {
        operation: Operation::Reply,
        sender_hardware: GATEWAY_HARDWARE_ADDRESS,
        sender: Server::IDENTIFIER,
        target_hardware: HARDWARE_ADDRESS,
        target: Server::ADDRESS,
    }
}

#[test]
fn the_gateway_is_found_by_its_answer_once() {
    let mut inquiry = inquiry();
    let question = inquiry.poll_transmit().expect("it is asked for at once");
    assert_eq!(question.destination, BROADCAST);
    assert_eq!(question.message, Message::request(HARDWARE_ADDRESS, Server::ADDRESS, Server::IDENTIFIER));
    inquiry.handle_message(&answer());
    assert!(inquiry.is_over());
    assert_eq!(inquiry.poll_finding(), Some(GATEWAY_HARDWARE_ADDRESS));
    inquiry.handle_message(&answer());
    assert_eq!((inquiry.poll_finding(), inquiry.poll_timeout(), inquiry.poll_transmit()), (None, None, None));
}

#[test]
fn nothing_but_an_answer_of_the_gateway_to_this_host_counts() {
    let answer = answer();
    for other in [
        Message { operation: Operation::Request, ..answer },
        Message { sender: Ipv4Addr::new(192, 0, 2, 99), ..answer },
        Message { target: Ipv4Addr::new(192, 0, 2, 98), ..answer },
        Message { target_hardware: BROADCAST, ..answer },
        Message { sender_hardware: HARDWARE_ADDRESS, ..answer },
        Message { sender_hardware: BROADCAST, ..answer },
    ] {
        let mut inquiry = inquiry();
        inquiry.handle_message(&other);
        assert_eq!(inquiry.poll_finding(), None, "{other:?}");
        assert!(!inquiry.is_over());
    }
}

#[test]
fn a_silent_gateway_is_asked_for_three_times_in_three_seconds() {
    let start = lease().acquired_at;
    let mut inquiry = inquiry();
    let mut asked = Vec::new();
    while let Some(now) = inquiry.poll_timeout() {
        asked.extend(inquiry.poll_transmit().map(|_| now));
        inquiry.handle_timeout(now);
    }
    assert_eq!(asked, [1, 2, 3].map(|seconds| start + Duration::from_secs(seconds)), "each with its end");
    assert!(inquiry.is_over());
    inquiry.handle_message(&answer());
    assert_eq!(inquiry.poll_finding(), None, "nobody waits any more");
}

#[test]
fn without_a_gateway_nobody_is_asked_for() {
    let lease = lease();
    let without = Lease { routers: Vec::new(), ..lease.clone() };
    let own = Lease { classless_routes: vec![Route::default_via(lease.address)], ..lease.clone() };
    for lease in [without, own] {
        assert!(GatewayInquiry::new(&lease, HARDWARE_ADDRESS, lease.acquired_at).is_none());
    }
}
