use serde::{Deserialize, Serialize};

/// What an interface is by its hardware, which survives renaming.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// The link-layer address it came with, else the one it has, as in `02:00:5e:10:00:01`.
    pub address: Option<String>,
    /// The kernel's driver (`e1000e`, `veth`).
    pub driver: Option<String>,
    /// Where it is plugged in, as udev's `ID_PATH` tells it (`pci-0000:02:00.0`); none for virtual ones.
    pub path: Option<String>,
}

/// Which access points a profile is for. All that is given must agree; what is not given agrees with everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Matching {
    /// The interface name.
    pub interface: Option<String>,
    /// [`Hardware::address`], in lower case.
    pub mac: Option<String>,
    /// [`Hardware::driver`].
    pub driver: Option<String>,
    /// [`Hardware::path`].
    pub path: Option<String>,
}

impl Matching {
    /// True if all that is given agrees.
    #[must_use]
    pub fn covers(&self, interface_name: &str, hardware: &Hardware) -> bool {
        let agrees = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found.is_some_and(|found| found.eq_ignore_ascii_case(wanted)))
        };
        self.interface.as_deref().is_none_or(|wanted| wanted == interface_name)
            && agrees(&self.mac, hardware.address.as_deref())
            && agrees(&self.driver, hardware.driver.as_deref())
            && agrees(&self.path, hardware.path.as_deref())
    }

    /// The greater, the more it says of one piece of hardware: who names a hardware address is before all who do not, then
    /// who names a path, an interface, a driver. Two that cover the same interface are never equal in this unless they are
    /// the same.
    #[must_use]
    pub fn specificity(&self) -> u8 {
        [&self.mac, &self.path, &self.interface, &self.driver]
            .into_iter()
            .fold(0, |sum, given| sum * 2 + u8::from(given.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hardware() -> Hardware {
        Hardware {
            address: Some("02:00:5e:10:00:01".into()),
            driver: Some("e1000e".into()),
            path: Some("pci-0000:02:00.0".into()),
        }
    }

    #[test]
    fn all_that_is_given_must_agree() {
        let by_driver = Matching { driver: Some("e1000e".into()), ..Matching::default() };
        assert!(by_driver.covers("ap0", &hardware()));
        assert!(!by_driver.covers("ap0", &Hardware::default()));
        let both = Matching { interface: Some("ap1".into()), ..by_driver };
        assert!(both.covers("ap1", &hardware()));
        assert!(!both.covers("ap0", &hardware()));
        let by_address = Matching { mac: Some("02:00:5E:10:00:01".into()), ..Matching::default() };
        assert!(by_address.covers("ap0", &hardware()), "case does not matter");
    }

    #[test]
    fn a_hardware_address_says_more_than_all_the_rest() {
        let given = Some(String::from("x"));
        let mac = Matching { mac: given.clone(), ..Matching::default() };
        let path = Matching { path: given.clone(), ..Matching::default() };
        let interface = Matching { interface: given.clone(), ..Matching::default() };
        let driver = Matching { driver: given.clone(), ..Matching::default() };
        let rest = Matching { mac: None, interface: given.clone(), driver: given.clone(), path: given };
        let ranks = [&mac, &rest, &path, &interface, &driver].map(Matching::specificity);
        assert!(ranks.is_sorted_by(|more, less| more > less), "{ranks:?}");
    }
}
