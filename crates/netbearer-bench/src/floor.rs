//! What the same work takes with blocking system calls and nothing else: messages written out by hand, one request at a
//! time, no state. Nothing of ours is used but the lab that builds the network.
//!
//! Its machine is another one than ours, in a lab of the same shape, so that our service does not wake up for the floor's
//! events and slow it down.

mod carrier_listener;
mod channel;
mod dhcp_socket;
mod floor_machine;
mod netlink_socket;

pub(crate) use carrier_listener::CarrierListener;
pub(crate) use channel::EchoThread;
pub(crate) use dhcp_socket::Acquisition;
pub(crate) use floor_machine::FloorMachine;
