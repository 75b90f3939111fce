use rtnetlink::{
    packet_core::{NlaBuffer, NlasIterator, parse_string, parse_u32},
    packet_route::link::{LinkFlags, LinkHeader},
};

use crate::{HardwareAddress, attributes::attributes};

const HEADER_LENGTH: usize = 16;
/// `IFLA_INFO_KIND` of `linux/if_link.h`, inside `IFLA_LINKINFO`.
const INFO_KIND: u16 = 1;

/// A network interface, as the kernel describes it (`rtnetlink(7)`, `RTM_NEWLINK`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Interface index, 1 or more.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// What the driver calls a virtual link (`veth`, `bridge`, `wireguard` …); none for ordinary cards.
    pub kind: Option<String>,
    /// `ARPHRD_*` of `linux/if_arp.h`; 1 is Ethernet.
    pub link_layer: u16,
    /// Link-layer address in use.
    pub hardware_address: HardwareAddress,
    /// Link-layer address the hardware came with; empty if the driver does not say.
    pub permanent_hardware_address: HardwareAddress,
    /// `IFF_UP`.
    pub administratively_up: bool,
    /// `IFF_LOWER_UP`. Means nothing while the link is administratively down.
    pub carrier: bool,
    /// `IFF_RUNNING`: operational by RFC 2863, so also authenticated where the link asks for that.
    pub running: bool,
    /// `IFF_LOOPBACK`.
    pub loopback: bool,
    /// `IFF_POINTOPOINT`.
    pub point_to_point: bool,
    /// How often the carrier was lost so far (`IFLA_CARRIER_DOWN_COUNT`). Tells a flap that was over before it was seen.
    pub carrier_losses: u32,
    /// Maximum transmission unit, in bytes.
    pub mtu: u32,
    /// The bridge, bond or the like that this link is a port of.
    pub controller: Option<u32>,
    /// The link below (a VLAN's card) or the other end (of a veth pair); an index of that link's namespace.
    pub peer: Option<u32>,
}

impl Link {
    /// Reads the payload of a link message. None for messages that do not describe a link by itself: those about bridge
    /// ports, and the ones that carry nothing but a wireless event.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let header = LinkHeader::parse(payload).ok()?;
        if u8::from(header.interface_family) != 0 {
            return None;
        }
        let flags = header.flags;
        let mut link = Self {
            index: header.index,
            link_layer: u16::from(header.link_layer_type),
            administratively_up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            running: flags.contains(LinkFlags::Running),
            loopback: flags.contains(LinkFlags::Loopback),
            point_to_point: flags.contains(LinkFlags::Pointopoint),
            ..Self::default()
        };
        // Only these few of some eighty attributes are looked at: the others would cost time and could only fail.
        attributes(payload.get(HEADER_LENGTH..)?, |attribute| link.take(attribute)).for_each(drop);
        (!link.name.is_empty()).then_some(link)
    }

    /// True if this is that link without its carrier, and nothing else is different.
    #[must_use]
    pub fn has_only_lost_carrier(&self, before: &Self) -> bool {
        let Self { running, carrier_losses, .. } = *before;
        before.carrier && !self.carrier && *before == Self { carrier: true, running, carrier_losses, ..self.clone() }
    }

    fn take(&mut self, attribute: &NlaBuffer<&[u8]>) -> Result<(), rtnetlink::packet_core::DecodeError> {
        let value = attribute.value();
        match attribute.kind() {
            libc::IFLA_IFNAME => self.name = parse_string(value)?,
            libc::IFLA_ADDRESS => self.hardware_address = HardwareAddress::new(value),
            libc::IFLA_PERM_ADDRESS => self.permanent_hardware_address = HardwareAddress::new(value),
            libc::IFLA_MTU => self.mtu = parse_u32(value)?,
            libc::IFLA_LINK => self.peer = Some(parse_u32(value)?).filter(|index| *index != 0),
            libc::IFLA_MASTER => self.controller = Some(parse_u32(value)?).filter(|index| *index != 0),
            libc::IFLA_CARRIER_DOWN_COUNT => self.carrier_losses = parse_u32(value)?,
            libc::IFLA_LINKINFO => {
                self.kind = NlasIterator::new(value)
                    .map_while(Result::ok)
                    .find(|inner| inner.kind() == INFO_KIND)
                    .and_then(|inner| parse_string(inner.value()).ok());
            }
            _ => {}
        }
        Ok(())
    }
}
