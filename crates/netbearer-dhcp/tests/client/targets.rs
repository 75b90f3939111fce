//! What the fuzz targets do with their octets. The committed corpus goes the same way in an ordinary test.

use std::{
    net::Ipv4Addr,
    time::{Duration, SystemTime},
};

use netbearer_dhcp::{
    AddressGuard, ClientConfiguration, ClientIdentifier, KnownNetwork, RememberedLease, RememberedNetwork,
    arp::{LENGTH, Message},
    frame::{self, ChecksumState},
};
use netbearer_types::Moment;

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
        configuration.remembered = Some(RememberedLease { address, expires_at: None, network: None });
    }
    configuration.broadcast = flags & 4 != 0;
    configuration.rapid_commit = flags & 16 == 0;
    configuration.ipv6_only = flags & 32 != 0;
    let lease_seconds = LEASE_SECONDS[usize::from(lease) % 8];
    let server = Server { rapid_commit: flags & 64 != 0, ..Server::new(lease_seconds) };
    let mut history = History::new(configuration, server);
    while let Some(operation) = Operation::read(&mut operations) {
        history.apply(&operation);
    }
    history.server = Server::new(60);
    history.settle();
}

/// The parser of options: one octet of configuration, then the options of an offer and of its acknowledgement.
pub(crate) fn dhcp_options(octets: &[u8]) {
    const OFFER: u8 = 2;
    const ACKNOWLEDGEMENT: u8 = 5;
    let Some((&flags, options)) = octets.split_first() else { return };
    let mut configuration = ClientConfiguration::new(HARDWARE_ADDRESS, u64::from(flags));
    configuration.ipv6_only = flags & 1 != 0;
    let mut history = History::new(configuration, Server::new(60));
    history.start();
    // What every reply must say, so that the rest is looked at.
    let server_and_time: &[u8] = if flags & 2 == 0 { &[54, 4, 192, 0, 2, 1, 51, 4, 0, 0, 14, 16] } else { &[] };
    let options = [server_and_time, options].concat();
    for message_type in [OFFER, ACKNOWLEDGEMENT] {
        let address = Server::ADDRESS.octets();
        history.apply(&Operation::Reply { message_type, address, options: options.clone() });
    }
    history.apply(&Operation::Fetch);
    history.settle();
}

/// The decoder of address resolution and those who listen to it: for each message one octet for the time that passes
/// before, in tenths of a second, one for its length, and its octets.
pub(crate) fn arp(octets: &[u8]) {
    let mut now = Moment::from_nanoseconds(5_000_000_000);
    let mut guard = AddressGuard::new(HARDWARE_ADDRESS, [], Server::ADDRESS, now);
    let mut known_network = KnownNetwork::new(&remembered_network(), HARDWARE_ADDRESS, now, SystemTime::UNIX_EPOCH)
        .expect("such a network can be asked for");
    let (mut conflicts, mut confirmations) = (0, 0);
    let mut rest = octets;
    while let Some((&[tenths, length], after)) = rest.split_first_chunk() {
        let (packet, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        now = now + Duration::from_millis(100) * u32::from(tenths);
        guard.handle_timeout(now);
        known_network.handle_timeout(now);
        for timeout in [guard.poll_timeout(), known_network.poll_timeout()] {
            assert!(timeout.is_none_or(|timeout| timeout > now), "a deadline that was handled lies in the past");
        }
        if let Ok(message) = Message::decode(packet) {
            assert_eq!(Some(message.encode().as_slice()), packet.get(..LENGTH));
            guard.handle_message(&message, now);
            known_network.handle_message(&message);
        }
        conflicts += u32::from(guard.poll_conflict().is_some());
        confirmations += u32::from(known_network.poll_confirmation().is_some());
        for transmit in [guard.poll_transmit(), known_network.poll_transmit()].into_iter().flatten() {
            assert_eq!(Message::decode(&transmit.message.encode()), Ok(transmit.message));
        }
        assert_eq!((guard.poll_transmit(), known_network.poll_transmit()), (None, None));
    }
    assert!(conflicts <= 1 && confirmations <= 1, "a verdict was told twice");
    assert!(conflicts == 0 || guard.poll_timeout().is_none(), "a guard that has given up waits for something");
}

fn remembered_network() -> RememberedLease {
    let network = RememberedNetwork {
        gateway: Server::IDENTIFIER,
        gateway_hardware_address: [2, 0, 0, 0, 0, 1],
        server_identifier: Server::IDENTIFIER,
        prefix_length: 24,
        routers: vec![Server::IDENTIFIER],
        classless_routes: Vec::new(),
        name_servers: Vec::new(),
        search_domains: Vec::new(),
        domain_name: None,
        mtu: None,
        captive_portal: None,
        broadcast: None,
    };
    RememberedLease { address: Server::ADDRESS, expires_at: None, network: Some(network) }
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
