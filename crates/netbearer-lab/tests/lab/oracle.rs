//! Another implementation as the judge: from the same server NetBearer's client and `mozim` must get the same lease.

use std::net::Ipv4Addr;

use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4Lease, DhcpV4State};
use netbearer_dhcp::{Lease, Route, Term};
use netbearer_lab::{
    AccessPoint, AccessPointPlan, Dhcp, Lab, Script,
    dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode, UnknownOption},
};
use tokio::runtime;

use crate::{PATIENCE, our_client::OurClient};

/// What both say of a lease, in the same words.
#[derive(Debug, PartialEq)]
struct Terms {
    address: Ipv4Addr,
    prefix_length: u8,
    server: Ipv4Addr,
    routes: Vec<(Ipv4Addr, u8, Option<Ipv4Addr>)>,
    name_servers: Vec<Ipv4Addr>,
    search_domains: Vec<String>,
    domain_name: Option<String>,
    mtu: Option<u16>,
    broadcast: Option<Ipv4Addr>,
    /// T1, T2 and the whole, in seconds.
    times: [u64; 3],
}

impl From<Lease> for Terms {
    fn from(lease: Lease) -> Self {
        let Term::Limited { renew_at, rebind_at, expires_at } = lease.term else { panic!("{lease:?} should end") };
        let route = |route: Route| (route.destination, route.prefix_length, route.gateway);
        Self {
            address: lease.address,
            prefix_length: lease.prefix_length,
            server: lease.server_identifier,
            routes: lease.routes().into_iter().map(route).collect(),
            times: [renew_at, rebind_at, expires_at].map(|moment| (moment - lease.acquired_at).as_secs()),
            name_servers: lease.name_servers,
            search_domains: lease.search_domains,
            domain_name: lease.domain_name,
            mtu: lease.mtu,
            broadcast: lease.broadcast,
        }
    }
}

impl From<DhcpV4Lease> for Terms {
    fn from(lease: DhcpV4Lease) -> Self {
        let default = |gateway: &Ipv4Addr| (Ipv4Addr::UNSPECIFIED, 0, Some(*gateway));
        // RFC 3442: routers count only without classless routes; 0.0.0.0 means "on the link".
        let routes = match &lease.classless_routes {
            Some(routes) => routes
                .iter()
                .map(|route| {
                    let gateway = (!route.router.is_unspecified()).then_some(route.router);
                    (route.destination, route.prefix_length, gateway)
                })
                .collect(),
            None => lease.gateways.iter().flatten().map(default).collect(),
        };
        Self {
            address: lease.yiaddr,
            prefix_length: lease.prefix_length(),
            server: lease.srv_id,
            routes,
            times: [lease.t1_sec, lease.t2_sec, lease.lease_time_sec].map(u64::from),
            name_servers: lease.dns_srvs.unwrap_or_default(),
            search_domains: lease.domain_search.unwrap_or_default(),
            domain_name: lease.domain_name,
            mtu: lease.mtu,
            broadcast: lease.broadcast_addr,
        }
    }
}

/// The lease that `mozim` gets.
fn theirs(lab: &Lab, access_point: &AccessPoint) -> DhcpV4Lease {
    access_point.set_administratively_up(true).expect("plugged");
    let mut configuration = DhcpV4Config::new(access_point.name());
    configuration.set_iface_index(access_point.index());
    configuration.set_iface_mac_raw(&access_point.hardware_address()).expect("six octets");
    let acquire = async {
        let mut client = DhcpV4Client::init(configuration, None).await.expect("a socket");
        loop {
            if let DhcpV4State::Done(lease) = client.run().await.expect("it goes on") {
                return *lease;
            }
        }
    };
    let lease = lab.machine().run(|| {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { tokio::time::timeout(PATIENCE, acquire).await }).map_err(std::io::Error::other)
    });
    lease.expect("mozim gets a lease in time")
}

/// Both leases from a server that puts these options into its answers.
fn leases(script: Script, options: &[DhcpOption]) -> (Terms, Terms) {
    let plan = AccessPointPlan::new("ap0").dhcp(Dhcp::Scripted(script)).without_checksum_offload();
    let lab = Lab::builder().reverse_path_filter(0).access_point(plan).build().expect("a lab");
    let ap0 = lab.access_point("ap0").expect("planned");
    let options = options.to_vec();
    ap0.dhcp_server().expect("scripted").alter_answers(move |answer: &mut Message| {
        if answer.opts().msg_type() != Some(MessageType::Nak) {
            options.iter().for_each(|option| drop(answer.opts_mut().insert(option.clone())));
        }
    });
    let theirs = theirs(&lab, ap0);
    (OurClient::start(&lab, ap0).lease().into(), theirs.into())
}

fn times() -> [DhcpOption; 3] {
    [DhcpOption::AddressLeaseTime(600), DhcpOption::Renewal(200), DhcpOption::Rebinding(400)]
}

#[test]
fn a_plain_lease_is_the_same() {
    let (ours, theirs) = leases(Script::default(), &times());
    assert_eq!(ours, theirs);
    assert_eq!((ours.prefix_length, ours.times), (24, [200, 400, 600]));
}

#[test]
fn a_lease_with_everything_is_the_same() {
    let name_servers = [[10, 10, 0, 53], [192, 0, 2, 53]].map(Ipv4Addr::from).to_vec();
    let search = b"\x03eng\x07example\x03com\x00\x04labs\xc0\x04".to_vec();
    let options = [
        DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 254, 0)),
        DhcpOption::Router([[10, 10, 0, 1], [10, 10, 0, 2]].map(Ipv4Addr::from).to_vec()),
        DhcpOption::DomainNameServer(name_servers.clone()),
        DhcpOption::DomainName("example.com".to_owned()),
        DhcpOption::Unknown(UnknownOption::new(OptionCode::DomainSearch, search)),
        DhcpOption::InterfaceMtu(1_400),
        DhcpOption::BroadcastAddr(Ipv4Addr::new(10, 10, 1, 255)),
    ];
    let (ours, theirs) = leases(Script::default(), &[&times()[..], &options].concat());
    assert_eq!(ours, theirs);
    assert_eq!((ours.mtu, ours.prefix_length, ours.routes.len()), (Some(1_400), 23, 2));
    assert_eq!((ours.name_servers, ours.search_domains.len()), (name_servers, 2));
}

#[test]
fn classless_routes_are_the_same() {
    let octets = [&[0, 10, 10, 0, 1][..], &[24, 203, 0, 113, 10, 10, 0, 2], &[12, 172, 16, 0, 0, 0, 0]].concat();
    let routes = DhcpOption::Unknown(UnknownOption::new(OptionCode::ClasslessStaticRoute, octets));
    let (ours, theirs) = leases(Script::default(), &[&times()[..], &[routes]].concat());
    assert_eq!(ours, theirs);
    assert_eq!(ours.routes.len(), 3);
}

/// `mozim` needs four messages, our client two.
#[test]
fn a_lease_in_two_messages_is_the_same_as_one_in_four() {
    let (ours, theirs) = leases(Script::default().rapid_commit(true), &times());
    assert_eq!(ours, theirs);
}
