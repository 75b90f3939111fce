use serde::{Deserialize, Serialize};

/// What kind of client this is (option 60, RFC 2132 §9.13): 1 to 255 octets that mean something to the network's servers.
/// Written as text; octets that are no text are written as the replacement character.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct VendorClass(Vec<u8>);

/// These octets cannot be a vendor class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a vendor class has 1 to 255 octets, not {length}")]
pub struct VendorClassError {
    /// How many octets there were.
    pub length: usize,
}

impl VendorClass {
    /// A class from its octets.
    ///
    /// # Errors
    /// When there are none, or more than 255 of them.
    pub fn new(octets: impl Into<Vec<u8>>) -> Result<Self, VendorClassError> {
        let octets = octets.into();
        match octets.len() {
            1..=255 => Ok(Self(octets)),
            length => Err(VendorClassError { length }),
        }
    }

    /// The octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<String> for VendorClass {
    type Error = VendorClassError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl From<VendorClass> for String {
    fn from(class: VendorClass) -> Self {
        Self::from_utf8_lossy(&class.0).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendor_class_has_1_to_255_octets() {
        for (length, fits) in [(0, false), (1, true), (255, true), (256, false)] {
            assert_eq!(VendorClass::new(vec![7; length]).is_ok(), fits, "{length}");
        }
    }
}
