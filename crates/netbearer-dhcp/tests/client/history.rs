use std::{net::Ipv4Addr, time::Duration};

use dhcproto::v4::{Message, MessageType};
use netbearer_dhcp::{Client, ClientConfiguration, Event, Lease, LossReason, PacketError, State, Term, Transmit};
use netbearer_types::Moment;

use crate::{
    operation::Operation,
    server::{Server, decode, encode},
};

/// A client in simulated time, with a server at hand and somebody who drives it. Every step is followed by a check of
/// what must always hold.
pub(crate) struct History {
    pub(crate) client: Client,
    pub(crate) server: Server,
    pub(crate) now: Moment,
    /// The client's last message that was fetched and not yet answered.
    pub(crate) sent: Option<Transmit>,
    /// The client's last message, answered or not.
    pub(crate) last_sent: Option<Transmit>,
    /// Events that were fetched and not yet taken.
    pub(crate) news: Vec<Event>,
    /// What the events so far amount to.
    known_lease: Option<Lease>,
    /// The address the client began with.
    remembered: Option<Ipv4Addr>,
    /// Addresses the client may not take.
    declined: Vec<Ipv4Addr>,
    hardware_address: [u8; 6],
}

/// Moments saturate after 584 years; histories end before.
const HORIZON: Moment = Moment::from_nanoseconds(100 * 365 * 86_400 * 1_000_000_000);

pub(crate) const HARDWARE_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 7];

pub(crate) fn configuration() -> ClientConfiguration {
    ClientConfiguration::new(HARDWARE_ADDRESS, 42)
}

impl History {
    pub(crate) fn new(configuration: ClientConfiguration, server: Server) -> Self {
        let now = Moment::ZERO + Duration::from_secs(1_000);
        Self {
            hardware_address: configuration.hardware_address,
            remembered: configuration.remembered.as_ref().map(|remembered| remembered.address),
            client: Client::new(configuration, now),
            server,
            now,
            sent: None,
            last_sent: None,
            news: Vec::new(),
            known_lease: None,
            declined: Vec::new(),
        }
    }

    /// The client's process is killed, and another one goes on with its lease, which was written down.
    pub(crate) fn go_on_with_lease(&mut self) {
        let written = serde_json::to_string(self.client.lease().expect("there is a lease")).expect("it can be written");
        let read: Lease = serde_json::from_str(&written).expect("it can be read");
        let lease = read.checked().expect("it is what a server had sent");
        assert_eq!(Some(&lease), self.client.lease());
        self.client = Client::with_lease(configuration(), lease, self.now);
        (self.sent, self.last_sent) = (None, None);
        self.check();
        self.fetch();
    }

    /// A client that holds a lease of that many seconds, acquired just now; its events are taken.
    pub(crate) fn bound(lease_seconds: u32) -> Self {
        let mut history = Self::new(configuration(), Server::new(lease_seconds));
        history.start();
        history.answer();
        history.answer();
        assert!(matches!(history.client.state(), State::Bound(_)), "{:?}", history.client.state());
        history.news.clear();
        history
    }

    pub(crate) fn start(&mut self) {
        self.start_client();
        self.check();
        self.fetch();
    }

    fn start_client(&mut self) {
        if matches!(self.client.state(), State::Init | State::Released) {
            self.declined.clear();
        }
        self.client.start(self.now);
    }

    pub(crate) fn release(&mut self) {
        self.client.release(self.now);
        self.known_lease = None;
        self.check();
        self.fetch();
    }

    /// The machine goes on after a suspend.
    pub(crate) fn confirm(&mut self) {
        let asks = self.client.confirm(self.now);
        assert_eq!(asks, matches!(self.client.state(), State::Confirming { .. }));
        self.check();
        self.fetch();
    }

    /// Another host was found to use the address, if there is one. The server hears of it, if anybody told it.
    pub(crate) fn decline(&mut self) {
        self.fetch();
        self.declined.extend(self.client.lease().map(|lease| lease.address));
        let known = self.news.len();
        self.client.decline(self.now);
        self.fetch();
        if self.news.get(known) == Some(&Event::NotConfirmed(LossReason::AddressInUse)) {
            self.declined.extend(self.remembered);
        }
        self.check();
        if let Some(decline) = &self.sent {
            let decline = decode(&decline.payload);
            if decline.opts().msg_type() == Some(MessageType::Decline) {
                assert!(self.server.answer(&decline).is_none());
            }
        }
    }

    pub(crate) fn deliver(&mut self, packet: &[u8]) -> Result<(), PacketError> {
        let before = self.client.state().clone();
        let result = self.client.handle_packet(packet, self.now);
        // An expiry that was not handled yet is, in passing; nothing else may follow from a packet that was ignored.
        let expired = before.lease().and_then(|lease| lease.term.expires_at()).is_some_and(|end| end <= self.now);
        if result.is_err() && !expired {
            assert_eq!(&before, self.client.state(), "an ignored packet changed something");
        }
        self.check();
        result
    }

    pub(crate) fn deliver_message(&mut self, message: &Message) -> Result<(), PacketError> {
        let result = self.deliver(&encode(message));
        self.fetch();
        result
    }

    /// The server's answer to what was sent last arrives, if there is one.
    pub(crate) fn answer(&mut self) {
        let request = self.request();
        let reply = self.server.answer(&request).expect("the server has an answer");
        self.deliver_message(&reply).expect("the client accepts it");
    }

    /// The message that was sent last.
    pub(crate) fn request(&mut self) -> Message {
        decode(&self.sent.take().expect("the client has sent something").payload)
    }

    /// Time passes up to the client's deadline, which is handled.
    pub(crate) fn time_out(&mut self) {
        let timeout = self.client.poll_timeout().expect("the client waits for something");
        self.now = self.now.max(timeout);
        self.handle_timeout();
        self.fetch();
    }

    /// Time passes; deadlines are handled as they come.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.client.poll_timeout().is_some_and(|timeout| timeout <= end) {
            self.time_out();
        }
        self.now = end;
    }

    pub(crate) fn take_news(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.news)
    }

    pub(crate) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Start => {
                self.start_client();
                self.check();
            }
            Operation::Release => self.release(),
            Operation::Decline => self.decline(),
            Operation::Confirm => self.confirm(),
            Operation::Wait { milliseconds } => {
                self.now = (self.now + Duration::from_millis(*milliseconds)).min(HORIZON).max(self.now);
            }
            Operation::Timeout => {
                if let Some(timeout) = self.client.poll_timeout().filter(|timeout| *timeout < HORIZON) {
                    self.now = self.now.max(timeout);
                }
                self.handle_timeout();
            }
            Operation::Packet(octets) => {
                let _ = self.deliver(octets);
            }
            Operation::Reply { message_type, address, options } => {
                let packet = self.forged_reply(*message_type, (*address).into(), options);
                let _ = self.deliver(&packet);
            }
            Operation::Answer { changes } => {
                self.fetch();
                let Some(request) = self.sent.take() else { return };
                let Some(reply) = self.server.answer(&decode(&request.payload)) else { return };
                let mut octets = encode(&reply);
                for (position, value) in changes {
                    let position = usize::from(*position) % octets.len();
                    octets[position] = *value;
                }
                let _ = self.deliver(&octets);
            }
            Operation::Fetch => self.fetch(),
        }
    }

    /// From now on the server answers whatever reaches it. However it came here, the client gets a lease.
    pub(crate) fn settle(&mut self) {
        const ENOUGH_STEPS: usize = 300;
        self.start_client();
        for _ in 0..ENOUGH_STEPS {
            self.fetch();
            self.lease_no_declined_address();
            if matches!(self.client.state(), State::Bound(_)) {
                return;
            }
            let reply = self
                .sent
                .take()
                .filter(|sent| sent.is_broadcast() || sent.destination == self.server.identifier)
                .and_then(|sent| self.server.answer(&decode(&sent.payload)));
            match reply {
                // It may come too late, as the question may be old; then the next one will be answered.
                Some(reply) => drop(self.deliver_message(&reply)),
                None => self.time_out(),
            }
        }
        panic!("no lease after {ENOUGH_STEPS} steps, but {:?}", self.client.state());
    }

    /// An address that this client has declined it will not take, so the server leases others.
    fn lease_no_declined_address(&mut self) {
        if self.declined.contains(&self.server.address) {
            let networks = [[192, 0, 2], [198, 51, 100], [203, 0, 113]];
            let mut addresses =
                networks.iter().flat_map(|&[a, b, c]| (2..=254).map(move |d| Ipv4Addr::new(a, b, c, d)));
            let free = addresses.find(|address| !self.declined.contains(address));
            self.server.address = free.expect("histories are shorter than that");
        }
    }

    /// A reply that gets past the checks of header and transaction.
    fn forged_reply(&self, message_type: u8, address: Ipv4Addr, options: &[u8]) -> Vec<u8> {
        let transaction = self.client.state().exchange().map_or(0, |exchange| exchange.transaction_identifier());
        let mut packet = vec![2, 1, 6, 0];
        packet.extend(transaction.to_be_bytes());
        packet.resize(16, 0);
        packet.extend(address.octets());
        packet.resize(28, 0);
        packet.extend(self.hardware_address);
        packet.resize(236, 0);
        packet.extend([99, 130, 83, 99, 53, 1, message_type]);
        packet.extend(options);
        packet
    }

    fn handle_timeout(&mut self) {
        self.client.handle_timeout(self.now);
        if let Some(timeout) = self.client.poll_timeout() {
            assert!(timeout > self.now, "a deadline that was handled still lies in the past: {:?}", self.client);
        }
        self.check();
    }

    fn fetch(&mut self) {
        let mut messages = 0;
        while let Some(transmit) = self.client.poll_transmit() {
            messages += 1;
            assert!(transmit.payload.len() <= 1_472);
            self.last_sent = Some(transmit.clone());
            self.sent = Some(transmit);
        }
        assert!(messages <= 1, "{messages} messages waited");
        let mut events = 0;
        while let Some(event) = self.client.poll_event() {
            events += 1;
            self.known_lease = match &event {
                Event::Acquired(lease) => Some(lease.clone()),
                Event::Renewed { lease, .. } => {
                    assert!(self.known_lease.is_some(), "a lease nobody knew of was renewed");
                    Some(lease.clone())
                }
                Event::Kept(lease) => {
                    assert_eq!(self.known_lease.as_ref(), Some(lease), "nobody has changed it");
                    Some(lease.clone())
                }
                Event::Lost(_) => None,
                Event::NotConfirmed(_) => {
                    assert!(self.known_lease.is_none(), "a lease that was granted cannot be remembered");
                    None
                }
                Event::Refused { reason, .. } => {
                    assert!(reason.is_unacceptable_answer());
                    self.known_lease.take()
                }
                Event::Ipv6Only { wait } => {
                    assert!(wait.as_secs() >= 300 && self.known_lease.is_none());
                    None
                }
            };
            self.news.push(event);
        }
        assert!(events <= 4, "{events} events waited");
        assert_eq!(self.known_lease.as_ref(), self.client.lease(), "events and state tell different stories");
    }

    fn check(&self) {
        let state = self.client.state();
        let rests = match state {
            State::Init | State::Released => true,
            State::Bound(lease) => lease.term == Term::Infinite,
            _ => false,
        };
        assert_eq!(self.client.poll_timeout().is_none(), rests, "{state:?}");
        if let Some(lease) = state.lease() {
            check_lease(lease);
        }
        let address = match state {
            State::Requesting { address, .. } | State::Rebooting { address, .. } => Some(*address),
            _ => state.lease().map(|lease| lease.address),
        };
        assert!(
            address.is_none_or(|address| !self.declined.contains(&address)),
            "a declined address is back: {state:?}"
        );
    }
}

fn check_lease(lease: &Lease) {
    let is_host = |address: Ipv4Addr| {
        !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_broadcast())
    };
    assert!(is_host(lease.address) && is_host(lease.server_identifier), "{lease:?}");
    assert!((8..=32).contains(&lease.prefix_length), "{lease:?}");
    assert!(lease.routers.iter().chain(&lease.name_servers).copied().all(is_host), "{lease:?}");
    for length in [
        lease.routers.len(),
        lease.classless_routes.len(),
        lease.routes().len(),
        lease.name_servers.len(),
        lease.search_domains.len(),
    ] {
        assert!(length <= 16, "{lease:?}");
    }
    for route in &lease.classless_routes {
        assert!(route.prefix_length <= 32 && route.gateway.is_none_or(is_host), "{lease:?}");
    }
    for name in lease.search_domains.iter().chain(&lease.domain_name) {
        assert!(name.len() <= 253 && name.bytes().all(|octet| octet.is_ascii_graphic()), "{lease:?}");
    }
    assert!(lease.mtu.is_none_or(|mtu| mtu >= 576), "{lease:?}");
    if let Term::Limited { renew_at, rebind_at, expires_at } = lease.term {
        assert!(lease.acquired_at < renew_at && renew_at < rebind_at && rebind_at < expires_at, "{lease:?}");
    }
}
