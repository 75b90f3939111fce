use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use netbearer_types::Moment;

use crate::arp::{BROADCAST, Message, Transmit};

// RFC 5227 §1.1.
const ANNOUNCE_WAIT: Duration = Duration::from_secs(2);
const ANNOUNCE_NUM: u32 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// Watches over one address on one link: finds out whether another host uses it, and defends it (RFC 5227).
///
/// Begin when the address is installed, and end with it. Fetch messages with [`AddressGuard::poll_transmit`] and the
/// verdict with [`AddressGuard::poll_conflict`] after each call. Some seconds after the beginning nothing happens by
/// itself any more, as long as nobody else uses the address.
///
/// The address is in use while it is probed, which RFC 5227 §2.1 forbids: waiting for silence takes seconds, and the
/// server has looked already (RFC 2131 §3.1). So there is one probe instead of three, and until its two seconds are over
/// whoever else uses the address is given way to. Only after that others are told that it is ours.
///
/// An address that an administrator has chosen is [kept](AddressGuard::kept) whoever else uses it.
#[derive(Clone, Debug)]
pub struct AddressGuard {
    address: Ipv4Addr,
    hardware_address: [u8; 6],
    machine: BTreeSet<[u8; 6]>,
    stage: Stage,
    is_kept: bool,
    defended_at: Option<Moment>,
    transmit: Option<Transmit>,
    conflict: Option<Conflict>,
}

/// Another host uses the address: it must be given up, and declined (`Client::decline`), unless it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The other host's Ethernet address.
    pub hardware_address: [u8; 6],
    /// Whether the address had been ours for a while, and was defended in vain.
    pub was_defended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The probe is out; who answers was there before.
    Probing { until: Moment },
    /// The address is ours; so many announcements are to come.
    Announcing { left: u32, next_at: Moment },
    /// Everybody knows.
    Holding,
    /// Given up.
    Over,
}

impl AddressGuard {
    /// Begins to watch over `address`, which is installed now on the interface with `hardware_address`.
    ///
    /// `machine` has the Ethernet addresses of all interfaces of this machine: each of them answers for the others'
    /// addresses if it is on the same link (`arp_ignore` of the kernel's `ip-sysctl`), which is no conflict.
    #[must_use]
    pub fn new(
        hardware_address: [u8; 6],
        machine: impl IntoIterator<Item = [u8; 6]>,
        address: Ipv4Addr,
        now: Moment,
    ) -> Self {
        let mut guard = Self {
            address,
            hardware_address,
            machine: machine.into_iter().chain([hardware_address]).collect(),
            stage: Stage::Probing { until: now + ANNOUNCE_WAIT },
            is_kept: false,
            defended_at: None,
            transmit: None,
            conflict: None,
        };
        guard.broadcast(Message::probe(hardware_address, address));
        guard
    }

    /// The same for an address that is not given up under any circumstances (RFC 5227 §2.4, (c)): it is defended for ever, and
    /// each host that uses it is told of, but both at most once in ten seconds.
    #[must_use]
    pub fn kept(self) -> Self {
        Self { is_kept: true, ..self }
    }

    /// The address that is watched over.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The interfaces of this machine have these Ethernet addresses from now on: see [`AddressGuard::new`].
    pub fn renew_machine(&mut self, machine: impl IntoIterator<Item = [u8; 6]>) {
        self.machine = machine.into_iter().chain([self.hardware_address]).collect();
    }

    /// The interface has this Ethernet address from now on. Who had the former one in mind is told; while the probe is out,
    /// it is sent again, as its answers go to nobody.
    pub fn change_hardware_address(&mut self, hardware_address: [u8; 6]) {
        self.hardware_address = hardware_address;
        self.machine.insert(hardware_address);
        match self.stage {
            Stage::Probing { .. } => self.broadcast(Message::probe(hardware_address, self.address)),
            Stage::Announcing { .. } | Stage::Holding => self.announce(),
            Stage::Over => {}
        }
    }

    /// Takes an ARP message that was seen on the link, whoever it is for.
    pub fn handle_message(&mut self, message: &Message, now: Moment) {
        if self.stage == Stage::Over
            || message.sender != self.address
            || self.machine.contains(&message.sender_hardware)
        {
            return;
        }
        let is_defended = self.defended_at.is_some_and(|defended_at| now - defended_at < DEFEND_INTERVAL);
        match self.stage {
            _ if self.is_kept && is_defended => {}
            Stage::Probing { until } if self.is_kept && now < until => {
                // Who was there before is told off by the announcements that follow.
                self.defended_at = Some(now);
                self.conflict = Some(Conflict { hardware_address: message.sender_hardware, was_defended: false });
            }
            _ if self.is_kept => {
                self.defended_at = Some(now);
                self.conflict = Some(Conflict { hardware_address: message.sender_hardware, was_defended: true });
                self.announce();
            }
            Stage::Probing { until } if now < until => self.give_up(message, false),
            _ if is_defended => self.give_up(message, true),
            _ => {
                self.defended_at = Some(now);
                self.announce();
            }
        }
    }

    /// Does what is due. Harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Moment) {
        if self.poll_timeout().is_none_or(|timeout| now < timeout) {
            return;
        }
        let left = match self.stage {
            Stage::Probing { .. } => ANNOUNCE_NUM,
            Stage::Announcing { left, .. } => left,
            Stage::Holding | Stage::Over => return,
        };
        self.announce();
        self.stage = match left.saturating_sub(1) {
            0 => Stage::Holding,
            left => Stage::Announcing { left, next_at: now + ANNOUNCE_INTERVAL },
        };
    }

    /// When [`AddressGuard::handle_timeout`] is to be called; none if time changes nothing.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Moment> {
        match self.stage {
            Stage::Probing { until } => Some(until),
            Stage::Announcing { next_at, .. } => Some(next_at),
            Stage::Holding | Stage::Over => None,
        }
    }

    /// The next message to send.
    pub const fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmit.take()
    }

    /// The verdict that the address must be given up: at most one, and nothing follows it. Of one that is kept, that another
    /// host uses it.
    pub const fn poll_conflict(&mut self) -> Option<Conflict> {
        self.conflict.take()
    }

    fn announce(&mut self) {
        self.broadcast(Message::announcement(self.hardware_address, self.address));
    }

    fn give_up(&mut self, message: &Message, was_defended: bool) {
        self.stage = Stage::Over;
        self.transmit = None;
        self.conflict = Some(Conflict { hardware_address: message.sender_hardware, was_defended });
    }

    const fn broadcast(&mut self, message: Message) {
        self.transmit = Some(Transmit { destination: BROADCAST, message });
    }
}
