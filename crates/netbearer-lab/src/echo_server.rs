use std::{
    io::{self, PipeReader, Write},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    sync::{Arc, Weak},
    thread,
};

use crate::{LabError, Namespace, deadline::Deadline, server_thread::ServerThread};

/// The address of "the internet": every access point answers there, so the answer tells which way the packets went
/// (RFC 5737).
pub const INTERNET: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// As [`INTERNET`], in IPv6 (RFC 3849). There once the access point [serves](crate::AccessPoint::serve_ipv6) it.
pub const INTERNET_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);

/// The port of the echo service (RFC 862), TCP and UDP.
pub const ECHO_PORT: u16 = 7;

/// Answers each TCP connection to any address of its namespace with one line, the name of the access point, and then
/// with what it is sent. Answers each UDP packet to [`INTERNET`] with one that has the line before the content.
#[derive(Debug)]
pub(crate) struct EchoServer {
    _thread: ServerThread,
}

impl EchoServer {
    pub(crate) fn start(namespace: &Namespace) -> Result<Self, LabError> {
        let greeting = format!("{}\n", namespace.name());
        let unable = || LabError::unable_to(format!("start the echo server of {}", namespace.name()));
        let (listener, packets) = namespace
            .run(|| {
                // One socket for both families; the second try is for kernels without IPv6.
                let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, ECHO_PORT))
                    .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, ECHO_PORT)))?;
                let packets = UdpSocket::bind((INTERNET, ECHO_PORT))?;
                listener.set_nonblocking(true)?;
                packets.set_nonblocking(true)?;
                Ok::<_, io::Error>((listener, packets))
            })
            .map_err(unable())?;
        let thread = ServerThread::start("echo server", move |stopped| serve(&listener, &packets, &stopped, &greeting));
        Ok(Self { _thread: thread.map_err(unable())? })
    }
}

fn serve(listener: &TcpListener, packets: &UdpSocket, stopped: &PipeReader, greeting: &str) {
    thread::scope(|scope| {
        let mut connections: Vec<Weak<TcpStream>> = Vec::new();
        let sources = [listener.as_fd(), packets.as_fd(), stopped.as_fd()];
        while let Ok([_, _, false]) = Deadline::NEVER.wait_readable(sources) {
            while let Ok((stream, _)) = listener.accept() {
                let stream = Arc::new(stream);
                connections.retain(|connection| connection.strong_count() > 0);
                connections.push(Arc::downgrade(&stream));
                // The client sees a broken connection as its end.
                scope.spawn(move || echo(&stream, greeting).ok());
            }
            answer_packets(packets, greeting);
        }
        for connection in connections.iter().filter_map(Weak::upgrade) {
            // One that is closed already needs no more.
            let _ = connection.shutdown(Shutdown::Both);
        }
    });
}

fn echo(stream: &TcpStream, greeting: &str) -> io::Result<()> {
    let (mut input, mut output) = (stream, stream);
    stream.set_nodelay(true)?;
    output.write_all(greeting.as_bytes())?;
    io::copy(&mut input, &mut output)?;
    stream.shutdown(Shutdown::Both)
}

fn answer_packets(packets: &UdpSocket, greeting: &str) {
    let mut packet = vec![0; 65_536];
    while let Ok((length, client)) = packets.recv_from(&mut packet) {
        let content = packet.iter().take(length).copied();
        let answer: Vec<u8> = greeting.bytes().chain(content).collect();
        // A lost answer is a lost packet.
        let _ = packets.send_to(&answer, client);
    }
}
