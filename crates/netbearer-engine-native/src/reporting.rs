//! What the cache says of an interface, in the core's words. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use netbearer_dhcp::Lease;
use netbearer_kernel::{Announcement, Cache, Link, Route, RouteKind, RouteSpec, RouterOption};
use netbearer_types::{Families, Interface, InterfaceAddress, LinkLevel, Profile};

/// Name servers and search domains learnt on a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) servers: Vec<IpAddr>,
    pub(crate) search_domains: Vec<String>,
    /// The profile says which servers there are, whatever the network tells.
    pub(crate) servers_are_told: bool,
    /// The same of search domains.
    pub(crate) search_domains_are_told: bool,
}

impl Names {
    /// What a lease brings, or what the profile says instead.
    pub(crate) fn new(profile: &Profile, lease: Option<&Lease>) -> Self {
        let of_lease = lease.map(|lease| lease.name_servers.iter().copied().map(IpAddr::V4).collect());
        let servers_are_told = !profile.name_servers.is_empty();
        let search_domains_are_told = !profile.search_domains.is_empty();
        let told_domains = || profile.search_domains.iter().map(|domain| domain.as_str().to_owned()).collect();
        Self {
            servers: if servers_are_told { profile.name_servers.clone() } else { of_lease.unwrap_or_default() },
            search_domains: if search_domains_are_told {
                told_domains()
            } else {
                lease.map(|lease| lease.search_domains.clone()).unwrap_or_default()
            },
            servers_are_told,
            search_domains_are_told,
        }
    }

    /// These first, then what routers announce and is not among them.
    pub(crate) fn joined<'a>(mut self, announcements: impl Iterator<Item = &'a Announcement>) -> Self {
        for announcement in announcements {
            match &announcement.option {
                RouterOption::RecursiveServer(server) if !self.servers_are_told => {
                    add(&mut self.servers, IpAddr::V6(*server))
                }
                RouterOption::SearchDomain(domain) if !self.search_domains_are_told => {
                    add(&mut self.search_domains, domain.clone())
                }
                _ => {}
            }
        }
        self
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

pub(crate) fn link_level(cache: &Cache, link: &Link, names: &Names) -> LinkLevel {
    let routes: Vec<&Route> = cache
        .routes_over(link.index)
        .filter(|route| route.kind == RouteKind::Unicast && !is_link_local(route))
        .collect();
    let defaults = || routes.iter().filter(|route| route.is_default());
    let mut addresses: Vec<InterfaceAddress> = cache
        .addresses_of(link.index)
        .map(|address| InterfaceAddress {
            address: address.address,
            prefix_length: address.prefix_length,
            scope: address.scope,
            tentative: address.duplicate || (address.tentative && !address.optimistic),
        })
        .collect();
    addresses.sort_unstable();
    // The same router may stand in our table and in the main one.
    let mut gateways: BTreeMap<IpAddr, u32> = BTreeMap::new();
    for route in defaults() {
        for gateway in
            route.next_hops.iter().filter(|hop| hop.interface == Some(link.index)).filter_map(|hop| hop.gateway)
        {
            let metric = gateways.entry(gateway).or_insert(route.metric);
            *metric = route.metric.min(*metric);
        }
    }
    let mut gateways: Vec<(u32, IpAddr)> = gateways.into_iter().map(|(gateway, metric)| (metric, gateway)).collect();
    gateways.sort_unstable();
    let level = LinkLevel {
        administratively_up: false,
        carrier: false,
        carrier_losses: 0,
        interface: Interface {
            name: String::new(),
            index: link.index,
            hardware_address: String::new(),
            mtu: 0,
            addresses,
            gateways: gateways.into_iter().map(|(_, gateway)| gateway).collect(),
            name_servers: names.servers.clone(),
            search_domains: names.search_domains.clone(),
        },
        routed: families(routes.iter().copied()),
        default_route: families(defaults().copied().filter(|route| route.table == RouteSpec::MAIN_TABLE)),
    };
    with_link(level, link)
}

/// The same addresses and routes on the link as it is now.
pub(crate) fn with_link(level: LinkLevel, link: &Link) -> LinkLevel {
    LinkLevel {
        administratively_up: link.administratively_up,
        carrier: link.carrier,
        carrier_losses: link.carrier_losses,
        interface: Interface {
            name: link.name.clone(),
            index: link.index,
            hardware_address: link.hardware_address.to_string(),
            mtu: link.mtu,
            ..level.interface
        },
        ..level
    }
}

fn families<'a>(routes: impl Iterator<Item = &'a Route>) -> Families {
    routes.fold(Families::empty(), |families, route| families | Families::from(route.family))
}

/// IPv6 has such routes on every link that is up, so they say nothing.
fn is_link_local(route: &Route) -> bool {
    match route.destination {
        IpAddr::V4(destination) => destination.is_link_local(),
        IpAddr::V6(destination) => destination.is_unicast_link_local() || destination.is_multicast(),
    }
}
