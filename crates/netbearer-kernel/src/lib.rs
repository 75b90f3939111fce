//! The only contact of NetBearer with the network configuration of the Linux kernel: mechanisms, no decisions.
//!
//! [`Watcher`] keeps a [`Cache`] of links, addresses, routes and rules equal to the kernel's truth; [`Requests`] changes
//! it, and tags what it makes as ours ([`OUR_PROTOCOL`]); [`BootClock`] is the time; [`PacketSocket`] and
//! [`open_udp_socket`] carry DHCP. No netlink type leaves this crate.
//!
//! Sockets belong to the network namespace of the thread that opens them, for ever.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod address;
mod attributes;
mod cache;
mod change;
mod clock;
mod dump;
mod hardware_address;
mod link;
mod namespace;
mod netlink_socket;
mod packet_socket;
mod privilege;
mod registration;
mod request_error;
mod requests;
mod route;
mod rule;
mod tag;
mod udp_socket;
mod watcher;

pub use address::{Address, AddressKey, AddressLifetime, AddressSpec};
pub use cache::Cache;
pub use change::{Change, Changes, Part};
pub use clock::{BootClock, boot_time};
pub use dump::Dump;
pub use hardware_address::HardwareAddress;
pub use link::Link;
pub use namespace::{boot_identifier, network_namespace_inode};
pub use packet_socket::{PacketSocket, ReceivedPacket, UnboundPacketSocket};
pub use privilege::missing_privileges;
pub use request_error::RequestError;
pub use requests::{AddressGeneration, Requests};
pub use route::{NextHop, Route, RouteKind, RouteSpec};
pub use rule::{Rule, RuleAction, RuleSpec};
pub use tag::OUR_PROTOCOL;
pub use udp_socket::open_udp_socket;
pub use watcher::{POKE_INTERVAL, POKE_WINDOW, WatchError, Watcher};
