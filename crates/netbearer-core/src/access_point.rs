use std::{collections::BTreeSet, sync::Arc};

use netbearer_types::{
    AccessPointReport, Capabilities, CommandNumber, Configuration, FailureReason, Families, Family, Identifier,
    Interface, Kind, Level, Lifetime, LinkLevel, Profile, Progress, SessionState, Stage, StateFlags, Target,
};

use crate::{
    SessionId,
    phase::{Phase, Teardown},
    presence::Presence,
    timer::Timers,
};

/// One access point: what its engine says of it, and what we do with it.
#[derive(Debug)]
pub(crate) struct AccessPoint {
    /// What its engine says of its device, as far as that is this access point's ([`crate::exclusive`]).
    pub(crate) report: AccessPointReport,
    /// What its engine calls it: the same, unless it is exclusive.
    pub(crate) device: Identifier,
    /// The exclusive file that it is from.
    pub(crate) file: Option<String>,
    pub(crate) profile: Profile,
    pub(crate) phase: Phase,
    pub(crate) command: CommandNumber,
    /// What the engine was asked for last; none while nothing of ours is there.
    pub(crate) commanded: Option<Target>,
    pub(crate) timers: Timers,
    /// Sessions on it, holding or watching.
    pub(crate) sessions: BTreeSet<SessionId>,
    /// It was administratively up before we touched it, so we leave that to others.
    pub(crate) found_up: bool,
    /// It was tried and had no carrier: Defined, until an event says otherwise (§2, "Sensing").
    pub(crate) carrier_refuted: bool,
    /// Failed starts in a row, for the back-off of sessions that wait.
    pub(crate) failed_starts: u32,
    pub(crate) presence: Presence,
    /// The state that all its sessions were last told.
    pub(crate) state_told: SessionState,
    /// The interface its connected sessions were last told of.
    pub(crate) interface_told: Option<Interface>,
    /// Who asked for a stop that has not ended, to be told if it is refused.
    pub(crate) stopper: Option<SessionId>,
    /// Its engine counts what it carries: it is Active.
    pub(crate) is_counted: bool,
    /// What the world was last told.
    pub(crate) published: Option<Configuration>,
    /// What sessions on it were made with last.
    pub(crate) shared: Option<Arc<Configuration>>,
    /// There for one from before the service was started anew, until its engine says something of it. So long it is as it was last
    /// known, and what it is told to do is not passed on.
    pub(crate) past: Option<Past>,
    /// The newest command is to go on with what stands already. Until that has ended, an engine that works has lost nothing.
    pub(crate) resuming: bool,
}

/// What an access point was before the service was started anew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    /// It had its device.
    pub(crate) had_device: bool,
    /// Something of ours was there.
    pub(crate) was_ours: bool,
    /// No engine has found it. There is nobody to be told to do anything with it, and nothing of ours is there.
    pub(crate) is_missed: bool,
}

impl AccessPoint {
    pub(crate) fn new(report: AccessPointReport, profile: Profile) -> Self {
        Self {
            device: report.identifier.clone(),
            file: None,
            report,
            profile,
            phase: Phase::Observed,
            command: CommandNumber::default(),
            commanded: None,
            timers: Timers::default(),
            sessions: BTreeSet::new(),
            found_up: false,
            carrier_refuted: false,
            failed_starts: 0,
            presence: Presence::default(),
            state_told: SessionState::NotAvailable,
            interface_told: None,
            stopper: None,
            is_counted: false,
            published: None,
            shared: None,
            past: None,
            resuming: false,
        }
    }

    /// One of several of a device, by the name of the file that it is from.
    pub(crate) fn exclusive(report: AccessPointReport, file: &str, profile: Profile) -> Self {
        let identifier = Identifier::new(format!("{}/{file}", report.identifier));
        let access_point = Self::new(report, profile);
        let report = AccessPointReport { identifier, ..access_point.report };
        Self { report, file: Some(file.to_owned()), ..access_point }
    }

    /// What people call it: its interface, unless that has several access points.
    pub(crate) fn name(&self) -> &str {
        match &self.file {
            Some(file) => self.profile.name.as_ref().unwrap_or(file),
            None => &self.report.name,
        }
    }

    pub(crate) const fn link(&self) -> Option<&LinkLevel> {
        match &self.report.level {
            Level::Present(link) => Some(link),
            Level::Absent => None,
        }
    }

    pub(crate) const fn interface(&self) -> Option<&Interface> {
        match self.link() {
            Some(link) => Some(&link.interface),
            None => None,
        }
    }

    pub(crate) fn has_carrier(&self) -> bool {
        self.link().is_some_and(link_has_carrier)
    }

    /// How far the newest command is, and what is in its way; none if nothing of it is known yet.
    pub(crate) fn progress(&self) -> Option<&Progress> {
        self.report.progress.as_ref().filter(|progress| progress.number == self.command)
    }

    /// How far the newest command is; none if nothing of it is known yet.
    pub(crate) fn stage(&self) -> Option<&Stage> {
        self.progress().map(|progress| &progress.stage)
    }

    /// True if the engine has ended its work on the newest command, for better or worse.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.stage(), Some(Stage::Reached | Stage::Failed(..)))
    }

    /// True if the engine could not even begin, because another process keeps the sessions: nothing of ours is there.
    pub(crate) fn is_owned_elsewhere(&self) -> bool {
        matches!(self.stage(), Some(Stage::Failed(FailureReason::OwnedByAnotherProcess(_), _)))
    }

    /// What the levels alone say, whatever we do with the access point.
    pub(crate) fn observed_flags(&self) -> StateFlags {
        let Some(link) = self.link() else { return StateFlags::Defined };
        match (link.administratively_up, link.carrier) {
            (false, _) if self.carrier_refuted => StateFlags::Defined,
            // A link that is down says nothing about its cable: it may be tried.
            (false, _) => StateFlags::Discovered,
            (true, false) => StateFlags::Defined,
            (true, true) if is_usable(link) => StateFlags::Active,
            (true, true) => StateFlags::Discovered,
        }
    }

    /// What the levels will say when everything of ours has been removed.
    fn flags_after_retreat(&self) -> StateFlags {
        match self.link() {
            None => StateFlags::Defined,
            Some(link) if self.found_up && link.administratively_up && link.carrier => StateFlags::Discovered,
            Some(link) if self.found_up && link.administratively_up => StateFlags::Defined,
            // It will be down, as we found it or as somebody else has set it since.
            Some(_) if self.carrier_refuted => StateFlags::Defined,
            Some(_) => StateFlags::Discovered,
        }
    }

    /// The public flags.
    pub(crate) fn flags(&self) -> StateFlags {
        match self.phase {
            Phase::Observed | Phase::Enumerating => self.observed_flags(),
            Phase::Waiting | Phase::Sensing => self.observed_flags().min(StateFlags::Discovered),
            Phase::AwaitingDevice | Phase::Starting | Phase::Closing(Teardown::Attempt) => StateFlags::Discovered,
            Phase::Up | Phase::Regaining | Phase::Lingering | Phase::Closing(Teardown::Link | Teardown::Adopted) => {
                StateFlags::Active
            }
            Phase::Retreating => self.flags_after_retreat(),
        }
    }

    /// True if it is up without us: then the machine itself holds it.
    pub(crate) fn is_adopted(&self) -> bool {
        self.phase == Phase::Observed && self.observed_flags() == StateFlags::Active
    }

    /// True if nothing but a carrier is wanting for it to be adopted.
    pub(crate) fn is_set_up_by_others(&self) -> bool {
        self.commanded.is_none() && self.link().is_some_and(|link| link.administratively_up && is_usable(link))
    }

    /// True if its engine can bring it up and take it down.
    pub(crate) const fn may_start(&self) -> bool {
        self.report.cannot_start_and_stop.is_none()
    }

    /// True if it is up without us, and yet the last close takes it down.
    pub(crate) fn is_adopted_on_demand(&self) -> bool {
        self.is_adopted() && self.profile.lifetime == Lifetime::OnDemand && self.may_start()
    }

    /// True if it has a default route in the main table.
    pub(crate) fn has_default_route(&self) -> bool {
        self.link().is_some_and(|link| !link.default_route.is_empty())
    }

    /// True if it leads to the Internet, as far as that is known (§9).
    pub(crate) fn is_online(&self) -> bool {
        self.flags() == StateFlags::Active && self.profile.online.unwrap_or_else(|| self.has_default_route())
    }

    /// The public projection.
    pub(crate) fn configuration(&self, session_support: Capabilities) -> Configuration {
        let mut capabilities = session_support | Capabilities::DirectConnectionRouting;
        capabilities.set(Capabilities::CanStartAndStopInterfaces, self.may_start());
        capabilities.set(Capabilities::DataStatistics, self.report.counts_traffic);
        Configuration {
            identifier: self.identifier().clone(),
            name: self.profile.name.clone().unwrap_or_else(|| self.name().to_owned()),
            kind: Kind::InternetAccessPoint,
            purpose: self.profile.purpose,
            bearer_type: self.report.bearer_type,
            state_flags: self.flags(),
            capabilities,
            children: Vec::new(),
            proxy: self.profile.proxy.without_user_information(),
            metered: self.profile.metered,
            interface_name: self.interface().map(|interface| interface.name.clone()),
        }
    }

    pub(crate) const fn identifier(&self) -> &Identifier {
        &self.report.identifier
    }
}

pub(crate) const fn link_has_carrier(link: &LinkLevel) -> bool {
    link.administratively_up && link.carrier
}

/// At least one family has a global or private address and its routes (§1, "Active").
pub(crate) fn is_usable(link: &LinkLevel) -> bool {
    link.interface
        .addresses
        .iter()
        .filter(|address| address.is_usable())
        .any(|address| link.routed.contains(Families::from(Family::of(address.address))))
}
