//! A DHCPv4 client without I/O (RFC 2131, 2132, 3396, 3442, 4039, 6842, 8910, 8925), and what else an IPv4 address of a
//! host on Ethernet needs: to be watched over (RFC 5227), and to be used again at once on a known network (RFC 4436).
//!
//! A [`Client`] has no socket, no clock and no task. Whoever drives it hands in what happens ([`Client::start`],
//! [`Client::handle_packet`], [`Client::handle_timeout`], [`Client::release`]) together with the [`Moment`] at which it
//! does, and after each call fetches what is to be done: [`Client::poll_transmit`], [`Client::poll_event`],
//! [`Client::poll_timeout`]. The same calls with the same seed always lead to the same result, so that every history can
//! be replayed.
//!
//! Packets are hostile until proven otherwise: nothing in them makes the client panic, grow without bound, or send
//! faster than its timetable ([`Exchange`]).
//!
//! Deviations from RFC 2131, all in favour of latency:
//! - The first DISCOVER leaves at once. §4.4.1 asks (SHOULD) for one to ten seconds of random delay, against many hosts
//!   that start in step; here somebody waits for the session, and retransmissions are randomised anyway.
//! - Unanswered messages are repeated after 62.5 ms, 125 ms, 250 ms … 16 s, each ± 25 %. §4.1 starts at 4 s and ends at
//!   64 s.
//! - The first acceptable OFFER is taken; §4.4.1 allows to collect some first.
//! - The 60 s between repetitions while renewing and rebinding (§4.4.5) shrink with leases shorter than 16 minutes.
//! - After the first conflict (§3.1.5) the search goes on at once, and the declined address is not taken again; only after
//!   further ones the client waits its ten seconds, and more than that after ten.
//!
//! [`AddressGuard`], [`KnownNetwork`] and [`GatewayInquiry`] are driven in the same way, with the messages of [`arp`]: the
//! first as long as an address is installed, the second beside a client that remembers a lease, and the third after the
//! first, for the second of the next time.
//!
//! Around the payloads that a client sends and receives, [`frame`] puts and removes the IPv4 and UDP headers that a
//! packet socket needs while the interface has no address.
//!
//! [`Moment`]: netbearer_types::Moment

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod address_guard;
pub mod arp;
mod captive_portal;
mod client;
mod configuration;
mod domain_name;
mod event;
mod exchange;
pub mod frame;
mod gateway_inquiry;
mod known_network;
mod lease;
mod outgoing;
mod packet_error;
mod random;
mod remembered_lease;
mod reply;
mod state;
mod term;
mod transmit;

pub use address_guard::{AddressGuard, Conflict};
pub use client::Client;
pub use configuration::ClientConfiguration;
pub use event::{Event, LossReason};
pub use exchange::Exchange;
pub use gateway_inquiry::GatewayInquiry;
pub use known_network::KnownNetwork;
pub use lease::{Lease, Route};
pub use netbearer_types::{
    ClientIdentifier, ClientIdentifierError, HostName, HostNameError, VendorClass, VendorClassError,
};
pub use packet_error::PacketError;
pub use remembered_lease::{RememberedLease, RememberedNetwork};
pub use state::State;
pub use term::Term;
pub use transmit::Transmit;
