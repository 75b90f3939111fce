use std::io;

use rtnetlink::sys::{Socket, SocketAddr};

/// `linux/netlink.h`.
pub(crate) const ACKNOWLEDGE: u16 = 0x4;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const ERROR: u16 = 2;
pub(crate) const DONE: u16 = 3;
const REQUEST: u16 = 0x1;
const HEADER_LENGTH: usize = 16;
/// Where a header has the sequence number, of four octets.
const SEQUENCE: usize = 8;
/// Larger than what the kernel puts into one part of a dump.
const BUFFER_LENGTH: usize = 64 * 1024;

/// Asks the kernel by netlink for what the codec has no words for. What there is to read is there when a request has been
/// sent.
#[derive(Debug)]
pub(crate) struct AskingSocket {
    socket: Socket,
    sequence: u32,
    buffer: Box<[u8]>,
}

impl AskingSocket {
    /// In the network namespace of the calling thread.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.set_non_blocking(true)?;
        socket.bind_auto()?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER_LENGTH].into_boxed_slice() })
    }

    /// Sends a message with this content.
    pub(crate) fn send(&mut self, kind: u16, flags: u16, content: &[u8]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER_LENGTH + content.len()).map_err(io::Error::other)?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((REQUEST | flags).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(content);
        self.socket.send_to(&message, &SocketAddr::new(0, 0), 0).map(drop)
    }

    /// A datagram of the answer to what was sent last.
    pub(crate) fn receive(&mut self) -> io::Result<&[u8]> {
        let length = loop {
            let length = receive_from_kernel(&self.socket, &mut self.buffer)?;
            // What was left unread by a call that failed half-way is no answer.
            if sequence(&self.buffer) == Some(self.sequence) {
                break length;
            }
        };
        Ok(self.buffer.get(..length).unwrap_or_default())
    }
}

/// Waits for a datagram of the kernel's own, and returns its length.
pub(crate) fn receive_from_kernel(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.recv_from(&mut &mut buffer[..], 0) {
            // Only the kernel has port 0.
            Ok((length, sender)) if sender.port_number() == 0 => return Ok(length),
            // Whose handler of signals does not ask for a restart (signal(7)) has asked for no failure either.
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
}

fn sequence(datagram: &[u8]) -> Option<u32> {
    datagram.get(SEQUENCE..)?.first_chunk().map(|octets| u32::from_ne_bytes(*octets))
}

/// The netlink messages in a datagram: type and content of each.
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::try_from(u32::from_ne_bytes(*self.0.first_chunk()?)).ok()?;
        let kind = u16::from_ne_bytes(*self.0.get(4..)?.first_chunk()?);
        let content = self.0.get(HEADER_LENGTH..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, content))
    }
}

/// What `struct nlmsgerr` says.
pub(crate) fn refusal(content: &[u8]) -> io::Result<()> {
    match content.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}
