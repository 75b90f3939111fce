use std::{net::Ipv4Addr, time::Duration};

use netbearer_types::Moment;

use crate::{
    Lease,
    arp::{BROADCAST, Message, Operation, Transmit, is_hardware_address_of_host},
};

/// Between questions: no host is asked for more often (RFC 1122 §2.3.2.1).
const INTERVAL: Duration = Duration::from_secs(1);

/// Questions before the gateway is left unknown. It can be asked for again with the next lease.
const TRIES: u32 = 3;

/// Finds out the hardware address of a lease's gateway, by which its network is known the next time
/// ([`RememberedLease::with_network`]).
///
/// Begin when the address is installed. Some seconds later nothing happens by itself any more.
///
/// [`RememberedLease::with_network`]: crate::RememberedLease::with_network
#[derive(Clone, Debug)]
pub struct GatewayInquiry {
    address: Ipv4Addr,
    hardware_address: [u8; 6],
    gateway: Ipv4Addr,
    stage: Stage,
    transmit: Option<Transmit>,
    finding: Option<[u8; 6]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asking { tries: u32, next_at: Moment },
    Over,
}

impl GatewayInquiry {
    /// Asks for the gateway of `lease`, which the interface with `hardware_address` has. None without a gateway other than
    /// this host itself.
    #[must_use]
    pub fn new(lease: &Lease, hardware_address: [u8; 6], now: Moment) -> Option<Self> {
        let gateway = lease.gateway().filter(|gateway| *gateway != lease.address)?;
        let mut inquiry = Self {
            address: lease.address,
            hardware_address,
            gateway,
            stage: Stage::Asking { tries: 0, next_at: now },
            transmit: None,
            finding: None,
        };
        inquiry.handle_timeout(now);
        Some(inquiry)
    }

    /// Who is asked for.
    #[must_use]
    pub const fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// True once nothing is to be expected any more: the gateway has answered, or was asked often enough.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Takes an ARP message that was seen on the link. Only what the gateway answers to this host counts: other hosts may
    /// hear something else from it, and whatever it says unasked may be meant to mislead.
    pub fn handle_message(&mut self, message: &Message) {
        let answers = message.operation == Operation::Reply
            && message.sender == self.gateway
            && message.target == self.address
            && message.target_hardware == self.hardware_address
            && message.sender_hardware != self.hardware_address
            && is_hardware_address_of_host(message.sender_hardware);
        if answers && !self.is_over() {
            self.stage = Stage::Over;
            self.transmit = None;
            self.finding = Some(message.sender_hardware);
        }
    }

    /// Does what is due. Harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Moment) {
        let Stage::Asking { tries, next_at } = self.stage else { return };
        if now < next_at {
            return;
        }
        if tries >= TRIES {
            self.stage = Stage::Over;
            return;
        }
        self.stage = Stage::Asking { tries: tries + 1, next_at: now + INTERVAL };
        let message = Message::request(self.hardware_address, self.address, self.gateway);
        self.transmit = Some(Transmit { destination: BROADCAST, message });
    }

    /// When [`GatewayInquiry::handle_timeout`] is to be called; none once it is over.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Moment> {
        match self.stage {
            Stage::Asking { next_at, .. } => Some(next_at),
            Stage::Over => None,
        }
    }

    /// The next message to send.
    pub const fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmit.take()
    }

    /// The gateway's Ethernet address, once it has answered: at most once.
    pub const fn poll_finding(&mut self) -> Option<[u8; 6]> {
        self.finding.take()
    }
}
