use crate::{ClientIdentifier, RememberedLease};

/// Who the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfiguration {
    /// The interface's Ethernet address.
    pub hardware_address: [u8; 6],
    /// Sent if set. Must stay the same as long as leases are to be recognised.
    pub client_identifier: Option<ClientIdentifier>,
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
    /// A client known by its hardware address, with nothing remembered.
    #[must_use]
    pub const fn new(hardware_address: [u8; 6], seed: u64) -> Self {
        Self { hardware_address, client_identifier: None, remembered: None, broadcast: false, seed }
    }
}
