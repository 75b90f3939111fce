use std::{
    io,
    net::{Ipv6Addr, SocketAddrV6},
};

use socket2::{Domain, Protocol, Socket, Type};

/// ICMPv6 router solicitation (RFC 4861 §4.1) without options. The kernel writes the checksum.
const ROUTER_SOLICITATION: [u8; 8] = [133, 0, 0, 0, 0, 0, 0, 0];
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// What neighbour discovery demands, so that no packet from elsewhere is taken for one of this link.
const HOP_LIMIT: u32 = 255;

/// Asks the routers on a link to announce themselves (RFC 4861 §6.3.7), in the network namespace of the calling thread.
///
/// The kernel does so by itself when a link comes up, and up to three times (`router_solicitations` of its `ip-sysctl`), but
/// never again afterwards; so this is the way to hear what [`Cache::unheard`](crate::Cache::unheard) says may be missing.
/// The routers answer within half a second, to everybody on the link and at most every three seconds (RFC 4861 §6.2.6), and
/// the kernel passes the answer on to every watcher. It does nothing else with it than with any other advertisement.
///
/// # Errors
/// - `NotFound` (`ENODEV`, `ENXIO`): there is no such interface.
/// - `AddrNotAvailable`: it has no link-local address that may be used yet. The kernel solicits when it has.
/// - `PermissionDenied`: `CAP_NET_RAW` is missing.
/// - `NetworkUnreachable`, `NetworkDown`: the interface is down, or IPv6 is disabled there.
pub fn solicit_routers(interface: u32) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::RAW.nonblocking().cloexec(), Some(Protocol::ICMPV6))?;
    socket.set_multicast_if_v6(interface)?;
    socket.set_multicast_hops_v6(HOP_LIMIT)?;
    // Routers of this machine are other hosts' routers.
    socket.set_multicast_loop_v6(false)?;
    let everybody = SocketAddrV6::new(ALL_ROUTERS, 0, 0, interface);
    socket.send_to(&ROUTER_SOLICITATION, &everybody.into()).map(|_| ())
}
