use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What the server knows a client by (option 61, RFC 2132 §9.14): 2 to 255 octets, the first of which tells the type.
///
/// A client that sends none is known by its hardware address. Written as octets of two hexadecimal digits with colons
/// between them: `ff:00:00:00:01:00:03:00:01`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ClientIdentifier(Vec<u8>);

/// These octets cannot be a client identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientIdentifierError {
    /// Too few or too many.
    #[error("a client identifier has 2 to 255 octets, not {length}")]
    Length {
        /// How many octets there were.
        length: usize,
    },
    /// Not written as octets.
    #[error("`{text}` is no client identifier: write its octets in hexadecimal digits, as in \"01:02:00:5e:10:00:07\"")]
    Text {
        /// The text.
        text: String,
    },
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
            length => Err(ClientIdentifierError::Length { length }),
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

impl FromStr for ClientIdentifier {
    type Err = ClientIdentifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_octet = |digits: &&str| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let octet = |digits: &str| Some(digits).filter(is_octet).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let octets: Option<Vec<u8>> = text.split(':').map(octet).collect();
        Self::new(octets.ok_or_else(|| ClientIdentifierError::Text { text: text.to_owned() })?)
    }
}

impl TryFrom<String> for ClientIdentifier {
    type Error = ClientIdentifierError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for ClientIdentifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets: Vec<String> = self.0.iter().map(|octet| format!("{octet:02x}")).collect();
        formatter.write_str(&octets.join(":"))
    }
}

impl From<ClientIdentifier> for String {
    fn from(identifier: ClientIdentifier) -> Self {
        identifier.to_string()
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
        let too_long = ClientIdentifier::from_unique_identifier(1, &[9; 251]);
        assert_eq!(too_long, Err(ClientIdentifierError::Length { length: 256 }));
    }

    #[test]
    fn octets_are_written_with_colons_and_nothing_else_is_read() {
        let identifier: ClientIdentifier = "01:2a:FF".parse().expect("three octets");
        assert_eq!(identifier.octets(), [1, 0x2a, 0xff]);
        assert_eq!(identifier.to_string(), "01:2a:ff");
        for text in ["", "01", "01:2", "01:2:03", "01:+2", "0x1:02", "01-02", "01:02:", "laptop", "01:é"] {
            assert!(text.parse::<ClientIdentifier>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_type_comes_first() {
        assert_eq!(ClientIdentifier::from_hardware_address([2; 6]).octets(), [1, 2, 2, 2, 2, 2, 2]);
        let identifier = ClientIdentifier::from_unique_identifier(0x0102_0304, &[0, 3, 8]).expect("8 octets fit");
        assert_eq!(identifier.octets(), [255, 1, 2, 3, 4, 0, 3, 8]);
    }
}
