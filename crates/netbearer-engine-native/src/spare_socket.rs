//! One packet socket opened in advance, so that no bring-up waits for its filter to be compiled.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use netbearer_kernel::{PacketSocket, UnboundPacketSocket};

#[derive(Clone, Debug, Default)]
pub(crate) struct SpareSocket {
    spare: Arc<Mutex<Option<UnboundPacketSocket>>>,
}

impl SpareSocket {
    /// The spare one, or else a new one, on an interface.
    pub(crate) fn open(&self, interface: u32) -> io::Result<PacketSocket> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        match spare {
            Some(socket) => socket.bind(interface),
            None => PacketSocket::open(interface),
        }
    }

    /// Opens another one on another thread, if there is none.
    pub(crate) fn replenish(&self) {
        let place = Arc::clone(&self.spare);
        tokio::task::spawn_blocking(move || {
            if place.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                return;
            }
            match UnboundPacketSocket::open() {
                Ok(socket) => *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket),
                Err(error) => tracing::debug!("no spare packet socket: {error}"),
            }
        });
    }
}
