use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::net::{RecvFlags, SendFlags, recv, sendto};
use socket2::{Domain, Protocol, Socket, Type};

use super::netlink_socket::wait_readable;

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// Where the options begin (RFC 2131 §2), after the magic number.
const OPTIONS: usize = 240;
const MAGIC: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
/// The shortest message that every relay accepts (RFC 1542 §2.1).
const MESSAGE_LENGTH: usize = 300;
/// After that long a question is put again.
const PATIENCE: Duration = Duration::from_millis(250);

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACKNOWLEDGEMENT: u8 = 5;
const RELEASE: u8 = 7;

/// What a lease says, as far as it is needed here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lease {
    pub(super) address: Ipv4Addr,
    pub(super) server: Ipv4Addr,
    pub(super) gateway: Ipv4Addr,
    pub(super) prefix_length: u8,
}

/// DHCP over a blocking UDP socket that is bound to the interface and asks for broadcast answers.
pub(super) struct DhcpSocket {
    socket: OwnedFd,
    hardware_address: [u8; 6],
    transaction: u32,
    buffer: Vec<u8>,
    /// What [`Acquisition::Remembered`] asks for again.
    former: Option<Lease>,
}

/// How a lease is got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquisition {
    /// In four messages (RFC 2131 §3.1).
    FourMessages,
    /// In two, from a server that does so (RFC 4039).
    RapidCommit,
    /// In two, for the address of the lease before (RFC 2131 §3.2); the first time in four.
    Remembered,
}

/// What is sent to the server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Question {
    Discover,
    RapidDiscover,
    Request(Lease),
    Reboot(Lease),
    Release(Lease),
}

impl Question {
    /// The message type (RFC 2132 §9.6).
    const fn kind(self) -> u8 {
        match self {
            Self::Discover | Self::RapidDiscover => DISCOVER,
            Self::Request(_) | Self::Reboot(_) => REQUEST,
            Self::Release(_) => RELEASE,
        }
    }
}

impl DhcpSocket {
    /// In the network namespace of the calling thread.
    pub(super) fn open(interface: &str, hardware_address: [u8; 6]) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_broadcast(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT).into())?;
        Ok(Self { socket: socket.into(), hardware_address, transaction: 0, buffer: vec![0; 1_500], former: None })
    }

    pub(super) fn acquire(&mut self, acquisition: Acquisition) -> io::Result<Lease> {
        self.transaction += 1;
        match (acquisition, self.former) {
            (Acquisition::RapidCommit, _) => self.ask(Question::RapidDiscover, ACKNOWLEDGEMENT),
            (Acquisition::Remembered, Some(lease)) => self.ask(Question::Reboot(lease), ACKNOWLEDGEMENT),
            _ => {
                let offer = self.ask(Question::Discover, OFFER)?;
                let lease = self.ask(Question::Request(offer), ACKNOWLEDGEMENT)?;
                self.former = Some(lease);
                Ok(lease)
            }
        }
    }

    /// Gives a lease back; nobody answers (RFC 2131 §4.4.6).
    pub(super) fn release(&mut self, lease: Lease) -> io::Result<()> {
        self.transaction += 1;
        self.send(Question::Release(lease), lease.server)
    }

    fn ask(&mut self, question: Question, wanted: u8) -> io::Result<Lease> {
        let give_up = Instant::now() + 8 * PATIENCE;
        while Instant::now() < give_up {
            self.send(question, Ipv4Addr::BROADCAST)?;
            let deadline = Instant::now() + PATIENCE;
            while wait_readable(&self.socket, deadline)? {
                let (_, length) = recv(&self.socket, &mut self.buffer[..], RecvFlags::empty())?;
                let answer = self.buffer.get(..length).unwrap_or_default();
                if let Some(lease) = read(answer, self.transaction, wanted) {
                    return Ok(lease);
                }
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn send(&self, question: Question, destination: Ipv4Addr) -> io::Result<()> {
        let mut message = vec![1, 1, 6, 0];
        message.extend(self.transaction.to_be_bytes());
        // Seconds, and the flag that asks for broadcasts.
        message.extend([0, 0, 0x80, 0]);
        let client_address = match question {
            Question::Release(lease) => lease.address,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        message.extend(client_address.octets());
        message.resize(28, 0);
        message.extend(self.hardware_address);
        message.resize(OPTIONS - MAGIC.len(), 0);
        message.extend(MAGIC);
        // The message type, and the same parameters as ours ask for, so that the server has the same work.
        message.extend([53, 1, question.kind(), 55, 12, 1, 121, 3, 6, 15, 26, 28, 51, 54, 58, 59, 119]);
        if question == Question::RapidDiscover {
            message.extend([80, 0]);
        }
        if let Question::Request(lease) | Question::Reboot(lease) = question {
            message.extend([50, 4]);
            message.extend(lease.address.octets());
        }
        if let Question::Request(lease) | Question::Release(lease) = question {
            message.extend([54, 4]);
            message.extend(lease.server.octets());
        }
        message.push(255);
        message.resize(MESSAGE_LENGTH, 0);
        let destination = SocketAddrV4::new(destination, SERVER_PORT);
        sendto(&self.socket, &message, SendFlags::empty(), &destination)?;
        Ok(())
    }
}

/// The lease in an answer of the wanted kind to this transaction.
fn read(answer: &[u8], transaction: u32, wanted: u8) -> Option<Lease> {
    let address = |place: usize| answer.get(place..)?.first_chunk().map(|bytes: &[u8; 4]| Ipv4Addr::from(*bytes));
    if answer.get(4..8)? != transaction.to_be_bytes() {
        return None;
    }
    let (mut kind, mut server, mut mask, mut gateway) = (None, None, None, None);
    let mut place = OPTIONS;
    while let Some(&code) = answer.get(place) {
        match code {
            0 => {
                place += 1;
                continue;
            }
            53 => kind = answer.get(place + 2).copied(),
            54 => server = address(place + 2),
            1 => mask = address(place + 2),
            3 => gateway = address(place + 2),
            255 => break,
            _ => {}
        }
        place += 2 + usize::from(*answer.get(place + 1)?);
    }
    if kind? != wanted {
        return None;
    }
    let prefix_length = u8::try_from(mask?.to_bits().leading_ones()).ok()?;
    Some(Lease { address: address(16)?, server: server?, gateway: gateway?, prefix_length })
}
