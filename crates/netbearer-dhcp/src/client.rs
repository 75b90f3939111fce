use std::{
    collections::VecDeque,
    mem::{Discriminant, discriminant},
    net::Ipv4Addr,
    time::Duration,
};

use dhcproto::v4::MessageType;
use netbearer_types::Moment;
use tracing::debug;

use crate::{
    ClientConfiguration, Event, Exchange, Lease, LossReason, PacketError, State, Transmit,
    exchange::{delay_with_lease, delay_without_lease},
    outgoing::Outgoing,
    random::Random,
    reply::{Reply, ReplyKind, is_host},
};

/// REQUESTs for an offered address before the offer is taken for void, some four seconds in all. RFC 2131 §3.1 names four
/// times as an example; ours begin closer together.
const REQUESTING_TRIES: u32 = 6;

/// Refusals further apart than this are no series.
const REFUSALS_FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Conflicts after which addresses are tried more slowly still (`MAX_CONFLICTS`, RFC 5227 §1.1).
const MOST_CONFLICTS: usize = 10;

/// The least time between addresses that are in use by others (RFC 2131 §3.1.5), and the same after many conflicts
/// (`RATE_LIMIT_INTERVAL`, RFC 5227 §1.1).
const DELAY_AFTER_CONFLICT: Duration = Duration::from_secs(10);
const DELAY_AFTER_MANY_CONFLICTS: Duration = Duration::from_secs(60);

/// Addresses in use by others that are kept in mind.
const MOST_DECLINED: usize = 256;

/// `MIN_V6ONLY_WAIT` (RFC 8925 §3.4).
const SHORTEST_IPV6_ONLY_WAIT: Duration = Duration::from_secs(300);

/// REQUESTs for a remembered address. Few, as a server that does not know the address stays silent (RFC 2131 §4.3.2).
const REBOOTING_TRIES: u32 = 4;

/// A DHCPv4 client on one interface, for one stay on one network.
///
/// After any call that takes a moment, fetch what is to be done: messages until [`Client::poll_transmit`] has none,
/// events until [`Client::poll_event`] has none, and the deadline from [`Client::poll_timeout`]. Nothing grows if nobody
/// fetches: at most one message and four events wait, and newer ones overtake.
///
/// When the carrier was lost, the network may be another one: drop the client and begin with a new one that remembers
/// the lease.
#[derive(Debug)]
pub struct Client {
    configuration: ClientConfiguration,
    random: Random,
    state: State,
    /// When the present search for a lease, or its renewal, began: `secs` counts from here.
    began_at: Moment,
    /// The address to suggest to servers, as it was ours before.
    preferred_address: Option<Ipv4Addr>,
    /// The remembered address, which may be in use already, until a server has had its say.
    unconfirmed_address: Option<Ipv4Addr>,
    /// Refusals in the present series, and when the last one came.
    refusals: u32,
    last_refusal_at: Option<Moment>,
    /// Addresses that others use, the oldest first. They are neither asked for nor taken.
    declined: VecDeque<Ipv4Addr>,
    /// The kinds of unacceptable answers that were told of in the present exchange.
    unacceptable_told: Vec<Discriminant<PacketError>>,
    transmit: Option<Transmit>,
    events: VecDeque<Event>,
}

impl Client {
    /// A client that does nothing until it is started.
    #[must_use]
    pub fn new(configuration: ClientConfiguration, now: Moment) -> Self {
        Self {
            random: Random::new(configuration.seed),
            configuration,
            state: State::Init,
            began_at: now,
            preferred_address: None,
            unconfirmed_address: None,
            refusals: 0,
            last_refusal_at: None,
            declined: VecDeque::new(),
            unacceptable_told: Vec::new(),
            transmit: None,
            events: VecDeque::new(),
        }
    }

    /// A client that has this lease already, as of a process that is gone. It is kept as if this client had acquired it, and
    /// may be [confirmed](Self::confirm).
    #[must_use]
    pub fn with_lease(configuration: ClientConfiguration, lease: Lease, now: Moment) -> Self {
        Self { state: State::Bound(lease), ..Self::new(configuration, now) }
    }

    /// Begins to ask for a lease: for the remembered one if there is one, else for any. Without effect on a client that
    /// is neither new nor released.
    pub fn start(&mut self, now: Moment) {
        if !matches!(self.state, State::Init | State::Released) {
            return;
        }
        self.began_at = now;
        self.refusals = 0;
        self.declined.clear();
        self.preferred_address =
            self.configuration.remembered.take().map(|lease| lease.address).filter(|address| is_host(*address));
        self.unconfirmed_address = self.preferred_address;
        match self.preferred_address {
            Some(address) => {
                let exchange = self.new_exchange(now);
                self.enter(State::Rebooting { address, exchange }, "started with a remembered lease");
                self.send(now);
            }
            None => self.discover("started", now),
        }
    }

    /// Has the lease confirmed at once, by whichever server is there, as after a suspend, which nobody can tell what network
    /// it ended on: asks as a client does that starts with a remembered lease (RFC 2131 §3.2). A server that agrees prolongs
    /// it ([`Event::Renewed`]); one that does not ends it ([`Event::Lost`]); if nobody answers within a second it goes on
    /// ([`Event::Kept`]). False if there is no lease to confirm.
    pub fn confirm(&mut self, now: Moment) -> bool {
        if self.expire(now) {
            return false;
        }
        let Some(lease) = self.state.lease().cloned() else { return false };
        self.began_at = now;
        let exchange = self.new_exchange(now);
        self.enter(State::Confirming { lease, exchange }, "asked to confirm the lease");
        self.send(now);
        true
    }

    /// Gives the lease back, if there is one, and ends all activity. The server does not confirm it (RFC 2131 §4.4.6).
    /// Events not fetched yet are dropped, and none follows.
    pub fn release(&mut self, now: Moment) {
        let lease = self.state.lease().filter(|lease| lease.term.expires_at().is_none_or(|end| now < end)).cloned();
        self.enter(State::Released, "released");
        self.unconfirmed_address = None;
        self.events.clear();
        if let Some(lease) = lease {
            self.part(MessageType::Release, &lease);
        }
    }

    /// The address is in use by another host on the link (`Conflict` of an [`AddressGuard`]): tells the server so, and
    /// asks for another. The address is neither asked for nor taken again before the next start. The caller must
    /// take it off the interface at once, and must not remember its lease.
    ///
    /// Of a remembered address that no server has confirmed yet no server is told, as none is known. Without any address
    /// nothing happens.
    ///
    /// The first time the search begins again after a blink, later after ten seconds and more.
    ///
    /// [`AddressGuard`]: crate::AddressGuard
    pub fn decline(&mut self, now: Moment) {
        let lease = self.state.lease().cloned();
        let Some(address) = lease.as_ref().map(|lease| lease.address).or(self.unconfirmed_address) else { return };
        if self.declined.len() == MOST_DECLINED {
            self.declined.pop_front();
        }
        self.declined.push_back(address);
        if self.expire(now) {
            return;
        }
        let until = now + self.delay_after_conflict();
        self.began_at = until;
        self.preferred_address = None;
        self.enter(State::Waiting { until }, "another host uses the address");
        match lease {
            Some(lease) => {
                self.part(MessageType::Decline, &lease);
                self.tell(Event::Lost(LossReason::AddressInUse));
            }
            None => self.withdraw(LossReason::AddressInUse),
        }
    }

    /// Takes a DHCP message that arrived at port 68, without UDP and IP headers.
    ///
    /// # Errors
    /// Why the message was ignored. That is ordinary: packet sockets see the replies to other clients too.
    pub fn handle_packet(&mut self, packet: &[u8], now: Moment) -> Result<(), PacketError> {
        // Nothing may prolong a lease that has ended, even if the timeout is yet to be handled.
        self.expire(now);
        let exchange = *self.state.exchange().ok_or(PacketError::NotExpected)?;
        let reply = Reply::parse(packet, exchange.transaction_identifier, &self.configuration)?;
        let server = reply.server_identifier;
        self.handle_reply(&reply, exchange, now).inspect_err(|reason| self.tell_unacceptable(server, *reason))
    }

    fn handle_reply(&mut self, reply: &Reply, exchange: Exchange, now: Moment) -> Result<(), PacketError> {
        if let Some(seconds) = reply.ipv6_only_seconds().filter(|_| self.may_forgo(reply)) {
            self.forgo(seconds, now);
            return Ok(());
        }
        match (&self.state, reply.kind) {
            (State::Selecting(_), ReplyKind::Offer | ReplyKind::Acknowledgement)
                if self.declined.contains(&reply.address) =>
            {
                return Err(PacketError::Declined(reply.address));
            }
            (State::Selecting(_), ReplyKind::Offer) => {
                reply.lease(exchange.sent_at, &mut self.random)?;
                self.request(reply, exchange, now);
            }
            (State::Selecting(_), ReplyKind::Acknowledgement) if self.configuration.rapid_commit => {
                if !reply.is_rapid_commit() {
                    return Err(PacketError::NotCommitted);
                }
                let lease = granted(reply, reply.address, &exchange, &mut self.random, now)?;
                self.acquire(lease, "a server granted a lease at once");
            }
            (State::Requesting { server_identifier, .. }, ReplyKind::Acknowledgement | ReplyKind::Refusal)
                if *server_identifier != reply.server_identifier =>
            {
                return Err(PacketError::Server(reply.server_identifier));
            }
            (State::Requesting { address, .. } | State::Rebooting { address, .. }, ReplyKind::Acknowledgement) => {
                let lease = granted(reply, *address, &exchange, &mut self.random, now)?;
                self.acquire(lease, "a server granted a lease");
            }
            (State::Requesting { address, .. } | State::Rebooting { address, .. }, ReplyKind::Refusal) => {
                let is_remembered = self.unconfirmed_address == Some(*address);
                self.refused(now);
                if is_remembered {
                    self.withdraw(LossReason::RefusedByServer(reply.text()));
                }
            }
            (
                State::Renewing { lease: old, .. }
                | State::Rebinding { lease: old, .. }
                | State::Confirming { lease: old, .. },
                ReplyKind::Acknowledgement,
            ) => {
                let lease = granted(reply, old.address, &exchange, &mut self.random, now)?;
                let changed = lease.differs_from(old);
                self.enter(State::Bound(lease.clone()), "a server prolonged the lease");
                self.tell(Event::Renewed { lease, changed });
            }
            (State::Renewing { lease, .. }, ReplyKind::Refusal)
                if lease.server_identifier != reply.server_identifier =>
            {
                return Err(PacketError::Server(reply.server_identifier));
            }
            (State::Renewing { .. } | State::Rebinding { .. } | State::Confirming { .. }, ReplyKind::Refusal) => {
                self.began_at = now;
                self.refused(now);
                self.tell(Event::Lost(LossReason::RefusedByServer(reply.text())));
            }
            _ => return Err(PacketError::MessageType),
        }
        Ok(())
    }

    /// Does what is due. After it, [`Client::poll_timeout`] lies ahead of `now`. Harmless when nothing is due.
    pub fn handle_timeout(&mut self, now: Moment) {
        if self.poll_timeout().is_none_or(|timeout| now < timeout) || self.expire(now) {
            return;
        }
        match &self.state {
            State::Waiting { .. } => self.discover("the wait is over", now),
            State::Requesting { exchange, .. } if exchange.tries >= REQUESTING_TRIES => {
                self.discover("the server that offered does not answer", now);
            }
            State::Rebooting { exchange, .. } if exchange.tries >= REBOOTING_TRIES => {
                self.discover("no server confirms the remembered lease", now);
            }
            State::Confirming { lease, exchange } if exchange.tries >= REBOOTING_TRIES => {
                self.keep(lease.clone(), now);
            }
            State::Bound(lease) | State::Renewing { lease, .. }
                if lease.term.rebind_at().is_some_and(|rebind_at| rebind_at <= now) =>
            {
                self.rebind(lease.clone(), now);
            }
            State::Bound(lease) => self.renew(lease.clone(), now),
            _ => self.send(now),
        }
    }

    /// When [`Client::handle_timeout`] is to be called; none if time changes nothing: before the start, after the
    /// release, and with a lease for ever.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.state.timeout()
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmit.take()
    }

    /// The next piece of news.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Where the client is.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The lease, if there is one. Its address may be used until its end.
    #[must_use]
    pub const fn lease(&self) -> Option<&Lease> {
        self.state.lease()
    }

    fn discover(&mut self, cause: &'static str, now: Moment) {
        let exchange = self.new_exchange(now);
        self.enter(State::Selecting(exchange), cause);
        self.send(now);
    }

    /// Takes an offer. The transaction goes on under the same number (RFC 2131 §4.4.1).
    fn request(&mut self, offer: &Reply, exchange: Exchange, now: Moment) {
        let state = State::Requesting {
            address: offer.address,
            server_identifier: offer.server_identifier,
            exchange: Exchange { tries: 0, ..exchange },
        };
        self.enter(state, "a server made an acceptable offer");
        self.send(now);
    }

    fn acquire(&mut self, lease: Lease, cause: &'static str) {
        self.unconfirmed_address = None;
        self.enter(State::Bound(lease.clone()), cause);
        self.tell(Event::Acquired(lease));
    }

    /// Takes the remembered address back, should it be in use.
    fn withdraw(&mut self, reason: LossReason) {
        self.unconfirmed_address = None;
        self.tell(Event::NotConfirmed(reason));
    }

    /// True if the reply comes early enough to do without IPv4 because of it. Later ones change nothing: an address in use
    /// is used until its end.
    const fn may_forgo(&self, reply: &Reply) -> bool {
        self.configuration.ipv6_only
            && matches!(
                (&self.state, reply.kind),
                (State::Selecting(_), ReplyKind::Offer)
                    | (State::Selecting(_) | State::Rebooting { .. }, ReplyKind::Acknowledgement)
            )
    }

    /// Does without IPv4 for a while (RFC 8925 §3.2).
    fn forgo(&mut self, seconds: u32, now: Moment) {
        let wait = Duration::from_secs(seconds.into()).max(SHORTEST_IPV6_ONLY_WAIT);
        let until = now + wait;
        self.began_at = until;
        self.unconfirmed_address = None;
        self.enter(State::Waiting { until }, "the network prefers IPv6 alone");
        self.tell(Event::Ipv6Only { wait });
    }

    /// Nobody confirmed the lease, and nobody refused it (RFC 2131 §3.2, 4).
    fn keep(&mut self, lease: Lease, now: Moment) {
        self.enter(State::Bound(lease.clone()), "no server was there to confirm the lease");
        self.tell(Event::Kept(lease));
        // The time to renew may have come meanwhile.
        self.handle_timeout(now);
    }

    fn renew(&mut self, lease: Lease, now: Moment) {
        self.began_at = now;
        let exchange = self.new_exchange(now);
        self.enter(State::Renewing { lease, exchange }, "it is time to renew");
        self.send(now);
    }

    fn rebind(&mut self, lease: Lease, now: Moment) {
        if matches!(self.state, State::Bound(_)) {
            self.began_at = now;
        }
        let exchange = self.new_exchange(now);
        self.enter(State::Rebinding { lease, exchange }, "it is time to rebind");
        self.send(now);
    }

    /// Starts over after a refusal: at once after the first, as the network may just have changed, and ever more slowly
    /// after the next ones, so that a server that refuses for ever is not besieged (RFC 2131 §3.1 leaves the pace open).
    /// A lease in between changes nothing: there are servers that grant and refuse in turn.
    fn refused(&mut self, now: Moment) {
        let is_series = self.last_refusal_at.is_some_and(|last| now - last < REFUSALS_FORGOTTEN_AFTER);
        self.refusals = if is_series { self.refusals.saturating_add(1) } else { 1 };
        self.last_refusal_at = Some(now);
        self.preferred_address = None;
        match self.refusals.checked_sub(2) {
            None => self.discover("a server refused", now),
            Some(repetitions) => {
                let until = now + delay_without_lease(repetitions, &mut self.random);
                self.enter(State::Waiting { until }, "a server refused again");
            }
        }
    }

    /// True if the lease has ended by now, and the search for another has begun.
    fn expire(&mut self, now: Moment) -> bool {
        let Some(lease) =
            self.state.lease().filter(|lease| lease.term.expires_at().is_some_and(|expires_at| expires_at <= now))
        else {
            return false;
        };
        self.preferred_address = Some(lease.address).filter(|address| !self.declined.contains(address));
        self.began_at = now;
        self.discover("the lease expired", now);
        self.tell(Event::Lost(LossReason::Expired));
        true
    }

    /// Hardly any after the first conflict: as the address is not taken again, the search goes on to another one.
    fn delay_after_conflict(&mut self) -> Duration {
        let least = match self.declined.len() {
            ..=1 => return delay_without_lease(0, &mut self.random),
            2..=MOST_CONFLICTS => DELAY_AFTER_CONFLICT,
            _ => DELAY_AFTER_MANY_CONFLICTS,
        };
        self.random.prolong(least)
    }

    /// The one place where the state changes. A message that was not fetched belongs to the state that is left.
    fn enter(&mut self, state: State, cause: &'static str) {
        debug!(from = self.state.name(), to = state.name(), cause, "DHCP client changes state");
        self.state = state;
        self.transmit = None;
    }

    fn new_exchange(&mut self, now: Moment) -> Exchange {
        self.unacceptable_told.clear();
        Exchange::new(self.random.transaction_identifier(), now)
    }

    /// Puts the question of the present state, for the first time or again.
    fn send(&mut self, now: Moment) {
        let delay = match &self.state {
            State::Selecting(exchange)
            | State::Requesting { exchange, .. }
            | State::Rebooting { exchange, .. }
            | State::Confirming { exchange, .. } => delay_without_lease(exchange.tries, &mut self.random),
            State::Renewing { lease, .. } => delay_until(lease.term.rebind_at(), lease, now),
            State::Rebinding { lease, .. } => delay_until(lease.term.expires_at(), lease, now),
            State::Init | State::Waiting { .. } | State::Bound(_) | State::Released => return,
        };
        // RFC 2131 §4.4.1: the REQUEST repeats the value of the DISCOVER.
        let keeps_seconds = matches!(self.state, State::Requesting { .. });
        let Some(exchange) = self.state.exchange_mut() else { return };
        if !keeps_seconds {
            exchange.seconds = u16::try_from((now - self.began_at).as_secs()).unwrap_or(u16::MAX);
        }
        exchange.sent(now, delay);
        let mut message = Outgoing {
            message_type: MessageType::Request,
            transaction_identifier: exchange.transaction_identifier,
            seconds: exchange.seconds,
            client_address: Ipv4Addr::UNSPECIFIED,
            requested_address: None,
            server_identifier: None,
        };
        let mut destination = Ipv4Addr::BROADCAST;
        match &self.state {
            State::Selecting(_) => {
                message.message_type = MessageType::Discover;
                message.requested_address = self.preferred_address;
            }
            State::Requesting { address, server_identifier, .. } => {
                message.requested_address = Some(*address);
                message.server_identifier = Some(*server_identifier);
            }
            State::Rebooting { address, .. } => message.requested_address = Some(*address),
            State::Confirming { lease, .. } => message.requested_address = Some(lease.address),
            State::Renewing { lease, .. } => {
                message.client_address = lease.address;
                destination = lease.server_identifier;
            }
            State::Rebinding { lease, .. } => message.client_address = lease.address,
            State::Init | State::Waiting { .. } | State::Bound(_) | State::Released => {}
        }
        self.transmit(&message, destination);
    }

    /// Tells the server that the lease is not wanted any more, and does not wait for an answer (RFC 2131 table 5). A release
    /// comes from the address, a declination cannot.
    fn part(&mut self, message_type: MessageType, lease: &Lease) {
        let declines = message_type == MessageType::Decline;
        let message = Outgoing {
            message_type,
            transaction_identifier: self.random.transaction_identifier(),
            seconds: 0,
            client_address: if declines { Ipv4Addr::UNSPECIFIED } else { lease.address },
            requested_address: declines.then_some(lease.address),
            server_identifier: Some(lease.server_identifier),
        };
        self.transmit(&message, if declines { Ipv4Addr::BROADCAST } else { lease.server_identifier });
    }

    fn transmit(&mut self, message: &Outgoing, destination: Ipv4Addr) {
        self.transmit = message.encode(&self.configuration).map(|payload| Transmit {
            source: message.client_address,
            destination,
            payload,
        });
    }

    fn tell_unacceptable(&mut self, server: Ipv4Addr, reason: PacketError) {
        let kind = discriminant(&reason);
        if reason.is_unacceptable_answer() && !self.unacceptable_told.contains(&kind) {
            self.unacceptable_told.push(kind);
            self.tell(Event::Refused { server, reason });
        }
    }

    /// Queues news, as few as tell the whole truth: nothing that came before a loss matters any more, a refusal or a wait
    /// only as long as nothing came after it, and what was renewed before anybody heard of it was acquired as it is now.
    fn tell(&mut self, event: Event) {
        self.events.retain(|waiting| !matches!(waiting, Event::Refused { .. } | Event::Ipv6Only { .. }));
        match (event, self.events.back_mut()) {
            (Event::Renewed { lease, .. }, Some(Event::Acquired(waiting))) => *waiting = lease,
            (Event::Renewed { lease, changed }, Some(Event::Renewed { lease: waiting, changed: waiting_changed })) => {
                *waiting = lease;
                *waiting_changed |= changed;
            }
            (event, _) => {
                if matches!(event, Event::Lost(_)) {
                    self.events.clear();
                }
                self.events.push_back(event);
            }
        }
    }
}

/// The lease that an acknowledgement grants, if it is for the address that was asked for and has not ended yet.
///
/// It counts from the last REQUEST: an earlier one may have been the one that is answered, but the last one has prolonged
/// the lease again.
fn granted(
    reply: &Reply,
    address: Ipv4Addr,
    exchange: &Exchange,
    random: &mut Random,
    now: Moment,
) -> Result<Lease, PacketError> {
    if reply.address != address {
        return Err(PacketError::OtherAddress(reply.address));
    }
    let lease = reply.lease(exchange.sent_at, random)?;
    if lease.term.expires_at().is_some_and(|expires_at| expires_at <= now) {
        return Err(PacketError::NoTime);
    }
    Ok(lease)
}

fn delay_until(limit: Option<Moment>, lease: &Lease, now: Moment) -> Duration {
    let until = |end: Option<Moment>, start| end.unwrap_or(start) - start;
    delay_with_lease(until(limit, now), until(lease.term.expires_at(), lease.acquired_at))
}
