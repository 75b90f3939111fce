use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use netbearer_engine::Clock;
use netbearer_types::{
    Configuration, Failure, Family, Interface, InterfaceAddress, PropertyKey, PropertyValue, SessionEvent,
    SessionSnapshot, SessionState,
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::{
    CallError, Events, LookupError, SocketError,
    backend::{Backend, NewSession, SessionBackend},
    shared::Shared,
};

/// Anywhere behind a gateway; nothing is ever sent there (RFC 5737).
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// One interest in one configuration: open it to have the network, close it to give it back.
///
/// Making a session touches nothing; it only watches. Dropping it closes it. What happens is told by [`Session::events`];
/// the getters return the newest state known to this process.
#[derive(Debug)]
pub struct Session {
    // Declared first, so dropped first: by the time the service may end, it has heard of that.
    interest: Box<dyn SessionBackend>,
    shared: Arc<Shared>,
    backend: Arc<dyn Backend>,
}

impl Session {
    pub(crate) fn new(backend: Arc<dyn Backend>, (interest, shared): NewSession) -> Self {
        Self { interest, shared, backend }
    }

    /// Asks for the network. What comes of it is told by events: Opened, or Error. Opening a session that is open or
    /// opening changes nothing.
    ///
    /// # Errors
    /// When the call itself is refused: a limit is reached, a right is missing, or the link is down and the service may not bring
    /// it up.
    pub async fn open(&self) -> Result<(), CallError> {
        self.interest.open().await
    }

    /// Gives the network back; the last one to do so takes the link down. Closing a session that is not open changes
    /// nothing. Closed has been told when this returns; the rest follows. While the daemon is away, this works as well, and the
    /// rest follows when it is back.
    ///
    /// # Errors
    /// [`CallError::ServiceGone`] of an embedded service.
    pub async fn close(&self) -> Result<(), CallError> {
        self.interest.close().await
    }

    /// Takes the link down, whoever uses it.
    ///
    /// # Errors
    /// When this process may not do that. [`CallError::Denied`] has closed this session, as far as it was open, and nothing
    /// else.
    pub async fn stop(&self) -> Result<(), CallError> {
        self.interest.stop().await
    }

    /// A descriptor that holds as this session does, to be passed to another process or kept: the network stays until its
    /// last copy is closed, whatever becomes of this session. Close-on-exec, like the session's own. Only while the session
    /// is open or opening.
    ///
    /// # Errors
    /// [`CallError::NotHeld`] if it is not; [`CallError::NotSupported`] by an embedded service, whose holds are of this
    /// process.
    pub async fn hold_fd(&self) -> Result<OwnedFd, CallError> {
        self.interest.hold_fd().await
    }

    /// True if the application decides when this session roams (semantics §5).
    #[must_use]
    pub fn is_stakeholder(&self) -> bool {
        self.interest.is_stakeholder()
    }

    /// Says whether the application decides when this session roams.
    ///
    /// # Errors
    /// [`CallError::NotSupported`] by an embedded service.
    pub async fn set_stakeholder(&self, stakeholder: bool) -> Result<(), CallError> {
        self.interest.set_stakeholder(stakeholder).await
    }

    /// Waits until the session is open: true at once if it is, false at once if it is not opening, false as soon as
    /// opening fails or is cancelled, and false after `timeout`. Without a timeout it waits as long as it takes.
    ///
    /// When it returns because of an event, that event has been handed to everybody who reads this session's events. While the
    /// daemon is away, it goes on waiting.
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn wait_for_opened(&self, timeout: Option<Duration>) -> Result<bool, CallError> {
        let (snapshot, mut events) = self.snapshot_and_events();
        if snapshot.is_open || !snapshot.is_opening {
            return Ok(snapshot.is_open);
        }
        let outcome = async {
            while let Some(event) = events.next().await {
                match event {
                    SessionEvent::Opened => return Ok(true),
                    SessionEvent::Closed => return Ok(false),
                    // An error of something else, a refused stop for instance, does not end the opening.
                    SessionEvent::Error(_) | SessionEvent::Lagged => {
                        let snapshot = self.snapshot();
                        if !snapshot.is_opening {
                            return Ok(snapshot.is_open);
                        }
                    }
                    _ => {}
                }
            }
            Err(CallError::ServiceGone)
        };
        let Some(timeout) = timeout else { return outcome.await };
        let clock = self.backend.clock();
        let deadline = clock.now() + timeout;
        tokio::select! {
            biased;
            outcome = outcome => outcome,
            () = clock.sleep_until(deadline) => Ok(false),
        }
    }

    /// The events from now on.
    #[must_use]
    pub fn events(&self) -> Events<SessionEvent> {
        self.snapshot_and_events().1
    }

    /// The session as it is now, and every event after that, exactly once and in order.
    #[must_use]
    pub fn snapshot_and_events(&self) -> (SessionSnapshot, Events<SessionEvent>) {
        self.shared.snapshot_and_events()
    }

    /// The session as it is now.
    #[must_use]
    pub fn snapshot(&self) -> SessionSnapshot {
        self.shared.read(SessionSnapshot::clone)
    }

    /// The configuration this session was made on: as it was then, or invalid since it was removed.
    #[must_use]
    pub fn configuration(&self) -> Configuration {
        self.shared.configuration()
    }

    /// The connectivity state.
    #[must_use]
    pub fn state(&self) -> SessionState {
        self.shared.read(|snapshot| snapshot.state)
    }

    /// True if this session holds and its link is up.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.read(|snapshot| snapshot.is_open)
    }

    /// The interface in use; there exactly while the state is Connected.
    #[must_use]
    pub fn interface(&self) -> Option<Interface> {
        self.snapshot().interface
    }

    /// The last failure; an accepted open clears it.
    #[must_use]
    pub fn error(&self) -> Option<Failure> {
        self.snapshot().failure
    }

    /// How long this session has been open, in whole seconds, suspend included; zero when it is not open.
    #[must_use]
    pub fn active_time(&self) -> Duration {
        let since = self.snapshot().active_since;
        since.map_or(Duration::ZERO, |since| Duration::from_secs((self.backend.clock().now() - since).as_secs()))
    }

    /// How many octets the interface has received since its access point became Active, or was first seen so: all sessions'
    /// and all programs' alike. On a service network the sum over its members that are Active now. Need not be open; zero
    /// while nothing is Active, and without the capability DataStatistics.
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn bytes_received(&self) -> Result<u64, CallError> {
        Ok(self.interest.traffic().await?.received)
    }

    /// How many octets the interface has sent; else as [`Session::bytes_received`].
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn bytes_written(&self) -> Result<u64, CallError> {
        Ok(self.interest.traffic().await?.written)
    }

    /// Reads a property; none if it is unset.
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn property(&self, key: PropertyKey) -> Result<Option<PropertyValue>, CallError> {
        self.interest.property(key).await
    }

    /// Writes a property; none removes it, so that its default shows again.
    ///
    /// # Errors
    /// When the property is read-only or the value does not fit it.
    pub async fn set_property(&self, key: PropertyKey, value: Option<PropertyValue>) -> Result<(), CallError> {
        self.interest.set_property(key, value).await
    }

    /// Makes a socket use this session's access point, whatever the default route is. Before it is connected; needs no
    /// privilege on a socket that is not bound to an interface yet. Such a socket cannot reach loopback
    /// (`SO_BINDTODEVICE`, `socket(7)`).
    ///
    /// # Errors
    /// When the session is not open and connected, it is a socket for IPv4 and the link has no IPv4 address, or the kernel
    /// refuses.
    pub fn bind(&self, socket: &impl AsFd) -> Result<(), SocketError> {
        let interface = self.interface_for_sockets()?;
        let socket = SockRef::from(socket);
        // One for IPv6 may speak IPv4, too.
        if socket.domain().is_ok_and(|domain| domain == Domain::IPV4) {
            self.require_address(&interface, ANYWHERE)?;
        }
        self.bind_to(&interface, &socket)
    }

    fn interface_for_sockets(&self) -> Result<Interface, SocketError> {
        let snapshot = self.snapshot();
        let interface = snapshot.interface.filter(|_| snapshot.is_open);
        interface.ok_or_else(|| SocketError::NotConnected(self.configuration().identifier))
    }

    fn bind_to(&self, interface: &Interface, socket: &Socket) -> Result<(), SocketError> {
        socket.bind_device(Some(interface.name.as_bytes())).map_err(|source| SocketError::Kernel {
            action: "binding a socket to",
            interface: interface.name.clone(),
            source,
        })
    }

    /// From where the destination could be spoken to, there must be an address. What an event has told of is enough; the
    /// kernel may know of more.
    fn require_address(&self, interface: &Interface, destination: SocketAddr) -> Result<(), SocketError> {
        let host = destination.ip().to_canonical();
        let family = Family::of(host);
        let is_of_family = |address: &InterfaceAddress| address.is_usable() && Family::of(address.address) == family;
        if stays_on_the_link(host)
            || interface.addresses.iter().any(is_of_family)
            || kernel_has_source(&interface.name, destination)
        {
            return Ok(());
        }
        Err(SocketError::NoAddress { session: self.configuration().identifier, family })
    }

    /// The addresses of a host, as the name servers of this session's access point tell them, whatever programs of this
    /// machine ask otherwise: through systemd-resolved if it is there, else by questions of our own that leave by the access
    /// point. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// When the session is not open and connected, or the name servers have no answer.
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let snapshot = self.snapshot();
        let interface = snapshot.interface.filter(|_| snapshot.is_open);
        let interface = interface.ok_or_else(|| LookupError::NotConnected(self.configuration().identifier))?;
        Ok(netbearer_lookup::lookup(self.backend.names(), host, &interface).await?)
    }

    /// Opens a TCP connection through this session's access point. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// When the session is not open and connected, its link has no address of the destination's family, or the connection
    /// cannot be made.
    pub async fn connect_tcp(&self, address: SocketAddr) -> Result<TcpStream, SocketError> {
        let socket = self.tcp_socket(address)?;
        let failed = |source| self.socket_failure("connecting through", source);
        socket.set_nonblocking(true).map_err(failed)?;
        TcpSocket::from_std_stream(socket.into()).connect(address).await.map_err(failed)
    }

    /// A TCP socket bound to this session's access point, not connected yet.
    pub(crate) fn tcp_socket(&self, address: SocketAddr) -> Result<Socket, SocketError> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
            .map_err(|source| self.socket_failure("opening a socket for", source))?;
        let interface = self.interface_for_sockets()?;
        self.require_address(&interface, address)?;
        self.bind_to(&interface, &socket)?;
        Ok(socket)
    }

    pub(crate) fn socket_failure(&self, action: &'static str, source: std::io::Error) -> SocketError {
        SocketError::Kernel { action, interface: self.configuration().name, source }
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

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.end();
    }
}
