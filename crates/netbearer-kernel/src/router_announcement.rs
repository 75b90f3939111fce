use std::net::Ipv6Addr;

use netbearer_types::Moment;
use rtnetlink::packet_core::NlasIterator;

use crate::{AnnouncedOption, RouterOption};

/// `struct nduseroptmsg` of `linux/rtnetlink.h`.
const HEADER_LENGTH: usize = 16;
/// `NDUSEROPT_SRCADDR` of `linux/rtnetlink.h`.
const SOURCE_ADDRESS: u16 = 1;
/// ICMPv6 router advertisement (RFC 4861 §4.2).
const ROUTER_ADVERTISEMENT: u8 = 134;

/// What one message of the kernel says of a router advertisement (`RTM_NEWNDUSEROPT`). The kernel tells each option by
/// itself, and only if it accepts advertisements there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterAnnouncement {
    /// Index of the interface that heard it.
    pub interface: u32,
    /// The router: a link-local address.
    pub router: Ipv6Addr,
    /// What it announces; empty if there is nothing in it that is kept.
    pub options: Vec<AnnouncedOption>,
}

impl RouterAnnouncement {
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let (header, rest) = payload.split_first_chunk::<HEADER_LENGTH>()?;
        let [family, _, length_0, length_1, index_0, index_1, index_2, index_3, kind, code, ..] = *header;
        let is_advertisement = (i32::from(family), kind, code) == (libc::AF_INET6, ROUTER_ADVERTISEMENT, 0);
        let length = usize::from(u16::from_ne_bytes([length_0, length_1]));
        let (options, attributes) = rest.split_at_checked(length).filter(|_| is_advertisement)?;
        let router = NlasIterator::new(attributes)
            .map_while(Result::ok)
            .find(|attribute| attribute.kind() == SOURCE_ADDRESS)
            .and_then(|attribute| <[u8; 16]>::try_from(attribute.value()).ok())?;
        Some(Self {
            interface: u32::from_ne_bytes([index_0, index_1, index_2, index_3]),
            router: Ipv6Addr::from(router),
            options: RouterOption::parse_all(options),
        })
    }
}

/// Something that a router announces now, on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The router: a link-local address. Several may announce the same.
    pub router: Ipv6Addr,
    /// What it announces.
    pub option: RouterOption,
    /// Until then it holds; none until it is taken back or the link is lost.
    pub expires: Option<Moment>,
}

impl Announcement {
    /// True if it holds at this moment.
    #[must_use]
    pub fn holds(&self, now: Moment) -> bool {
        self.expires.is_none_or(|end| end > now)
    }
}
