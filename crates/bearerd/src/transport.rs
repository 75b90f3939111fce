//! The two halves of a private connection's socket, as zbus drives them.
//!
//! They are our own for what a server for everybody needs: a message has a bound, descriptors that nobody asked for are left
//! to the kernel, and a peer that takes nothing for a while is an error.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, recv, sendmsg, shutdown};
use tokio::{io::Interest, net::UnixStream, time::timeout};
use zbus::{
    Message,
    connection::socket::{ReadHalf, Socket, Split, WriteHalf},
    export::async_trait::async_trait,
};

use crate::Letter;

/// Longer than any call there is.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024;
/// Messages that go out in one write at most.
const MAX_SLICES: usize = 64;
/// Octets of a message before the length of its header's fields has ended (D-Bus specification, "Message Format").
const FIXED_HEADER: usize = 16;

/// A socket whose handshake is done.
#[derive(Debug)]
pub(crate) struct Transport {
    stream: Arc<UnixStream>,
    /// What came after the handshake.
    early: Vec<u8>,
    passes_descriptors: bool,
    patience: Duration,
}

impl Transport {
    pub(crate) fn new(stream: UnixStream, early: Vec<u8>, passes_descriptors: bool) -> Self {
        Self { stream: Arc::new(stream), early, passes_descriptors, patience: Duration::MAX }
    }

    /// How long a peer may take nothing of what is to be sent; for ever otherwise.
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub(crate) const fn passes_descriptors(&self) -> bool {
        self.passes_descriptors
    }
}

impl Transport {
    /// A writer beside that of zbus: whoever has it sends all there is to be sent.
    pub(crate) fn writer(&self) -> Writer {
        let Self { stream, passes_descriptors, patience, .. } = self;
        Writer { stream: Arc::clone(stream), passes_descriptors: *passes_descriptors, patience: *patience }
    }
}

impl Socket for Transport {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let writer = self.writer();
        let Self { stream, early, passes_descriptors, .. } = self;
        Split::new(Reader { stream, early, passes_descriptors, frame: Frame::default() }, writer)
    }
}

/// Where in the stream of messages the reading is.
#[derive(Debug, Default)]
struct Frame {
    header: [u8; FIXED_HEADER],
    length: usize,
    /// What is left of the message after that.
    left: usize,
}

impl Frame {
    /// Follows what was read.
    fn advance(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            if self.left > 0 {
                let of_body = self.left.min(octets.len());
                self.left -= of_body;
                octets = &octets[of_body..];
                continue;
            }
            let of_header = (FIXED_HEADER - self.length).min(octets.len());
            let (header, rest) = octets.split_at(of_header);
            self.header[self.length..self.length + of_header].copy_from_slice(header);
            self.length += of_header;
            octets = rest;
            if self.length == FIXED_HEADER {
                self.left = rest_of_message(&self.header)?;
                self.length = 0;
            }
        }
        Ok(())
    }
}

/// How long a message is after its first sixteen octets.
fn rest_of_message(header: &[u8; FIXED_HEADER]) -> io::Result<usize> {
    let number = |at: usize| {
        let octets = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let number = if header[0] == b'B' { u32::from_be_bytes(octets) } else { u32::from_le_bytes(octets) };
        usize::try_from(number).unwrap_or(usize::MAX)
    };
    let (body, fields) = (number(4), number(12));
    let rest = fields.checked_next_multiple_of(8).and_then(|fields| fields.checked_add(body));
    rest.filter(|rest| *rest <= MAX_MESSAGE)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message is longer than any call there is"))
}

/// What the peer sends.
#[derive(Debug)]
pub(crate) struct Reader {
    stream: Arc<UnixStream>,
    early: Vec<u8>,
    passes_descriptors: bool,
    frame: Frame,
}

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let length = if self.early.is_empty() {
            // Without room for them, the kernel drops descriptors: no call takes any.
            let receive = || Ok(recv(&*self.stream, &mut *buffer, RecvFlags::DONTWAIT)?.1);
            self.stream.async_io(Interest::READABLE, receive).await?
        } else {
            let length = self.early.len().min(buffer.len());
            buffer[..length].copy_from_slice(&self.early[..length]);
            self.early.drain(..length);
            if self.early.is_empty() {
                self.early = Vec::new();
            }
            length
        };
        self.frame.advance(&buffer[..length])?;
        Ok((length, Vec::new()))
    }

    fn can_pass_unix_fd(&self) -> bool {
        self.passes_descriptors
    }
}

/// What goes to the peer.
#[derive(Debug)]
pub(crate) struct Writer {
    stream: Arc<UnixStream>,
    passes_descriptors: bool,
    patience: Duration,
}

impl Writer {
    /// Sends as much as the socket takes, which is something; fails if that takes too long.
    async fn write(&self, slices: &[IoSlice<'_>], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors in a message"));
            }
            Ok(sendmsg(&*self.stream, slices, &mut ancillary, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
        };
        let sent = timeout(self.patience, self.stream.async_io(Interest::WRITABLE, send)).await;
        sent.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it has taken nothing for too long"))?
    }

    /// Sends all of these; the descriptors are those of the first.
    async fn write_all(&self, messages: &[&[u8]], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = messages.iter().map(|octets| IoSlice::new(octets)).collect();
        let (mut slices, mut descriptors) = (slices.as_mut_slice(), descriptors);
        while !slices.is_empty() {
            let sent = self.write(slices, descriptors).await?;
            descriptors = &[];
            IoSlice::advance_slices(&mut slices, sent);
        }
        Ok(())
    }

    /// Sends letters. Descriptors travel with the first octet of a write, so a letter that has some begins one.
    pub(crate) async fn send(&self, letters: &[Letter]) -> io::Result<()> {
        let mut rest = letters;
        while let Some((first, others)) = rest.split_first() {
            let plain = others.iter().take(MAX_SLICES - 1).take_while(|letter| letter.descriptors().is_empty()).count();
            let (now, later) = rest.split_at(1 + plain);
            let octets: Vec<&[u8]> = now.iter().map(Letter::octets).collect();
            let descriptors: Vec<BorrowedFd<'_>> = first.descriptors().iter().map(AsFd::as_fd).collect();
            self.write_all(&octets, &descriptors).await?;
            rest = later;
        }
        Ok(())
    }
}

#[async_trait]
impl WriteHalf for Writer {
    async fn send_message(&mut self, message: &Message) -> zbus::Result<()> {
        Ok(self.send(&[message.clone().into()]).await?)
    }

    async fn sendmsg(&mut self, buffer: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.write(&[IoSlice::new(buffer)], descriptors).await
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(shutdown(&*self.stream, Shutdown::Both)?)
    }

    fn can_pass_unix_fd(&self) -> bool {
        self.passes_descriptors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(argument: &str) -> Vec<u8> {
        Message::method_call("/", "Ping").build(&argument).unwrap().data().bytes().to_vec()
    }

    #[test]
    fn messages_are_told_apart_however_they_are_cut() {
        let stream: Vec<u8> = [call("one"), call(""), call("three, which is longer")].concat();
        for size in 1..stream.len() {
            let mut frame = Frame::default();
            for part in stream.chunks(size) {
                frame.advance(part).unwrap();
            }
            assert_eq!((frame.length, frame.left), (0, 0), "in parts of {size}");
        }
    }

    #[test]
    fn a_message_beyond_the_bound_is_refused_before_it_comes() {
        let long = call(&"x".repeat(MAX_MESSAGE));
        let mut frame = Frame::default();
        frame.advance(&long[..FIXED_HEADER - 1]).unwrap();
        assert!(frame.advance(&long[FIXED_HEADER - 1..FIXED_HEADER]).is_err());
        assert!(Frame::default().advance(&[b'l'; FIXED_HEADER]).is_err());
        assert!(Frame::default().advance(&[0xff; FIXED_HEADER]).is_err());
    }
}
