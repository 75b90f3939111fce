use crate::{Script, Subnet};

/// What kind of network card the machine's end of the cable resembles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Card {
    /// A virtual cable, as the kernel makes it: a change of carrier is announced at once.
    #[default]
    Ordinary,
    /// Both ends have the same index, which the kernel takes for a real card: it announces a loss of carrier up to one
    /// second later, and quick flaps never (`linkwatch_urgent_event` in `net/core/link_watch.c`).
    CardLike,
}

/// The DHCP server behind an access point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Dhcp {
    /// There is none.
    #[default]
    None,
    /// The real `dnsmasq`. Leases last two minutes, the shortest it knows.
    Dnsmasq,
    /// The lab's own server, whose leases last seconds and which fails on command.
    Scripted(Script),
}

/// How an access point is to be built.
#[derive(Clone, Debug)]
#[must_use]
pub struct AccessPointPlan {
    pub(crate) name: String,
    pub(crate) subnet: Option<Subnet>,
    pub(crate) card: Card,
    pub(crate) dhcp: Dhcp,
    pub(crate) index: Option<u32>,
    pub(crate) checksum_offload: bool,
    pub(crate) rapid_commit: bool,
    pub(crate) services: bool,
}

impl AccessPointPlan {
    /// An access point on an ordinary card without DHCP. `name` is also the name of the machine's interface to it.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            subnet: None,
            card: Card::default(),
            dhcp: Dhcp::default(),
            index: None,
            checksum_offload: true,
            rapid_commit: true,
            services: false,
        }
    }

    /// Its subnet, which may be the same as another one's. By default 10.10.`n`.0/24 for the `n`th access point, from 0.
    pub fn subnet(mut self, subnet: Subnet) -> Self {
        self.subnet = Some(subnet);
        self
    }

    /// What kind of card the machine's interface resembles.
    pub fn card(mut self, card: Card) -> Self {
        self.card = card;
        self
    }

    /// Short for `card(Card::CardLike)`.
    pub fn card_like(self) -> Self {
        self.card(Card::CardLike)
    }

    /// Its DHCP server.
    pub fn dhcp(mut self, dhcp: Dhcp) -> Self {
        self.dhcp = dhcp;
        self
    }

    /// With what networks usually have beside DHCP: a router for IPv6, which advertises 2001:db8:a`n`::/64 for the `n`th access
    /// point, a name server for [`SERVER_NAME`](crate::SERVER_NAME), and a web server that says which access point a
    /// request came by.
    pub fn services(mut self) -> Self {
        self.services = true;
        self
    }

    /// The index of the machine's interface. By default 500 + `n` for the `n`th access point, from 0.
    pub fn index(mut self, index: u32) -> Self {
        self.index = Some(index);
        self
    }

    /// Makes dnsmasq answer every client in four messages, also those that ask for two (RFC 4039).
    pub fn without_rapid_commit(mut self) -> Self {
        self.rapid_commit = false;
        self
    }

    /// Makes the access point finish its UDP checksums, for clients that cannot cope: a virtual cable hands packets over
    /// with checksums left to the card, and a packet socket sees them so unless it heeds `PACKET_AUXDATA`
    /// (`packet(7)`). Needs the program `ethtool`.
    pub fn without_checksum_offload(mut self) -> Self {
        self.checksum_offload = false;
        self
    }
}
