use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    io::{self, PipeReader},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dhcproto::{
    Decodable, Encodable,
    v4::{CLIENT_PORT, DhcpOption, MIN_PACKET_SIZE, Message, MessageType, Opcode, OptionCode, SERVER_PORT},
};
use netbearer_types::Moment;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::{
    ClientState, Fault, LabError, Namespace, Record, Script, Subnet, access_point::FarEnd, deadline::Deadline, now,
    server_thread::ServerThread,
};

/// Too short for a DHCP message.
const GARBAGE: &[u8] = b"this is no message";

/// Whether a DHCP message came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a client.
    Received,
    /// To a client.
    Sent,
    /// To a client, but the kernel refused to send it, as when the cable is cut.
    Unsent,
}

/// One DHCP message, as the scripted server saw it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// When it came or went.
    pub moment: Moment,
    /// Whether it came or went.
    pub direction: Direction,
    /// Its type.
    pub kind: MessageType,
    /// The client's state, if it is a DHCPREQUEST.
    pub client_state: Option<ClientState>,
    /// The message; for one that was sent, as it was before the fault.
    pub message: Message,
    /// The fault it was sent with.
    pub fault: Option<Fault>,
}

impl fmt::Display for Exchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { moment, direction, kind, client_state, message, fault } = self;
        let (client, yours) = (message.ciaddr(), message.yiaddr());
        write!(formatter, "{moment:?} {direction:?} {kind:?} {:08x} ciaddr {client} yiaddr {yours}", message.xid())?;
        client_state.map_or(Ok(()), |state| write!(formatter, " {state:?}"))?;
        fault.map_or(Ok(()), |fault| write!(formatter, " ({fault:?})"))
    }
}

/// A DHCP server (RFC 2131) that does as it is told, wrong things too. It is authoritative for its subnet and gives each
/// hardware address the same lease again. It answers by broadcast, and to the address of a client that has one.
#[derive(Debug)]
pub struct DhcpServer {
    state: Arc<Mutex<State>>,
    exchanges: Record<Exchange>,
    thread: Mutex<Option<ServerThread>>,
}

struct State {
    script: Script,
    subnet: Subnet,
    leases: BTreeMap<Vec<u8>, Ipv4Addr>,
    declined: Vec<Ipv4Addr>,
    next_offer: Option<Ipv4Addr>,
    next_faults: VecDeque<Fault>,
    standing_fault: Option<(Moment, Fault)>,
    alteration: Option<Alteration>,
}

type Alteration = Box<dyn FnMut(&mut Message) + Send>;

impl DhcpServer {
    pub(crate) fn new(script: Script, subnet: Subnet) -> Self {
        let state = State {
            script,
            subnet,
            leases: BTreeMap::new(),
            declined: Vec::new(),
            next_offer: None,
            next_faults: VecDeque::new(),
            standing_fault: None,
            alteration: None,
        };
        Self { state: Arc::new(Mutex::new(state)), exchanges: Record::new(), thread: Mutex::new(None) }
    }

    /// Starts to listen on `far_end`. What it knew before it was detached it still knows.
    pub(crate) fn attach(&self, namespace: &Namespace, far_end: FarEnd) -> Result<(), LabError> {
        let unable = || LabError::unable_to("start the scripted DHCP server");
        let sockets = namespace.run(|| Sockets::open(far_end.name)).map_err(unable())?;
        let mut service = Service {
            sockets,
            far_end,
            state: self.state.clone(),
            exchanges: self.exchanges.clone(),
            late: Vec::new(),
        };
        let thread = ServerThread::start("dhcp server", move |stopped| service.serve(&stopped)).map_err(unable())?;
        self.replace_thread(Some(thread));
        Ok(())
    }

    /// Stops to listen, as its interface is going away.
    pub(crate) fn detach(&self) {
        self.replace_thread(None);
    }

    /// The thread before ends first.
    fn replace_thread(&self, thread: Option<ServerThread>) {
        let mut current = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        drop(current.take());
        *current = thread;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every message so far, both ways.
    #[must_use]
    pub fn exchanges(&self) -> &Record<Exchange> {
        &self.exchanges
    }

    /// The first message of that type received, whether it came already or comes `within` that time.
    ///
    /// # Errors
    /// [`LabError::NotSeen`], with all messages.
    pub fn wait_for(&self, kind: MessageType, within: Duration) -> Result<Exchange, LabError> {
        self.exchanges.wait_for(&format!("a {kind:?} from a client"), within, |exchange| {
            exchange.kind == kind && exchange.direction == Direction::Received
        })
    }

    /// From now on the answers have this fault, until [`Self::heal`].
    pub fn fail(&self, fault: Fault) {
        self.fail_from(Moment::ZERO, fault);
    }

    /// The same, but not before this moment.
    pub fn fail_from(&self, moment: Moment, fault: Fault) {
        self.state().standing_fault = Some((moment, fault));
    }

    /// The addresses that are leased now, in order.
    #[must_use]
    pub fn leases(&self) -> Vec<Ipv4Addr> {
        let mut leases: Vec<Ipv4Addr> = self.state().leases.values().copied().collect();
        leases.sort_unstable();
        leases
    }

    /// The addresses that clients have declined, in order.
    #[must_use]
    pub fn declined(&self) -> Vec<Ipv4Addr> {
        self.state().declined.clone()
    }

    /// The next `count` answers have this fault, after those that were announced before.
    pub fn fail_next(&self, count: usize, fault: Fault) {
        self.state().next_faults.extend(std::iter::repeat_n(fault, count));
    }

    /// From now on all answers are right. Delayed ones that are under way stay delayed.
    pub fn heal(&self) {
        let mut state = self.state();
        state.standing_fault = None;
        state.next_faults.clear();
        state.alteration = None;
    }

    /// Offers this address to the next client that discovers, whatever it had before.
    pub fn offer(&self, address: Ipv4Addr) {
        self.state().next_offer = Some(address);
    }

    /// Changes every answer before it is sent, for instance its options.
    pub fn alter_answers(&self, alteration: impl FnMut(&mut Message) + Send + 'static) {
        self.state().alteration = Some(Box::new(alteration));
    }

    /// Changes the script; leases that exist are touched at their next renewal.
    pub fn follow(&self, script: Script) {
        self.state().script = script;
    }

    /// Serves another subnet: renewals of addresses of the old one are refused.
    pub(crate) fn change_subnet(&self, subnet: Subnet) {
        let mut state = self.state();
        state.subnet = subnet;
        state.leases.clear();
    }
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { script, subnet, leases, .. } = self;
        formatter
            .debug_struct("State")
            .field("script", script)
            .field("subnet", subnet)
            .field("leases", leases)
            .finish_non_exhaustive()
    }
}

/// Two sockets, because only what a message was sent to tells a client that renews from one that rebinds.
struct Sockets {
    unicast: UdpSocket,
    broadcast: UdpSocket,
}

impl Sockets {
    fn open(interface: &str) -> io::Result<Self> {
        let broadcast = server_socket(interface, Ipv4Addr::BROADCAST, &[])?;
        let unicast = server_socket(interface, Ipv4Addr::UNSPECIFIED, &no_broadcasts())?;
        Ok(Self { unicast, broadcast })
    }
}

fn server_socket(interface: &str, address: Ipv4Addr, filter: &[SockFilter]) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_broadcast(true)?;
    socket.set_reuse_address(true)?;
    if !filter.is_empty() {
        socket.attach_filter(filter)?;
    }
    socket.bind(&SocketAddr::from((address, SERVER_PORT)).into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A filter that lets pass what is not for 255.255.255.255 (`bpf(4)` instructions; the packet begins with its UDP header,
/// and `SKF_NET_OFF` of `linux/filter.h` leads back to the IP header).
fn no_broadcasts() -> [SockFilter; 4] {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const IP_HEADER: u32 = 0xfff0_0000;
    const DESTINATION: u32 = 16;
    [
        SockFilter::new(LOAD_WORD, 0, 0, IP_HEADER + DESTINATION),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

/// The message, as long as clients from the time of BOOTP expect it (RFC 1542 §2.1).
fn encode(message: &Message) -> Vec<u8> {
    // Only a name or an option that is too long could not be encoded; the client then gets no message.
    let mut packet = message.to_vec().unwrap_or_default();
    packet.resize(packet.len().max(MIN_PACKET_SIZE), 0);
    packet
}

/// What the thread works with.
struct Service {
    sockets: Sockets,
    far_end: FarEnd,
    state: Arc<Mutex<State>>,
    exchanges: Record<Exchange>,
    late: Vec<(Instant, Answer)>,
}

struct Answer {
    message: Message,
    kind: MessageType,
    fault: Option<Fault>,
}

impl Service {
    fn serve(&mut self, stopped: &PipeReader) {
        loop {
            let due = self.late.iter().map(|(due, _)| *due).min();
            let deadline = due.map_or(Deadline::NEVER, Deadline::from);
            let Sockets { unicast, broadcast } = &self.sockets;
            let sources = [unicast.as_fd(), broadcast.as_fd(), stopped.as_fd()];
            let Ok([_, _, false]) = deadline.wait_readable(sources) else { return };
            while let Some((message, is_broadcast)) = self.receive() {
                self.handle(message, is_broadcast);
            }
            let is_due = |(due, _): &mut (Instant, Answer)| *due <= Instant::now();
            let due: Vec<_> = self.late.extract_if(.., is_due).collect();
            due.into_iter().for_each(|(_, answer)| self.send(answer));
        }
    }

    /// The next message that has come, and whether it was sent to everybody. Messages that cannot be decoded are ignored,
    /// as RFC 2131 servers do.
    fn receive(&self) -> Option<(Message, bool)> {
        let mut packet = [0; 1500];
        for (socket, is_broadcast) in [(&self.sockets.unicast, false), (&self.sockets.broadcast, true)] {
            while let Ok(length) = socket.recv(&mut packet) {
                if let Ok(message) = Message::from_bytes(packet.get(..length).unwrap_or_default()) {
                    return Some((message, is_broadcast));
                }
            }
        }
        None
    }

    fn handle(&mut self, message: Message, is_broadcast: bool) {
        let Some(kind) = message.opts().msg_type() else { return };
        let client_state = client_state(kind, &message, is_broadcast);
        self.record(Direction::Received, kind, client_state, message.clone(), None);
        let answer = self.state.lock().unwrap_or_else(PoisonError::into_inner).answer(kind, client_state, &message);
        match answer {
            Some(Answer { fault: Some(Fault::Silent), .. }) | None => {}
            Some(answer) => match answer.fault {
                Some(Fault::Delay(delay)) => self.late.push((Instant::now() + delay, answer)),
                _ => self.send(answer),
            },
        }
    }

    fn send(&self, answer: Answer) {
        let Answer { message, kind, fault } = answer;
        let to = match message.ciaddr() {
            address if address.is_unspecified() || kind == MessageType::Nak => Ipv4Addr::BROADCAST,
            address => address,
        };
        let packet = match fault {
            Some(Fault::Garbage) => GARBAGE.to_vec(),
            Some(Fault::WrongTransaction) => encode(message.clone().set_xid(!message.xid())),
            _ => encode(&message),
        };
        self.far_end.settle();
        let direction = match self.sockets.unicast.send_to(&packet, (to, CLIENT_PORT)) {
            Ok(_) => Direction::Sent,
            Err(_) => Direction::Unsent,
        };
        self.record(direction, kind, None, message, fault);
    }

    fn record(
        &self,
        direction: Direction,
        kind: MessageType,
        client_state: Option<ClientState>,
        message: Message,
        fault: Option<Fault>,
    ) {
        self.exchanges.push(Exchange { moment: now(), direction, kind, client_state, message, fault });
    }
}

impl State {
    /// The answer to a client's message (RFC 2131 §4.3), with its fault.
    fn answer(&mut self, kind: MessageType, client_state: Option<ClientState>, request: &Message) -> Option<Answer> {
        let client = request.chaddr().to_vec();
        let mut answer = match kind {
            MessageType::Discover => {
                let address = self.address_to_offer(&client, requested_address(request))?;
                self.leases.insert(client, address);
                let rapid = self.script.rapid_commit && request.opts().contains(OptionCode::RapidCommit);
                let mut answer =
                    self.grant(request, if rapid { MessageType::Ack } else { MessageType::Offer }, Some(address));
                if rapid {
                    answer.message.opts_mut().insert(DhcpOption::RapidCommit);
                }
                answer
            }
            MessageType::Request => {
                if server_identifier(request).is_some_and(|server| server != self.subnet.gateway()) {
                    return None; // the client chose another server
                }
                let address = requested_address(request).unwrap_or(request.ciaddr());
                if self.may_have(&client, address) {
                    self.leases.insert(client, address);
                    self.grant(request, MessageType::Ack, Some(address))
                } else {
                    self.refuse(request)
                }
            }
            MessageType::Inform => self.grant(request, MessageType::Ack, None),
            MessageType::Decline => {
                let leased = self.leases.remove(&client);
                self.declined.extend(requested_address(request).or(leased));
                return None;
            }
            MessageType::Release => {
                self.leases.remove(&client);
                return None;
            }
            _ => return None,
        };
        let fault = self.take_fault(kind, client_state);
        match fault {
            Some(Fault::Nak | Fault::NakWhile(_)) => answer = self.refuse(request),
            Some(Fault::OtherAddress(address)) => {
                answer.message.set_yiaddr(address);
            }
            _ => {}
        }
        if let Some(alter) = &mut self.alteration {
            alter(&mut answer.message);
        }
        Some(Answer { fault, ..answer })
    }

    fn take_fault(&mut self, kind: MessageType, client_state: Option<ClientState>) -> Option<Fault> {
        let applies = |fault: &Fault| match fault {
            Fault::Nak => kind == MessageType::Request,
            Fault::NakWhile(state) => client_state == Some(*state),
            Fault::OtherAddress(_) => matches!(client_state, Some(ClientState::Renewing | ClientState::Rebinding)),
            Fault::Silent | Fault::Delay(_) | Fault::WrongTransaction | Fault::Garbage => true,
        };
        match self.next_faults.front() {
            Some(next) if applies(next) => self.next_faults.pop_front(),
            _ => self.standing_fault.filter(|(from, _)| *from <= now()).map(|(_, fault)| fault).filter(applies),
        }
    }

    fn address_to_offer(&mut self, client: &[u8], wish: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let told = self.next_offer.take();
        let wish = wish.filter(|address| self.may_have(client, *address));
        told.or_else(|| self.leases.get(client).copied())
            .or(wish)
            .or_else(|| self.subnet.leasable().find(|address| self.is_free(*address)))
    }

    fn may_have(&self, client: &[u8], address: Ipv4Addr) -> bool {
        match self.leases.get(client) {
            Some(leased) => *leased == address,
            None => self.subnet.contains(address) && self.is_free(address),
        }
    }

    fn is_free(&self, address: Ipv4Addr) -> bool {
        !self.declined.contains(&address) && !self.leases.values().any(|leased| *leased == address)
    }

    /// An offer or acknowledgement; without an address (RFC 2131 §3.4) also without times.
    fn grant(&self, request: &Message, kind: MessageType, address: Option<Ipv4Addr>) -> Answer {
        let mut answer = self.reply(request, kind);
        let name_servers = self.script.name_servers.clone().unwrap_or_else(|| vec![self.subnet.gateway()]);
        answer.message.set_yiaddr(address.unwrap_or(Ipv4Addr::UNSPECIFIED)).set_ciaddr(request.ciaddr());
        let options = answer.message.opts_mut();
        let announced = self.script.announced_subnet.unwrap_or(self.subnet);
        options.insert(DhcpOption::SubnetMask(announced.mask()));
        options.insert(DhcpOption::Router(vec![announced.gateway()]));
        if !name_servers.is_empty() {
            options.insert(DhcpOption::DomainNameServer(name_servers));
        }
        if address.is_some() {
            let Script { lease_time, renewal_time, rebinding_time, .. } = self.script;
            options.insert(DhcpOption::AddressLeaseTime(seconds(lease_time)));
            for option in [
                renewal_time.map(|time| DhcpOption::Renewal(seconds(time))),
                rebinding_time.map(|time| DhcpOption::Rebinding(seconds(time))),
            ] {
                option.map(|option| options.insert(option));
            }
        }
        answer
    }

    fn refuse(&self, request: &Message) -> Answer {
        self.reply(request, MessageType::Nak)
    }

    fn reply(&self, request: &Message, kind: MessageType) -> Answer {
        let mut message = Message::default();
        message
            .set_opcode(Opcode::BootReply)
            .set_htype(request.htype())
            .set_xid(request.xid())
            .set_flags(request.flags())
            .set_chaddr(request.chaddr());
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(kind));
        options.insert(DhcpOption::ServerIdentifier(self.subnet.gateway()));
        Answer { message, kind, fault: None }
    }
}

/// RFC 2131 §4.3.2, table 4.
fn client_state(kind: MessageType, message: &Message, is_broadcast: bool) -> Option<ClientState> {
    (kind == MessageType::Request).then(|| {
        if server_identifier(message).is_some() {
            ClientState::Selecting
        } else if message.ciaddr().is_unspecified() {
            ClientState::Rebooting
        } else if is_broadcast {
            ClientState::Rebinding
        } else {
            ClientState::Renewing
        }
    })
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

fn requested_address(request: &Message) -> Option<Ipv4Addr> {
    match request.opts().get(OptionCode::RequestedIpAddress)? {
        DhcpOption::RequestedIpAddress(address) => Some(*address),
        _ => None,
    }
}

fn server_identifier(request: &Message) -> Option<Ipv4Addr> {
    match request.opts().get(OptionCode::ServerIdentifier)? {
        DhcpOption::ServerIdentifier(address) => Some(*address),
        _ => None,
    }
}
