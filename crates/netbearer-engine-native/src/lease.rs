//! One DHCP client with its sockets and its clock: carries packets and time to the state machine, decides nothing.

use std::{
    future::pending,
    io,
    net::{Ipv4Addr, SocketAddrV4},
};

use netbearer_dhcp::{
    Client, ClientConfiguration, Event, Transmit,
    frame::{self, ChecksumState},
};
use netbearer_engine::Clock;
use netbearer_kernel::{BootClock, PacketSocket, open_udp_socket};
use tokio::{net::UdpSocket, runtime::Handle};

use crate::spare_socket::SpareSocket;

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// Longer than any packet on a link with an MTU of 9,000; what is longer is cut off and then refused.
const BUFFER_LENGTH: usize = 9_216;

/// A lease being acquired and kept on one link.
pub(crate) struct LeaseKeeper {
    interface: u32,
    client: Client,
    clock: BootClock,
    /// There while the interface has no address.
    packets: Option<PacketSocket>,
    /// There while it has one.
    datagrams: Option<UdpSocket>,
    buffer: Vec<u8>,
}

/// What happened on a socket or the clock.
enum Wake {
    Packet { length: usize, checksum: ChecksumState },
    Datagram { length: usize },
    Timeout,
}

impl LeaseKeeper {
    /// Opens what is needed, and sends nothing yet. The link must be administratively up; its carrier may be on the way.
    pub(crate) fn open(
        interface: u32,
        configuration: ClientConfiguration,
        clock: BootClock,
        spare: &SpareSocket,
    ) -> io::Result<Self> {
        Ok(Self {
            interface,
            client: Client::new(configuration, clock.now()),
            clock,
            packets: Some(spare.open(interface)?),
            datagrams: None,
            buffer: vec![0; BUFFER_LENGTH],
        })
    }

    pub(crate) const fn interface(&self) -> u32 {
        self.interface
    }

    /// Asks for a lease; the first message has been sent when this returns.
    pub(crate) async fn start(&mut self) {
        self.client.start(self.clock.now());
        self.send_all().await;
    }

    /// Waits for the next event of the lease. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub(crate) async fn event(&mut self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.client.poll_event() {
                return Ok(event);
            }
            self.send_all().await;
            match self.wake().await? {
                Wake::Timeout => self.client.handle_timeout(self.clock.now()),
                Wake::Packet { length, checksum } => {
                    let packet = self.buffer.get(..length).unwrap_or_default();
                    if let Ok(datagram) = frame::decode(packet, checksum) {
                        hear(&mut self.client, datagram.payload, &self.clock);
                    }
                }
                Wake::Datagram { length } => {
                    hear(&mut self.client, self.buffer.get(..length).unwrap_or_default(), &self.clock);
                }
            }
        }
    }

    /// The interface has the leased address from now on, so an ordinary socket will do: takes the other one, for whoever
    /// closes it. The kernel takes milliseconds for that.
    pub(crate) const fn take_packets(&mut self) -> Option<PacketSocket> {
        self.packets.take()
    }

    /// The interface has no address any more.
    pub(crate) fn address_removed(&mut self) {
        self.datagrams = None;
    }

    /// Has the lease confirmed, if there is one; the question has been sent when this returns. False if there is none.
    pub(crate) async fn confirm(&mut self) -> bool {
        let asks = self.client.confirm(self.clock.now());
        self.send_all().await;
        asks
    }

    /// Gives the lease back to its server. The address must still be installed.
    pub(crate) async fn release(&mut self) {
        self.client.release(self.clock.now());
        self.send_all().await;
    }

    async fn wake(&mut self) -> io::Result<Wake> {
        let timeout = self.client.poll_timeout();
        let (packets, datagrams, buffer, clock) = (&self.packets, &self.datagrams, &mut self.buffer, &self.clock);
        let mut other_buffer = [0; 2_048];
        let wake = tokio::select! {
            received = receive_packet(packets.as_ref(), buffer) => {
                let received = received?;
                let checksum =
                    if received.checksum_unfinished { ChecksumState::Unfinished } else { ChecksumState::Unknown };
                Wake::Packet { length: received.length, checksum }
            }
            received = receive_datagram(datagrams.as_ref(), &mut other_buffer) => {
                let length = received?;
                let heard = other_buffer.get(..length).unwrap_or_default();
                self.buffer.splice(..heard.len(), heard.iter().copied());
                Wake::Datagram { length }
            }
            () = async {
                match timeout {
                    Some(deadline) => clock.sleep_until(deadline).await,
                    None => pending().await,
                }
            } => Wake::Timeout,
        };
        Ok(wake)
    }

    /// The kernel takes milliseconds to close a packet socket, so nobody waits for it.
    fn close_packets(&mut self) {
        if let Some(packets) = self.packets.take()
            && Handle::try_current().is_ok()
        {
            packets.close_in_background();
        }
    }

    async fn send_all(&mut self) {
        while let Some(transmit) = self.client.poll_transmit() {
            let sent = if transmit.source.is_unspecified() {
                self.send_packet(&transmit).await
            } else {
                self.send_datagram(&transmit).await
            };
            // What was not sent is sent again in time; a link that is gone is told by the kernel, not by this.
            if let Err(error) = sent {
                tracing::debug!(interface = self.interface, "a DHCP message could not be sent: {error}");
            }
        }
    }

    async fn send_packet(&mut self, transmit: &Transmit) -> io::Result<()> {
        let packets = match self.packets.take() {
            Some(packets) => self.packets.insert(packets),
            None => self.packets.insert(PacketSocket::open(self.interface)?),
        };
        let packet =
            frame::encode(transmit.source, transmit.destination, &transmit.payload).map_err(io::Error::other)?;
        packets.send_broadcast(&packet).await
    }

    async fn send_datagram(&mut self, transmit: &Transmit) -> io::Result<()> {
        let datagrams = match self.datagrams.take() {
            Some(datagrams) => self.datagrams.insert(datagrams),
            None => {
                // Not bound to the leased address: a server broadcasts its NAK (RFC 2131 §4.3.2), and only a socket bound
                // to no address hears that. The device and its routes give the packets the leased address all the same.
                let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
                self.datagrams.insert(open_udp_socket(self.interface, address)?)
            }
        };
        let destination = SocketAddrV4::new(transmit.destination, SERVER_PORT);
        datagrams.send_to(&transmit.payload, destination).await.map(|_| ())
    }
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        self.close_packets();
    }
}

fn hear(client: &mut Client, payload: &[u8], clock: &BootClock) {
    // Ordinary: replies to other clients are seen as well.
    if let Err(error) = client.handle_packet(payload, clock.now()) {
        tracing::trace!("a DHCP message was passed over: {error}");
    }
}

async fn receive_packet(
    packets: Option<&PacketSocket>,
    buffer: &mut [u8],
) -> io::Result<netbearer_kernel::ReceivedPacket> {
    match packets {
        Some(packets) => packets.receive(buffer).await,
        None => pending().await,
    }
}

async fn receive_datagram(datagrams: Option<&UdpSocket>, buffer: &mut [u8]) -> io::Result<usize> {
    match datagrams {
        Some(datagrams) => datagrams.recv(buffer).await,
        None => pending().await,
    }
}
