use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsFd,
    sync::Weak,
};

use netbearer_lookup::NamePlaces;
use netbearer_types::{Family, Identifier, Interface, InterfaceAddress, SocketCookie};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::{LookupError, SocketError, backend::SessionBackend, shared::Shared};

/// Anywhere behind a gateway; nothing is ever sent there (RFC 5737).
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// Where the sockets of a session leave the machine.
#[derive(Debug)]
pub(crate) struct Outlet<'a> {
    interface: Interface,
    shared: &'a Shared,
    names: Option<&'a NamePlaces>,
    /// Weak, as who connects in a trial does not keep the session.
    interest: Weak<dyn SessionBackend>,
    access_point: Option<Identifier>,
    /// It is tried, beside the link in use.
    is_candidate: bool,
}

impl<'a> Outlet<'a> {
    /// By this interface of this access point.
    pub(crate) const fn new(
        interface: Interface,
        access_point: Option<Identifier>,
        shared: &'a Shared,
        names: Option<&'a NamePlaces>,
        interest: Weak<dyn SessionBackend>,
    ) -> Self {
        Self { interface, shared, names, interest, access_point, is_candidate: false }
    }

    /// The access point is one that is tried.
    pub(crate) fn of_candidate(self, is_candidate: bool) -> Self {
        Self { is_candidate, ..self }
    }

    pub(crate) fn bind(&self, socket: &impl AsFd) -> Result<(), SocketError> {
        let socket = SockRef::from(socket);
        // One for IPv6 may speak IPv4, too.
        if socket.domain().is_ok_and(|domain| domain == Domain::IPV4) {
            self.require_address(ANYWHERE)?;
        }
        self.bind_device(&socket)
    }

    pub(crate) async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        Ok(netbearer_lookup::lookup(self.names, host, &self.interface).await?)
    }

    pub(crate) async fn connect_tcp(&self, address: SocketAddr) -> Result<TcpStream, SocketError> {
        let socket = self.tcp_socket(address)?;
        let failed = |source| self.failure("connecting through", source);
        socket.set_nonblocking(true).map_err(failed)?;
        TcpSocket::from_std_stream(socket.into()).connect(address).await.map_err(failed)
    }

    /// A TCP connection, for which the calling thread is blocked.
    pub(crate) fn connect_tcp_blocking(&self, address: SocketAddr) -> Result<std::net::TcpStream, SocketError> {
        let socket = self.tcp_socket(address)?;
        socket.connect(&address.into()).map_err(|source| self.failure("connecting through", source))?;
        Ok(socket.into())
    }

    fn tcp_socket(&self, address: SocketAddr) -> Result<Socket, SocketError> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
            .map_err(|source| self.failure("opening a socket for", source))?;
        self.require_address(address)?;
        self.bind_device(&socket)?;
        Ok(socket)
    }

    fn bind_device(&self, socket: &Socket) -> Result<(), SocketError> {
        let name = &self.interface.name;
        socket.bind_device(Some(name.as_bytes())).map_err(|source| SocketError::Kernel {
            action: "binding a socket to",
            interface: name.clone(),
            source,
        })?;
        self.register(socket);
        Ok(())
    }

    /// Has it end with the link, should the session leave that.
    fn register(&self, socket: &Socket) {
        let (Some(access_point), Some(interest)) = (self.access_point.clone(), self.interest.upgrade()) else { return };
        match socket.cookie() {
            Ok(cookie) => interest.add_socket(SocketCookie(cookie), access_point),
            // Linux has them since 4.6.
            Err(error) => tracing::debug!("the kernel does not number its sockets: {error}"),
        }
    }

    /// From where the destination could be spoken to, there must be an address. What an event has told of is enough; the
    /// kernel may know of more.
    fn require_address(&self, destination: SocketAddr) -> Result<(), SocketError> {
        let host = destination.ip().to_canonical();
        let family = Family::of(host);
        let is_of_family = |address: &InterfaceAddress| address.is_usable() && Family::of(address.address) == family;
        if stays_on_the_link(host)
            || self.interface.addresses.iter().any(is_of_family)
            || kernel_has_source(&self.interface.name, destination)
        {
            return Ok(());
        }
        Err(match self.access_point.clone().filter(|_| self.is_candidate) {
            Some(candidate) => SocketError::NoAddressOfCandidate { candidate, family },
            None => SocketError::NoAddress { session: self.shared.configuration().identifier, family },
        })
    }

    fn failure(&self, action: &'static str, source: std::io::Error) -> SocketError {
        SocketError::Kernel { action, interface: self.interface.name.clone(), source }
    }
}

/// Link-local addresses, which every link with IPv6 has one to speak from with, and groups.
const fn stays_on_the_link(host: IpAddr) -> bool {
    match host {
        IpAddr::V4(host) => host.is_multicast() || host.is_broadcast(),
        IpAddr::V6(host) => host.is_multicast() || host.is_unicast_link_local(),
    }
}

/// True if the kernel has an address on the interface from which to speak to the destination. Connecting a datagram socket
/// sends nothing.
fn kernel_has_source(interface: &str, destination: SocketAddr) -> bool {
    let source = || {
        let socket = Socket::new(Domain::for_address(destination), Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.connect(&destination.into())?;
        socket.local_addr()
    };
    let source = source().ok().and_then(|source| source.as_socket());
    source.is_some_and(|source| {
        let source = source.ip().to_canonical();
        !source.is_unspecified() && !stays_on_the_link(source)
    })
}
