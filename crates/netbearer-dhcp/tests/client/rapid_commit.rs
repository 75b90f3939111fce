use std::time::Duration;

use dhcproto::v4::{DhcpOption, MessageType, OptionCode, UnknownOption};
use netbearer_dhcp::{ClientConfiguration, Event, PacketError, State};

use crate::{
    history::{History, configuration},
    server::Server,
};

fn rapid_server() -> Server {
    Server { rapid_commit: true, ..Server::new(3_600) }
}

fn started(server: Server) -> History {
    let mut history = History::new(configuration(), server);
    history.start();
    history
}

#[test]
fn two_messages_lead_to_a_lease_if_the_server_can() {
    let mut history = started(rapid_server());
    let asked_at = history.now;
    history.pass(Duration::from_millis(20));
    history.answer();
    let news = history.take_news();
    let [Event::Acquired(lease)] = news.as_slice() else { panic!("{news:?}") };
    assert_eq!((lease.address, lease.server_identifier), (Server::ADDRESS, Server::IDENTIFIER));
    assert_eq!(lease.acquired_at, asked_at, "it counts from the DISCOVER");
    assert_eq!(history.sent, None);
    history.time_out();
    history.answer();
    assert!(matches!(history.take_news().as_slice(), [Event::Renewed { changed: false, .. }]));
}

#[test]
fn an_offer_goes_on_with_four_messages() {
    let mut history = started(Server::new(3_600));
    let discover = history.request();
    let mut offer = history.server.reply(&discover, MessageType::Offer);
    offer.opts_mut().insert(DhcpOption::RapidCommit);
    history.deliver_message(&offer).expect("the option means nothing in an offer");
    assert!(matches!(history.client.state(), State::Requesting { .. }));
    assert!(!history.request().opts().contains(OptionCode::RapidCommit), "RFC 4039 §3.1: in DISCOVER only");
}

#[test]
fn a_lease_granted_without_the_option_or_with_a_broken_one_is_refused() {
    let mut history = started(rapid_server());
    let discover = history.request();
    let mut acknowledgement = history.server.reply(&discover, MessageType::Ack);
    assert_eq!(history.deliver_message(&acknowledgement), Err(PacketError::NotCommitted));
    let broken = UnknownOption::new(OptionCode::RapidCommit, vec![1]);
    acknowledgement.opts_mut().insert(DhcpOption::Unknown(broken));
    assert_eq!(history.deliver_message(&acknowledgement), Err(PacketError::NotCommitted));
    assert_eq!(
        history.take_news(),
        [Event::Refused { server: Server::IDENTIFIER, reason: PacketError::NotCommitted }],
        "and told once"
    );
}

#[test]
fn a_lease_granted_at_once_is_checked_like_any_other() {
    let mut history = started(Server { rapid_commit: true, ..Server::new(0) });
    let discover = history.request();
    let acknowledgement = history.server.answer(&discover).expect("it answers");
    assert_eq!(history.deliver_message(&acknowledgement), Err(PacketError::NoTime));
}

#[test]
fn a_client_that_does_not_want_it_neither_asks_for_it_nor_takes_it() {
    let mut history = History::new(ClientConfiguration { rapid_commit: false, ..configuration() }, rapid_server());
    history.start();
    let discover = history.request();
    assert!(!discover.opts().contains(OptionCode::RapidCommit));
    let mut acknowledgement = history.server.reply(&discover, MessageType::Ack);
    acknowledgement.opts_mut().insert(DhcpOption::RapidCommit);
    assert_eq!(history.deliver_message(&acknowledgement), Err(PacketError::MessageType));
}
