use std::io;

use netbearer_engine::Clock;
use netbearer_types::{Family, Moment};
use rtnetlink::{
    packet_core::{
        NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REPLACE, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN,
        NetlinkBuffer, NetlinkMessage,
    },
    packet_route::{
        RouteNetlinkMessage,
        address::AddressMessage,
        link::{LinkAttribute, LinkExtentMask, LinkMessage},
        route::RouteMessage,
        rule::RuleMessage,
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};
use rustix::net::sockopt;
use socket2::{SockFilter, SockRef};
use tokio::io::{Interest, unix::AsyncFd};

use crate::{
    Address, BootClock, Change, Dump, Link, Part, Route, RouterAnnouncement, Rule, address::packet_family, attributes,
    filter_code, registration::register,
};

/// No datagram of rtnetlink is larger: the kernel allocates at most 32 KiB for one.
const DATAGRAM_CAPACITY: usize = 64 * 1024;

/// An overrun alone makes nothing readable.
const READING: Interest = Interest::READABLE.add(Interest::ERROR);

/// `RTM_*` of `linux/rtnetlink.h`.
mod message_type {
    pub(super) const NEW_LINK: u16 = 16;
    pub(super) const DELETE_LINK: u16 = 17;
    pub(super) const NEW_ADDRESS: u16 = 20;
    pub(super) const DELETE_ADDRESS: u16 = 21;
    pub(super) const NEW_ROUTE: u16 = 24;
    pub(super) const DELETE_ROUTE: u16 = 25;
    pub(super) const NEW_RULE: u16 = 32;
    pub(super) const DELETE_RULE: u16 = 33;
    pub(super) const NEW_PREFIX: u16 = 52;
    pub(super) const NEW_USER_OPTION: u16 = 68;
    pub(super) const NEW_NETCONF: u16 = 80;
    pub(super) const DELETE_NEXT_HOP: u16 = 105;
}

/// What one message from the kernel says.
#[derive(Debug)]
pub(crate) enum Content {
    Change(Change),
    /// A link message that does not describe the link.
    LinkHint,
    /// A next-hop object is gone; routes through it went with it, unannounced.
    NextHopGone,
    /// A router was heard that announces a prefix; the kernel may have renewed its routes, without a word about them.
    PrefixHeard,
    /// Somebody has changed a reverse-path filter.
    FilterChanged,
    /// The dump ends here; the error number of one that failed half-way.
    Done(Option<i32>),
    /// The answer to a request: the error number, none for an acknowledgement.
    Answer(Option<i32>),
    /// The kernel says that it lost messages.
    Overrun,
    /// Nothing that is kept.
    Nothing,
}

/// One message from the kernel.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) content: Content,
    pub(crate) sequence: u32,
    /// The port of the request that this is the answer to or the consequence of.
    pub(crate) port: u32,
    /// The dump it belongs to is not consistent.
    pub(crate) interrupted: bool,
}

/// What reading a datagram led to.
pub(crate) enum Received<'buffer> {
    Messages(Messages<'buffer>),
    /// Messages were lost, or cut off.
    Overrun,
    /// Nothing more for now.
    Empty,
}

/// A socket of rtnetlink: many small reads, no allocation for each.
#[derive(Debug)]
pub(crate) struct NetlinkSocket {
    socket: AsyncFd<Socket>,
    port: u32,
    sequence: u32,
    buffer: Box<[u8]>,
}

impl NetlinkSocket {
    /// Opens a socket that hears `groups` (`RTNLGRP_*`) and has a receive buffer of `buffer_size` bytes, if the system
    /// allows that much.
    pub(crate) fn open(groups: &[u32], buffer_size: usize) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        // Older kernels have neither (4.20, 4.12), and do without.
        for refused in
            [socket.set_netlink_get_strict_chk(true), socket.set_ext_ack(true)].into_iter().filter_map(Result::err)
        {
            tracing::debug!(error = %refused, "a netlink socket option is not supported");
        }
        if sockopt::set_socket_recv_buffer_size_force(&socket, buffer_size).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, buffer_size)?;
        }
        if !groups.is_empty() {
            SockRef::from(&socket).attach_filter(&without_local_routes())?;
        }
        let mask = groups.iter().fold(0, |mask, group| mask | 1 << (group - 1));
        socket.bind(&SocketAddr::new(0, mask))?;
        let mut address = SocketAddr::new(0, 0);
        socket.get_address(&mut address)?;
        Ok(Self {
            socket: register(socket)?,
            port: address.port_number(),
            sequence: 0,
            buffer: vec![0; DATAGRAM_CAPACITY].into_boxed_slice(),
        })
    }

    /// The address of this socket, found in the answers to its requests.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Waits until something has come since the last wait. The caller reads until [`Received::Empty`] before it waits
    /// again.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.socket.ready(READING).await.map(|mut guard| guard.clear_ready())
    }

    /// Reads one datagram, without waiting.
    ///
    /// Lifetimes in it count from `now`.
    pub(crate) fn receive(&mut self, now: Moment) -> io::Result<Received<'_>> {
        let received = self.socket.get_ref().recv_from(&mut &mut self.buffer[..], libc::MSG_TRUNC);
        match received {
            // Only the kernel has port 0.
            Ok((_, sender)) if sender.port_number() != 0 => Ok(Received::Messages(Messages::new(&[], now))),
            Ok((length, _)) => Ok(self
                .buffer
                .get(..length)
                .map_or(Received::Overrun, |bytes| Received::Messages(Messages::new(bytes, now)))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Empty),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(Received::Overrun),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Received::Messages(Messages::new(&[], now))),
            Err(error) => Err(error),
        }
    }

    /// Asks for a link; the answer, with the same sequence number, is in the receive buffer when this returns. Waits for
    /// whoever is changing links in the kernel at this moment.
    pub(crate) fn ask_for_link(&mut self, index: u32) -> io::Result<u32> {
        let mut message = link_request();
        message.header.index = index;
        self.send(RouteNetlinkMessage::GetLink(message), 0)
    }

    /// Asks for a dump; its messages carry the same sequence number.
    pub(crate) fn ask_for_dump(&mut self, part: Part) -> io::Result<u32> {
        let message = match part {
            Part::Links => RouteNetlinkMessage::GetLink(link_request()),
            Part::Addresses(family) => {
                let mut message = AddressMessage::default();
                message.header.family = packet_family(family);
                RouteNetlinkMessage::GetAddress(message)
            }
            Part::Routes(family) => {
                let mut message = RouteMessage::default();
                message.header.address_family = packet_family(family);
                RouteNetlinkMessage::GetRoute(message)
            }
            Part::Rules(family) => {
                let mut message = RuleMessage::default();
                message.header.family = packet_family(family);
                RouteNetlinkMessage::GetRule(message)
            }
        };
        self.send(message, NLM_F_DUMP)
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<u32> {
        // 0 is the number of messages that answer nobody.
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.get_ref().send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        Ok(self.sequence)
    }
}

/// Leaves out news of the local route table, which repeats the addresses ([`Cache`](crate::Cache)): a third of what the kernel
/// says to a bring-up. Each piece of news has a datagram of its own; dumps have not, so this is for sockets that hear news.
fn without_local_routes() -> [SockFilter; 7] {
    use filter_code::{JUMP_IF_EQUAL, LOAD_BYTE, LOAD_HALF, RETURN};
    /// `RT_TABLE_LOCAL` of `linux/rtnetlink.h`.
    const LOCAL_TABLE: u32 = 255;
    /// Where `struct nlmsghdr` has the type, and where `struct rtmsg` behind it has the table.
    const TYPE: u32 = 4;
    const TABLE: u32 = 16 + 4;
    // Filters read in network order, netlink writes in the machine's.
    let kind = |kind: u16| u32::from(u16::from_be_bytes(kind.to_ne_bytes()));
    [
        SockFilter::new(LOAD_HALF, 0, 0, TYPE),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, kind(message_type::NEW_ROUTE)),
        SockFilter::new(JUMP_IF_EQUAL, 0, 2, kind(message_type::DELETE_ROUTE)),
        SockFilter::new(LOAD_BYTE, 0, 0, TABLE),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, LOCAL_TABLE),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

/// Statistics are half of a link message, and nobody here wants them.
fn link_request() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
    message
}

/// The messages of a datagram.
pub(crate) struct Messages<'buffer> {
    rest: &'buffer [u8],
    now: Moment,
}

impl<'buffer> Messages<'buffer> {
    pub(crate) fn new(datagram: &'buffer [u8], now: Moment) -> Self {
        Self { rest: datagram, now }
    }
}

impl Iterator for Messages<'_> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        let message = NetlinkBuffer::new_checked(self.rest).ok()?;
        let length = usize::try_from(message.length()).ok()?.next_multiple_of(4);
        self.rest = self.rest.get(length..).unwrap_or_default();
        let flags = message.flags();
        Some(Message {
            content: content(message.message_type(), flags, message.payload(), self.now),
            sequence: message.sequence_number(),
            port: message.port_number(),
            interrupted: flags & NLM_F_DUMP_INTR != 0,
        })
    }
}

/// What a datagram of rtnetlink says, as the watcher reads it: one change for each message that describes something kept.
/// Lifetimes count from `now`. Never fails, whatever the octets.
#[must_use]
pub fn changes_in(datagram: &[u8], now: Moment) -> Vec<Change> {
    let contents = Messages::new(datagram, now).map(|message| message.content);
    contents
        .filter_map(|content| match content {
            Content::Change(change) => Some(change),
            _ => None,
        })
        .collect()
}

fn content(kind: u16, flags: u16, payload: &[u8], now: Moment) -> Content {
    let change = match kind {
        message_type::NEW_LINK => {
            Link::decode(payload).map_or(Content::LinkHint, |link| Content::Change(Change::Link(link)))
        }
        message_type::DELETE_LINK => {
            Link::decode(payload).map_or(Content::LinkHint, |link| Content::Change(Change::LinkGone(link.index)))
        }
        message_type::NEW_ADDRESS => kept(Address::decode(payload, now).map(Change::Address)),
        message_type::DELETE_ADDRESS => {
            kept(Address::decode(payload, now).map(|address| Change::AddressGone(address.key())))
        }
        message_type::NEW_ROUTE => {
            kept(Route::decode(payload, now).map(|route| Change::Route { route, replaces: flags & NLM_F_REPLACE != 0 }))
        }
        message_type::DELETE_ROUTE => kept(Route::decode(payload, now).map(Change::RouteGone)),
        message_type::NEW_RULE => kept(Rule::decode(payload).map(Change::Rule)),
        message_type::DELETE_RULE => kept(Rule::decode(payload).map(Change::RuleGone)),
        message_type::NEW_USER_OPTION => kept(RouterAnnouncement::decode(payload).map(Change::Announcement)),
        message_type::NEW_PREFIX => Content::PrefixHeard,
        message_type::DELETE_NEXT_HOP => Content::NextHopGone,
        message_type::NEW_NETCONF if is_about_filter_alone(payload) => Content::FilterChanged,
        NLMSG_DONE => Content::Done(error_number(payload)),
        NLMSG_ERROR => Content::Answer(error_number(payload)),
        NLMSG_OVERRUN => Content::Overrun,
        _ => Content::Nothing,
    };
    if matches!(change, Content::Nothing) {
        tracing::trace!(kind, "message of no use");
    }
    change
}

/// A change of the reverse-path filter is told alone; of an interface that is new everything is told, and it is seen anyway
/// (`devinet_conf_proc` and `inet_netconf_fill_devconf` of `net/ipv4/devinet.c`).
fn is_about_filter_alone(payload: &[u8]) -> bool {
    /// `struct netconfmsg` of `linux/netconf.h`, filled up to four octets.
    const HEADER_LENGTH: usize = 4;
    /// `NETCONFA_IFINDEX` and `NETCONFA_RP_FILTER`.
    const INTERFACE: u16 = 1;
    const REVERSE_PATH_FILTER: u16 = 3;
    let attributes = payload.get(HEADER_LENGTH..).unwrap_or_default();
    let mut kinds =
        attributes::attributes(attributes, |attribute| Ok(attribute.kind())).filter(|kind| *kind != INTERFACE);
    kinds.next() == Some(REVERSE_PATH_FILTER) && kinds.next().is_none()
}

fn kept(change: Option<Change>) -> Content {
    change.map_or(Content::Nothing, Content::Change)
}

/// The kernel writes error numbers negated.
fn error_number(payload: &[u8]) -> Option<i32> {
    let number = payload.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))?;
    (number != 0).then_some(number.saturating_neg())
}

/// A part as a dump gave it.
pub(crate) struct DumpAnswer {
    pub(crate) dump: Dump,
    /// It changed while it was dumped, every time: it may lack something.
    pub(crate) interrupted: bool,
}

impl NetlinkSocket {
    /// Dumps a part, again if it changed meanwhile, at most `attempts` times.
    pub(crate) async fn dump(&mut self, part: Part, attempts: u32, clock: &BootClock) -> io::Result<DumpAnswer> {
        let mut answer = DumpAnswer { dump: Dump::empty(part), interrupted: true };
        for _ in 0..attempts {
            answer = self.dump_once(part, clock).await?;
            if !answer.interrupted {
                break;
            }
            tracing::debug!(?part, "changed while it was dumped");
        }
        Ok(answer)
    }

    async fn dump_once(&mut self, part: Part, clock: &BootClock) -> io::Result<DumpAnswer> {
        let mut answer = DumpAnswer { dump: Dump::empty(part), interrupted: false };
        let sequence = self.ask_for_dump(part)?;
        loop {
            match self.receive(clock.now())? {
                Received::Empty => self.readable().await?,
                Received::Overrun => answer.interrupted = true,
                Received::Messages(messages) => {
                    // The rest of a dump that nobody waited for to its end carries another number.
                    for message in messages.filter(|message| message.sequence == sequence) {
                        answer.interrupted |= message.interrupted;
                        match message.content {
                            Content::Change(change) => answer.dump.add(change),
                            Content::Done(None) | Content::Answer(None) => return Ok(answer),
                            Content::Done(Some(number)) | Content::Answer(Some(number)) => {
                                return dump_error(part, number).map(|()| answer);
                            }
                            Content::Overrun => answer.interrupted = true,
                            Content::LinkHint
                            | Content::NextHopGone
                            | Content::PrefixHeard
                            | Content::FilterChanged
                            | Content::Nothing => {}
                        }
                    }
                }
            }
        }
    }
}

/// A kernel without IPv6 or without policy rules has none of them.
fn dump_error(part: Part, number: i32) -> io::Result<()> {
    match (part, number) {
        (Part::Links | Part::Addresses(Family::V4) | Part::Routes(Family::V4), _) => {}
        (_, libc::EOPNOTSUPP | libc::EAFNOSUPPORT) => return Ok(()),
        _ => {}
    }
    Err(io::Error::from_raw_os_error(number))
}
