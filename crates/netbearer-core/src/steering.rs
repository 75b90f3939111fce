use std::collections::BTreeMap;

use netbearer_types::{BypassVpn, Failure, Identifier, Moment, StateFlags, Steering, SteeringLevel};

use crate::{Action, Core, Input, Subject, Verdict, access_point::AccessPoint};

/// Whose packets go where, as far as somebody has to decide it.
impl Core {
    /// Whose packets go where on an access point, as far as it is not as usual.
    #[must_use]
    pub fn steering(&self, identifier: &Identifier) -> Option<Steering> {
        let access_point = self.access_points.get(identifier)?;
        let SteeringLevel { tunnel, no_room, no_mark, unsteered, deaf } = access_point.report.steering.clone();
        let no_room = no_room.filter(|_| access_point.profile.bypass_vpn != BypassVpn::Never);
        let unsteered = unsteered.filter(|_| access_point.is_adopted() && self.has_several_ways());
        let messages = [unsteered, deaf].into_iter().flatten().map(|failure| failure.message);
        Some(Steering {
            effect: tunnel.as_ref().map(|_| access_point.profile.bypass_vpn.effect().into()),
            tunnel,
            bypass_vpn: access_point.profile.bypass_vpn,
            warnings: no_room.into_iter().chain(no_mark).chain(messages).collect(),
        })
    }

    /// Why a link that others keep up is of no use to a session: what it sends would be answered in vain.
    pub(crate) fn deafness(&self, identifier: &Identifier) -> Option<Failure> {
        let access_point = self.access_points.get(identifier).filter(|access_point| access_point.is_adopted())?;
        access_point.report.steering.deaf.clone()
    }

    /// Links that others keep up need a table and rules of ours while sessions are open on them and there is another way to
    /// go. To be decided before a session is told that it is open.
    pub(crate) fn steer(&mut self, now: Moment) {
        let has_several_ways = self.has_several_ways();
        let is_steered = |access_point: &&AccessPoint| {
            has_several_ways && access_point.is_adopted() && self.ledger.count(access_point.identifier()) > 0
        };
        let steered: BTreeMap<Identifier, BypassVpn> = self
            .access_points
            .values()
            .filter(is_steered)
            .map(|access_point| (access_point.identifier().clone(), access_point.profile.bypass_vpn))
            .collect();
        if steered == self.steered {
            return;
        }
        for identifier in steered.keys().filter(|identifier| !self.steered.contains_key(*identifier)) {
            let access_point = self.access_points.get(identifier);
            if let Some(obstacle) = access_point.and_then(|access_point| access_point.report.steering.unsteered.clone())
            {
                let subject = Subject::AccessPoint(identifier.clone());
                self.journal.record(now, subject, Verdict::Warning(obstacle.message), Vec::new());
            }
        }
        self.steered = steered;
        self.push_steering();
    }

    /// Tells engines for which access points others' links have a table of ours.
    pub(crate) fn push_steering(&mut self) {
        let device = |identifier: Identifier| match self.access_points.get(&identifier) {
            Some(access_point) => access_point.device.clone(),
            None => identifier,
        };
        let steered =
            self.steered.clone().into_iter().map(|(identifier, bypass)| (device(identifier), bypass)).collect();
        self.actions.push_back(Action::Steer(steered));
    }

    fn has_several_ways(&self) -> bool {
        self.access_points.values().filter(|access_point| access_point.flags() == StateFlags::Active).nth(1).is_some()
    }

    /// An engine says something else of the surroundings of an access point than it did before.
    pub(crate) fn note_steering(&mut self, identifier: &Identifier, before: &SteeringLevel, now: Moment) {
        let Some(access_point) = self.access_points.get(identifier) else { return };
        let (level, bypass) = (access_point.report.steering.clone(), access_point.profile.bypass_vpn);
        let mut verdicts = Vec::new();
        if level.tunnel != before.tunnel {
            verdicts.push(match &level.tunnel {
                Some(tunnel) => {
                    let inputs = vec![
                        Input::new("tunnel", &tunnel.interface_name),
                        Input::new("bypass_vpn", bypass),
                        Input::new("so", bypass.effect()),
                    ];
                    (Verdict::Tunnel, inputs)
                }
                None => (Verdict::NoTunnel, Vec::new()),
            });
        }
        let messages = |level: &SteeringLevel| {
            let failures =
                [&level.unsteered, &level.deaf].map(|failure| failure.as_ref().map(|one| one.message.clone()));
            let no_room = level.no_room.clone().filter(|_| bypass != BypassVpn::Never);
            [no_room, level.no_mark.clone()].into_iter().chain(failures).flatten().collect::<Vec<_>>()
        };
        let known = messages(before);
        let news = messages(&level).into_iter().filter(|message| !known.contains(message));
        verdicts.extend(news.map(|message| (Verdict::Warning(message), Vec::new())));
        for (verdict, inputs) in verdicts {
            self.journal.record(now, Subject::AccessPoint(identifier.clone()), verdict, inputs);
        }
    }
}
