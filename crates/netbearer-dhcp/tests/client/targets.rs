//! What the fuzz targets do with their octets. The committed corpus goes the same way in an ordinary test.

use std::net::Ipv4Addr;

use netbearer_dhcp::{
    ClientConfiguration, ClientIdentifier, RememberedLease,
    frame::{self, ChecksumState},
};

use crate::{
    history::{HARDWARE_ADDRESS, History},
    operation::Operation,
    server::Server,
};

/// A whole client: three octets of configuration, then operations.
pub(crate) fn dhcp_client(octets: &[u8]) {
    const LEASE_SECONDS: [u32; 8] = [0, 1, 2, 10, 120, 3_600, 4_294_967_294, u32::MAX];
    let Some((&[flags, lease, seed], mut operations)) = octets.split_first_chunk() else { return };
    let mut configuration = ClientConfiguration::new(HARDWARE_ADDRESS, u64::from(seed));
    if flags & 1 != 0 {
        configuration.client_identifier = Some(ClientIdentifier::from_hardware_address(HARDWARE_ADDRESS));
    }
    if flags & 2 != 0 {
        let address = if flags & 8 != 0 { Server::ADDRESS } else { Ipv4Addr::from([203, 0, 113, flags]) };
        configuration.remembered = Some(RememberedLease { address, expires_at: None });
    }
    configuration.broadcast = flags & 4 != 0;
    let mut history = History::new(configuration, Server::new(LEASE_SECONDS[usize::from(lease) % 8]));
    while let Some(operation) = Operation::read(&mut operations) {
        history.apply(&operation);
    }
    history.server = Server::new(60);
    history.settle();
}

/// The decoder of frames: one octet for the state of the checksum, then a packet.
pub(crate) fn dhcp_frame(octets: &[u8]) {
    let Some((&state, packet)) = octets.split_first() else { return };
    let states = [ChecksumState::Unknown, ChecksumState::Verified, ChecksumState::Unfinished];
    let Ok(datagram) = frame::decode(packet, states[usize::from(state) % states.len()]) else { return };
    assert!(datagram.payload.len() + 28 <= packet.len());
    let encoded = frame::encode(datagram.source, datagram.destination, datagram.payload).expect("it was in a packet");
    assert_eq!(encoded.len(), datagram.payload.len() + 28);
}
