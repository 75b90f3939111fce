//! Static IPv4 addresses are announced to the hosts around, and defended (RFC 5227).

use std::{net::Ipv4Addr, sync::Arc};

use netbearer_engine::Clock;
use netbearer_kernel::{BootClock, HardwareAddress};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    addresses::MachineAddresses,
    neighbourhood::{Finding, Neighbourhood},
    spare_socket::SpareSocket,
    worker::LinkView,
};

/// Addresses that are watched over until this is dropped.
pub(crate) struct KeptAddresses(JoinHandle<()>);

impl KeptAddresses {
    /// Begins, with a probe: who answers it is told of in the log, and the address is kept, as an administrator has said
    /// whose it is. Nothing where there are no such addresses, or no Ethernet ones.
    pub(crate) fn watch_over(
        addresses: Vec<Ipv4Addr>,
        link: watch::Receiver<Option<LinkView>>,
        machine: Arc<MachineAddresses>,
        clock: BootClock,
        spare: SpareSocket,
    ) -> Option<Self> {
        let view = link.borrow().clone().filter(|_| !addresses.is_empty())?;
        let hardware_address = view.hardware_address.as_slice().try_into().ok()?;
        let mut neighbourhood = Neighbourhood::new(view.index, hardware_address, clock.clone(), spare);
        neighbourhood.watch_over_static(&addresses, &machine);
        Some(Self(tokio::spawn(keep(neighbourhood, view, link, clock))))
    }
}

impl Drop for KeptAddresses {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Returns when nothing can be heard any more, or nobody sees the link.
async fn keep(
    mut neighbourhood: Neighbourhood,
    mut seen: LinkView,
    mut link: watch::Receiver<Option<LinkView>>,
    clock: BootClock,
) {
    loop {
        let timeout = neighbourhood.poll_timeout();
        tokio::select! {
            received = neighbourhood.receive() => match neighbourhood.hear(received) {
                Some(Finding::Conflict(address, conflict)) => tracing::warn!(
                    interface = seen.name,
                    %address,
                    other = %HardwareAddress::new(conflict.hardware_address),
                    "another host uses this static address; give one of the two another"
                ),
                _ if !neighbourhood.is_watching() => return,
                _ => {}
            },
            () = async {
                match timeout {
                    Some(deadline) => clock.sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            } => neighbourhood.handle_timeout(),
            changed = link.changed() => {
                let view = link.borrow_and_update().clone();
                let Some(view) = view.filter(|view| changed.is_ok() && view.index == seen.index) else { return };
                let has_other = view.hardware_address != seen.hardware_address;
                if let (true, Ok(address)) = (has_other, view.hardware_address.as_slice().try_into()) {
                    neighbourhood.change_hardware_address(address);
                }
                seen = view;
            }
        }
    }
}
