//! IPv4 and UDP headers around DHCP messages, for a packet socket that leaves the Ethernet header to the kernel
//! (`AF_PACKET`, `SOCK_DGRAM`; packet(7)).

use std::net::Ipv4Addr;

/// UDP port of servers and relays.
pub const SERVER_PORT: u16 = 67;

/// UDP port of clients.
pub const CLIENT_PORT: u16 = 68;

const SHORTEST_IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;
const TIME_TO_LIVE: u8 = 64;
const MORE_FRAGMENTS_OR_OFFSET: u16 = 0x3fff;

/// What is known of a datagram's UDP checksum before looking at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumState {
    /// Nothing: it is verified here.
    #[default]
    Unknown,
    /// It was verified already (`TP_STATUS_CSUM_VALID` in `PACKET_AUXDATA`).
    Verified,
    /// It was never completed, because the packet has not left this machine (`TP_STATUS_CSUMNOTREADY`), as on a veth.
    Unfinished,
}

/// A datagram from a server to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'packet> {
    /// Who sent it: the server, or a relay.
    pub source: Ipv4Addr,
    /// To whom.
    pub destination: Ipv4Addr,
    /// The DHCP message.
    pub payload: &'packet [u8],
}

/// Why a packet is no datagram of DHCP, or cannot become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Shorter than its headers say, or than they must be.
    #[error("the packet is truncated")]
    Truncated,
    /// Longer than an IPv4 packet can be.
    #[error("{0} octets do not fit a datagram")]
    TooLong(usize),
    /// Not IPv4.
    #[error("the packet is of IP version {0}")]
    Version(u8),
    /// A part of a packet. DHCP messages fit any link.
    #[error("the packet is a fragment")]
    Fragment,
    /// Not UDP.
    #[error("the packet is of IP protocol {0}")]
    Protocol(u8),
    /// Not from a server's to a client's port.
    #[error("the datagram is from port {source_port} to port {destination_port}")]
    Ports {
        /// From there.
        source_port: u16,
        /// To there.
        destination_port: u16,
    },
    /// The header's checksum is wrong.
    #[error("the checksum of the IPv4 header is wrong")]
    HeaderChecksum,
    /// The datagram's checksum is wrong.
    #[error("the checksum of the datagram is wrong")]
    Checksum,
}

/// A packet with `payload`, from a client to a server.
///
/// # Errors
/// [`FrameError::TooLong`] for more than 65,507 octets.
pub fn encode(source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Result<Vec<u8>, FrameError> {
    let too_long = |_| FrameError::TooLong(payload.len());
    let udp_length = u16::try_from(UDP_HEADER + payload.len()).map_err(too_long)?;
    let total_length = u16::try_from(SHORTEST_IP_HEADER + UDP_HEADER + payload.len()).map_err(too_long)?;

    let header = |checksum: u16| {
        let [length_high, length_low] = total_length.to_be_bytes();
        let [checksum_high, checksum_low] = checksum.to_be_bytes();
        // Version 4 with 5 words of header; identification, fragment and service fields zero.
        let fixed = [0x45, 0, length_high, length_low, 0, 0, 0, 0, TIME_TO_LIVE, UDP, checksum_high, checksum_low];
        [fixed.as_slice(), &source.octets(), &destination.octets()].concat()
    };
    let datagram = |checksum: u16| {
        let fields = [CLIENT_PORT, SERVER_PORT, udp_length, checksum];
        [fields.map(u16::to_be_bytes).as_flattened(), payload].concat()
    };
    let header_checksum = !sum(0, &header(0));
    let udp_checksum = match !sum(pseudo_header(source, destination, udp_length), &datagram(0)) {
        // Zero means "none" (RFC 768), so it is sent as its equal.
        0 => u16::MAX,
        checksum => checksum,
    };
    Ok([header(header_checksum), datagram(udp_checksum)].concat())
}

/// The datagram in a packet, if it is from a server's to a client's port. What follows the packet's own length is
/// padding of the link, and left out.
///
/// # Errors
/// Why it is not.
pub fn decode(packet: &[u8], checksum_state: ChecksumState) -> Result<Datagram<'_>, FrameError> {
    let (&first, _) = packet.split_first().ok_or(FrameError::Truncated)?;
    if first >> 4 != 4 {
        return Err(FrameError::Version(first >> 4));
    }
    let header_length = usize::from(first & 0xf) * 4;
    let total_length = usize::from(word(packet, 2)?);
    if header_length < SHORTEST_IP_HEADER || total_length < header_length {
        return Err(FrameError::Truncated);
    }
    let packet = packet.get(..total_length).ok_or(FrameError::Truncated)?;
    let (header, datagram) = packet.split_at_checked(header_length).ok_or(FrameError::Truncated)?;
    if sum(0, header) != u16::MAX {
        return Err(FrameError::HeaderChecksum);
    }
    if word(header, 6)? & MORE_FRAGMENTS_OR_OFFSET != 0 {
        return Err(FrameError::Fragment);
    }
    let [_, protocol] = word(header, 8)?.to_be_bytes();
    if protocol != UDP {
        return Err(FrameError::Protocol(protocol));
    }
    let (source, destination) = (address(header, 12)?, address(header, 16)?);

    let (source_port, destination_port) = (word(datagram, 0)?, word(datagram, 2)?);
    if (source_port, destination_port) != (SERVER_PORT, CLIENT_PORT) {
        return Err(FrameError::Ports { source_port, destination_port });
    }
    let udp_length = word(datagram, 4)?;
    let has_checksum = word(datagram, 6)? != 0;
    let datagram = datagram.get(..usize::from(udp_length)).ok_or(FrameError::Truncated)?;
    let payload = datagram.get(UDP_HEADER..).ok_or(FrameError::Truncated)?;
    if checksum_state == ChecksumState::Unknown
        && has_checksum
        && sum(pseudo_header(source, destination, udp_length), datagram) != u16::MAX
    {
        return Err(FrameError::Checksum);
    }
    Ok(Datagram { source, destination, payload })
}

fn word(octets: &[u8], at: usize) -> Result<u16, FrameError> {
    match octets.get(at..at + 2) {
        Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
        _ => Err(FrameError::Truncated),
    }
}

fn address(octets: &[u8], at: usize) -> Result<Ipv4Addr, FrameError> {
    Ok(Ipv4Addr::from_bits(u32::from(word(octets, at)?) << 16 | u32::from(word(octets, at + 2)?)))
}

/// The sum over the pseudo header that a UDP checksum includes (RFC 768).
fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, udp_length: u16) -> u16 {
    let [length_high, length_low] = udp_length.to_be_bytes();
    let addresses = [source.octets(), destination.octets()];
    sum(sum(0, addresses.as_flattened()), &[0, UDP, length_high, length_low])
}

/// The one's complement sum of 16-bit words (RFC 1071), begun with `start`; an odd last octet counts as a high one.
fn sum(start: u16, octets: &[u8]) -> u16 {
    let total = octets.chunks(2).fold(u64::from(start), |total, pair| match *pair {
        [high, low] => total + u64::from(u16::from_be_bytes([high, low])),
        [high] => total + (u64::from(high) << 8),
        _ => total,
    });
    fold(total)
}

#[allow(clippy::cast_possible_truncation, reason = "folded until it fits")]
const fn fold(mut total: u64) -> u16 {
    while total > u16::MAX as u64 {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

    /// A packet from server to client, made from one in the other direction by swapping ports: sums do not notice.
    fn reply(payload: &[u8]) -> Vec<u8> {
        let mut packet = encode(SERVER, CLIENT, payload).expect("the payload is short");
        packet[20..24].rotate_left(2);
        packet
    }

    /// Sets octets of the header and repairs its checksum.
    fn with_header(mut packet: Vec<u8>, at: usize, octets: &[u8]) -> Vec<u8> {
        packet[at..at + octets.len()].copy_from_slice(octets);
        packet[10..12].fill(0);
        let checksum = !sum(0, &packet[..20]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    #[test]
    fn a_known_header_has_its_known_checksum() {
        // The example everybody checks against: 192.168.0.1 → 192.168.0.199, UDP, 115 octets.
        let header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(!sum(0, &header), 0xb861);
    }

    #[test]
    fn what_is_encoded_is_decoded_whatever_its_length() {
        for length in [0, 1, 2, 299, 300, 1_472] {
            let payload: Vec<u8> = (0..=255).cycle().take(length).collect();
            let packet = reply(&payload);
            assert_eq!(packet.len(), 28 + length);
            let datagram = decode(&packet, ChecksumState::Unknown).expect("it is as it should be");
            assert_eq!(datagram, Datagram { source: SERVER, destination: CLIENT, payload: &payload });
        }
    }

    #[test]
    fn requests_go_from_port_68_to_port_67() {
        let packet = encode(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, b"x").expect("one octet is short");
        assert_eq!(
            decode(&packet, ChecksumState::Unknown),
            Err(FrameError::Ports { source_port: 68, destination_port: 67 })
        );
    }

    #[test]
    fn padding_of_the_link_is_left_out() {
        let mut packet = reply(b"short");
        packet.resize(46, 0xee);
        assert_eq!(decode(&packet, ChecksumState::Unknown).map(|datagram| datagram.payload), Ok(b"short".as_slice()));
    }

    #[test]
    fn a_datagram_shorter_than_its_packet_ends_where_it_says() {
        let mut packet = reply(b"abcdef");
        packet[24..26].copy_from_slice(&11_u16.to_be_bytes());
        assert_eq!(decode(&packet, ChecksumState::Verified).map(|datagram| datagram.payload), Ok(b"abc".as_slice()));
    }

    #[test]
    fn every_truncation_is_refused() {
        let packet = reply(b"payload");
        for length in 0..packet.len() {
            assert_eq!(decode(&packet[..length], ChecksumState::Unknown), Err(FrameError::Truncated), "{length}");
        }
    }

    #[test]
    fn every_flipped_bit_that_checksums_cover_is_noticed() {
        let packet = reply(b"payload");
        for bit in 0..packet.len() * 8 {
            let mut broken = packet.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&broken, ChecksumState::Unknown).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_checksum_counts_only_if_nobody_vouches_for_it_and_it_is_there() {
        use ChecksumState::{Unfinished, Unknown, Verified};
        let right = reply(b"payload");
        let mut wrong = right.clone();
        wrong[26] ^= 0x55;
        // What a sender leaves to its card: the sum over the pseudo header only (`CHECKSUM_PARTIAL`).
        let mut partial = right.clone();
        partial[26..28].copy_from_slice(&pseudo_header(SERVER, CLIENT, 15).to_be_bytes());
        let mut none = right.clone();
        none[26..28].fill(0);
        for (name, packet, [unknown, verified, unfinished]) in [
            ("right", &right, [Ok(()), Ok(()), Ok(())]),
            ("wrong", &wrong, [Err(FrameError::Checksum), Ok(()), Ok(())]),
            ("partial", &partial, [Err(FrameError::Checksum), Ok(()), Ok(())]),
            ("none", &none, [Ok(()), Ok(()), Ok(())]),
        ] {
            for (state, expected) in [(Unknown, unknown), (Verified, verified), (Unfinished, unfinished)] {
                assert_eq!(decode(packet, state).map(|_| ()), expected, "{name}, {state:?}");
            }
        }
    }

    #[test]
    fn nobody_vouches_for_the_header_or_for_lengths() {
        for state in [ChecksumState::Unknown, ChecksumState::Verified, ChecksumState::Unfinished] {
            let mut header = reply(b"payload");
            header[10] ^= 0x55;
            assert_eq!(decode(&header, state), Err(FrameError::HeaderChecksum), "{state:?}");
            let mut length = reply(b"payload");
            length[25] += 1;
            assert_eq!(decode(&length, state), Err(FrameError::Truncated), "{state:?}");
            length[24..26].copy_from_slice(&7_u16.to_be_bytes());
            assert_eq!(decode(&length, state), Err(FrameError::Truncated), "{state:?}");
        }
    }

    #[test]
    fn a_checksum_of_zero_is_sent_as_all_ones() {
        let found = (0..=u16::MAX).any(|word| {
            let packet = encode(SERVER, CLIENT, &word.to_be_bytes()).expect("two octets are short");
            assert_ne!(packet[26..28], [0, 0]);
            packet[26..28] == [0xff, 0xff]
        });
        assert!(found, "one of all words makes the sum zero");
    }

    #[test]
    fn fragments_other_protocols_and_other_versions_are_refused() {
        let decode = |packet: Vec<u8>| decode(&packet, ChecksumState::Unknown).map(|_| ());
        assert_eq!(decode(with_header(reply(b"x"), 6, &[0x20, 0])), Err(FrameError::Fragment), "more to come");
        assert_eq!(decode(with_header(reply(b"x"), 6, &[0, 1])), Err(FrameError::Fragment), "a later one");
        assert_eq!(decode(with_header(reply(b"x"), 6, &[0x40, 0])), Ok(()), "must not be fragmented");
        assert_eq!(decode(with_header(reply(b"x"), 9, &[6])), Err(FrameError::Protocol(6)));
        assert_eq!(decode(with_header(reply(b"x"), 0, &[0x65])), Err(FrameError::Version(6)));
        assert_eq!(decode(with_header(reply(b"x"), 0, &[0x44])), Err(FrameError::Truncated));
        assert_eq!(decode(with_header(reply(b"x"), 2, &[0, 19])), Err(FrameError::Truncated));
    }

    #[test]
    fn options_of_the_header_are_skipped() {
        let mut packet = reply(b"x");
        packet.splice(20..20, [1, 1, 1, 0]);
        packet[0] = 0x46;
        packet[3] += 4;
        packet[10..12].fill(0);
        let checksum = !sum(0, &packet[..24]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(decode(&packet, ChecksumState::Unknown).map(|datagram| datagram.payload), Ok(b"x".as_slice()));
    }

    #[test]
    fn too_much_for_a_datagram_is_an_error() {
        assert!(encode(SERVER, CLIENT, &[0; 65_507]).is_ok());
        assert_eq!(encode(SERVER, CLIENT, &[0; 65_508]), Err(FrameError::TooLong(65_508)));
    }
}
