use crate::{ClientIdentifier, HostName, RememberedLease, VendorClass};

/// Who the client is, and what it asks for. Begin with [`ClientConfiguration::new`] and change what is to differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfiguration {
    /// The interface's Ethernet address.
    pub hardware_address: [u8; 6],
    /// Sent if set (option 61); by default servers know the client by its hardware address. Must stay the same as long as
    /// leases are to be recognised.
    pub client_identifier: Option<ClientIdentifier>,
    /// Sent if set (option 12). By default nobody is told a name, as it follows its bearer from network to network
    /// (RFC 7844 §3.7).
    pub host_name: Option<HostName>,
    /// Sent if set (option 60); by default not.
    pub vendor_class: Option<VendorClass>,
    /// Take a lease in two messages instead of four from servers that can (option 80, RFC 4039). On by default.
    pub rapid_commit: bool,
    /// Do without IPv4 on networks that want it so (option 108, RFC 8925): for hosts that can live on IPv6 alone. Off by
    /// default.
    pub ipv6_only: bool,
    /// A lease had earlier on this network, to be asked for again: one round trip instead of two (RFC 2131 §3.2). Whether
    /// it has expired is the caller's to see: [`RememberedLease::is_valid`].
    pub remembered: Option<RememberedLease>,
    /// Ask the server to broadcast its replies (RFC 2131 §4.1). Needed only by those who cannot receive unicast without
    /// an address; a packet socket can.
    pub broadcast: bool,
    /// Seed of transaction identifiers and jitter. Must be unpredictable outside of tests: the transaction identifier is
    /// all that keeps a forger who cannot see our packets from answering them.
    pub seed: u64,
}

impl ClientConfiguration {
    /// A client known by its hardware address, with nothing remembered and nothing told that need not be.
    #[must_use]
    pub const fn new(hardware_address: [u8; 6], seed: u64) -> Self {
        Self {
            hardware_address,
            client_identifier: None,
            host_name: None,
            vendor_class: None,
            rapid_commit: true,
            ipv6_only: false,
            remembered: None,
            broadcast: false,
            seed,
        }
    }
}
