/// What the server knows a client by (option 61, RFC 2132 §9.14): 2 to 255 octets, the first of which tells the type.
///
/// A client that sends none is known by its hardware address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientIdentifier(Vec<u8>);

/// These octets cannot be a client identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a client identifier has 2 to 255 octets, not {length}")]
pub struct ClientIdentifierError {
    /// How many octets there were.
    pub length: usize,
}

impl ClientIdentifier {
    /// An identifier from its octets, type included.
    ///
    /// # Errors
    /// When there are fewer than 2 or more than 255 of them.
    pub fn new(octets: impl Into<Vec<u8>>) -> Result<Self, ClientIdentifierError> {
        let octets = octets.into();
        match octets.len() {
            2..=255 => Ok(Self(octets)),
            length => Err(ClientIdentifierError { length }),
        }
    }

    /// Type 1: the hardware address of an Ethernet interface.
    #[must_use]
    pub fn from_hardware_address(hardware_address: [u8; 6]) -> Self {
        Self([&[1], hardware_address.as_slice()].concat())
    }

    /// Type 255: the interface's number and the host's DUID, which are the same for DHCPv6 (RFC 4361 §6.1).
    ///
    /// # Errors
    /// When the DUID is longer than 250 octets.
    pub fn from_unique_identifier(
        identity_association: u32,
        unique_identifier: &[u8],
    ) -> Result<Self, ClientIdentifierError> {
        Self::new([&[255], identity_association.to_be_bytes().as_slice(), unique_identifier].concat())
    }

    /// The octets, type included.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_2_to_255_octets() {
        for (length, fits) in [(0, false), (1, false), (2, true), (255, true), (256, false)] {
            assert_eq!(ClientIdentifier::new(vec![7; length]).is_ok(), fits, "{length}");
        }
        assert_eq!(ClientIdentifier::from_unique_identifier(1, &[9; 251]), Err(ClientIdentifierError { length: 256 }));
    }

    #[test]
    fn the_type_comes_first() {
        assert_eq!(ClientIdentifier::from_hardware_address([2; 6]).octets(), [1, 2, 2, 2, 2, 2, 2]);
        let identifier = ClientIdentifier::from_unique_identifier(0x0102_0304, &[0, 3, 8]).expect("8 octets fit");
        assert_eq!(identifier.octets(), [255, 1, 2, 3, 4, 0, 3, 8]);
    }
}
