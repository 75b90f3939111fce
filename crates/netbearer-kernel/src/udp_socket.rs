use std::{io, net::SocketAddrV4, num::NonZeroU32};

use rustix::net::netdevice::index_to_name;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// Opens a UDP socket that uses the interface with this index only and has this address, for unicasts of a DHCP client that
/// has an address already (RFC 2131 §4.3.2 RENEWING, §4.4.4 release). May broadcast, and shares its port. The interface may
/// be renamed (`SO_BINDTOIFINDEX`, Linux 5.1).
///
/// # Errors
/// When the interface does not exist, the address is not the machine's, or the port is a privileged one and
/// `CAP_NET_BIND_SERVICE` is missing.
pub fn open_udp_socket(interface: u32, address: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    // Binding takes any number.
    index_to_name(&socket, interface)?;
    socket.bind_device_by_index_v4(NonZeroU32::new(interface))?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}
