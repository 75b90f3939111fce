//! What is asked and heard by ARP on one link, as long as a lease is asked for or kept there, or static addresses are:
//! carries packets and time to the state machines of `netbearer-dhcp`, decides nothing.

use std::{io, net::Ipv4Addr, sync::Arc, time::SystemTime};

use netbearer_dhcp::{
    AddressGuard, Conflict, GatewayInquiry, KnownNetwork, Lease, RememberedLease,
    arp::{Message, Transmit},
};
use netbearer_engine::Clock;
use netbearer_kernel::{ArpSocket, BootClock, ReceivedArpPacket};
use netbearer_types::Moment;
use tokio::runtime::Handle;

use crate::{addresses::MachineAddresses, spare_socket::SpareSocket};

/// The hosts around one interface.
pub(crate) struct Neighbourhood {
    interface: u32,
    hardware_address: [u8; 6],
    clock: BootClock,
    spare: SpareSocket,
    socket: Option<ArpSocket>,
    /// Whom the kernel lets through; everybody if none.
    heard: Option<Vec<Ipv4Addr>>,
    known_network: Option<KnownNetwork>,
    /// One for each address; several only of static ones.
    guards: Vec<AddressGuard>,
    /// The addresses of this machine as they are at any time.
    machine: Arc<MachineAddresses>,
    inquiry: Option<GatewayInquiry>,
}

/// What was found out.
pub(crate) enum Finding {
    /// This is the network of the remembered lease.
    Known(Lease),
    /// Another host uses this address of ours.
    Conflict(Ipv4Addr, Conflict),
    /// Where the gateway of the installed lease is.
    Gateway(Ipv4Addr, [u8; 6]),
}

impl Neighbourhood {
    /// Opens nothing yet.
    pub(crate) fn new(interface: u32, hardware_address: [u8; 6], clock: BootClock, spare: SpareSocket) -> Self {
        Self {
            interface,
            hardware_address,
            clock,
            spare,
            socket: None,
            heard: None,
            known_network: None,
            guards: Vec::new(),
            machine: Arc::default(),
            inquiry: None,
        }
    }

    /// Gets the socket ready, while the carrier is on its way.
    pub(crate) fn prepare(&mut self) {
        if self.socket.is_none() {
            match self.spare.open_arp(self.interface) {
                Ok(socket) => (self.socket, self.heard) = (Some(socket), None),
                // Without it the server alone decides, and the address goes unguarded.
                Err(error) => tracing::warn!(interface = self.interface, "no socket for ARP: {error}"),
            }
        }
    }

    /// Asks whether this is the network of `remembered`; the question has been sent when this returns.
    pub(crate) fn recognise(&mut self, remembered: &RememberedLease) {
        let (now, wall_clock) = (self.clock.now(), SystemTime::now());
        self.known_network = KnownNetwork::new(remembered, self.hardware_address, now, wall_clock);
        self.send_all();
    }

    /// A server has decided what network this is.
    pub(crate) fn end_recognition(&mut self) {
        self.known_network = None;
    }

    pub(crate) fn watches_over(&self, address: Ipv4Addr) -> bool {
        self.guards.iter().any(|guard| guard.address() == address)
    }

    pub(crate) const fn is_watching(&self) -> bool {
        !self.guards.is_empty()
    }

    /// Watches over the address of `lease`, which is installed, and asks where its gateway is unless that is known.
    pub(crate) fn watch_over(&mut self, lease: &Lease, machine: &Arc<MachineAddresses>, is_gateway_known: bool) {
        let now = self.clock.now();
        self.inquiry = if is_gateway_known { None } else { GatewayInquiry::new(lease, self.hardware_address, now) };
        let guard = AddressGuard::new(self.hardware_address, machine.hardware(), lease.address, now);
        self.begin_to_watch(vec![guard], machine);
    }

    /// Watches over static addresses, which are installed and kept whoever else uses them.
    pub(crate) fn watch_over_static(&mut self, addresses: &[Ipv4Addr], machine: &Arc<MachineAddresses>) {
        let now = self.clock.now();
        let guard =
            |address: &Ipv4Addr| AddressGuard::new(self.hardware_address, machine.hardware(), *address, now).kept();
        self.begin_to_watch(addresses.iter().map(guard).collect(), machine);
    }

    fn begin_to_watch(&mut self, guards: Vec<AddressGuard>, machine: &Arc<MachineAddresses>) {
        if self.socket.is_none() {
            self.prepare();
            self.spare.replenish();
        }
        (self.guards, self.machine) = (guards, Arc::clone(machine));
        self.narrow();
        self.send_all();
    }

    /// The interface has another hardware address than it had.
    pub(crate) fn change_hardware_address(&mut self, hardware_address: [u8; 6]) {
        self.hardware_address = hardware_address;
        for guard in &mut self.guards {
            guard.change_hardware_address(hardware_address);
        }
        self.send_all();
    }

    /// The address is not installed any more.
    pub(crate) fn forget_address(&mut self) {
        self.guards.clear();
        self.inquiry = None;
    }

    /// When [`Neighbourhood::handle_timeout`] is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Moment> {
        // Without a socket nothing can be found out.
        self.socket.as_ref()?;
        let known_network = self.known_network.as_ref().and_then(KnownNetwork::poll_timeout);
        let guards = self.guards.iter().filter_map(AddressGuard::poll_timeout).min();
        let inquiry = self.inquiry.as_ref().and_then(GatewayInquiry::poll_timeout);
        [known_network, guards, inquiry].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self) {
        let now = self.clock.now();
        if let Some(known_network) = &mut self.known_network {
            known_network.handle_timeout(now);
        }
        for guard in &mut self.guards {
            guard.handle_timeout(now);
        }
        if let Some(inquiry) = &mut self.inquiry {
            inquiry.handle_timeout(now);
        }
        self.narrow();
        self.send_all();
    }

    /// Waits for a packet. Dropping the future loses nothing.
    pub(crate) async fn receive(&self) -> io::Result<ReceivedArpPacket> {
        match &self.socket {
            Some(socket) => socket.receive().await,
            None => std::future::pending().await,
        }
    }

    /// Takes what [`Neighbourhood::receive`] gave.
    pub(crate) fn hear(&mut self, received: io::Result<ReceivedArpPacket>) -> Option<Finding> {
        let packet = match received {
            Ok(received) => received.packet,
            // The interface is down. Should it come up again, the socket goes on.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NETDOWN.raw_os_error()) => return None,
            Err(error) => {
                tracing::warn!(interface = self.interface, "ARP is not heard any more: {error}");
                self.close();
                // Whoever watches over nothing is told to again, with another socket then.
                self.forget_address();
                return None;
            }
        };
        let message = Message::decode(&packet).ok()?;
        let finding = self.take_in(&message);
        self.narrow();
        self.send_all();
        finding
    }

    fn take_in(&mut self, message: &Message) -> Option<Finding> {
        if let Some(known_network) = &mut self.known_network {
            known_network.handle_message(message);
            if let Some(lease) = known_network.poll_confirmation() {
                return Some(Finding::Known(lease));
            }
        }
        if let Some(guard) = self.guards.iter_mut().find(|guard| guard.address() == message.sender) {
            guard.renew_machine(self.machine.hardware());
            guard.handle_message(message, self.clock.now());
            if let Some(conflict) = guard.poll_conflict() {
                return Some(Finding::Conflict(guard.address(), conflict));
            }
        }
        let inquiry = self.inquiry.as_mut()?;
        inquiry.handle_message(message);
        let gateway = inquiry.gateway();
        inquiry.poll_finding().map(|hardware_address| Finding::Gateway(gateway, hardware_address))
    }

    /// Has the kernel let through only whom it matters to hear: on a busy link this process sleeps.
    fn narrow(&mut self) {
        let Some(socket) = self.socket.as_ref().filter(|_| !self.guards.is_empty()) else { return };
        let asked = self.inquiry.as_ref().filter(|inquiry| !inquiry.is_over()).map(GatewayInquiry::gateway);
        let heard: Vec<Ipv4Addr> = self.guards.iter().map(AddressGuard::address).chain(asked).collect();
        if self.heard.as_ref() != Some(&heard) {
            if let Err(error) = socket.hear_only(&heard) {
                tracing::debug!(interface = self.interface, "everybody's ARP is heard: {error}");
            }
            self.heard = Some(heard);
        }
    }

    fn send_all(&mut self) {
        let known_network = self.known_network.as_mut().and_then(KnownNetwork::poll_transmit);
        let guards = self.guards.iter_mut().filter_map(AddressGuard::poll_transmit);
        let inquiry = self.inquiry.as_mut().and_then(GatewayInquiry::poll_transmit);
        for Transmit { destination, message } in known_network.into_iter().chain(guards).chain(inquiry) {
            let packet = message.encode();
            let (Some(socket), Ok(packet)) = (&self.socket, packet.as_slice().try_into()) else { return };
            // What was not sent is sent again in time; a link that is gone is told by the kernel, not by this.
            if let Err(error) = socket.try_send(packet, destination) {
                tracing::debug!(interface = self.interface, "an ARP message could not be sent: {error}");
            }
        }
    }

    /// The kernel takes milliseconds to close a packet socket, so nobody waits for it.
    fn close(&mut self) {
        if let Some(socket) = self.socket.take()
            && Handle::try_current().is_ok()
        {
            socket.close_in_background();
        }
    }
}

impl Drop for Neighbourhood {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use netbearer_dhcp::Term;

    use super::*;

    /// No interface has it.
    const INTERFACE: u32 = u32::MAX;
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

    fn lease() -> Lease {
        Lease {
            address: ADDRESS,
            prefix_length: 24,
            server_identifier: Ipv4Addr::new(10, 0, 0, 1),
            routers: Vec::new(),
            classless_routes: Vec::new(),
            name_servers: Vec::new(),
            search_domains: Vec::new(),
            domain_name: None,
            mtu: None,
            captive_portal: None,
            broadcast: None,
            acquired_at: Moment::ZERO,
            term: Term::Infinite,
        }
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_heard_of_any_more_is_to_be_watched_over_anew() {
        let clock = BootClock::start().unwrap();
        let mut neighbourhood = Neighbourhood::new(INTERFACE, [2, 0, 0, 0, 0, 1], clock, SpareSocket::default());
        neighbourhood.watch_over(&lease(), &Arc::default(), true);
        let down = rustix::io::Errno::NETDOWN;
        assert!(neighbourhood.hear(Err(down.into())).is_none());
        assert!(neighbourhood.watches_over(ADDRESS), "the socket goes on when the interface does");
        assert!(neighbourhood.hear(Err(rustix::io::Errno::NOBUFS.into())).is_none());
        assert!(!neighbourhood.watches_over(ADDRESS));
    }
}
