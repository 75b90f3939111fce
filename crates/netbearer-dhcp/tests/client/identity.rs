use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};
use netbearer_dhcp::{ClientConfiguration, HostName, VendorClass};

use crate::{
    history::{History, configuration},
    server::Server,
};

fn identity(message: &Message) -> [Option<&DhcpOption>; 3] {
    [OptionCode::Hostname, OptionCode::ClassIdentifier, OptionCode::ClientIdentifier]
        .map(|code| message.opts().get(code))
}

#[test]
fn nothing_is_told_that_need_not_be() {
    let mut history = History::new(configuration(), Server::new(1_000));
    history.start();
    assert_eq!(identity(&history.request()), [None; 3]);
}

#[test]
fn name_and_class_are_told_with_every_question_and_not_in_parting() {
    let configuration = ClientConfiguration {
        host_name: Some(HostName::new("laptop").expect("it is a name")),
        vendor_class: Some(VendorClass::new(*b"netbearer").expect("it is short")),
        ..configuration()
    };
    let name = DhcpOption::Hostname("laptop".to_owned());
    let class = DhcpOption::ClassIdentifier(b"netbearer".to_vec());
    let mut history = History::new(configuration, Server::new(1_000));
    history.start();
    for kind in [MessageType::Discover, MessageType::Request] {
        let message = history.request();
        assert_eq!(message.opts().msg_type(), Some(kind));
        assert_eq!(identity(&message), [Some(&name), Some(&class), None], "{kind:?}");
        let reply = history.server.answer(&message).expect("it answers");
        history.deliver_message(&reply).expect("it is accepted");
    }
    history.time_out();
    assert_eq!(identity(&history.request()), [Some(&name), Some(&class), None], "while renewing");
    history.release();
    assert_eq!(identity(&history.request()), [None; 3], "RFC 2131 table 5");
}
