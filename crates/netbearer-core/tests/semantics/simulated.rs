use std::net::{IpAddr, Ipv4Addr};

use netbearer_types::{
    AccessPointCommand, AccessPointReport, AddressScope, BearerType, CommandNumber, Failure, FailureReason, Families,
    Hardware, Identifier, Interface, InterfaceAddress, Level, LinkLevel, Progress, SessionError, Stage, SteeringLevel,
    Step, Target,
};

/// A kernel's interface and an engine that obeys commands, one step at a time. What is done to it says whether anything
/// happened.
#[derive(Clone, Debug)]
pub(crate) struct Simulated {
    identifier: Identifier,
    /// Of the interface.
    name: String,
    /// Its engine calls it an access point; otherwise nothing is heard of it.
    pub(crate) is_access_point: bool,
    /// Its engine has said something of it.
    pub(crate) is_known: bool,
    pub(crate) is_plugged_in: bool,
    index: u32,
    pub(crate) is_up: bool,
    pub(crate) has_cable: bool,
    losses: u32,
    pub(crate) foreign: Foreign,
    /// The last number of the address that the engine installed.
    pub(crate) lease: Option<u8>,
    gateway: u8,
    has_privilege: bool,
    engine: Engine,
}

#[derive(Clone, Debug, Default)]
struct Engine {
    command: Option<(CommandNumber, Target)>,
    stage: Option<Stage>,
    overtaken: Option<Progress>,
    /// How the interface was found, noted before the first change.
    found_up: Option<bool>,
}

/// What somebody else put on the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    Nothing,
    /// An address and its routes, a default route among them.
    Usable,
    /// The same without a default route.
    WithoutDefaultRoute,
    LinkLocal,
    Tentative,
    WithoutRoutes,
}

impl Simulated {
    pub(crate) fn new(identifier: Identifier) -> Self {
        Self {
            name: identifier.to_string(),
            identifier,
            is_access_point: true,
            is_known: false,
            is_plugged_in: true,
            index: 1,
            is_up: false,
            has_cable: true,
            losses: 0,
            foreign: Foreign::Nothing,
            lease: None,
            gateway: 1,
            has_privilege: true,
            engine: Engine::default(),
        }
    }

    // What can be seen.

    pub(crate) fn report(&self) -> AccessPointReport {
        let progress = match (&self.engine.command, &self.engine.stage) {
            (Some((number, _)), Some(stage)) => {
                Some(Progress { number: *number, stage: stage.clone(), obstacle: None })
            }
            _ => self.engine.overtaken.clone(),
        };
        AccessPointReport {
            identifier: self.identifier.clone(),
            name: self.name.clone(),
            bearer_type: BearerType::Ethernet,
            hardware: Hardware::default(),
            cannot_start_and_stop: (!self.has_privilege).then(missing_privilege),
            counts_traffic: true,
            steering: SteeringLevel::default(),
            level: if self.is_plugged_in { Level::Present(self.link()) } else { Level::Absent },
            progress,
        }
    }

    /// The same level as now, with news of a command that has been overtaken.
    pub(crate) fn stale_report(&self) -> Option<AccessPointReport> {
        let overtaken = self.engine.overtaken.clone()?;
        Some(AccessPointReport { progress: Some(overtaken), ..self.report() })
    }

    /// Nothing that an engine did is left.
    pub(crate) const fn is_as_found(&self) -> bool {
        self.lease.is_none() && self.engine.found_up.is_none()
    }

    fn link(&self) -> LinkLevel {
        let (foreign, foreign_routed) = match self.foreign {
            Foreign::Nothing => (None, false),
            Foreign::Usable | Foreign::WithoutDefaultRoute => (Some(global(200)), true),
            Foreign::WithoutRoutes => (Some(global(200)), false),
            Foreign::Tentative => (Some(InterfaceAddress { tentative: true, ..global(200) }), true),
            Foreign::LinkLocal => (Some(link_local()), true),
        };
        let leased = self.lease.map(global);
        let is_routed = self.is_up && (leased.is_some() || foreign_routed);
        let is_default = self.is_up && (leased.is_some() || self.foreign == Foreign::Usable);
        LinkLevel {
            administratively_up: self.is_up,
            // Means nothing while the link is down, so that nobody may believe it.
            carrier: self.has_cable,
            carrier_losses: self.losses,
            interface: Interface {
                name: self.name.clone(),
                index: self.index,
                hardware_address: "02:00:00:00:00:01".to_owned(),
                mtu: 1500,
                addresses: leased.into_iter().chain(foreign).collect(),
                gateways: if is_default { vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, self.gateway))] } else { Vec::new() },
                name_servers: self
                    .lease
                    .map(|_| IpAddr::V4(Ipv4Addr::new(10, 0, 0, self.gateway)))
                    .into_iter()
                    .collect(),
                search_domains: Vec::new(),
            },
            routed: if is_routed { Families::V4 } else { Families::empty() },
            default_route: if is_default { Families::V4 } else { Families::empty() },
        }
    }

    // What the world does.

    pub(crate) fn pull_cable(&mut self) -> bool {
        let happens = self.is_access_point && self.is_plugged_in && self.has_cable;
        if happens {
            self.has_cable = false;
            self.losses += u32::from(self.is_up);
        }
        happens
    }

    pub(crate) fn push_cable(&mut self) -> bool {
        let happens = self.is_access_point && self.is_plugged_in && !self.has_cable;
        self.has_cable |= happens;
        happens
    }

    /// The carrier goes and comes back before anybody looks.
    pub(crate) fn flap(&mut self) -> bool {
        let happens = self.is_access_point && self.is_plugged_in && self.has_cable && self.is_up;
        self.losses += u32::from(happens);
        happens
    }

    pub(crate) fn unplug(&mut self) -> bool {
        let happens = self.is_access_point && self.is_plugged_in;
        if happens {
            self.is_plugged_in = false;
            self.is_up = false;
            self.lease = None;
            self.foreign = Foreign::Nothing;
            self.losses = 0;
        }
        happens
    }

    /// It comes back under another index, as somebody's hotplug rules configure it.
    pub(crate) fn replug(&mut self, is_up: bool, foreign: Foreign) -> bool {
        let happens = self.is_access_point && !self.is_plugged_in;
        if happens {
            self.is_plugged_in = true;
            self.index += 1;
            self.is_up = is_up;
            self.foreign = foreign;
        }
        happens
    }

    pub(crate) fn set_foreign(&mut self, foreign: Foreign) -> bool {
        let happens = self.is_access_point && self.is_plugged_in && self.foreign != foreign;
        if happens {
            self.foreign = foreign;
        }
        happens
    }

    pub(crate) fn set_up(&mut self, is_up: bool) -> bool {
        let happens = self.is_access_point && self.is_plugged_in && self.is_up != is_up;
        if happens {
            self.losses += u32::from(self.is_up && self.has_cable);
            self.is_up = is_up;
        }
        happens
    }

    pub(crate) fn rename(&mut self, name: &str) -> bool {
        std::mem::replace(&mut self.name, name.to_owned()) != name
    }

    pub(crate) fn change_gateway(&mut self) -> bool {
        let happens = self.is_access_point && self.is_plugged_in;
        self.gateway = if happens { self.gateway % 9 + 1 } else { self.gateway };
        happens
    }

    pub(crate) fn set_privilege(&mut self, has_privilege: bool) -> bool {
        let happens = self.is_access_point && self.has_privilege != has_privilege;
        if happens {
            self.has_privilege = has_privilege;
        }
        happens
    }

    // What the engine does.

    pub(crate) fn command(&mut self, command: &AccessPointCommand) {
        if let (Some((number, _)), Some(stage)) = (self.engine.command, self.engine.stage.take()) {
            self.engine.overtaken = Some(Progress { number, stage, obstacle: None });
        }
        self.engine.command = Some((command.number, command.target));
    }

    /// One step on the way to the target.
    pub(crate) fn step(&mut self) -> bool {
        let Some((_, target)) = self.engine.command.filter(|_| self.is_access_point) else { return false };
        let next = match (target, &self.engine.stage) {
            (_, Some(Stage::Reached | Stage::Failed(..))) => return false,
            (Target::Released | Target::LeftUp | Target::Stopped, None) => {
                self.lease = None;
                Stage::Working(Step::Removing)
            }
            (Target::Released | Target::LeftUp | Target::Stopped, Some(_)) => {
                let restored = match target {
                    Target::Stopped => Some(false),
                    Target::LeftUp => Some(true),
                    _ => self.engine.found_up,
                };
                if restored == Some(false) {
                    self.set_up(false);
                }
                self.engine.found_up = None;
                Stage::Reached
            }
            (Target::Sensed | Target::Configured, None) => {
                self.engine.found_up.get_or_insert(self.is_up);
                if target == Target::Sensed {
                    self.lease = None;
                }
                Stage::Working(Step::Preparing)
            }
            (Target::Sensed | Target::Configured, Some(_)) if !self.is_plugged_in => return false,
            (Target::Sensed, Some(_)) => {
                self.set_up(true);
                Stage::Reached
            }
            (Target::Configured, Some(Stage::Working(Step::Preparing))) => {
                self.set_up(true);
                Stage::Working(Step::AwaitingCarrier)
            }
            (Target::Configured, Some(_)) if !self.is_up => Stage::Working(Step::Preparing),
            (Target::Configured, Some(_)) if !self.has_cable => return false,
            (Target::Configured, Some(Stage::Working(Step::AcquiringLease))) => {
                self.lease = Some(2);
                Stage::Working(Step::Configuring)
            }
            (Target::Configured, Some(Stage::Working(Step::Configuring))) => Stage::Reached,
            (Target::Configured, Some(_)) => Stage::Working(Step::AcquiringLease),
        };
        self.engine.stage = Some(next);
        true
    }

    /// All the steps that can be made.
    pub(crate) fn reach(&mut self) -> bool {
        let happens = self.step();
        while self.step() {}
        happens
    }

    pub(crate) fn fail(&mut self, reason: FailureReason) -> bool {
        let is_fallible = match self.engine.command {
            Some((_, Target::Configured | Target::Sensed)) => true,
            // Refused before it began; a removal that has something to remove goes on to its end.
            Some((_, Target::Stopped)) => self.is_as_found(),
            Some((_, Target::Released | Target::LeftUp)) | None => false,
        };
        let may_fail = is_fallible
            && !matches!(self.engine.stage, Some(Stage::Reached | Stage::Failed(..)))
            && self.is_access_point;
        if may_fail {
            // A removal goes on to its end, whatever else fails.
            self.lease = self.lease.filter(|_| self.is_configured());
            self.engine.stage = Some(Stage::Failed(reason, "the engine met an obstacle".to_owned()));
        }
        may_fail
    }

    pub(crate) fn lose_lease(&mut self, keeps_address: bool) -> bool {
        let happens = self.is_access_point && self.is_configured() && self.engine.stage == Some(Stage::Reached);
        if happens {
            self.engine.stage = Some(Stage::Working(Step::AcquiringLease));
            self.lease = self.lease.filter(|_| keeps_address);
        }
        happens
    }

    pub(crate) fn regain_lease(&mut self, address: u8) -> bool {
        let happens = self.asks_for_another_lease();
        if happens {
            self.lease = Some(address);
            self.engine.stage = Some(Stage::Reached);
        }
        happens
    }

    pub(crate) fn expire_lease(&mut self) -> bool {
        let happens = self.is_access_point
            && self.is_configured()
            && (self.engine.stage == Some(Stage::Reached) || self.asks_for_another_lease());
        if happens {
            self.lease = None;
            self.engine.stage = Some(Stage::Failed(FailureReason::NoLease, "the lease ran out".to_owned()));
        }
        happens
    }

    /// Its engine calls it an access point no more, and lets go of it.
    pub(crate) fn cease(&mut self) -> bool {
        let happens = self.is_access_point;
        if happens {
            self.is_access_point = false;
            self.lease = None;
            if self.engine.found_up == Some(false) {
                self.is_up = false;
            }
            self.engine = Engine::default();
        }
        happens
    }

    /// Its engine was killed, and another one goes on from what stands, or clears it away.
    pub(crate) fn restart(&mut self, is_resumed: bool) {
        self.is_known = false;
        let found_up = self.engine.found_up;
        self.engine = Engine { found_up, ..Engine::default() };
        if !is_resumed {
            self.forget_resumed();
        }
    }

    /// What nobody has gone on with is a leftover.
    pub(crate) fn forget_resumed(&mut self) {
        if self.engine.command.is_none() {
            self.lease = None;
            if self.engine.found_up.take() == Some(false) {
                self.set_up(false);
            }
        }
    }

    fn is_configured(&self) -> bool {
        self.is_plugged_in && matches!(self.engine.command, Some((_, Target::Configured)))
    }

    fn asks_for_another_lease(&self) -> bool {
        self.is_access_point
            && self.is_configured()
            && self.is_up
            && self.has_cable
            && self.engine.stage == Some(Stage::Working(Step::AcquiringLease))
    }
}

fn missing_privilege() -> Failure {
    Failure {
        error: SessionError::OperationNotSupported,
        reason: FailureReason::MissingPrivilege("CAP_NET_ADMIN".to_owned()),
        message: "CAP_NET_ADMIN is missing".to_owned(),
    }
}

const fn global(last: u8) -> InterfaceAddress {
    InterfaceAddress {
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)),
        prefix_length: 24,
        scope: AddressScope::Global,
        tentative: false,
    }
}

const fn link_local() -> InterfaceAddress {
    InterfaceAddress {
        address: IpAddr::V4(Ipv4Addr::new(169, 254, 0, 1)),
        prefix_length: 16,
        scope: AddressScope::Link,
        tentative: false,
    }
}
