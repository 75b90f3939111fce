//! Just enough of `rtnetlink(7)` to build the lab's cables, written out by hand: the code under test has another
//! implementation, and a request must go out without the milliseconds that starting `ip` takes.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError},
};

use libc::{
    AF_INET, AF_INET6, IFA_ADDRESS, IFA_F_NODAD, IFA_LOCAL, IFF_UP, IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_DATA,
    IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_NET_NS_FD, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE,
    NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, RTM_DELLINK, RTM_DELQDISC, RTM_GETLINK, RTM_NEWADDR, RTM_NEWLINK,
    RTM_NEWQDISC, RTM_SETLINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV4_RULE, RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE, RTMGRP_LINK,
};
use netbearer_types::Moment;
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv, send,
        socket_with,
    },
};

use crate::{LabError, Namespace, Shaping, now};

/// `VETH_INFO_PEER` of `linux/veth.h`.
const VETH_INFO_PEER: u16 = 1;
/// `RTNLGRP_IPV6_RULE` of `linux/rtnetlink.h` as a bit of `sockaddr_nl.nl_groups`.
const RTMGRP_IPV6_RULE: u32 = 1 << 18;
/// `TCA_KIND`, `TCA_OPTIONS` and `TC_H_ROOT` of `linux/rtnetlink.h` and `linux/pkt_sched.h`.
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const ROOT: u32 = u32::MAX;
/// `NLMSG_HDRLEN` of `linux/netlink.h`.
const HEADER_LENGTH: usize = 16;

/// One end of a cable that is to be created.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CableEnd<'a> {
    pub(crate) name: &'a str,
    pub(crate) index: u32,
    pub(crate) hardware_address: [u8; 6],
}

/// Changes links and addresses of one namespace. Every change is acknowledged by the kernel before it returns.
#[derive(Debug)]
pub(crate) struct LinkSocket {
    socket: Mutex<OwnedFd>,
}

impl LinkSocket {
    /// A socket of the calling thread's namespace.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: Mutex::new(netlink_socket(0)?) })
    }

    /// Sets a link administratively up or down. Returns the moment just before.
    pub(crate) fn set_up(&self, index: u32, up: bool) -> io::Result<Moment> {
        let flags = if up { IFF_UP.unsigned_abs() } else { 0 };
        self.request(Request::new(RTM_SETLINK, 0).link_header(index, flags, IFF_UP.unsigned_abs()))
    }

    /// Creates a cable (`veth(4)`): `near` in this socket's namespace, `far` in the one that `far_namespace` names.
    pub(crate) fn create_cable(
        &self,
        near: CableEnd<'_>,
        far: CableEnd<'_>,
        far_namespace: BorrowedFd<'_>,
    ) -> io::Result<Moment> {
        let request = Request::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)
            .link_header(near.index, 0, 0)
            .cable_end(near)
            .nested(IFLA_LINKINFO, |info| {
                info.attribute(IFLA_INFO_KIND, b"veth").nested(IFLA_INFO_DATA, |kind| {
                    kind.nested(VETH_INFO_PEER, |peer| {
                        peer.link_header(far.index, 0, 0)
                            .cable_end(far)
                            .attribute(IFLA_NET_NS_FD, &far_namespace.as_raw_fd().to_ne_bytes())
                    })
                })
            });
        self.request(request)
    }

    /// Asks for a link, which makes the kernel first do what is due since its carrier changed.
    pub(crate) fn settle(&self, index: u32) -> io::Result<Moment> {
        self.request(Request::new(RTM_GETLINK, 0).link_header(index, 0, 0))
    }

    /// Deletes a link, and with a cable its other end. Returns the moment just before.
    pub(crate) fn delete(&self, index: u32) -> io::Result<Moment> {
        self.request(Request::new(RTM_DELLINK, 0).link_header(index, 0, 0))
    }

    /// Gives a link an address that nobody checks for duplicates. Returns the moment just before.
    pub(crate) fn add_address(&self, index: u32, address: IpAddr, prefix_length: u8) -> io::Result<Moment> {
        self.request(Request::address(NLM_F_CREATE | NLM_F_EXCL, index, address, prefix_length))
    }

    /// As [`Self::add_address`], whether the link has the address already or not.
    pub(crate) fn ensure_address(&self, index: u32, address: IpAddr, prefix_length: u8) -> io::Result<Moment> {
        self.request(Request::address(NLM_F_CREATE | NLM_F_REPLACE, index, address, prefix_length))
    }

    /// Whether a link is administratively up.
    pub(crate) fn is_up(&self, index: u32) -> io::Result<bool> {
        let mut flags = None;
        self.ask(Request::new(RTM_GETLINK, 0).link_header(index, 0, 0), |answer| {
            // `ifi_flags` of `struct ifinfomsg`.
            let octets = answer.get(HEADER_LENGTH + 8..HEADER_LENGTH + 12).and_then(|octets| octets.try_into().ok());
            flags = flags.or(octets.map(u32::from_ne_bytes));
        })?;
        let flags = flags.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        Ok(flags & IFF_UP.unsigned_abs() != 0)
    }

    /// All there is of one kind, message by message, without their headers.
    pub(crate) fn dump(&self, kind: u16) -> io::Result<Vec<Vec<u8>>> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        // Every family, and the rest as the kernel likes it.
        send(&*socket, &Request::new(kind, NLM_F_DUMP).words(&[0; 3]).finish(), SendFlags::empty())?;
        let mut all = Vec::new();
        let mut answer = vec![0; 65_536];
        loop {
            let (length, _) = recv(&*socket, &mut answer[..], RecvFlags::empty())?;
            let mut rest = answer.get(..length).unwrap_or_default();
            while let Some((kind, message, behind)) = split_message(rest) {
                match i32::from(kind) {
                    NLMSG_DONE => return Ok(all),
                    NLMSG_ERROR => {
                        let code = acknowledgement(rest).unwrap_or_default();
                        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
                    }
                    _ => all.push(message.to_vec()),
                }
                rest = behind;
            }
        }
    }

    /// Slows what a link sends (`tc(8)`); none lets it send as fast as it can.
    pub(crate) fn shape(&self, index: u32, shaping: Option<Shaping>) -> io::Result<()> {
        let header = [0, index, 0, ROOT, 0];
        match self.request(Request::new(RTM_DELQDISC, 0).words(&header)) {
            Ok(_) => {}
            // There was none.
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::INVAL)) => {}
            Err(error) => return Err(error),
        }
        let Some(shaping) = shaping else { return Ok(()) };
        let discipline = shaping.discipline();
        let request = Request::new(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL)
            .words(&header)
            .attribute(TCA_KIND, discipline.kind)
            .nested(TCA_OPTIONS, |mut options| {
                options.bytes.extend(discipline.parameters);
                discipline.attributes.iter().fold(options, |options, (kind, value)| options.attribute(*kind, value))
            });
        self.request(request).map(|_| ())
    }

    fn request(&self, request: Request) -> io::Result<Moment> {
        self.ask(request, |_| {})
    }

    /// `told` gets what was asked for, which comes before the acknowledgement.
    fn ask(&self, request: Request, mut told: impl FnMut(&[u8])) -> io::Result<Moment> {
        let message = request.finish();
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let moment = now();
        send(&*socket, &message, SendFlags::empty())?;
        let mut answer = [0; 8192];
        loop {
            let (length, _) = recv(&*socket, &mut answer[..], RecvFlags::empty())?;
            let answer = &answer[..length.min(answer.len())];
            match acknowledgement(answer) {
                Some(0) => return Ok(moment),
                Some(code) => return Err(io::Error::from_raw_os_error(code.saturating_neg())),
                None => told(answer),
            }
        }
    }
}

/// The kind of the first message, its content, and what comes behind it (`struct nlmsghdr` of `netlink(7)`).
fn split_message(messages: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(messages.get(..4)?.try_into().ok()?);
    let kind = u16::from_ne_bytes(messages.get(4..6)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?;
    let behind = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, messages.get(HEADER_LENGTH..length)?, behind))
}

/// The error code of an `NLMSG_ERROR`: 0 for an acknowledgement, else a negative `errno(3)`.
fn acknowledgement(answer: &[u8]) -> Option<i32> {
    let kind = answer.get(4..6)?;
    let code = answer.get(HEADER_LENGTH..HEADER_LENGTH + 4)?;
    (i32::from(u16::from_ne_bytes(kind.try_into().ok()?)) == NLMSG_ERROR)
        .then_some(i32::from_ne_bytes(code.try_into().ok()?))
}

/// Hears of every change of links, addresses, routes and rules in one namespace.
#[derive(Debug)]
pub(crate) struct ChangeSocket {
    socket: OwnedFd,
}

impl ChangeSocket {
    pub(crate) fn open(namespace: &Namespace) -> Result<Self, LabError> {
        let groups = RTMGRP_LINK
            | RTMGRP_IPV4_IFADDR
            | RTMGRP_IPV4_ROUTE
            | RTMGRP_IPV4_RULE
            | RTMGRP_IPV6_IFADDR
            | RTMGRP_IPV6_ROUTE;
        let socket = namespace.run(|| netlink_socket(groups.unsigned_abs() | RTMGRP_IPV6_RULE));
        Ok(Self { socket: socket.map_err(LabError::unable_to("subscribe to the changes of the namespace"))? })
    }

    /// Forgets the announcements so far: the state they speak of is read afterwards anyway.
    pub(crate) fn drain(&self) {
        let mut announcement = [0; 4096];
        while matches!(recv(&self.socket, &mut announcement[..], RecvFlags::DONTWAIT), Ok(_) | Err(Errno::NOBUFS)) {}
    }
}

impl AsFd for ChangeSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn netlink_socket(groups: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// A netlink message under construction.
#[derive(Debug)]
struct Request {
    bytes: Vec<u8>,
}

impl Request {
    fn new(kind: u16, flags: i32) -> Self {
        let flags = u16::try_from(NLM_F_REQUEST | NLM_F_ACK | flags).unwrap_or(u16::MAX);
        let mut bytes = vec![0; HEADER_LENGTH];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        Self { bytes }
    }

    /// `struct ifinfomsg`.
    fn link_header(self, index: u32, flags: u32, changed_flags: u32) -> Self {
        self.words(&[0, index, flags, changed_flags])
    }

    /// `struct ifaddrmsg`, and the address.
    fn address(flags: i32, index: u32, address: IpAddr, prefix_length: u8) -> Self {
        let (family, octets) = match address {
            IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
        };
        let address_flags = if address.is_ipv6() { u8::try_from(IFA_F_NODAD).unwrap_or(0) } else { 0 };
        let mut request = Self::new(RTM_NEWADDR, flags);
        request.bytes.extend([u8::try_from(family).unwrap_or(0), prefix_length, address_flags, 0]);
        request.words(&[index]).attribute(IFA_LOCAL, &octets).attribute(IFA_ADDRESS, &octets)
    }

    fn words(mut self, words: &[u32]) -> Self {
        self.bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        self
    }

    fn cable_end(self, end: CableEnd<'_>) -> Self {
        let name: Vec<u8> = end.name.bytes().chain([0]).collect();
        self.attribute(IFLA_IFNAME, &name).attribute(IFLA_ADDRESS, &end.hardware_address)
    }

    fn attribute(self, kind: u16, value: &[u8]) -> Self {
        self.nested(kind, |mut request| {
            request.bytes.extend(value);
            request
        })
    }

    fn nested(mut self, kind: u16, content: impl FnOnce(Self) -> Self) -> Self {
        let begin = self.bytes.len();
        self.bytes.extend([0; 4]);
        let mut request = content(self);
        let length = u16::try_from(request.bytes.len() - begin).unwrap_or(u16::MAX);
        request.bytes[begin..begin + 2].copy_from_slice(&length.to_ne_bytes());
        request.bytes[begin + 2..begin + 4].copy_from_slice(&kind.to_ne_bytes());
        request.bytes.resize(request.bytes.len().next_multiple_of(4), 0);
        request
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }
}
