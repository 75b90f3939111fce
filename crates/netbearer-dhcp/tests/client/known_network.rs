use std::{
    net::Ipv4Addr,
    time::{Duration, SystemTime},
};

use dhcproto::v4::{DhcpOption, MessageType};
use netbearer_dhcp::{
    ClientConfiguration, Event, KnownNetwork, Lease, RememberedLease, RememberedNetwork, Route, Term,
    arp::{Message, Operation},
};
use netbearer_types::Moment;

use crate::{
    history::{HARDWARE_ADDRESS, History, configuration},
    server::Server,
};

const GATEWAY: Ipv4Addr = Server::IDENTIFIER;
/// That of a virtual router, which is as good as any.
const GATEWAY_HARDWARE_ADDRESS: [u8; 6] = [0, 0, 0x5e, 0, 1, 7];
const NOW: Moment = Moment::from_nanoseconds(5_000_000_000);

fn wall_clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// A lease with everything in it, had from `server` an hour before its end.
fn lease(server: &Server) -> Lease {
    let mut server = server.clone();
    for option in [
        DhcpOption::DomainNameServer(vec![Ipv4Addr::new(192, 0, 2, 53)]),
        DhcpOption::DomainName("example.com".into()),
        DhcpOption::InterfaceMtu(1_400),
        DhcpOption::CaptivePortal("https://portal.example/".into()),
        DhcpOption::BroadcastAddr(Ipv4Addr::new(192, 0, 2, 255)),
    ] {
        server.set(option);
    }
    let mut history = History::new(configuration(), server);
    history.start();
    history.answer();
    history.answer();
    history.client.lease().expect("it is granted").clone()
}

fn remembered() -> RememberedLease {
    let lease = lease(&Server::new(3_600));
    RememberedLease::new(&lease, lease.acquired_at, wall_clock()).with_network(&lease, GATEWAY_HARDWARE_ADDRESS)
}

fn network(remembered: &mut RememberedLease) -> &mut RememberedNetwork {
    remembered.network.as_mut().expect("it is remembered")
}

fn asking(remembered: &RememberedLease) -> Option<KnownNetwork> {
    KnownNetwork::new(remembered, HARDWARE_ADDRESS, NOW, wall_clock())
}

fn answer() -> Message {
    Message {
        operation: Operation::Reply,
        sender_hardware: GATEWAY_HARDWARE_ADDRESS,
        sender: GATEWAY,
        target_hardware: HARDWARE_ADDRESS,
        target: Server::ADDRESS,
    }
}

#[test]
fn the_gateway_alone_is_asked_at_once() {
    let mut known_network = asking(&remembered()).expect("there is a gateway to ask");
    let transmit = known_network.poll_transmit().expect("the question leaves at once");
    assert_eq!(transmit.destination, GATEWAY_HARDWARE_ADDRESS);
    assert_eq!(transmit.message, Message::request(HARDWARE_ADDRESS, Server::ADDRESS, GATEWAY));
    assert_eq!(known_network.poll_transmit(), None);
    assert_eq!(known_network.poll_confirmation(), None);
}

#[test]
fn the_gateways_answer_confirms_the_whole_lease_once() {
    let mut known_network = asking(&remembered()).expect("there is a gateway to ask");
    known_network.poll_transmit();
    known_network.handle_message(&answer());
    let confirmed = known_network.poll_confirmation().expect("it is the network");
    let original = lease(&Server::new(3_600));
    assert_eq!(confirmed.term.expires_at(), Some(NOW + Duration::from_secs(3_600)));
    assert_eq!(Lease { acquired_at: original.acquired_at, term: original.term, ..confirmed }, original);

    assert_eq!(known_network.poll_timeout(), None);
    known_network.handle_message(&answer());
    assert_eq!((known_network.poll_confirmation(), known_network.poll_transmit()), (None, None));
}

#[test]
fn nobody_elses_answer_confirms() {
    let other = [2, 0, 0, 0, 0, 9];
    for message in [
        Message { sender_hardware: other, ..answer() },
        Message { sender: Ipv4Addr::new(192, 0, 2, 2), ..answer() },
        Message { target: Ipv4Addr::new(192, 0, 2, 78), ..answer() },
        Message { target_hardware: other, ..answer() },
        Message { operation: Operation::Request, ..answer() },
        Message::announcement(GATEWAY_HARDWARE_ADDRESS, GATEWAY),
    ] {
        let mut known_network = asking(&remembered()).expect("there is a gateway to ask");
        known_network.handle_message(&message);
        assert_eq!(known_network.poll_confirmation(), None, "{message:?}");
        assert!(known_network.poll_timeout().is_some(), "it is still asking");
    }
}

#[test]
fn silence_is_over_after_four_questions_in_little_more_than_half_a_second() {
    let mut known_network = asking(&remembered()).expect("there is a gateway to ask");
    let (mut questions, mut now) = (0, NOW);
    loop {
        questions += usize::from(known_network.poll_transmit().is_some());
        let Some(timeout) = known_network.poll_timeout() else { break };
        now = timeout;
        known_network.handle_timeout(now);
    }
    assert_eq!((questions, now - NOW), (4, Duration::from_millis(605)));
    known_network.handle_message(&answer());
    assert_eq!(known_network.poll_confirmation(), None, "it comes too late");
}

#[test]
fn what_cannot_be_is_not_asked_for() {
    let after = |change: fn(&mut RememberedLease)| {
        let mut remembered = remembered();
        change(&mut remembered);
        asking(&remembered).is_some()
    };
    assert!(after(|_| ()));
    assert!(after(|remembered| remembered.expires_at = None));
    assert!(!after(|remembered| remembered.network = None), "an older file");
    assert!(!after(|remembered| remembered.expires_at = Some(1_800_000_000)), "it has ended");
    for address in [[169, 254, 1, 2], [0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [192, 0, 2, 255], [192, 0, 2, 1]] {
        let mut remembered = remembered();
        remembered.address = address.into();
        assert!(asking(&remembered).is_none(), "{address:?}");
    }
    for gateway in [[169, 254, 1, 1], [0, 0, 0, 0], [127, 0, 0, 1], [255, 255, 255, 255], Server::ADDRESS.octets()] {
        let mut remembered = remembered();
        network(&mut remembered).gateway = gateway.into();
        assert!(asking(&remembered).is_none(), "{gateway:?}");
    }
    for hardware_address in [[0; 6], [0xff; 6], [1, 0, 0x5e, 0, 0, 1], HARDWARE_ADDRESS] {
        let mut remembered = remembered();
        network(&mut remembered).gateway_hardware_address = hardware_address;
        assert!(asking(&remembered).is_none(), "{hardware_address:?}");
    }
    for prefix_length in [0, 7, 33, 255] {
        let mut remembered = remembered();
        network(&mut remembered).prefix_length = prefix_length;
        assert!(asking(&remembered).is_none(), "{prefix_length}");
    }
}

#[test]
fn a_file_is_not_believed_more_than_a_server() {
    let mut remembered = remembered();
    let network = network(&mut remembered);
    network.mtu = Some(68);
    network.name_servers = vec![Ipv4Addr::LOCALHOST; 100];
    network.routers = (1..=60).map(|host| Ipv4Addr::new(192, 0, 2, host)).collect();
    network.classless_routes = vec![Route { prefix_length: 200, ..Route::default_via(GATEWAY) }];
    network.search_domains = vec!["a\nnameserver 198.51.100.1".into(), "example.com".into()];
    network.captive_portal = Some("file:///etc/shadow".into());
    let mut known_network = asking(&remembered).expect("there is a gateway to ask");
    known_network.handle_message(&answer());
    let lease = known_network.poll_confirmation().expect("it is the network");
    assert_eq!((lease.mtu, lease.captive_portal), (None, None));
    assert_eq!((lease.name_servers.len(), lease.routers.len(), lease.classless_routes.len()), (0, 16, 0));
    assert_eq!(lease.search_domains, ["example.com"]);
}

#[test]
fn an_infinite_lease_is_known_again_too() {
    let lease = lease(&Server::new(u32::MAX));
    let remembered =
        RememberedLease::new(&lease, lease.acquired_at, wall_clock()).with_network(&lease, GATEWAY_HARDWARE_ADDRESS);
    let mut known_network = asking(&remembered).expect("there is a gateway to ask");
    known_network.handle_message(&answer());
    assert_eq!(known_network.poll_confirmation().map(|lease| lease.term), Some(Term::Infinite));
}

#[test]
fn files_of_older_and_newer_versions_are_read() {
    let old: RememberedLease =
        serde_json::from_str(r#"{"address":"192.0.2.77","expires_at":1800003000}"#).expect("as it was once written");
    assert_eq!(old.network, None);
    let text = serde_json::to_string(&remembered()).expect("it can be kept in a file");
    assert_eq!(serde_json::from_str::<RememberedLease>(&text).expect("and read again"), remembered());
    let newer = text.replacen('{', r#"{"something_new":7,"#, 1);
    assert_eq!(serde_json::from_str::<RememberedLease>(&newer).expect("and read again"), remembered());
}

#[test]
fn a_network_without_a_gateway_is_not_remembered() {
    let lease = Lease { routers: Vec::new(), ..lease(&Server::new(3_600)) };
    let remembered =
        RememberedLease::new(&lease, lease.acquired_at, wall_clock()).with_network(&lease, GATEWAY_HARDWARE_ADDRESS);
    assert_eq!(remembered.network, None);
}

#[test]
fn the_gateway_is_that_of_the_first_default_route() {
    let classless = vec![
        Route { destination: Ipv4Addr::new(10, 0, 0, 0), prefix_length: 8, gateway: Some(Ipv4Addr::new(192, 0, 2, 7)) },
        Route::default_via(Ipv4Addr::new(192, 0, 2, 5)),
    ];
    let lease = lease(&Server::new(3_600));
    assert_eq!(lease.gateway(), Some(GATEWAY));
    assert_eq!(Lease { classless_routes: classless, ..lease }.gateway(), Some(Ipv4Addr::new(192, 0, 2, 5)));
}

#[test]
fn a_server_that_refuses_withdraws_what_the_gateway_confirmed() {
    let remembered = remembered();
    let mut known_network = asking(&remembered).expect("there is a gateway to ask");
    let configuration = ClientConfiguration { remembered: Some(remembered), ..configuration() };
    let mut history = History::new(configuration, Server::new(3_600));
    history.start();
    known_network.handle_message(&answer());
    assert!(known_network.poll_confirmation().is_some());
    let request = history.request();
    let refusal = history.server.reply(&request, MessageType::Nak);
    history.deliver_message(&refusal).expect("it is for us");
    assert!(matches!(history.take_news().as_slice(), [Event::NotConfirmed(_)]));
}
