//! The kernel's settings of an interface of ours: what they are to be, and what they were.

use netbearer_kernel::{Sysctl, SysctlError, Sysctls};
use netbearer_types::{Addressing, Profile};
use serde::{Deserialize, Serialize};

/// A setting that we change, as it was and as we want it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangedSetting {
    /// As [`Sysctl`] displays it. A name that a later version wrote is not known to this one.
    name: String,
    old: i64,
    new: i64,
}

impl ChangedSetting {
    fn sysctl(&self) -> Option<Sysctl> {
        Sysctl::ALL.into_iter().find(|sysctl| sysctl.to_string() == self.name)
    }
}

/// What matters before the carrier comes: with it the link-local address can be used at once, so routers can be asked at
/// once (RFC 4429).
pub(crate) fn before_the_link_goes_up() -> Vec<(Sysctl, i64)> {
    vec![(Sysctl::OptimisticDad, 1)]
}

/// What routers announce is taken as it comes, and the kernel forgets what it did not want: this is in force before the first
/// of them can be heard. `metric` is that of our own default routes; no router is to get one that the profile forbids.
pub(crate) fn before_routers_are_heard(profile: &Profile, metric: u32) -> Vec<(Sysctl, i64)> {
    vec![
        (Sysctl::AcceptRouterAdvertisements, 2),
        (Sysctl::AcceptDefaultRouter, i64::from(profile.default_route)),
        (Sysctl::DefaultRouterMetric, i64::from(metric)),
        (Sysctl::AcceptRouteInformation, 128),
    ]
}

/// What matters while nothing but the carrier is to be seen: no address by IPv6, and none of its packets. The mode of address
/// generation is no means to that: addresses and routes that routers announce come all the same, and to put it back gives
/// the link an address even while it is down.
pub(crate) fn while_sensed() -> Vec<(Sysctl, i64)> {
    vec![(Sysctl::DisableIpv6, 1)]
}

/// What matters before anybody uses the link: a strict filter drops replies of which the main table thinks otherwise. An IPv6
/// address of the profile's own is not told of by the kernel before its duplicate address detection has ended, unless it may
/// be used before (`addrconf_dad_begin` of `net/ipv6/addrconf.c`).
pub(crate) fn before_the_first_use(profile: &Profile) -> Vec<(Sysctl, i64)> {
    let mut wanted = vec![(Sysctl::ReversePathFilter, 2)];
    let has_ipv6 =
        profile.addressing == Addressing::Static && profile.addresses.iter().any(|one| one.address().is_ipv6());
    wanted.extend(has_ipv6.then_some((Sysctl::UseOptimistic, 1)));
    wanted
}

/// What nobody waits for: several access points may have the same subnet, or lease the same address, and addresses by IPv6
/// may be used at once.
pub(crate) fn for_neighbours() -> Vec<(Sysctl, i64)> {
    vec![(Sysctl::UseOptimistic, 1), (Sysctl::ArpIgnore, 1), (Sysctl::ArpAnnounce, 2)]
}

/// Those of them that differ from what the interface has. Nothing is changed yet.
pub(crate) fn to_be_changed(sysctls: &mut Sysctls, wanted: &[(Sysctl, i64)]) -> Vec<ChangedSetting> {
    let differing = |(sysctl, new): &(Sysctl, i64)| match sysctls.read(*sysctl) {
        Ok(old) => (old != *new).then(|| ChangedSetting { name: sysctl.to_string(), old, new: *new }),
        Err(error) => {
            pass_over(&error);
            None
        }
    };
    wanted.iter().filter_map(differing).collect()
}

/// Adds to what was changed before. What a setting was at first stays what it was.
pub(crate) fn merge(known: &mut Vec<ChangedSetting>, changed: &[ChangedSetting]) {
    for setting in changed {
        match known.iter_mut().find(|known| known.name == setting.name) {
            Some(known) => known.new = setting.new,
            None => known.push(setting.clone()),
        }
    }
}

/// Changes them. What the kernel does not let us change, as in a container, stays as it is.
pub(crate) fn change(sysctls: &mut Sysctls, settings: &[ChangedSetting]) {
    for setting in settings {
        if let Some(sysctl) = setting.sysctl()
            && let Err(error) = sysctls.overwrite(sysctl, setting.new)
        {
            pass_over(&error);
        }
    }
}

/// Puts the old values back, unless somebody else has changed them since. Returns the names of those that it did.
pub(crate) fn restore(interface: &str, settings: &[ChangedSetting]) -> Vec<String> {
    let mut sysctls = Sysctls::of(interface);
    let restored = settings.iter().filter(|setting| put_back(&mut sysctls, setting));
    restored.map(|setting| setting.name.clone()).collect()
}

/// Puts some of the old values back before the others, and has them known no more. True if there were any.
pub(crate) fn restore_early(sysctls: &mut Sysctls, known: &mut Vec<ChangedSetting>, early: &[(Sysctl, i64)]) -> bool {
    let is_early = |setting: &mut ChangedSetting| early.iter().any(|(sysctl, _)| setting.sysctl() == Some(*sysctl));
    let early: Vec<ChangedSetting> = known.extract_if(.., is_early).collect();
    for setting in &early {
        put_back(sysctls, setting);
    }
    !early.is_empty()
}

fn put_back(sysctls: &mut Sysctls, setting: &ChangedSetting) -> bool {
    let Some(sysctl) = setting.sysctl() else { return false };
    let result = match sysctls.read(sysctl) {
        Ok(found) if found == setting.new => sysctls.overwrite(sysctl, setting.old),
        Ok(_) => return false,
        Err(error) => Err(error),
    };
    result.map_err(|error| pass_over(&error)).is_ok()
}

fn pass_over(error: &SysctlError) {
    tracing::debug!("a setting is left as it is: {error}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, old: i64, new: i64) -> ChangedSetting {
        ChangedSetting { name: name.to_owned(), old, new }
    }

    #[test]
    fn a_setting_changed_twice_keeps_its_first_value() {
        let mut known = vec![setting("ipv4 arp_ignore", 0, 1)];
        merge(&mut known, &[setting("ipv4 arp_ignore", 1, 2), setting("ipv4 rp_filter", 1, 2)]);
        assert_eq!(known, [setting("ipv4 arp_ignore", 0, 2), setting("ipv4 rp_filter", 1, 2)]);
    }

    #[test]
    fn every_setting_is_found_by_its_name_and_an_unknown_one_is_none() {
        for sysctl in Sysctl::ALL {
            assert_eq!(setting(&sysctl.to_string(), 0, 1).sysctl(), Some(sysctl));
        }
        assert_eq!(setting("ipv9 rp_filter", 0, 1).sysctl(), None);
    }
}
