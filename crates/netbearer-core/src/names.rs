use std::cmp::Reverse;

use netbearer_types::{LinkNames, Moment, NamesReport, StateFlags};

use crate::{Action, Core, Input, Subject, Verdict, access_point::AccessPoint, phase::Phase};

/// Whom programs ask for names.
impl Core {
    /// Programs shall ask the name servers of the links that we have up, those of the most preferred one first. Those of
    /// adopted links are somebody else's to tell. A link that is being taken down has none any more.
    pub(crate) fn name(&mut self) {
        let ours = |access_point: &&AccessPoint| {
            matches!(access_point.phase, Phase::Up | Phase::Regaining | Phase::Lingering)
                && access_point.flags() == StateFlags::Active
        };
        let mut named: Vec<&AccessPoint> = self.access_points.values().filter(ours).collect();
        named.sort_by_key(|access_point| {
            let family = access_point.report.bearer_type.family();
            (Reverse(access_point.profile.preference), family, access_point.report.name.as_str())
        });
        let named: Vec<LinkNames> = named.into_iter().filter_map(link_names).collect();
        if named != self.named {
            self.named.clone_from(&named);
            self.actions.push_back(Action::Names(named));
        }
    }

    /// What has become of the name servers that programs were to ask.
    pub fn handle_names(&mut self, report: &NamesReport, now: Moment) {
        let is_meant = |access_point: &AccessPoint| {
            let name = access_point.interface().map(|interface| &interface.name);
            name.is_some_and(|name| report.interface_names.contains(name))
                && self.has_its_device(access_point.identifier())
        };
        for identifier in self.access_points_where(is_meant) {
            let subject = || Subject::AccessPoint(identifier.clone());
            if let Some(through) = &report.through {
                self.journal.record(now, subject(), Verdict::Named, vec![Input::new("through", through)]);
            }
            if let Some(warning) = &report.warning {
                self.journal.record(now, subject(), Verdict::Warning(warning.clone()), Vec::new());
            }
        }
    }
}

/// None for a link without name servers.
fn link_names(access_point: &AccessPoint) -> Option<LinkNames> {
    let interface = access_point.interface().filter(|interface| !interface.name_servers.is_empty())?;
    Some(LinkNames {
        interface_name: interface.name.clone(),
        index: interface.index,
        name_servers: interface.name_servers.clone(),
        search_domains: interface.search_domains.clone(),
        default_route: access_point.profile.default_route,
    })
}
