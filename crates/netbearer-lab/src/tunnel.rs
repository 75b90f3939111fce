use std::{
    fs::File,
    io::{PipeReader, Read, Write},
    os::fd::AsFd,
};

use crate::{LabError, Namespace, deadline::Deadline, server_thread::ServerThread, tun_device};

const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const CHECKSUM: std::ops::Range<usize> = 10..12;

/// A tunnel device, and the far end of it: whatever datagram comes by IPv4 is answered with the name of the tunnel, whoever it
/// was for. It is up, has carrier, and is gone when this value is dropped.
#[derive(Debug)]
pub struct Tunnel<'a> {
    namespace: &'a Namespace,
    name: String,
    _thread: ServerThread,
}

impl<'a> Tunnel<'a> {
    /// A tunnel with this name in `namespace`.
    ///
    /// # Errors
    /// When there is an interface of that name, or no `/dev/net/tun`.
    pub fn open(namespace: &'a Namespace, name: &str) -> Result<Self, LabError> {
        let unable = || LabError::unable_to(format!("open the tunnel {name}"));
        let device = namespace.run(|| tun_device::open(name)).map_err(unable())?;
        namespace.ip_lines(&["link", "set", name, "up"])?;
        let greeting = format!("{name}\n");
        let thread = ServerThread::start("tunnel", move |stopped| serve(device, &stopped, &greeting));
        Ok(Self { namespace, name: name.to_owned(), _thread: thread.map_err(unable())? })
    }
}

impl Drop for Tunnel<'_> {
    fn drop(&mut self) {
        // Closing it would not do: a child that was forked just now has it open until it executes its program. It may have
        // been deleted already.
        let _ = self.namespace.ip_lines(&["link", "delete", &self.name]);
    }
}

fn serve(mut device: File, stopped: &PipeReader, greeting: &str) {
    let mut packet = [0; 65_536];
    while let Ok([_, false]) = Deadline::NEVER.wait_readable([device.as_fd(), stopped.as_fd()]) {
        while let Ok(length) = device.read(&mut packet) {
            if let Some(answer) = packet.get(..length).and_then(|packet| answer(packet, greeting)) {
                // A lost answer is a lost packet.
                let _ = device.write(&answer);
            }
        }
    }
}

/// The packet with both ends swapped (RFC 791 §3.1, RFC 768), and with this for its content.
fn answer(packet: &[u8], content: &str) -> Option<Vec<u8>> {
    let header_length = usize::from(packet.first()? & 0x0f) * 4;
    if packet.first()? >> 4 != 4 || *packet.get(9)? != UDP {
        return None;
    }
    let (header, datagram) = packet.split_at_checked(header_length)?;
    let length = header_length + UDP_HEADER + content.len();
    let mut answer = [header, datagram.get(..UDP_HEADER)?, content.as_bytes()].concat();
    answer.get_mut(2..4)?.copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
    answer.get_mut(12..20)?.rotate_left(4);
    answer.get_mut(header_length..header_length + 4)?.rotate_left(2);
    let udp_length = u16::try_from(UDP_HEADER + content.len()).ok()?;
    answer.get_mut(header_length + 4..header_length + 6)?.copy_from_slice(&udp_length.to_be_bytes());
    // None: IPv4 lets datagrams go without.
    answer.get_mut(header_length + 6..header_length + 8)?.fill(0);
    answer.get_mut(CHECKSUM)?.fill(0);
    let sum = checksum(answer.get(..header_length)?);
    answer.get_mut(CHECKSUM)?.copy_from_slice(&sum.to_be_bytes());
    Some(answer)
}

/// The Internet checksum (RFC 1071).
fn checksum(octets: &[u8]) -> u16 {
    let words = octets.chunks(2).map(|pair| pair.iter().fold(0, |word, octet| word << 8 | u32::from(*octet)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX)
}
