//! Connections that do as they like.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use netbearer_lab::uninterrupted;

use crate::stage::DEADLINE;

/// A stream to the private socket.
pub(crate) fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// One that has said who it is.
pub(crate) fn authenticated(socket: &Path) -> UnixStream {
    authenticate(connect(socket))
}

/// Says who it is, and waits for the answer.
pub(crate) fn authenticate(mut stream: UnixStream) -> UnixStream {
    stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n").unwrap();
    let mut answer = String::new();
    while !answer.contains("OK ") || !answer.ends_with("\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet).unwrap();
        answer.push(char::from(octet[0]));
    }
    stream
}

/// Waits until the other end has ended the connection.
pub(crate) fn wait_for_end(stream: &mut UnixStream) {
    let mut octets = [0; 4096];
    loop {
        match uninterrupted(|| stream.read(&mut octets)) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("the connection should have ended: {error}"),
        }
    }
}
