//! The acceptance scenarios, each once, against real interfaces in the lab. The numbers are those of docs/scenarios.md.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod address_conflicts;
mod adoption;
mod availability;
mod beside;
mod capabilities;
mod carrier_watch;
mod choice;
mod closing;
mod collisions;
mod configurations;
mod counters;
mod daemon;
mod damping;
mod deaths;
mod dhcp_faults;
mod exclusive;
mod holders;
mod hotplug;
mod interference;
mod ipv6;
mod known_networks;
mod leases;
mod limits;
mod loss;
mod managers;
mod name_servers;
mod opening;
mod phases;
mod processes;
mod profile_changes;
mod profiles;
mod properties;
mod roaming;
mod roaming_ends;
mod roaming_sockets;
mod roaming_tables;
mod routing;
mod sensing;
mod service;
mod service_networks;
mod settings;
mod setup;
mod stage;
mod steering;
mod stopping;
mod suspend;
mod transport;
mod tunnel;
mod unrelated;
mod uplink;
mod waiting;

pub(crate) use transport::{only_embedded, only_served};
