use std::{
    net::{Ipv4Addr, UdpSocket},
    os::fd::{AsFd, AsRawFd},
    process,
};

use crate::{AccessPoint, LabError, Namespace};

/// Its interface, in its own namespace.
const INTERFACE: &str = "neighbour0";
/// RFC 863. Nothing gets that far.
const DISCARD_PORT: u16 = 9;
/// The access point's end of the cable.
const SEGMENT: &str = "port0";

/// Another host on an access point's link, with an address and a hardware address of its own, that answers ARP. It is gone
/// when this value is dropped.
#[derive(Debug)]
pub struct Neighbour {
    namespace: Namespace,
    hardware_address: [u8; 6],
}

impl Neighbour {
    /// A host that uses `address` on the link of `access_point`. It has announced so (RFC 5227 §2.3) when this returns.
    ///
    /// # Errors
    /// [`LabError::CommandFailed`] when the access point is unplugged.
    pub fn new(access_point: &AccessPoint, address: Ipv4Addr) -> Result<Self, LabError> {
        let [first, second, third, fourth] = address.octets();
        // Locally administered, and told apart by the address.
        let hardware_address = [0x02, 0x6e, first, second, third, fourth];
        let namespace = Namespace::new(&format!("neighbour {address}"))?;
        let place = format!("/proc/{}/fd/{}", process::id(), namespace.as_fd().as_raw_fd());
        let link = hardware_address.map(|octet| format!("{octet:02x}")).join(":");
        let add = ["link", "add", "name", INTERFACE, "link", SEGMENT, "netns", &place, "address", &link];
        access_point.namespace().ip_lines(&[&add[..], &["type", "macvlan", "mode", "bridge"]].concat())?;
        // Announces its addresses whenever it comes up.
        namespace.set_sysctl(&format!("net/ipv4/conf/{INTERFACE}/arp_notify"), "1")?;
        let prefix = format!("{address}/{}", access_point.subnet().prefix_length());
        namespace.ip_lines(&["address", "add", &prefix, "dev", INTERFACE])?;
        let neighbour = Self { namespace, hardware_address };
        neighbour.announce()?;
        Ok(neighbour)
    }

    /// Its hardware address.
    #[must_use]
    pub fn hardware_address(&self) -> [u8; 6] {
        self.hardware_address
    }

    /// Says again that the address is its own.
    ///
    /// # Errors
    /// [`LabError::CommandFailed`] when the access point is unplugged.
    pub fn announce(&self) -> Result<(), LabError> {
        for state in ["down", "up"] {
            self.namespace.ip_lines(&["link", "set", INTERFACE, state])?;
        }
        Ok(())
    }

    /// Has its kernel ask everybody on the link where each of these addresses is, once at least.
    ///
    /// # Errors
    /// [`LabError::System`] when the access point is unplugged.
    pub fn ask_for(&self, addresses: impl IntoIterator<Item = Ipv4Addr> + Send) -> Result<(), LabError> {
        let asking = || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            addresses.into_iter().try_for_each(|address| socket.send_to(&[], (address, DISCARD_PORT)).map(drop))
        };
        self.namespace.run(asking).map_err(LabError::unable_to("have a neighbour ask for addresses"))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // With its namespace it would go as well, but only when the kernel finds the time. It may be gone already, with
        // the cable.
        let _ = self.namespace.ip_lines(&["link", "delete", INTERFACE]);
    }
}
