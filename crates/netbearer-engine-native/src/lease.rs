//! One DHCP client with its sockets and its clock, and the ARP that belongs to a lease: carries packets and time to the
//! state machines, and puts what they say into one sequence of events.

use std::{
    future::pending,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::SystemTime,
};

use netbearer_dhcp::{
    Client, ClientConfiguration, Conflict, Event, Lease, LossReason, RememberedLease, Transmit,
    frame::{self, ChecksumState},
};
use netbearer_engine::Clock;
use netbearer_kernel::{BootClock, HardwareAddress, PacketSocket, ReceivedArpPacket, open_udp_socket};
use netbearer_types::Moment;
use tokio::{net::UdpSocket, runtime::Handle};

use crate::{
    addresses::MachineAddresses,
    neighbourhood::{Finding, Neighbourhood},
    remembered::Memory,
    spare_socket::SpareSocket,
};

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
    neighbourhood: Neighbourhood,
    /// Where the lease is remembered; none if it is not to be.
    memory: Option<Memory>,
    /// What was remembered of the network, until it is known which one this is.
    remembered: Option<RememberedLease>,
    /// The remembered lease, in use because its gateway answered, until a server has had its say.
    unconfirmed: Option<Lease>,
    installed: Option<Lease>,
    /// The address that was installed last, and no other since.
    former_address: Option<Ipv4Addr>,
    /// An address in whose place another one has come, since anybody asked.
    replaced_address: Option<Ipv4Addr>,
    /// It had an address, and then none, since anybody asked.
    was_without_address: bool,
    /// A gateway that answered in this stay, and its hardware address.
    gateway: Option<(Ipv4Addr, [u8; 6])>,
}

/// What happened on a socket or the clock.
enum Wake {
    Packet { length: usize, checksum: ChecksumState },
    Datagram { length: usize },
    AddressResolution(io::Result<ReceivedArpPacket>),
    Timeout,
}

impl LeaseKeeper {
    /// Opens what is needed, and sends nothing yet. The link must be administratively up; its carrier may be on the way.
    pub(crate) fn open(
        interface: u32,
        configuration: ClientConfiguration,
        clock: BootClock,
        spare: &SpareSocket,
        memory: Option<Memory>,
    ) -> io::Result<Self> {
        let hardware_address = configuration.hardware_address;
        let mut neighbourhood = Neighbourhood::new(interface, hardware_address, clock.clone(), spare.clone());
        // On a network that may want hosts without IPv4, its server is to be heard first.
        let is_recognisable = |lease: &RememberedLease| lease.network.is_some() && !configuration.ipv6_only;
        let remembered = configuration.remembered.clone().filter(is_recognisable);
        if remembered.is_some() {
            neighbourhood.prepare();
        }
        Ok(Self {
            interface,
            client: Client::new(configuration, clock.now()),
            clock,
            packets: Some(spare.open(interface)?),
            datagrams: None,
            buffer: vec![0; BUFFER_LENGTH],
            neighbourhood,
            memory,
            remembered,
            unconfirmed: None,
            installed: None,
            former_address: None,
            replaced_address: None,
            was_without_address: false,
            gateway: None,
        })
    }

    /// Keeps a lease that a process had which was killed, and whose address is installed. Opens and sends nothing yet.
    pub(crate) fn with_lease(
        interface: u32,
        configuration: ClientConfiguration,
        clock: BootClock,
        (spare, memory): (&SpareSocket, Option<Memory>),
        lease: Lease,
    ) -> Self {
        let neighbourhood = Neighbourhood::new(interface, configuration.hardware_address, clock.clone(), spare.clone());
        let remembered = configuration.remembered.as_ref().filter(|remembered| remembered.address == lease.address);
        let gateway = remembered.and_then(|remembered| remembered.network.as_ref());
        let gateway = gateway.map(|network| (network.gateway, network.gateway_hardware_address));
        Self {
            interface,
            client: Client::with_lease(configuration, lease, clock.now()),
            clock,
            packets: None,
            datagrams: None,
            buffer: vec![0; BUFFER_LENGTH],
            neighbourhood,
            memory,
            remembered: None,
            unconfirmed: None,
            installed: None,
            former_address: None,
            replaced_address: None,
            was_without_address: false,
            gateway,
        }
    }

    pub(crate) const fn interface(&self) -> u32 {
        self.interface
    }

    /// Asks for a lease, and whether this is the network of the remembered one; the first messages have been sent when this
    /// returns.
    pub(crate) async fn start(&mut self) {
        self.client.start(self.clock.now());
        self.send_all().await;
        // Where the link has just come up, a worker of the kernel that is bound to this processor has yet to switch on the
        // queues (`net/core/link_watch.c`). A gateway answers faster than a server, and what it sends before is lost.
        std::thread::yield_now();
        if let Some(remembered) = &self.remembered {
            self.neighbourhood.recognise(remembered);
        }
    }

    /// Waits for the next event of the lease. Dropping the future loses nothing.
    ///
    /// A remembered lease whose gateway answers is acquired by that. What the server says of it then is told as of a lease
    /// there is: renewed, changed perhaps, or lost.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub(crate) async fn event(&mut self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.client.poll_event() {
                return Ok(self.told_of_a_lease_in_use(event));
            }
            self.send_all().await;
            match self.wake().await? {
                Wake::Timeout => {
                    let now = self.clock.now();
                    self.client.handle_timeout(now);
                    self.neighbourhood.handle_timeout();
                    if self.unconfirmed_until().is_some_and(|end| end <= now) {
                        self.unconfirmed = None;
                        return Ok(Event::Lost(LossReason::Expired));
                    }
                }
                Wake::Packet { length, checksum } => {
                    let packet = self.buffer.get(..length).unwrap_or_default();
                    if let Ok(datagram) = frame::decode(packet, checksum) {
                        hear(&mut self.client, datagram.payload, &self.clock);
                    }
                }
                Wake::Datagram { length } => {
                    hear(&mut self.client, self.buffer.get(..length).unwrap_or_default(), &self.clock);
                }
                Wake::AddressResolution(received) => match self.neighbourhood.hear(received) {
                    Some(Finding::Known(lease)) => {
                        self.gateway = self.remembered.take().and_then(|remembered| {
                            let network = remembered.network?;
                            Some((network.gateway, network.gateway_hardware_address))
                        });
                        self.unconfirmed = Some(lease.clone());
                        return Ok(Event::Acquired(lease));
                    }
                    Some(Finding::Conflict(_, conflict)) => self.decline(conflict),
                    Some(Finding::Gateway(gateway, hardware_address)) => {
                        self.gateway = Some((gateway, hardware_address));
                        self.remember();
                    }
                    None => {}
                },
            }
        }
    }

    /// What a server has to say of the remembered lease means something else when that is in use already.
    fn told_of_a_lease_in_use(&mut self, event: Event) -> Event {
        if matches!(event, Event::Acquired(_) | Event::NotConfirmed(_)) {
            self.neighbourhood.end_recognition();
            self.remembered = None;
        }
        // What a server or another host has taken away must not be used again because a gateway answers.
        if let (Event::Lost(reason) | Event::NotConfirmed(reason), Some(memory)) = (&event, &self.memory)
            && *reason != LossReason::Expired
        {
            memory.forget();
        }
        match (event, &self.unconfirmed) {
            (Event::Acquired(lease), Some(old)) => {
                let changed = lease.differs_from(old);
                self.unconfirmed = None;
                Event::Renewed { lease, changed }
            }
            (Event::NotConfirmed(reason), Some(_)) => {
                self.unconfirmed = None;
                Event::Lost(reason)
            }
            (event, _) => event,
        }
    }

    fn decline(&mut self, conflict: Conflict) {
        let address = self.installed.as_ref().map(|lease| lease.address);
        let other = HardwareAddress::new(conflict.hardware_address);
        tracing::warn!(
            interface = self.interface,
            ?address,
            %other,
            defended = conflict.was_defended,
            "another host uses the address, and is given way to"
        );
        self.client.decline(self.clock.now());
    }

    /// The end of a lease that no server has confirmed, which the client does not count with.
    fn unconfirmed_until(&self) -> Option<Moment> {
        self.unconfirmed.as_ref()?.term.expires_at()
    }

    /// The interface has this leased address from now on, so an ordinary socket will do, once a server knows of it.
    pub(crate) fn address_installed(&mut self, lease: Lease) {
        if let Some(former) = self.former_address.replace(lease.address).filter(|former| *former != lease.address) {
            self.replaced_address = Some(former);
            self.was_without_address = true;
        }
        let is_elsewhere = |before: &Lease| before.address != lease.address || before.gateway() != lease.gateway();
        if self.installed.as_ref().is_some_and(is_elsewhere) {
            self.neighbourhood.forget_address();
        }
        self.installed = Some(lease);
    }

    /// What an installed address leaves to do, for whoever has told of it. Nothing of it as long as no server knows of the
    /// address.
    pub(crate) fn afterwards(&mut self, spare: SpareSocket) -> Afterwards {
        let is_confirmed = self.unconfirmed.is_none();
        let memory = self.memory.clone().filter(|_| is_confirmed);
        Afterwards {
            packets: self.packets.take_if(|_| is_confirmed),
            remembered: memory.and_then(|memory| Some((memory, self.worth_remembering()?))),
            spare,
        }
    }

    /// Watches over the installed address from now on, unless that is being done; `machine` has the hardware addresses of
    /// all interfaces at any time. Finds out where its gateway is, too, for the next time.
    pub(crate) fn watch_over_address(&mut self, machine: &Arc<MachineAddresses>) {
        let Some(lease) = &self.installed else { return };
        if !self.neighbourhood.watches_over(lease.address) {
            let is_gateway_known = self.known_gateway(lease).is_some();
            self.neighbourhood.watch_over(lease, machine, is_gateway_known);
        }
    }

    /// The address in whose place another one has come; each is told once. One that only was away for a while is none.
    pub(crate) const fn take_replaced_address(&mut self) -> Option<Ipv4Addr> {
        self.replaced_address.take()
    }

    pub(crate) fn installed_address(&self) -> Option<Ipv4Addr> {
        self.installed.as_ref().map(|lease| lease.address)
    }

    /// True if it has an address now, and had none for a while after an earlier one; that is told once.
    pub(crate) const fn take_absence(&mut self) -> bool {
        self.installed.is_some() && std::mem::replace(&mut self.was_without_address, false)
    }

    /// The interface has another hardware address; the hosts around are told. The lease stays the one that was had with the
    /// former.
    pub(crate) fn change_hardware_address(&mut self, hardware_address: [u8; 6]) {
        self.neighbourhood.change_hardware_address(hardware_address);
    }

    /// The interface has no address any more.
    pub(crate) fn address_removed(&mut self) {
        self.datagrams = None;
        self.was_without_address |= self.installed.take().is_some();
        self.neighbourhood.forget_address();
    }

    /// Keeps what is known of the installed lease for the next time.
    fn remember(&self) {
        if let (Some(memory), Some(remembered)) = (&self.memory, self.worth_remembering()) {
            memory.put(remembered);
        }
    }

    fn worth_remembering(&self) -> Option<RememberedLease> {
        let lease = self.installed.as_ref()?;
        let remembered = RememberedLease::new(lease, self.clock.now(), SystemTime::now());
        Some(match self.known_gateway(lease) {
            Some(hardware_address) => remembered.with_network(lease, hardware_address),
            None => remembered,
        })
    }

    fn known_gateway(&self, lease: &Lease) -> Option<[u8; 6]> {
        self.gateway
            .filter(|(gateway, _)| lease.gateway() == Some(*gateway))
            .map(|(_, hardware_address)| hardware_address)
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
        let timeouts = [self.client.poll_timeout(), self.neighbourhood.poll_timeout(), self.unconfirmed_until()];
        let timeout = timeouts.into_iter().flatten().min();
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
            received = self.neighbourhood.receive() => Wake::AddressResolution(received),
            () = async {
                match timeout {
                    Some(deadline) => clock.sleep_until(deadline).await,
                    None => pending().await,
                }
            } => Wake::Timeout,
        };
        Ok(wake)
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
        close(self.packets.take());
    }
}

/// What is to be done after an address was installed, and nobody waits for: done when this is dropped, whatever comes between.
pub(crate) struct Afterwards {
    packets: Option<PacketSocket>,
    remembered: Option<(Memory, RememberedLease)>,
    spare: SpareSocket,
}

impl Drop for Afterwards {
    fn drop(&mut self) {
        // Without a runtime everything ends.
        if Handle::try_current().is_err() {
            return;
        }
        close(self.packets.take());
        self.spare.replenish();
        if let Some((memory, lease)) = self.remembered.take() {
            memory.put(lease);
        }
    }
}

/// The kernel takes milliseconds to close a packet socket, so nobody waits for it.
fn close(packets: Option<PacketSocket>) {
    if let Some(packets) = packets
        && Handle::try_current().is_ok()
    {
        packets.close_in_background();
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
