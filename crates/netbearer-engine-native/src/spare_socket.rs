//! Packet sockets opened in advance, so that no bring-up waits for their filters to be compiled.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use netbearer_kernel::{ArpSocket, PacketSocket, UnboundArpSocket, UnboundPacketSocket};

/// One spare socket of each kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpareSocket {
    dhcp: Place<UnboundPacketSocket>,
    arp: Place<UnboundArpSocket>,
}

type Place<S> = Arc<Mutex<Option<S>>>;

impl SpareSocket {
    /// The spare one for DHCP, or else a new one, on an interface.
    pub(crate) fn open(&self, interface: u32) -> io::Result<PacketSocket> {
        match take(&self.dhcp) {
            Some(socket) => socket.bind(interface),
            None => PacketSocket::open(interface),
        }
    }

    /// The spare one for ARP, or else a new one, on an interface.
    pub(crate) fn open_arp(&self, interface: u32) -> io::Result<ArpSocket> {
        match take(&self.arp) {
            Some(socket) => socket.bind(interface),
            None => ArpSocket::open(interface),
        }
    }

    /// Opens others on another thread, where there are none.
    pub(crate) fn replenish(&self) {
        let Self { dhcp, arp } = self.clone();
        tokio::task::spawn_blocking(move || {
            fill(&dhcp, UnboundPacketSocket::open);
            fill(&arp, UnboundArpSocket::open);
        });
    }
}

fn take<S>(place: &Place<S>) -> Option<S> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn fill<S>(place: &Place<S>, open: impl FnOnce() -> io::Result<S>) {
    if place.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
        return;
    }
    match open() {
        Ok(socket) => *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket),
        Err(error) => tracing::debug!("no spare packet socket: {error}"),
    }
}
