use std::{
    io,
    net::UdpSocket,
    time::{Duration, Instant},
};

use netbearer_dhcp::{Client, ClientConfiguration, Event, Lease, frame::SERVER_PORT};
use netbearer_lab::{AccessPoint, Lab, now, uninterrupted};

use crate::{PATIENCE, dhcp_client::client_socket};

/// NetBearer's own DHCP client on the machine's interface, over an ordinary socket: the reverse-path filter must be off,
/// and the server must broadcast, as the scripted one does. Its address is installed as long as it has one.
pub(crate) struct OurClient<'lab> {
    lab: &'lab Lab,
    interface: &'lab str,
    client: Client,
    socket: UdpSocket,
    installed: Option<String>,
}

impl<'lab> OurClient<'lab> {
    /// Asks for a lease.
    pub(crate) fn start(lab: &'lab Lab, access_point: &'lab AccessPoint) -> Self {
        Self::start_with(lab, access_point, |_| ())
    }

    /// The same, after a change of its configuration.
    pub(crate) fn start_with(
        lab: &'lab Lab,
        access_point: &'lab AccessPoint,
        change: impl FnOnce(&mut ClientConfiguration),
    ) -> Self {
        access_point.set_administratively_up(true).expect("plugged");
        let mut configuration = ClientConfiguration::new(access_point.hardware_address(), 7);
        change(&mut configuration);
        let mut client = Client::new(configuration, now());
        client.start(now());
        let socket = client_socket(lab, access_point);
        Self { lab, interface: access_point.name(), client, socket, installed: None }
    }

    /// The next piece of news.
    pub(crate) fn event(&mut self) -> Event {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.client.poll_event() {
                match &event {
                    Event::Acquired(lease) | Event::Renewed { lease, .. } => self.install(lease),
                    Event::Lost(_) => self.remove(),
                    _ => {}
                }
                return event;
            }
            self.send_all();
            assert!(Instant::now() < deadline, "no news in time; {:?}", self.client.state());
            self.receive();
            self.client.handle_timeout(now());
        }
    }

    /// The lease, once there is one, and whatever is told before.
    pub(crate) fn lease(&mut self) -> Lease {
        loop {
            if let Event::Acquired(lease) = self.event() {
                return lease;
            }
        }
    }

    pub(crate) fn decline(&mut self) {
        self.client.decline(now());
        self.send_all();
    }

    fn send_all(&mut self) {
        while let Some(transmit) = self.client.poll_transmit() {
            self.socket.send_to(&transmit.payload, (transmit.destination, SERVER_PORT)).expect("the interface is up");
        }
    }

    /// Waits for a message up to the client's deadline.
    fn receive(&mut self) {
        const SHORTEST: Duration = Duration::from_micros(1);
        let wait = self.client.poll_timeout().map_or(PATIENCE, |timeout| timeout - now());
        self.socket.set_read_timeout(Some(wait.clamp(SHORTEST, PATIENCE))).expect("a timeout");
        let mut packet = [0; 1_500];
        match uninterrupted(|| self.socket.recv(&mut packet)) {
            // What it does not accept it tells, as far as that matters.
            Ok(length) => drop(self.client.handle_packet(&packet[..length], now())),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}"),
        }
    }

    fn install(&mut self, lease: &Lease) {
        let address = format!("{}/{}", lease.address, lease.prefix_length);
        if self.installed.as_ref() != Some(&address) {
            self.remove();
            self.lab.machine().ip_lines(&["address", "add", &address, "dev", self.interface]).expect("ip obeys");
            self.installed = Some(address);
        }
    }

    fn remove(&mut self) {
        if let Some(address) = self.installed.take() {
            self.lab.machine().ip_lines(&["address", "del", &address, "dev", self.interface]).expect("ip obeys");
        }
    }
}
