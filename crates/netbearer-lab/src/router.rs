use std::{
    io::{self, PipeReader},
    net::{IpAddr, Ipv6Addr},
    os::fd::AsFd,
    time::Duration,
};

use rustix::net::{RecvFlags, recv};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    INTERNET_V6, Namespace, Preference, RouterAdvertisement, access_point::FarEnd, deadline::Deadline,
    router_advertisement::ROUTER, server_thread::ServerThread,
};

/// Where routers are asked (RFC 4291 §2.7.1).
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Type of a router solicitation (RFC 4861 §4.1).
const SOLICITATION: u8 = 133;
/// How long what is advertised holds, in seconds, and how often it is said unasked.
const LIFETIME: u16 = 1_800;
const INTERVAL: Duration = Duration::from_secs(600);
const NETWORK_PREFIX_LENGTH: u8 = 64;

/// An IPv6 router (RFC 4861 §6.2) for a network of 64 bits: says so when it is asked, and now and then.
#[derive(Debug)]
pub(crate) struct Router {
    _thread: ServerThread,
}

impl Router {
    /// `network` is the router's own address there.
    pub(crate) fn start(namespace: &Namespace, far_end: FarEnd, network: Ipv6Addr) -> io::Result<Self> {
        let index = far_end.index();
        let solicitations = namespace.run(|| {
            let socket = Socket::new(Domain::IPV6, Type::RAW.cloexec(), Some(Protocol::ICMPV6))?;
            socket.join_multicast_v6(&ALL_ROUTERS, index)?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(socket)
        })?;
        let advertisement = RouterAdvertisement::new(LIFETIME, Preference::Medium)
            .prefix(network, u32::from(LIFETIME), u32::from(LIFETIME))
            .servers(u32::from(LIFETIME), &[INTERNET_V6])
            .source_hardware_address(far_end.hardware_address());
        let service = Service { solicitations, far_end, network, advertisement };
        let thread = namespace.start_server("router", move |stopped| service.serve(&stopped))?;
        Ok(Self { _thread: thread })
    }
}

struct Service {
    solicitations: Socket,
    far_end: FarEnd,
    network: Ipv6Addr,
    advertisement: RouterAdvertisement,
}

impl Service {
    fn serve(&self, stopped: &PipeReader) {
        loop {
            let sources = [self.solicitations.as_fd(), stopped.as_fd()];
            let Ok([asked, false]) = Deadline::after(INTERVAL).wait_readable(sources) else { return };
            if !asked || self.is_solicited() {
                // A cable that is cut carries nothing, and who comes later asks again.
                let _ = self.advertise();
            }
        }
    }

    /// Other messages of ICMPv6 come here too.
    fn is_solicited(&self) -> bool {
        let mut solicited = false;
        let mut message = [0; 1_500];
        while recv(&self.solicitations, &mut message[..], RecvFlags::DONTWAIT).is_ok() {
            solicited |= message[0] == SOLICITATION;
        }
        solicited
    }

    /// The kernel takes IPv6 addresses away while the cable is cut.
    fn advertise(&self) -> io::Result<()> {
        for address in [ROUTER, self.network] {
            self.far_end.ensure_address(IpAddr::V6(address), NETWORK_PREFIX_LENGTH)?;
        }
        self.far_end.settle();
        self.advertisement.send(self.far_end.index())
    }
}
