//! The only contact of NetBearer with the network configuration of the Linux kernel: mechanisms, no decisions.
//!
//! [`Watcher`] keeps a [`Cache`] of links, addresses, routes and rules equal to the kernel's truth; [`Requests`] changes
//! it, and tags what it makes as ours ([`OUR_PROTOCOL`]); [`PacketSocket`] and [`open_udp_socket`] carry DHCP, [`ArpSocket`]
//! ARP; [`TrafficMeter`] reads counters. No netlink type leaves this crate. The clock and the watch of directories, which
//! its users need as well, are passed on.
//!
//! Sockets belong to the network namespace of the thread that opens them, for ever.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod address;
mod arp_socket;
mod asking_socket;
mod attributes;
mod cache;
mod change;
mod diagnostic_socket;
mod dump;
mod filter_code;
mod hardware_address;
mod lifetime;
mod link;
mod link_layer_socket;
mod namespace;
mod neighbours;
mod netlink_socket;
mod packet_socket;
mod privilege;
mod registration;
mod request_error;
mod requests;
mod route;
mod router_announcement;
mod router_option;
mod router_solicitation;
mod rule;
mod socket_abort;
mod socket_ends;
mod sysctl;
mod tag;
mod traffic_meter;
mod udp_socket;
mod watcher;

pub use address::{Address, AddressKey, AddressLifetime, AddressSpec};
pub use arp_socket::{ArpSocket, ReceivedArpPacket, UnboundArpSocket};
pub use cache::Cache;
pub use change::{Change, Changes, Part};
pub use dump::Dump;
pub use hardware_address::HardwareAddress;
pub use link::Link;
pub use link_layer_socket::ReceivedPacket;
pub use namespace::{boot_identifier, network_namespace_inode};
pub use neighbours::forget_unresolved_neighbours;
pub use netbearer_clock::{BootClock, InjectedSuspends, Resumptions, boot_time};
pub use netbearer_watch::{DirectoryWatch, WatchedEntries};
pub use netlink_socket::changes_in;
pub use packet_socket::{PacketSocket, UnboundPacketSocket};
pub use privilege::missing_privileges;
pub use request_error::RequestError;
pub use requests::{Addition, AddressGeneration, Requests};
pub use route::{NextHop, Route, RouteKind, RouteSpec, RouterPreference};
pub use router_announcement::{Announcement, RouterAnnouncement};
pub use router_option::{AnnouncedOption, RouterOption};
pub use router_solicitation::solicit_routers;
pub use rule::{Rule, RuleAction, RuleSpec};
pub use socket_abort::{abort_sockets, abort_tcp_sockets, abort_tcp_sockets_without_address};
pub use socket_ends::{SocketEnds, living_sockets, socket_ends_in, socket_traffic};
pub use sysctl::{Sysctl, SysctlError, Sysctls, effective_reverse_path_filter, read_sysctl, write_sysctl};
pub use tag::OUR_PROTOCOL;
pub use traffic_meter::{TrafficMeter, traffic_in};
pub use udp_socket::open_udp_socket;
pub use watcher::{POKE_INTERVAL, POKE_WINDOW, WATCH_INTERVAL, WatchError, Watcher};
