use std::{
    net::Ipv4Addr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use netbearer_types::Moment;
use serde::{Deserialize, Serialize};

use crate::{Lease, Route, Term, random::Random};

/// What is worth keeping of a lease in a file, to ask for the same address after a restart or reboot (RFC 2131 §3.2).
///
/// Its end is told by the wall clock, because moments mean nothing after a reboot. The wall clock may be wrong; as the
/// server is always asked before the address is used, or at least beside it, that costs a round trip at worst.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedLease {
    /// The address that was leased.
    pub address: Ipv4Addr,
    /// The end of the lease in seconds since 1970 (Unix time); none if it has no end.
    pub expires_at: Option<u64>,
    /// The network around the address, by which it can be known again. Older files have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<RememberedNetwork>,
}

/// By what a network is known again ([`KnownNetwork`]), and what its server said of it.
///
/// [`KnownNetwork`]: crate::KnownNetwork
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedNetwork {
    /// The gateway: [`Lease::gateway`].
    pub gateway: Ipv4Addr,
    /// The gateway's Ethernet address.
    pub gateway_hardware_address: [u8; 6],
    /// [`Lease::server_identifier`].
    pub server_identifier: Ipv4Addr,
    /// [`Lease::prefix_length`].
    pub prefix_length: u8,
    /// [`Lease::routers`].
    #[serde(default)]
    pub routers: Vec<Ipv4Addr>,
    /// [`Lease::classless_routes`].
    #[serde(default)]
    pub classless_routes: Vec<Route>,
    /// [`Lease::name_servers`].
    #[serde(default)]
    pub name_servers: Vec<Ipv4Addr>,
    /// [`Lease::search_domains`].
    #[serde(default)]
    pub search_domains: Vec<String>,
    /// [`Lease::domain_name`].
    pub domain_name: Option<String>,
    /// [`Lease::mtu`].
    pub mtu: Option<u16>,
    /// [`Lease::captive_portal`].
    pub captive_portal: Option<String>,
    /// [`Lease::broadcast`].
    pub broadcast: Option<Ipv4Addr>,
}

impl RememberedLease {
    /// What to keep of `lease`; `now` and `wall_clock` are the same instant on both clocks.
    #[must_use]
    pub fn new(lease: &Lease, now: Moment, wall_clock: SystemTime) -> Self {
        let expires_at = lease
            .term
            .expires_at()
            .map(|expires_at| (since_1970(wall_clock) + expires_at.saturating_since(now)).as_secs());
        Self { address: lease.address, expires_at, network: None }
    }

    /// The same with the network of `lease`, whose gateway was found at that Ethernet address. Without a gateway there is
    /// nothing to know the network by, and nothing is added.
    #[must_use]
    pub fn with_network(self, lease: &Lease, gateway_hardware_address: [u8; 6]) -> Self {
        let network = lease.gateway().map(|gateway| RememberedNetwork {
            gateway,
            gateway_hardware_address,
            server_identifier: lease.server_identifier,
            prefix_length: lease.prefix_length,
            routers: lease.routers.clone(),
            classless_routes: lease.classless_routes.clone(),
            name_servers: lease.name_servers.clone(),
            search_domains: lease.search_domains.clone(),
            domain_name: lease.domain_name.clone(),
            mtu: lease.mtu,
            captive_portal: lease.captive_portal.clone(),
            broadcast: lease.broadcast,
        });
        Self { network, ..self }
    }

    /// True if the lease has not ended by this wall clock.
    #[must_use]
    pub fn is_valid(&self, wall_clock: SystemTime) -> bool {
        self.expires_at.is_none_or(|expires_at| since_1970(wall_clock).as_secs() < expires_at)
    }

    /// The whole lease, checked as if a server had just sent it, as files can be wrong too; none if it has ended, its
    /// network is not remembered, or its address cannot be. Its times to renew and rebind are nominal: somebody who
    /// remembers a lease asks at once.
    pub(crate) fn lease(&self, now: Moment, wall_clock: SystemTime) -> Option<Lease> {
        let network = self.network.as_ref().filter(|_| self.is_valid(wall_clock))?;
        let term = match self.expires_at {
            None => Term::Infinite,
            Some(expires_at) => {
                let left = expires_at.saturating_sub(since_1970(wall_clock).as_secs());
                Term::granted(now, u32::try_from(left).ok()?, None, None, &mut Random::new(0))?
            }
        };
        let lease = Lease {
            address: self.address,
            prefix_length: network.prefix_length,
            server_identifier: network.server_identifier,
            routers: network.routers.clone(),
            classless_routes: network.classless_routes.clone(),
            name_servers: network.name_servers.clone(),
            search_domains: network.search_domains.clone(),
            domain_name: network.domain_name.clone(),
            mtu: network.mtu,
            captive_portal: network.captive_portal.clone(),
            broadcast: network.broadcast,
            acquired_at: now,
            term,
        };
        lease.checked()
    }
}

fn since_1970(wall_clock: SystemTime) -> Duration {
    wall_clock.duration_since(UNIX_EPOCH).unwrap_or_default()
}
