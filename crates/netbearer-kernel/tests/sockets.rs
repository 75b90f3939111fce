//! The sockets of DHCP: what they let in, what they say about it, how quickly they come and go.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::{Duration, Instant},
};

use netbearer_kernel::{PacketSocket, open_udp_socket};
use support::{AP0, Elsewhere, Veth, in_namespace, ip, ip_json, wait_until, watcher};

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
    in_namespace(|| async {
        let _elsewhere = connected_pair().await;
        let (mut opening, mut closing) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            let start = Instant::now();
            let socket = PacketSocket::open(AP0).expect("a packet socket");
            opening.push(start.elapsed());
            let start = Instant::now();
            socket.close_in_background();
            closing.push(start.elapsed());
        }
        opening.sort();
        closing.sort();
        println!("opening a packet socket {:?}, leaving it {:?} (medians)", opening[10], closing[10]);
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
        let socket = open_udp_socket("ap0", address).expect("a socket");
        drop(open_udp_socket("ap0", address).expect("the port is shared"));
        let server = elsewhere.run(|| std::net::UdpSocket::bind("10.0.0.1:67").expect("a server"));
        socket.send_to(b"renew", "10.0.0.1:67").await.expect("sent");
        let mut buffer = [0; 100];
        let (length, from) = server.recv_from(&mut buffer).expect("received");
        assert_eq!((&buffer[..length], from), (&b"renew"[..], SocketAddr::from(address)));
        server.send_to(b"acknowledged", from).expect("sent");
        let (length, _) = socket.recv_from(&mut buffer).await.expect("received");
        assert_eq!(&buffer[..length], b"acknowledged");
        let foreign = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 77), CLIENT_PORT);
        let refused = open_udp_socket("ap0", foreign).expect_err("not an address of this machine");
        assert_eq!(refused.kind(), std::io::ErrorKind::AddrNotAvailable);
    });
}
