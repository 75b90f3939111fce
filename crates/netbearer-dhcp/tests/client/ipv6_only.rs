use std::{net::Ipv4Addr, time::Duration};

use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode, UnknownOption};
use netbearer_dhcp::{ClientConfiguration, Event, RememberedLease, State};

use crate::{
    history::{History, configuration},
    server::Server,
};

const IPV6_ONLY_PREFERRED: OptionCode = OptionCode::Unknown(108);

fn preferring(octets: &[u8]) -> Server {
    let mut server = Server::new(3_600);
    server.options.push(DhcpOption::Unknown(UnknownOption::new(IPV6_ONLY_PREFERRED, octets.to_vec())));
    server
}

fn wants_ipv6_only(message: &Message) -> bool {
    match message.opts().get(OptionCode::ParameterRequestList) {
        Some(DhcpOption::ParameterRequestList(parameters)) => parameters.contains(&IPV6_ONLY_PREFERRED),
        _ => false,
    }
}

fn started(server: Server) -> History {
    let mut history = History::new(ClientConfiguration { ipv6_only: true, ..configuration() }, server);
    history.start();
    history
}

#[test]
fn a_network_that_prefers_ipv6_alone_is_left_alone_for_as_long_as_it_says() {
    for (seconds, waited) in [(1_800_u32, 1_800), (300, 300), (0, 300), (u32::MAX, u64::from(u32::MAX))] {
        let mut history = started(preferring(&seconds.to_be_bytes()));
        let asked_at = history.now;
        assert!(wants_ipv6_only(&crate::server::decode(&history.sent.as_ref().expect("DISCOVER").payload)));
        history.answer();
        let wait = Duration::from_secs(waited);
        assert_eq!(history.take_news(), [Event::Ipv6Only { wait }]);
        assert_eq!(history.sent, None, "the address is not requested");
        assert_eq!(*history.client.state(), State::Waiting { until: asked_at + wait });

        history.time_out();
        let discover = history.request();
        assert_eq!(discover.opts().msg_type(), Some(MessageType::Discover), "then it is asked again");
        assert_eq!(discover.secs(), 0);
    }
}

#[test]
fn an_offer_without_an_address_will_do() {
    let mut history = started(Server { address: Ipv4Addr::UNSPECIFIED, ..preferring(&[0, 0, 7, 8]) });
    history.answer();
    assert!(matches!(history.take_news().as_slice(), [Event::Ipv6Only { .. }]));
}

#[test]
fn leases_that_come_in_two_messages_are_forgone_too() {
    let mut history = started(Server { rapid_commit: true, ..preferring(&[0, 0, 7, 8]) });
    history.answer();
    assert!(matches!(history.take_news().as_slice(), [Event::Ipv6Only { .. }]));

    let remembered = Some(RememberedLease { address: Server::ADDRESS, expires_at: None, network: None });
    let configuration = ClientConfiguration { ipv6_only: true, remembered, ..configuration() };
    let mut history = History::new(configuration, preferring(&[0, 0, 7, 8]));
    history.start();
    history.answer();
    assert!(matches!(history.take_news().as_slice(), [Event::Ipv6Only { .. }]));
}

#[test]
fn an_address_in_use_stays_in_use() {
    let mut history = started(Server::new(1_000));
    history.answer();
    history.answer();
    history.server = preferring(&[0, 0, 7, 8]);
    history.time_out();
    history.take_news();
    history.answer();
    assert!(matches!(history.take_news().as_slice(), [Event::Renewed { .. }]));
}

#[test]
fn a_host_that_needs_ipv4_does_not_ask_and_does_not_heed() {
    let mut history = History::new(configuration(), preferring(&[0, 0, 7, 8]));
    history.start();
    assert!(!wants_ipv6_only(&crate::server::decode(&history.sent.as_ref().expect("DISCOVER").payload)));
    history.answer();
    history.answer();
    assert!(matches!(history.take_news().as_slice(), [Event::Acquired(_)]));
}

#[test]
fn an_option_of_another_length_is_not_there() {
    for octets in [&[][..], &[0, 0, 7], &[0, 0, 0, 7, 8]] {
        let mut history = started(preferring(octets));
        history.answer();
        history.answer();
        assert!(matches!(history.take_news().as_slice(), [Event::Acquired(_)]), "{octets:?}");
    }
}
