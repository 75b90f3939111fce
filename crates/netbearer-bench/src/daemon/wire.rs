//! D-Bus as a client of the private socket speaks it, by hand: a thousand connections in one process that cost it next to
//! nothing, so that what is measured is the daemon.

use std::{
    collections::VecDeque,
    io::{self, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
};
use serde::{Serialize, de::DeserializeOwned};
use zbus::{
    DynamicType, Message, Type,
    wire::{Endian, serialized},
};

use crate::error::BenchError;

/// Octets of a message before the fields of its header (D-Bus specification, "Message Format").
const FIXED_HEADER: usize = 16;
const LITTLE_ENDIAN: u8 = b'l';
/// The most that is read at once.
const CHUNK: usize = 16 * 1024;

/// A connection. Reading never blocks.
pub(super) struct Wire {
    stream: UnixStream,
    received: Vec<u8>,
    /// How much of that was handed out.
    taken: usize,
    descriptors: VecDeque<OwnedFd>,
    serial: u32,
}

/// What came of an attempt to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Octets,
    /// Nothing at the moment.
    Nothing,
    /// The peer is gone.
    End,
}

/// A message, as far as it is needed here.
#[derive(Debug, Default)]
pub(super) struct Word<'a> {
    pub(super) kind: Kind,
    pub(super) path: &'a str,
    pub(super) member: &'a str,
    /// The call that is answered.
    pub(super) reply_serial: u32,
    pub(super) error_name: &'a str,
    pub(super) body: &'a [u8],
    pub(super) descriptor: Option<OwnedFd>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    Reply,
    Error,
    Signal,
    #[default]
    Other,
}

impl Word<'_> {
    /// The arguments.
    pub(super) fn body<T: DeserializeOwned + Type>(&self) -> Result<T, BenchError> {
        let context = serialized::Context::new(Endian::Little, 0);
        let (body, _) = serialized::Data::new(self.body, context).deserialize()?;
        Ok(body)
    }

    /// The first argument, if it is a number of 32 bits.
    pub(super) fn number(&self) -> Option<u32> {
        number(self.body, 0)
    }
}

impl Wire {
    /// Connects, and is authenticated as whoever the kernel says it is.
    pub(super) fn connect(socket: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        let user: String =
            rustix::process::geteuid().as_raw().to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {user}\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n").as_bytes())?;
        for expected in ["OK ", "AGREE_UNIX_FD"] {
            let line = read_line(&mut stream)?;
            if !line.starts_with(expected) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the daemon said: {line}")));
            }
        }
        stream.set_nonblocking(true)?;
        Ok(Self { stream, received: Vec::new(), taken: 0, descriptors: VecDeque::new(), serial: 0 })
    }

    /// Sends a call; the number by which its reply is known.
    pub(super) fn call(
        &mut self,
        path: &str,
        interface: &str,
        member: &str,
        body: &(impl Serialize + DynamicType),
    ) -> Result<u32, BenchError> {
        let call = Message::method_call(path, member).interface(interface).endian(Endian::Little);
        self.serial += 1;
        let serial = self.serial.try_into().map_err(io::Error::other)?;
        let call = call.serial(serial).build(body)?;
        let mut rest = call.data().bytes();
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.stream, PollFlags::OUT)], None).map_err(io::Error::from)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.serial)
    }

    /// Reads what there is, up to a bound.
    pub(super) fn read(&mut self) -> io::Result<Reading> {
        self.received.drain(..self.taken);
        self.taken = 0;
        let length = self.received.len();
        self.received.resize(length + CHUNK, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let room = self.received.get_mut(length..).unwrap_or_default();
        let outcome = recvmsg(&self.stream, &mut [IoSliceMut::new(room)], &mut control, RecvFlags::CMSG_CLOEXEC);
        let count = outcome.as_ref().map_or(0, |outcome| outcome.bytes);
        self.received.truncate(length + count);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        match outcome {
            Ok(_) if count > 0 => Ok(Reading::Octets),
            Ok(_) | Err(rustix::io::Errno::CONNRESET) => Ok(Reading::End),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(Reading::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// The next message that has come whole.
    pub(super) fn next(&mut self) -> io::Result<Option<Word<'_>>> {
        let rest = self.received.get(self.taken..).unwrap_or_default();
        let (Some(order), Some(kind)) = (rest.first(), rest.get(1)) else { return Ok(None) };
        let (Some(body), Some(fields)) = (length(rest, 4), length(rest, 12)) else { return Ok(None) };
        if *order != LITTLE_ENDIAN {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the daemon's order of octets is another"));
        }
        let fields_end = FIXED_HEADER + fields;
        let body_start = fields_end.next_multiple_of(8);
        let Some(message) = rest.get(..body_start + body) else { return Ok(None) };
        self.taken += message.len();
        let kind = match kind {
            2 => Kind::Reply,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => Kind::Other,
        };
        let mut word = Word { kind, body: message.get(body_start..).unwrap_or_default(), ..Word::default() };
        let mut at = FIXED_HEADER;
        while at < fields_end {
            let (code, value) = field(message, &mut at)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a header is no header"))?;
            match (code, value) {
                (1, Field::Text(path)) => word.path = path,
                (3, Field::Text(member)) => word.member = member,
                (4, Field::Text(name)) => word.error_name = name,
                (5, Field::Number(serial)) => word.reply_serial = serial,
                (9, Field::Number(1..)) => word.descriptor = self.descriptors.pop_front(),
                _ => {}
            }
        }
        Ok(Some(word))
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Octet by octet: what follows is not ours to take.
fn read_line(stream: &mut UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet)?;
        line.extend(octet);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

enum Field<'a> {
    Text(&'a str),
    Number(u32),
}

/// The field of a header that begins at or after `at`, which is moved behind it.
fn field<'a>(message: &'a [u8], at: &mut usize) -> Option<(u8, Field<'a>)> {
    let start = at.next_multiple_of(8);
    let (code, kind) = (*message.get(start)?, *message.get(start + 2)?);
    let value = start + 4;
    let field = match kind {
        b'u' => {
            *at = value + 4;
            Field::Number(number(message, value)?)
        }
        b's' | b'o' => {
            let text = value + 4;
            let end = text + length(message, value)?;
            *at = end + 1;
            Field::Text(std::str::from_utf8(message.get(text..end)?).ok()?)
        }
        b'g' => {
            let text = value + 1;
            let end = text + usize::from(*message.get(value)?);
            *at = end + 1;
            Field::Text(std::str::from_utf8(message.get(text..end)?).ok()?)
        }
        _ => return None,
    };
    Some((code, field))
}

fn length(octets: &[u8], at: usize) -> Option<usize> {
    usize::try_from(number(octets, at)?).ok()
}

fn number(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::IoSlice};

    use netbearer_dbus::{SESSION_INTERFACE, session_path};
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    fn pair() -> (Wire, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let wire = Wire { stream: ours, received: Vec::new(), taken: 0, descriptors: VecDeque::new(), serial: 0 };
        (wire, theirs)
    }

    fn signal(number: u64, state: u32) -> Vec<u8> {
        let signal = Message::signal(session_path(number), SESSION_INTERFACE, "StateChanged");
        signal.endian(Endian::Little).build(&state).unwrap().data().bytes().to_vec()
    }

    #[test]
    fn messages_are_read_however_they_are_cut() {
        let stream = [signal(7, 4), signal(10_000, 5)].concat();
        for size in 1..stream.len() {
            let (mut wire, mut theirs) = pair();
            let mut read = Vec::new();
            for part in stream.chunks(size) {
                theirs.write_all(part).unwrap();
                assert_eq!(wire.read().unwrap(), Reading::Octets);
                while let Some(word) = wire.next().unwrap() {
                    assert_eq!((word.kind, word.member), (Kind::Signal, "StateChanged"));
                    read.push((word.path.to_owned(), word.number()));
                }
            }
            assert_eq!(read, [(session_path(7), Some(4)), (session_path(10_000), Some(5))], "in parts of {size}");
            assert_eq!(wire.read().unwrap(), Reading::Nothing);
            drop(theirs);
            assert_eq!(wire.read().unwrap(), Reading::End);
        }
    }

    #[test]
    fn a_reply_has_its_descriptor_and_its_body() {
        let (mut wire, theirs) = pair();
        let call = Message::method_call("/", "Open").serial(9.try_into().unwrap()).build(&()).unwrap();
        let reply = Message::method_return(&call.header()).endian(Endian::Little);
        let file = File::open("/dev/null").unwrap();
        let reply = reply.build(&("so", 3_u64, zbus::Fd::from(&file))).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [file.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(&theirs, &[IoSlice::new(reply.data().bytes())], &mut control, SendFlags::empty()).unwrap();
        wire.read().unwrap();
        let word = wire.next().unwrap().unwrap();
        assert_eq!((word.kind, word.reply_serial), (Kind::Reply, 9));
        assert!(word.descriptor.is_some());
        assert_eq!(word.body::<(String, u64, u32)>().unwrap(), ("so".to_owned(), 3, 0));
    }

    #[test]
    fn calls_are_numbered_and_arrive() {
        let (mut wire, mut theirs) = pair();
        assert_eq!(wire.call("/x", SESSION_INTERFACE, "Open", &()).unwrap(), 1);
        assert_eq!(wire.call("/x", SESSION_INTERFACE, "Close", &()).unwrap(), 2);
        drop(wire);
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).unwrap();
        let (mut back, mut other) = pair();
        other.write_all(&sent).unwrap();
        back.read().unwrap();
        assert_eq!(back.next().unwrap().unwrap().member, "Open");
        let close = back.next().unwrap().unwrap();
        assert_eq!((close.member, close.path), ("Close", "/x"));
    }
}
