//! TCP sockets on an address that is gone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use netbearer_kernel::{
    SocketEnds, abort_sockets, abort_tcp_sockets, abort_tcp_sockets_without_address, socket_traffic,
};
use netbearer_lab::uninterrupted;
use netbearer_types::{SocketCookie, Traffic};
use socket2::{Domain, Socket, Type};
use support::{Elsewhere, Veth, in_namespace, ip, wait_until, watcher};

const LOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
const KEPT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PATIENCE: Duration = Duration::from_secs(10);

/// A cable on which we have these addresses, and the server at its other end. With the first address of a network the kernel takes
/// the others away, too.
async fn cable_to_a_server(addresses: &[Ipv4Addr]) -> (Elsewhere, TcpListener) {
    let elsewhere = Elsewhere::new();
    Veth::Ordinary.make(&elsewhere);
    elsewhere.ip(&format!("addr add {PEER}/24 dev p0"));
    for address in addresses {
        ip(&format!("addr add {address}/24 dev ap0"));
    }
    let (_clock, mut watcher) = watcher().await;
    wait_until(&mut watcher, |watcher| watcher.cache().link(support::AP0).is_some_and(|link| link.carrier)).await;
    let server = elsewhere.run(|| TcpListener::bind((PEER, 7)).expect("a server"));
    (elsewhere, server)
}

/// A TCP connection to the other end of the cable from this address, by a socket of this family.
fn connected(domain: Domain, from: Ipv4Addr) -> TcpStream {
    let address = |address: Ipv4Addr, port| match domain {
        Domain::IPV4 => SocketAddr::from((address, port)),
        _ => SocketAddr::from((address.to_ipv6_mapped(), port)),
    };
    let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
    socket.bind(&address(from, 0).into()).expect("our address");
    socket.connect(&address(PEER, 7).into()).expect("the server listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

#[test]
fn sockets_on_an_address_that_is_gone_end_at_once_and_no_others() {
    in_namespace(|| async {
        let (_elsewhere, server) = cable_to_a_server(&[KEPT, LOST]).await;
        let mut kept = connected(Domain::IPV4, KEPT);
        let (mut kept_peer, _) = server.accept().expect("connected");
        kept_peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut lost = [Domain::IPV4, Domain::IPV6].map(|domain| connected(domain, LOST));
        let listening = TcpListener::bind((LOST, 0)).expect("a listener");

        assert_eq!(abort_tcp_sockets(LOST).expect("nothing to do"), 0, "the address is there");
        ip(&format!("addr del {LOST}/24 dev ap0"));
        let start = Instant::now();
        assert_eq!(abort_tcp_sockets(LOST).expect("aborted"), 2);
        for stream in &mut lost {
            let error = uninterrupted(|| stream.read(&mut [0])).expect_err("it is over");
            assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
        }
        assert!(start.elapsed() < PATIENCE / 10, "{:?}", start.elapsed());
        assert_eq!(abort_tcp_sockets(LOST).expect("nothing left"), 0);

        kept.write_all(b"on").expect("it lives");
        let mut heard = [0; 2];
        kept_peer.read_exact(&mut heard).expect("it lives");
        assert_eq!(&heard, b"on");
        assert_eq!(listening.local_addr().expect("it stays").ip(), LOST);
    });
}

#[test]
fn a_call_that_waits_returns() {
    in_namespace(|| async {
        let (_elsewhere, _server) = cable_to_a_server(&[LOST]).await;
        let mut stream = connected(Domain::IPV4, LOST);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || uninterrupted(|| stream.read(&mut [0])).map_err(|error| error.kind()));
            ip(&format!("addr del {LOST}/24 dev ap0"));
            assert_eq!(abort_tcp_sockets(LOST).expect("aborted"), 1);
            assert_eq!(waiting.join().expect("no panic"), Err(ErrorKind::ConnectionAborted));
        });
    });
}

#[test]
fn who_began_to_connect_without_an_address_need_not_wait() {
    in_namespace(|| async {
        let (_elsewhere, _server) = cable_to_a_server(&[]).await;
        let mut begun =
            [(Domain::IPV4, SocketAddr::from((PEER, 7))), (Domain::IPV6, (PEER.to_ipv6_mapped(), 7).into())].map(
                |(domain, peer)| {
                    let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
                    socket.bind_device(Some(b"ap0")).expect("privileges");
                    socket.set_nonblocking(true).expect("a socket");
                    let begun = socket.connect(&peer.into()).expect_err("nobody can answer");
                    assert_eq!(begun.raw_os_error(), Some(libc::EINPROGRESS), "{begun}");
                    socket
                },
            );
        ip(&format!("addr add {KEPT}/24 dev ap0"));
        let mut kept = connected(Domain::IPV4, KEPT);
        assert_eq!(abort_tcp_sockets_without_address(support::AP0 + 1).expect("another interface"), 0);
        assert_eq!(abort_tcp_sockets_without_address(support::AP0).expect("aborted"), 2);
        for socket in &mut begun {
            let error = socket.take_error().expect("a socket").expect("it is over");
            assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
        }
        kept.write_all(b"on").expect("it lives");
    });
}

fn cookie(socket: &impl AsFd) -> SocketCookie {
    SocketCookie(rustix::net::sockopt::socket_cookie(socket).expect("the kernel knows cookies"))
}

#[test]
fn sockets_end_by_their_cookies_and_those_beside_them_do_not() {
    in_namespace(|| async {
        let (_elsewhere, server) = cable_to_a_server(&[KEPT]).await;
        let mut streams = [Domain::IPV4, Domain::IPV6].map(|domain| connected(domain, KEPT));
        let mut beside = connected(Domain::IPV4, KEPT);
        let listening = TcpListener::bind((KEPT, 0)).expect("a listener");
        let datagrams = [KEPT, KEPT].map(|address| UdpSocket::bind((address, 0)).expect("a socket"));
        datagrams[0].connect((PEER, 7)).expect("a peer");
        for socket in &datagrams {
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        }
        let unused = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        streams[0].write_all(b"hello").expect("it lives");

        let doomed =
            [cookie(&streams[0]), cookie(&streams[1]), cookie(&listening), cookie(&datagrams[0]), cookie(&unused)];
        assert_eq!(abort_sockets(&doomed.into(), Some(4_711)).expect("nothing to do"), [], "they are another user's");
        let ours = Some(rustix::process::getuid().as_raw());
        let aborted = abort_sockets(&doomed.into(), ours).expect("aborted");
        assert_eq!(aborted.len(), 4, "the unused one is nowhere to be found");
        let carried = |socket| aborted.iter().find(|end| end.socket == socket).expect("it was aborted").carried;
        assert_eq!(carried(doomed[0]), Some(Traffic { received: 0, written: 5 }));
        assert_eq!(carried(doomed[3]), None, "of UDP nothing is counted");
        for stream in &mut streams {
            let error = uninterrupted(|| stream.read(&mut [0])).expect_err("it is over");
            assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
        }
        let error = uninterrupted(|| datagrams[0].recv(&mut [0])).expect_err("it is over");
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
        let error = listening.accept().expect_err("it is over");
        assert!(matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::ConnectionAborted), "{error}");
        assert_eq!(abort_sockets(&doomed.into(), None).expect("nothing left"), []);

        for _ in 0..2 {
            server.accept().expect("connected");
        }
        let (mut peer, _) = server.accept().expect("connected");
        beside.write_all(b"on").expect("it lives");
        let mut heard = [0; 2];
        peer.read_exact(&mut heard).expect("it lives");
        assert_eq!(&heard, b"on");
        assert_eq!(datagrams[1].take_error().expect("a socket").map(|error| error.to_string()), None);
    });
}

#[test]
fn what_a_socket_has_carried_is_told_while_it_lives_and_at_its_end() {
    in_namespace(|| async {
        let (_elsewhere, server) = cable_to_a_server(&[KEPT]).await;
        let mut ends = SocketEnds::open().expect("the kernel tells");
        for (domain, server_ends_first) in [(Domain::IPV4, false), (Domain::IPV6, false), (Domain::IPV4, true)] {
            let mut stream = connected(domain, KEPT);
            let (mut peer, _) = server.accept().expect("connected");
            stream.write_all(&[1; 3_000]).expect("it lives");
            peer.read_exact(&mut [0; 3_000]).expect("it lives");
            peer.write_all(&[1; 500]).expect("it lives");
            stream.read_exact(&mut [0; 500]).expect("it lives");
            let (socket, carried) = (cookie(&stream), Traffic { received: 500, written: 3_000 });
            assert_eq!(socket_traffic().expect("the kernel lists").get(&socket), Some(&carried));
            if server_ends_first {
                drop(peer);
                assert_eq!(uninterrupted(|| stream.read(&mut [0])).expect("the end"), 0);
            }
            drop(stream);
            let end = loop {
                let heard = ends.next().await.expect("it is told").expect("none is missed");
                if let Some(end) = heard.into_iter().find(|end| end.socket == socket) {
                    break end;
                }
            };
            let received = 500 + u64::from(server_ends_first);
            assert_eq!(
                end.carried,
                Some(Traffic { received, ..carried }),
                "{domain:?}, the server first: {server_ends_first}"
            );
            assert_eq!(socket_traffic().expect("the kernel lists").get(&socket), None);
        }
    });
}

/// Packets are lost while the other end does not have its address.
#[test]
fn what_had_to_be_sent_again_was_carried_once() {
    in_namespace(|| async {
        let (elsewhere, server) = cable_to_a_server(&[KEPT]).await;
        let mut stream = connected(Domain::IPV4, KEPT);
        let (mut peer, _) = server.accept().expect("connected");
        elsewhere.ip(&format!("addr del {PEER}/24 dev p0"));
        stream.write_all(&[1; 3_000]).expect("it lives");
        let deadline = Instant::now() + PATIENCE;
        while !has_sent_again() {
            assert!(Instant::now() < deadline, "nobody answers, so it is sent again");
        }
        elsewhere.ip(&format!("addr add {PEER}/24 dev p0"));
        peer.read_exact(&mut [0; 3_000]).expect("it lives");
        let carried = socket_traffic().expect("the kernel lists");
        assert_eq!(carried.get(&cookie(&stream)), Some(&Traffic { received: 0, written: 3_000 }));
    });
}

/// By the word of `ss`.
fn has_sent_again() -> bool {
    let told = std::process::Command::new("ss").args(["--tcp", "--info"]).output().expect("iproute2 is installed");
    String::from_utf8_lossy(&told.stdout).contains("bytes_retrans:")
}
