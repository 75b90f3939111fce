use std::{
    io::{self, BufRead, BufReader, PipeReader, Write},
    net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    os::fd::AsFd,
    time::Duration,
};

use crate::{Namespace, deadline::Deadline, server_thread::ServerThread};

/// The port of web servers (RFC 9110 §4.2.1).
const PORT: u16 = 80;
/// For a client to say what it wants.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers every HTTP request with a line that names the access point it came by, and the client as the server sees it.
#[derive(Debug)]
pub(crate) struct WebServer {
    _thread: ServerThread,
}

impl WebServer {
    pub(crate) fn start(namespace: &Namespace) -> io::Result<Self> {
        let listener = namespace.run(|| {
            // One socket for both families; the second try is for kernels without IPv6.
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))
                .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))?;
            listener.set_nonblocking(true)?;
            Ok::<_, io::Error>(listener)
        })?;
        let name = namespace.name().to_owned();
        let thread = ServerThread::start("web server", move |stopped| serve(&listener, &stopped, &name))?;
        Ok(Self { _thread: thread })
    }
}

fn serve(listener: &TcpListener, stopped: &PipeReader, name: &str) {
    while let Ok([_, false]) = Deadline::NEVER.wait_readable([listener.as_fd(), stopped.as_fd()]) {
        while let Ok((stream, _)) = listener.accept() {
            // The client sees a broken connection as such.
            let _ = answer(&stream, name);
        }
    }
}

fn answer(mut stream: &TcpStream, name: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let body = format!("{name} serves you, {}\n", stream.peer_addr()?.ip().to_canonical());
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
