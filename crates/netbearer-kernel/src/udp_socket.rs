use std::{io, net::SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// Opens a UDP socket that uses `interface` only and has this address, for unicasts of a DHCP client that has an address
/// already (RFC 2131 §4.3.2 RENEWING, §4.4.4 release). May broadcast, and shares its port.
///
/// # Errors
/// When the interface does not exist, the address is not the machine's, or the port is a privileged one and
/// `CAP_NET_BIND_SERVICE` is missing.
pub fn open_udp_socket(interface: &str, address: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}
