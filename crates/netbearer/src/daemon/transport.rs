//! The two halves of the socket to the daemon, as zbus drives them. They are our own for the descriptors: zbus takes them
//! without `MSG_CMSG_CLOEXEC` (`recvmsg(2)`), so that a child that is started at that moment would hold as we do.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    Shutdown, recvmsg, sendmsg, shutdown,
};
use tokio::{io::Interest, net::UnixStream};
use zbus::{
    connection::socket::{ReadHalf, Socket, Split, WriteHalf},
    export::async_trait::async_trait,
};

/// More descriptors than a message of the daemon's has.
const DESCRIPTORS: usize = 4;

/// A connected socket.
#[derive(Debug)]
pub(super) struct Transport(Arc<UnixStream>);

impl Transport {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(Arc::new(stream))
    }
}

impl Socket for Transport {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        Split::new(Reader(Arc::clone(&self.0)), Writer(self.0))
    }
}

/// What the daemon sends.
#[derive(Debug)]
pub(super) struct Reader(Arc<UnixStream>);

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let receive = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let received = recvmsg(&*self.0, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags)?;
            let descriptors = ancillary.drain().flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
                _ => Vec::new(),
            });
            Ok((received.bytes, descriptors.collect()))
        };
        match self.0.async_io(Interest::READABLE, receive).await? {
            (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
            received => Ok(received),
        }
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

/// What goes to the daemon.
#[derive(Debug)]
pub(super) struct Writer(Arc<UnixStream>);

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(&mut self, buffer: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors in a message"));
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            Ok(sendmsg(&*self.0, &[IoSlice::new(buffer)], &mut ancillary, flags)?)
        };
        self.0.async_io(Interest::WRITABLE, send).await
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(shutdown(&*self.0, Shutdown::Both)?)
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}
