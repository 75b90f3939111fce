use std::net::Ipv4Addr;

use netbearer_types::Moment;
use serde::{Deserialize, Serialize};

use crate::{Term, captive_portal, domain_name, reply};

/// An address for a time, and what the server says of the network around it. Checked: see each field. One that was read from
/// a file is to be [`Lease::checked`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The address: unicast, and neither the network nor the broadcast address of its own prefix.
    pub address: Ipv4Addr,
    /// 8 to 32. The address's class decides if the server did not tell (8, 16 or 24).
    pub prefix_length: u8,
    /// The server, as it wants to be called (option 54): where renewals and the release go.
    pub server_identifier: Ipv4Addr,
    /// Routers, the most preferred first (option 3); unicast addresses, at most 16. They may lie outside the prefix, as
    /// with the /32 leases of some clouds. To be ignored if there are classless routes: use [`Lease::routes`].
    pub routers: Vec<Ipv4Addr>,
    /// Classless static routes (option 121, RFC 3442), at most 16.
    pub classless_routes: Vec<Route>,
    /// Name servers, in the server's order (option 6); unicast addresses, at most 16.
    pub name_servers: Vec<Ipv4Addr>,
    /// Domains to search, in the server's order (option 119, RFC 3397), at most 16. Letters, digits, `-`, `_` and dots
    /// only, without a final dot.
    pub search_domains: Vec<String>,
    /// The client's own domain (option 15), in the same form.
    pub domain_name: Option<String>,
    /// The MTU of the network in bytes (option 26), 576 or more; smaller ones are taken for an attack and ignored.
    pub mtu: Option<u16>,
    /// The API of the network's captive portal (option 114, RFC 8910): an absolute URI of HTTP or HTTPS, at most 1,024
    /// octets. None also where the server says that there is no portal.
    pub captive_portal: Option<String>,
    /// The broadcast address (option 28), if it lies within the prefix.
    pub broadcast: Option<Ipv4Addr>,
    /// When the server was asked for what it granted: the times of the term count from here (RFC 2131 §4.4.1).
    pub acquired_at: Moment,
    /// How long the lease lasts.
    pub term: Term,
}

/// A route that a server announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The network; 0.0.0.0 for the default route. Bits beyond the prefix are zero.
    pub destination: Ipv4Addr,
    /// 0 to 32.
    pub prefix_length: u8,
    /// The next hop, a unicast address; none if the destination is on the link.
    pub gateway: Option<Ipv4Addr>,
}

impl Route {
    /// The route to everywhere.
    #[must_use]
    pub const fn default_via(gateway: Ipv4Addr) -> Self {
        Self { destination: Ipv4Addr::UNSPECIFIED, prefix_length: 0, gateway: Some(gateway) }
    }

    /// True for a default route.
    #[must_use]
    pub const fn is_default(&self) -> bool {
        self.prefix_length == 0
    }
}

impl Lease {
    /// The same, checked as if a server had just sent it, as files can be wrong too: less what cannot be; none if nothing is
    /// left.
    #[must_use]
    pub fn checked(self) -> Option<Self> {
        reply::check_address(self.address, self.prefix_length).ok()?;
        let lease = Self {
            search_domains: self.search_domains.iter().filter_map(|name| domain_name::parse(name)).collect(),
            domain_name: self.domain_name.as_deref().and_then(domain_name::parse),
            captive_portal: self.captive_portal.as_deref().and_then(|uri| captive_portal::parse(uri.as_bytes())),
            ..self
        };
        let can_be = reply::is_host(lease.server_identifier) && lease.term.is_in_order();
        can_be.then(|| reply::without_the_impossible(lease))
    }

    /// The routes to install besides that of the prefix itself: the classless ones, and only if there are none a default
    /// route for each router (RFC 3442, "Client Behavior": routers MUST then be ignored).
    #[must_use]
    pub fn routes(&self) -> Vec<Route> {
        if self.classless_routes.is_empty() {
            self.routers.iter().copied().map(Route::default_via).collect()
        } else {
            self.classless_routes.clone()
        }
    }

    /// The next hop of the first default route there is to install: what the network is known by.
    #[must_use]
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.routes().iter().filter(|route| route.is_default()).find_map(|route| route.gateway)
    }

    /// True if anything but times and server differs.
    #[must_use]
    pub fn differs_from(&self, other: &Self) -> bool {
        let aligned = Self {
            acquired_at: other.acquired_at,
            term: other.term,
            server_identifier: other.server_identifier,
            ..self.clone()
        };
        aligned != *other
    }
}
