//! Sandbox networks in network namespaces, for tests and benchmarks, and for people to try things in.
//!
//! A [`Lab`] is one machine and any number of access points, each in a network namespace of its own, joined by virtual
//! cables. Nothing outside these namespaces is ever changed. The namespaces are anonymous and belong to threads of the
//! calling process, and every program started in them dies with the thread that started it, so nothing is left behind,
//! even after SIGKILL.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use netbearer_lab::{AccessPointPlan, Dhcp, Lab};
//!
//! let lab = Lab::builder()
//!     .access_point(AccessPointPlan::new("ap0").dhcp(Dhcp::Dnsmasq))
//!     .access_point(AccessPointPlan::new("ap1").card_like())
//!     .build()?;
//! lab.machine().enter()?; // from here on this thread, and those it starts, live on the lab's machine
//! // … bring ap0 up with the code under test …
//! let access_point = lab.access_point("ap0")?;
//! access_point.dhcp_log()?.wait_for_text("DHCPACK", Duration::from_secs(5))?;
//! let lost_after = access_point.cut()?;
//! # Ok::<(), netbearer_lab::LabError>(())
//! ```
//!
//! Everything waits for an event with a deadline: for a line of a [`Record`], for a change the kernel announces
//! ([`Namespace::wait_until`]), for the end of a [`Program`]. The witnesses (`ip`, `tcpdump`, `dnsmasq`) are other
//! people's programs, so that a lab does not share a mistake with the code it tests.
//!
//! For people a lab is built [without witnesses](LabBuilder::without_witnesses), which needs nothing but the kernel, of
//! access points with [services](AccessPointPlan::services), in a [`Sandbox`] for the whole program.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod access_point;
mod access_point_plan;
mod capture;
mod clock;
mod contents;
mod conversation;
mod corpus;
mod daemon;
mod deadline;
mod dhcp_script;
mod dhcp_server;
mod dnsmasq;
mod echo_server;
mod error;
mod interruption;
mod lab;
mod monitor;
mod name_server;
mod namespace;
mod neighbour;
mod netlink;
mod openresolv;
mod own_files;
mod program;
mod record;
mod requirement;
mod router;
mod router_advertisement;
mod sandbox;
mod server_thread;
mod shaping;
mod snapshot;
mod subnet;
mod tun_device;
mod tunnel;
mod unshare;
mod web_server;
mod witness;

pub use access_point::AccessPoint;
pub use access_point_plan::{AccessPointPlan, Card, Dhcp};
pub use capture::Capture;
pub use clock::now;
pub use contents::Contents;
pub use conversation::Conversation;
pub use corpus::replay_corpus;
pub use daemon::{BUS_RELAY, Daemon};
pub use dhcp_script::{ClientState, Fault, Script};
pub use dhcp_server::{DhcpServer, Direction, Exchange};
/// The codec of the messages in an [`Exchange`].
pub use dhcproto;
pub use dhcproto::v4::MessageType;
pub use dnsmasq::{HERE, NOWHERE};
pub use echo_server::{ECHO_PORT, INTERNET, INTERNET_V6};
pub use error::LabError;
pub use interruption::uninterrupted;
pub use lab::{Lab, LabBuilder};
pub use monitor::Monitor;
pub use name_server::SERVER_NAME;
pub use namespace::Namespace;
pub use neighbour::Neighbour;
pub use openresolv::openresolv;
pub use program::{NamespaceCommand, Program};
pub use record::{Mark, Record};
pub use requirement::{own_program, requirements};
pub use router_advertisement::{Preference, RouterAdvertisement};
pub use rustix::process::Signal;
pub use sandbox::Sandbox;
pub use shaping::Shaping;
pub use snapshot::Snapshot;
pub use subnet::Subnet;
pub use tunnel::Tunnel;
