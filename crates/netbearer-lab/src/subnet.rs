use std::{fmt, net::Ipv4Addr, str::FromStr};

use crate::LabError;

/// An IPv4 subnet in the lab. By the lab's convention host 1 is the access point, hosts 100 to 199 are leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    network: u32,
    prefix_length: u8,
}

impl Subnet {
    /// The subnet of `prefix_length` bits that holds `address`.
    ///
    /// # Errors
    /// [`LabError::NotASubnet`] for prefixes longer than 24 bits, which lack room for the lab's addresses.
    pub fn new(address: Ipv4Addr, prefix_length: u8) -> Result<Self, LabError> {
        if prefix_length > 24 {
            return Err(LabError::NotASubnet(format!("{address}/{prefix_length}")));
        }
        Ok(Self { network: address.to_bits() & mask_bits(prefix_length), prefix_length })
    }

    /// The subnet an access point gets that was planned without one: 10.10.`number`.0/24.
    pub(crate) fn numbered(number: u8) -> Self {
        Self { network: Ipv4Addr::new(10, 10, number, 0).to_bits(), prefix_length: 24 }
    }

    /// Length of the prefix, in bits.
    #[must_use]
    pub const fn prefix_length(self) -> u8 {
        self.prefix_length
    }

    /// The netmask.
    #[must_use]
    pub fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask_bits(self.prefix_length))
    }

    /// The address of host number `number`.
    #[must_use]
    pub fn host(self, number: u8) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network | u32::from(number))
    }

    /// The access point's own address: gateway, DHCP and name server.
    #[must_use]
    pub fn gateway(self) -> Ipv4Addr {
        self.host(1)
    }

    /// The addresses that are leased.
    pub fn leasable(self) -> impl Iterator<Item = Ipv4Addr> {
        (100..=199).map(move |number| self.host(number))
    }

    /// Whether `address` lies within.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask_bits(self.prefix_length) == self.network
    }
}

fn mask_bits(prefix_length: u8) -> u32 {
    !u32::MAX.checked_shr(u32::from(prefix_length)).unwrap_or(0)
}

impl FromStr for Subnet {
    type Err = LabError;

    fn from_str(text: &str) -> Result<Self, LabError> {
        let malformed = || LabError::NotASubnet(text.to_owned());
        let (address, prefix_length) = text.split_once('/').ok_or_else(malformed)?;
        let address = address.parse().map_err(|_| malformed())?;
        Self::new(address, prefix_length.parse().map_err(|_| malformed())?)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", Ipv4Addr::from_bits(self.network), self.prefix_length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_written_as_it_is_read_and_knows_its_hosts() {
        let subnet: Subnet = "10.20.30.7/24".parse().expect("a subnet");
        assert_eq!(subnet.to_string(), "10.20.30.0/24");
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 20, 30, 1));
        assert_eq!(subnet.mask(), Ipv4Addr::new(255, 255, 255, 0));
        assert!(subnet.leasable().all(|address| subnet.contains(address)));
        assert!(!subnet.contains(Ipv4Addr::new(10, 20, 31, 1)));
    }

    #[test]
    fn text_that_is_no_roomy_subnet_is_refused() {
        for text in ["", "10.0.0.0", "10.0.0.0/25", "10.0.0/24", "10.0.0.0/x"] {
            text.parse::<Subnet>().expect_err(text);
        }
    }
}
