use std::{
    net::Ipv4Addr,
    time::{Duration, SystemTime},
};

use netbearer_types::Moment;

use crate::{
    Lease, RememberedLease,
    arp::{Message, Operation, Transmit, is_hardware_address_of_host},
    reply::is_host,
};

/// How long an answer is waited for (`REACHABILITY_TIMEOUT`, RFC 4436 §2.1).
const REACHABILITY_TIMEOUT: Duration = Duration::from_millis(200);

/// How long for the first question, which may be lost on a port that has just come up. Longer than a gateway takes.
const FIRST_TIMEOUT: Duration = Duration::from_millis(5);

/// Questions before the network is taken for another one.
const TRIES: u32 = 4;

/// Finds out whether this is the network of a remembered lease, by asking for its gateway where it was (DNAv4, RFC 4436):
/// a fraction of a millisecond instead of a round trip to a DHCP server that is perhaps busy or far away.
///
/// To be run beside a [`Client`] that remembers the same lease. If the gateway answers, the lease may be installed at once
/// ([`KnownNetwork::poll_confirmation`]); the client goes on asking its server, whose word counts: what it tells with
/// [`Event::Acquired`] takes the place of what was installed, and [`Event::NotConfirmed`], [`Event::Ipv6Only`] or the end
/// of the lease take it away.
///
/// Who forges the gateway's answer gets no more than that the address is installed until the server answers.
///
/// [`Client`]: crate::Client
/// [`Event::Acquired`]: crate::Event::Acquired
/// [`Event::NotConfirmed`]: crate::Event::NotConfirmed
/// [`Event::Ipv6Only`]: crate::Event::Ipv6Only
#[derive(Clone, Debug)]
pub struct KnownNetwork {
    lease: Lease,
    gateway: Ipv4Addr,
    gateway_hardware_address: [u8; 6],
    hardware_address: [u8; 6],
    stage: Stage,
    transmit: Option<Transmit>,
    confirmation: Option<Lease>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asking { tries: u32, next_at: Moment },
    Confirmed,
    Unconfirmed,
}

impl KnownNetwork {
    /// Asks for the gateway of `remembered`; `now` and `wall_clock` are the same instant on both clocks.
    ///
    /// None if there is nothing to ask for: the lease has ended, its network is not remembered, or what is remembered
    /// cannot be: an address or gateway that is link-local (RFC 4436 §2.3) or no host's, or a gateway that would be this
    /// host itself. Hardware addresses of virtual routers (RFC 9568 §7.3) are as good as any.
    #[must_use]
    pub fn new(
        remembered: &RememberedLease,
        hardware_address: [u8; 6],
        now: Moment,
        wall_clock: SystemTime,
    ) -> Option<Self> {
        let network = remembered.network.as_ref()?;
        let lease = remembered.lease(now, wall_clock)?;
        let (gateway, gateway_hardware_address) = (network.gateway, network.gateway_hardware_address);
        let can_be = is_host(gateway)
            && gateway != lease.address
            && ![gateway, lease.address].iter().any(Ipv4Addr::is_link_local)
            && is_hardware_address_of_host(gateway_hardware_address)
            && gateway_hardware_address != hardware_address;
        if !can_be {
            return None;
        }
        let mut known_network = Self {
            lease,
            gateway,
            gateway_hardware_address,
            hardware_address,
            stage: Stage::Asking { tries: 0, next_at: now },
            transmit: None,
            confirmation: None,
        };
        known_network.handle_timeout(now);
        Some(known_network)
    }

    /// Takes an ARP message that was seen on the link. Only the remembered gateway itself confirms.
    pub fn handle_message(&mut self, message: &Message) {
        let confirms = message.operation == Operation::Reply
            && message.sender == self.gateway
            && message.sender_hardware == self.gateway_hardware_address
            && message.target == self.lease.address
            && message.target_hardware == self.hardware_address;
        if confirms && matches!(self.stage, Stage::Asking { .. }) {
            self.stage = Stage::Confirmed;
            self.transmit = None;
            self.confirmation = Some(self.lease.clone());
        }
    }

    /// Does what is due. Harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Moment) {
        let Stage::Asking { tries, next_at } = self.stage else { return };
        if now < next_at {
            return;
        }
        if tries >= TRIES {
            self.stage = Stage::Unconfirmed;
            return;
        }
        let timeout = if tries == 0 { FIRST_TIMEOUT } else { REACHABILITY_TIMEOUT };
        self.stage = Stage::Asking { tries: tries + 1, next_at: now + timeout };
        // RFC 4436 §2.1.1: to the gateway alone, so that on another network nobody learns of the address.
        let message = Message::request(self.hardware_address, self.lease.address, self.gateway);
        self.transmit = Some(Transmit { destination: self.gateway_hardware_address, message });
    }

    /// When [`KnownNetwork::handle_timeout`] is to be called; none once the question is decided.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Moment> {
        match self.stage {
            Stage::Asking { next_at, .. } => Some(next_at),
            Stage::Confirmed | Stage::Unconfirmed => None,
        }
    }

    /// The next message to send.
    pub const fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmit.take()
    }

    /// The remembered lease, once its gateway has answered: at most once.
    pub const fn poll_confirmation(&mut self) -> Option<Lease> {
        self.confirmation.take()
    }
}
