use std::{
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use netbearer_engine::Clock;
use netbearer_types::{
    Configuration, Failure, Interface, PropertyKey, PropertyValue, SessionEvent, SessionSnapshot, SessionState, Traffic,
};
use tokio::net::TcpStream;

use crate::{
    CallError, Events, LookupError, Roaming, SocketError,
    backend::{Backend, NewSession, SessionBackend},
    ballot::Ballot,
    outlet::Outlet,
    shared::Shared,
};

/// One interest in one configuration: open it to have the network, close it to give it back.
///
/// Making a session touches nothing; it only watches. Dropping it closes it. What happens is told by [`Session::events`];
/// the getters return the newest state known to this process.
#[derive(Debug)]
pub struct Session {
    // Declared first, so dropped first: by the time the service may end, it has heard of that.
    interest: Arc<dyn SessionBackend>,
    shared: Arc<Shared>,
    backend: Arc<dyn Backend>,
}

impl Session {
    pub(crate) fn new(backend: Arc<dyn Backend>, (interest, shared): NewSession) -> Self {
        Self { interest: Arc::from(interest), shared, backend }
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

    /// Takes the decisions about this session's roaming, until what is returned is dropped (semantics §5). What is offered is in
    /// [`Session::events`] all the same.
    ///
    /// # Errors
    /// [`CallError::NotSupported`] unless the session is on a service network or a user choice; [`CallError::RoamingTaken`] while
    /// there is another [`Roaming`] of this session.
    pub async fn roaming(&self) -> Result<Roaming, CallError> {
        let ballot = Ballot::new(&self.interest, &self.shared, &self.backend);
        Roaming::begin(ballot, self.interest.set_stakeholder(true)).await
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

    /// True if this session holds, and its link is up or it is roaming.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.read(|snapshot| snapshot.is_open)
    }

    /// The interface in use: there while the state is Connected, and while it is Roaming as long as the old link lives.
    #[must_use]
    pub fn interface(&self) -> Option<Interface> {
        self.snapshot().interface
    }

    /// The interface of the candidate that is tried; there during a trial.
    #[must_use]
    pub fn candidate_interface(&self) -> Option<Interface> {
        self.shared.read(|snapshot| snapshot.candidate_interface().cloned())
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

    /// What this session's own TCP sockets have carried, in octets of payload, whatever links they went by: those that were opened
    /// or bound through it. Payload that was sent again counts once. UDP is not counted; the end of
    /// what the other side sends may count as an octet; what a socket has carried that has just been
    /// closed is counted as soon as the kernel tells of its end, and not at all if it ended before the service knew of it.
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn own_traffic(&self) -> Result<Traffic, CallError> {
        self.interest.own_traffic().await
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

    /// Makes a socket use this session's access point, during a trial the candidate, whatever the default route is. Before it is
    /// connected; needs no privilege on a socket that is not bound to an interface yet. Such a socket cannot reach loopback
    /// (`SO_BINDTODEVICE`, `socket(7)`).
    ///
    /// When the session leaves that link, by roaming or as it is lost, the service aborts the socket, so that nobody waits in vain.
    /// That takes `CAP_NET_ADMIN`: a daemon has it; an embedded service of an ordinary user has not, and leaves the socket to
    /// time out by itself.
    ///
    /// # Errors
    /// When the session is not open or has no link, it is a socket for IPv4 and the link has no IPv4 address, or the kernel
    /// refuses.
    pub fn bind(&self, socket: &impl AsFd) -> Result<(), SocketError> {
        self.outlet()?.bind(socket)
    }

    /// Where its sockets leave the machine: by the candidate while one is tried, else by the link in use.
    pub(crate) fn outlet(&self) -> Result<Outlet<'_>, SocketError> {
        self.find_outlet().ok_or_else(|| {
            let identifier = self.configuration().identifier;
            if self.roams() { SocketError::Roaming(identifier) } else { SocketError::NotConnected(identifier) }
        })
    }

    fn find_outlet(&self) -> Option<Outlet<'_>> {
        let (interface, access_point, is_candidate) = self.shared.read(|snapshot| {
            let interface = snapshot.interface_for_sockets().cloned()?;
            Some((interface, snapshot.access_point_for_sockets().cloned(), snapshot.candidate_interface().is_some()))
        })?;
        let interest = Arc::downgrade(&self.interest);
        let outlet = Outlet::new(interface, access_point, &self.shared, self.backend.names(), interest);
        Some(outlet.of_candidate(is_candidate))
    }

    fn roams(&self) -> bool {
        self.shared.read(|snapshot| snapshot.is_open && snapshot.state == SessionState::Roaming)
    }

    /// The addresses of a host, as the name servers of this session's access point tell them, whatever programs of this
    /// machine ask otherwise: through systemd-resolved if it is there, else by questions of our own that leave by the access
    /// point. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// When the session is not open or has no link, or the name servers have no answer.
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let outlet = self.find_outlet().ok_or_else(|| {
            let identifier = self.configuration().identifier;
            if self.roams() { LookupError::Roaming(identifier) } else { LookupError::NotConnected(identifier) }
        });
        outlet?.lookup(host).await
    }

    /// Opens a TCP connection through this session's access point. Must be called on a tokio runtime. What becomes of it when the
    /// session leaves that link, [`Session::bind`] says.
    ///
    /// # Errors
    /// When the session is not open or has no link, that has no address of the destination's family, or the connection
    /// cannot be made.
    pub async fn connect_tcp(&self, address: SocketAddr) -> Result<TcpStream, SocketError> {
        self.outlet()?.connect_tcp(address).await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.end();
    }
}
