use std::time::Duration;

use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use netbearer_dhcp::{ClientConfiguration, ClientIdentifier, State};

use crate::{
    history::{HARDWARE_ADDRESS, History, configuration},
    server::{Server, decode, requested_address, server_identifier},
};

#[test]
fn a_release_tells_the_server_which_lease_of_whom() {
    let identifier = ClientIdentifier::from_hardware_address(HARDWARE_ADDRESS);
    let configuration = ClientConfiguration { client_identifier: Some(identifier.clone()), ..configuration() };
    let mut history = History::new(configuration, Server::new(3_600));
    history.settle();
    history.release();
    assert_eq!(*history.client.state(), State::Released);
    assert_eq!(history.client.poll_timeout(), None);

    let sent = history.sent.clone().expect("RELEASE");
    assert_eq!((sent.source, sent.destination), (Server::ADDRESS, Server::IDENTIFIER));
    let release = decode(&sent.payload);
    assert_eq!(release.opts().msg_type(), Some(MessageType::Release));
    assert_eq!(release.ciaddr(), Server::ADDRESS);
    assert_eq!(server_identifier(&release), Some(Server::IDENTIFIER));
    let ours = DhcpOption::ClientIdentifier(identifier.octets().to_vec());
    assert_eq!(release.opts().get(OptionCode::ClientIdentifier), Some(&ours));
    assert_eq!(requested_address(&release), None, "RFC 2131 table 5");
    assert!(!release.opts().contains(OptionCode::ParameterRequestList), "RFC 2131 table 5");
    assert!(!release.opts().contains(OptionCode::MaxMessageSize), "RFC 2131 table 5");
    assert_eq!(history.server.answer(&release).map(|_| ()), None);
    assert_eq!(history.server.released, [Server::ADDRESS]);
}

#[test]
fn a_lease_is_given_back_while_it_is_being_prolonged_too() {
    let mut history = History::bound(1_000);
    history.time_out();
    history.release();
    assert_eq!(decode(&history.sent.expect("RELEASE").payload).opts().msg_type(), Some(MessageType::Release));
}

#[test]
fn without_a_lease_there_is_nothing_to_give_back() {
    let mut history = History::new(configuration(), Server::new(3_600));
    history.start();
    history.sent = None;
    history.release();
    assert_eq!(history.sent, None);
    assert_eq!(*history.client.state(), State::Released);
}

#[test]
fn a_message_that_was_not_fetched_does_not_leave_after_the_release() {
    let mut history = History::new(configuration(), Server::new(3_600));
    history.client.start(history.now);
    history.release();
    assert_eq!(history.sent, None);
}

#[test]
fn a_lease_that_has_ended_is_not_given_back() {
    let mut history = History::bound(1_000);
    history.now = history.now + Duration::from_secs(1_000);
    history.release();
    assert_eq!(history.sent, None);
}

#[test]
fn a_released_client_can_start_again() {
    let mut history = History::bound(1_000);
    history.release();
    history.sent = None;
    history.start();
    assert!(matches!(history.client.state(), State::Selecting(_)));
    assert_eq!(requested_address(&decode(&history.sent.as_ref().expect("DISCOVER").payload)), None);
    history.settle();
}
