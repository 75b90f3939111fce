//! What others have on the machine that bears on the rules of our access points. Pure.

use std::{collections::BTreeSet, net::IpAddr};

use netbearer_kernel::Cache;
use netbearer_types::{MarkField, SteeringPlan};

use crate::{addresses::MachineAddresses, steering, tunnel::Tunnel};

/// A level: the engine tells the worker whenever it differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Surroundings {
    /// The full-tunnel VPN that is up.
    pub(crate) tunnel: Option<Tunnel>,
    /// The field of the mark that nobody else's rules are about; none if there is none.
    pub(crate) mark_field: Option<MarkField>,
    /// Addresses of the access point that are another interface's.
    pub(crate) elsewhere: BTreeSet<IpAddr>,
}

impl Surroundings {
    /// For all access points alike; the addresses are left out.
    pub(crate) fn of_the_machine(cache: &Cache, plan: &SteeringPlan) -> Self {
        Self { tunnel: Tunnel::find(cache), mark_field: free_field(cache, plan), elsewhere: BTreeSet::new() }
    }

    /// The same, for the access point on this interface. A tunnel is not beside itself.
    pub(crate) fn of(&self, interface: u32, addresses: &MachineAddresses) -> Self {
        let tunnel = self.tunnel.clone().filter(|tunnel| tunnel.index != interface);
        Self { tunnel, mark_field: self.mark_field, elsewhere: addresses.elsewhere(interface) }
    }
}

fn free_field(cache: &Cache, plan: &SteeringPlan) -> Option<MarkField> {
    let foreign: Vec<(u32, u32)> = cache
        .rules()
        .filter(|rule| !rule.is_ours())
        .filter_map(|rule| Some((rule.mark?, rule.mark_mask.unwrap_or(u32::MAX))))
        .collect();
    plan.mark_fields.iter().copied().find(|field| !foreign.iter().any(|rule| overlaps(*field, *rule)))
}

/// Some mark of ours is selected by that rule, or one that it is about by a rule of ours.
fn overlaps(field: MarkField, (mark, mask): (u32, u32)) -> bool {
    mask & field.mask() != 0
        && steering::numbers().any(|number| {
            let ours = field.mark(number);
            ours & mask == mark & mask || mark & mask & field.mask() == ours
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_taken_when_a_rule_could_select_a_mark_of_ours_or_the_other_way_round() {
        let field = SteeringPlan::default().mark_fields[0];
        // Rules of known programs: wg-quick, Tailscale, Kubernetes, and Mullvad, whose value we leave out.
        for rule in
            [(51_820, u32::MAX), (0x8_0000, 0xff_0000), (0x4000, 0x4000), (0x6d6f_6c65, u32::MAX), (0, 0xff_0000)]
        {
            assert!(!overlaps(field, rule), "{rule:x?}");
        }
        for rule in [(0x0100_0000, 0x0100_0000), (0x0100_0000, u32::MAX), (0x7e00_ca6c, u32::MAX)] {
            assert!(overlaps(field, rule), "{rule:x?}");
        }
    }
}
