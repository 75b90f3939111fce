use std::{
    collections::BTreeMap,
    future::{self, Future, Ready},
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use rtnetlink::{
    packet_core::{
        ErrorMessage, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    },
    packet_route::{
        RouteNetlinkMessage,
        address::AddressAttribute,
        link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage},
        route::RouteScope,
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};

use crate::{
    AddressKey, AddressSpec, RequestError, RouteSpec, RuleSpec, address::identity, asking_socket::receive_from_kernel,
};

/// How the kernel makes the link-local IPv6 address of a link (`IFLA_INET6_ADDR_GEN_MODE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressGeneration {
    /// Not at all.
    None,
    /// From the hardware address (RFC 4291 appendix A).
    Eui64,
}

/// Larger than any acknowledgement: with `NETLINK_CAP_ACK` it does not repeat the request.
const ACKNOWLEDGEMENT_CAPACITY: usize = 8 * 1024;
/// `NLMSG_ALIGNTO` of `linux/netlink.h`, in octets.
const MESSAGE_ALIGNMENT: usize = 4;

/// Asks the kernel for changes, and hears what it says to each. Needs `CAP_NET_ADMIN`. Cheap to clone.
///
/// It has a socket of its own, so that no flood of events eats an acknowledgement.
///
/// The kernel carries a request of rtnetlink out within the system call that sends it, and its acknowledgement can be
/// read when that returns. So each function has asked and heard before it returns, in the order of the calls; the future
/// only holds the answer. A few microseconds each, or as long as the driver takes to start its device, or as somebody
/// else holds the kernel's lock of network configuration; the calling thread waits that long.
#[derive(Clone, Debug)]
pub struct Requests {
    socket: Arc<Mutex<RequestSocket>>,
}

#[derive(Debug)]
struct RequestSocket {
    socket: Socket,
    sequence: u32,
}

impl Requests {
    /// Opens the socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        // Older kernels (4.12) have no explanations.
        for refused in [socket.set_ext_ack(true), socket.set_cap_ack(true)].into_iter().filter_map(Result::err) {
            tracing::debug!(error = %refused, "a netlink socket option is not supported");
        }
        socket.bind_auto()?;
        Ok(Self { socket: Arc::new(Mutex::new(RequestSocket { socket, sequence: 0 })) })
    }

    /// Sets a link administratively up or down.
    pub fn set_link_up(&self, index: u32, up: bool) -> impl Future<Output = Result<(), RequestError>> + Send + use<> {
        let mut message = link(index);
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        message.header.change_mask = LinkFlags::Up;
        let direction = if up { "up" } else { "down" };
        self.submit(|| format!("set interface {index} {direction}"), RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Sets the maximum transmission unit of a link, in bytes.
    pub fn set_mtu(&self, index: u32, mtu: u32) -> impl Future<Output = Result<(), RequestError>> + Send + use<> {
        let mut message = link(index);
        message.attributes = vec![LinkAttribute::Mtu(mtu)];
        self.submit(|| format!("set the MTU of interface {index} to {mtu}"), RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Says how the link-local IPv6 address of a link is made, from the next time it goes up.
    pub fn set_ipv6_address_generation(
        &self,
        index: u32,
        generation: AddressGeneration,
    ) -> impl Future<Output = Result<(), RequestError>> + Send + use<> {
        let mode = match generation {
            AddressGeneration::None => In6AddrGenMode::None,
            AddressGeneration::Eui64 => In6AddrGenMode::Eui64,
        };
        let mut message = link(index);
        message.attributes =
            vec![LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(mode)])])];
        self.submit(
            || format!("set the IPv6 address generation of interface {index} to {generation:?}"),
            RouteNetlinkMessage::SetLink(message),
            0,
        )
    }

    /// Adds an address; [`RequestError::is_exists`] if the interface has it.
    pub fn add_address(&self, address: &AddressSpec) -> impl Future<Output = Result<(), RequestError>> + Send + use<> {
        self.add(Addition::Address(address))
    }

    /// Adds an address, or gives the one there is new lifetimes: renews it.
    pub fn replace_address(
        &self,
        address: &AddressSpec,
    ) -> impl Future<Output = Result<(), RequestError>> + Send + use<> {
        self.add(Addition::RenewedAddress(address))
    }

    /// Removes an address, whoever made it; [`RequestError::is_gone`] if it is not there.
    pub fn delete_address(&self, key: AddressKey) -> impl Future<Output = Result<(), RequestError>> + Send + use<> {
        let mut message = identity(key.index, key.address, key.prefix_length);
        if let Some(peer) = key.peer {
            message.attributes = vec![AddressAttribute::Local(key.address), AddressAttribute::Address(peer)];
        }
        self.submit(
            || format!("remove address {}/{} from interface {}", key.address, key.prefix_length, key.index),
            RouteNetlinkMessage::DelAddress(message),
            0,
        )
    }

    /// Adds a route; [`RequestError::is_exists`] if the table has one to the same destination with the same metric.
    pub fn add_route(&self, route: &RouteSpec) -> impl Future<Output = Result<(), RequestError>> + Send + use<> {
        self.add(Addition::Route(route))
    }

    /// Adds a route, or puts it in the place of the one to the same destination with the same metric, without a moment
    /// between. Whose that was is not asked: in tables that are not ours use [`Requests::add_route`].
    pub fn replace_route(&self, route: &RouteSpec) -> impl Future<Output = Result<(), RequestError>> + Send + use<> {
        self.add(Addition::ReplacingRoute(route))
    }

    /// Removes a route of ours; [`RequestError::is_gone`] if there is none.
    pub fn delete_route(&self, route: &RouteSpec) -> impl Future<Output = Result<(), RequestError>> + Send + use<> {
        let mut message = route.message();
        // Matches every scope.
        message.header.scope = RouteScope::NoWhere;
        self.submit(|| format!("remove {}", words(route)), RouteNetlinkMessage::DelRoute(message), 0)
    }

    /// Adds a rule; [`RequestError::is_exists`] if the very same is there.
    pub fn add_rule(&self, rule: &RuleSpec) -> impl Future<Output = Result<(), RequestError>> + Send + use<> {
        self.add(Addition::Rule(rule))
    }

    /// Removes a rule of ours; [`RequestError::is_gone`] if there is none.
    pub fn delete_rule(&self, rule: &RuleSpec) -> impl Future<Output = Result<(), RequestError>> + Send + use<> {
        self.submit(
            || format!("remove {:?} rule {}", rule.family, rule.priority),
            RouteNetlinkMessage::DelRule(rule.message()),
            0,
        )
    }

    /// Asks for all of these by one system call, in this order, and tells what the kernel said to each. One that is refused
    /// does not keep the kernel from those after it.
    #[must_use]
    pub fn add_together(&self, additions: &[Addition<'_>]) -> Vec<Result<(), RequestError>> {
        let messages = additions.iter().map(Addition::message).collect();
        let refusals = self.socket.lock().unwrap_or_else(PoisonError::into_inner).ask_together(messages);
        let told = |(position, addition): (usize, &Addition<'_>)| match &refusals {
            Ok(refusals) => match refusals.get(&position) {
                Some(refusal) => Err(RequestError::refused(addition.words(), refusal)),
                None => Ok(()),
            },
            Err(error) => Err(RequestError::unheard(addition.words(), copy(error))),
        };
        additions.iter().enumerate().map(told).collect()
    }

    fn add(&self, addition: Addition<'_>) -> Ready<Result<(), RequestError>> {
        let (message, flags) = addition.message();
        self.submit(|| addition.words(), message, flags)
    }

    /// What is asked for is put into words only for an error.
    fn submit(
        &self,
        what: impl FnOnce() -> String,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Ready<Result<(), RequestError>> {
        let answer = self.socket.lock().unwrap_or_else(PoisonError::into_inner).ask(message, flags);
        future::ready(match answer {
            Ok(NetlinkPayload::Error(error)) if error.code.is_some() => Err(RequestError::refused(what(), &error)),
            Ok(_acknowledgement) => Ok(()),
            Err(error) => Err(RequestError::unheard(what(), error)),
        })
    }
}

/// Something to be added.
#[derive(Clone, Copy, Debug)]
pub enum Addition<'a> {
    /// As [`Requests::add_address`].
    Address(&'a AddressSpec),
    /// As [`Requests::replace_address`].
    RenewedAddress(&'a AddressSpec),
    /// As [`Requests::add_rule`].
    Rule(&'a RuleSpec),
    /// As [`Requests::add_route`].
    Route(&'a RouteSpec),
    /// As [`Requests::replace_route`].
    ReplacingRoute(&'a RouteSpec),
}

impl Addition<'_> {
    fn message(&self) -> (RouteNetlinkMessage, u16) {
        let (new, replacing) = (NLM_F_CREATE | NLM_F_EXCL, NLM_F_CREATE | NLM_F_REPLACE);
        match self {
            Self::Address(address) => (RouteNetlinkMessage::NewAddress(address.message()), new),
            Self::RenewedAddress(address) => (RouteNetlinkMessage::NewAddress(address.message()), replacing),
            Self::Rule(rule) => (RouteNetlinkMessage::NewRule(rule.message()), new),
            Self::Route(route) => (RouteNetlinkMessage::NewRoute(route.message()), new),
            Self::ReplacingRoute(route) => (RouteNetlinkMessage::NewRoute(route.message()), replacing),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Address(AddressSpec { address, prefix_length, index, .. }) => {
                format!("add address {address}/{prefix_length} to interface {index}")
            }
            Self::RenewedAddress(AddressSpec { address, prefix_length, index, .. }) => {
                format!("set address {address}/{prefix_length} of interface {index}")
            }
            Self::Rule(rule) => format!("add {:?} rule {}", rule.family, rule.priority),
            Self::Route(route) => format!("add {}", words(route)),
            Self::ReplacingRoute(route) => format!("set {}", words(route)),
        }
    }
}

/// For those that were asked together, and share it.
fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

impl RequestSocket {
    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<NetlinkPayload<RouteNetlinkMessage>> {
        let mut request = Vec::new();
        self.append(&mut request, message, NLM_F_ACK | flags);
        self.socket.send_to(&request, &SocketAddr::new(0, 0), 0)?;
        loop {
            let (sequence, payload) = self.receive()?;
            // One that was left unread by a call that failed half-way.
            if sequence == self.sequence {
                return Ok(payload);
            }
        }
    }

    /// What the kernel refused, by its place among these. Only the last one is acknowledged: it comes to that when it has
    /// carried out the others, and it tells of each that it refuses.
    fn ask_together(&mut self, messages: Vec<(RouteNetlinkMessage, u16)>) -> io::Result<BTreeMap<usize, ErrorMessage>> {
        let mut refused = BTreeMap::new();
        let Some(last) = messages.len().checked_sub(1) else { return Ok(refused) };
        let first = self.sequence.wrapping_add(1);
        let mut request = Vec::new();
        for (position, (message, flags)) in messages.into_iter().enumerate() {
            let acknowledgement = if position == last { NLM_F_ACK } else { 0 };
            self.append(&mut request, message, acknowledgement | flags);
        }
        self.socket.send_to(&request, &SocketAddr::new(0, 0), 0)?;
        loop {
            let (sequence, payload) = self.receive()?;
            let position = usize::try_from(sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
            if let NetlinkPayload::Error(error) = payload
                && error.code.is_some()
                && position <= last
            {
                refused.insert(position, error);
            }
            if position == last {
                return Ok(refused);
            }
        }
    }

    fn append(&mut self, request: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let begin = request.len();
        request.resize(begin + message.buffer_len().next_multiple_of(MESSAGE_ALIGNMENT), 0);
        message.serialize(request.get_mut(begin..).unwrap_or_default());
    }

    fn receive(&self) -> io::Result<(u32, NetlinkPayload<RouteNetlinkMessage>)> {
        let mut buffer = [0; ACKNOWLEDGEMENT_CAPACITY];
        let length = receive_from_kernel(&self.socket, &mut buffer)?;
        let answer = NetlinkMessage::deserialize(buffer.get(..length).unwrap_or_default())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok((answer.header.sequence_number, answer.payload))
    }
}

fn link(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn words(route: &RouteSpec) -> String {
    let RouteSpec { destination, prefix_length, table, .. } = route;
    let by_way_of = route.gateway.map(|gateway: IpAddr| format!(" via {gateway}")).unwrap_or_default();
    let over = route.interface.map(|interface| format!(" over interface {interface}")).unwrap_or_default();
    format!("route {destination}/{prefix_length}{by_way_of}{over} in table {table}")
}
