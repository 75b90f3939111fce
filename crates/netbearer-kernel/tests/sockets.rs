//! The sockets of DHCP and ARP: what they let in, what they say about it, how quickly they come and go.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::{Duration, Instant},
};

use netbearer_kernel::{ArpSocket, PacketSocket, UnboundArpSocket, open_udp_socket};
use netbearer_lab::{Capture, uninterrupted};
use support::{AP0, Elsewhere, Veth, in_lab, in_namespace, ip, ip_json, wait_until, watcher};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// An IPv4 UDP packet without checksum (RFC 768 allows that), with these flags and this fragment offset.
fn packet(destination_port: u16, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let udp_length = u16::try_from(8 + payload.len()).expect("short");
    let mut packet = vec![0x45, 0];
    packet.extend((20 + udp_length).to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    packet.extend(SERVER_PORT.to_be_bytes());
    packet.extend(destination_port.to_be_bytes());
    packet.extend(udp_length.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// Makes an ordinary pair with carrier on both ends.
async fn connected_pair() -> Elsewhere {
    let elsewhere = Elsewhere::new();
    Veth::Ordinary.make(&elsewhere);
    elsewhere.ip("addr add 10.0.0.1/24 dev p0");
    let (_clock, mut watcher) = watcher().await;
    wait_until(&mut watcher, |watcher| watcher.cache().link(AP0).is_some_and(|link| link.carrier)).await;
    elsewhere
}

fn broadcast_by_packet_socket(packets: Vec<Vec<u8>>) -> impl FnOnce() + Send {
    move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        runtime.block_on(async {
            let socket = PacketSocket::open(AP0 + 1).expect("a packet socket");
            for packet in packets {
                socket.send_broadcast(&packet).await.expect("sent");
            }
        });
    }
}

fn broadcast_by_kernel() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).expect("a socket");
    socket.bind_device(Some(b"p0")).expect("bound to p0");
    socket.set_broadcast(true).expect("broadcasts");
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, SERVER_PORT)).into()).expect("bound");
    let everybody = SocketAddr::from((Ipv4Addr::BROADCAST, CLIENT_PORT));
    socket.send_to(b"by the kernel", &everybody.into()).expect("sent");
}

#[test]
fn a_broadcast_is_received_with_its_source_and_the_truth_about_its_checksum() {
    in_namespace(|| async {
        let elsewhere = connected_pair().await;
        let socket = PacketSocket::open(AP0).expect("a packet socket");
        let source = elsewhere.run(|| ip_json("link show p0")[0]["address"].as_str().expect("text").to_owned());
        let mut buffer = [0; 2048];

        elsewhere.run(broadcast_by_kernel);
        let received = socket.receive(&mut buffer).await.expect("received");
        assert!(buffer[..received.length].ends_with(b"by the kernel"));
        assert_eq!(received.source.to_string(), source);
        assert!(received.checksum_unfinished, "a veth leaves the checksum to nobody");

        let sent = packet(CLIENT_PORT, 0, b"by hand");
        elsewhere.run(broadcast_by_packet_socket(vec![sent.clone()]));
        let received = socket.receive(&mut buffer).await.expect("received");
        assert_eq!(buffer[..received.length], sent, "from the IP header on");
        assert_eq!(received.source.to_string(), source);
        assert!(!received.checksum_unfinished);
    });
}

#[test]
fn only_whole_udp_packets_to_the_client_port_get_in() {
    in_namespace(|| async {
        let elsewhere = connected_pair().await;
        let socket = PacketSocket::open(AP0).expect("a packet socket");
        let mut not_udp = packet(CLIENT_PORT, 0, b"not UDP");
        not_udp[9] = 6;
        elsewhere.run(broadcast_by_packet_socket(vec![
            packet(CLIENT_PORT + 1, 0, b"another port"),
            packet(CLIENT_PORT, 0x2000, b"a first fragment"),
            packet(CLIENT_PORT, 0x0010, b"a later fragment"),
            not_udp,
            packet(CLIENT_PORT, 0x4000, b"this one"),
        ]));
        let mut buffer = [0; 2048];
        let received = socket.receive(&mut buffer).await.expect("received");
        assert!(buffer[..received.length].ends_with(b"this one"), "{:?}", &buffer[..received.length]);
    });
}

#[test]
fn a_packet_longer_than_the_buffer_tells_its_length() {
    in_namespace(|| async {
        let elsewhere = connected_pair().await;
        let socket = PacketSocket::open(AP0).expect("a packet socket");
        elsewhere.run(broadcast_by_packet_socket(vec![packet(CLIENT_PORT, 0, &[7; 500])]));
        let mut buffer = [0; 100];
        assert_eq!(socket.receive(&mut buffer).await.expect("received").length, 528);
    });
}

#[test]
fn a_missing_interface_is_an_error_and_one_that_goes_down_ends_the_wait() {
    in_namespace(|| async {
        let _elsewhere = connected_pair().await;
        let missing = PacketSocket::open(999).expect_err("there is no such interface");
        assert_eq!(missing.raw_os_error(), Some(libc::ENODEV));
        let socket = PacketSocket::open(AP0).expect("a packet socket");
        ip("link set ap0 down");
        let down = socket.receive(&mut [0; 100]).await.expect_err("nothing can come any more");
        assert_eq!(down.raw_os_error(), Some(libc::ENETDOWN));
    });
}

#[test]
fn packet_sockets_open_quickly_and_nobody_waits_for_their_end() {
    comes_and_goes_quickly(
        "a packet socket",
        || PacketSocket::open(AP0).expect("opened"),
        PacketSocket::close_in_background,
    );
}

#[test]
fn arp_sockets_open_quickly_and_nobody_waits_for_their_end() {
    comes_and_goes_quickly("an ARP socket", || ArpSocket::open(AP0).expect("opened"), ArpSocket::close_in_background);
}

fn comes_and_goes_quickly<S>(name: &str, open: impl Fn() -> S + Send, close: impl Fn(S) + Send) {
    in_namespace(|| async move {
        let _elsewhere = connected_pair().await;
        let (mut opening, mut closing) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            let start = Instant::now();
            let socket = open();
            opening.push(start.elapsed());
            let start = Instant::now();
            close(socket);
            closing.push(start.elapsed());
        }
        opening.sort();
        closing.sort();
        println!("opening {name} {:?}, leaving it {:?} (medians)", opening[10], closing[10]);
        // A grace period of the kernel lasts some eight milliseconds.
        assert!(opening[10] < Duration::from_millis(4), "{opening:?}");
        assert!(closing[10] < Duration::from_millis(4), "{closing:?}");
    });
}

#[test]
fn the_udp_socket_has_the_lease_s_address_and_the_client_port() {
    in_namespace(|| async {
        let elsewhere = connected_pair().await;
        ip("addr add 10.0.0.5/24 dev ap0");
        let address = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 5), CLIENT_PORT);
        let socket = open_udp_socket(AP0, address).expect("a socket");
        drop(open_udp_socket(AP0, address).expect("the port is shared"));
        let server = elsewhere.run(|| std::net::UdpSocket::bind("10.0.0.1:67").expect("a server"));
        socket.send_to(b"renew", "10.0.0.1:67").await.expect("sent");
        let mut buffer = [0; 100];
        let (length, from) = uninterrupted(|| server.recv_from(&mut buffer)).expect("received");
        assert_eq!((&buffer[..length], from), (&b"renew"[..], SocketAddr::from(address)));
        server.send_to(b"acknowledged", from).expect("sent");
        let (length, _) = socket.recv_from(&mut buffer).await.expect("received");
        assert_eq!(&buffer[..length], b"acknowledged");
        let foreign = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 77), CLIENT_PORT);
        let refused = open_udp_socket(AP0, foreign).expect_err("not an address of this machine");
        assert_eq!(refused.kind(), std::io::ErrorKind::AddrNotAvailable);
        for missing in [0, 999] {
            let missing = open_udp_socket(missing, address).expect_err("there is no such interface");
            assert_eq!(missing.raw_os_error(), Some(libc::ENODEV));
        }
    });
}

#[test]
fn the_udp_socket_follows_its_interface_to_another_name() {
    in_namespace(|| async {
        let elsewhere = connected_pair().await;
        ip("addr add 10.0.0.5/24 dev ap0");
        let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
        let before = open_udp_socket(AP0, address).expect("a socket");
        // An alternative name would keep the old one alive.
        ip("link set ap0 name wan0");
        let after = open_udp_socket(AP0, address).expect("a socket");
        let server = elsewhere.run(|| std::net::UdpSocket::bind("10.0.0.1:67").expect("a server"));
        for socket in [before, after] {
            socket.send_to(b"renew", "10.0.0.1:67").await.expect("sent");
            let mut buffer = [0; 100];
            let (length, from) = uninterrupted(|| server.recv_from(&mut buffer)).expect("received");
            assert_eq!((&buffer[..length], from), (&b"renew"[..], SocketAddr::from(([10, 0, 0, 5], CLIENT_PORT))));
        }
    });
}

/// An ARP packet for IPv4 over Ethernet (RFC 826) about `target`.
fn arp(operation: u8, sender: [u8; 6], sender_address: Ipv4Addr, target: Ipv4Addr) -> [u8; 28] {
    let mut packet = [0; 28];
    packet[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation]);
    packet[8..14].copy_from_slice(&sender);
    packet[14..18].copy_from_slice(&sender_address.octets());
    packet[24..].copy_from_slice(&target.octets());
    packet
}

#[test]
fn an_arp_probe_is_answered_by_who_has_the_address() {
    in_lab(|lab| async move {
        let access_point = lab.access_point("ap0").expect("the access point");
        let (_clock, mut watcher) = watcher().await;
        let unbound = UnboundArpSocket::open().expect("opened in advance");
        access_point.set_administratively_up(true).expect("up");
        wait_until(&mut watcher, |watcher| watcher.cache().link(AP0).is_some_and(|link| link.carrier)).await;
        let capture = Capture::start(access_point.namespace(), "port0", "arp").expect("tcpdump");
        let socket = unbound.bind(AP0).expect("bound");
        let gateway = access_point.subnet().gateway();
        let own = access_point.hardware_address();

        // A conflict probe has no sender's address (RFC 5227 §1.1).
        socket.send(&arp(1, own, Ipv4Addr::UNSPECIFIED, gateway), ArpSocket::EVERYBODY).await.expect("sent");
        let answer = socket.receive().await.expect("answered");
        let far = access_point.namespace().ip_json(&["link", "show", "dev", "port0"]).expect("shown");
        assert_eq!(answer.source.to_string(), far[0]["address"].as_str().expect("text"));
        assert_eq!(answer.packet[..8], [0, 1, 8, 0, 6, 4, 0, 2], "a reply");
        assert_eq!(answer.packet[8..14], *answer.source.as_bytes());
        assert_eq!(answer.packet[14..18], gateway.octets());

        socket
            .send(&arp(1, own, Ipv4Addr::UNSPECIFIED, gateway), answer.packet[8..14].try_into().expect("six"))
            .await
            .expect("sent");
        assert_eq!(socket.receive().await.expect("answered").packet, answer.packet, "asked alone");

        let packets = capture.finish().expect("captured");
        let probe = format!("ARP, Request who-has {gateway} tell 0.0.0.0, length 28");
        assert!(packets.first().is_some_and(|packet| packet.contains(&probe)), "{packets:#?}");
        assert_eq!(packets.iter().filter(|packet| packet.contains("Reply")).count(), 2, "{packets:#?}");
    });
}

/// Puts a whole frame on a link.
#[allow(unsafe_code)]
fn send_frame(interface: u32, frame: &[u8]) {
    let socket = socket2::Socket::new(socket2::Domain::PACKET, socket2::Type::RAW, None).expect("a socket");
    let mut storage = socket2::SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is a socket address, smaller than the storage, and valid when all zero.
    let link: &mut libc::sockaddr_ll = unsafe { storage.view_as() };
    link.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET).expect("small");
    link.sll_ifindex = interface.cast_signed();
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).expect("small");
    // SAFETY: the storage holds a `sockaddr_ll` of this length.
    let address = unsafe { socket2::SockAddr::new(storage, length) };
    assert_eq!(socket.send_to(frame, &address).expect("sent"), frame.len());
}

#[test]
fn only_whole_arp_packets_for_ipv4_over_ethernet_get_in() {
    in_namespace(|| async {
        let elsewhere = connected_pair().await;
        let socket = ArpSocket::open(AP0).expect("an ARP socket");
        let whole = arp(1, [2, 0, 0, 0, 0, 9], Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(10, 0, 0, 8));
        let mut packets = vec![whole[..27].to_vec()];
        for (place, octet) in [(1, 6), (2, 0x86), (4, 8), (5, 16)] {
            let mut other = whole;
            other[place] = octet;
            packets.push(other.to_vec());
        }
        packets.push([&whole[..], &[0xee; 18]].concat());
        elsewhere.run(move || {
            let header = [[0xff; 6], [2, 0, 0, 0, 0, 7]].concat();
            packets.iter().for_each(|packet| send_frame(AP0 + 1, &[&header[..], &[8, 6], packet].concat()));
        });
        let received = socket.receive().await.expect("received");
        assert_eq!(received.packet, whole, "the last one, without what it was filled up with");
        assert_eq!(received.source.to_string(), "02:00:00:00:00:07", "who sent it, not who it speaks of");
        ip("link set ap0 down");
        let down = socket.receive().await.expect_err("nothing can come any more");
        assert_eq!(down.raw_os_error(), Some(libc::ENETDOWN));
    });
}

#[test]
fn an_arp_socket_can_hear_few_and_then_fewer_senders_and_sleeps_through_all_others() {
    in_namespace(|| async {
        let elsewhere = connected_pair().await;
        let socket = ArpSocket::open(AP0).expect("an ARP socket");
        let [ours, gateway, other] = [8, 1, 9].map(|host| Ipv4Addr::new(10, 0, 0, host));
        let say = |senders: Vec<Ipv4Addr>| {
            elsewhere.run(move || {
                let header = [[0xff; 6], [2, 0, 0, 0, 0, 7]].concat();
                for sender in senders {
                    let packet = arp(1, [2, 0, 0, 0, 0, 9], sender, Ipv4Addr::new(10, 0, 0, 77));
                    send_frame(AP0 + 1, &[&header[..], &[8, 6], &packet].concat());
                }
            });
        };
        // A second one that hears all: when it has heard the last packet, the first one has been passed by all of them.
        let witness = ArpSocket::open(AP0).expect("an ARP socket");
        for (heard, expected) in [(vec![ours, gateway], vec![gateway, ours]), (vec![ours], vec![ours])] {
            socket.hear_only(&heard).expect("the filter is replaced");
            let said: Vec<_> = [vec![other; 50], vec![gateway], vec![other; 50], vec![ours], vec![other]].concat();
            say(said.clone());
            for sender in said {
                assert_eq!(witness.receive().await.expect("received").packet[14..18], sender.octets());
            }
            for sender in expected {
                assert_eq!(socket.receive().await.expect("received").packet[14..18], sender.octets());
            }
            let more = tokio::time::timeout(Duration::ZERO, socket.receive()).await;
            assert!(more.is_err(), "nothing else is there to be read: {more:?}");
        }
    });
}
