use std::io;

use super::netlink_socket::NetlinkSocket;
use crate::our_machine::DEADLINE;

/// Hears the kernel's word about carriers, in the network namespace of the thread that opens it.
pub(crate) struct CarrierListener(NetlinkSocket);

impl CarrierListener {
    pub(crate) fn open() -> io::Result<Self> {
        NetlinkSocket::for_links().map(Self)
    }

    /// Waits until the link is told to have carrier, or none.
    pub(crate) fn wait_for_carrier(&mut self, index: u32, wanted: bool) -> io::Result<()> {
        self.0.wait_for_carrier(index, wanted, DEADLINE)
    }
}
