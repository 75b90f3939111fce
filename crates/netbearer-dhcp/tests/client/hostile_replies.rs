use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, MessageType, OptionCode, UnknownOption};
use netbearer_dhcp::{Event, Lease, PacketError, Route, State};

use crate::{
    history::{History, configuration},
    server::{Server, decode, encode},
};

/// What becomes of an offer of that server.
fn offered(server: &Server) -> Result<(), PacketError> {
    let mut history = History::new(configuration(), server.clone());
    history.start();
    let discover = history.request();
    let offer = server.reply(&discover, MessageType::Offer);
    history.deliver_message(&offer)
}

/// What becomes of an offer after a change to its octets.
fn offered_after(change: impl FnOnce(&mut Vec<u8>)) -> Result<(), PacketError> {
    let mut history = History::new(configuration(), Server::new(3_600));
    history.start();
    let discover = history.request();
    let mut octets = encode(&history.server.reply(&discover, MessageType::Offer));
    change(&mut octets);
    history.deliver(&octets)
}

/// The lease that a server's options amount to.
fn granted(server: Server) -> Lease {
    let mut history = History::new(configuration(), server);
    history.start();
    history.answer();
    history.answer();
    history.client.lease().expect("it is granted").clone()
}

fn server_with(options: impl IntoIterator<Item = DhcpOption>) -> Server {
    let mut server = Server::new(3_600);
    for option in options {
        server.set(option);
    }
    server
}

fn raw(code: OptionCode, octets: &[u8]) -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(code, octets.to_vec()))
}

#[test]
fn packets_that_are_no_reply_to_this_client_are_ignored() {
    assert_eq!(offered_after(|_| ()), Ok(()));
    assert_eq!(offered_after(|octets| octets.truncate(239)), Err(PacketError::Size(239)));
    assert_eq!(offered_after(|octets| octets.resize(1_501, 0)), Err(PacketError::Size(1_501)));
    for (position, error) in [
        (0, PacketError::NotForEthernetClients),
        (1, PacketError::NotForEthernetClients),
        (2, PacketError::NotForEthernetClients),
        (4, PacketError::Transaction),
        (7, PacketError::Transaction),
        (28, PacketError::HardwareAddress),
        (33, PacketError::HardwareAddress),
        (236, PacketError::Magic),
        (239, PacketError::Magic),
    ] {
        assert_eq!(offered_after(|octets| octets[position] ^= 0x80), Err(error), "octet {position}");
    }
}

#[test]
fn a_reply_needs_a_known_message_type() {
    let mut history = History::new(configuration(), Server::new(3_600));
    history.start();
    let discover = history.request();
    for kind in [MessageType::Discover, MessageType::Request, MessageType::ForceRenew, MessageType::Unknown(200)] {
        let reply = history.server.reply(&discover, kind);
        assert_eq!(history.deliver_message(&reply), Err(PacketError::MessageType), "{kind:?}");
    }
    let mut bootp = history.server.reply(&discover, MessageType::Offer);
    bootp.opts_mut().remove(OptionCode::MessageType);
    assert_eq!(history.deliver_message(&bootp), Err(PacketError::MessageType));
}

#[test]
fn addresses_that_no_host_can_have_are_refused() {
    for address in [
        [0, 0, 0, 0],
        [0, 1, 2, 3],
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [240, 0, 0, 1],
        [255, 255, 255, 255],
        [192, 0, 2, 0],
        [192, 0, 2, 255],
    ] {
        let address = Ipv4Addr::from(address);
        assert_eq!(offered(&Server { address, ..Server::new(3_600) }), Err(PacketError::Address(address)));
    }
}

#[test]
fn offers_of_no_time_are_refused() {
    assert_eq!(offered(&Server::new(0)), Err(PacketError::NoTime));
    let mut server = Server::new(3_600);
    server.remove(OptionCode::AddressLeaseTime);
    assert_eq!(offered(&server), Err(PacketError::NoTime));
}

#[test]
fn a_server_must_say_who_it_is() {
    for identifier in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::LOCALHOST, Ipv4Addr::new(239, 0, 0, 1)] {
        assert_eq!(offered(&Server { identifier, ..Server::new(3_600) }), Err(PacketError::NoServer), "{identifier}");
    }
    let mut history = History::new(configuration(), Server::new(3_600));
    history.start();
    let discover = history.request();
    let mut offer = history.server.reply(&discover, MessageType::Offer);
    offer.opts_mut().remove(OptionCode::ServerIdentifier);
    assert_eq!(history.deliver_message(&offer), Err(PacketError::NoServer));
}

#[test]
fn masks_that_are_none_are_refused() {
    for mask in [[255, 0, 255, 0], [0, 0, 0, 0], [0, 0, 0, 255]] {
        let mask = Ipv4Addr::from(mask);
        assert_eq!(offered(&server_with([DhcpOption::SubnetMask(mask)])), Err(PacketError::SubnetMask(mask)));
    }
}

#[test]
fn masks_that_put_half_the_world_on_the_link_are_refused() {
    for (mask, result) in
        [([254, 0, 0, 0], Err(())), ([128, 0, 0, 0], Err(())), ([255, 0, 0, 0], Ok(())), ([255, 128, 0, 0], Ok(()))]
    {
        let mask = Ipv4Addr::from(mask);
        let expected = result.map_err(|()| PacketError::ShortSubnetMask(mask));
        assert_eq!(offered(&server_with([DhcpOption::SubnetMask(mask)])), expected);
    }
}

#[test]
fn what_was_refused_is_told_once_for_each_reason_and_exchange() {
    let mut history = History::new(configuration(), Server::new(0));
    history.start();
    let discover = history.request();
    let no_time = Server::new(0);
    let bad_mask = server_with([DhcpOption::SubnetMask(Ipv4Addr::new(255, 0, 255, 0))]);
    for number in 1..=100 {
        for server in [&no_time, &bad_mask] {
            let server = Server { identifier: Ipv4Addr::new(192, 0, 2, number), ..server.clone() };
            history.deliver_message(&server.reply(&discover, MessageType::Offer)).expect_err("it is not acceptable");
        }
    }
    let refused = |reason| Event::Refused { server: Ipv4Addr::new(192, 0, 2, 1), reason };
    let expected = [PacketError::NoTime, PacketError::SubnetMask(Ipv4Addr::new(255, 0, 255, 0))].map(refused);
    assert_eq!(history.take_news(), expected);

    history.server = Server::new(3_600);
    history.settle();
    history.time_out();
    let renewal = history.request();
    history.news.clear();
    history.deliver_message(&no_time.reply(&renewal, MessageType::Ack)).expect_err("it is not acceptable");
    assert!(matches!(history.take_news().as_slice(), [Event::Refused { .. }]), "it is another exchange");
}

#[test]
fn what_is_for_others_or_unasked_is_not_told() {
    let mut history = History::new(configuration(), Server::new(3_600));
    history.start();
    let discover = history.request();
    for octet in [4, 28, 236] {
        let mut octets = encode(&Server::new(0).reply(&discover, MessageType::Offer));
        octets[octet] ^= 0x80;
        history.deliver(&octets).expect_err("it is not for us");
    }
    history.deliver_message(&Server::new(0).reply(&discover, MessageType::Nak)).expect_err("it was not asked for");
    assert_eq!(history.take_news(), []);
}

#[test]
fn a_refusal_that_nobody_fetched_gives_way_to_a_lease() {
    let mut history = History::new(configuration(), Server::new(3_600));
    history.start();
    let discover = history.request();
    let bad = encode(&Server::new(0).reply(&discover, MessageType::Offer));
    history.deliver(&bad).expect_err("it is not acceptable");
    let offer = encode(&history.server.reply(&discover, MessageType::Offer));
    history.deliver(&offer).expect("it is acceptable");
    let request = decode(&history.client.poll_transmit().expect("REQUEST").payload);
    let acknowledgement = encode(&history.server.reply(&request, MessageType::Ack));
    history.deliver(&acknowledgement).expect("it is acceptable");
    let news: Vec<Event> = std::iter::from_fn(|| history.client.poll_event()).collect();
    assert!(matches!(news.as_slice(), [Event::Acquired(_)]), "{news:?}");
}

#[test]
fn without_a_mask_the_class_decides() {
    for (address, prefix_length) in [([10, 1, 2, 3], 8), ([172, 16, 2, 3], 16), ([192, 168, 2, 3], 24)] {
        let mut server = Server { address: address.into(), ..Server::new(3_600) };
        server.remove(OptionCode::SubnetMask);
        assert_eq!(granted(server).prefix_length, prefix_length, "{address:?}");
    }
}

#[test]
fn host_prefixes_are_taken_as_clouds_give_them() {
    let lease = granted(server_with([DhcpOption::SubnetMask(Ipv4Addr::BROADCAST)]));
    assert_eq!((lease.prefix_length, lease.routers), (32, vec![Server::IDENTIFIER]));
}

#[test]
fn absurd_mtus_are_ignored() {
    for (mtu, taken) in [(0, None), (68, None), (575, None), (576, Some(576)), (9_000, Some(9_000))] {
        assert_eq!(granted(server_with([DhcpOption::InterfaceMtu(mtu)])).mtu, taken, "{mtu}");
    }
}

#[test]
fn routers_and_name_servers_must_be_hosts_and_are_few() {
    let hostile = [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]].map(Ipv4Addr::from);
    let good = Ipv4Addr::new(192, 0, 2, 9);
    let list: Vec<Ipv4Addr> = hostile.into_iter().chain([Server::ADDRESS, good, good]).collect();
    let lease = granted(server_with([DhcpOption::Router(list.clone()), DhcpOption::DomainNameServer(list)]));
    assert_eq!(lease.routers, [good], "our own address is no router");
    assert_eq!(lease.name_servers, [Server::ADDRESS, good]);

    let many: Vec<Ipv4Addr> = (1..=60).map(|host| Ipv4Addr::new(198, 51, 100, host)).collect();
    let lease = granted(server_with([DhcpOption::Router(many.clone()), DhcpOption::DomainNameServer(many.clone())]));
    assert_eq!(lease.routers, many[..16]);
    assert_eq!(lease.name_servers, many[..16]);
}

#[test]
fn classless_routes_take_the_place_of_routers() {
    let lease = granted(server_with([raw(
        OptionCode::ClasslessStaticRoute,
        &[
            &[0, 192, 0, 2, 5][..],
            &[25, 198, 51, 100, 255, 192, 0, 2, 6],
            &[16, 203, 0, 0, 0, 0, 0],
            &[8, 127, 192, 0, 2, 6],
            &[8, 10, 255, 255, 255, 255],
        ]
        .concat(),
    )]));
    let network = |octets: [u8; 4], prefix_length, gateway: Option<[u8; 4]>| Route {
        destination: octets.into(),
        prefix_length,
        gateway: gateway.map(Ipv4Addr::from),
    };
    let expected = [
        Route::default_via(Ipv4Addr::new(192, 0, 2, 5)),
        network([198, 51, 100, 128], 25, Some([192, 0, 2, 6])),
        network([203, 0, 0, 0], 16, None),
    ];
    assert_eq!(lease.classless_routes, expected, "loopback and useless gateways are left out");
    assert_eq!(lease.routes(), expected);
    assert!(lease.routes()[0].is_default());
    assert_eq!(lease.routers, [Server::IDENTIFIER], "they are still told");
}

#[test]
fn without_classless_routes_there_is_a_default_route_for_each_router() {
    assert_eq!(granted(Server::new(3_600)).routes(), [Route::default_via(Server::IDENTIFIER)]);
    // Cut off in the middle, and of an impossible length: as if it were not there.
    for octets in [&[24, 10, 0][..], &[33, 1, 2, 3, 4, 5, 6, 7, 8]] {
        let lease = granted(server_with([raw(OptionCode::ClasslessStaticRoute, octets)]));
        assert_eq!(lease.routes(), [Route::default_via(Server::IDENTIFIER)], "{octets:?}");
    }
}

#[test]
fn domains_are_names_and_nothing_else() {
    let search = b"\x03eng\x07example\x03com\x00\xc0\x04\x05a b c\x00\x00\x02ok\xc0\x04";
    let lease =
        granted(server_with([raw(OptionCode::DomainSearch, search), DhcpOption::DomainName("Example.com\0".into())]));
    assert_eq!(lease.search_domains, ["eng.example.com", "example.com", "ok.example.com"]);
    assert_eq!(lease.domain_name.as_deref(), Some("example.com"));
    let lease = granted(server_with([DhcpOption::DomainName("a\nnameserver 198.51.100.1".into())]));
    assert_eq!(lease.domain_name, None);
}

#[test]
fn a_captive_portal_is_an_absolute_uri_or_not_there() {
    let portal = |text: &str| granted(server_with([DhcpOption::CaptivePortal(text.into())])).captive_portal;
    assert_eq!(portal("https://portal.example/api").as_deref(), Some("https://portal.example/api"));
    for text in [
        "urn:ietf:params:capport:unrestricted",
        "file:///etc/shadow",
        "https://portal.example/
",
        "",
    ] {
        assert_eq!(portal(text), None, "{text:?}");
    }
}

#[test]
fn a_long_captive_portal_comes_in_several_options() {
    let uri = format!("https://portal.example/{}", "a".repeat(300));
    assert_eq!(granted(server_with([DhcpOption::CaptivePortal(uri.clone())])).captive_portal, Some(uri));
}

#[test]
fn the_broadcast_address_must_lie_in_the_prefix() {
    for (address, taken) in [([192, 0, 2, 255], true), ([192, 0, 3, 255], false), ([192, 0, 2, 77], false)] {
        let lease = granted(server_with([DhcpOption::BroadcastAddr(address.into())]));
        assert_eq!(lease.broadcast, taken.then(|| address.into()));
    }
}

#[test]
fn a_broken_option_does_not_spoil_the_others() {
    let lease = granted(server_with([
        raw(OptionCode::DomainName, &[0xff, 0xfe]),
        raw(OptionCode::InterfaceMtu, &[5]),
        raw(OptionCode::DomainNameServer, &[1, 2, 3]),
        raw(OptionCode::RapidCommit, &[1, 2, 3]),
        raw(OptionCode::ClientFQDN, &[]),
        raw(OptionCode::BulkLeaseQueryStatusCode, &[]),
    ]));
    assert_eq!((lease.mtu, lease.domain_name), (None, None));
    assert_eq!(lease.routers, [Server::IDENTIFIER]);
}

#[test]
fn options_may_overflow_into_the_fields_of_server_and_file_name() {
    for (fields, result) in
        [(0, Err(PacketError::NoServer)), (1, Err(PacketError::NoServer)), (2, Err(PacketError::NoTime)), (3, Ok(()))]
    {
        let offered = offered_after(|octets| {
            // The lease time stands in `file`, the server in `sname`; type and overload option stay.
            octets.truncate(240);
            octets.extend([53, 1, 2, 52, 1, fields, 255]);
            octets[108..115].copy_from_slice(&[51, 4, 0, 0, 14, 16, 255]);
            octets[44..51].copy_from_slice(&[54, 4, 192, 0, 2, 1, 255]);
        });
        assert_eq!(offered, result, "overload {fields}");
    }
}

#[test]
fn options_that_claim_more_than_there_is_end_the_message() {
    assert_eq!(
        offered_after(|octets| {
            octets.truncate(240);
            octets.extend([53, 1, 2, 54, 4, 192, 0, 2, 1, 51, 200, 0]);
        }),
        Err(PacketError::NoTime)
    );
}

#[test]
fn an_unacceptable_offer_leaves_the_client_waiting_for_a_better_one() {
    let mut history = History::new(configuration(), Server::new(0));
    history.start();
    let discover = history.request();
    let bad = history.server.reply(&discover, MessageType::Offer);
    assert_eq!(history.deliver_message(&bad), Err(PacketError::NoTime));
    let good = Server::new(60).reply(&discover, MessageType::Offer);
    assert_eq!(history.deliver_message(&good), Ok(()));
    assert!(matches!(history.client.state(), State::Requesting { .. }));
}
