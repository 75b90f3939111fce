use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsFd,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use netbearer_types::Moment;

use crate::{
    AccessPointPlan, Card, Dhcp, DhcpServer, INTERNET, INTERNET_V6, LabError, Namespace, Record, Shaping, Subnet,
    dnsmasq::Dnsmasq,
    echo_server::EchoServer,
    name_server::NameServer,
    netlink::{CableEnd, LinkSocket},
    requirement::require,
    router::Router,
    router_advertisement::{self, RouterAdvertisement},
    web_server::WebServer,
};

/// The access point's end of the cable, in its own namespace.
const FAR_END: &str = "port0";
/// Index of [`FAR_END`] if it must differ from the near end's.
const FAR_INDEX: u32 = 40;
/// Index of the loopback interface, which carries the address of the internet.
const LOOPBACK: u32 = 1;
/// Length of the prefix of an address that is alone.
const HOST_PREFIX_LENGTH: u8 = 32;
const HOST_PREFIX_LENGTH_V6: u8 = 128;
/// There if the kernel has IPv6.
const IPV6_SETTINGS: &str = "/proc/sys/net/ipv6";

/// An access point: a network namespace with DHCP and servers, and a cable to the lab's machine.
///
/// The machine's end of the cable is an interface with the access point's name, administratively down at first.
#[derive(Debug)]
pub struct AccessPoint {
    // In the order of their end: the servers before the namespace they serve in.
    dhcp: DhcpService,
    services: Option<Services>,
    _echo: EchoServer,
    cable: Mutex<Cable>,
    near_links: LinkSocket,
    far_links: Arc<LinkSocket>,
    namespace: Namespace,
    name: String,
    card: Card,
    hardware_address: [u8; 6],
}

/// What changes while the lab runs.
#[derive(Debug)]
struct Cable {
    subnet: Subnet,
    near_index: u32,
    far_index: u32,
    offload: bool,
    shaping: Option<Shaping>,
}

/// What networks usually have beside DHCP.
#[derive(Debug)]
struct Services {
    _router: Option<Router>,
    _name_server: NameServer,
    _web_server: WebServer,
    network_v6: Option<Ipv6Addr>,
}

/// The access point's end of the cable, for servers.
#[derive(Debug)]
pub(crate) struct FarEnd {
    pub(crate) name: &'static str,
    index: u32,
    hardware_address: [u8; 6],
    links: Arc<LinkSocket>,
}

impl FarEnd {
    /// Notices a new carrier at once. Until the kernel's worker has done so what is sent is lost, and a quick client has
    /// asked by then.
    pub(crate) fn settle(&self) {
        // An end that is gone has nothing to settle, and sending over it fails.
        let _ = self.links.settle(self.index);
    }

    pub(crate) const fn index(&self) -> u32 {
        self.index
    }

    pub(crate) const fn hardware_address(&self) -> [u8; 6] {
        self.hardware_address
    }

    /// Has this address, whether it had it before or not.
    pub(crate) fn ensure_address(&self, address: IpAddr, prefix_length: u8) -> io::Result<()> {
        self.links.ensure_address(self.index, address, prefix_length).map(|_| ())
    }
}

#[derive(Debug)]
enum DhcpService {
    None,
    Dnsmasq(Dnsmasq),
    Scripted(DhcpServer),
}

impl AccessPoint {
    /// Builds the `number`th access point of a lab.
    pub(crate) fn build(plan: AccessPointPlan, number: u8, machine: &Namespace) -> Result<Self, LabError> {
        let AccessPointPlan { name, subnet, card, dhcp, index, checksum_offload, rapid_commit, services } = plan;
        let subnet = subnet.unwrap_or(Subnet::numbered(number));
        let near_index = index.unwrap_or(500 + u32::from(number));
        let namespace = Namespace::new(&name)?;
        let unable = || LabError::unable_to(format!("prepare access point {name}"));
        let near_links = machine.run(LinkSocket::open).map_err(unable())?;
        let far_links = Arc::new(namespace.run(LinkSocket::open).map_err(unable())?);
        far_links.add_address(LOOPBACK, INTERNET.into(), HOST_PREFIX_LENGTH).map_err(unable())?;
        let echo = EchoServer::start(&namespace)?;
        let cable = Cable { subnet, near_index, far_index: 0, offload: checksum_offload, shaping: None };
        let mut access_point = Self {
            dhcp: DhcpService::None,
            services: None,
            _echo: echo,
            cable: Mutex::new(cable),
            near_links,
            far_links,
            namespace,
            name,
            card,
            // Locally administered, and told apart by number and end.
            hardware_address: [0x02, 0x6c, 0x61, 0x62, number, 0x01],
        };
        access_point.plug()?;
        access_point.dhcp = match dhcp {
            Dhcp::None => DhcpService::None,
            Dhcp::Dnsmasq => DhcpService::Dnsmasq(Dnsmasq::start(&access_point.namespace, subnet, rapid_commit)?),
            Dhcp::Scripted(script) => {
                let server = DhcpServer::new(script, subnet);
                server.attach(&access_point.namespace, access_point.far_end())?;
                DhcpService::Scripted(server)
            }
        };
        if services {
            access_point.services = Some(access_point.start_services(number)?);
        }
        Ok(access_point)
    }

    fn start_services(&self, number: u8) -> Result<Services, LabError> {
        self.services_of(number).map_err(self.unable_to("start the services of"))
    }

    fn services_of(&self, number: u8) -> io::Result<Services> {
        let network = Ipv6Addr::new(0x2001, 0xdb8, 0xa00 + u16::from(number), 0, 0, 0, 0, 0);
        let has_ipv6 = Path::new(IPV6_SETTINGS).exists();
        if has_ipv6 {
            self.far_links.ensure_address(LOOPBACK, INTERNET_V6.into(), HOST_PREFIX_LENGTH_V6)?;
        }
        let router = has_ipv6.then(|| Router::start(&self.namespace, self.far_end(), network)).transpose()?;
        Ok(Services {
            _router: router,
            _name_server: NameServer::start(&self.namespace, self.subnet().gateway())?,
            _web_server: WebServer::start(&self.namespace)?,
            network_v6: has_ipv6.then_some(network),
        })
    }

    /// Its name, which is also that of the machine's interface.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace. The far end of the cable is called `port0` there.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The subnet it serves now.
    #[must_use]
    pub fn subnet(&self) -> Subnet {
        self.cable().subnet
    }

    /// The IPv6 network it advertises by itself, of 64 bits: that of its [services](AccessPointPlan::services).
    #[must_use]
    pub fn network_v6(&self) -> Option<Ipv6Addr> {
        self.services.as_ref().and_then(|services| services.network_v6)
    }

    /// What kind of card the machine's interface resembles.
    #[must_use]
    pub fn card(&self) -> Card {
        self.card
    }

    /// The index of the machine's interface, while plugged.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.cable().near_index
    }

    /// The hardware address of the machine's interface, the same each time it is plugged.
    #[must_use]
    pub fn hardware_address(&self) -> [u8; 6] {
        self.hardware_address
    }

    /// The hardware address of the far end of the cable, the same each time it is plugged.
    #[must_use]
    pub fn router_hardware_address(&self) -> [u8; 6] {
        let [first, second, third, fourth, number, _] = self.hardware_address;
        [first, second, third, fourth, number, 0x02]
    }

    /// Cuts the carrier: the far end goes down. Returns the moment just before.
    ///
    /// # Errors
    /// [`LabError::System`] when it is unplugged.
    pub fn cut(&self) -> Result<Moment, LabError> {
        let links = &self.far_links;
        links.set_up(self.cable().far_index, false).map_err(self.unable_to("cut the carrier of"))
    }

    /// Restores the carrier. Returns the moment just before.
    ///
    /// # Errors
    /// [`LabError::System`] when it is unplugged.
    pub fn restore(&self) -> Result<Moment, LabError> {
        let links = &self.far_links;
        links.set_up(self.cable().far_index, true).map_err(self.unable_to("restore the carrier of"))
    }

    /// Whether the cable is in order: not [cut](Self::cut), whatever the machine does with its end.
    ///
    /// # Errors
    /// [`LabError::System`] when it is unplugged.
    pub fn is_in_order(&self) -> Result<bool, LabError> {
        self.far_links.is_up(self.cable().far_index).map_err(self.unable_to("look at the cable of"))
    }

    /// Whether the machine's interface is administratively up, as the kernel says.
    ///
    /// # Errors
    /// [`LabError::System`] when it is unplugged.
    pub fn is_administratively_up(&self) -> Result<bool, LabError> {
        self.near_links.is_up(self.cable().near_index).map_err(self.unable_to("look at the interface of"))
    }

    /// Slows what the access point sends; none ends that.
    ///
    /// # Errors
    /// [`LabError::NoDelays`] if the kernel cannot delay packets; [`LabError::System`] when it is unplugged.
    pub fn slow(&self, shaping: Option<Shaping>) -> Result<(), LabError> {
        let mut cable = self.cable();
        let delays = shaping.is_some_and(|shaping| shaping.delay.is_some());
        let slowed = self.far_links.shape(cable.far_index, shaping);
        if slowed.is_ok() {
            cable.shaping = shaping;
        } else if cable.shaping.is_some() {
            // The refused discipline has driven out the one before.
            self.far_links.shape(cable.far_index, cable.shaping).map_err(self.unable_to("slow"))?;
        }
        slowed.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound if delays => LabError::NoDelays { source },
            _ => self.unable_to("slow")(source),
        })
    }

    /// How it is [slowed](Self::slow).
    #[must_use]
    pub fn shaping(&self) -> Option<Shaping> {
        self.cable().shaping
    }

    /// Sets the machine's interface administratively up or down, as `ip link set` does. Returns the moment just before.
    ///
    /// Returns when the access point has noticed, so that no answer of its servers gets lost.
    ///
    /// # Errors
    /// [`LabError::System`] when it is unplugged.
    pub fn set_administratively_up(&self, up: bool) -> Result<Moment, LabError> {
        let unable = || self.unable_to("set the administrative state of");
        let cable = self.cable();
        let moment = self.near_links.set_up(cable.near_index, up).map_err(unable())?;
        self.far_links.settle(cable.far_index).map_err(unable())?;
        Ok(moment)
    }

    /// Unplugs the machine's card: the interface is gone. Returns the moment just before.
    ///
    /// # Errors
    /// [`LabError::System`] when it is unplugged already.
    pub fn unplug(&self) -> Result<Moment, LabError> {
        if let DhcpService::Scripted(server) = &self.dhcp {
            server.detach();
        }
        self.near_links.delete(self.cable().near_index).map_err(self.unable_to("unplug"))
    }

    /// Plugs the machine's card in, with the index it had before; administratively down. Returns the moment just before.
    ///
    /// # Errors
    /// [`LabError::System`] when it is plugged already.
    pub fn plug(&self) -> Result<Moment, LabError> {
        self.plug_with_index(self.index())
    }

    /// As [`Self::plug`], with another index.
    ///
    /// # Errors
    /// [`LabError::System`] when it is plugged already or the index is taken.
    pub fn plug_with_index(&self, index: u32) -> Result<Moment, LabError> {
        let mut cable = self.cable();
        let far_index = match self.card {
            Card::CardLike => index,
            Card::Ordinary if index == FAR_INDEX => FAR_INDEX + 1,
            Card::Ordinary => FAR_INDEX,
        };
        let near = CableEnd { name: &self.name, index, hardware_address: self.hardware_address };
        let far = CableEnd { name: FAR_END, index: far_index, hardware_address: self.router_hardware_address() };
        let unable = || self.unable_to("plug");
        let moment = self.near_links.create_cable(near, far, self.namespace.as_fd()).map_err(unable())?;
        (cable.near_index, cable.far_index) = (index, far_index);
        if !cable.offload {
            let ethtool = require("ethtool", "ethtool")?;
            self.namespace.command(ethtool).args(["--offload", FAR_END, "tx", "off"]).output()?;
        }
        self.far_links
            .add_address(far_index, cable.subnet.gateway().into(), cable.subnet.prefix_length())
            .map_err(unable())?;
        self.far_links.set_up(far_index, true).map_err(unable())?;
        if let DhcpService::Scripted(server) = &self.dhcp {
            drop(cable);
            server.attach(&self.namespace, self.far_end())?;
        }
        Ok(moment)
    }

    /// Takes an address for itself, as a stranger on the same link would: it answers ARP for it.
    ///
    /// # Errors
    /// [`LabError::System`] when it is unplugged or has the address.
    pub fn occupy(&self, address: Ipv4Addr) -> Result<(), LabError> {
        self.far_links
            .add_address(self.cable().far_index, address.into(), HOST_PREFIX_LENGTH)
            .map_err(self.unable_to(format!("take the address {address} for")))?;
        Ok(())
    }

    /// Moves to another subnet: gets its gateway's address, and the scripted server leases its addresses only.
    ///
    /// # Errors
    /// [`LabError::OtherDhcp`] without a scripted server; [`LabError::System`] when it is unplugged.
    pub fn move_to(&self, subnet: Subnet) -> Result<(), LabError> {
        let server = self.dhcp_server()?;
        let mut cable = self.cable();
        self.far_links
            .add_address(cable.far_index, subnet.gateway().into(), subnet.prefix_length())
            .map_err(self.unable_to(format!("move to {subnet}")))?;
        cable.subnet = subnet;
        server.change_subnet(subnet);
        Ok(())
    }

    /// Advertises itself as an IPv6 router, from fe80::1, once.
    ///
    /// # Errors
    /// [`LabError::System`] when it is unplugged or has no carrier.
    pub fn advertise(&self, advertisement: &RouterAdvertisement) -> Result<(), LabError> {
        let address = format!("{}/64", router_advertisement::ROUTER);
        let address = ["-6", "address", "replace", &address, "dev", FAR_END, "nodad"];
        self.namespace.command("ip").args(address).output()?;
        let index = self.cable().far_index;
        self.namespace.run(|| advertisement.send(index)).map_err(self.unable_to("advertise"))
    }

    /// Takes this address in an IPv6 network of 64 bits, and is the way to the internet there. Tells nobody: see
    /// [`Self::advertise`].
    ///
    /// # Errors
    /// [`LabError::CommandFailed`] when it is unplugged.
    pub fn serve_ipv6(&self, address: Ipv6Addr) -> Result<(), LabError> {
        let [network, internet] = [format!("{address}/64"), format!("{INTERNET_V6}/128")];
        for (address, interface) in [(network, FAR_END), (internet, "lo")] {
            let address = ["-6", "address", "replace", &address, "dev", interface, "nodad"];
            self.namespace.command("ip").args(address).output()?;
        }
        Ok(())
    }

    /// The log of dnsmasq, with one line for each DHCP message.
    ///
    /// # Errors
    /// [`LabError::OtherDhcp`].
    pub fn dhcp_log(&self) -> Result<&Record<String>, LabError> {
        match &self.dhcp {
            DhcpService::Dnsmasq(dnsmasq) => Ok(dnsmasq.log()),
            _ => Err(self.other_dhcp("dnsmasq")),
        }
    }

    /// The scripted DHCP server.
    ///
    /// # Errors
    /// [`LabError::OtherDhcp`].
    pub fn dhcp_server(&self) -> Result<&DhcpServer, LabError> {
        match &self.dhcp {
            DhcpService::Scripted(server) => Ok(server),
            _ => Err(self.other_dhcp("the scripted DHCP server")),
        }
    }

    fn other_dhcp(&self, wanted: &'static str) -> LabError {
        LabError::OtherDhcp { access_point: self.name.clone(), wanted }
    }

    fn unable_to(&self, action: impl fmt::Display) -> impl FnOnce(io::Error) -> LabError {
        LabError::unable_to(format!("{action} access point {}", self.name))
    }

    fn far_end(&self) -> FarEnd {
        FarEnd {
            name: FAR_END,
            index: self.cable().far_index,
            hardware_address: self.router_hardware_address(),
            links: self.far_links.clone(),
        }
    }

    fn cable(&self) -> MutexGuard<'_, Cable> {
        self.cable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
